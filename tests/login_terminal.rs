//! Logins at a person's terminal: a token that must not be shown. No real account, no network.
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

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::login_bench::LoginBench;
use support::looks::contains;
use support::on_terminal::{OnTerminal, holding};
use support::run::{Ran, run};

fn token(mark: &str) -> String {
    format!("sk-ant-oat01-{mark}-{}AA", "made_up-".repeat(10))
}

fn given(bench: &LoginBench, arguments: &[&str], input: &str) -> Ran {
    let ran = run(
        &mut bench.command(&[&["login", "claude", "--setup-token"], arguments].concat()),
        input.as_bytes(),
    );
    assert!(!ran.both().contains("made_up"), "{ran}");
    ran
}

#[test]
fn a_setup_token_is_stored_with_its_deadline_and_listed_as_static() {
    const YEAR: i64 = 365 * 86_400;
    let bench = LoginBench::new();
    let token = token("one");
    let ran = given(&bench, &[], &format!("{}\n  {}\n\n", &token[..50], &token[50..]));
    assert_eq!(ran.code, Some(0), "{ran}");
    let stored = bench.stored("claude-token");
    assert_eq!(stored["token"], token.as_str());
    let (issued, deadline) = (stored["issued"].as_i64().unwrap(), stored["deadline"].as_i64().unwrap());
    assert_eq!(deadline - issued, YEAR * 1000);
    assert!((issued - support::claude::in_seconds(0)).abs() < 60_000, "{issued}");
    let file = bench.home.join(".local/state/tokensink/logins/claude-token.json");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let entry = bench.home.join(".config/tokensink/tokensink.d/60-login-claude-token.toml");
    assert!(contains(&entry, "provider = \"static\""));
    let status: Value = serde_json::from_str(bench.run(&["status", "--json"]).ok()).unwrap();
    let listed = &status["logins"][0];
    assert_eq!((&listed["kind"], &listed["state"]), (&json!("static"), &json!("ok")), "{status}");
    assert_eq!(
        (&listed["login_deadline"], &listed["access_expires_at"]),
        (&json!(deadline), &json!(deadline))
    );
    assert_eq!(listed["refreshable"], json!(false));

    // The same one again is not a year more; another one is.
    let again = given(&bench, &[], &format!("export CLAUDE_CODE_OAUTH_TOKEN={token}\n"));
    assert_eq!(again.code, Some(0), "{again}");
    assert_eq!(bench.stored("claude-token"), stored);
    let other = self::token("two");
    assert_eq!(given(&bench, &[], &other).code, Some(0));
    assert_eq!(bench.stored("claude-token")["token"], other.as_str());
    assert!(bench.stored("claude-token")["deadline"].as_i64().unwrap() > deadline);
    // And one more beside it.
    assert_eq!(given(&bench, &["--id", "second"], &token).code, Some(0));
    assert_eq!(bench.stored("second")["token"], token.as_str());
}

#[test]
fn what_is_no_setup_token_is_refused_by_name_and_never_an_argument() {
    let bench = LoginBench::new();
    for (input, why) in [
        (String::new(), "no token was given"),
        (token("x").replace("oat01", "ort01"), "that is a refresh token"),
        (token("x").replace("oat01", "api03"), "that is an API key"),
        ("https://claude.com/made_up".into(), "that is an address"),
        (token("x")[..70].into(), "cut off"),
        (format!("{}{}", token("x"), token("y")), "too long"),
        (format!("{}\u{1b}[31m", token("x")), "characters that no setup-token has"),
        ("\u{ff}made_up".repeat(9000), "begins with sk-ant-oat01-"),
    ] {
        let ran = given(&bench, &[], &input);
        let is_named = ran.stderr.contains("TOKEN_MALFORMED") && ran.stderr.contains(why);
        assert!(
            ran.code == Some(1) && is_named && ran.stderr.contains("nothing was changed"),
            "{why}: {ran}"
        );
    }
    let argued = run(&mut bench.command(&["login", "claude", "--setup-token", &token("x")]), b"");
    assert_eq!(argued.code, Some(64), "{argued}");
    assert!(run(&mut bench.command(&["login", "codex", "--setup-token"]), b"").code == Some(64));
    assert!(
        !bench.home.join(".config").exists() && !bench.home.join(".local/state/tokensink/logins").exists()
    );
}

#[test]
fn a_token_is_not_shown_on_the_terminal_on_which_it_is_typed() {
    holding(async {
        let bench = LoginBench::new();
        let token = token("typed");
        let command = bench.command(&["login", "claude", "--setup-token"]);
        let mut terminal = OnTerminal::start(&command);
        terminal.until("It is not shown.").await;
        // A narrow window broke it; the paste comes at once.
        terminal.type_in(&format!("{}\r{}\r", &token[..60], &token[60..])).await;
        let (code, shown) = terminal.end().await;
        assert_eq!(code, 0, "{shown}");
        assert!(!shown.contains("made_up") && !shown.contains("sk-ant"), "{shown}");
        assert_eq!(bench.stored("claude-token")["token"], token.as_str());

        // Broken off, the terminal shows again what is typed.
        let mut terminal = OnTerminal::start(&command);
        terminal.until("It is not shown.").await;
        terminal.type_in("\u{3}").await;
        let (code, shown) = terminal.end().await;
        assert!(code == 1 && shown.contains("stopped; nothing was changed"), "{shown}");
        assert_eq!(bench.stored("claude-token")["token"], token.as_str());
    });
}
