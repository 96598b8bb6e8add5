//! Rotations of every provider, one after the other, while everything around the daemon is restarted: its bus, its
//! gateway, and it itself by SIGKILL. Nothing is lost, nothing drifts, nothing grows.
//!
//! A real user manager runs the daemon and the gateway as units. Here it is some dozens of rotations of the debug build, as
//! fast as they are carried; `make soak SOAK_SECONDS=3600` is an hour of one rotation a second with the release build. In
//! the second half nothing is killed any more, so that what grows can be seen.
//!
//! Needs root, systemd, dbus and dbus-user-session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/private_manager.rs"]
mod private_manager;
#[path = "support/release.rs"]
mod release;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use private_manager::PrivateManager;

/// How long a rotation may take to reach its sinks; the longest disturbance is part of it.
const PATIENCE: Duration = Duration::from_secs(60);
const DAEMON: &str = "soak-tokensink.service";
const GATEWAY: &str = "soak-gateway.service";
/// 2033-12-31, in seconds.
const FAR: i64 = 2_019_686_399;

/// A login: where its CLI keeps it, how the file is written, and which files have to hold the token then.
struct Login {
    provider: &'static str,
    file: &'static str,
    document: fn(&str) -> String,
    /// Whether the CLI writes in place instead of renaming.
    in_place: bool,
    sinks: Vec<PathBuf>,
}

fn jwt(token: &str) -> String {
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = format!("{{\"exp\":{FAR},\"jti\":\"{token}\"}}");
    format!("{}.{}.{token}", encode("{\"alg\":\"none\"}"), encode(&claims))
}

fn logins() -> Vec<Login> {
    let login =
        |provider, file, in_place, document| Login { provider, file, document, in_place, sinks: vec![] };
    vec![
        login("claude", ".claude/.credentials.json", false, |token| {
            format!(
                "{{\"claudeAiOauth\":{{\"accessToken\":\"sk-ant-oat01-{token}\",\"refreshToken\":\"sk-ant-ort01-{token}\",\
                 \"expiresAt\":{FAR}000,\"scopes\":[\"user:inference\"],\"subscriptionType\":\"max\"}}}}"
            )
        }),
        login("codex", ".codex/auth.json", true, |token| {
            format!(
                "{{\"auth_mode\":\"chatgpt\",\"OPENAI_API_KEY\":null,\"tokens\":{{\"id_token\":\"{}\",\"access_token\":\"{}\",\
                 \"refresh_token\":\"rt_{token}\",\"account_id\":\"acct\"}},\"last_refresh\":\"2026-11-20T17:15:48.76Z\"}}",
                jwt("id"),
                jwt(token)
            )
        }),
        login("gemini", ".gemini/oauth_creds.json", true, |token| {
            format!(
                "{{\"access_token\":\"{token}\",\"refresh_token\":\"r\",\"scope\":\"a\",\"token_type\":\"Bearer\",\
                 \"expiry_date\":{FAR}000}}"
            )
        }),
        login("qwen", ".qwen/oauth_creds.json", false, |token| {
            format!(
                "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"refresh_token\":\"r-{token}\",\
                 \"expiry_date\":{FAR}000}}"
            )
        }),
        login("kimi", ".kimi-code/credentials/kimi-code.json", false, |token| {
            format!(
                "{{\"access_token\":\"{token}\",\"refresh_token\":\"r-{token}\",\"expires_at\":{FAR}.0,\"expires_in\":900,\
                 \"scope\":\"kimi-code\",\"token_type\":\"Bearer\"}}"
            )
        }),
        login("opencode", ".local/share/opencode/auth.json", true, |token| {
            format!(
                "{{\"openai\":{{\"type\":\"oauth\",\"access\":\"{token}\",\"refresh\":\"r-{token}\",\"expires\":{FAR}000}}}}"
            )
        }),
        login("copilot", ".copilot/config.json", false, |token| {
            format!(
                "{{\"lastLoggedInUser\":{{\"host\":\"https://github.com\",\"login\":\"ann\"}},\
                 \"authTokens\":{{\"https://github.com:ann:github\":{{\"token\":\"{token}\"}}}}}}"
            )
        }),
        login("minimax", ".mmx/config.json", false, |token| {
            format!(
                "{{\"region\":\"global\",\"oauth\":{{\"access_token\":\"{token}\",\"refresh_token\":\"r-{token}\",\
                 \"expires_at\":\"2033-12-31T23:59:59.000Z\",\"region\":\"global\",\"account\":\"a-1\"}}}}"
            )
        }),
    ]
}

/// The daemon, the gateway and the files of a soak.
struct Soak {
    manager: PrivateManager,
    home: PathBuf,
    logins: Vec<Login>,
    tokens: Vec<String>,
}

impl Soak {
    fn start(program: &Path) -> Self {
        let manager = PrivateManager::isolated();
        let home = manager.home();
        let mut soak = Self { manager, home, logins: logins(), tokens: Vec::new() };
        let mut configuration = String::from("[daemon]\npoll = \"60s\"\n");
        for at in 0..soak.logins.len() {
            let provider = soak.logins[at].provider;
            let source = soak.home.join(soak.logins[at].file);
            fs::create_dir_all(source.parent().unwrap()).unwrap();
            let _ = writeln!(
                configuration,
                "[[login]]\nid = \"{provider}\"\nprovider = \"{provider}\"\n[login.refresh]\nmode = \"off\"\n[[sink]]\n\
                 id = \"{provider}-secret\"\nlogin = \"{provider}\"\nkind = \"secret-file\"\npath = \"~/sinks/{provider}.json\""
            );
            soak.logins[at].sinks.push(soak.home.join(format!("sinks/{provider}.json")));
            soak.tokens.push(String::new());
            soak.rotate(at, 0);
        }
        configuration += SINKS;
        for (login, path) in SINK_FILES {
            let at = soak.logins.iter().position(|l| l.provider == login).unwrap();
            soak.logins[at].sinks.push(soak.home.join(path));
        }
        for directory in
            ["sinks", "stack", ".openclaw/credentials", ".openclaw/agents/main/agent", ".config/tokensink"]
        {
            fs::create_dir_all(soak.home.join(directory)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(soak.home.join(name), text).unwrap();
        write("stack/.env", "OTHER=kept\n");
        write("stack/form", "token: {{access_token}}\n");
        write(".openclaw/openclaw.json", r#"{"meta": {"lastTouchedVersion": "2026.2.9"}}"#);
        write(".openclaw/agents/main/agent/auth-profiles.json", "{\"version\": 1, \"profiles\": {}}\n");
        write(".config/tokensink/tokensink.toml", &configuration);
        soak.manager.write_unit(
            GATEWAY,
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'cp %h/stack/.env %h/seen; exec sleep infinity'\n",
        );
        soak.manager.write_unit(
            DAEMON,
            &format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart={} daemon\nExecReload=/bin/kill -HUP $MAINPID\n\
                 Restart=always\nRestartSec=100ms\nWatchdogSec=3min\nStandardError=append:%h/log\n",
                program.display()
            ),
        );
        // The bus comes and goes more often than its units allow by themselves.
        for unit in ["dbus.service", "dbus.socket"] {
            let directory = soak.home.join(format!(".config/systemd/user/{unit}.d"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("soak.conf"), "[Unit]\nStartLimitIntervalSec=0\n").unwrap();
        }
        soak.manager.daemon_reload();
        soak.manager.systemctl_ok(&["start", GATEWAY, DAEMON]);
        soak
    }

    /// The CLI has refreshed its tokens.
    fn rotate(&mut self, at: usize, round: u32) {
        let login = &self.logins[at];
        let token = format!("soak-{round:06}-{}", login.provider);
        let (path, text) = (self.home.join(login.file), (login.document)(&token));
        if login.in_place {
            fs::write(&path, text).unwrap();
        } else {
            let temporary = path.with_extension("new");
            fs::write(&temporary, text).unwrap();
            fs::rename(&temporary, &path).unwrap();
        }
        self.tokens[at] = token;
    }

    /// Until every sink of the login has its token.
    fn carried(&self, at: usize) -> Duration {
        let start = Instant::now();
        let needle = match self.logins[at].provider {
            "codex" => jwt(&self.tokens[at]),
            _ => self.tokens[at].clone(),
        };
        let holds = |sink: &PathBuf| fs::read_to_string(sink).is_ok_and(|text| text.contains(&needle));
        while !self.logins[at].sinks.iter().all(holds) {
            if start.elapsed() > PATIENCE {
                let behind: Vec<_> = self.logins[at].sinks.iter().filter(|sink| !holds(sink)).collect();
                panic!("{needle} did not reach {behind:?}\n{}\n{}", self.log(), self.manager.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        start.elapsed()
    }

    /// What happens around the daemon in this round.
    fn disturb(&self, round: u32, kills: bool) {
        if round % 7 == 3 {
            self.manager.systemctl_ok(&["restart", GATEWAY]);
        }
        if round % 11 == 5 {
            self.manager.stop_bus();
            self.manager.start_bus();
        }
        if round % 17 == 8 {
            self.manager.systemctl_ok(&["reload", DAEMON]);
        }
        if round % 19 == 2 {
            fs::write(self.home.join(".claude/other"), "x").unwrap();
            fs::remove_file(self.home.join(".claude/other")).unwrap();
        }
        if kills && round % 13 == 6 {
            self.manager.systemctl_ok(&["kill", "--signal=KILL", DAEMON]);
        }
    }

    /// Process id, resident memory in KiB and open files of the daemon.
    fn cost(&self) -> (u32, u64, usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pid = self
                .manager
                .systemctl_ok(&["show", "--property=MainPID", "--value", DAEMON])
                .parse()
                .unwrap();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            if let (Some(rss), Ok(files)) = (rss, fs::read_dir(format!("/proc/{pid}/fd"))) {
                return (pid, rss.split_whitespace().next().unwrap().parse().unwrap(), files.count());
            }
            assert!(Instant::now() < deadline, "the daemon does not come back\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Names below a directory that are temporary files of ours.
    fn left_over(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.is_symlink() {
                Self::left_over(&entry, found);
            } else if entry.to_string_lossy().contains("/.tokensink.") {
                found.push(entry);
            }
        }
    }

    /// Everything is as it should be when all is over.
    fn judge(&self, program: &Path) {
        for at in 0..self.logins.len() {
            self.carried(at);
        }
        // The gateway follows, when its interval has passed.
        let claude = self.tokens[0].clone();
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(self.home.join("seen")).is_ok_and(|seen| seen.contains(&claude)) {
            assert!(Instant::now() < deadline, "the gateway has not followed\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.manager.systemctl_ok(&["stop", DAEMON]);
        let output = self.manager.command(program).args(["status", "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for sink in report["sinks"].as_array().unwrap() {
            assert_eq!(sink["state"], "current", "{sink}");
        }
        let findings = report["findings"].as_array().unwrap();
        let bad: Vec<_> = findings.iter().filter(|finding| finding["severity"] == "critical").collect();
        assert!(bad.is_empty(), "{bad:?}");
        let mut left = Vec::new();
        Self::left_over(&self.home, &mut left);
        assert!(left.is_empty(), "{left:?}");
        for name in ["state.json", "history.jsonl", "alerts.json"] {
            let size = fs::metadata(self.home.join(".local/state/tokensink").join(name))
                .map_or(0, |meta| meta.len());
            println!("{name}: {size} bytes");
            assert!(size <= 1 << 20, "{name} grows: {size} bytes");
        }
    }
}

const SINKS: &str = r#"
[[sink]]
id = "oauth"
login = "claude"
kind = "oauth-json"
path = "~/.openclaw/credentials/oauth.json"
[[sink]]
id = "env"
login = "claude"
kind = "env-file"
path = "~/stack/.env"
key = "ANTHROPIC_OAUTH_TOKEN"
[[sink]]
id = "view"
login = "claude"
kind = "claude-credentials"
path = "~/sinks/.credentials.json"
[[sink]]
id = "store"
login = "claude"
kind = "auth-profiles"
state_dir = "~/.openclaw"
[[sink]]
id = "codex-view"
login = "codex"
kind = "codex-auth"
path = "~/sinks/auth.json"
[[sink]]
id = "form"
login = "gemini"
kind = "template"
source = "~/stack/form"
path = "~/sinks/form"
[[sink]]
id = "command"
login = "qwen"
kind = "command"
command = ["/bin/sh", "-c", "cat >$HOME/sinks/command"]
[[gateway]]
id = "gateway"
sinks = ["env"]
unit = "soak-gateway.service"
min_interval = "5s"
"#;

/// The files of those sinks.
const SINK_FILES: [(&str, &str); 7] = [
    ("claude", ".openclaw/credentials/oauth.json"),
    ("claude", "stack/.env"),
    ("claude", "sinks/.credentials.json"),
    ("claude", ".openclaw/agents/main/agent/auth-profiles.json"),
    ("codex", "sinks/auth.json"),
    ("gemini", "sinks/form"),
    ("qwen", "sinks/command"),
];

#[test]
fn rotations_of_every_provider_arrive_while_everything_around_is_restarted() {
    let seconds: Option<u64> = std::env::var("TOKENSINK_SOAK_SECONDS").ok().map(|text| text.parse().unwrap());
    let program = match seconds {
        None => PathBuf::from(env!("CARGO_BIN_EXE_tokensink")),
        Some(_) => release::program(),
    };
    let mut soak = Soak::start(&program);
    // At one a second; without a pace as many as a short test may have.
    let rounds = seconds.map_or(64, |seconds| u32::try_from(seconds).unwrap());
    let (mut latencies, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let start = Instant::now();
        let at = round as usize % soak.logins.len();
        let kills = round < rounds / 2;
        soak.disturb(round, kills);
        soak.rotate(at, round);
        latencies.push(soak.carried(at));
        if !kills && round % (rounds / 16).max(1) == 0 {
            let (pid, rss, files) = soak.cost();
            println!("round {round}: pid {pid}, RSS {rss} KiB, {files} open files");
            costs.push((pid, rss, files));
        }
        if seconds.is_some() {
            std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        }
    }
    soak.judge(&program);
    latencies.sort();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    println!("{rounds} rotations, all carried: median {:?}, p95 {:?}, longest {:?}", at(50), at(95), at(100));
    // One process through the whole second half. Connections come and go, and an allocator keeps some: what leaks with
    // each rotation is more.
    let ((first, before, files), (last, after, files_after)) = (costs[1], *costs.last().unwrap());
    assert_eq!(first, last, "the daemon was replaced");
    assert!(files_after <= files + 8, "open files: {files} before, {files_after} after");
    assert!(after < before + 2048, "RSS {before} KiB before, {after} KiB after");
}
