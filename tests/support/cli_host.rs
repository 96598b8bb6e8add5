//! A made-up home whose login is refreshed by an official CLI: with a private user manager, or
//! without any; in a network namespace in which there is nothing but the stand-in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::claude::{document, in_seconds};
use super::host::signal;
use super::npm::claude_code;
use super::private_manager::PrivateManager;
use super::provider::Pair;
use super::remote::{Remote, stand_in_program};
use super::run::run;

/// The name of the only family.
pub const FAMILY: &str = "a";

/// What `tokensink refresh --json` said of the only login.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: Option<i32>,
    pub outcome: String,
    pub detail: String,
    pub text: String,
}

/// One host.
pub struct CliHost {
    dir: tempfile::TempDir,
    pub manager: Option<PrivateManager>,
    pub provider: Remote,
    /// What the login held first.
    pub pair: Pair,
    /// The program under test.
    pub program: PathBuf,
}

impl CliHost {
    /// A login whose access token ends in so many seconds, and a user manager if wanted. There is
    /// no CLI yet.
    pub fn new(has_manager: bool, seconds: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manager = has_manager.then(PrivateManager::isolated);
        let mut provider = match &manager {
            None => Remote::isolated(dir.path()),
            Some(manager) => {
                let mut stand_in = manager.command(stand_in_program());
                stand_in.arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
                Remote::attach(stand_in.spawn().unwrap())
            }
        };
        let pair = provider.seed(FAMILY);
        let program = PathBuf::from(env!("CARGO_BIN_EXE_tokensink"));
        let host = Self { dir, manager, provider, pair, program };
        for name in [".claude", ".config/tokensink", ".local/bin"] {
            fs::create_dir_all(host.home().join(name)).unwrap();
        }
        host.write(&document(&host.pair, in_seconds(seconds)).to_string());
        host.configure("mode = \"cli\"");
        host
    }

    /// The same with the real CLI of that version.
    pub fn with_claude(has_manager: bool, seconds: i64, version: &str) -> Self {
        let host = Self::new(has_manager, seconds);
        std::os::unix::fs::symlink(claude_code(version), host.cli()).unwrap();
        host
    }

    /// The same with a script of ours in its place.
    pub fn with_script(has_manager: bool, seconds: i64, script: &str) -> Self {
        let host = Self::new(has_manager, seconds);
        host.script(script);
        host
    }

    pub fn home(&self) -> PathBuf {
        self.manager.as_ref().map_or_else(|| self.dir.path().join("home"), PrivateManager::home)
    }

    fn cli(&self) -> PathBuf {
        self.home().join(".local/bin/claude")
    }

    /// Puts a shell script in the place of the CLI; `--version` and `--help` are answered for it.
    pub fn script(&self, script: &str) {
        let _ = fs::remove_file(self.cli());
        let text = format!(
            "#!/bin/sh\ncase \"$1\" in --version) echo \"${{VERSION:-2.1.329 (Claude Code)}}\"; exit;; --help) exit;; esac\n{script}\n"
        );
        fs::write(self.cli(), text).unwrap();
        fs::set_permissions(self.cli(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Writes the configuration: one login, with these lines in its refresh table, and a sink.
    pub fn configure(&self, refresh: &str) {
        let text = format!(
            "[daemon]\npoll = \"5s\"\n\
             [[login]]\nid = \"claude\"\nprovider = \"claude\"\npath = \"~/.claude/.credentials.json\"\n\
             [login.refresh]\n{refresh}\n\
             [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"~/oauth.json\"\nrefresh = true\n"
        );
        fs::write(self.home().join(".config/tokensink/tokensink.toml"), text).unwrap();
    }

    pub fn source(&self) -> PathBuf {
        self.home().join(".claude/.credentials.json")
    }

    /// Replaces the credential file as the CLI does.
    pub fn write(&self, text: &str) {
        let temp = self.home().join(".claude/.credentials.json.tmp.0a1b2c3d");
        fs::write(&temp, text).unwrap();
        fs::set_permissions(&temp, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::rename(temp, self.source()).unwrap();
    }

    pub fn read(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub fn text(&self) -> String {
        fs::read_to_string(self.source()).unwrap()
    }

    /// The sink.
    pub fn copy(&self) -> String {
        fs::read_to_string(self.home().join("oauth.json")).unwrap_or_default()
    }

    /// The two refresh locks and the write lock.
    pub fn locks(&self) -> [PathBuf; 3] {
        let (home, dir) = (self.home(), self.home().join(".claude"));
        [dir.join(".oauth_refresh.lock"), home.join(".claude.lock"), dir.join(".storage-write.lock")]
    }

    pub fn no_locks(&self) -> bool {
        self.locks().iter().all(|lock| !lock.exists())
    }

    pub fn state_dir(&self) -> PathBuf {
        self.home().join(".local/state/tokensink")
    }

    /// What is remembered of the refreshes of the login.
    pub fn memory(&self) -> Value {
        let text = fs::read(self.state_dir().join("state.json")).unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        value["logins"]["claude"]["refresh"].clone()
    }

    /// The refresh token that works.
    pub fn live(&mut self) -> String {
        self.provider.ledger().live(FAMILY).refresh.clone()
    }

    /// Requests at the token endpoint, and those that were refused.
    pub fn requests(&mut self) -> (usize, usize) {
        let ledger = self.provider.ledger();
        (ledger.token_requests().count(), ledger.refused())
    }

    /// Where the live refresh token is: `source`, our `state` (intent or scratch), or `nowhere`.
    pub fn place_of_live(&mut self) -> &'static str {
        let live = self.live();
        let holds = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(&live));
        if holds(&self.source()) {
            "source"
        } else if files_under(&self.state_dir()).iter().any(|path| holds(path)) {
            "state"
        } else {
            "nowhere"
        }
    }

    /// A program in this host's namespaces and environment.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = match &self.manager {
            Some(manager) => manager.command(program.as_ref()),
            None => {
                let mut command = Command::new("nsenter");
                command.args(["-t", &self.provider.pid().to_string(), "--net"]).arg(program.as_ref());
                command.env_clear().env("HOME", self.home()).env("PATH", "/usr/bin:/bin");
                command.env("XDG_RUNTIME_DIR", self.dir.path());
                command
            }
        };
        command
            .envs([("HTTPS_PROXY", self.provider.url()), ("NODE_EXTRA_CA_CERTS", self.provider.ca.clone())]);
        command.env("TOKENSINK_LOG", "debug").current_dir(self.home());
        command
    }

    /// `tokensink` with these arguments.
    pub fn tokensink(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments);
        command
    }

    /// Runs `tokensink refresh --json` with more arguments to its end.
    pub fn refresh(&mut self, more: &[&str]) -> Said {
        let mut command = self.tokensink(&[&["refresh", "--json"][..], more].concat());
        self.said(&mut command)
    }

    pub fn said(&mut self, command: &mut Command) -> Said {
        let ran = run(command, b"");
        self.assert_no_token_in(&ran.both());
        let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let word = |name: &str| value["logins"][0][name].as_str().unwrap_or_default().to_owned();
        Said { code: ran.code, outcome: word("outcome"), detail: word("detail"), text: ran.both() }
    }

    /// No part of any token ever issued is in the text, nor in what is remembered.
    #[track_caller]
    pub fn assert_no_token_in(&mut self, text: &str) {
        let state = fs::read_to_string(self.state_dir().join("state.json")).unwrap_or_default();
        let ledger = self.provider.ledger();
        let granted = ledger.token_requests().filter_map(|r| r.verdict.as_ref()?.granted());
        for canary in granted.chain([&self.pair]).flat_map(Pair::canaries) {
            assert!(!text.contains(&canary), "a token in the output: {text}");
            assert!(!state.contains(&canary), "a token in state.json");
        }
    }

    /// Starts the daemon; its log goes to a file.
    pub fn start_daemon(&self) -> Daemon {
        let log = self.dir.path().join("daemon.log");
        let mut command = self.tokensink(&["daemon"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Daemon { child: command.spawn().unwrap(), log }
    }
}

/// Every file under a directory.
pub fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A running daemon, killed when it is dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(mut self) -> String {
        signal(&self.child, Signal::SIGTERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
