//! A temporary home with made-up logins, the real program on it, and everything that happens there
//! as events: notify messages, log lines, and what inotify tells of the watched directories.
//!
//! A test waits for a condition that is looked at after every event, with a deadline; nothing
//! sleeps for luck. Every made-up token holds [`CANARY`]; [`Home::finish`] proves that it is found
//! in sources, sinks and kept copies alone, and that no temporary file is left.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

#[path = "logins.rs"]
mod logins;
#[path = "looks.rs"]
mod looks;
#[path = "running.rs"]
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use inotify::{EventMask, Inotify, WatchMask, Watches};

pub use logins::{CANARY, Login, base_ms, husk};
pub use looks::{contains, holds, switches, tree};
pub use running::{Daemon, Ran};

/// Longer than anything takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(40);
/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tokensink");
/// What the daemon keeps below its home.
pub const STATE: &str = ".local/state/tokensink";

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A message on the notify socket.
    Notified(String),
    /// A line on standard output or standard error.
    Said(String),
    /// Something about a file in a watched directory.
    Touched(PathBuf, EventMask),
}

#[derive(Default)]
struct Events {
    list: Mutex<Vec<(Instant, Happened)>>,
    more: Condvar,
}

impl Events {
    fn push(&self, event: Happened) {
        self.list.lock().unwrap().push((Instant::now(), event));
        self.more.notify_all();
    }
}

/// A temporary home.
pub struct Home {
    dir: tempfile::TempDir,
    events: Arc<Events>,
    watches: Watches,
    watched: Arc<Mutex<BTreeMap<i32, PathBuf>>>,
    over: Arc<AtomicBool>,
    environment: Vec<(String, String)>,
    uid: Option<u32>,
    program: PathBuf,
    secret: Mutex<BTreeSet<PathBuf>>,
    running: Mutex<Option<u32>>,
}

impl Home {
    /// Directories `.claude` and `sinks`, a notify socket, and no configuration.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tokensink-test-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let events = Arc::new(Events::default());
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        fs::set_permissions(dir.path().join("notify"), fs::Permissions::from_mode(0o777)).unwrap();
        let told = Arc::clone(&events);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = notify.recv(&mut buffer) {
                if &buffer[..length] == b"END" {
                    break;
                }
                told.push(Happened::Notified(String::from_utf8_lossy(&buffer[..length]).into_owned()));
            }
        });
        let mut inotify = Inotify::init().unwrap();
        let watches = inotify.watches();
        let watched = Arc::new(Mutex::new(BTreeMap::<i32, PathBuf>::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (told, paths, ends) = (Arc::clone(&events), Arc::clone(&watched), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(happened) = inotify.read_events_blocking(&mut buffer) {
                // Removing the home is an event too.
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                for event in happened {
                    let at = paths.lock().unwrap().get(&event.wd.get_watch_descriptor_id()).cloned();
                    let Some(at) = at else { continue };
                    let path = event.name.map_or(at.clone(), |name| at.join(name));
                    told.push(Happened::Touched(path, event.mask));
                }
            }
        });
        let home = Self {
            dir,
            events,
            watches,
            watched,
            over,
            environment: Vec::new(),
            uid: None,
            program: PathBuf::from(PROGRAM),
            secret: Mutex::default(),
            running: Mutex::default(),
        };
        for directory in [".claude", "sinks", ".config/tokensink", STATE] {
            home.mkdir(directory);
        }
        home.make("../run");
        home.watch("sinks");
        home.watch(STATE);
        home
    }

    /// Everything in it belongs to an ordinary user, and so does the program that is run on it.
    pub fn of_ordinary_user() -> Self {
        let mut home = Self::new();
        let uid = nix::unistd::geteuid();
        if uid.is_root() {
            // The build directory may be closed to others.
            let program = home.root().join("tokensink");
            // By another process: our own writing descriptor could be inherited by a child that
            // another test starts at this moment, and a program that is open for writing does
            // not run.
            assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
            home.program = program;
            home.uid = Some(64_200);
            home.hand_over();
        }
        home
    }

    /// Gives everything below the home to its user.
    pub fn hand_over(&self) {
        let Some(uid) = self.uid else { return };
        for path in tree(&self.path("")).into_iter().chain([self.path(""), self.root().join("run")]) {
            std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
        }
    }

    /// The directory around it: what is no part of the home.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path below it.
    pub fn path(&self, name: &str) -> PathBuf {
        let home = self.dir.path().join("home");
        if name.is_empty() { home } else { home.join(name) }
    }

    pub fn credentials(&self) -> PathBuf {
        self.path(".claude/.credentials.json")
    }

    fn make(&self, name: &str) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(name)).unwrap();
    }

    pub fn mkdir(&self, name: &str) -> PathBuf {
        self.make(name);
        self.path(name)
    }

    /// Adds a variable to the environment of every command.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Notes a file in which tokens belong.
    pub fn holds_tokens(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.secret.lock().unwrap().insert(path.clone());
        path
    }

    /// Tells what is written in a directory.
    pub fn watch(&self, name: &str) {
        let written = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MODIFY;
        self.add_watch(name, written | WatchMask::CREATE | WatchMask::DELETE);
    }

    /// Tells what is read in a directory (`CLOSE_NOWRITE`), in which the test itself reads nothing.
    pub fn watch_readers(&self, name: &str) {
        self.add_watch(name, WatchMask::CLOSE_NOWRITE);
    }

    fn add_watch(&self, name: &str, mask: WatchMask) {
        let path = self.path(name);
        let wd = self.watches.clone().add(&path, mask).unwrap();
        self.watched.lock().unwrap().insert(wd.get_watch_descriptor_id(), path);
    }

    /// Writes a file in place: truncated, then filled, as a shell's `>` does.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.write_all(text.as_ref()).unwrap();
        path
    }

    /// Replaces a file by rename.
    pub fn replace(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let temp = format!("{name}.tmp.0123abcd");
        let from = self.write(&temp, text);
        if let Some(uid) = self.uid {
            std::os::unix::fs::chown(&from, Some(uid), Some(uid)).unwrap();
        }
        fs::rename(from, self.path(name)).unwrap();
        self.path(name)
    }

    /// Replaces the credentials file by rename.
    pub fn rotate(&self, login: &Login) {
        self.replace(".claude/.credentials.json", login.document());
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        self.replace(".config/tokensink/tokensink.toml", text);
    }

    /// The login `claude` and sinks of three kinds; `more` follows.
    pub fn three_sinks(&self, more: &str) -> String {
        for name in ["sinks/oauth.json", "sinks/gateway.env", "sinks/token.json"] {
            self.holds_tokens(name);
        }
        format!(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\n\
             [[sink]]\nid = \"oauth\"\nlogin = \"claude\"\nkind = \"oauth-json\"\n\
             path = \"~/sinks/oauth.json\"\nrefresh = true\n\n\
             [[sink]]\nid = \"env\"\nlogin = \"claude\"\nkind = \"env-file\"\n\
             path = \"~/sinks/gateway.env\"\nkey = \"ANTHROPIC_OAUTH_TOKEN\"\n\n\
             [[sink]]\nid = \"secret\"\nlogin = \"claude\"\nkind = \"secret-file\"\n\
             path = \"~/sinks/token.json\"\n\n{more}"
        )
    }

    pub fn sinks(&self) -> [PathBuf; 3] {
        ["sinks/oauth.json", "sinks/gateway.env", "sinks/token.json"].map(|name| self.path(name))
    }

    /// True when every one of the three sinks holds that access token.
    pub fn sinks_hold(&self, login: &Login) -> bool {
        self.sinks().iter().all(|sink| contains(sink, &login.access))
    }

    /// Waits until the sinks hold that access token and the daemon is at rest. The renames of a
    /// pass come back to it as events: a change that is made before it has looked at them would
    /// be found by that look, whatever else is broken.
    pub fn until_sinks_hold(&self, login: &Login) {
        self.until("the sinks hold the new token", || self.sinks_hold(login));
        self.rest();
    }

    /// Waits until the running daemon sleeps. On a machine so busy that it does not run for this
    /// long a test proves less, and fails no less rightly.
    pub fn rest(&self) {
        const STILL: Duration = Duration::from_millis(200);
        let Some(pid) = *self.running.lock().unwrap() else { return };
        let switches = || switches(pid);
        let deadline = Instant::now() + SOON;
        loop {
            let before = (switches(), self.mark());
            let list = self.events.list.lock().unwrap();
            let (list, still) =
                self.events.more.wait_timeout_while(list, STILL, |l| l.len() == before.1).unwrap();
            drop(list);
            if still.timed_out() && switches() == before.0 {
                return;
            }
            assert!(Instant::now() < deadline, "the daemon does not come to rest\n{}", self.story());
        }
    }

    /// The program with `arguments`, in this home and nothing else of our environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.dress(&mut command);
        command
    }

    /// Gives a command the environment and the user of this home.
    pub fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.path(""))
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", self.root().join("run"))
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(self.path(""))
            .stdin(Stdio::null());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
    }

    /// The program with `arguments` in a mount namespace of its own, after `setup`, a shell script.
    pub fn unshared(&self, setup: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let script = format!("set -e\n{setup}\nexec \"$0\" \"$@\"");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(&self.program)
            .args(arguments);
        self.dress(&mut command);
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.end_of(self.command(arguments))
    }

    /// Runs a command to its end.
    pub fn end_of(&self, mut command: Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for out in [&ran.stdout, &ran.stderr] {
            assert!(!out.contains(CANARY), "a token was printed: {out}");
        }
        ran
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon<'_> {
        self.start_as(self.command(&["daemon"]))
    }

    /// Starts the daemon and waits until it is ready and at rest.
    pub fn ready(&self) -> Daemon<'_> {
        let daemon = self.start();
        daemon.until_ready();
        self.rest();
        daemon
    }

    /// Starts a command that is, or becomes, the daemon.
    pub fn start_as(&self, mut command: Command) -> Daemon<'_> {
        let from = self.mark();
        command
            .env("NOTIFY_SOCKET", self.root().join("notify"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        self.tell(stdout);
        self.tell(stderr);
        *self.running.lock().unwrap() = Some(child.id());
        Daemon { home: self, pid: child.id(), child: Mutex::new(child), from }
    }

    fn tell(&self, stream: impl std::io::Read + Send + 'static) {
        let events = Arc::clone(&self.events);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                events.push(Happened::Said(line));
            }
            // So that whoever waits looks whether the process has ended.
            events.push(Happened::Said(String::new()));
        });
    }

    /// A point in the list of events.
    pub fn mark(&self) -> usize {
        self.events.list.lock().unwrap().len()
    }

    /// What happened since a mark.
    pub fn since(&self, mark: usize) -> Vec<(Instant, Happened)> {
        self.events.list.lock().unwrap()[mark..].to_vec()
    }

    /// Log lines and notify messages since a mark that contain `text`.
    pub fn said(&self, mark: usize, text: &str) -> Vec<(Instant, String)> {
        let said = self.since(mark).into_iter().filter_map(|(at, event)| match event {
            Happened::Notified(text) | Happened::Said(text) => Some((at, text)),
            Happened::Touched(..) => None,
        });
        said.filter(|(_, line)| line.contains(text)).collect()
    }

    /// How often something happened to a file since a mark.
    pub fn touched(&self, mark: usize, path: &Path, wanted: EventMask) -> usize {
        let hits = |event: &Happened| matches!(event, Happened::Touched(at, mask) if at == path && mask.intersects(wanted));
        self.since(mark).iter().filter(|(_, event)| hits(event)).count()
    }

    /// Waits until a line or message with `text` has come since a mark; returns when it came.
    pub fn until_said(&self, mark: usize, text: &str) -> (Instant, String) {
        let mut found = None;
        self.until(&format!("somebody says {text:?}"), || {
            found = self.said(mark, text).into_iter().next();
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until a condition holds; it is looked at after every event, and now and then for what
    /// makes none.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let seen = self.mark();
            if holds() {
                return;
            }
            let list = self.events.list.lock().unwrap();
            let slice = Duration::from_millis(250);
            let (list, _) = self.events.more.wait_timeout_while(list, slice, |l| l.len() == seen).unwrap();
            drop(list);
            assert!(Instant::now() < deadline, "{what}: not in time\n{}", self.story());
        }
    }

    /// What was said, for a test that fails.
    pub fn story(&self) -> String {
        let lines: Vec<String> = self.said(0, "").into_iter().map(|(_, line)| line).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// What the daemon remembers.
    pub fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.read(&format!("{STATE}/state.json"))).unwrap()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Everything below the home with mode, size, times and contents: equal when nothing was
    /// touched.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Trace> {
        let all = tree(&self.path("")).into_iter().chain([self.path("")]);
        all.map(|path| {
            let stat = path.symlink_metadata().unwrap();
            let bytes = if stat.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
            let times = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
            (path, Trace { mode: stat.mode(), times, bytes })
        })
        .collect()
    }

    /// An OpenClaw instance of that release (by `meta.lastTouchedVersion`; none when empty) with a
    /// store for each agent. Returns the stores.
    pub fn openclaw(&self, release: &str, agents: &[&str]) -> Vec<PathBuf> {
        self.mkdir(".openclaw");
        let meta = if release.is_empty() {
            serde_json::json!({})
        } else {
            serde_json::json!({"meta": {"lastTouchedVersion": release}})
        };
        self.write(".openclaw/openclaw.json", meta.to_string());
        let stores = agents.iter().map(|agent| {
            self.mkdir(&format!(".openclaw/agents/{agent}/agent"));
            let store = format!(".openclaw/agents/{agent}/agent/auth-profiles.json");
            self.holds_tokens(&store);
            self.write(&store, "{\n  \"version\": 1,\n  \"profiles\": {}\n}\n")
        });
        stores.collect()
    }

    /// Takes the file lock of a store as OpenClaw from 2026.2.17 on does; returns the lock.
    pub fn lock_store(&self, store: &Path) -> PathBuf {
        let created = humantime::format_rfc3339_millis(SystemTime::now());
        let lock = store.with_extension("json.lock");
        let body = format!("{{\n  \"pid\": {},\n  \"createdAt\": \"{created}\"\n}}", std::process::id());
        fs::write(&lock, body).unwrap();
        lock
    }

    /// The end of a test: no token is where none belongs, and no temporary file is left.
    pub fn finish(&self) {
        let told = self.said(0, CANARY);
        assert!(told.is_empty(), "a token was told: {told:?}");
        let mut allowed = self.secret.lock().unwrap().clone();
        allowed.insert(self.credentials());
        for path in tree(self.root()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.starts_with(".tokensink."), "a temporary file is left: {}", path.display());
            let is_kept = path.parent().is_some_and(|p| p.ends_with("tokensink/displaced"));
            if is_kept || allowed.contains(&path) || !path.symlink_metadata().unwrap().is_file() {
                continue;
            }
            // The program itself, where it was copied, holds no canary either, but is large.
            assert!(path == self.program || !contains(&path, CANARY), "a token is in {}", path.display());
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(b"END", self.root().join("notify"));
        }
    }
}

/// All that a file shows of having been touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub mode: u32,
    /// Of its contents and of its inode, in seconds and nanoseconds.
    pub times: [i64; 4],
    pub bytes: Vec<u8>,
}
