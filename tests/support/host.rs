//! A made-up home with one login of Claude Code or of Codex, a stand-in for its provider, and the real program on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::claude::in_seconds;
use super::codex;
use super::provider::{Pair, Provider};
use super::run::{Ran, dress, run};
use super::strace::is_long;

/// The name of the only family.
pub const FAMILY: &str = "a";

/// What a refresh of the only login said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// The outcome word; empty when there was none.
    pub outcome: String,
    /// The sentence beside it.
    pub detail: String,
    /// Both outputs.
    pub text: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}: {}\n{}", self.code, self.outcome, self.detail, self.text)
    }
}

/// Whose login it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cli {
    Claude,
    Codex,
}

impl Cli {
    /// The provider's word, which is the id of the login as well.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    /// The credential file, below the home.
    const fn file(self) -> &'static str {
        match self {
            Self::Claude => ".claude/.credentials.json",
            Self::Codex => ".codex/auth.json",
        }
    }
}

/// One host.
pub struct Host {
    dir: tempfile::TempDir,
    cli: Cli,
    /// `$HOME`.
    pub home: PathBuf,
    /// The program under test.
    pub program: PathBuf,
    /// The provider.
    pub provider: Provider,
    /// What the login held first.
    pub pair: Pair,
}

impl Host {
    /// A login whose access token ended an hour ago, refreshed directly.
    pub fn new() -> Self {
        Self::expiring(-3600)
    }

    /// A login whose access token ends in so many seconds.
    pub fn expiring(seconds: i64) -> Self {
        Self::with(Cli::Claude, seconds)
    }

    /// A login of that CLI whose access token ends in so many seconds.
    pub fn with(cli: Cli, seconds: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join(cli.file()).parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.path().join("runtime")).unwrap();
        let provider = Provider::start(dir.path());
        let (pair, text) = match cli {
            Cli::Claude => {
                let pair = Pair::invent(FAMILY);
                let text = document(&pair, in_seconds(seconds));
                (pair, text)
            }
            Cli::Codex => {
                let pair = Pair::codex(FAMILY, seconds);
                let text = codex::document(&pair);
                provider.set(|s| s.expires_in = 864_000);
                (pair, text)
            }
        };
        provider.adopt(FAMILY, pair.clone());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_tokensink"));
        let host = Self { dir, cli, home, program, provider, pair };
        host.configure(&host.token_url(), "");
        host.write(&text);
        host
    }

    /// Where the program is told to refresh.
    pub fn token_url(&self) -> String {
        format!("{}/v1/oauth/token", self.provider.url())
    }

    /// Writes the configuration.
    pub fn configure(&self, token_url: &str, more: &str) {
        let file = self.home.join(".config/tokensink/tokensink.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text = format!(
            "[daemon]\npoll = \"5s\"\n[[login]]\nid = \"{0}\"\nprovider = \"{0}\"\npath = \"~/{1}\"\n\
             [login.refresh]\nmode = \"direct\"\ntoken_url = \"{token_url}\"\n{more}\n",
            self.cli.name(),
            self.cli.file(),
        );
        std::fs::write(file, text).unwrap();
    }

    /// The credential file.
    pub fn source(&self) -> PathBuf {
        self.home.join(self.cli.file())
    }

    /// Replaces the credential file as the CLI does.
    pub fn write(&self, text: &str) {
        let temp = self.source().with_file_name(".credentials.json.tmp.0a1b2c3d");
        std::fs::write(&temp, text).unwrap();
        std::fs::set_permissions(&temp, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(temp, self.source()).unwrap();
    }

    /// The text of the credential file.
    pub fn read(&self) -> String {
        std::fs::read_to_string(self.source()).unwrap()
    }

    /// Claude Code's two refresh locks and its write lock. Nobody makes them for Codex, whose own lock files stay and
    /// mean nothing by themselves.
    pub fn locks(&self) -> [PathBuf; 3] {
        let dir = self.home.join(".claude");
        [dir.join(".oauth_refresh.lock"), self.home.join(".claude.lock"), dir.join(".storage-write.lock")]
    }

    /// As if a minute had passed, and ten seconds of looking for each, for locks that no record says to be ours.
    pub fn pass_over_locks(&self) {
        let [refresh, legacy, write] = self.locks();
        let unrecorded = if self.intent().is_some() { vec![write] } else { vec![refresh, legacy, write] };
        for lock in unrecorded.iter().filter(|lock| lock.exists()) {
            if is_long() { age(lock, 70) } else { std::fs::remove_dir(lock).unwrap() }
        }
    }

    /// Our state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.home.join(".local/state/tokensink")
    }

    /// What is remembered of the refreshes of the login.
    pub fn memory(&self) -> Value {
        let text = std::fs::read(self.state_dir().join("state.json")).unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        value["logins"][self.cli.name()]["refresh"].clone()
    }

    /// Seconds between the last attempt and the earliest next one.
    pub fn wait(&self) -> Option<i64> {
        let memory = self.memory();
        Some((memory["not_before"].as_i64()? - memory["last_at"].as_i64()?) / 1000)
    }

    /// The text of the intent record.
    pub fn intent(&self) -> Option<String> {
        std::fs::read_to_string(self.state_dir().join(format!("intents/{}.json", self.cli.name()))).ok()
    }

    /// Requests that reached the token endpoint.
    pub fn requests(&self) -> usize {
        self.provider.ledger().token_requests().count()
    }

    /// The refresh token that works.
    pub fn live(&self) -> Pair {
        self.provider.ledger().live(FAMILY).clone()
    }

    /// Waits until a request is at the token endpoint, answered or not.
    pub fn wait_for_request(&self) {
        let seen = self.provider.wait_for(Duration::from_secs(30), |l| l.token_requests().next().is_some());
        assert!(seen, "a request within 30 s");
    }

    /// Where the live refresh token is to be found: `source`, `intent`, `memory` (the intent's
    /// spare place) or `nowhere`.
    pub fn place_of_live(&self) -> &'static str {
        let live = self.live().refresh;
        let holds = |directory: PathBuf| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
                .any(|text| text.contains(&live))
        };
        if std::fs::read_to_string(self.source()).is_ok_and(|text| text.contains(&live)) {
            "source"
        } else if holds(self.state_dir().join("intents")) {
            "intent"
        } else if holds(self.dir.path().join("runtime/tokensink")) {
            "memory"
        } else {
            "nowhere"
        }
    }

    /// Dresses a command in this host's environment and nothing else.
    pub fn dress<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        dress(command, &self.home, self.dir.path())
    }

    /// `tokensink` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.dress(&mut command).args(arguments);
        command
    }

    /// `tokensink` with these arguments after a shell script in mounts of its own.
    pub fn command_in_mounts(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
        command.arg(format!("{script}\nexec \"$0\" \"$@\"")).arg(&self.program).args(arguments);
        self.dress(&mut command);
        command
    }

    /// Runs `tokensink refresh --json` with more arguments to its end.
    pub fn refresh(&self, more: &[&str]) -> Said {
        self.say(&mut self.command(&[&["refresh", "--json"][..], more].concat()))
    }

    /// Runs a command that prints what `tokensink refresh --json` prints.
    pub fn say(&self, command: &mut Command) -> Said {
        self.said(&run(command, b""))
    }

    /// Starts `tokensink refresh --json`.
    pub fn start_refresh(&self, more: &[&str]) -> Child {
        let mut command = self.command(&[&["refresh", "--json"][..], more].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a started one said in the end.
    pub fn end(&self, child: Child) -> Said {
        let output = child.wait_with_output().unwrap();
        self.said(&Ran::of("tokensink refresh", &output))
    }

    /// The same of a command that was run to its end.
    pub fn said(&self, ran: &Ran) -> Said {
        let text = ran.both();
        self.assert_no_token_in(&text);
        let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let word = |name: &str| value["logins"][0][name].as_str().unwrap_or_default().to_owned();
        Said { code: ran.code, outcome: word("outcome"), detail: word("detail"), text }
    }

    /// Nothing was sent and nothing was changed.
    #[track_caller]
    pub fn assert_untouched(&self, before: &str) {
        assert_eq!(self.requests(), 0, "nothing is sent");
        assert_eq!(self.read(), before);
        assert!(self.intent().is_none());
    }

    /// No part of any token ever issued is in the text, nor in what is remembered.
    #[track_caller]
    pub fn assert_no_token_in(&self, text: &str) {
        let state = std::fs::read_to_string(self.state_dir().join("state.json")).unwrap_or_default();
        let ledger = self.provider.ledger();
        let granted = ledger.token_requests().filter_map(|r| r.verdict.as_ref()?.granted());
        for pair in granted.chain([&self.pair]) {
            for canary in pair.canaries() {
                assert!(!text.contains(&canary), "a token in the output: {text}");
                assert!(!state.contains(&canary), "a token in state.json");
            }
        }
    }

    /// Starts the daemon; its log goes to a file.
    pub fn start_daemon(&self) -> Daemon {
        self.start_daemon_until("")
    }

    /// Starts the daemon, which dies at that failpoint.
    pub fn start_daemon_until(&self, failpoint: &str) -> Daemon {
        let log = self.dir.path().join("daemon.log");
        let mut command = self.command(&["daemon"]);
        let child = command
            .env("TOKENSINK_FAILPOINT", failpoint)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Daemon { child, log }
    }
}

/// A running daemon, killed when it is dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        signal(&self.child, nix::sys::signal::Signal::SIGTERM);
    }

    /// Waits for its death by SIGKILL and returns its log.
    pub fn die(mut self) -> String {
        until("the daemon dies", 60, || is_dead(&self.child));
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}: {log}");
        log
    }

    /// Asks it to stop, waits for its end, and returns its log.
    pub fn stop(mut self) -> String {
        self.terminate();
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert!(status.success(), "the daemon ended with {status}: {log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True for a zombie that waits to be asked how it ended.
fn is_dead(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// A credential file whose every spelling is unusual.
pub fn document(pair: &Pair, expires_at: i64) -> String {
    let ends = in_seconds(20 * 86_400);
    format!(
        "{{\n\t\"mcpOAuth\": {{\"example|0\": {{\"accessToken\": \"invented\", \"expiresAt\": 1.50e3}}}},\n\
         \t\"claudeAiOauth\": {{\"refreshTokenExpiresAt\":{ends},\n\t\t\"accessToken\" : \"{}\",\n\
         \t\t\"refreshToken\":\"{}\", \"expiresAt\": {expires_at},\n\
         \t\t\"scopes\": [\"user:inference\",   \"user:profile\"], \"subscriptionType\": null,\n\
         \t\t\"rateLimitTier\": \"a\\u0062c\\/d\", \"unknownInside\": {{\"kept\": 1.0}}}},\n\
         \t\"big\": 123456789012345678901234567890, \"unknownBeside\": [1, 2.50, null] }}",
        pair.access, pair.refresh
    )
}

/// Makes the file's or directory's time lie so many seconds in the past (negative: ahead).
pub fn age(path: &Path, seconds: i64) {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let time = if seconds < 0 { now + span } else { now - span };
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Does the work of every case, some at a time, and returns the results in order.
pub fn in_parallel<C: Sync, R: Send>(cases: &[C], at_a_time: usize, work: impl Fn(&C) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<std::sync::Mutex<Option<R>>> = cases.iter().map(|_| None.into()).collect();
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some((slot, case)) = {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    results.get(at).zip(cases.get(at))
                } {
                    *slot.lock().unwrap() = Some(work(case));
                }
            });
        }
    });
    results.into_iter().map(|slot| slot.into_inner().unwrap().unwrap()).collect()
}
