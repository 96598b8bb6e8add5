//! Which clock is believed, as the real program: the time on record is made up, the machine's own clock is not
//! touched.
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

use serde_json::{Value, json};
use support::claude::in_seconds;
use support::host::Host;

const DAY: i64 = 86_400;

/// A host whose record of the time is so many seconds from the present and from another boot.
fn host_with_record(seconds: i64, expiry: i64) -> Host {
    let host = Host::expiring(expiry);
    std::fs::create_dir_all(host.state_dir()).unwrap();
    let last = in_seconds(seconds);
    let anchor = json!({"boot": "another", "boottime": {"secs": 60, "nanos": 0}, "time": last});
    let state = json!({"format_version": 1, "clock": {"anchor": anchor, "last": last}});
    std::fs::write(host.state_dir().join("state.json"), state.to_string()).unwrap();
    host
}

fn requests(host: &Host) -> Vec<String> {
    let ledger = host.provider.ledger();
    ledger.requests.iter().map(|r| format!("{} {}", r.method, r.path)).collect()
}

fn suspicion(host: &Host) -> Option<Value> {
    let status: Value =
        serde_json::from_slice(&host.command(&["status", "--json"]).output().unwrap().stdout).unwrap();
    let findings = status["findings"].as_array().unwrap().clone();
    findings.into_iter().find(|f| f["code"] == "CLOCK_SUSPECT")
}

#[test]
fn a_clock_that_alone_makes_a_login_due_is_confirmed_without_a_credential_first() {
    // The login was good for weeks when the time was last on record; the clock says that it is over.
    let host = host_with_record(-45 * DAY, -3600);
    assert!(suspicion(&host).unwrap()["summary"].as_str().unwrap().contains("the time on record"));
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
    assert_eq!(requests(&host), ["HEAD /", "POST /v1/oauth/token"]);
    let ledger = host.provider.ledger();
    let question = &ledger.requests[0];
    assert!(question.body.is_empty(), "{question:?}");
    assert!(!question.headers.iter().any(|(name, _)| name == "authorization" || name == "cookie"));
    assert_eq!(suspicion(&host), None, "clock and server agree");
}

#[test]
fn a_clock_that_nobody_confirms_spends_nothing_until_it_is_forced() {
    let host = host_with_record(-45 * DAY, -3600);
    host.provider.set(|s| s.clock_ahead = None);
    let before = host.read();
    for _ in 0..2 {
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(0), "not-due"), "{said}");
    }
    assert_eq!(requests(&host), ["HEAD /"], "and it is not asked again and again");
    assert_eq!(host.read(), before);
    assert!(suspicion(&host).is_some());
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
}

#[test]
fn a_clock_that_a_server_calls_wrong_spends_nothing() {
    let host = host_with_record(-45 * DAY, -3600);
    host.provider.set(|s| s.clock_ahead = Some(-44 * DAY));
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "not-due"), "{said}");
    assert_eq!(requests(&host), ["HEAD /"]);
    let suspicion = suspicion(&host).unwrap();
    assert!(suspicion["summary"].as_str().unwrap().contains("provider's server"), "{suspicion}");
}

#[test]
fn an_answer_whose_date_is_far_off_is_told_and_its_end_is_written_by_this_hosts_clock() {
    let host = Host::new();
    host.provider.set(|s| s.clock_ahead = Some(3 * 3600));
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
    let document: Value = serde_json::from_str(&host.read()).unwrap();
    let ends_in = document["claudeAiOauth"]["expiresAt"].as_i64().unwrap() - in_seconds(0);
    assert!((28_700_000..=28_800_000).contains(&ends_in), "{ends_in}");
    let suspicion = suspicion(&host).unwrap();
    let summary = suspicion["summary"].as_str().unwrap();
    assert!(
        summary.contains("behind") && summary.contains("2h 59m") || summary.contains("3h 0m"),
        "{summary}"
    );
    assert_eq!(suspicion["next"], "timedatectl");
}

#[test]
fn a_clock_that_runs_as_the_record_says_asks_nobody() {
    let host = host_with_record(-3 * DAY, -3600);
    assert_eq!(suspicion(&host), None);
    assert_eq!(host.refresh(&[]).outcome, "rotated");
    assert_eq!(requests(&host), ["POST /v1/oauth/token"]);
}
