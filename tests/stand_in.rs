//! The stand-in for a provider's servers, tested itself: later tests argue from its ledger.
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

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use support::provider::{Fault, Provider, Verdict};

struct Bench {
    provider: Provider,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    Bench { provider: Provider::start(dir.path()), _dir: dir }
}

/// Sends a grant request over plain HTTP and returns all that came back.
fn post(provider: &Provider, refresh: &str) -> String {
    let body =
        json!({"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "test"}).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", provider.port)).unwrap();
    let head = format!(
        "POST /v1/oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A cut connection may end in a reset: what came before it is the answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_refresh_token_works_once() {
    let Bench { provider, _dir } = bench();
    let first = provider.seed("a");
    let other = provider.seed("b");
    let answer = post(&provider, &first.refresh);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let ledger = provider.ledger();
    assert_eq!(body(&answer)["refresh_token"], json!(ledger.live("a").refresh));
    assert_eq!(ledger.spent("a").join(","), first.refresh);
    assert_eq!(ledger.live("b"), &other, "families do not touch each other");

    let again = post(&provider, &first.refresh);
    assert!(again.starts_with("HTTP/1.1 400 "), "{again}");
    assert_eq!(body(&again)["error"], "invalid_grant");
    let ledger = provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused()), (1, 1));
    assert_eq!(ledger.token_requests().last().unwrap().verdict, Some(Verdict::Reused { family: "a".into() }));
}

#[test]
fn a_cut_after_the_grant_spends_the_token_and_answers_nothing() {
    let Bench { provider, _dir } = bench();
    let pair = provider.seed("a");
    provider.set(|switches| (switches.fault, switches.times) = (Fault::CutAfterGrant, Some(1)));
    assert_eq!(post(&provider, &pair.refresh), "");
    let ledger = provider.ledger();
    assert_eq!((ledger.grants(), ledger.token_requests().next().unwrap().answered), (1, None));
    assert_ne!(ledger.live("a"), &pair);
    assert!(post(&provider, &ledger.live("a").refresh).starts_with("HTTP/1.1 200 "), "once was asked for");
}

#[test]
fn a_cut_before_the_grant_leaves_the_token_alone() {
    let Bench { provider, _dir } = bench();
    let pair = provider.seed("a");
    provider.set(|switches| switches.fault = Fault::CutBeforeGrant);
    assert_eq!(post(&provider, &pair.refresh), "");
    assert_eq!((provider.ledger().grants(), provider.ledger().live("a")), (0, &pair));
}

#[test]
fn a_hanging_request_is_visible_while_it_hangs() {
    let Bench { provider, _dir } = bench();
    let pair = provider.seed("a");
    provider.set(|switches| switches.fault = Fault::HangAfterGrant);
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| post(&provider, &pair.refresh));
        assert!(provider.wait_for(Duration::from_secs(5), |ledger| ledger.grants() == 1));
        assert!(!hanging.is_finished());
        provider.set(|switches| switches.fault = Fault::None);
        assert_eq!(hanging.join().unwrap(), "", "the connection ends without an answer");
    });
}

#[test]
fn every_other_switch_changes_the_answer_it_names() {
    let Bench { provider, _dir } = bench();
    let live = || provider.ledger().families[0].live.refresh.clone();
    provider.seed("a");
    provider.set(|s| (s.status, s.body, s.retry_after) = (Some(429), "{}".into(), Some("120".into())));
    let answer = post(&provider, &live());
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("Retry-After: 120"), "{answer}");
    assert_eq!(provider.ledger().grants(), 0);

    provider.set(|s| (s.status, s.fault) = (None, Fault::GarbageBody));
    assert!(post(&provider, &live()).contains("<html>"));
    provider.set(|s| s.fault = Fault::TruncatedBody);
    assert!(post(&provider, &live()).starts_with("HTTP/1.1 200 "));
    assert_eq!(provider.ledger().grants(), 2, "both were granted");

    provider.set(|s| {
        (s.fault, s.rotate, s.expires_in) = (Fault::None, false, 60);
        (s.scope, s.refresh_token_expires_in) = (Some("user:profile".into()), Some(5));
        (s.delay_ms, s.slow_body_ms) = (20, 1);
    });
    let before = live();
    let answer = body(&post(&provider, &before));
    assert_eq!((live(), answer.get("refresh_token")), (before, None));
    assert_eq!((&answer["expires_in"], &answer["scope"]), (&json!(60), &json!("user:profile")));
    assert_eq!(answer["refresh_token_expires_in"], json!(5));
}

#[test]
fn reuse_ends_the_family_where_that_is_wanted() {
    let Bench { provider, _dir } = bench();
    let first = provider.seed("a");
    provider.set(|switches| switches.reuse_revokes = true);
    post(&provider, &first.refresh);
    let second = provider.ledger().live("a").clone();
    post(&provider, &first.refresh);
    assert!(post(&provider, &second.refresh).starts_with("HTTP/1.1 400 "));
}
