//! The real Claude Code CLI against the stand-in: what the rest of the tests may take for granted about both.
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

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use support::claude;
use support::npm::claude_code;
use support::provider::Verdict;
use support::remote::Remote;
use support::run::{Ran, run};

fn run_claude(version: &str, provider: &Remote, home: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new("nsenter");
    command.args(["-t", &provider.pid().to_string(), "--net", "timeout", "90"]);
    command.arg(claude_code(version)).args(arguments).current_dir(home).env_clear();
    command.envs(claude::environment(&home.display().to_string(), &provider.url(), &provider.ca));
    run(&mut command, b"")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

/// Everything under a directory, relative.
fn names_under(dir: &Path) -> Vec<String> {
    let listing = run(Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", "%P\n"]), b"");
    listing.ok().lines().map(str::to_owned).collect()
}

#[test]
fn the_real_cli_rotates_an_expired_login_against_the_stand_in() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("home");
    std::fs::create_dir_all(home.join(".claude")).unwrap();
    let file = home.join(".claude/.credentials.json");
    let mut provider = Remote::isolated(scratch.path());
    let old = provider.seed("claude");
    let before = claude::document(&old, claude::in_seconds(-3600));
    std::fs::write(&file, before.to_string()).unwrap();
    let inode = std::fs::metadata(&file).unwrap().ino();

    claude_code("latest");
    let began = Instant::now();
    let ran = run_claude("latest", &provider, &home, &claude::PROMPT);
    println!("the CLI ran {:.1?}", began.elapsed());
    let ledger = provider.ledger();
    for request in &ledger.requests {
        println!("{} https://{}{} -> {:?}", request.method, request.host, request.path, request.answered);
    }
    assert_eq!(ran.ok(), "ok");

    let grants: Vec<_> = ledger.token_requests().collect();
    assert_eq!(grants.len(), 1, "exactly one POST");
    assert_eq!(grants[0].host, "platform.claude.com");
    assert_eq!(grants[0].path, "/v1/oauth/token");
    assert_eq!(grants[0].field("refresh_token").as_deref(), Some(old.refresh.as_str()));
    assert_eq!(grants[0].field("client_id").as_deref(), Some("9d1c250a-e61b-44d9-88ed-5944d1962f5e"));
    assert!(matches!(grants[0].verdict, Some(Verdict::Rotated { .. })));
    assert_eq!((ledger.grants(), ledger.refused()), (1, 0));
    assert_eq!(ledger.spent("claude").join(","), old.refresh);
    println!("user-agent {:?}; scope {:?}", grants[0].header("user-agent"), grants[0].field("scope"));

    let after = read(&file);
    let login = &after["claudeAiOauth"];
    assert_eq!(login["accessToken"], json!(ledger.live("claude").access));
    assert_eq!(login["refreshToken"], json!(ledger.live("claude").refresh));
    assert!(login["expiresAt"].as_i64().unwrap() > claude::in_seconds(28_000));
    let metadata = std::fs::metadata(&file).unwrap();
    assert_ne!(metadata.ino(), inode, "saved by rename");
    assert_eq!(metadata.mode() & 0o777, 0o600);

    // What it preserved: all beside the login, and the login's own known keys.
    assert_eq!(after["mcpOAuth"], before["mcpOAuth"]);
    assert_eq!(after["unknownBeside"], before["unknownBeside"]);
    for key in ["refreshTokenExpiresAt", "subscriptionType", "rateLimitTier", "accountUuid"] {
        assert_eq!(login[key], before["claudeAiOauth"][key], "{key}");
    }
    assert_eq!(login.get("unknownInside"), None, "unknown keys inside the login are dropped by the CLI");
    let mut keys: Vec<_> = login.as_object().unwrap().keys().collect();
    keys.sort();
    println!("keys inside the login: {keys:?}; scopes {}", login["scopes"]);
    let names = names_under(&home);
    println!("files: {names:?}");
    for left in [".claude/.oauth_refresh.lock", ".claude/.storage-write.lock", ".claude.lock"] {
        assert!(!names.iter().any(|name| name == left), "{left} was left behind");
    }
    assert!(!names.iter().any(|name| name.contains(".credentials.json.tmp")), "{names:?}");
}

#[test]
fn a_second_run_with_a_live_token_asks_for_none() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("home");
    std::fs::create_dir_all(home.join(".claude")).unwrap();
    let mut provider = Remote::isolated(scratch.path());
    let pair = provider.seed("claude");
    let document = claude::document(&pair, claude::in_seconds(3600));
    std::fs::write(home.join(".claude/.credentials.json"), document.to_string()).unwrap();
    claude_code("latest");
    let began = Instant::now();
    assert_eq!(run_claude("latest", &provider, &home, &claude::PROMPT).ok(), "ok");
    println!("the CLI ran {:.1?}", began.elapsed());
    assert_eq!(provider.ledger().token_requests().count(), 0);
    assert_eq!(provider.ledger().live("claude"), &pair);
}

#[test]
fn the_real_cli_asks_for_no_token_where_a_login_has_moved_away() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, new) = (scratch.path().join("home"), scratch.path().join("new"));
    let file = home.join(".claude/.credentials.json");
    let mut provider = Remote::isolated(scratch.path());
    let pair = provider.seed("claude");
    claude_code("latest");
    let tokensink = |home: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokensink"));
        command.args(arguments).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
        run(&mut command, b"")
    };
    for made in [&home, &new] {
        std::fs::create_dir_all(made.join(".claude")).unwrap();
    }
    let recipient = tokensink(&new, &["import", "--key"]).ok().to_owned();
    let document = claude::document(&pair, claude::in_seconds(-3600));
    std::fs::write(&file, document.to_string()).unwrap();
    tokensink(&home, &["export", "--yes", "--to", &recipient, "claude"]).ok();
    // It would refresh at once; so it goes on with the access token that it has, also past its end.
    assert_eq!(run_claude("latest", &provider, &home, &claude::PROMPT).ok(), "ok");
    assert_eq!(provider.ledger().token_requests().count(), 0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&pair.refresh));
    assert_eq!(provider.ledger().live("claude"), &pair);
}

#[test]
fn an_old_cli_rotates_in_place() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("home");
    std::fs::create_dir_all(home.join(".claude")).unwrap();
    let file = home.join(".claude/.credentials.json");
    let mut provider = Remote::isolated(scratch.path());
    let old = provider.seed("claude");
    std::fs::write(&file, claude::document(&old, claude::in_seconds(-3600)).to_string()).unwrap();
    let inode = std::fs::metadata(&file).unwrap().ino();
    let ran = run_claude("2.1.112", &provider, &home, &["-p", "hi"]);
    assert_eq!(ran.ok(), "ok");
    let ledger = provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused()), (1, 0));
    assert_eq!(read(&file)["claudeAiOauth"]["refreshToken"], json!(ledger.live("claude").refresh));
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode, "truncated and written again");
}
