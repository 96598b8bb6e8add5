//! The real daemon, killed at every named place and every time that it comes there, and started
//! again: no file is ever torn, every sink ends current, no temporary file is left, and the gateway
//! is told at least once and not more than twice.
//!
//! Needs the cargo feature `failpoints`, and root for a mount (util-linux).

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

#[path = "support/stage.rs"]
mod stage;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use stage::{Home, Login, contains};

/// One of the sinks is the mount of a single file, which cannot be renamed over.
const MOUNT: &str = "mount --bind ~/outside.env ~/sinks/gateway.env";
/// More often than any place is reached in one run.
const MOST: u32 = 40;

/// Whether the sinks already hold an older generation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    First,
    Rotation,
}

/// Whose login is handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Claude,
    Codex,
}

impl Source {
    /// The configuration of the stage, for this source.
    fn of(self, text: &str) -> String {
        match self {
            Self::Claude => text.to_owned(),
            Self::Codex => text.replace("provider = \"claude\"", "provider = \"codex\""),
        }
    }

    fn rotate(self, home: &Home, login: &Login) {
        if self == Self::Claude {
            return home.rotate(login);
        }
        home.mkdir(".codex");
        home.holds_tokens(".codex/auth.json");
        // An opaque access token lasts for days from the last refresh.
        let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string();
        let document = serde_json::json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": {"id_token": "e30.e30.c2ln", "access_token": login.access, "refresh_token": login.refresh,
                "account_id": "acct-made-up"},
            "last_refresh": now,
        });
        home.replace(".codex/auth.json", format!("{document:#}"));
    }
}

fn prepared(source: Source, beginning: Beginning) -> Home {
    let home = Home::new();
    home.holds_tokens("outside.env");
    home.write("outside.env", "# kept\nOTHER=\"1\"\n");
    home.write("sinks/gateway.env", "");
    // Not where tokens are: what is under the mount is not reached.
    let gateway = home.write(
        "gateway.sh",
        "grep -o 'oat01-[^-]*-[0-9]*' \"$HOME/sinks/token.json\" | cut -d- -f3 >>\"$HOME/gateway.log\"\n",
    );
    home.configure(&source.of(&home.three_sinks(&format!(
        "[[gateway]]\nid = \"gateway\"\nsinks = [\"oauth\", \"env\", \"secret\"]\nmin_interval = \"1s\"\n\
         command = [\"/bin/sh\", {gateway:?}]\n"
    ))));
    if beginning == Beginning::Rotation {
        source.rotate(&home, &Login::nth(1));
        let with_gateway = fs::read(home.path(".config/tokensink/tokensink.toml")).unwrap();
        home.configure(&source.of(&home.three_sinks("")));
        let daemon = home.start_as(home.unshared(MOUNT, &["daemon"]));
        daemon.until_ready();
        daemon.stop();
        home.replace(".config/tokensink/tokensink.toml", with_gateway);
    }
    source.rotate(&home, &Login::nth(2));
    home
}

/// The sinks as they are really kept.
fn contents(home: &Home) -> Vec<Vec<u8>> {
    let sinks = ["sinks/oauth.json", "outside.env", "sinks/token.json"];
    sinks.iter().map(|name| fs::read(home.path(name)).unwrap_or_default()).collect()
}

fn is_done(home: &Home) -> bool {
    let state: serde_json::Value =
        serde_json::from_str(&home.read(&format!("{}/state.json", stage::STATE))).unwrap_or_default();
    let gateway = &state["gateways"]["gateway"];
    gateway.is_object() && gateway["pending"].is_null()
}

/// Runs the daemon until it dies at the `time`-th visit to `place`, and again. Returns whether it
/// came there at all.
fn dies(place: &str, time: u32, source: Source, beginning: Beginning) -> bool {
    let home = prepared(source, beginning);
    let before = contents(&home);
    let mut command = home.unshared(MOUNT, &["daemon"]);
    command.env("TOKENSINK_FAILPOINT", format!("{place}:{time}"));
    let daemon = home.start_as(command);
    let mut ended = None;
    home.until("the daemon dies or is done", || {
        ended = daemon.ended();
        ended.is_some() || (daemon.is_ready() && is_done(&home))
    });
    // The last place of all may lie behind the last thing to be done.
    let status = ended.unwrap_or_else(|| daemon.terminate());
    if status.success() {
        home.finish();
        return false;
    }
    assert_eq!(status.signal(), Some(9), "{place}:{time}: {status}\n{}", home.story());
    let crashed = contents(&home);

    let daemon = home.start_as(home.unshared(MOUNT, &["daemon"]));
    daemon.until_ready();
    home.until("the gateway is told", || is_done(&home));
    daemon.stop();
    let after = contents(&home);
    for ((before, crashed), after) in before.iter().zip(&crashed).zip(&after) {
        let is_whole = crashed == before || crashed == after;
        // A rewrite in place has no way to be whole at every moment; it is completed at the start.
        assert!(is_whole || place == "in-place-half", "{place}:{time}: a torn sink");
    }
    let token = Login::nth(2).access;
    for name in ["sinks/oauth.json", "outside.env", "sinks/token.json"] {
        assert!(contains(&home.path(name), &token), "{place}:{time}: {name}");
    }
    assert!(home.read("outside.env").starts_with("# kept\nOTHER=\"1\"\n"), "{place}:{time}");
    assert_eq!(home.read("sinks/gateway.env"), "");
    let told = home.read("gateway.log");
    assert!((1..=2).contains(&told.lines().count()), "{place}:{time}: {told}");
    assert!(told.lines().all(|line| line == "0002"), "{place}:{time}: {told}");
    // One death is one torn line of the record at most, and what came after it is there.
    let history = home.run(&["history", "--json"]).json();
    assert!(history["unreadable"].as_u64() <= Some(1), "{place}:{time}: {history:#}");
    let last = history["events"].as_array().unwrap().last().map(|event| event["event"].clone());
    assert_eq!(last, Some("stopped".into()), "{place}:{time}");
    home.finish();
    true
}

/// Dies at every visit to `place`; returns how many there are.
fn every_visit(place: &str) {
    let cases = [
        (Source::Claude, Beginning::First),
        (Source::Claude, Beginning::Rotation),
        (Source::Codex, Beginning::Rotation),
    ];
    for (source, beginning) in cases {
        let visits = (1..MOST).take_while(|time| dies(place, *time, source, beginning)).count();
        assert!(visits > 0 && visits < MOST as usize - 1, "{place} is reached {visits} times");
        println!("{source:?} {place}: {visits} visits");
    }
}

#[test]
fn after_the_intention_is_recorded() {
    every_visit("pass-recorded");
}

#[test]
fn between_two_renames() {
    every_visit("pass-between-renames");
}

#[test]
fn with_an_empty_temporary_file() {
    every_visit("stage-created");
}

#[test]
fn with_a_temporary_file_that_is_not_synced() {
    every_visit("stage-written");
}

#[test]
fn with_a_complete_temporary_file() {
    every_visit("stage-synced");
}

#[test]
fn before_a_rename() {
    every_visit("before-rename");
}

#[test]
fn after_a_rename() {
    every_visit("after-rename");
}

#[test]
fn in_the_midst_of_a_rewrite_in_place() {
    every_visit("in-place-half");
}

#[test]
fn after_a_restart_that_is_not_recorded() {
    every_visit("apply-unrecorded");
}

#[test]
fn in_the_midst_of_a_line_of_the_record() {
    every_visit("append-half");
}
