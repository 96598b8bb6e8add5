//! Refreshing a login of Codex by a request of our own, as the real program against the stand-in: what is
//! sent, what is stored, which locks are held, what is left alone.
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

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::claude::in_seconds;
use support::codex::{CLIENT, document, plain_document};
use support::host::{Cli, FAMILY, Host, Said, in_parallel, until};
use support::private_manager::PrivateManager;
use support::provider::{Fault, Pair};

const DAY: i64 = 86_400;

/// A login that ended an hour ago.
fn host() -> Host {
    Host::with(Cli::Codex, -3600)
}

fn value(host: &Host) -> Value {
    serde_json::from_str(&host.read()).unwrap()
}

fn codex_home(host: &Host) -> PathBuf {
    host.home.join(".codex")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn assert_outcome(said: &Said, code: i32, outcome: &str) {
    assert_eq!((said.code, said.outcome.as_str()), (Some(code), outcome), "{said}");
}

/// Another program that holds that lock until its input ends.
fn hold(lock: &Path) -> Child {
    let mut command = Command::new("flock");
    command.arg(lock).args(["sh", "-c", "echo held; exec cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

fn let_go(mut holder: Child) {
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn a_rotation_changes_three_tokens_and_the_date_and_no_other_byte() {
    let host = host();
    let (before, old) = (host.read(), value(&host));
    assert_outcome(&host.refresh(&[]), 0, "rotated");
    let (live, new) = (host.live(), value(&host));
    let [old_id, new_id] = [&old, &new].map(|v| v["tokens"]["id_token"].as_str().unwrap().to_owned());
    let [old_date, new_date] = [&old, &new].map(|v| v["last_refresh"].as_str().unwrap().to_owned());
    let expected = before
        .replace(&old_id, &new_id)
        .replace(&host.pair.access, &live.access)
        .replace(&host.pair.refresh, &live.refresh)
        .replace(&old_date, &new_date);
    assert_eq!(host.read(), expected);
    assert!(new_date.len() == 30 && new_date.ends_with('Z') && new_date > old_date, "{new_date}");
    assert_eq!(mode(&host.source()), 0o600);
    assert!(host.intent().is_none());

    let ledger = host.provider.ledger();
    let request = ledger.token_requests().next().unwrap();
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let expected = json!({"client_id": CLIENT, "grant_type": "refresh_token", "refresh_reason": "scheduled",
        "refresh_token": host.pair.refresh});
    assert_eq!(sent, expected);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!((ledger.grants(), ledger.refused(), host.requests()), (1, 0, 1));

    // Codex's locks are there, empty, as it makes them, and free.
    for (name, bits) in [("auth.lock", 0o644), ("auth.json.lock", 0o600)] {
        let lock = codex_home(&host).join(name);
        assert_eq!((mode(&lock) & !0o022, std::fs::metadata(&lock).unwrap().len()), (bits, 0), "{name}");
        assert!(Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success());
    }
    // The stand-in says `expires_in: 1`; the token itself says ten days.
    assert_outcome(&host.refresh(&[]), 0, "not-due");
    assert_eq!(host.requests(), 1);
}

#[test]
fn what_an_answer_does_not_bring_stays() {
    let host = host();
    let fresh = Pair::codex("x", 10 * DAY);
    host.provider
        .set(|s| (s.status, s.body) = (Some(200), json!({"access_token": fresh.access}).to_string()));
    let before = value(&host);
    assert_outcome(&host.refresh(&[]), 0, "kept");
    let after = value(&host);
    assert_eq!(after["tokens"]["access_token"], json!(fresh.access));
    for key in
        ["refresh_token", "id_token", "account_id", "login_owner_id", "oauth_provenance", "unknownInside"]
    {
        assert_eq!(after["tokens"][key], before["tokens"][key], "{key}");
    }
    assert_ne!(after["last_refresh"], before["last_refresh"]);
}

#[test]
fn a_login_is_due_a_day_before_its_end_or_at_half_of_its_life() {
    for (days, margin) in [(10, DAY), (1, DAY / 2)] {
        let host = Host::with(Cli::Codex, days * DAY);
        // From when on it is seen is what half of its life is counted from.
        assert_eq!(host.command(&["sync"]).output().unwrap().status.code(), Some(0));
        assert_outcome(&host.refresh(&[]), 0, "not-due");
        let output = host.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let next = status["logins"][0]["refresh"]["next_at"].as_i64().expect("a time");
        // Due times are spread: by up to a tenth of the margin earlier.
        let latest = days * DAY - margin;
        let expected = in_seconds(latest - margin / 10 - 60)..=in_seconds(latest + 60);
        assert!(expected.contains(&next), "{days} days: {expected:?}; {status}");
        assert_eq!(host.requests(), 0);
    }
}

#[test]
fn a_link_is_followed_and_stays() {
    let host = host();
    let real = host.home.join("elsewhere/real.json");
    std::fs::create_dir(real.parent().unwrap()).unwrap();
    std::fs::rename(host.source(), &real).unwrap();
    std::os::unix::fs::symlink("../elsewhere/real.json", host.source()).unwrap();
    assert_outcome(&host.refresh(&[]), 0, "rotated");
    assert!(host.source().is_symlink());
    assert_eq!(host.place_of_live(), "source");
    let names = |dir: &Path| {
        let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names(real.parent().unwrap()), ["real.json", "real.json.lock"]);
    assert_eq!(names(&codex_home(&host)), ["auth.json", "auth.lock"]);
}

// ---- locks

#[test]
fn a_commit_of_codex_is_waited_for_and_adopted() {
    let host = host();
    let holder = hold(&codex_home(&host).join("auth.lock"));
    let ours = host.start_refresh(&[]);
    until("the command waits", 10, || host.state_dir().join("intents/codex.lock").exists());
    let other = Pair::codex(FAMILY, 10 * DAY);
    host.provider.adopt(FAMILY, other.clone());
    host.write(&document(&other));
    let_go(holder);
    assert_outcome(&host.end(ours), 0, "adopted");
    assert_eq!((host.requests(), host.place_of_live()), (0, "source"));
}

#[test]
fn a_lock_that_stays_busy_sends_nothing() {
    let host = host();
    let before = host.read();
    let holder = hold(&codex_home(&host).join("auth.lock"));
    assert_outcome(&host.refresh(&[]), 1, "not-sent");
    host.assert_untouched(&before);
    let_go(holder);
}

#[test]
fn new_tokens_wait_longer_for_the_commit_lock_than_codex_would() {
    let host = host();
    let holder = hold(&codex_home(&host).join("auth.json.lock"));
    let ours = host.start_refresh(&[]);
    until("the answer is on record", 20, || host.place_of_live() == "intent");
    let_go(holder);
    assert_outcome(&host.end(ours), 0, "rotated");
    assert_eq!(host.place_of_live(), "source");
}

#[test]
fn several_refreshers_that_share_nothing_but_the_file_spend_no_token_twice() {
    let host = host();
    host.provider.set(|s| s.delay_ms = 100);
    let start = |number: usize| {
        let mut command = host.command(&["refresh", "--json", "--force"]);
        command.env("XDG_STATE_HOME", host.home.join(format!("state-{number}")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<Child> = (0..4).map(start).collect();
    let mut outcomes: Vec<String> = started.into_iter().map(|child| host.end(child).outcome).collect();
    outcomes.sort();
    // Who waited for the lock finds another login than the one it was asked to refresh.
    assert_eq!(
        (outcomes.first().unwrap().as_str(), outcomes.last().unwrap().as_str()),
        ("adopted", "rotated")
    );
    assert!(outcomes.iter().all(|outcome| outcome == "adopted" || outcome == "rotated"), "{outcomes:?}");
    assert_eq!((host.provider.ledger().refused(), host.place_of_live()), (0, "source"));
}

// ---- refused

#[test]
fn a_refused_token_waits_without_the_lock_for_the_commit_of_whoever_spent_it() {
    let host = host();
    let (other, file) = (Pair::codex(FAMILY, 10 * DAY), host.home.join("new.json"));
    // Codex has spent the token and waits for our lock with the answer in its memory.
    host.provider.adopt(FAMILY, other.clone());
    host.provider.set(|s| s.delay_ms = 300);
    std::fs::write(&file, plain_document(&other)).unwrap();
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    let mut codex = Command::new("flock");
    codex.arg(codex_home(&host).join("auth.lock")).arg("mv").args([&file, &host.source()]);
    assert!(codex.status().unwrap().success());
    assert_outcome(&host.end(ours), 0, "adopted");
    assert_eq!((host.requests(), host.place_of_live()), (1, "source"));
    assert_eq!(host.provider.ledger().refused(), 1);
}

struct Row(&'static str, u16, &'static str, Fault);

const ROWS: [Row; 12] = [
    Row("reused", 401, r#"{"error":{"code":"refresh_token_reused","message":"m"}}"#, Fault::None),
    Row("expired", 401, r#"{"error":{"code":"refresh_token_expired"}}"#, Fault::None),
    Row("invalidated", 401, r#"{"error":"refresh_token_invalidated"}"#, Fault::None),
    Row("terminated", 401, r#"{"code":"app_session_terminated"}"#, Fault::None),
    Row("invalid_grant", 400, r#"{"error":"invalid_grant"}"#, Fault::None),
    Row("401 of an edge", 401, "<html></html>", Fault::None),
    Row("invalid_client", 401, r#"{"error":"invalid_client"}"#, Fault::None),
    Row("country", 403, r#"{"error":{"code":"unsupported_country_region_territory"}}"#, Fault::None),
    Row("500", 500, "{}", Fault::None),
    Row("200 without a token", 200, r#"{"id_token":"a.b.c"}"#, Fault::None),
    Row("cut before the grant", 0, "", Fault::CutBeforeGrant),
    Row("cut after the grant", 0, "", Fault::CutAfterGrant),
];

/// What was answered | the outcome, the wait in seconds and the stop.
const EXPECTED: &str = "\
reused | rejected 60 rejected
expired | rejected 60 rejected
invalidated | rejected 60 rejected
terminated | rejected 60 rejected
invalid_grant | rejected 60 rejected
401 of an edge | failed 14400 -
invalid_client | failed 14400 -
country | failed 14400 -
500 | failed 60 -
200 without a token | unknown 60 unknown
cut before the grant | unknown 60 unknown
cut after the grant | unknown 60 unknown";

#[test]
fn every_answer_has_its_outcome() {
    let lines = in_parallel(&ROWS, 12, |Row(name, status, body, fault)| {
        let host = host();
        let before = host.read();
        host.provider.set(|s| {
            s.status = (*fault == Fault::None).then_some(*status);
            (s.body, s.fault) = ((*body).to_owned(), *fault);
        });
        let said = host.refresh(&[]);
        assert_eq!(host.read(), before, "{name}: nothing is changed");
        let stop = host.memory()["stopped"][0].as_str().unwrap_or("-").to_owned();
        let wait = host.wait().map_or("-".to_owned(), |s| s.to_string());
        host.provider.set(|s| (s.status, s.fault) = (None, Fault::None));
        host.refresh(&[]);
        assert_eq!(host.requests(), 1, "{name}: not sent again by itself");
        format!("{name} | {} {wait} {stop}", said.outcome)
    });
    let found = lines.join("\n");
    println!("{found}");
    assert_eq!(found, EXPECTED);
}

// ---- what is not to be spent, or not to be stored

#[test]
fn a_store_that_cannot_hold_the_answer_sends_nothing() {
    type Spoil = fn(&Host);
    let cases: [(&str, Spoil); 4] = [
        ("hard link", |host| std::fs::hard_link(host.source(), host.home.join("twin")).unwrap()),
        ("a directory for the outer lock", |host| {
            std::fs::create_dir(host.home.join(".codex/auth.lock")).unwrap();
        }),
        ("a directory for the inner lock", |host| {
            std::fs::create_dir(host.home.join(".codex/auth.json.lock")).unwrap();
        }),
        ("a link to a file with two names", |host| {
            let real = host.home.join("real.json");
            std::fs::rename(host.source(), &real).unwrap();
            std::os::unix::fs::symlink(&real, host.source()).unwrap();
            std::fs::hard_link(real, host.home.join("twin")).unwrap();
        }),
    ];
    for (name, spoil) in cases {
        let host = host();
        let before = host.read();
        spoil(&host);
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{name}: {said}");
        host.assert_untouched(&before);
    }
    let host = host();
    let before = host.read();
    let script = "mount --bind .codex/auth.json .codex/auth.json";
    assert_outcome(&host.say(&mut host.command_in_mounts(script, &["refresh", "--json"])), 1, "not-sent");
    host.assert_untouched(&before);
}

#[test]
fn a_logout_in_mid_request_is_not_undone() {
    let host = host();
    host.provider.set(|s| s.delay_ms = 500);
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    std::fs::remove_file(host.source()).unwrap();
    assert_outcome(&host.end(ours), 1, "unknown");
    assert!(!host.source().exists());
    assert_eq!(host.place_of_live(), "intent", "and its tokens are kept");
    // A new login ends the matter.
    let new = Pair::codex(FAMILY, 10 * DAY);
    host.provider.adopt(FAMILY, new.clone());
    host.write(&plain_document(&new));
    host.refresh(&[]);
    assert_eq!((host.read(), host.requests()), (plain_document(&new), 1));
}

#[test]
fn an_api_key_or_a_lease_that_took_the_place_in_mid_request_stays() {
    for text in [
        r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-invented","tokens":null}"#.to_owned(),
        plain_document(&Pair { refresh: String::new(), ..Pair::codex("x", DAY) })
            .replace("\"chatgpt\"", "\"chatgptAuthTokens\""),
    ] {
        let host = host();
        host.provider.set(|s| s.delay_ms = 500);
        let ours = host.start_refresh(&[]);
        host.wait_for_request();
        host.write(&text);
        assert_outcome(&host.end(ours), 0, "adopted");
        assert_eq!(host.read(), text);
    }
}

// ---- status and sinks

#[test]
fn every_state_of_the_file_has_its_verdict() {
    let with = |seconds: i64, refresh: &str| {
        plain_document(&Pair { refresh: refresh.to_owned(), ..Pair::codex("x", seconds) })
    };
    let lease = |seconds: i64| with(seconds, "").replace("\"chatgpt\"", "\"chatgptAuthTokens\"");
    let whole = with(5 * DAY, "rt_a");
    let opaque = |date: &str| {
        let text = with(5 * DAY, "rt_a").replace("2026-11-20T17:15:48.760505969Z", date);
        let access = serde_json::from_str::<Value>(&text).unwrap()["tokens"]["access_token"].clone();
        text.replace(access.as_str().unwrap(), "opaque")
    };
    let rows = [
        ("live", whole.clone(), "ok", "0 0"),
        ("renewing", with(-60, "rt_a"), "ok", "0 1"),
        ("lease, far", lease(5 * DAY), "ok", "0 0"),
        ("lease, near", lease(3600), "expiring", "2 2"),
        ("lease, over", lease(-60), "expired", "1 1"),
        ("no refresh token", with(3600, ""), "expiring", "2 2"),
        ("opaque, old", opaque("2020-01-01T00:00:00Z"), "ok", "0 1"),
        ("opaque, undated", opaque("never"), "ok", "0 0"),
        ("an API key", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-invented"}"#.into(), "ok", "0 0"),
        ("{}", "{}".into(), "husk", "1 1"),
        ("no id token", whole.replace("id_token", "id_tokem"), "unreadable", "1 1"),
        ("torn", whole[..whole.len() / 2].to_owned(), "unreadable", "1 1"),
        ("empty", String::new(), "unreadable", "1 1"),
    ];
    for (name, text, state, codes) in rows {
        let host = host();
        host.write(&text);
        let output = host.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(status["logins"][0]["state"], json!(state), "{name}: {status}");
        let check = |form| host.command(&["status", form]).output().unwrap().status.code().unwrap();
        assert_eq!(format!("{} {}", check("--check"), check("--check=access")), codes, "{name}");
    }
}

#[test]
fn a_rotation_reaches_every_kind_of_sink() {
    let host = host();
    std::fs::create_dir_all(host.home.join(".openclaw/agents/main/agent")).unwrap();
    std::fs::write(
        host.home.join(".openclaw/openclaw.json"),
        r#"{"meta":{"lastTouchedVersion":"2026.2.9"}}"#,
    )
    .unwrap();
    let store = host.home.join(".openclaw/agents/main/agent/auth-profiles.json");
    std::fs::write(&store, r#"{"version":1,"profiles":{}}"#).unwrap();
    std::fs::write(host.home.join("template"), "bearer {{access_token}}\n").unwrap();
    let sink = |id: &str, more: &str| {
        format!("[[sink]]\nid = \"{id}\"\nlogin = \"codex\"\nkind = \"{id}\"\n{more}\n")
    };
    let sinks = [
        sink("env-file", "path = \"~/env\"\nkey = \"OPENAI_TOKEN\""),
        sink("secret-file", "path = \"~/secret\""),
        sink("oauth-json", "path = \"~/oauth.json\"\nrefresh = false"),
        sink("template", "path = \"~/rendered\"\nsource = \"~/template\""),
        sink("auth-profiles", "state_dir = \"~/.openclaw\"\nagents = \"all\""),
    ];
    host.configure(&host.token_url(), &sinks.concat());
    assert_outcome(&host.refresh(&[]), 0, "rotated");
    let synced = host.command(&["sync", "--json"]).output().unwrap();
    assert_eq!(synced.status.code(), Some(0), "{}", String::from_utf8_lossy(&synced.stdout));
    let live = host.live();
    let files = ["env", "secret", "oauth.json", "rendered"].map(|name| host.home.join(name));
    for path in files.iter().chain([&store]) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&live.access), "{}: {synced:?}", path.display());
        assert!(!text.contains("rt_"), "{} has no refresh token", path.display());
    }
    let profiles: Value = serde_json::from_slice(&std::fs::read(&store).unwrap()).unwrap();
    assert_eq!(profiles["profiles"]["openai-codex:default"]["provider"], json!("openai-codex"));
}

#[test]
fn the_daemon_refreshes_a_due_login_and_hands_it_on() {
    let host = Host::with(Cli::Codex, 600);
    let sink =
        "[[sink]]\nid = \"env\"\nlogin = \"codex\"\nkind = \"env-file\"\npath = \"~/env\"\nkey = \"TOKEN\"\n";
    let margin = "margin = \"20m\"\n";
    host.configure(&host.token_url(), &format!("{margin}{sink}"));
    let daemon = host.start_daemon();
    until("the sink is written", 30, || host.home.join("env").exists());
    assert_eq!(host.requests(), 0, "not due before half of its life");
    let fresh = Pair::codex(FAMILY, -60);
    host.provider.adopt(FAMILY, fresh.clone());
    host.write(&plain_document(&fresh));
    until("the live token is handed on", 60, || {
        let text = std::fs::read_to_string(host.home.join("env")).unwrap_or_default();
        text.contains(&host.live().access) && host.live() != fresh
    });
    let log = daemon.stop();
    host.assert_no_token_in(&log);
    assert_eq!((host.requests(), host.place_of_live()), (1, "source"), "{log}");
}

// ---- by its own program

/// Notes what it is asked and in which control group, and answers as the app server does: with a new file.
const APP_SERVER: &str = r#"#!/bin/sh
[ "$1" = app-server ] || exit 64
cat /proc/self/cgroup > asked
while read -r line; do
    printf '%s\n' "$line" >> asked
    case $line in *account/read*) mv new.json .codex/auth.json ;; esac
done
echo ended >> asked
"#;

#[test]
fn the_app_server_is_asked_in_a_unit_of_the_user_manager() {
    let manager = PrivateManager::start();
    let home = manager.home();
    for dir in [".codex", ".local/bin", ".config/tokensink"] {
        std::fs::create_dir_all(home.join(dir)).unwrap();
    }
    let program = home.join(".local/bin/codex");
    std::fs::rename(manager.write_script("codex", APP_SERVER), program).unwrap();
    let (old, new) = (Pair::codex("a", 10 * DAY), Pair::codex("a", 10 * DAY));
    std::fs::write(home.join(".codex/auth.json"), plain_document(&old)).unwrap();
    std::fs::write(home.join("new.json"), plain_document(&new)).unwrap();
    std::fs::write(
        home.join(".config/tokensink/tokensink.toml"),
        "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n",
    )
    .unwrap();
    let output =
        manager.command(env!("CARGO_BIN_EXE_tokensink")).args(["refresh", "--force"]).output().unwrap();
    let asked = std::fs::read_to_string(home.join("asked")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{asked}\n{}", manager.log());
    assert_eq!(std::fs::read_to_string(home.join(".codex/auth.json")).unwrap(), plain_document(&new));
    assert!(asked.contains("tokensink-refresh-codex.service"), "{asked}");
    let messages: Vec<Value> = asked.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let methods: Vec<_> = messages.iter().map(|m| m["method"].as_str().unwrap_or_default()).collect();
    assert_eq!(methods, ["initialize", "initialized", "account/read"], "{asked}");
    assert_eq!(messages[2]["params"], json!({"refreshToken": true}));
    assert!(asked.ends_with("ended\n"), "it is left to end by itself: {asked}");
}
