//! Way `exchange`: the real Claude Code trades the refresh token in a scratch directory while the
//! real program holds the login's locks; refused, killed, raced, and with both killed in between.
//!
//! Needs root (namespaces) and npm (once). No real account, no network.
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

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::claude::{PROMPT, in_seconds};
use support::cli_host::{CliHost, FAMILY};
use support::host::{age, in_parallel, until};
use support::npm::claude_code;
use support::run::run;

const EXCHANGE: &str = "mode = \"cli\"\nway = \"exchange\"\ngrants_per_day = 1440";
const HALF_AN_HOUR: i64 = 1800;

fn host(has_manager: bool, seconds: i64, version: &str) -> CliHost {
    let host = CliHost::with_claude(has_manager, seconds, version);
    host.configure(EXCHANGE);
    host
}

/// Model calls that the CLI made.
fn prompts(host: &mut CliHost) -> usize {
    host.provider.ledger().requests.iter().filter(|r| r.path.starts_with("/v1/messages")).count()
}

fn scratch_is_gone(host: &CliHost) -> bool {
    !host.state_dir().join("intents/claude.exchange").exists()
}

// ---- what it brings

#[test]
fn a_token_with_half_an_hour_left_is_exchanged_and_the_rest_of_the_file_stays() {
    in_parallel(
        &[("latest", true), ("latest", false), ("2.1.112", true), ("2.1.112", false)],
        2,
        |(version, unit)| {
            let mut host = host(*unit, HALF_AN_HOUR, version);
            let before = host.read();
            assert_eq!(host.refresh(&[]).outcome, "not-due");
            let began = Instant::now();
            let said = host.refresh(&["--force"]);
            println!("{version}, manager {unit}: {} in {:.1?}", said.outcome, began.elapsed());
            assert_eq!(
                (said.code, said.outcome.as_str(), said.detail.as_str()),
                (Some(0), "rotated", "stored"),
                "{said:?}"
            );
            assert_eq!((host.requests(), prompts(&mut host)), ((1, 0), 0));
            let ledger = host.provider.ledger();
            let asked = ledger.token_requests().next().unwrap();
            assert_eq!(asked.field("refresh_token").as_deref(), Some(host.pair.refresh.as_str()));
            assert_eq!(
                asked.field("scope").as_deref(),
                Some("user:inference user:profile user:sessions:claude_code")
            );

            let mut expected = before;
            let login = expected["claudeAiOauth"].as_object_mut().unwrap();
            login.insert("accessToken".into(), json!(ledger.live(FAMILY).access));
            login.insert("refreshToken".into(), json!(ledger.live(FAMILY).refresh));
            let after = host.read();
            let ends = after["claudeAiOauth"]["expiresAt"].clone();
            assert!((in_seconds(28_700)..in_seconds(28_801)).contains(&ends.as_i64().unwrap()), "{ends}");
            login.insert("expiresAt".into(), ends);
            assert_eq!(after, expected, "nothing else has changed");
            assert!(host.no_locks() && scratch_is_gone(&host));
            let beside: Vec<_> = std::fs::read_dir(host.home().join(".claude")).unwrap().collect();
            assert_eq!(beside.len(), 1, "the CLI wrote nothing there: {beside:?}");
            assert!(!host.home().join(".claude.json").exists());
        },
    );
}

#[test]
fn the_daemon_exchanges_what_is_due_without_a_prompt_and_the_sinks_follow() {
    // Due at half of what was left when it was first seen.
    let host = host(true, 12, "latest");
    let daemon = host.start_daemon();
    let host = RefCell::new(host);
    until("the rotation", 60, || {
        let mut host = host.borrow_mut();
        let live = host.live();
        live != host.pair.refresh && host.text().contains(&live) && host.copy().contains(&live)
    });
    until("its record", 20, || host.borrow().memory()["last_ended"] == "rotated");
    let log = daemon.stop();
    let mut host = host.into_inner();
    host.assert_no_token_in(&log);
    assert_eq!((host.requests(), prompts(&mut host)), ((1, 0), 0), "{log}");
}

#[test]
fn an_end_that_is_far_off_is_noted_as_a_day_ahead_and_told() {
    let mut host = host(false, HALF_AN_HOUR, "latest");
    host.provider.set(json!({"expires_in": 31_536_000, "refresh_token_expires_in": 5 * 86_400}));
    let said = host.refresh(&["--force"]);
    assert_eq!(said.outcome, "rotated", "{said:?}");
    assert!(said.detail.contains("lasts 364d 23h") && said.detail.contains("1d 0h ahead"), "{}", said.detail);
    let login = host.read()["claudeAiOauth"].clone();
    let near =
        |field: &str, days: i64| (login[field].as_i64().unwrap() - in_seconds(days * 86_400)).abs() < 60_000;
    assert!(near("expiresAt", 1) && near("refreshTokenExpiresAt", 5), "{}", login["expiresAt"]);
    // A login deadline never grows.
    host.provider.set(json!({"refresh_token_expires_in": 40 * 86_400}));
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
    let login = host.read()["claudeAiOauth"].clone();
    assert!((login["refreshTokenExpiresAt"].as_i64().unwrap() - in_seconds(5 * 86_400)).abs() < 120_000);
}

#[test]
fn a_login_of_another_client_is_exchanged_as_that_client() {
    in_parallel(&["latest", "2.1.112"], 2, |version| {
        let mut host = host(false, HALF_AN_HOUR, version);
        let mut document = host.read();
        document["claudeAiOauth"]["clientId"] = json!("11111111-2222-4000-8000-000000000000");
        host.write(&document.to_string());
        assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
        let ledger = host.provider.ledger();
        let asked = ledger.token_requests().next().unwrap();
        assert_eq!(asked.field("client_id").as_deref(), Some("11111111-2222-4000-8000-000000000000"));
        assert_eq!(host.read()["claudeAiOauth"]["clientId"], document["claudeAiOauth"]["clientId"]);
    });
}

// ---- when it is not made

#[test]
fn what_cannot_be_exchanged_is_not_sent() {
    let untouched = |mut host: CliHost, what: &str, detail: &str| {
        let before = host.text();
        let said = host.refresh(&["--force"]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{what} {said:?}");
        assert!(said.detail.contains(detail), "{what}: {}", said.detail);
        assert_eq!((host.text(), host.requests()), (before, (0, 0)), "{what}");
        assert!(host.no_locks() && scratch_is_gone(&host), "{what}");
    };
    let with_version = |version: &str| {
        let host = CliHost::with_script(false, HALF_AN_HOUR, "echo ran > ~/ran");
        host.configure(EXCHANGE);
        let script = std::fs::read_to_string(host.home().join(".local/bin/claude")).unwrap();
        let script = script.replace("2.1.329 (Claude Code)", version);
        std::fs::write(host.home().join(".local/bin/claude"), script).unwrap();
        host
    };
    untouched(with_version("2.1.69 (Claude Code)"), "older", "2.1.69 has no exchange");
    untouched(with_version("1.0.128 (Claude Code)"), "much older", "has no exchange");
    untouched(with_version("something else 2.1.329"), "strange", "cannot be told");
    let patched = |change: &dyn Fn(&mut Value)| {
        let host = with_version("2.1.111 (Claude Code)");
        let mut document = host.read();
        change(&mut document["claudeAiOauth"]);
        host.write(&document.to_string());
        host
    };
    let client = patched(&|login| login["clientId"] = json!("11111111-2222-4000-8000-000000000000"));
    untouched(client, "client", "no other OAuth client");
    let scopes = patched(&|login| login["scopes"] = json!(["user:profile"]));
    untouched(scopes, "scopes", "user:inference");
    untouched(
        patched(&|login| login["refreshToken"] = json!("sk-ant-ort01-'quoted'")),
        "token",
        "environment",
    );
}

#[test]
fn in_the_last_minutes_a_prompt_does_what_an_exchange_cannot() {
    let mut host = CliHost::with_script(false, 200, "echo \"$@\" > ~/ran");
    host.configure(EXCHANGE);
    let script = std::fs::read_to_string(host.home().join(".local/bin/claude")).unwrap();
    std::fs::write(host.home().join(".local/bin/claude"), script.replace("2.1.329 (", "2.1.50 (")).unwrap();
    assert_eq!(host.refresh(&["--force"]).detail, "the CLI ran and left the login as it was");
    assert_eq!(std::fs::read_to_string(host.home().join("ran")).unwrap(), "-p hi\n");
}

#[test]
fn a_failure_leaves_the_file_as_it_was_and_is_called_what_it_is() {
    let denied = json!({"status": 400, "body": "{\"error\":\"invalid_grant\"}"});
    let status = |status: u16| json!({"status": status, "body": "<html>"});
    let fault = |fault: &str| json!({"fault": fault});
    let cases = [
        (denied, "rejected", "refused the refresh token: status 400"),
        (status(429), "failed", "asks to wait"),
        (status(503), "failed", "status 503"),
        (status(403), "failed", "status 403"),
        (fault("refuse-connection"), "not-sent", "no connection"),
        (fault("cut-before-grant"), "unknown", "without tokens"),
        (fault("cut-after-grant"), "unknown", "without tokens"),
        // The CLI says "status code 404" here: of another request, after this answer.
        (fault("garbage-body"), "unknown", "had an answer"),
        (json!({"scope": "user:profile"}), "unknown", "had an answer"),
    ];
    // Of the old one what is told apart by what it leaves.
    let old = [0, 6, 7].map(|at: usize| ("2.1.112", cases[at].clone()));
    let cases: Vec<_> = cases.into_iter().map(|case| ("latest", case)).chain(old).collect();
    in_parallel(&cases, 3, |(version, (switches, outcome, detail))| {
        let mut host = host(false, HALF_AN_HOUR, version);
        host.provider.set(switches.clone());
        let before = host.text();
        let said = host.refresh(&["--force"]);
        println!("{version} {switches}: {} {}", said.outcome, said.detail);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), *outcome), "{version} {switches} {said:?}");
        assert!(said.detail.contains(detail), "{version} {switches} {said:?}");
        assert_eq!(host.text(), before, "{version} {switches}");
        assert_eq!(host.requests().0, usize::from(*outcome != "not-sent"));
        assert!(host.no_locks(), "{version} {switches}");
        assert_eq!(scratch_is_gone(&host), *outcome != "unknown", "kept where there is something to look at");
        if *outcome == "unknown" {
            host.provider.set(json!({"fault": "none", "scope": null}));
            assert_eq!(host.refresh(&[]).outcome, "unknown", "not sent again by itself");
            assert_eq!((host.text(), host.requests().0), (before, 1));
        }
    });
}

// ---- beside real CLIs

#[test]
fn two_real_clis_refresh_beside_it_and_no_token_is_spent_twice() {
    let seconds = std::env::var("TOKENSINK_RACE_SECONDS").ok().and_then(|s| s.parse().ok());
    let mut host = host(false, -60, "latest");
    let versions = ["latest", "2.1.112"];
    for version in versions {
        claude_code(version);
    }
    // The profile is known before, so that the CLI saves at once.
    host.provider.set(json!({"api_auth": "any", "expires_in": 1, "delay_ms": 100}));
    let claude = |host: &CliHost, version: &str| {
        let mut command = host.command("/usr/bin/timeout");
        let prompt = if version == "latest" { &PROMPT[..] } else { &PROMPT[..2] };
        run(command.arg("120").arg(claude_code(version)).args(prompt), b"")
    };
    assert_eq!(claude(&host, "latest").ok(), "ok");
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(20));
    let counts: Mutex<std::collections::BTreeMap<String, usize>> = Mutex::default();
    let count = |what: String| *counts.lock().unwrap().entry(what).or_default() += 1;
    // The stand-in answers through pipes that have one owner; commands need none of it.
    let commands = || host.tokensink(&["refresh", "--json", "--force"]);
    let [ours, latest, old] =
        [commands(), host.command("/usr/bin/timeout"), host.command("/usr/bin/timeout")];
    std::thread::scope(|scope| {
        let count = &count;
        let again = |command: &std::process::Command| {
            let mut again = std::process::Command::new(command.get_program());
            again.args(command.get_args()).env_clear().current_dir(command.get_current_dir().unwrap());
            again.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
            again
        };
        scope.spawn(move || {
            while Instant::now() < end {
                let said: Value =
                    serde_json::from_str(&run(&mut again(&ours), b"").stdout).unwrap_or_default();
                count(format!("tokensink {}", said["logins"][0]["outcome"]));
            }
        });
        for (command, version) in [(latest, "latest"), (old, "2.1.112")] {
            scope.spawn(move || {
                while Instant::now() < end {
                    let mut command = again(&command);
                    let prompt = if version == "latest" { &PROMPT[..] } else { &PROMPT[..2] };
                    let ran = run(command.arg("120").arg(claude_code(version)).args(prompt), b"");
                    count(format!("claude {version}: exit {:?}", ran.code));
                }
            });
        }
    });
    for (what, times) in counts.lock().unwrap().iter() {
        println!("{times:>5} {what}");
    }
    let ledger = host.provider.ledger();
    let exchanged = ledger.token_requests().filter(|r| r.body.contains("\"expires_in\"")).count();
    println!(
        "{} token POSTs, {exchanged} by exchange, {} refused",
        ledger.token_requests().count(),
        ledger.refused()
    );
    assert_eq!(ledger.refused(), 0);
    assert!(exchanged > 0 && exchanged < ledger.token_requests().count(), "both have spent");
    assert_eq!(host.place_of_live(), "source");
    assert!(host.no_locks() && scratch_is_gone(&host));
    host.provider.set(json!({"api_auth": "live", "expires_in": 28_800}));
    for version in versions {
        assert_eq!(claude(&host, version).ok(), "ok");
    }
}

// ---- killed in between

#[derive(Debug, Clone, Copy)]
enum Kill {
    /// tokensink, at a failpoint.
    At(&'static str),
    /// tokensink, while the CLI waits for its answer.
    Ours,
    /// The CLI, while it waits for its answer.
    Theirs,
    /// The CLI, with its answer, while it looks at the profile: the window of its own.
    TheirsWithAnswer,
    /// Both, while the CLI waits.
    Both,
}

const KILLS: [Kill; 15] = [
    Kill::At("refresh-locked"),
    Kill::At("exchange-made"),
    Kill::At("refresh-proven"),
    Kill::At("refresh-intended"),
    Kill::At("exchange-ended"),
    Kill::At("refresh-answered"),
    Kill::At("refresh-recorded"),
    Kill::At("refresh-write-locked"),
    Kill::At("refresh-stored"),
    Kill::At("refresh-settled"),
    Kill::At("refresh-before-unlock"),
    Kill::Ours,
    Kill::Theirs,
    Kill::TheirsWithAnswer,
    Kill::Both,
];

/// The CLI that makes the exchange.
fn cli_in(host: &CliHost) -> Option<Pid> {
    let wanted =
        format!("CLAUDE_CONFIG_DIR={}", host.state_dir().join("intents/claude.exchange/claude").display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).map(Pid::from_raw).find(
        |pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
        },
    )
}

fn kill(pid: Pid) {
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

/// Runs into the kill; what tokensink said, if it lived.
fn crash(host: &mut CliHost, how: Kill) {
    let mut command = host.tokensink(&["refresh", "--json"]);
    if let Kill::At(point) = how {
        let output = command.env("TOKENSINK_FAILPOINT", point).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // The shell of the namespace's entry has been replaced by the program.
        assert_eq!(output.status.signal(), Some(9), "{point} is reached: {text}");
        host.assert_no_token_in(&text);
        return;
    }
    match how {
        Kill::TheirsWithAnswer => host.provider.set(json!({"profile_delay_ms": 6000})),
        _ => host.provider.set(json!({"delay_ms": 3000})),
    }
    let mut ours = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let cell = RefCell::new(&mut *host);
    until("the request", 60, || match how {
        Kill::TheirsWithAnswer => {
            let ledger = cell.borrow_mut().provider.ledger();
            ledger.requests.iter().any(|request| request.path.starts_with("/api/oauth/profile"))
        }
        _ => cell.borrow_mut().requests().0 == 1,
    });
    if !matches!(how, Kill::Theirs | Kill::TheirsWithAnswer) {
        ours.kill().unwrap();
    }
    if !matches!(how, Kill::Ours) {
        kill(cli_in(host).expect("it runs"));
    }
    ours.wait().unwrap();
    host.provider.set(json!({"delay_ms": 0, "profile_delay_ms": 0}));
}

fn may_be_unknown(how: Kill) -> bool {
    matches!(how, Kill::At("refresh-intended") | Kill::Theirs | Kill::TheirsWithAnswer | Kill::Both)
}

#[test]
fn a_crash_anywhere_loses_no_login() {
    let cases: Vec<_> = KILLS
        .into_iter()
        .map(|how| ("latest", false, how))
        .chain([Kill::Ours, Kill::Theirs].map(|how| ("latest", true, how)))
        .chain([Kill::Ours, Kill::Theirs].map(|how| ("2.1.112", false, how)))
        .collect();
    let lines = in_parallel(&cases, 6, |&(version, has_manager, how)| {
        let mut host = host(has_manager, -60, version);
        let before = host.text();
        crash(&mut host, how);
        for lock in host.locks().iter().filter(|lock| lock.exists()) {
            age(lock, 70);
        }
        let place = host.place_of_live();
        let next = host.refresh(&[]);
        let what = format!("{version} manager {has_manager} {how:?}");
        let line = format!(
            "{what:<50} {place:<8} {:<9} {:<8} {:?}",
            next.outcome,
            host.place_of_live(),
            host.requests()
        );
        assert_eq!(next.outcome == "unknown", may_be_unknown(how), "{what}: {next:?}");
        assert_eq!(host.requests().1, 0, "{what}: a spent token was sent");
        assert!(host.requests().0 <= 1, "{what}: none was sent twice");
        if next.outcome == "unknown" {
            assert_eq!(host.text(), before, "{what}: nothing is changed");
            assert_eq!(host.refresh(&[]).outcome, "unknown", "{what}");
        } else {
            assert_eq!((next.code, host.place_of_live()), (Some(0), "source"), "{what}: {next:?}");
            assert_eq!(host.refresh(&["--force"]).outcome, "rotated", "{what}: it goes on");
            assert!(host.no_locks() && scratch_is_gone(&host), "{what}");
        }
        line
    });
    println!("{:<50} {:<8} {:<9} {:<8} requests, refused", "killed", "token", "next run", "token");
    for line in &lines {
        println!("{line}");
    }
}
