//! The real program, killed before every single call that others can see the effect of, and run again: what a crash
//! leaves is old or new and whole, the next run completes it, and nothing of ours lies about.
//!
//! One line per scene says how many points there were and what was found at them; a scene that has become smaller
//! than its floor fails, and so does a kill that did not happen. `TOKENSINK_LONG=1` kills before every other call as
//! well (reading, syncing, locking, closing), and runs the longer scenes. Needs root for mounts (util-linux), strace.
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
#![allow(clippy::duplicate_mod, reason = "the stage looks with eyes of its own")]

#[path = "support/stage.rs"]
mod stage;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use stage::{Home, Login, STATE, contains};
use support::codex;
use support::host::{Cli, Host, age};
use support::kills::{assert_tidy, everywhere};
use support::provider::Pair;
use support::strace::{Operation, Run};

// ---- a pass

/// Every sink that is a file.
const FILES: [&str; 8] = [
    "sinks/oauth.json",
    "sinks/gateway.env",
    "sinks/token.json",
    "sinks/view.json",
    "sinks/auth.json",
    "sinks/rendered",
    ".openclaw/agents/main/agent/auth-profiles.json",
    ".local/state/tokensink/mirrors/claw.json",
];
/// The lock of the store.
const LOCK: &str = ".openclaw/agents/main/agent/auth-profiles.json.lock";
/// The mode of a file that was there before.
const MODE: u32 = 0o640;

fn sink(id: &str, kind: &str, more: &str) -> String {
    let login = if kind == "codex-auth" { "codex" } else { "claude" };
    format!("[[sink]]\nid = \"{id}\"\nlogin = \"{login}\"\nkind = \"{kind}\"\n{more}\n")
}

/// All kinds of sinks that there are, but for `systemd-creds`, which wants a newer systemd than many have.
fn every_kind(home: &Home) -> String {
    let script = home.path("deliver.sh").display().to_string();
    [
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n".to_owned(),
        "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n[login.refresh]\nmode = \"off\"\n".to_owned(),
        sink("oauth", "oauth-json", "path = \"~/sinks/oauth.json\"\nrefresh = true"),
        sink("env", "env-file", "path = \"~/sinks/gateway.env\"\nkey = \"TOKEN\""),
        sink("secret", "secret-file", "path = \"~/sinks/token.json\""),
        sink("view", "claude-credentials", "path = \"~/sinks/view.json\""),
        sink("auth", "codex-auth", "path = \"~/sinks/auth.json\""),
        sink("rendered", "template", "path = \"~/sinks/rendered\"\nsource = \"~/template\""),
        sink("store", "auth-profiles", ""),
        sink("claw", "openclaw", "state_dir = \"~/claw\""),
        sink("command", "command", &format!("command = [\"/bin/sh\", {script:?}]")),
    ]
    .concat()
}

fn gateway(home: &Home, sinks: &str) -> String {
    let script = home.path("gateway.sh").display().to_string();
    format!(
        "[[gateway]]\nid = \"gateway\"\nsinks = [{sinks}]\nmin_interval = \"1s\"\napply = \"restart\"\n\
         command = [\"/bin/sh\", {script:?}]\n"
    )
}

/// Appends which generation a gateway finds.
fn script(file: &str, log: &str) -> String {
    format!("grep -o 'oat01-[^-]*-[0-9]*' {file} | cut -d- -f3 >>\"$HOME/{log}\"\n")
}

fn hold_codex(home: &Home) {
    home.mkdir(".codex");
    home.holds_tokens(".codex/auth.json");
    home.replace(".codex/auth.json", codex::document(&Pair::codex("codex", 200_000)));
}

/// Every kind of sink holds the first generation, or what was there before the first pass; the second is at the source.
fn every_sink(is_first: bool) -> Home {
    let home = Home::new();
    home.openclaw("2026.2.25", &["main"]);
    for name in FILES {
        home.holds_tokens(name);
    }
    home.write("template", "token: {{access_token}}\n");
    home.write("deliver.sh", script("", "delivered.log"));
    home.write("gateway.sh", script("\"$HOME/sinks/token.json\"", "gateway.log"));
    home.mkdir("claw/state");
    home.write("claw/state/openclaw.sqlite", "SQLite format 3\0");
    let mirror = home.path(FILES[7]);
    let config = json!({
        "meta": {"lastTouchedVersion": "2026.9.6"},
        "secrets": {"providers": {"any": {"source": "file", "path": mirror, "mode": "json"}}},
        "models": {"providers": {"anthropic":
            {"apiKey": {"source": "file", "provider": "any", "id": "/anthropic/accessToken"}}}},
    });
    home.write("claw/openclaw.json", config.to_string());
    home.write("sinks/oauth.json", "{\"other\": {\"access\": \"kept\", \"n\": 1.50}}\n");
    home.write("sinks/gateway.env", "# kept\nOTHER=1\nTOKEN=old\nLAST=1\n");
    for name in &FILES[..2] {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(MODE)).unwrap();
    }
    hold_codex(&home);
    home.configure(&every_kind(&home));
    if !is_first {
        home.rotate(&Login::nth(1));
        let ran = home.run(&["sync"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        home.replace("delivered.log", "");
    }
    let sinks =
        "\"oauth\", \"env\", \"secret\", \"view\", \"auth\", \"rendered\", \"store\", \"claw\", \"command\"";
    home.configure(&(every_kind(&home) + &gateway(&home, sinks)));
    home.rotate(&Login::nth(2));
    home
}

fn bytes(home: &Home, names: &[&str]) -> Vec<Option<Vec<u8>>> {
    names.iter().map(|name| fs::read(home.path(name)).ok()).collect()
}

/// How a gateway or a command was told: once, or a second time because nobody could know of the first.
#[track_caller]
fn assert_told(home: &Home, log: &str, what: &Operation) -> usize {
    let told = home.read(log);
    assert!(told.lines().all(|line| line == "0002"), "{what:?}: {log}: {told:?}");
    let times = told.lines().count();
    assert!((1..=2).contains(&times), "{what:?}: {log}: {told:?}");
    times
}

/// What holds after a kill in the midst of a pass, and after the next one.
fn judge_pass(home: &Home, what: &Operation, names: &[&str], again: impl Fn(&[&str]) -> Command) -> String {
    let crashed = bytes(home, names);
    let told = home.read("gateway.log").lines().count();
    assert!(contains(&home.credentials(), &Login::nth(2).refresh), "{what:?}: the login is at its source");
    // OpenClaw's lock, taken but not yet signed, is left alone for half a minute, by its own rule.
    let lock = home.path(LOCK);
    let is_unsigned = fs::metadata(&lock).is_ok_and(|lock| lock.len() == 0);
    if is_unsigned {
        age(&lock, 31);
    }
    let ran = home.end_of(again(&["sync", "--json"]));
    assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
    // One that nobody wanted meanwhile is there until somebody wants it.
    if lock.exists() {
        home.replace(
            ".openclaw/agents/main/agent/auth-profiles.json",
            "{\"version\": 1, \"profiles\": {}}\n",
        );
        let ran = home.end_of(again(&["sync", "--json"]));
        assert_eq!((ran.code, lock.exists()), (0, false), "{what:?}: {ran:?}");
        return "store lock of the dead taken over".to_owned();
    }
    let after = bytes(home, names);
    for ((name, crashed), after) in names.iter().zip(&crashed).zip(&after) {
        let (crashed, after) = (crashed.as_deref().unwrap_or_default(), after.as_deref().unwrap_or_default());
        let is_of_codex = name.ends_with("/auth.json");
        assert!(is_of_codex || stage::holds(after, &Login::nth(2).access), "{what:?}: {name}");
        // Whole: the new one, or one in which nothing of the new one is.
        assert!(crashed == after || !stage::holds(crashed, "-0002-"), "{what:?}: {name} is torn");
    }
    let times = assert_told(home, "gateway.log", what);
    assert!(times == 1 || told == 1, "{what:?}: told twice by one run");
    let quiet = home.end_of(again(&["sync", "--json"])).json();
    assert_eq!(quiet["actions"], json!([]), "{what:?}");
    let findings: Vec<_> = quiet["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert!(findings.iter().all(|code| **code == "DUPLICATE_FAMILY"), "{what:?}: {quiet:#}");
    assert_tidy(home.root(), what);
    format!("{} of {} new then", crashed.iter().zip(&after).filter(|(c, a)| c == a).count(), names.len())
}

fn a_pass(is_first: bool) {
    let title = if is_first { "first pass, every kind of sink" } else { "rotation, every kind of sink" };
    everywhere(
        title,
        50,
        1,
        || every_sink(is_first),
        |home| Run::of(home.command(&["sync"]), home.root()),
        |home, what| {
            let line = judge_pass(home, what, &FILES, |arguments| home.command(arguments));
            let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777;
            for (at, name) in FILES.iter().enumerate().filter(|(at, _)| *at != 6) {
                assert_eq!(mode(name), if at < 2 { MODE } else { 0o600 }, "{what:?}: {name}");
            }
            assert_told(home, "delivered.log", what);
            for kept in ["\"n\": 1.50", "OTHER=1\n", "LAST=1\n"] {
                assert!(FILES[..2].iter().any(|name| contains(&home.path(name), kept)), "{what:?}: {kept}");
            }
            fs::remove_file(home.root().join("strace.log")).unwrap();
            home.finish();
            line
        },
    );
}

#[test]
fn a_first_pass_that_dies_anywhere_is_completed_by_the_next() {
    a_pass(true);
}

#[test]
fn the_pass_of_a_rotation_that_dies_anywhere_is_completed_by_the_next() {
    a_pass(false);
}

/// Single files that were mounted cannot be renamed over: each is rewritten where it is.
const MOUNTS: &str =
    "for name in oauth.json gateway.env rendered; do mount --bind ~/outside/$name ~/sinks/$name; done";

#[test]
fn a_rewrite_in_place_that_dies_anywhere_is_completed_by_the_next() {
    const OUTSIDE: [&str; 3] = ["outside/oauth.json", "outside/gateway.env", "outside/rendered"];
    let prepare = || {
        let home = Home::new();
        home.mkdir("outside");
        for name in OUTSIDE {
            home.holds_tokens(name);
            home.write(&name.replace("outside", "sinks"), "");
        }
        // What is written is longer, shorter, and of the same length but elsewhere.
        home.write(
            "outside/oauth.json",
            "{\"other\":{\"access\":\"kept\"},\"anthropic\":{\"access\":\"old\"}, \"z\": 1}\n",
        );
        let long = "o".repeat(900);
        home.write("outside/gateway.env", format!("# kept\nTOKEN={long}\nOTHER=1\nLAST=1\n"));
        home.write("outside/rendered", format!("{}\n", "x".repeat(700)));
        home.write("template", "head {{access_token}} tail\n");
        home.write("gateway.sh", script("\"$HOME/outside/rendered\"", "gateway.log"));
        let config = [
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n".to_owned(),
            sink("oauth", "oauth-json", "path = \"~/sinks/oauth.json\"\nrefresh = false"),
            sink("env", "env-file", "path = \"~/sinks/gateway.env\"\nkey = \"TOKEN\""),
            sink("rendered", "template", "path = \"~/sinks/rendered\"\nsource = \"~/template\""),
            gateway(&home, "\"oauth\", \"env\", \"rendered\""),
        ];
        home.configure(&config.concat());
        home.rotate(&Login::nth(2));
        home
    };
    let inside = |home: &Home, arguments: &[&str]| home.unshared(MOUNTS, arguments);
    let access = Login::nth(2).access;
    everywhere(
        "rewrite in place",
        50,
        1,
        prepare,
        |home| Run::of(inside(home, &["sync"]), home.root()),
        |home, what| {
            let torn = bytes(home, &OUTSIDE);
            let ran = home.end_of(inside(home, &["sync", "--json"]));
            assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
            let env = format!("# kept\nTOKEN={access}\nOTHER=1\nLAST=1\n");
            assert_eq!(home.read("outside/gateway.env"), env, "{what:?}");
            assert_eq!(home.read("outside/rendered"), format!("head {access} tail\n"), "{what:?}");
            let oauth: Value = serde_json::from_str(&home.read("outside/oauth.json")).expect("whole");
            let kept = (&oauth["other"]["access"], &oauth["anthropic"]["access"], &oauth["z"]);
            assert_eq!(kept, (&json!("kept"), &json!(access), &json!(1)), "{what:?}");
            assert_told(home, "gateway.log", what);
            assert_tidy(home.root(), what);
            let after = bytes(home, &OUTSIDE);
            format!("{} of 3 new then", torn.iter().zip(&after).filter(|(t, a)| t == a).count())
        },
    );
}

// ---- what a person starts

#[test]
fn a_set_up_that_dies_anywhere_is_completed_or_taken_back_by_the_next() {
    const DROP_IN: &str = ".config/tokensink/tokensink.d/50-setup.toml";
    let record = format!("{STATE}/setup.json");
    let furnished = || {
        let home = Home::new();
        home.rotate(&Login::nth(1));
        home.openclaw("2026.2.9", &["main"]);
        home
    };
    let set_up = || {
        let home = furnished();
        assert_eq!(home.run(&["setup", "--yes"]).code, 0);
        home
    };
    let whole = set_up().read(DROP_IN);
    let gone = |home: &Home, what: &Operation| {
        let ran = home.run(&["setup", "--undo"]);
        assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
        assert!(!home.path(DROP_IN).exists() && !home.path(&record).exists(), "{what:?}");
    };
    let root = |home: &Home| home.path("").display().to_string();
    everywhere(
        "setup --yes",
        8,
        1,
        furnished,
        |home| Run::of(home.command(&["setup", "--yes"]), home.root()),
        |home, what| {
            let then = home.read(DROP_IN);
            let is_known = home.read(&record).contains("50-setup.toml");
            assert!(then.is_empty() || is_known, "{what:?}: a drop-in that nobody takes back");
            let ran = home.run(&["setup", "--yes"]);
            assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
            let text = home.read(DROP_IN);
            assert_eq!(text.lines().count(), whole.lines().count(), "{what:?}: {text} {}", root(home));
            gone(home, what);
            if then.is_empty() { "nothing written then" } else { "all written then" }.to_owned()
        },
    );
    everywhere(
        "setup --undo",
        2,
        1,
        set_up,
        |home| Run::of(home.command(&["setup", "--undo"]), home.root()),
        |home, what| {
            let is_there = home.path(DROP_IN).exists();
            gone(home, what);
            if is_there { "nothing removed then" } else { "drop-in removed then" }.to_owned()
        },
    );
}

#[test]
fn what_an_undo_left_when_it_died_the_next_takes_back() {
    let names = ["sinks/gateway.env", "sinks/oauth.json", "sinks/token.json"];
    const ENV: &str = "# mine\nOTHER=1\n";
    let prepare = || {
        let home = Home::new();
        home.configure(&home.three_sinks(""));
        home.write(names[0], ENV);
        home.rotate(&Login::nth(1));
        assert_eq!(home.run(&["sync"]).code, 0);
        home
    };
    everywhere(
        "undo",
        10,
        1,
        prepare,
        |home| Run::of(home.command(&["undo"]), home.root()),
        |home, what| {
            let left = names.iter().filter(|name| contains(&home.path(name), "oat01")).count();
            let ran = home.run(&["undo"]);
            assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
            assert_eq!(home.read(names[0]), ENV, "{what:?}: {ran:?}");
            assert!(!home.path(names[1]).exists() && !home.path(names[2]).exists(), "{what:?}: {ran:?}");
            assert!(contains(&home.credentials(), &Login::nth(1).refresh), "{what:?}");
            // And the next pass makes everything anew.
            assert_eq!(home.run(&["sync"]).code, 0, "{what:?}");
            assert!(home.sinks_hold(&Login::nth(1)), "{what:?}");
            assert_tidy(home.root(), what);
            format!("{left} of 3 left then")
        },
    );
}

// ---- a refresh

#[test]
fn a_refresh_of_claude_code_that_dies_anywhere_loses_no_login() {
    a_refresh(Cli::Claude);
}

#[test]
fn a_refresh_of_codex_that_dies_anywhere_loses_no_login() {
    a_refresh(Cli::Codex);
}

fn a_refresh(cli: Cli) {
    let root = |host: &Host| host.home.parent().unwrap().to_owned();
    everywhere(
        &format!("{cli:?}: refresh"),
        40,
        1,
        || Host::with(cli, -3600),
        |host| {
            let mut command = host.command(&["refresh", "--json"]);
            // How many lines a log has depends on the time.
            command.env("TOKENSINK_LOG", "error");
            Run::of(command, &root(host))
        },
        |host, what| {
            let (was_sent, then) = (host.requests() == 1, host.place_of_live());
            serde_json::from_str::<Value>(&host.read()).expect("never torn");
            host.pass_over_locks();
            let next = host.refresh(&[]);
            let is_unknown = next.outcome == "unknown";
            assert!(is_unknown || next.code == Some(0), "{what:?}: {next}");
            // In doubt are those alone whose answer was on no disk yet.
            let is_in_doubt = then == "nowhere" || (!was_sent && host.intent().is_some());
            assert_eq!(is_unknown, is_in_doubt, "{what:?}: {then}: {next}");
            assert!(is_unknown || host.place_of_live() == "source", "{what:?}: {next}");
            assert!(host.requests() <= 1, "{what:?}: sent twice");
            if !is_unknown {
                let forced = host.refresh(&["--force"]);
                assert_eq!((forced.code, host.place_of_live()), (Some(0), "source"), "{what:?}: {forced}");
            }
            assert_eq!(host.provider.ledger().refused(), 0, "{what:?}: a spent token was sent");
            let sync = support::run::run(&mut host.command(&["sync"]), b"");
            assert_eq!(sync.code, Some(0), "{what:?}: {sync}");
            assert_tidy(&host.home, what);
            match (is_unknown, was_sent) {
                (true, true) => "unknown (answered, not recorded)".to_owned(),
                (true, false) => "unknown (intended, not sent)".to_owned(),
                (false, true) => format!("sent, token in {then}"),
                (false, false) => "not sent".to_owned(),
            }
        },
    );
}
