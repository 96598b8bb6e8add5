//! The real program under strace: which file operations a run makes, and the same run with one of them failing, or
//! being the last thing that the program tries.
//!
//! NOTE: no `--seccomp-bpf` with signals: the kernel drops a signal that is injected at such a stop, and strace
//! (6.1) says "INJECTED" all the same. Every caller proves that what it asked for happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every call that opens, reads, writes, syncs, names, locks or removes a file.
pub const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,fallocate,ftruncate,rename,renameat,renameat2,link,\
                         linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,fchown,fchownat,utimensat,\
                         flock,newfstatat,statx,fstat,getdents64,read,pread64,lseek,fcntl,close,readlink,readlinkat,\
                         execve";
/// Every call on a socket.
pub const WIRE: &str = "socket,connect,sendto,sendmsg,writev,recvfrom,recvmsg";
/// What others see of a dead process is the same before and after all other calls.
const CHANGING: [&str; 18] = [
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

/// One call of a run.
#[derive(Clone)]
pub struct Operation {
    pub call: String,
    /// The how-manieth of its kind, from 1.
    pub time: usize,
    /// What it was about, as strace shows it, without the made-up home.
    pub about: String,
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

/// A command of the program, and the directory that is its world.
pub struct Run {
    command: Command,
    root: PathBuf,
}

impl Run {
    pub fn of(command: Command, root: &Path) -> Self {
        Self { command, root: root.to_owned() }
    }

    fn log(&self) -> PathBuf {
        self.root.join("strace.log")
    }

    /// The command under strace.
    fn under(&self, options: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command.env_clear().args(["-f", "-y", "-s", "0", "-o"]).arg(self.log()).args(options);
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
        let ran = self.under(&["--seccomp-bpf", "-e", &format!("trace={calls}")]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let found = self.logged();
        // Not what only an unoptimised build asks its descriptors.
        let concerns =
            |one: &Operation| one.about.contains("~/") || WIRE.split(',').any(|call| call == one.call);
        found.into_iter().filter(|one| concerns(one) && !one.about.contains("F_GETFD")).collect()
    }

    /// What the first process did, as far as it was traced.
    fn logged(&self) -> Vec<Operation> {
        let text = std::fs::read_to_string(self.log()).unwrap();
        let first = text.split(' ').next().unwrap().to_owned();
        let (home, root) = (self.root.join("home").display().to_string(), self.root.display().to_string());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for line in text.lines() {
            let Some((_, rest)) = line.split_once(' ').filter(|(pid, _)| *pid == first) else { continue };
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
            let mut one =
                Operation { call: call.to_owned(), time: *time, about, is_done: true, is_injected: false };
            one.ended(came);
            found.push(one);
        }
        found
    }

    /// The run that dies before it makes that operation, or one of its kind so many later.
    pub fn killed_at(&self, operation: &Operation, off: isize) -> Command {
        let call = &operation.call;
        let time = operation.time.saturating_add_signed(off).max(1);
        let inject = format!("inject={call}:signal=KILL:when={time}");
        self.under(&["-e", &format!("trace=execve,{call}"), "-e", &inject])
    }

    /// The run in which these operations fail, each with its error, or those of their kinds so many later.
    pub fn failing(&self, faults: &[(&Operation, &str)], off: isize) -> Command {
        let calls: Vec<&str> = faults.iter().map(|(operation, _)| operation.call.as_str()).collect();
        let trace = format!("trace=execve,{}", calls.join(","));
        let inject: Vec<String> = faults
            .iter()
            .map(|(o, error)| {
                format!("inject={}:error={error}:when={}", o.call, o.time.saturating_add_signed(off).max(1))
            })
            .collect();
        let options = inject.iter().flat_map(|inject| ["-e", inject]);
        let options: Vec<&str> = ["--seccomp-bpf", "-e", &trace].into_iter().chain(options).collect();
        self.under(&options)
    }

    /// Whether what was hit (made to fail, or the last that a run tried which died) is what was meant; else which way
    /// that lies.
    pub fn aim(&self, meant: &Operation) -> std::cmp::Ordering {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let logged = self.logged();
        let text = std::fs::read_to_string(self.log()).unwrap();
        let is_hit = ["(INJECTED)", "+++ killed by SIGKILL"].iter().any(|sign| text.contains(sign));
        let is_meant = |one: &Operation| (&one.call, shape(&one.about)) == (&meant.call, shape(&meant.about));
        let hit = logged.iter().position(|one| one.is_injected).unwrap_or(logged.len().saturating_sub(1));
        match logged.iter().rposition(is_meant) {
            _ if is_hit && logged.get(hit).is_some_and(is_meant) => Equal,
            Some(at) if at < hit || !is_hit => Less,
            _ => Greater,
        }
    }
}

/// Runs a case until it hits what is meant, five times at most: how many log lines, wake-ups and other processes there
/// are shifts the numbers of some calls. `None` where that never was.
pub fn aimed<T>(meant: &Operation, mut case: impl FnMut(isize) -> (Run, T)) -> Option<T> {
    let mut off = 0;
    for _ in 0..5 {
        let (run, done) = case(off);
        match run.aim(meant) {
            std::cmp::Ordering::Equal => return Some(done),
            std::cmp::Ordering::Less => off -= 1,
            std::cmp::Ordering::Greater => off += 1,
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
        let keyed = target.rsplit_once('.').filter(|(_, key)| key.len() == 16);
        keyed
            .filter(|(_, key)| key.bytes().all(|b| b.is_ascii_hexdigit()))
            .map_or(target, |(name, _)| name)
            .len()
    };
    names.map(|name| &name[..stem(name)]).collect()
}
