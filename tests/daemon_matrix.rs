//! The real daemon from its start over a dead login that is told to the recovery that is told too, killed before every
//! single call that others can see the effect of, and with its record of what was told failing: the next start reads
//! what is there, no alert is lost, and none is sent twice but where nobody could know that it was sent.
//!
//! A figure for each scene, as in `tests/kill_matrix.rs`; every third point, `TOKENSINK_LONG=1` takes all. Needs strace.
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

#[allow(dead_code, reason = "a part of it is used")]
#[path = "alerts/receiver.rs"]
mod receiver;
#[path = "support/stage.rs"]
mod stage;
mod support;

use std::fmt::Debug;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use receiver::{Manner, Receiver};
use serde_json::Value;
use stage::{Daemon, Home, Login, STATE, contains};
use support::faults;
use support::kills::{STEADY, everywhere};
use support::strace::{CALLS, Operation, Run};

/// A home whose login is over, a sink, and who is told.
struct Watch {
    home: Home,
    receiver: Receiver,
}

impl Watch {
    fn new() -> Self {
        let receiver = Receiver::start(Manner::Says("200 OK", ""));
        let home = Home::new();
        home.rotate(&Login::nth(1).without_refresh().ends_in_hours(-1));
        home.configure(&format!(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
             [[sink]]\nid = \"token\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/sinks/token.json\"\n\
             [[alert]]\nkind = \"webhook\"\nurl = \"{}\"\n",
            receiver.url("x")
        ));
        home.holds_tokens("sinks/token.json");
        Self { home, receiver }
    }

    fn recover(&self) {
        self.home.rotate(&Login::nth(2));
    }

    fn is_recovered(&self) -> bool {
        contains(&self.home.credentials(), &Login::nth(2).access)
    }

    /// How often it was told that the login is dead, and that it is not.
    fn told(&self) -> [usize; 2] {
        let all = self.receiver.requests();
        ["\"raised\"", "\"resolved\""].map(|event| all.iter().filter(|one| one.body.contains(event)).count())
    }

    /// Whether it is on record that a receiver was told, and heard nothing else since.
    fn is_noted(&self) -> bool {
        let text = self.home.read(&format!("{STATE}/alerts.json"));
        if text.is_empty() {
            return false;
        }
        let alerts: Value = serde_json::from_str(&text).expect("alerts.json is whole");
        let told = alerts["told"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|told| told["finding"]["code"] == "LOGIN_NEEDED");
        let mut channels = told.flat_map(|told| told["channels"].as_object().unwrap());
        channels.any(|(name, delivered)| name != "journal" && delivered["is_open"] == true)
    }

    /// From the start to a death, a recovery and an orderly end, or to wherever the daemon dies.
    fn accompany(&self, command: Command) -> Output {
        let traced = Traced(self.home.start_as(command));
        let daemon = &traced.0;
        let said = |text: &str| {
            self.home
                .until(text, || daemon.ended().is_some() || !self.home.said(daemon.from, text).is_empty());
            daemon.ended().is_none()
        };
        if said("alert sent by webhook: LOGIN_NEEDED") {
            self.recover();
            if said("alert sent by webhook: resolved") {
                traced.signal(Signal::SIGTERM);
            }
        }
        Output { status: daemon.until_ended(), stdout: Vec::new(), stderr: Vec::new() }
    }

    /// The next start, and what it comes to.
    fn follow_up(&self, what: &dyn Debug) -> String {
        let home = &self.home;
        let state = home.read(&format!("{STATE}/state.json"));
        assert!(state.is_empty() || serde_json::from_str::<Value>(&state).is_ok(), "{what:?}: torn state");
        let (then, was_noted, was_recovered) = (self.told(), self.is_noted(), self.is_recovered());
        let daemon = home.ready();
        if !was_recovered {
            home.until("it is told", || self.is_noted() && self.told()[0] > 0);
            self.recover();
        }
        home.until("it is told that it is over", || self.told()[1] > 0 && !self.is_noted());
        home.rest();
        daemon.stop();
        let [raised, resolved] = self.told();
        // Twice only where the first time was not on record yet.
        let may_be_again = [!was_recovered && !was_noted, was_recovered && was_noted];
        assert!(raised == 1 || (raised == 2 && may_be_again[0]), "{what:?}: {then:?}: {raised} times");
        assert!(resolved == 1 || (resolved == 2 && may_be_again[1]), "{what:?}: {then:?}: {resolved} times");
        assert!(contains(&home.path("sinks/token.json"), &Login::nth(2).access), "{what:?}");
        let history = home.run(&["history", "--json"]).json();
        assert!(history["unreadable"].as_u64().unwrap_or(0) == 0, "{what:?}: {history}");
        let status = home.run(&["status", "--json"]).json();
        assert_eq!(status["overall"], "ok", "{what:?}: {status:#}");
        home.finish();
        match (was_recovered, raised + resolved) {
            (false, 2) => "told once, and once that it is over: died before it was noted, or after",
            (true, 2) => "told once, and once that it is over: died after the recovery",
            (false, _) => "told twice that it is dead: died before it was noted",
            (true, _) => "told twice that it is over: died before it was noted",
        }
        .to_owned()
    }
}

/// strace and the daemon that it traces, which goes with it.
struct Traced<'a>(Daemon<'a>);

impl Traced<'_> {
    /// For the daemon, where it still runs.
    fn signal(&self, signal: Signal) {
        let pid = self.0.pid;
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Some(traced) = children.split_whitespace().next() {
            let _ = kill(Pid::from_raw(traced.parse().unwrap()), signal);
        }
    }
}

impl Drop for Traced<'_> {
    fn drop(&mut self) {
        // A daemon whose strace is killed runs on.
        if self.0.ended().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }
}

fn run(watch: &Watch) -> Run<'_> {
    let command = watch.home.command(&["daemon"]);
    Run::of(command, watch.home.root()).by(|command| watch.accompany(command))
}

#[test]
fn a_daemon_that_dies_anywhere_loses_no_alert_and_sends_none_twice_that_is_on_record() {
    everywhere("daemon: start, an alert, its end", 50, 3, Watch::new, run, |watch, what| {
        std::fs::remove_file(watch.home.root().join("strace.log")).unwrap();
        watch.follow_up(what)
    });
}

#[test]
fn a_record_of_alerts_that_cannot_be_written_or_read_loses_no_alert_and_ends_no_daemon() {
    let mut operations = run(&Watch::new()).operations(CALLS);
    // By their numbers those calls alone can be told whose number does not depend on how often it looked.
    let is_record = |one: &Operation| {
        STEADY.contains(&one.call.as_str())
            && ["alerts.json", "history.jsonl"].iter().any(|name| one.about.contains(name))
    };
    operations.retain(is_record);
    let faults = faults::faults(&operations);
    let title = "daemon: alerts.json and history.jsonl";
    faults::each(title, &faults, faults::few(&faults), Watch::new, run, |watch, fault, ran| {
        assert_eq!(ran.code, Some(0), "{fault:?}: {}", watch.home.story());
        assert_eq!(watch.told(), [1, 1], "{fault:?}: {}", watch.home.story());
        std::fs::remove_file(watch.home.root().join("strace.log")).unwrap();
        let is_open = watch.is_noted();
        // What could not be noted is told once more by the next start, and nothing else.
        let daemon = watch.home.ready();
        watch.home.until("all is told", || !watch.is_noted());
        watch.home.rest();
        daemon.stop();
        let [raised, resolved] = watch.told();
        assert_eq!((raised, resolved), (1, if is_open { 2 } else { 1 }), "{fault:?}");
        watch.home.finish();
        if is_open { "resolved twice" } else { "told once" }.to_owned()
    });
}
