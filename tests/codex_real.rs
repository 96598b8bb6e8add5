//! The real Codex CLI against the stand-in: the facts that the protocol of its refreshes is built on.
//!
//! Needs root (a network namespace with nothing but loopback) and npm (once). No real account, no network.
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

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchMask};
use serde_json::{Value, json};
use support::codex::{self, EXEC, OLD_VERSION, VERSION, document, plain_document};
use support::host::until;
use support::provider::{Ledger, OPENAI_ACCOUNT, Pair, Request};
use support::remote::Remote;
use support::run::{Ran, run};

const DAY: i64 = 86_400;

/// A home, and servers that nothing else can reach.
struct Bench {
    provider: Remote,
    home: PathBuf,
    pair: Pair,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// A login whose access token ends in so many seconds.
    fn new(seconds: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let mut provider = Remote::isolated(dir.path());
        provider.set(json!({"expires_in": 10 * DAY}));
        codex::configure(&home.join(".codex"), &provider.url());
        let pair = Pair::codex("a", seconds);
        provider.adopt("a", &pair);
        let bench = Self { provider, home, pair, _dir: dir };
        bench.write(&plain_document(&bench.pair));
        bench
    }

    fn file(&self) -> PathBuf {
        self.home.join(".codex/auth.json")
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    fn held(&self) -> String {
        self.read()["tokens"]["refresh_token"].as_str().unwrap().to_owned()
    }

    /// Replaces the file by renaming, as we do.
    fn write(&self, text: &str) {
        let temp = self.home.join("temp");
        std::fs::write(&temp, text).unwrap();
        std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(temp, self.file()).unwrap();
    }

    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.provider.pid().to_string(), "--net", "timeout", "90"]);
        command.arg(program).current_dir(&self.home).env_clear();
        command.envs(codex::environment(&self.home.display().to_string(), &self.provider.url()));
        command
    }

    fn run(&self, version: &str, arguments: &[&str]) -> Ran {
        run(self.inside(&support::npm::codex(version)).args(arguments), b"")
    }

    fn exec(&self) -> Ran {
        self.run(VERSION, &EXEC)
    }

    fn tokensink_configure(&self, mode: &str) {
        let url = self.provider.url();
        let text = format!(
            "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n[login.refresh]\nmode = \"{mode}\"\n\
             token_url = \"{url}/oauth/token\"\ngrants_per_day = 1440\n[login.refresh.env]\n\
             CODEX_REFRESH_TOKEN_URL_OVERRIDE = \"{url}/oauth/token\"\n"
        );
        let file = self.home.join(".config/tokensink/tokensink.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// `tokensink refresh --json`, and its outcome.
    fn tokensink_refresh(&self, more: &[&str]) -> String {
        let mut command = self.inside(Path::new(env!("CARGO_BIN_EXE_tokensink")));
        let bin = support::npm::codex(VERSION).parent().unwrap().display().to_string();
        command.env("PATH", format!("{bin}:/usr/bin:/bin"));
        let ran = run(command.args(["refresh", "--json"]).args(more), b"");
        let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let outcome = said["logins"][0]["outcome"].as_str();
        outcome.map_or_else(|| ran.to_string(), str::to_owned)
    }

    fn tokensink(&self, mode: &str, more: &[&str]) -> String {
        self.tokensink_configure(mode);
        self.tokensink_refresh(more)
    }
}

fn reasons(ledger: &Ledger) -> Vec<String> {
    let reason = |request: &Request| request.field("refresh_reason").unwrap_or_default();
    ledger.token_requests().map(reason).collect()
}

/// The app server of the CLI on pipes.
struct AppServer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl AppServer {
    fn start(bench: &Bench) -> Self {
        let mut command = bench.inside(&support::npm::codex(VERSION));
        command.arg("app-server").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Self { child, stdin, stdout };
        server.ask(1, "initialize", &json!({"clientInfo": {"name": "test", "version": "0"}}));
        server.say(&json!({"method": "initialized"}));
        server
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        self.say(&json!({"id": id, "method": method, "params": params}));
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message;
            }
            line.clear();
        }
        panic!("the server ended");
    }
}

impl Drop for AppServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What inotify says of a directory while something is done in it, without reading.
fn events_in(dir: &Path, work: impl FnOnce()) -> BTreeMap<(String, &'static str), usize> {
    let mut inotify = Inotify::init().unwrap();
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::CREATE | WatchMask::DELETE;
    inotify.watches().add(dir, mask).unwrap();
    work();
    let mut counts = BTreeMap::new();
    let mut buffer = [0; 65_536];
    while let Ok(events) = inotify.read_events(&mut buffer) {
        for event in events {
            let name = event.name.unwrap_or_default().to_string_lossy().into_owned();
            let kind = match event.mask & !EventMask::ISDIR {
                EventMask::CLOSE_WRITE => "close-write",
                EventMask::MOVED_TO => "moved-to",
                EventMask::CREATE => "create",
                _ => "delete",
            };
            *counts.entry((name, kind)).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_turn_with_a_token_in_its_last_five_minutes_rotates_and_renames() {
    let mut bench = Bench::new(280);
    bench.write(&document(&bench.pair));
    let inode = std::fs::metadata(bench.file()).unwrap().ino();
    support::npm::codex(VERSION);
    let began = Instant::now();
    let events = events_in(&bench.home.join(".codex"), || {
        assert_eq!(bench.exec().ok(), "ok");
    });
    println!("the CLI ran {:.1?}", began.elapsed());
    let ledger = bench.provider.ledger();
    for request in &ledger.requests {
        println!("{} {} -> {:?}", request.method, request.path, request.answered);
    }
    assert_eq!((reasons(&ledger), ledger.refused()), (vec!["proactive_expiry".to_owned()], 0));
    let request = ledger.token_requests().next().unwrap();
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let expected = json!({"client_id": codex::CLIENT, "grant_type": "refresh_token",
        "refresh_reason": "proactive_expiry", "refresh_token": bench.pair.refresh});
    assert_eq!(sent, expected);

    let (after, live) = (bench.read(), ledger.live("a"));
    assert_eq!(after["auth_mode"], "chatgpt");
    assert_eq!(after["tokens"]["access_token"], json!(live.access));
    assert_eq!(after["tokens"]["refresh_token"], json!(live.refresh));
    assert_eq!(after["tokens"]["account_id"], json!(OPENAI_ACCOUNT));
    assert_eq!(after["last_refresh"].as_str().unwrap().len(), 30, "nanoseconds: {}", after["last_refresh"]);
    // The override of the token endpoint is no place of the issuer's, so 0.169 forgets where the login came from.
    println!("after: {:?}", after["tokens"].as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!((after.get("unknownBeside"), after["tokens"].get("unknownInside")), (None, None));
    let metadata = std::fs::metadata(bench.file()).unwrap();
    assert_ne!(metadata.ino(), inode, "saved by rename");
    assert_eq!(metadata.mode() & 0o777, 0o600);

    println!("{events:?}");
    let count = |name: &str, kind| events.get(&(name.to_owned(), kind)).copied().unwrap_or(0);
    assert_eq!((count("auth.json", "moved-to"), count("auth.json", "close-write")), (1, 2));
    for (name, mode) in [("auth.lock", 0o644), ("auth.json.lock", 0o600)] {
        let metadata = std::fs::metadata(bench.home.join(".codex").join(name)).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777 & !0o022), (0, mode), "{name}");
        assert_eq!((count(name, "create"), count(name, "delete")), (1, 0), "{name}");
    }
}

#[test]
fn a_turn_with_more_than_five_minutes_left_asks_for_nothing() {
    let mut bench = Bench::new(330);
    assert_eq!(bench.exec().ok(), "ok");
    assert_eq!(bench.provider.ledger().token_requests().count(), 0);
    assert_eq!(bench.held(), bench.pair.refresh);
}

#[test]
fn running_and_new_processes_take_our_rewrite_without_a_request() {
    let mut bench = Bench::new(3600);
    let mut server = AppServer::start(&bench);
    let read = |server: &mut AppServer, id| server.ask(id, "account/read", &json!({"refreshToken": true}));
    assert_eq!(bench.tokensink("direct", &["--force"]), "rotated");
    let ours = bench.held();
    assert_eq!(ours, bench.provider.ledger().live("a").refresh);
    // It was started with the old tokens, and is even told to refresh: it takes what it finds.
    let answer = read(&mut server, 2);
    assert_eq!(answer["result"]["account"]["type"], "chatgpt", "{answer}");
    assert_eq!(bench.exec().ok(), "ok");
    let ledger = bench.provider.ledger();
    assert_eq!((reasons(&ledger), ledger.refused()), (vec!["scheduled".to_owned()], 0));
    assert_eq!(bench.held(), ours);
    // Told so again, with nothing new to find, it asks for itself.
    read(&mut server, 3);
    let ledger = bench.provider.ledger();
    assert_eq!(reasons(&ledger), ["scheduled", "forced"]);
    assert_eq!(bench.held(), ledger.live("a").refresh);
}

#[test]
fn the_app_server_refreshes_early_when_we_ask_it_to() {
    let mut bench = Bench::new(3600);
    assert_eq!(bench.tokensink("cli", &["--force"]), "rotated");
    let ledger = bench.provider.ledger();
    assert_eq!((reasons(&ledger), ledger.refused()), (vec!["forced".to_owned()], 0));
    assert_eq!(bench.held(), ledger.live("a").refresh);
    // Not due for nine days: nobody is started.
    assert_eq!(bench.tokensink("cli", &[]), "not-due");
}

#[test]
fn a_refusal_that_the_app_server_hears_stops_the_login_and_any_other_failure_does_not() {
    let invalid = r#"{"error":{"message":"x","code":"refresh_token_invalidated"}}"#;
    for (status, body, outcome, again) in [
        (401, invalid, "rejected", "blocked"),
        (400, r#"{"error":"invalid_grant"}"#, "rejected", "blocked"),
        (500, "oops", "failed", "blocked"),
    ] {
        let mut bench = Bench::new(3600);
        bench.provider.set(json!({"status": status, "body": body}));
        assert_eq!(bench.tokensink("cli", &["--force"]), outcome, "{status}");
        assert_eq!(bench.tokensink("cli", &[]), again, "{status}");
        assert_eq!(bench.held(), bench.pair.refresh, "nothing is deleted");
        let sent = bench.provider.ledger().token_requests().count();
        assert_eq!(sent, 1, "{status}");
        let state = std::fs::read_to_string(bench.home.join(".local/state/tokensink/state.json")).unwrap();
        assert_eq!(state.contains("\"rejected\""), outcome == "rejected", "{status}: {state}");
    }
}

#[test]
fn a_file_that_codex_could_not_replace_is_not_refreshed_by_it() {
    let spoilers: [fn(&Bench); 2] = [
        |bench| std::fs::hard_link(bench.file(), bench.home.join("twin")).unwrap(),
        |bench| std::fs::set_permissions(bench.file(), std::fs::Permissions::from_mode(0o400)).unwrap(),
    ];
    for spoil in spoilers {
        let mut bench = Bench::new(3600);
        spoil(&bench);
        assert_eq!(bench.tokensink("cli", &["--force"]), "not-sent");
        assert_eq!(bench.provider.ledger().token_requests().count(), 0);
        // It would have spent the token, and kept nothing.
        AppServer::start(&bench).ask(2, "account/read", &json!({"refreshToken": true}));
        let ledger = bench.provider.ledger();
        println!("{:?}, {} refused", reasons(&ledger), ledger.refused());
        assert_eq!((ledger.grants(), bench.held()), (1, bench.pair.refresh.clone()));
        assert_ne!(bench.held(), ledger.live("a").refresh, "the login is lost");
    }
}

#[test]
fn an_app_server_that_loses_its_input_in_mid_request_still_saves() {
    let mut bench = Bench::new(3600);
    bench.provider.set(json!({"delay_ms": 1500}));
    let mut server = AppServer::start(&bench);
    server.say(&json!({"id": 2, "method": "account/read", "params": {"refreshToken": true}}));
    assert!(bench.provider.wait_for_grants(1, Duration::from_secs(20)), "the request was sent");
    drop(server.stdin.take());
    let mut rest = String::new();
    while server.stdout.read_line(&mut rest).unwrap() > 0 {}
    server.child.wait().unwrap();
    assert_eq!(bench.held(), bench.provider.ledger().live("a").refresh);
}

#[test]
fn a_rotation_by_either_cli_reaches_a_sink() {
    for version in [VERSION, OLD_VERSION] {
        let mut bench = Bench::new(280);
        let configuration = "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n[login.refresh]\nmode = \"off\"\n\
                             [[sink]]\nid = \"env\"\nlogin = \"codex\"\nkind = \"env-file\"\npath = \"~/env\"\nkey = \"TOKEN\"\n";
        let (config, runtime) = (bench.home.join(".config/tokensink"), bench.home.join("runtime"));
        std::fs::create_dir_all(&config).unwrap();
        std::fs::create_dir_all(&runtime).unwrap();
        std::fs::write(config.join("tokensink.toml"), configuration).unwrap();
        let held = |bench: &Bench| std::fs::read_to_string(bench.home.join("env")).unwrap_or_default();
        let mut daemon = bench.inside(Path::new(env!("CARGO_BIN_EXE_tokensink")));
        daemon.arg("daemon").env("XDG_RUNTIME_DIR", &runtime).stdin(Stdio::null()).stderr(Stdio::null());
        let mut daemon = daemon.spawn().unwrap();
        until("the first pass", 20, || held(&bench).contains(&bench.pair.access));
        assert_eq!(bench.run(version, &EXEC).ok(), "ok");
        let live = bench.provider.ledger().live("a").access.clone();
        until("the sink follows", 10, || held(&bench).contains(&live));
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        daemon.wait().unwrap();
        assert_eq!(bench.provider.ledger().token_requests().count(), 1, "{version}: the CLI's own");
    }
}

#[test]
fn a_logout_revokes_and_deletes() {
    let mut bench = Bench::new(3600);
    let status = bench.run(VERSION, &["login", "status"]);
    assert_eq!((status.code, status.both().contains("Logged in using ChatGPT")), (Some(0), true), "{status}");
    assert_eq!(bench.run(VERSION, &["logout"]).code, Some(0));
    let ledger = bench.provider.ledger();
    let revoked: Vec<_> = ledger.requests.iter().filter(|r| r.path == "/oauth/revoke").collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].field("token").as_deref(), Some(bench.pair.refresh.as_str()));
    assert!(!bench.file().exists() && bench.home.join(".codex/auth.lock").exists());
    assert_eq!(bench.run(VERSION, &["login", "status"]).code, Some(1));
}

/// The same file with an access token only.
fn lease(pair: &Pair) -> String {
    let pair = Pair { refresh: String::new(), ..pair.clone() };
    plain_document(&pair).replace("\"chatgpt\"", "\"chatgptAuthTokens\"")
}

#[test]
fn a_lease_is_used_and_neither_spent_nor_revoked() {
    let mut bench = Bench::new(3600);
    bench.write(&lease(&bench.pair));
    assert_eq!(bench.exec().ok(), "ok");
    let over = Pair::codex("a", -60);
    bench.write(&lease(&over));
    assert_ne!(bench.exec().code, Some(0));
    assert_eq!(bench.run(VERSION, &["logout"]).code, Some(0));
    let ledger = bench.provider.ledger();
    assert_eq!(ledger.token_requests().count(), 0);
    assert!(!ledger.requests.iter().any(|r| r.path == "/oauth/revoke"));
}

#[test]
fn a_refused_lease_is_read_again_in_the_middle_of_a_turn() {
    let mut bench = Bench::new(3600);
    bench.write(&lease(&Pair::codex("another", 3600)));
    let mut command = bench.inside(&support::npm::codex(VERSION));
    let output = command.args(EXEC).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = output.spawn().unwrap();
    let is_refused = |r: &Request| r.path == "/v1/responses" && r.answered == Some(401);
    until("the turn is refused", 30, || bench.provider.ledger().requests.iter().any(is_refused));
    bench.write(&lease(&bench.pair));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "ok");
    assert_eq!(bench.provider.ledger().token_requests().count(), 0);
}

#[test]
fn an_old_cli_rotates_in_place_and_takes_our_rewrite() {
    let mut bench = Bench::new(280);
    let inode = std::fs::metadata(bench.file()).unwrap().ino();
    assert_eq!(bench.run(OLD_VERSION, &EXEC).ok(), "ok");
    let ledger = bench.provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused()), (1, 0));
    assert_eq!(bench.held(), ledger.live("a").refresh);
    assert_eq!(std::fs::metadata(bench.file()).unwrap().ino(), inode, "truncated and written again");
    assert!(!bench.home.join(".codex/auth.lock").exists(), "and no lock");
    assert_eq!(bench.tokensink("direct", &["--force"]), "rotated");
    assert_eq!(bench.run(OLD_VERSION, &EXEC).ok(), "ok");
    let ledger = bench.provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused(), bench.held()), (2, 0, ledger.live("a").refresh.clone()));
}

// ---- under load

/// How long they hammer; longer for `make test-long`.
fn duration() -> Duration {
    let seconds = std::env::var("TOKENSINK_RACE_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Requests of ours, requests of Codex, and refusals.
fn figures(ledger: &Ledger) -> (usize, usize, usize) {
    let ours = reasons(ledger).iter().filter(|reason| *reason == "scheduled").count();
    (ours, ledger.token_requests().count() - ours, ledger.refused())
}

/// Turns of Codex that ended well, and others, while we rotate the login all the time.
fn hammer(bench: &Bench) -> (usize, usize) {
    let (good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let end = Instant::now() + duration();
    bench.tokensink_configure("direct");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while Instant::now() < end {
                    let count = if bench.exec().code == Some(0) { &good } else { &bad };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while Instant::now() < end {
                bench.tokensink_refresh(&["--force"]);
            }
        });
    });
    (good.into_inner(), bad.into_inner())
}

#[test]
fn while_we_are_early_codex_spends_nothing() {
    let mut bench = Bench::new(DAY / 2);
    // Access tokens live to their end, whatever becomes of the refresh token beside them.
    bench.provider.set(json!({"api_auth": "any", "delay_ms": 30}));
    let (good, bad) = hammer(&bench);
    let ledger = bench.provider.ledger();
    let (ours, of_codex, refused) = figures(&ledger);
    println!(
        "early: {ours} rotations, {good} turns, {bad} failed, {of_codex} POSTs of Codex, {refused} refused"
    );
    assert_eq!((of_codex, refused, bad), (0, 0, 0));
    assert!(ours > 3 && good > 3, "there was a race");
    assert_eq!(bench.held(), ledger.live("a").refresh);
}

#[test]
fn when_every_rotation_ends_the_old_access_token_no_login_is_lost() {
    let mut bench = Bench::new(DAY / 2);
    bench.provider.set(json!({"api_auth": "live", "delay_ms": 30}));
    let (good, bad) = hammer(&bench);
    let (ours, of_codex, refused) = figures(&bench.provider.ledger());
    println!(
        "harsh: {ours} rotations, {good} turns, {bad} failed, {of_codex} POSTs of Codex, {refused} refused"
    );
    assert_eq!(bench.held(), bench.provider.ledger().live("a").refresh);
    assert_eq!(bench.exec().ok(), "ok");
}

/// What no protocol of ours can help: nobody is early, and two of them find the token in its last minutes.
#[test]
fn two_codex_processes_without_us_send_the_same_token() {
    let mut bench = Bench::new(200);
    bench.provider.set(json!({"api_auth": "any", "delay_ms": 500}));
    let (mut posts, mut failed) = (Vec::new(), 0);
    for _ in 0..4 {
        let before = bench.provider.ledger().token_requests().count();
        let pair = Pair::codex("a", 200);
        bench.provider.adopt("a", &pair);
        bench.write(&plain_document(&pair));
        std::thread::scope(|scope| {
            let turns = [scope.spawn(|| bench.exec()), scope.spawn(|| bench.exec())];
            failed +=
                turns.into_iter().map(|turn| turn.join().unwrap()).filter(|ran| ran.code != Some(0)).count();
        });
        posts.push(bench.provider.ledger().token_requests().count() - before);
        assert_eq!(bench.held(), bench.provider.ledger().live("a").refresh);
    }
    let refused = bench.provider.ledger().refused();
    println!("without us: POSTs per round {posts:?}, {refused} refused, {failed} turns failed");
    assert!(refused > 0, "their locks do not cover the request");
}
