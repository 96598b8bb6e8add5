//! Logins by the official Claude CLI on a terminal that tokensink holds: a login screen that can be made to misbehave,
//! and the real CLI. Needs root for the real one (a network of its own) and npm once. No real account, no network.
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
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::alone::alone;
use support::host::until;
use support::login_bench::{Login, LoginBench, get_url};
use support::looks::contains;
use support::npm::claude_code;
use support::provider::ACCOUNT;
use support::run::{Ran, run};
use support::screen::{bench as screen, nothing_is_left, seen, with_program};

const STATE: &str = "srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";
/// In every token of the screen.
const CANARY: &str = "CANARY";

/// The URL that was printed, on a line of its own.
fn url(login: &Login) -> String {
    login.wait_for("Then paste here");
    login.said().lines().find(|line| line.starts_with("https://")).unwrap().to_owned()
}

fn paste(login: &mut Login, code: &str, url: &str) {
    let state = url.split("state=").nth(1).unwrap().to_owned();
    login.type_line(&format!("{code}#{state}"));
}

/// The credential file of a login in a directory of its own.
fn file_of(bench: &LoginBench, id: &str) -> PathBuf {
    bench.home.join(format!(".local/state/tokensink/logins/{id}/.credentials.json"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The end of an attempt that must not have changed anything.
#[track_caller]
fn failed(bench: &LoginBench, login: &mut Login, why: &str) {
    let ran = login.end();
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.contains(why) && ran.stdout.contains("nothing was changed"), "{why}: {ran}");
    assert!(!ran.stdout.contains(CANARY) && !ran.stdout.contains("ac-"), "{ran}");
    nothing_is_left(bench);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_kind_of_screen_leads_to_a_login_that_is_stored_and_listed() {
    for style in ["style=link", "style=80", "style=columns", "style=100 flood leaves-a-child stubborn"] {
        let bench = screen(style);
        let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
        let url = url(&login);
        assert!(
            url.starts_with("https://claude.com/cai/oauth/authorize?code=true&") && url.ends_with(STATE),
            "{url}"
        );
        paste(&mut login, "ac-good", &url);
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{style}: {ran}");
        assert!(!ran.stdout.contains(CANARY) && !ran.stdout.contains("ac-good"), "{ran}");

        let file = file_of(&bench, "work");
        assert_eq!(read(&file)["claudeAiOauth"]["accountUuid"], ACCOUNT);
        assert_eq!(read(&file)["claudeAiOauth"]["subscriptionType"], "max");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let entry = bench.home.join(".config/tokensink/tokensink.d/60-login-work.toml");
        assert!(
            contains(&entry, "provider = \"claude\"") && contains(&entry, "logins/work/.credentials.json")
        );
        let status: Value = serde_json::from_str(bench.run(&["status", "--json"]).ok()).unwrap();
        let listed = &status["logins"][0];
        assert_eq!(
            (&listed["id"], &listed["state"], &listed["refreshable"]),
            (&json!("work"), &json!("ok"), &json!(true))
        );
        nothing_is_left(&bench);

        // What the CLI was given: a wide terminal, our code, and nothing of the person's surroundings.
        let seen = seen(&bench);
        assert!(seen.starts_with("auth login columns=2000 "), "{seen}");
        assert!(
            seen.contains(&format!("typed=ac-good#{STATE}\n")) && seen.contains("\nBROWSER=true\n"),
            "{seen}"
        );
        assert!(!seen.contains("TOKENSINK") && !seen.contains("CARGO"), "{seen}");
    }
}

#[test]
fn a_code_of_another_login_is_not_typed() {
    let bench = screen("");
    let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
    let url = url(&login);
    for (pasted, why) in [
        ("ac-other#another-state", "another one, or missing"),
        ("https://platform.claude.com/oauth/code/callback?code=ac-other&state=x", "another one, or missing"),
        ("https://platform.claude.com/", "no code"),
    ] {
        login.type_line(pasted);
        login.wait_for(why);
    }
    login.type_line(&format!("https://platform.claude.com/oauth/code/callback?code=ac-good&state={STATE}"));
    assert_eq!(login.end().code, Some(0));
    let typed: Vec<String> =
        seen(&bench).lines().filter_map(|l| l.strip_prefix("typed=")).map(str::to_owned).collect();
    assert_eq!(typed, [format!("ac-good#{STATE}")], "{url}");
}

#[test]
fn another_account_is_refused_unless_told_otherwise() {
    let bench = screen("account=someone-else");
    let file = bench.home.join(".claude/.credentials.json");
    let old = json!({"mcpOAuth": {"s": {"accessToken": "m"}}, "claudeAiOauth": {"accessToken": "sk-ant-oat01-old",
        "refreshToken": "sk-ant-ort01-old", "expiresAt": support::claude::in_seconds(3600), "scopes": ["user:inference"],
        "accountUuid": ACCOUNT}});
    fs::write(&file, old.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let attempt = |arguments: &[&str]| {
        let mut login = bench.login(&[&["claude", "--no-browser"][..], arguments].concat());
        let url = url(&login);
        paste(&mut login, "ac-good", &url);
        login.end()
    };
    let ran = attempt(&[]);
    assert!(ran.code == Some(1) && ran.stdout.contains("ACCOUNT_MISMATCH"), "{ran}");
    assert_eq!(fs::read_to_string(&file).unwrap(), old.to_string(), "as it was");
    nothing_is_left(&bench);

    // One that does not name its account, as older CLIs left it: the account is beside it.
    let mut unnamed = old.clone();
    unnamed["claudeAiOauth"].as_object_mut().unwrap().remove("accountUuid");
    fs::write(&file, unnamed.to_string()).unwrap();
    fs::write(bench.home.join(".claude.json"), json!({"oauthAccount": {"accountUuid": ACCOUNT}}).to_string())
        .unwrap();
    let ran = attempt(&[]);
    assert!(ran.code == Some(1) && ran.stdout.contains("ACCOUNT_MISMATCH"), "{ran}");
    fs::write(&file, old.to_string()).unwrap();

    let ran = attempt(&["--replace-account"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let new = read(&file);
    assert_eq!(new["claudeAiOauth"]["accountUuid"], "someone-else");
    assert_eq!(new["mcpOAuth"], old["mcpOAuth"], "other logins stay");
    let kept = fs::read_dir(bench.home.join(".local/state/tokensink/displaced")).unwrap().flatten();
    assert!(
        kept.into_iter().any(|entry| contains(&entry.path(), "sk-ant-ort01-old")),
        "the old one is kept aside"
    );
}

#[test]
fn an_attempt_that_fails_leaves_everything_as_it_was() {
    for (words, why) in [
        ("leaves-nothing", "it left no login"),
        ("over", "its login is over already"),
        ("narrow", "has not the scope user:inference"),
        ("no-question", "takes no code by hand"),
    ] {
        let bench = screen(words);
        let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
        if words != "no-question" {
            let url = url(&login);
            paste(&mut login, "ac-good", &url);
        }
        failed(&bench, &mut login, why);
        assert!(!file_of(&bench, "work").exists() && !bench.home.join(".config").exists(), "{words}");
    }

    let bench = screen("leaves-a-child stubborn");
    let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
    let address = url(&login);
    paste(&mut login, "ac-refused", &address);
    failed(&bench, &mut login, "Couldn't log in: That code wasn't accepted.");

    let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
    url(&login);
    login.close_input();
    failed(&bench, &mut login, "standard input ended before a code was given");

    let mut login = bench.login(&["claude", "--id", "work", "--no-browser", "--patience", "1"]);
    failed(&bench, &mut login, "nobody came back in time");

    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut login = bench.login(&["claude", "--id", "work", "--no-browser"]);
        url(&login);
        kill(Pid::from_raw(i32::try_from(login.id()).unwrap()), signal).unwrap();
        failed(&bench, &mut login, "stopped");
    }
    assert!(!file_of(&bench, "work").exists() && !bench.home.join(".config").exists());
}

#[test]
fn an_address_elsewhere_is_never_shown() {
    for host in ["claude.com.evil.example", "evil.example", "claude.com@evil.example", "claude.com:8443"] {
        let bench = screen(&format!("host={host}"));
        let mut login = bench.login(&["claude", "--id", "work", "--no-browser", "--patience", "2"]);
        failed(&bench, &mut login, "nobody came back in time");
        assert!(!login.said().contains("https://"), "{}", login.said());
    }
}

#[test]
fn one_attempt_at_a_time_for_each_login_and_a_killed_one_is_cleared_away() {
    let bench = screen("");
    let mut first = bench.login(&["claude", "--id", "work", "--no-browser"]);
    let address = url(&first);
    let mut second = bench.login(&["claude", "--id", "work", "--no-browser"]);
    let ran = second.end();
    assert!(ran.code == Some(1) && ran.stdout.contains("a login of work is in progress"), "{ran}");
    let mut other = bench.login(&["claude", "--id", "home", "--no-browser"]);
    let other_address = url(&other);
    paste(&mut other, "ac-good", &other_address);
    assert_eq!(other.end().code, Some(0));
    paste(&mut first, "ac-good", &address);
    assert_eq!(first.end().code, Some(0));
    assert!(file_of(&bench, "work").exists() && file_of(&bench, "home").exists(), "two directories");

    // Killed without a chance to clean up: its terminal goes with it, and what it left is removed.
    let killed = bench.login(&["claude", "--id", "third", "--no-browser"]);
    url(&killed);
    let scratch = bench.home.join(".local/state/tokensink/attempts/third");
    assert_eq!(mode(&scratch), 0o700);
    drop(killed);
    fs::write(scratch.join(".credentials.json"), "{}").unwrap();
    let mut login = bench.login(&["claude", "--id", "third", "--no-browser"]);
    let address = url(&login);
    paste(&mut login, "ac-good", &address);
    assert_eq!(login.end().code, Some(0));
    nothing_is_left(&bench);
}

#[test]
fn without_its_cli_or_a_place_there_is_no_login() {
    let bench = LoginBench::new();
    let ran = run(&mut bench.command(&["login", "claude", "--id", "work"]), b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("CLI_MISSING"), "{ran}");
    let ran = run(&mut bench.command(&["login", "claude"]), b"");
    assert!(ran.code == Some(1) && ran.stderr.contains(".claude/.credentials.json is not there"), "{ran}");
    let torn = screen("");
    fs::write(torn.home.join(".claude/.credentials.json"), "{\"claudeAiOauth\":{").unwrap();
    let ran = run(&mut torn.command(&["login", "claude"]), b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("ends inside a value"), "{ran}");
    assert!(seen(&torn).is_empty(), "nobody was troubled");
}

/// The real CLI of a version, in a network of its own.
fn real(version: &str) -> LoginBench {
    let bench = with_program(&claude_code(version));
    bench.provider.set(|s| s.expires_in = 28_800);
    bench
}

/// The real CLI with these arguments, looking at that directory.
fn claude(bench: &LoginBench, directory: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new("timeout");
    command
        .arg("90")
        .arg(bench.home.join(".local/bin/claude"))
        .args(arguments)
        .current_dir(&bench.home)
        .env_clear();
    let (home, ca) = (bench.home.display().to_string(), bench.provider.ca_pem().display().to_string());
    command.envs(support::claude::environment(&home, &bench.provider.url(), &ca));
    run(command.env("CLAUDE_CONFIG_DIR", directory), b"")
}

fn login_of(bench: &LoginBench, arguments: &[&str]) -> Login {
    let mut command = bench.command(&[&["login", "claude"][..], arguments].concat());
    bench.start(command.env("NODE_EXTRA_CA_CERTS", bench.provider.ca_pem()))
}

#[test]
fn the_real_cli_logs_in_accepts_what_is_stored_and_is_led_to_it() {
    claude_code("latest");
    alone("the_real_cli_logs_in_accepts_what_is_stored_and_is_led_to_it", || {
        let bench = real("latest");
        let mut login = login_of(&bench, &["--id", "work"]);
        let url = url(&login);
        assert!(url.starts_with("https://claude.com/cai/oauth/authorize?code=true&client_id="), "{url}");
        paste(&mut login, "made-up-code", &url);
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        bench.assert_no_secret_in(&ran.stdout);
        nothing_is_left(&bench);

        let file = file_of(&bench, "work");
        let live = bench.provider.ledger().live("login").clone();
        let stored = read(&file);
        assert_eq!(stored["claudeAiOauth"]["refreshToken"], live.refresh.as_str());
        assert_eq!(stored["claudeAiOauth"]["accountUuid"], ACCOUNT);
        let status = claude(&bench, file.parent().unwrap(), &["auth", "status"]);
        assert!(status.ok().contains("\"loggedIn\": true"), "{status}");

        // Its own refresh goes on from there; so does ours, by the CLI, which looks elsewhere by itself.
        let expire = || {
            let mut document = read(&file);
            document["claudeAiOauth"]["expiresAt"] = json!(support::claude::in_seconds(-60));
            fs::write(&file, document.to_string()).unwrap();
        };
        expire();
        assert_eq!(claude(&bench, file.parent().unwrap(), &support::claude::PROMPT).ok(), "ok");
        let second = bench.provider.ledger().live("login").clone();
        assert_ne!(second.refresh, live.refresh);
        assert_eq!(read(&file)["claudeAiOauth"]["refreshToken"], second.refresh.as_str());
        expire();
        let mut refresh = bench.command(&["refresh", "work", "--via", "cli", "--force"]);
        let ran = run(refresh.env("NODE_EXTRA_CA_CERTS", bench.provider.ca_pem()), b"");
        assert!(ran.ok().contains("rotated"), "{ran}");
        let third = bench.provider.ledger().live("login").clone();
        assert_ne!(third.refresh, second.refresh);
        assert_eq!(read(&file)["claudeAiOauth"]["refreshToken"], third.refresh.as_str());
        assert_eq!((bench.provider.ledger().grants(), bench.provider.ledger().refused()), (3, 0));
        assert!(!bench.home.join(".claude/.credentials.json").exists(), "the usual place is not touched");
    });
}

#[test]
fn the_real_cli_logs_in_over_an_old_login_and_a_refused_code_changes_nothing() {
    claude_code("latest");
    alone("the_real_cli_logs_in_over_an_old_login_and_a_refused_code_changes_nothing", || {
        let bench = real("latest");
        let file = bench.home.join(".claude/.credentials.json");
        let old = bench.provider.seed("old");
        let before = support::claude::document(&old, support::claude::in_seconds(3600)).to_string();
        fs::write(&file, &before).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

        bench.provider.set(|s| (s.status, s.body) = (Some(400), r#"{"error":"invalid_grant"}"#.into()));
        let mut login = login_of(&bench, &[]);
        let address = url(&login);
        paste(&mut login, "made-up-code", &address);
        failed(&bench, &mut login, "Couldn't log in");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);

        bench.provider.set(|s| s.status = None);
        let mut login = login_of(&bench, &[]);
        let address = url(&login);
        paste(&mut login, "made-up-code", &address);
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        let (after, before): (Value, Value) = (read(&file), serde_json::from_str(&before).unwrap());
        assert_eq!(
            after["claudeAiOauth"]["refreshToken"],
            bench.provider.ledger().live("login").refresh.as_str()
        );
        assert_eq!(
            (&after["mcpOAuth"], &after["unknownBeside"]),
            (&before["mcpOAuth"], &before["unknownBeside"])
        );
        assert!(after["claudeAiOauth"].get("unknownInside").is_none());
        let ledger = bench.provider.ledger();
        assert!(!ledger.requests.iter().any(|request| request.path.contains("revoke")), "the old one lives");
        assert!(ledger.accepts(&old.access));
        let status = claude(&bench, &bench.home.join(".claude"), &["auth", "status"]);
        assert!(status.ok().contains("\"loggedIn\": true"), "{status}");
    });
}

#[test]
fn an_old_cli_that_takes_no_code_logs_in_by_a_browser_on_the_same_machine_or_says_so() {
    claude_code("2.1.112");
    alone("an_old_cli_that_takes_no_code_logs_in_by_a_browser_on_the_same_machine_or_says_so", || {
        let bench = real("2.1.112");
        let mut login = login_of(&bench, &["--id", "work", "--no-browser"]);
        failed(&bench, &mut login, "takes no code by hand");

        // A desktop whose browser goes where the page would send it.
        let opened = bench.home.join("opened");
        let browser = bench.home.join(".local/bin/xdg-open");
        fs::write(&browser, format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display())).unwrap();
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = bench.command(&["login", "claude", "--id", "work"]);
        let path = format!("{}:/usr/bin:/bin", browser.parent().unwrap().display());
        command.env("DISPLAY", ":7").env("PATH", path).env("NODE_EXTRA_CA_CERTS", bench.provider.ca_pem());
        let mut login = bench.start(&mut command);
        login.wait_for("it waits for the browser on this machine");
        until("the browser is opened", 30, || {
            fs::read_to_string(&opened).is_ok_and(|text| text.ends_with('\n'))
        });
        let address = fs::read_to_string(&opened).unwrap();
        let of =
            |name: &str| address.split(name).nth(1).unwrap().split('&').next().unwrap().trim().to_owned();
        let callback = of("redirect_uri=").replace("%3A", ":").replace("%2F", "/");
        get_url(&format!("{callback}?code=made-up-code&state={}", of("&state=")));
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        let file = file_of(&bench, "work");
        assert_eq!(
            read(&file)["claudeAiOauth"]["refreshToken"],
            bench.provider.ledger().live("login").refresh.as_str()
        );
        let status = claude(&bench, file.parent().unwrap(), &["auth", "status"]);
        assert!(status.ok().contains("\"loggedIn\": true"), "{status}");
        // It does not name its account in the file; the one beside it was remembered.
        let state = read(&bench.home.join(".local/state/tokensink/state.json"));
        println!("remembered account: {}", state["logins"]["work"]["account"]);
    });
}
