//! The real program killed at every named point of a refresh, at every visit of that point, and run
//! again: the live refresh token must be in the source or in the intent record.
//!
//! A token that was sent and whose answer was not yet on record is nowhere but at the server: such a
//! refresh ends `unknown`, nothing is deleted and nothing sent again. The table counts them apart.
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

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use support::host::{Cli, Host, age, in_parallel, signal, until};
use support::provider::Fault;

/// Points that are passed once in a refresh that is sent and answered.
const ONCE: [&str; 12] = [
    "refresh-locked",
    "refresh-proven",
    "reserve-created",
    "reserve-synced",
    "refresh-intended",
    "refresh-answered",
    "reserve-filled",
    "refresh-recorded",
    "refresh-write-locked",
    "refresh-stored",
    "refresh-settled",
    "refresh-before-unlock",
];
/// Points of the one file writer; a refresh writes the key, two probes, the intent, the source and
/// the state.
const WRITER: [(&str, usize); 5] = [
    ("stage-created", 6),
    ("stage-written", 6),
    ("stage-synced", 6),
    ("before-rename", 4),
    ("after-rename", 4),
];

#[derive(Debug, Clone)]
enum Kill {
    /// At a failpoint, `NAME:VISIT`.
    At(String),
    /// While the request hangs.
    InFlight(Fault),
}

impl Kill {
    fn name(&self) -> String {
        match self {
            Self::At(point) => point.clone(),
            Self::InFlight(fault) => format!("in flight, {fault:?}"),
        }
    }
}

fn kills() -> Vec<Kill> {
    let once = ONCE.iter().map(|name| Kill::At((*name).to_owned()));
    let writer = WRITER
        .iter()
        .flat_map(|(name, visits)| (1..=*visits).map(move |visit| Kill::At(format!("{name}:{visit}"))));
    let flight = [Fault::HangBeforeGrant, Fault::HangAfterGrant].map(Kill::InFlight);
    once.chain(writer).chain(flight).collect()
}

/// Runs into the kill.
fn crash(host: &Host, kill: &Kill) {
    let mut command = host.command(&["refresh", "--json"]);
    match kill {
        Kill::At(point) => {
            let output = command.env("TOKENSINK_FAILPOINT", point).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.signal(), Some(9), "{point} is reached: {text}");
            host.assert_no_token_in(&text);
        }
        Kill::InFlight(fault) => {
            host.provider.set(|s| s.fault = *fault);
            let child = host.start_refresh(&[]);
            host.wait_for_request();
            signal(&child, Signal::SIGKILL);
            host.end(child);
            host.provider.set(|s| s.fault = Fault::None);
        }
    }
}

/// As if a minute had passed, for what the dead left without a record of it: its refresh locks
/// before the intent, and the lock of the file.
fn age_locks(host: &Host) -> usize {
    let [refresh, legacy, write] = host.locks();
    let left = [&refresh, &legacy, &write].into_iter().filter(|lock| lock.exists()).count();
    let unrecorded = if host.intent().is_some() { vec![write] } else { vec![refresh, legacy, write] };
    for lock in unrecorded.iter().filter(|lock| lock.exists()) {
        age(lock, 70);
    }
    left
}

/// Files of ours that a crash left beside the credential file.
fn remains(host: &Host) -> usize {
    let names = std::fs::read_dir(host.source().parent().unwrap()).unwrap();
    names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tokensink.")).count()
}

struct Line {
    kill: String,
    /// Whether the server had rotated when the program died.
    rotated: bool,
    /// Where the live token was then.
    before: &'static str,
    locks: usize,
    /// What the next run said.
    next: String,
    /// Where the live token is after it.
    after: &'static str,
    /// Requests in the end, and refusals.
    requests: usize,
    refused: usize,
}

impl Line {
    fn is_unknown(&self) -> bool {
        self.next == "unknown"
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let safe = if self.is_unknown() { "" } else { self.after };
        let unknown = if self.is_unknown() { self.after } else { "" };
        write!(
            f,
            "{:<28} {:<8} {:<8} {:<5} {:<9} {:<8} {:<8} {} {}",
            self.kill,
            self.rotated,
            self.before,
            self.locks,
            self.next,
            safe,
            unknown,
            self.requests,
            self.refused
        )
    }
}

#[track_caller]
fn print_and_judge(title: &str, lines: &[Line]) {
    println!(
        "{title}\n{:<28} {:<8} {:<8} {:<5} {:<9} {:<8} {:<8} requests refused",
        "killed at", "rotated", "token", "locks", "next run", "safe in", "unknown"
    );
    for line in lines {
        println!("{line}");
    }
    let (unknown, settled): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.is_unknown());
    let lost = settled.iter().filter(|line| line.after == "nowhere").count();
    println!("{} points, {} unknown, {lost} lost", lines.len(), unknown.len());
    assert_eq!(lost, 0);
    assert!(lines.iter().all(|line| line.refused == 0), "no spent token was sent");
    assert!(lines.iter().all(|line| line.requests <= 1), "and none twice");
}

fn is_between_sending_and_recording(kill: &str) -> bool {
    kill.starts_with("in flight")
        || ["refresh-intended", "refresh-answered"].contains(&kill)
        // The intent is the second file that is renamed: the probes never are.
        || kill == "after-rename:2"
}

#[test]
fn a_crash_anywhere_loses_no_login_of_claude_code() {
    crash_everywhere(Cli::Claude);
}

#[test]
fn a_crash_anywhere_loses_no_login_of_codex() {
    crash_everywhere(Cli::Codex);
}

fn crash_everywhere(cli: Cli) {
    let kills = kills();
    let lines = in_parallel(&kills, 12, |kill| {
        let host = Host::with(cli, -3600);
        crash(&host, kill);
        let name = kill.name();
        let (rotated, before) = (host.live() != host.pair, host.place_of_live());
        let text = host.read();
        serde_json::from_str::<serde_json::Value>(&text).expect("never torn");
        assert!(remains(&host) <= 1);
        let locks = age_locks(&host);
        let next = host.refresh(&[]);
        if next.outcome == "unknown" {
            assert_eq!(host.read(), text, "{name}: nothing is changed");
            assert!(host.intent().is_some(), "{name}: the record stays");
        } else {
            assert_eq!(next.code, Some(0), "{name}: {next}");
        }
        let again = host.refresh(&[]);
        let expected = if next.outcome == "unknown" { "unknown" } else { "not-due" };
        assert_eq!(again.outcome, expected, "{name}: {again}");
        let ledger = host.provider.ledger();
        let after = host.place_of_live();
        assert_eq!(
            next.outcome == "unknown",
            is_between_sending_and_recording(&name),
            "{name}: exactly these are in doubt: {next}"
        );
        if expected == "not-due" {
            let kept = std::fs::read_dir(host.state_dir().join("intents")).unwrap();
            let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(kept, [format!("{}.lock", cli.name()).as_str()], "{name}: no token is left beside");
        }
        // Where there was nothing to settle, the locks of the dead are still there: they block
        // nobody for ever.
        if host.locks().iter().any(|lock| lock.exists()) {
            assert_eq!(next.outcome, "not-due", "{name}: {next}");
            let forced = host.refresh(&["--force"]);
            assert_eq!(forced.outcome, "rotated", "{name}: {forced}");
            assert!(host.locks().iter().all(|lock| !lock.exists()), "{name}: no lock is left");
        }
        Line {
            kill: name,
            rotated,
            before,
            locks,
            next: next.outcome,
            after,
            requests: ledger.token_requests().count(),
            refused: ledger.refused(),
        }
    });
    print_and_judge(&format!("{cli:?}: tokensink refresh, killed, then tokensink refresh"), &lines);

    // The list of visits is complete: there is no further one.
    let further: Vec<Kill> =
        WRITER.iter().map(|(name, visits)| Kill::At(format!("{name}:{}", visits + 1))).collect();
    for kill in further {
        let Kill::At(point) = kill else { continue };
        let host = Host::with(cli, -3600);
        let said = host.say(host.command(&["refresh", "--json"]).env("TOKENSINK_FAILPOINT", &point));
        assert_eq!(said.outcome, "rotated", "{point} is not reached: {said}");
    }
}

#[test]
fn the_daemon_settles_at_its_start_what_a_crash_left() {
    let points =
        ["refresh-intended", "refresh-recorded", "refresh-write-locked", "before-rename:3", "after-rename:3"];
    let mut kills: Vec<Kill> = points.iter().map(|name| Kill::At((*name).to_owned())).collect();
    kills.push(Kill::InFlight(Fault::HangAfterGrant));
    let both = |kill: &Kill| [Cli::Claude, Cli::Codex].map(|cli| (cli, kill.clone()));
    let cases: Vec<(Cli, Kill)> = kills.iter().flat_map(both).collect();
    let lines = in_parallel(&cases, 12, |(cli, kill)| {
        let host = Host::with(*cli, -3600);
        crash(&host, kill);
        let (rotated, before) = (host.live() != host.pair, host.place_of_live());
        let locks = age_locks(&host);
        let daemon = host.start_daemon();
        until(&format!("{kill:?} is settled"), 120, || host.memory()["last_ended"].is_string());
        let next = host.memory()["last_ended"].as_str().unwrap_or_default().to_owned();
        let log = daemon.stop();
        host.assert_no_token_in(&log);
        assert_eq!(next == "unknown", is_between_sending_and_recording(&kill.name()), "{kill:?} {log}");
        assert_eq!(remains(&host), 0, "{kill:?}: {log}");
        let ledger = host.provider.ledger();
        Line {
            kill: format!("{cli:?} {}", kill.name()),
            rotated,
            before,
            locks,
            next,
            after: host.place_of_live(),
            requests: ledger.token_requests().count(),
            refused: ledger.refused(),
        }
    });
    print_and_judge("tokensink refresh, killed, then tokensink daemon", &lines);
}

#[test]
fn a_daemon_that_dies_in_a_refresh_settles_it_when_it_is_started_again() {
    let lines = in_parallel(&ONCE, 8, |point| {
        let host = Host::new();
        host.assert_no_token_in(&host.start_daemon_until(point).die());
        let (rotated, before) = (host.live() != host.pair, host.place_of_live());
        let locks = age_locks(&host);
        let daemon = host.start_daemon();
        let is_done =
            || host.place_of_live() == "source" && host.intent().is_none() && host.live() != host.pair;
        until("the daemon is there", 60, || daemon.log().contains("is ready"));
        until(&format!("{point} is settled"), 120, || host.memory()["last_ended"].is_string() || is_done());
        let log = daemon.stop();
        host.assert_no_token_in(&log);
        let next = host.memory()["last_ended"].as_str().unwrap_or("-").to_owned();
        assert_eq!(next == "unknown", is_between_sending_and_recording(point), "{point} {log}");
        let ledger = host.provider.ledger();
        Line {
            kill: (*point).to_owned(),
            rotated,
            before,
            locks,
            next,
            after: host.place_of_live(),
            requests: ledger.token_requests().count(),
            refused: ledger.refused(),
        }
    });
    print_and_judge("tokensink daemon, killed, then tokensink daemon", &lines);
}

#[test]
fn a_daemon_that_is_killed_in_mid_request_and_started_again_sends_nothing() {
    let host = Host::new();
    host.provider.set(|s| s.fault = Fault::HangAfterGrant);
    let daemon = host.start_daemon();
    host.wait_for_request();
    drop(daemon);
    host.provider.set(|s| s.fault = Fault::None);
    age_locks(&host);
    let daemon = host.start_daemon();
    until("it is settled", 120, || host.memory()["last_ended"] == "unknown");
    host.assert_no_token_in(&daemon.stop());
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0));
    assert!(host.read().contains(&host.pair.refresh), "nothing is deleted");
}

#[test]
fn the_locks_of_a_killed_request_are_known_for_ours_and_taken_over_at_once() {
    let host = Host::new();
    crash(&host, &Kill::InFlight(Fault::HangAfterGrant));
    assert!(host.locks()[..2].iter().all(|lock| lock.exists()));
    let said = host.refresh(&[]);
    assert_eq!((said.outcome.as_str(), host.requests()), ("unknown", 1), "{said}");
    assert!(host.locks().iter().all(|lock| !lock.exists()));

    // A lock that somebody made later in the same place is not ours, whatever the record says.
    let host = Host::new();
    crash(&host, &Kill::InFlight(Fault::HangAfterGrant));
    let [refresh, ..] = host.locks();
    std::fs::remove_dir(&refresh).unwrap();
    std::fs::create_dir(&refresh).unwrap();
    let said = host.refresh(&[]);
    assert_eq!((said.outcome.as_str(), host.requests()), ("not-sent", 1), "{said}");
    assert!(refresh.exists());
}

#[test]
fn fresh_locks_of_a_dead_process_are_respected_and_then_taken_over() {
    let host = Host::new();
    crash(&host, &Kill::At("refresh-locked".into()));
    let said = host.refresh(&[]);
    assert_eq!((said.outcome.as_str(), host.requests()), ("not-sent", 0), "{said}");
    assert_eq!(age_locks(&host), 2);
    let said = host.refresh(&["--force"]);
    assert_eq!((said.outcome.as_str(), host.requests()), ("rotated", 1), "{said}");
}
