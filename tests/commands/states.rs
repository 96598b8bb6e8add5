//! States of logins, sinks and gateways, and exactly what is said of each: state, word, both exit codes, every finding. The
//! table is `states.golden`; `UPDATE_GOLDEN=1` rewrites it, and its diff is to be read.
//!
//! `doctor` says the same findings, and a state is judged without its daemon.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::stage::{Home, Login, husk};

/// How a home comes into a state.
type Into = fn(&Home);

const LOGIN: &str = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"direct\"\n";
const COPY: &str =
    "[[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n";

/// A login that needs nobody, with a sink that has not seen it yet.
fn plain(home: &Home) {
    home.holds_tokens("copy.json");
    home.configure(&format!("{LOGIN}{COPY}"));
    home.rotate(&login(100));
}

fn login(hours: i64) -> Login {
    Login::nth(1).ends_in_hours(hours)
}

/// The same after a pass.
fn synced(home: &Home) {
    plain(home);
    assert_eq!(home.run(&["sync"]).code, 0);
}

fn more(home: &Home, text: &str) {
    home.configure(&format!("{LOGIN}{COPY}{text}"));
}

fn source(home: &Home, text: &str) {
    home.replace(".claude/.credentials.json", text);
}

fn claw(home: &Home, release: &str, keys: &str) {
    home.openclaw(release, &["main"]);
    more(home, &format!("[[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{keys}"));
}

/// A gateway of `copy` whose command ends like this, after a change.
fn gateway(home: &Home, command: &str) {
    synced(home);
    more(home, &format!("[[gateway]]\nid = \"gate\"\nsinks = [\"copy\"]\ncommand = [\"{command}\"]\n"));
    home.rotate(&Login::nth(2).ends_in_hours(100));
    let _ = home.run(&["sync"]);
}

/// A refresh token that no attempt is made with any more, as a refresh of ours left it on record.
fn stopped(home: &Home, hours: i64, why: &str) {
    plain(home);
    home.rotate(&login(hours));
    assert_eq!(home.run(&["sync"]).code, 0);
    let mut state = home.state();
    let known = &mut state["logins"]["claude"];
    let about = known["lineage"][0]["refresh"].clone();
    known["refresh"]["stopped"] = serde_json::json!([why, about]);
    home.replace(".local/state/tokensink/state.json", state.to_string());
}

const STATES: &[(&str, Into)] = &[
    ("a login that was never handed on", plain),
    ("all is well", synced),
    ("an access token of eight hours", |home| {
        home.configure(LOGIN);
        home.rotate(&login(8));
    }),
    ("the access token is over and can be renewed", |home| {
        plain(home);
        home.rotate(&login(-1));
    }),
    ("the login ends in five hours", |home| {
        synced(home);
        home.rotate(&Login::nth(2).ends_in_hours(100).deadline_in_hours(5));
    }),
    ("the login ends in six days", |home| {
        synced(home);
        home.rotate(&Login::nth(2).ends_in_hours(100).deadline_in_hours(144));
    }),
    ("the login is over, its token lives", |home| {
        synced(home);
        home.rotate(&Login::nth(2).ends_in_hours(100).deadline_in_hours(-1));
    }),
    ("the login and its token are over", |home| {
        plain(home);
        home.rotate(&login(-1).deadline_in_hours(-1));
    }),
    ("a static token that lasts", |home| {
        plain(home);
        home.rotate(&login(100).without_refresh());
    }),
    ("a static token that ends soon", |home| {
        plain(home);
        home.rotate(&login(5).without_refresh());
    }),
    ("a static token that is over", |home| {
        plain(home);
        home.rotate(&login(-1).without_refresh());
    }),
    ("logged out: blank tokens", |home| {
        synced(home);
        source(home, &husk());
    }),
    ("the provider refused the refresh token", |home| stopped(home, 100, "rejected")),
    ("the same, and the access token is over", |home| stopped(home, -1, "rejected")),
    ("nobody knows whether the refresh token was spent", |home| stopped(home, 100, "unknown")),
    ("a torn file", |home| {
        synced(home);
        let whole = login(100).document();
        source(home, &whole[..whole.len() / 2]);
    }),
    ("an empty file", |home| {
        synced(home);
        source(home, "");
    }),
    ("HTML where the login should be", |home| {
        synced(home);
        source(home, "<!doctype html><title>502</title>");
    }),
    ("the CLI works with an API key", |home| {
        home.mkdir(".codex");
        home.holds_tokens(".codex/auth.json");
        home.configure("[[login]]\nid = \"codex\"\nprovider = \"codex\"\n");
        home.write(
            ".codex/auth.json",
            r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-made-up","tokens":null}"#,
        );
    }),
    ("a sink of a CLI that works with an API key", |home| {
        home.mkdir(".codex");
        home.configure(&format!(
            "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n{}",
            COPY.replace("claude", "codex")
        ));
        home.write(".codex/auth.json", r#"{"OPENAI_API_KEY":"sk-made-up"}"#);
    }),
    ("no file", |home| {
        synced(home);
        fs::remove_file(home.credentials()).unwrap();
    }),
    ("an expiry in seconds", |home| {
        plain(home);
        let text = login(100).document();
        let ms = login(100).expires_at;
        source(home, &text.replace(&ms.to_string(), &(ms / 1000).to_string()));
    }),
    ("a file that others may read", |home| {
        synced(home);
        fs::set_permissions(home.credentials(), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("another account logged in", |home| {
        plain(home);
        home.rotate(&login(100).of("11111111-1111-4111-8111-111111111111"));
        assert_eq!(home.run(&["sync"]).code, 0);
        home.rotate(&Login::nth(2).ends_in_hours(200).of("22222222-2222-4222-8222-222222222222"));
    }),
    ("an older generation was put back", |home| {
        synced(home);
        home.rotate(&Login::nth(2).ends_in_hours(200));
        assert_eq!(home.run(&["sync"]).code, 0);
        home.rotate(&login(100));
    }),
    ("the refresh token is handed to a sink, as configured", |home| {
        home.configure(&home.three_sinks(""));
        home.rotate(&login(100));
        assert_eq!(home.run(&["sync"]).code, 0);
    }),
    ("somebody copied the login", |home| {
        home.mkdir("copied");
        home.holds_tokens("copied/.credentials.json");
        home.configure(&format!(
            "{LOGIN}[[login]]\nid = \"copied\"\nprovider = \"claude\"\npath = \"~/copied/.credentials.json\"\n"
        ));
        home.rotate(&login(100));
        home.write("copied/.credentials.json", login(100).document());
        assert_eq!(home.run(&["sync"]).code, 0);
    }),
    ("the CLI that is to refresh is not there", |home| {
        home.configure(&LOGIN.replace("direct", "cli"));
        home.rotate(&login(-1));
        assert_eq!(home.run(&["sync"]).code, 0);
    }),
    ("nobody refreshes, by the owner's word", |home| {
        home.configure(&LOGIN.replace("direct", "off"));
        home.rotate(&login(8));
    }),
    ("a sink was removed", |home| {
        synced(home);
        fs::remove_file(home.path("copy.json")).unwrap();
    }),
    ("a sink holds an older token", |home| {
        synced(home);
        let old = fs::read(home.path("copy.json")).unwrap();
        home.rotate(&Login::nth(2).ends_in_hours(200));
        assert_eq!(home.run(&["sync"]).code, 0);
        home.replace("copy.json", old);
    }),
    ("a sink is a directory", |home| {
        plain(home);
        home.mkdir("copy.json");
        let _ = home.run(&["sync"]);
    }),
    ("the directory of a sink is not there", |home| {
        home.configure(&format!("{LOGIN}{}", COPY.replace("~/copy", "~/nowhere/copy")));
        home.rotate(&login(100));
        let _ = home.run(&["sync"]);
    }),
    ("a sink that others may read", |home| {
        synced(home);
        fs::set_permissions(home.path("copy.json"), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("a sink that is no JSON any more", |home| {
        home.openclaw("2026.2.25", &["main"]);
        more(home, "[[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n");
        home.rotate(&login(100));
        home.write(".openclaw/agents/main/agent/auth-profiles.json", "{\"version\": 1, \"profiles\": {");
    }),
    ("OpenClaw with a store that may be written", |home| {
        plain(home);
        claw(home, "2026.2.25", "");
        assert_eq!(home.run(&["sync"]).code, 0);
    }),
    ("OpenClaw with a database", |home| {
        plain(home);
        claw(home, "2026.9.6", "");
        home.mkdir(".openclaw/state");
        home.write(".openclaw/state/openclaw.sqlite", "SQLite format 3\0");
    }),
    ("OpenClaw of an unknown release", |home| {
        plain(home);
        claw(home, "2027.1.1", "");
    }),
    ("OpenClaw of no release", |home| {
        plain(home);
        claw(home, "", "");
    }),
    ("no OpenClaw", |home| {
        plain(home);
        more(home, "[[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n");
    }),
    ("a gateway that follows", |home| gateway(home, "true")),
    ("a gateway that does not follow", |home| gateway(home, "false")),
    ("a gateway whose command is not there", |home| gateway(home, "no-such-command-anywhere")),
];

/// What is said of a state: one line, and one for each finding.
fn told(home: &Home) -> String {
    let report = home.run(&["status", "--json"]).json();
    let code = |arguments: &[&str]| home.run(arguments).code;
    let mut text = format!(
        "  {}: {}, --check {}, --check=access {}\n",
        report["overall"].as_str().unwrap(),
        home.run(&["status", "--simple"]).stdout.trim_end(),
        code(&["status", "--check"]),
        code(&["status", "--check=access"]),
    );
    for sink in report["sinks"].as_array().unwrap() {
        let _ = writeln!(
            text,
            "  sink {}: {}{}",
            sink["id"].as_str().unwrap(),
            sink["state"].as_str().unwrap(),
            sink["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default()
        );
    }
    for gateway in report["gateways"].as_array().unwrap() {
        let applied = if gateway["applied"] == true { "applied" } else { "waits" };
        let _ = writeln!(text, "  gateway {}: {applied}", gateway["id"].as_str().unwrap());
    }
    let of = |report: &Value| {
        let mut lines: Vec<String> = Vec::new();
        for finding in report["findings"].as_array().unwrap() {
            let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            let cause = finding["caused_by"].as_str().map(|cause| format!(", caused by {cause}"));
            let next = word("next").replace(home.root().to_str().unwrap(), "");
            lines.push(format!(
                "  {} {} {}{}; next: {}",
                word("severity"),
                word("code"),
                word("subject"),
                cause.unwrap_or_default(),
                if next.is_empty() { "-".to_owned() } else { next }
            ));
        }
        lines
    };
    for line in of(&report) {
        text.push_str(&line);
        text.push('\n');
    }
    let examined = home.run(&["doctor", "--json"]).json();
    for finding in report["findings"].as_array().unwrap() {
        let same =
            |other: &&Value| ["code", "subject", "severity"].iter().all(|key| other[key] == finding[key]);
        let found = examined["findings"].as_array().unwrap();
        assert!(found.iter().any(|other| same(&other)), "doctor does not say {finding}: {examined}");
    }
    text
}

#[test]
fn every_state_has_its_word_its_exit_codes_and_its_findings() {
    let mut table = String::new();
    for (name, into) in STATES {
        let home = Home::new();
        into(&home);
        let _ = write!(table, "{name}\n{}", told(&home));
        home.finish();
    }
    assert!(STATES.len() >= 24);
    assert!(!table.contains("openclaw doctor"), "it deletes profiles");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands/states.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &table).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == table, "{}", pretty(&golden, &table));
}

/// The first line that differs, with the state it belongs to.
fn pretty(golden: &str, table: &str) -> String {
    let (mut state, mut golden) = ("", golden.lines());
    for line in table.lines() {
        if !line.starts_with(' ') {
            state = line;
        }
        let wanted = golden.next();
        if wanted != Some(line) {
            return format!("{state}\n wanted {}\n is     {line}", wanted.unwrap_or("nothing"));
        }
    }
    format!("more was wanted: {:?}", golden.next())
}
