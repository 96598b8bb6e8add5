//! Logins at a person's terminal: a token that must not be shown, and the terminal handed over to OpenClaw. The real
//! OpenClaw needs root (a network of its own) and npm once. No real account, no network.
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
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::login_bench::LoginBench;
use support::looks::contains;
use support::on_terminal::{OnTerminal, holding};
use support::openclaw::OpenClaw;
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

/// An OpenClaw that asks one question in raw mode and stores what it is told, unless it is told `nothing`.
const OPENCLAW: &str = r#"#!/bin/sh
store=$HOME/store
case "$*" in
"models status --json")
    profiles=; labels=
    if [ -s "$store" ]; then
        key=$(od -An -tx1 < "$store" | tr -d ' \n')
        profiles='{"profileId":"acme:me","provider":"acme","type":"api_key","status":"'${STATUS:-ok}'"}'
        labels='{"provider":"acme","profiles":{"labels":["acme:me='$key'"]}}'
    fi
    echo '{"auth":{"providers":['$labels'],"oauth":{"profiles":['$profiles']}}}' ;;
"models auth login --provider acme")
    echo $PPID > "$HOME/parent"
    trap 'printf "now %s\r\n" "$(stty size)"' WINCH
    size=$(stty size)
    stty raw -echo
    printf '\033[1mKey?\033[0m %s %s ' "$size" "${DISPLAY:-}"
    key=$(dd bs=1 count=4 2>/dev/null)
    stty sane
    [ "$key" = stay ] && while :; do read -r _ || :; done
    [ "$key" = fail ] && exit 3
    [ "$key" = same ] || printf %s "$key" > "$store"
    (trap '' HUP TERM INT; exec sleep 1000) & echo $! > "$HOME/child" ;;
*) exit 9 ;;
esac
"#;

fn openclaw_bench() -> LoginBench {
    let bench = LoginBench::new();
    fs::create_dir(bench.home.join("bin")).unwrap();
    let program = bench.home.join("bin/openclaw");
    fs::write(&program, OPENCLAW).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bench
}

fn handed_over(bench: &LoginBench, status: &str) -> Command {
    let mut command = bench.command(&["login", "--openclaw", "acme"]);
    let path = format!("{}:/usr/bin:/bin", bench.home.join("bin").display());
    command.env("PATH", path).env("STATUS", status).env("DISPLAY", ":7");
    command
}

#[test]
fn openclaw_has_the_terminal_and_what_it_brought_is_looked_at() {
    holding(async {
        let bench = openclaw_bench();
        let attempt = |key: &'static str, status: &'static str| {
            let mut terminal = OnTerminal::start(&handed_over(&bench, status));
            async move {
                terminal.until("Key?\u{1b}[0m 30 90 :7 ").await;
                terminal.type_in(key).await;
                terminal.end().await
            }
        };
        let (code, shown) = attempt("same", "ok").await;
        assert!(code == 1 && shown.contains("none of its profiles of acme is new"), "{shown}");
        // Ctrl-C is a key like any other.
        let (code, shown) = attempt("ab\u{3}d", "ok").await;
        assert!(code == 0 && shown.contains("OpenClaw holds profile acme:me (api_key)"), "{shown}");
        assert_eq!(fs::read_to_string(bench.home.join("store")).unwrap(), "ab\u{3}d");
        let (code, shown) = attempt("same", "ok").await;
        assert!(code == 1 && shown.contains("none of its profiles of acme is new"), "{shown}");
        let (code, shown) = attempt("efgh", "ok").await;
        assert!(code == 0 && shown.contains("acme:me"), "{shown}");
        let (code, shown) = attempt("ijkl", "expired").await;
        assert!(code == 1 && shown.contains("which is expired"), "{shown}");
        let (code, shown) = attempt("fail", "ok").await;
        assert!(code == 1 && shown.contains("ended with exit status: 3"), "{shown}");
        let child = fs::read_to_string(bench.home.join("child")).unwrap();
        support::host::until("its child is gone", 10, || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
        });

        // A window that changes its size, and one whose tokensink is stopped.
        let mut terminal = OnTerminal::start(&handed_over(&bench, "ok"));
        terminal.until("Key?").await;
        terminal.type_in("stay").await;
        terminal.resize(50, 200);
        terminal.until("now 50 200").await;
        let parent = fs::read_to_string(bench.home.join("parent")).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        let (code, shown) = terminal.end().await;
        assert!(code == 1 && shown.contains("stopped"), "{shown}");
    });
}

#[test]
fn without_a_terminal_or_a_program_nothing_is_handed_over() {
    let bench = openclaw_bench();
    let ran = run(&mut handed_over(&bench, "ok"), b"");
    assert!(ran.code == Some(64) && ran.stderr.contains("standard input is none"), "{ran}");
    holding(async {
        let terminal = OnTerminal::start(&bench.command(&["login", "--openclaw", "acme"]));
        let (code, shown) = terminal.end().await;
        assert!(code == 1 && shown.contains("openclaw is not on the search path"), "{shown}");
    });
}

#[test]
fn the_real_openclaw_asks_on_the_terminal_and_its_profile_is_seen() {
    let claw = OpenClaw::new("2026.9.6");
    let mut command = claw.command(env!("CARGO_BIN_EXE_tokensink").as_ref());
    command.args(["login", "--openclaw", "anthropic"]).env("TERM", "xterm-256color");
    holding(async {
        let mut terminal = OnTerminal::start(&command);
        terminal.until("Auth method for Anthropic").await;
        terminal.until("confirm").await;
        terminal.type_in("\u{1b}[B\u{1b}[B\r").await;
        terminal.until("Enter Anthropic API key").await;
        terminal.type_in(&format!("sk-ant-api03-{}AA\r", "made_up-".repeat(10))).await;
        let (code, shown) = terminal.end().await;
        let report = shown.rsplit("<ended").nth(1).unwrap();
        assert!(
            code == 0 && report.contains("OpenClaw holds profile anthropic:default (api_key)"),
            "{shown}"
        );
    });
}
