//! The real program under strace: which file operations a run makes, and the same run with one of them failing, or
//! being the last thing that the program tries.
//!
//! NOTE: no `--seccomp-bpf` with signals: the kernel drops a signal that is injected at such a stop, and strace
//! (6.1) says "INJECTED" all the same. Every caller proves that what it asked for happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::run::output;

/// Every call that opens, reads, writes, syncs, names, locks or removes a file.
pub const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,fallocate,ftruncate,rename,renameat,renameat2,link,\
                         linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,fchown,fchownat,utimensat,\
                         flock,newfstatat,statx,fstat,getdents64,read,pread64,lseek,fcntl,close,readlink,readlinkat,\
                         execve";
/// Every call on a socket.
pub const WIRE: &str = "socket,connect,sendto,sendmsg,writev,recvfrom,recvmsg";
/// Every call by which a bus, or whoever else is at the other end of a socket, is told something.
pub const SENDS: &str = "sendto,sendmsg";
/// What others see of a dead process is the same before and after all other calls.
const CHANGING: [&str; 20] = [
    "sendto",
    "sendmsg",
    "write",
    "pwrite64",
    "fallocate",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchown",
];

/// Whether everything is to be tried, or one of several that are alike.
pub fn is_long() -> bool {
    std::env::var_os("TOKENSINK_LONG").is_some()
}

/// One call of a run.
#[derive(Clone)]
pub struct Operation {
    pub call: String,
    /// The how-manieth of its kind, from 1.
    pub time: usize,
    /// What it was about, as strace shows it, without the made-up home.
    pub about: String,
    /// Of those that open: the directory or file by which it is told from most others, and the how-manieth of its kind
    /// there. How many files are opened before depends on the other processes that there are.
    place: Option<(String, usize)>,
    /// It succeeded.
    is_done: bool,
    /// It failed because we said so.
    is_injected: bool,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let about: String = self.about.chars().take(90).collect();
        write!(f, "{} number {}: {about}", self.call, self.time)
    }
}

impl Operation {
    /// The directory in which it opens something, or what it opens by its whole name.
    fn opened(&self) -> Option<&str> {
        let [directory, name] = self.names()?;
        [directory, name].into_iter().find(|path| path.starts_with("~/"))
    }

    fn opens(&self, place: &str) -> bool {
        self.names().is_some_and(|names| names.contains(&place))
    }

    fn names(&self) -> Option<[&str; 2]> {
        let (directory, rest) = self.about.split_once(", \"").filter(|_| self.call == "openat")?;
        let directory = directory.split_once('<').map_or("", |(_, path)| path.trim_end_matches('>'));
        Some([directory, rest.split('"').next()?])
    }

    fn ended(&mut self, came: &str) {
        self.is_done = !came.starts_with("-1 ");
        self.is_injected = came.ends_with("(INJECTED)");
    }

    /// Whether it opens, reads, asks or closes what is there.
    pub fn only_looks(&self) -> bool {
        !self.changes() && !self.call.ends_with("sync") && !WIRE.contains(&self.call)
    }

    /// Whether anybody can see that it happened.
    pub fn changes(&self) -> bool {
        let makes = ["O_CREAT", "O_TRUNC"].iter().any(|flag| self.about.contains(flag));
        self.is_done && (CHANGING.contains(&self.call.as_str()) || (self.call == "openat" && makes))
    }
}

/// A command of the program, the directory that is its world, and how it gets to its end.
pub struct Run<'a> {
    command: Command,
    root: PathBuf,
    is_alone: bool,
    to_end: Box<dyn Fn(Command) -> Output + 'a>,
}

impl<'a> Run<'a> {
    /// One that ends by itself, with nothing on its standard input.
    pub fn of(command: Command, root: &Path) -> Self {
        let to_end = Box::new(|mut command: Command| command.output().unwrap());
        Self { command, root: root.to_owned(), is_alone: false, to_end }
    }

    /// One whose children are none of strace's business: they are never hit by what is meant for it, and when it dies
    /// nobody waits for them.
    pub fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    /// One that reads this.
    pub fn fed(self, input: impl Into<Vec<u8>>) -> Self {
        let input = input.into();
        self.by(move |mut command| output(&mut command, &input))
    }

    /// One that somebody accompanies from its start to its end.
    pub fn by(self, to_end: impl Fn(Command) -> Output + 'a) -> Self {
        Self { to_end: Box::new(to_end), ..self }
    }

    /// Runs one of the forms that are made here to its end.
    pub fn end(&self, command: Command) -> Output {
        (self.to_end)(command)
    }

    fn log(&self) -> PathBuf {
        self.root.join("strace.log")
    }

    /// The command under strace.
    fn under(&self, options: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command.env_clear().args(["-y", "-s", "0", "-o"]).arg(self.log()).args(options);
        command.arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Every file operation of one run that concerns its world, in order; the run succeeds.
    #[track_caller]
    pub fn operations(&self, calls: &str) -> Vec<Operation> {
        let ran = self.end(self.under(&["-f", "--seccomp-bpf", "-e", &format!("trace={calls}")]));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let found = self.logged();
        // Not what only an unoptimised build asks its descriptors.
        let concerns =
            |one: &Operation| one.about.contains("~/") || WIRE.split(',').any(|call| call == one.call);
        found.into_iter().filter(|one| concerns(one) && !one.about.contains("F_GETFD")).collect()
    }

    /// What the first process did, as far as it was traced.
    fn logged(&self) -> Vec<Operation> {
        let text = std::fs::read_to_string(self.log()).expect("strace keeps a log");
        // Without its children it has no number.
        let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
        let first = text.split(' ').next().filter(is_number);
        let (home, root) = (self.root.join("home").display().to_string(), self.root.display().to_string());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for line in text.lines() {
            let rest = match first {
                Some(first) => line.strip_prefix(first).filter(|rest| rest.starts_with(' ')),
                None => Some(line),
            };
            let Some(rest) = rest else { continue };
            // Another process came between: what came of the call is told later.
            if rest.trim_start().starts_with("<...") {
                let last: Option<&mut Operation> = found.last_mut();
                last.expect("it was begun").ended(rest.rsplit_once(" = ").map_or("?", |(_, came)| came));
                continue;
            }
            let Some((call, about)) =
                rest.trim_start().split_once('(').filter(|(call, _)| !call.contains(' '))
            else {
                continue;
            };
            let time = counts.entry(call.to_owned()).or_default();
            *time += 1;
            let about = about.replace(&format!("AT_FDCWD<{home}>"), "AT_FDCWD");
            // Without what came of it.
            let (about, came) = about.rsplit_once(" = ").unwrap_or((&about, "?"));
            let about = about.trim_end().replace(&root, "~");
            let (call, time) = (call.to_owned(), *time);
            let mut one = Operation { call, time, about, place: None, is_done: true, is_injected: false };
            one.place = one.opened().map(str::to_owned).map(|place| {
                let is_there = |other: &&Operation| other.opens(&place);
                let before = found.iter().filter(is_there).count();
                (place, before + 1)
            });
            one.ended(came);
            found.push(one);
        }
        found
    }

    /// The options by which strace meets that operation, or one of its kind so many later.
    fn meeting(&self, operation: &Operation, what: &str, off: isize) -> Vec<String> {
        let call = &operation.call;
        let (time, place) = self.number(operation);
        let time = time.saturating_add_signed(off).max(1);
        let mut options = vec!["-e".to_owned(), format!("inject={call}:{what}:when={time}")];
        if let Some(place) = place {
            let place = place.replacen('~', &self.root.display().to_string(), 1);
            // The first line of the log is the start of the program.
            let program = self.command.get_program().to_string_lossy().into_owned();
            options.extend(["-P".to_owned(), place, "-P".to_owned(), program]);
        }
        options
    }

    /// The number of an operation, and where it is counted if not everywhere.
    fn number<'o>(&self, operation: &'o Operation) -> (usize, Option<&'o str>) {
        let is_found = Path::new(self.command.get_program()).is_absolute();
        match operation.place.as_ref().filter(|_| is_found) {
            Some((place, time)) => (*time, Some(place)),
            None => (operation.time, None),
        }
    }

    /// The run that dies before it makes that operation, or one of its kind so many later.
    pub fn killed_at(&self, operation: &Operation, off: isize) -> Command {
        let trace = format!("trace=execve,{}", operation.call);
        let meeting = self.meeting(operation, "signal=KILL", off);
        let with = if self.is_alone { None } else { Some("-f") };
        let options = with.into_iter().chain(["-e", &trace]);
        let options: Vec<&str> = options.chain(meeting.iter().map(String::as_str)).collect();
        self.under(&options)
    }

    /// The run in which that operation fails with that error, or one of its kind so many later.
    pub fn failing_at(&self, operation: &Operation, error: &str, off: isize) -> Command {
        let trace = format!("trace=execve,{}", operation.call);
        let meeting = self.meeting(operation, &format!("error={error}"), off);
        let options = ["-f", "--seccomp-bpf", "-e", &trace];
        let options: Vec<&str> = options.into_iter().chain(meeting.iter().map(String::as_str)).collect();
        self.under(&options)
    }

    /// The run in which these operations fail, each with its error, by their numbers.
    pub fn failing(&self, faults: &[(&Operation, &str)]) -> Command {
        let calls: Vec<&str> = faults.iter().map(|(operation, _)| operation.call.as_str()).collect();
        let trace = format!("trace=execve,{}", calls.join(","));
        let inject: Vec<String> = faults
            .iter()
            .map(|(o, error)| format!("inject={}:error={error}:when={}", o.call, o.time))
            .collect();
        let options = inject.iter().flat_map(|inject| ["-e", inject]);
        let options: Vec<&str> = ["-f", "--seccomp-bpf", "-e", &trace].into_iter().chain(options).collect();
        self.under(&options)
    }

    /// Whether what was hit (made to fail, or the last that a run tried which died) is what was meant; else by how much
    /// later to try the next time than its number says, when it was so much later this time.
    pub fn aim(&self, meant: &Operation, off: isize) -> Result<(), isize> {
        let logged = self.logged();
        let text = std::fs::read_to_string(self.log()).expect("strace keeps a log");
        let is_hit = ["(INJECTED)", "+++ killed by SIGKILL"].iter().any(|sign| text.contains(sign));
        let is_meant = |one: &Operation| (&one.call, shape(&one.about)) == (&meant.call, shape(&meant.about));
        let hit = logged.iter().position(|one| one.is_injected).unwrap_or(logged.len().saturating_sub(1));
        if is_hit && logged.get(hit).is_some_and(is_meant) {
            return Ok(());
        }
        // Where it is in this run, or behind its end.
        let (meant_time, _) = self.number(meant);
        let later = |one: &Operation| one.time.cast_signed() - meant_time.cast_signed();
        let found =
            logged.iter().filter(|one| is_meant(one)).map(later).min_by_key(|later| later.abs_diff(off));
        Err(found.filter(|later| *later != off).unwrap_or(off + 1))
    }
}

/// Runs a case until it hits what is meant, five times at most: how many log lines, wake-ups and other processes there
/// are shifts the numbers of some calls. A case says where it was hit. `None` where that never was.
pub fn aimed<T>(mut case: impl FnMut(isize) -> (Result<(), isize>, T)) -> Option<T> {
    let mut off = 0;
    for _ in 0..5 {
        match case(off) {
            (Ok(()), done) => return Some(done),
            (Err(next), _) => off = next,
        }
    }
    None
}

/// The names in an operation, without what differs from run to run: who wrote a temporary file, and the key by which
/// kept files are named.
fn shape(about: &str) -> Vec<&str> {
    let names =
        about.split(['<', '>', '"']).filter(|part| part.starts_with("~/") || part.starts_with(".tokensink."));
    let stem = |name: &'_ str| -> usize {
        let stem = [".tmp", ".copy", ".before"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let target = stem.and_then(|stem| stem.rsplit_once('.')).map_or(name, |(target, _)| target);
        let is_key = |part: &&str| part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let key = target.split(['.', '/']).find(is_key);
        key.map_or(target.len(), |key| key.as_ptr().addr() - target.as_ptr().addr())
    };
    names.map(|name| &name[..stem(name)]).collect()
}
