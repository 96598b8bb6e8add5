//! Our refreshers and the real Claude Code, hammering one login under strict single-use rotation.
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
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::claude;
use support::host::document;
use support::npm::claude_code;
use support::provider::{Ledger, Request, Verdict};
use support::remote::Remote;
use support::run::{Ran, run};

/// How long they hammer; longer for `make test-long`.
fn duration() -> Duration {
    let seconds = std::env::var("TOKENSINK_RACE_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

struct Inside<'a> {
    pid: String,
    home: &'a Path,
    proxy: String,
    ca: String,
}

impl Inside<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid, "--net", "timeout", "120"]);
        command
    }

    fn claude(&self, version: &str) -> Ran {
        let mut command = self.command();
        let prompt = if version == "latest" { &claude::PROMPT[..] } else { &["-p", "hi"][..] };
        command.arg(claude_code(version)).args(prompt).current_dir(self.home).env_clear();
        command.envs(claude::environment(&self.home.display().to_string(), &self.proxy, &self.ca));
        run(&mut command, b"")
    }

    /// By force: a lock that was busy is tried again at once, not after a minute.
    fn tokensink(&self, state: usize) -> Ran {
        let mut command = self.command();
        command
            .arg(env!("CARGO_BIN_EXE_tokensink"))
            .args(["refresh", "--via", "direct", "--force", "--json"]);
        command.env_clear().env("HOME", self.home).env("PATH", "/usr/bin:/bin").current_dir(self.home);
        command.env("XDG_STATE_HOME", self.home.join(format!("state-{state}")));
        run(&mut command, b"")
    }
}

fn outcome(ran: &Ran) -> String {
    let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    if value.is_null() {
        return format!("failed: {ran}");
    }
    let login = &value["logins"][0];
    format!("{} ({})", login["outcome"].as_str().unwrap_or("none"), login["detail"].as_str().unwrap_or(""))
}

fn sender(request: &Request) -> &'static str {
    let agent = request.header("user-agent").unwrap_or_default();
    if agent.starts_with("tokensink/") { "tokensink" } else { "claude" }
}

fn print_ledger(ledger: &Ledger) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for request in ledger.token_requests() {
        let verdict = match &request.verdict {
            Some(Verdict::Rotated { .. }) => "rotated",
            Some(Verdict::Reused { .. } | Verdict::Unknown) => "REFUSED",
            _ => "other",
        };
        *counts.entry((sender(request), verdict)).or_default() += 1;
    }
    println!("token POSTs {}: {counts:?}", ledger.token_requests().count());
}

fn race(versions: &[&str], refreshers: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("home");
    std::fs::create_dir_all(home.join(".claude")).unwrap();
    std::fs::create_dir_all(home.join(".config/tokensink")).unwrap();
    let file = home.join(".claude/.credentials.json");
    let mut provider = Remote::isolated(scratch.path());
    let pair = provider.seed("a");
    std::fs::write(&file, document(&pair, claude::in_seconds(-60))).unwrap();
    let configuration = format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\npath = \"~/.claude/.credentials.json\"\n[login.refresh]\n\
         token_url = \"{}/v1/oauth/token\"\ngrants_per_day = 1440\n",
        provider.url()
    );
    std::fs::write(home.join(".config/tokensink/tokensink.toml"), configuration).unwrap();
    for version in versions {
        claude_code(version);
    }
    let inside = Inside {
        pid: provider.pid().to_string(),
        home: &home,
        proxy: provider.url(),
        ca: provider.ca.clone(),
    };
    // The profile is known before, so that the CLI saves at once.
    provider.set(json!({"api_auth": "any", "expires_in": 1, "delay_ms": 100}));
    println!("warm-up: {}", inside.claude(versions[0]).ok());

    let counts: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let count = |what: String| *counts.lock().unwrap().entry(what).or_default() += 1;
    let end = Instant::now() + duration();
    std::thread::scope(|scope| {
        for version in versions {
            let (inside, count) = (&inside, &count);
            scope.spawn(move || {
                while Instant::now() < end {
                    let ran = inside.claude(version);
                    count(format!(
                        "claude {version}: exit {:?} {}",
                        ran.code,
                        if ran.code == Some(0) { "" } else { ran.stdout.trim() }
                    ));
                }
            });
        }
        // Two of them share their state, and so our own lock; the third, as from another container,
        // has only the CLI's locks between itself and the rest.
        for state in (0..refreshers).map(|at| at / 2) {
            let (inside, count) = (&inside, &count);
            scope.spawn(move || {
                while Instant::now() < end {
                    count(format!("tokensink: {}", outcome(&inside.tokensink(state))));
                }
            });
        }
    });
    let ledger = provider.ledger();
    println!("{refreshers} x tokensink, {versions:?}, {:?}", duration());
    for (what, times) in counts.lock().unwrap().iter() {
        println!("{times:>5} {what}");
    }
    print_ledger(&ledger);
    assert_eq!(ledger.refused(), 0, "invalid_grant");
    let senders: Vec<_> = ledger.token_requests().map(sender).collect();
    assert!(senders.contains(&"tokensink") && senders.contains(&"claude"), "both have spent");

    let held = |ledger: &Ledger| {
        let text: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        (text["claudeAiOauth"]["refreshToken"].clone(), json!(ledger.live("a").refresh))
    };
    let (have, live) = held(&ledger);
    assert_eq!(have, live, "the file holds the live generation");
    // And every kind of process goes on from there.
    provider.set(json!({"api_auth": "live"}));
    for version in versions {
        assert_eq!(inside.claude(version).ok(), "ok");
    }
    provider.set(json!({"expires_in": 28_800}));
    let last = Instant::now() + Duration::from_secs(20);
    // A wait after a lock that was busy in the race may have to be sat out; by force it is not.
    while provider.ledger().live("a").access == ledger.live("a").access && Instant::now() < last {
        let mut forced = inside.command();
        forced.arg(env!("CARGO_BIN_EXE_tokensink")).args(["refresh", "--via", "direct", "--force", "--json"]);
        forced.env_clear().env("HOME", &home).env("PATH", "/usr/bin:/bin");
        assert_eq!(run(&mut forced, b"").code, Some(0));
    }
    let requests = provider.ledger().token_requests().count();
    for version in versions {
        assert_eq!(inside.claude(version).ok(), "ok");
    }
    let ledger = provider.ledger();
    let (have, live) = held(&ledger);
    assert_eq!((have, ledger.refused()), (live, 0));
    assert!(ledger.token_requests().count() <= requests + 1, "a live token is not renewed");
    let names = run(Command::new("find").arg(&home).args(["-maxdepth", "2", "-name", "*.lock"]), b"");
    assert_eq!(names.ok(), "", "no lock is left");
}

#[test]
fn several_refreshers_and_the_real_clis_spend_no_token_twice() {
    race(&["latest", "latest", "2.1.112"], 3);
}
