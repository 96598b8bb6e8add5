//! `tokensink doctor` on real hosts that are wrong in one way each: units of a real `systemd --user`, mounts, a
//! FUSE file system, a stand-in provider behind TLS and proxies. What is only arithmetic is in `core::doctor`.
//!
//! Needs root for mounts and the private service manager, /dev/fuse, and the Debian packages util-linux, systemd,
//! dbus and dbus-user-session. Nothing leaves the machine: each endpoint is on loopback.

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

#[path = "support/fuse.rs"]
mod fuse;
#[path = "support/private_manager.rs"]
mod private_manager;
#[path = "support/provider/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each test uses a part of it")]
mod provider;
#[path = "support/stage.rs"]
mod stage;

#[path = "doctor/network.rs"]
mod network;
#[path = "doctor/places.rs"]
mod places;
#[path = "doctor/units.rs"]
mod units;

use std::process::Command;

use serde_json::Value;
use stage::Home;

/// What a look found, and what it came from.
struct Looked(Value);

impl Looked {
    /// Runs `tokensink doctor --json`, or a command that does.
    fn by(home: &Home, command: Command) -> Self {
        let ran = home.end_of(command);
        assert_eq!(ran.code, 0, "{ran:?}");
        Self(ran.json())
    }

    fn at(home: &Home) -> Self {
        Self::by(home, home.command(&["doctor", "--json"]))
    }

    /// Subject, evidence and next command of each finding with that code.
    fn all(&self, code: &str) -> Vec<(String, String, String)> {
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = self.0["findings"].as_array().unwrap().iter();
        let found = findings.filter(|finding| finding["code"] == code);
        found.map(|f| (word(f, "subject"), word(f, "evidence"), word(f, "next"))).collect()
    }

    /// Evidence and next command of the one finding with that code.
    #[track_caller]
    fn one(&self, code: &str, subject: &str) -> (String, String) {
        let found: Vec<_> = self.all(code).into_iter().filter(|found| found.0 == subject).collect();
        assert_eq!(found.len(), 1, "{code} {subject}: {:#}", self.0);
        (found[0].1.clone(), found[0].2.clone())
    }

    /// No finding has that code.
    #[track_caller]
    fn none(&self, code: &str) {
        assert!(self.all(code).is_empty(), "{code}: {:#}", self.0);
    }

    /// How many findings a check made; `None` where it was not made.
    #[track_caller]
    fn check(&self, words: &str) -> Option<u64> {
        let checks = self.0["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"].as_str().unwrap().contains(words));
        check.unwrap_or_else(|| panic!("no check of {words}"))["found"].as_u64()
    }
}
