//! A home directory for one contender: a credentials file that rotates, three sinks in three
//! directories, and the daemon in it. `tests/instructions.rs` works in such homes as well.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take before it counts as not working.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Home {
    pub root: PathBuf,
    /// The sinks that a rotation has to reach.
    pub sinks: Vec<PathBuf>,
    rotations: u32,
    _dir: tempfile::TempDir,
}

impl Home {
    /// A home with three empty sinks and a first credential.
    pub fn new(dir: &Path, name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(dir).unwrap();
        let root = dir.path().to_owned();
        for directory in [".claude", ".config/tokensink", ".openclaw/credentials", "stack", "secrets"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        let sinks: Vec<PathBuf> = [".openclaw/credentials/oauth.json", "stack/.env", "secrets/claude.json"]
            .iter()
            .map(|path| root.join(path))
            .collect();
        let contents = ["{}\n", "OTHER=kept\nANTHROPIC_OAUTH_TOKEN=\n"];
        for (sink, content) in sinks.iter().zip(contents) {
            std::fs::write(sink, content).unwrap();
            close_to_others(sink);
        }
        let mut home = Self { root, sinks, rotations: 0, _dir: dir };
        home.rotate();
        home
    }

    /// The configuration for the three sinks.
    pub fn three_sinks(&self) -> String {
        let [oauth, env, secret] = [0, 1, 2].map(|n: usize| self.sinks[n].display());
        format!(
            "{LOGIN}[[sink]]\nid = \"oauth\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"{oauth}\"\n\
             [[sink]]\nid = \"env\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"{env}\"\n\
             key = \"ANTHROPIC_OAUTH_TOKEN\"\n\
             [[sink]]\nid = \"secret\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"{secret}\"\n"
        )
    }

    /// The configuration for `count` secret files in one directory, which become the sinks.
    pub fn many_sinks(&mut self, count: usize) -> String {
        let mut text = LOGIN.to_owned();
        self.sinks = (0..count).map(|n| self.root.join(format!("secrets/{n}.json"))).collect();
        for (n, sink) in self.sinks.iter().enumerate() {
            let path = sink.display();
            let _ = write!(
                text,
                "[[sink]]\nid = \"s{n}\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"{path}\"\n"
            );
        }
        text
    }

    /// The configuration for `count` logins, each with a secret file; the first is the one that rotates, and its
    /// secret file the one sink.
    pub fn many_logins(&mut self, count: usize) -> String {
        let mut text = "[daemon]\npoll = \"60s\"\n".to_owned();
        for n in 0..count {
            let (_, document) = self.next_credential();
            let source = match n {
                0 => self.source(),
                n => self.root.join(format!("logins/{n}/.credentials.json")),
            };
            std::fs::create_dir_all(source.parent().unwrap()).unwrap();
            std::fs::write(&source, document).unwrap();
            close_to_others(&source);
            let (source, sink) = (source.display(), self.root.join(format!("secrets/{n}.json")));
            let _ = write!(
                text,
                "[[login]]\nid = \"l{n}\"\nprovider = \"claude\"\npath = \"{source}\"\n\
                 [[sink]]\nid = \"s{n}\"\nlogin = \"l{n}\"\nkind = \"secret-file\"\npath = \"{}\"\n",
                sink.display()
            );
            if n == 0 {
                self.sinks = vec![sink];
            }
        }
        text
    }

    /// A store of OpenClaw's with `count` profiles, one of which becomes the sink; its configuration.
    pub fn store_of(&mut self, count: usize) -> String {
        let state_dir = self.root.join(".openclaw");
        let agent = state_dir.join("agents/main/agent");
        std::fs::create_dir_all(&agent).unwrap();
        let meta = r#"{"meta": {"lastTouchedVersion": "2026.2.9"}}"#;
        std::fs::write(state_dir.join("openclaw.json"), meta).unwrap();
        let mut entries = serde_json::Map::new();
        for n in 1..count {
            let entry = serde_json::json!({
                "type": "oauth", "provider": "anthropic", "access": format!("sk-ant-oat01-other-{n}"),
                "refresh": format!("sk-ant-ort01-other-{n}"), "expires": 1_900_000_000_000_u64, "email": "a@example.org",
            });
            entries.insert(format!("anthropic:p{n}"), entry);
        }
        let store = agent.join("auth-profiles.json");
        let document = serde_json::json!({"version": 1, "profiles": entries});
        // Pretty-printed, as OpenClaw writes it.
        std::fs::write(&store, serde_json::to_string_pretty(&document).unwrap()).unwrap();
        self.sinks = vec![store];
        format!(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[[sink]]\nid = \"store\"\nlogin = \"claude\"\n\
             kind = \"auth-profiles\"\nstate_dir = \"{}\"\nprofile = \"anthropic:default\"\n",
            state_dir.display()
        )
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.root.join(".config/tokensink/tokensink.toml"), text).unwrap();
    }

    pub fn source(&self) -> PathBuf {
        self.root.join(".claude/.credentials.json")
    }

    /// Where the daemon notes what it did, after everything is durable.
    pub fn state(&self) -> PathBuf {
        self.root.join(".local/state/tokensink/state.json")
    }

    /// The next credential: its token and its document.
    pub fn next_credential(&mut self) -> (String, String) {
        self.rotations += 1;
        let token = format!("sk-ant-oat01-bench-{:06}-{}", self.rotations, "made-up-".repeat(9));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let document = serde_json::json!({"claudeAiOauth": {
            "accessToken": token,
            "refreshToken": token.replace("oat01", "ort01"),
            "expiresAt": u64::try_from(now).unwrap() + 8 * 3_600_000 + u64::from(self.rotations),
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        }});
        (token, document.to_string())
    }

    /// Rotates as the CLI does, by rename; the temporary file is outside the directory and synced
    /// before, so that every contender sees one event and finds a quiet disk. The time is taken
    /// before the rename.
    pub fn rotate(&mut self) -> (String, Instant) {
        let (token, document) = self.next_credential();
        let temporary = self.root.join("next");
        std::fs::write(&temporary, document).unwrap();
        close_to_others(&temporary);
        std::fs::File::open(&temporary).unwrap().sync_all().unwrap();
        let start = Instant::now();
        std::fs::rename(&temporary, self.source()).unwrap();
        (token, start)
    }

    /// A command of the program, in this home.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.root)
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Starts the daemon as its unit does and waits for `READY=1`.
    pub fn daemon(&self, program: &Path) -> Daemon {
        self.daemon_with(program, &[])
    }

    /// The same with more environment variables.
    pub fn daemon_with(&self, program: &Path, environment: &[(&str, PathBuf)]) -> Daemon {
        let socket = self.root.join("notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        let log = self.root.join("log");
        let mut command = self.command(program);
        command.arg("daemon").envs(environment.iter().cloned());
        // The unit's WatchdogSec=3min.
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "180000000");
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let start = Instant::now();
        let mut daemon = Daemon { child: command.spawn().unwrap(), ready_after: Duration::ZERO };
        let ready = until_ready(notify);
        let Ok(at) = ready.recv_timeout(PATIENCE) else {
            panic!("no READY=1\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        };
        daemon.ready_after = at - start;
        daemon
    }
}

/// As a secret's file should be, or the daemon has something to tell.
fn close_to_others(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The time of `READY=1`. Goes on reading as a service manager does: a full socket would make the
/// daemon wait. Ends when the daemon says that it stops.
fn until_ready(notify: UnixDatagram) -> Receiver<Instant> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = notify.recv(&mut buffer) {
            let at = Instant::now();
            let says = |word: &[u8]| buffer[..length].split(|b| *b == b'\n').any(|line| line == word);
            if says(b"READY=1") && sender.send(at).is_err() || says(b"STOPPING=1") {
                return;
            }
        }
    });
    receiver
}

/// A login with the program's own defaults.
const LOGIN: &str = "[daemon]\npoll = \"60s\"\n[[login]]\nid = \"claude\"\nprovider = \"claude\"\n";

/// A running daemon; told to end, and waited for, when dropped.
pub struct Daemon {
    child: Child,
    /// From before the start of the process to `READY=1`.
    pub ready_after: Duration,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
