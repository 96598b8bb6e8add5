//! Bad input, one row a case: what is put there, the code that says so, and that every sink is as
//! it was. The table is printed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::stage::{Home, Login, husk};

/// What is put in the place of the source, and the code of its finding.
const SOURCES: [(&str, &str); 14] = [
    ("missing", "MISSING"),
    ("a directory", "UNREADABLE"),
    ("a pipe", "UNREADABLE"),
    ("empty", "UNREADABLE"),
    ("torn", "UNREADABLE"),
    ("huge (17 MiB)", "UNREADABLE"),
    ("not UTF-8", "UNREADABLE"),
    ("a byte order mark", "UNREADABLE"),
    ("an HTML page", "UNREADABLE"),
    ("nested 100,000 deep", "UNREADABLE"),
    ("a key twice", "UNREADABLE"),
    ("a number for a token", "UNREADABLE"),
    ("a text for an expiry", "UNREADABLE"),
    ("blank tokens", "HUSK"),
];

fn put(home: &Home, what: &str) {
    let path = home.credentials();
    let document = Login::nth(2).document();
    let bytes: Vec<u8> = match what {
        "missing" => return fs::remove_file(path).unwrap(),
        "a directory" => {
            fs::remove_file(&path).unwrap();
            return fs::create_dir(path).unwrap();
        }
        "a pipe" => {
            fs::remove_file(&path).unwrap();
            return nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        "empty" => Vec::new(),
        "torn" => document.as_bytes()[..document.len() / 2].to_vec(),
        "huge (17 MiB)" => format!("{document}{}", " ".repeat(17 << 20)).into_bytes(),
        "not UTF-8" => [document.as_bytes(), &[0xff]].concat(),
        "a byte order mark" => [&[0xef, 0xbb, 0xbf], document.as_bytes()].concat(),
        "an HTML page" => b"<html>too many requests</html>".to_vec(),
        "nested 100,000 deep" => "[".repeat(100_000).into_bytes(),
        "a key twice" => {
            document.replacen("\"accessToken\"", "\"accessToken\":\"x\",\"accessToken\"", 1).into_bytes()
        }
        "a number for a token" => {
            br#"{"claudeAiOauth":{"accessToken":1,"refreshToken":"r","scopes":["s"]}}"#.to_vec()
        }
        "a text for an expiry" => {
            br#"{"claudeAiOauth":{"accessToken":"a","refreshToken":"r","expiresAt":"soon","scopes":["s"]}}"#
                .to_vec()
        }
        "blank tokens" => husk().into_bytes(),
        other => panic!("{other}"),
    };
    fs::write(path, bytes).unwrap();
}

fn codes(report: &serde_json::Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_bad_source_has_its_code_and_reaches_no_sink() {
    // Each is read three times over two seconds before it is believed: all at once.
    std::thread::scope(|scope| {
        for (what, code) in SOURCES {
            scope.spawn(move || check_source(what, code));
        }
    });
}

fn check_source(what: &str, code: &str) {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    let before = home.sinks().map(|sink| fs::read(sink).unwrap());
    put(&home, what);
    let ran = home.run(&["sync", "--json"]);
    println!("source  {what:<24} {code}");
    assert_eq!(ran.code, 0, "{what}: nothing failed to be written: {ran:?}");
    assert!(codes(&ran.json()).contains(code), "{what}: {ran:?}");
    assert_eq!(home.sinks().map(|sink| fs::read(sink).unwrap()), before, "{what}");
    assert_eq!(home.run(&["status", "--check"]).code, 1, "{what}");
    home.finish();
}

#[test]
fn an_expiry_in_seconds_is_told_and_handed_on_in_milliseconds() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    let login = Login::nth(1);
    let (ms, s) = (login.expires_at.to_string(), (login.expires_at / 1000).to_string());
    home.write(".claude/.credentials.json", login.document().replace(&ms, &s));
    let ran = home.run(&["sync", "--json"]);
    println!("source  {:<24} EXPIRY_UNITS", "seconds for milliseconds");
    assert!(codes(&ran.json()).contains("EXPIRY_UNITS"), "{ran:?}");
    assert!(fs::read_to_string(&home.sinks()[0]).unwrap().contains(&format!("{s}000")), "{ran:?}");
    home.finish();
}

/// How a sink is made impossible, run in a mount namespace of its own, and the code.
const SINKS: [(&str, &str, &str); 4] = [
    ("a full disk", "mount -t tmpfs -o size=4k none D && head -c 4096 /dev/zero > D/filler", "SINK_FAILED"),
    ("a read-only mount", "mount --bind D D && mount -o remount,ro,bind D", "SINK_FAILED"),
    ("no directory", "rmdir D", "MISSING"),
    ("a document that is torn", "printf '{\"anthropic\":' > D/oauth.json", "UNREADABLE"),
];

#[test]
fn every_sink_that_cannot_be_written_has_its_code_and_keeps_nobody_else_waiting() {
    for (what, setup, code) in SINKS {
        let home = Home::new();
        let bad = home.mkdir("bad");
        home.configure(&home.three_sinks(&format!(
            "[[sink]]\nid = \"bad\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"{}/oauth.json\"\n",
            bad.display()
        )));
        home.rotate(&Login::nth(1));
        let setup = setup.replace('D', &bad.display().to_string());
        let ran = home.end_of(home.unshared(&setup, &["sync", "--json"]));
        println!("sink    {what:<24} {code}");
        assert_eq!(ran.code, 1, "{what}: {ran:?}");
        assert!(codes(&ran.json()).contains(code), "{what}: {ran:?}");
        assert!(home.sinks_hold(&Login::nth(1)), "{what}: the others have it");
    }
}

#[test]
fn a_source_of_another_user_that_may_be_read_is_handed_on_and_one_that_may_not_is_told() {
    let home = Home::of_ordinary_user();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    home.hand_over();
    fs::set_permissions(home.credentials(), fs::Permissions::from_mode(0o000)).unwrap();
    let ran = home.run(&["sync", "--json"]);
    println!("source  {:<24} UNREADABLE", "not ours to read");
    assert!(codes(&ran.json()).contains("UNREADABLE"), "{ran:?}");
}

#[test]
fn a_sink_is_never_one_of_our_own_files() {
    for own in [".config/tokensink/tokensink.toml", ".local/state/tokensink/state.json"] {
        let home = Home::new();
        let path = home.path(own);
        home.configure(&home.three_sinks(&format!(
            "[[sink]]\nid = \"own\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"{}\"\n",
            path.display()
        )));
        home.rotate(&Login::nth(1));
        let ran = home.run(&["sync", "--json"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stdout.contains("is a file of tokensink's own"), "{ran:?}");
        assert!(home.sinks_hold(&Login::nth(1)), "the others have it");
        home.finish();
    }
}

#[test]
fn a_report_that_could_not_be_printed_is_no_success() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    for arguments in [&["status"][..], &["status", "--json"], &["sync", "--dry-run"], &["config", "show"]] {
        let mut command = Command::new("sh");
        home.dress(&mut command);
        command
            .args(["-c", "exec \"$0\" \"$@\" > /dev/full"])
            .arg(env!("CARGO_BIN_EXE_tokensink"))
            .args(arguments);
        let ran = home.end_of(command);
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
    }
}

#[test]
fn state_from_the_future_stops_the_daemon_and_is_left_alone() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let future = "{\"format_version\":99,\"future\":1}";
    let state = home.write(".local/state/tokensink/state.json", future);
    for command in ["daemon", "sync"] {
        let ran = home.run(&[command]);
        assert_ne!(ran.code, 0, "{command}: {ran:?}");
        assert!(ran.stderr.contains("newer tokensink") && !ran.stderr.contains("is ready"), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(state).unwrap(), future);
}

#[test]
fn state_that_makes_no_sense_is_kept_aside_and_told() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    home.write(".local/state/tokensink/state.json", "[]");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("could not be parsed"), "{ran:?}");
    assert_eq!(home.read(".local/state/tokensink/state.json.unreadable"), "[]");
    assert!(home.sinks_hold(&Login::nth(1)));
}

#[test]
fn an_entry_of_the_state_that_makes_no_sense_costs_itself_and_is_told_once() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    let state = ".local/state/tokensink/state.json";
    let mut document: Value = serde_json::from_str(&home.read(state)).unwrap();
    let lineage = document["logins"]["claude"]["lineage"].clone();
    assert_eq!(lineage.as_array().unwrap().len(), 1);
    document["logins"]["claude"]["refresh"]["last_ended"] = json!("a word of a later version");
    let odd = document.to_string();
    home.write(state, &odd);
    for is_told in [true, false] {
        let ran = home.run(&["sync"]);
        assert_eq!((ran.code, ran.stderr.contains("in one place")), (0, is_told), "{ran:?}");
        let now: Value = serde_json::from_str(&home.read(state)).unwrap();
        assert_eq!((&now["format_version"], &now["logins"]["claude"]["lineage"]), (&json!(1), &lineage));
    }
    assert_eq!(home.read(".local/state/tokensink/state.json.unreadable"), odd);
}

#[test]
fn an_api_key_in_the_profile_is_not_replaced() {
    let home = Home::new();
    let store = &home.openclaw("2026.2.9", &["main"])[0];
    let before = "{\"version\":1,\"profiles\":{\"anthropic:default\":{\"type\":\"api_key\",\"provider\":\"anthropic\",\
                  \"key\":\"sk-ant-api03-made-up\"}}}";
    fs::write(store, before).unwrap();
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[[sink]]\nid = \"profiles\"\nlogin = \"claude\"\n\
         kind = \"auth-profiles\"\n",
    );
    home.rotate(&Login::nth(1));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("holds an API key"), "{ran:?}");
    assert_eq!(fs::read_to_string(store).unwrap(), before);
}
