//! `order` against a real OpenClaw that keeps its profiles in a database: set through OpenClaw's own CLI, honoured at
//! the next turn, listed without a request to anybody.
//!
//! Needs root (a network namespace with nothing but loopback), strace, and npm (once). Run by `make test-openclaw`.
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

use std::path::Path;

use serde_json::{Value, json};
use support::openclaw::OpenClaw;
use support::provider::Pair;
use support::run::run;

/// The places outside this host that a command and all it runs ask for or connect to: name servers, and whatever
/// listens for HTTPS.
fn asked_outside(claw: &OpenClaw, program: &Path, arguments: &[&str]) -> Vec<String> {
    let log = claw.home.join("strace.log");
    let mut command = claw.command(Path::new("strace"));
    command.args(["-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"]).arg(&log).arg(program);
    run(command.args(arguments), b"").ok();
    let calls = std::fs::read_to_string(&log).unwrap();
    let is_outside = |line: &&str| line.contains("htons(53)") || line.contains("htons(443)");
    calls.lines().filter(is_outside).map(str::to_owned).collect()
}

/// A profile of the kind that OpenClaw refreshes, imported by its own `doctor --fix`.
#[test]
#[ignore = "minutes: `make test-openclaw`"]
fn a_list_refreshes_nothing_where_the_text_form_of_status_would() {
    let claw = OpenClaw::new("2026.9.6");
    let ours = Pair::invent("ours");
    claw.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n",
    );
    let store = claw.store("main");
    std::fs::create_dir_all(store.parent().unwrap()).unwrap();
    let ends = support::claude::in_seconds(8 * 3600);
    let profile = json!({"type": "oauth", "provider": "anthropic", "access": ours.access,
        "refresh": ours.refresh, "expires": ends});
    let text = json!({"version": 1, "profiles": {"anthropic:ours": profile}}).to_string();
    std::fs::write(&store, text).unwrap();
    println!("{}", claw.cli(&["doctor", "--fix", "--non-interactive"]));
    assert!(claw.files_named("auth-profiles.json").is_empty(), "it was imported");

    // What ends within a day it tries to renew: what is looked for can be seen.
    let asked = asked_outside(&claw, Path::new("openclaw"), &["models", "status"]);
    assert!(!asked.is_empty(), "{}", claw.cli(&["models", "status"]));

    let program = Path::new(env!("CARGO_BIN_EXE_tokensink"));
    let list = ["order", "list", "--json"];
    assert_eq!(asked_outside(&claw, program, &list), Vec::<String>::new());
    assert!(claw.tokensink(&list).ok().contains("anthropic:ours"));
    assert!(!claw.files_with(&ours.refresh).is_empty(), "and its refresh token is as it was");
}

/// Adds a profile as a person does, by OpenClaw's own command.
fn paste(claw: &OpenClaw, id: &str, pair: &Pair) {
    let mut command = claw.command(Path::new("openclaw"));
    command.args(["models", "auth", "paste-token", "--agent", "main", "--provider", "anthropic"]);
    run(command.args(["--profile-id", id, "--expires-in", "8h"]), format!("{}\n", pair.access).as_bytes())
        .ok();
}

#[test]
#[ignore = "minutes: `make test-openclaw`"]
fn an_order_in_a_database_is_that_of_the_next_turn() {
    let mut claw = OpenClaw::new("2026.9.6");
    let (default, work) = (Pair::invent("default"), Pair::invent("work"));
    // Not in the configuration of this release.
    let mut config = claw.config();
    config["meta"].as_object_mut().unwrap().remove("lastTouchedAt");
    claw.write_config(&config);
    claw.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n",
    );
    paste(&claw, "anthropic:default", &default);
    paste(&claw, "anthropic:work", &work);
    claw.start();
    let ran = claw.tokensink(&["order", "set", "anthropic:work", "anthropic:default"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    for _ in 0..2 {
        let turn = claw.turn();
        assert!(turn.used(&work.access), "{turn:?}\n{}", claw.story());
    }
    let asked = claw.provider.ledger().requests.len();
    let listed: Value = serde_json::from_str(claw.tokensink(&["order", "list", "--json"]).ok()).unwrap();
    let main = &listed["agents"][0];
    assert_eq!((&main["agent"], &main["from"]), (&"main".into(), &"agent".into()));
    assert_eq!(main["order"], json!(["anthropic:work", "anthropic:default"]));
    assert_eq!(main["profiles"].as_array().unwrap().len(), 2, "{listed}");
    claw.tokensink(&["order", "clear"]).ok();
    let got: Value = serde_json::from_str(claw.tokensink(&["order", "get", "--json"]).ok()).unwrap();
    assert_eq!((&got["from"], &got["agent_order"]), (&"automatic".into(), &Value::Null));
    // The gateway itself may still be at work for the turns; what a refresh asks is at another place.
    let ledger = claw.provider.ledger();
    let later: Vec<&str> = ledger.requests.iter().skip(asked).map(|request| request.path.as_str()).collect();
    assert!(later.iter().all(|path| path.starts_with("/v1/messages")), "a list refreshes nothing: {later:?}");
    assert!(claw.files_named("auth-profiles.json").is_empty());
}
