//! `tokensink refresh` and the daemon's own timer, as the real program against the stand-in: what is
//! sent, what is stored, what is left alone.
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

#[path = "refresh/hostile.rs"]
mod hostile;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::bus::Bus;
use support::claude::in_seconds;
use support::host::{FAMILY, Host, document, in_parallel, until};
use support::provider::{Fault, Pair};

fn login(host: &Host) -> Value {
    serde_json::from_str::<Value>(&host.read()).unwrap()["claudeAiOauth"].clone()
}

#[test]
fn a_rotation_changes_the_token_fields_and_no_other_byte() {
    let host = Host::new();
    let before = host.read();
    let old_end = login(&host)["expiresAt"].to_string();
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
    let (live, new_end) = (host.live(), login(&host)["expiresAt"].to_string());
    let expected = before
        .replace(&host.pair.access, &live.access)
        .replace(&host.pair.refresh, &live.refresh)
        .replace(&old_end, &new_end);
    assert_eq!(host.read(), expected);
    let ends_in = new_end.parse::<i64>().unwrap() - in_seconds(0);
    assert!((28_700_000..=28_800_000).contains(&ends_in), "{ends_in}");
    assert_eq!(std::fs::metadata(host.source()).unwrap().mode() & 0o777, 0o600);
    assert!(host.intent().is_none());
    assert!(host.locks().iter().all(|lock| !lock.exists()));

    let ledger = host.provider.ledger();
    let request = ledger.token_requests().next().unwrap();
    assert_eq!(request.field("refresh_token"), Some(host.pair.refresh.clone()));
    assert_eq!(request.field("scope").as_deref(), Some("user:inference user:profile"));
    assert_eq!(request.field("client_id").as_deref(), Some("9d1c250a-e61b-44d9-88ed-5944d1962f5e"));
    assert_eq!((ledger.grants(), ledger.refused(), host.requests()), (1, 0, 1));

    let again = host.refresh(&[]);
    assert_eq!((again.code, again.outcome.as_str(), host.requests()), (Some(0), "not-due", 1), "{again}");
}

#[test]
fn a_wide_mode_becomes_0600() {
    let host = Host::new();
    std::fs::set_permissions(host.source(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(host.refresh(&[]).outcome, "rotated");
    assert_eq!(std::fs::metadata(host.source()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn the_login_deadline_shrinks_and_never_grows() {
    for (days, shrinks) in [(5, true), (40, false)] {
        let host = Host::new();
        let before = login(&host)["refreshTokenExpiresAt"].clone();
        host.provider.set(|s| s.refresh_token_expires_in = Some(days * 86_400));
        assert_eq!(host.refresh(&[]).outcome, "rotated");
        let after = login(&host)["refreshTokenExpiresAt"].clone();
        assert_eq!(after != before, shrinks, "{before} {after}");
        assert!(after.as_i64() <= before.as_i64());
    }
}

#[test]
fn an_answer_without_refresh_token_or_scope_keeps_the_old() {
    let host = Host::new();
    host.provider.set(|s| {
        (s.status, s.body) = (Some(200), r#"{"access_token":"sk-ant-oat01-invented"}"#.into());
    });
    let scopes = login(&host)["scopes"].clone();
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "kept"), "{said}");
    let after = login(&host);
    assert_eq!(after["refreshToken"], json!(host.pair.refresh));
    assert_eq!((&after["accessToken"], &after["scopes"]), (&json!("sk-ant-oat01-invented"), &scopes));
    let ends_in = after["expiresAt"].as_i64().unwrap() - in_seconds(0);
    assert!((3_500_000..=3_600_000).contains(&ends_in), "an unstated lifetime is an hour: {ends_in}");
}

#[test]
fn a_scope_without_inference_does_not_log_the_cli_out() {
    let host = Host::new();
    host.provider.set(|s| s.scope = Some("user:profile".into()));
    let scopes = login(&host)["scopes"].clone();
    assert_eq!(host.refresh(&[]).outcome, "rotated");
    assert_eq!((login(&host)["scopes"].clone(), host.place_of_live()), (scopes, "source"));
}

#[test]
fn what_is_not_due_is_sent_by_force_only() {
    let host = Host::expiring(7200);
    let before = host.read();
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "not-due"), "{said}");
    host.assert_untouched(&before);
    let said = host.refresh(&["--force"]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(0), "rotated", 1), "{said}");
    assert_eq!(host.place_of_live(), "source");
}

#[test]
fn a_rotation_by_somebody_else_while_we_wait_for_the_lock_is_adopted() {
    for lock in 0..2 {
        let host = Host::new();
        std::fs::create_dir(&host.locks()[lock]).unwrap();
        let ours = host.start_refresh(&[]);
        // It has judged the login and found it due.
        until("the command waits", 10, || host.state_dir().join("intents/claude.lock").exists());
        let other = Pair::invent(FAMILY);
        host.provider.adopt(FAMILY, other.clone());
        host.write(&document(&other, in_seconds(28_800)));
        std::fs::remove_dir(&host.locks()[lock]).unwrap();
        let said = host.end(ours);
        assert_eq!((said.code, said.outcome.as_str()), (Some(0), "adopted"), "{said}");
        assert_eq!((host.requests(), host.place_of_live()), (0, "source"));
    }
}

#[test]
fn a_forced_command_adopts_what_changed_while_it_waited() {
    let host = Host::new();
    std::fs::create_dir(&host.locks()[0]).unwrap();
    let ours = host.start_refresh(&["--force"]);
    until("the command waits", 10, || host.state_dir().join("intents/claude.lock").exists());
    let other = Pair::invent(FAMILY);
    host.provider.adopt(FAMILY, other.clone());
    host.write(&document(&other, in_seconds(60)));
    std::fs::remove_dir(&host.locks()[0]).unwrap();
    let said = host.end(ours);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(0), "adopted", 0), "{said}");
}

// ---- the error table

struct Row(&'static str, u16, &'static str, Option<&'static str>, Fault);

const fn row(name: &'static str, status: u16, body: &'static str) -> Row {
    Row(name, status, body, None, Fault::None)
}

const fn asking(name: &'static str, status: u16, retry_after: &'static str) -> Row {
    Row(name, status, "{}", Some(retry_after), Fault::None)
}

const fn fault(name: &'static str, fault: Fault) -> Row {
    Row(name, 0, "", None, fault)
}

const HTML: &str = "<!doctype html><html><body>Just a moment...</body></html>";
const ROWS: [Row; 46] = [
    row("400 invalid_grant", 400, r#"{"error":"invalid_grant"}"#),
    row("401 invalid_grant", 401, r#"{"error":"invalid_grant","error_description":"Refresh token expired"}"#),
    row("400 type invalid_grant", 400, r#"{"error":{"type":"invalid_grant","message":"m"}}"#),
    row("400 INVALID_GRANT", 400, r#"{"error":"INVALID_GRANT"}"#),
    row("401 token_expired", 401, r#"{"error":{"code":"token_expired"}}"#),
    row("400 refresh_token_reused", 400, r#"{"error":{"code":"refresh_token_reused"}}"#),
    row("400 refresh_token_expired", 400, r#"{"code":"refresh_token_expired"}"#),
    row("400 refresh_token_invalidated", 400, r#"{"error":"refresh_token_invalidated"}"#),
    row("404 not_found_error", 404, r#"{"error":{"type":"not_found_error"}}"#),
    row("404 other", 404, "nothing here"),
    row("400 invalid_client", 400, r#"{"error":"invalid_client"}"#),
    row("400 unsupported_grant_type", 400, r#"{"error":"unsupported_grant_type"}"#),
    row("400 invalid_scope", 400, r#"{"error":"invalid_scope"}"#),
    row(
        "400 invalid request",
        400,
        r#"{"error":{"type":"invalid_request_error","message":"Invalid request format"}}"#,
    ),
    row("400 html", 400, HTML),
    row("400 empty", 400, ""),
    row("401 empty", 401, ""),
    row("401 error is a number", 401, r#"{"error":5}"#),
    row("403 html", 403, HTML),
    row("403 invalid_grant", 403, r#"{"error":"invalid_grant"}"#),
    row("403 country", 403, r#"{"error":{"code":"unsupported_country_region_territory"}}"#),
    row("403 scope", 403, r#"{"error":{"type":"permission_error","message":"user:profile"}}"#),
    row("407", 407, ""),
    row("408", 408, ""),
    row("418", 418, ""),
    row("429", 429, "{}"),
    asking("429 after 120", 429, "120"),
    asking("429 after 0", 429, "0"),
    asking("429 after a date", 429, "Wed, 21 Oct 2099 07:28:00 GMT"),
    asking("429 after very long", 429, "99999999"),
    asking("429 after nonsense", 429, "-5"),
    row("500", 500, "{}"),
    row("502 html", 502, HTML),
    row("503", 503, ""),
    asking("503 after 300", 503, "300"),
    row("529", 529, r#"{"error":{"type":"overloaded_error"}}"#),
    row("302", 302, ""),
    fault("200 html", Fault::GarbageBody),
    fault("200 truncated", Fault::TruncatedBody),
    row("200 empty", 200, ""),
    row("200 array", 200, "[]"),
    row("200 no tokens", 200, "{}"),
    row("200 wrong types", 200, r#"{"access_token":5,"refresh_token":["x"],"expires_in":"soon"}"#),
    row("200 blank tokens", 200, r#"{"access_token":"","refresh_token":" "}"#),
    row("200 error", 200, r#"{"error":"invalid_grant"}"#),
    fault("cut before the grant", Fault::CutBeforeGrant),
];

/// What was answered | the outcome, its exit code, the wait in seconds and the stop | the next run
/// without force.
const TABLE: &str = "\
400 invalid_grant | rejected 1 60 rejected | blocked 1
401 invalid_grant | rejected 1 60 rejected | blocked 1
400 type invalid_grant | rejected 1 60 rejected | blocked 1
400 INVALID_GRANT | rejected 1 60 rejected | blocked 1
401 token_expired | rejected 1 60 rejected | blocked 1
400 refresh_token_reused | rejected 1 60 rejected | blocked 1
400 refresh_token_expired | rejected 1 60 rejected | blocked 1
400 refresh_token_invalidated | rejected 1 60 rejected | blocked 1
404 not_found_error | rejected 1 60 rejected | blocked 1
404 other | failed 1 14400 - | blocked 1
400 invalid_client | failed 1 14400 - | blocked 1
400 unsupported_grant_type | failed 1 14400 - | blocked 1
400 invalid_scope | failed 1 14400 - | blocked 1
400 invalid request | failed 1 14400 - | blocked 1
400 html | failed 1 14400 - | blocked 1
400 empty | failed 1 14400 - | blocked 1
401 empty | failed 1 14400 - | blocked 1
401 error is a number | failed 1 14400 - | blocked 1
403 html | failed 1 14400 - | blocked 1
403 invalid_grant | failed 1 14400 - | blocked 1
403 country | failed 1 14400 - | blocked 1
403 scope | failed 1 14400 - | blocked 1
407 | failed 1 14400 - | blocked 1
408 | failed 1 60 - | blocked 1
418 | failed 1 14400 - | blocked 1
429 | failed 1 900 - | blocked 1
429 after 120 | failed 1 120 - | blocked 1
429 after 0 | failed 1 1 - | -
429 after a date | failed 1 900 - | blocked 1
429 after very long | failed 1 86400 - | blocked 1
429 after nonsense | failed 1 900 - | blocked 1
500 | failed 1 60 - | blocked 1
502 html | failed 1 60 - | blocked 1
503 | failed 1 60 - | blocked 1
503 after 300 | failed 1 300 - | blocked 1
529 | failed 1 60 - | blocked 1
302 | failed 1 14400 - | blocked 1
200 html | unknown 1 60 unknown | unknown 1
200 truncated | unknown 1 60 unknown | unknown 1
200 empty | unknown 1 60 unknown | unknown 1
200 array | unknown 1 60 unknown | unknown 1
200 no tokens | unknown 1 60 unknown | unknown 1
200 wrong types | unknown 1 60 unknown | unknown 1
200 blank tokens | unknown 1 60 unknown | unknown 1
200 error | unknown 1 60 unknown | unknown 1
cut before the grant | unknown 1 60 unknown | unknown 1
";

#[test]
fn every_answer_of_the_error_table_has_its_outcome() {
    let lines = in_parallel(&ROWS, 6, |Row(name, status, body, retry_after, fault)| {
        let host = Host::new();
        let before = host.read();
        host.provider.set(|s| {
            s.status = (*status > 0).then_some(*status);
            (s.body, s.fault) = ((*body).to_owned(), *fault);
            s.retry_after = retry_after.map(str::to_owned);
        });
        let said = host.refresh(&[]);
        let (wait, memory) = (host.wait(), host.memory());
        assert_eq!(host.requests(), 1, "{name}: one request");
        // A wait of a second is over soon; the others are not.
        let next = if wait == Some(1) { None } else { Some(host.refresh(&[])) };
        assert_eq!(host.requests(), 1, "{name}: no second request");
        assert_eq!(host.read(), before, "{name}: the file stays");
        assert_eq!(
            host.intent().is_some(),
            said.outcome == "unknown",
            "{name}: an intent is left for a doubt"
        );
        assert!(host.locks().iter().all(|lock| !lock.exists()), "{name}: no lock is left");
        let next = next.map_or("-".to_owned(), |n| format!("{} {}", n.outcome, n.code.unwrap()));
        format!(
            "{name} | {} {} {} {} | {next}\n",
            said.outcome,
            said.code.unwrap(),
            wait.unwrap(),
            memory["stopped"][0].as_str().unwrap_or("-")
        )
    });
    let table = lines.concat();
    println!("{table}");
    assert_eq!(table, TABLE);
}

#[test]
fn retry_after_is_honoured_to_its_end() {
    let host = Host::new();
    host.provider.set(|s| (s.status, s.times, s.retry_after) = (Some(429), Some(1), Some("3".into())));
    assert_eq!((host.refresh(&[]).outcome.as_str(), host.wait()), ("failed", Some(3)));
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(1), "blocked", 1), "{said}");
    assert!(said.detail.contains("the endpoint asks to wait"), "{said}");
    let over = host.memory()["not_before"].as_i64().unwrap();
    until("the wait is over", 10, || in_seconds(0) > over);
    assert_eq!((host.refresh(&[]).outcome.as_str(), host.requests()), ("rotated", 2));
}

#[test]
fn absurd_lifetimes_are_not_believed() {
    for lifetime in ["1e300", "-5", "0", "\"x\"", "null", "99999999999"] {
        let host = Host::new();
        let body = format!(r#"{{"access_token":"sk-ant-oat01-invented","expires_in":{lifetime}}}"#);
        host.provider.set(|s| (s.status, s.body) = (Some(200), body));
        assert_eq!(host.refresh(&[]).outcome, "kept", "{lifetime}");
        let ends_in = login(&host)["expiresAt"].as_i64().unwrap() - in_seconds(0);
        assert!((3_500_000..=3_600_000).contains(&ends_in), "{lifetime}: {ends_in}");
    }
}

// ---- doubt

#[test]
fn a_cut_after_the_grant_is_unknown_and_stays_so_until_somebody_forces_it() {
    let host = Host::new();
    let before = host.read();
    host.provider.set(|s| (s.fault, s.times) = (Fault::CutAfterGrant, Some(1)));
    for round in 0..3 {
        let said = host.refresh(&[]);
        assert_eq!(
            (said.code, said.outcome.as_str(), host.requests()),
            (Some(1), "unknown", 1),
            "{round} {said}"
        );
        assert_eq!(host.read(), before);
        assert!(host.intent().is_some_and(|text| !text.contains("answer") && !text.contains("sk-ant")));
    }
    let said = host.refresh(&["--force"]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(1), "rejected", 2), "{said}");
    assert_eq!(host.read(), before, "the file is never emptied");
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(1), "blocked", 2), "{said}");
}

#[test]
fn a_cut_before_the_grant_is_rescued_by_force() {
    let host = Host::new();
    host.provider.set(|s| (s.fault, s.times) = (Fault::CutBeforeGrant, Some(1)));
    assert_eq!(host.refresh(&[]).outcome, "unknown");
    let said = host.refresh(&["--force"]);
    assert_eq!(
        (said.code, said.outcome.as_str(), host.place_of_live()),
        (Some(0), "rotated", "source"),
        "{said}"
    );
    assert!(host.intent().is_none());
    assert_eq!(host.memory()["stopped"], Value::Null);
}

#[test]
fn a_hang_after_the_grant_ends_unknown_after_the_clis_own_patience() {
    let host = Host::new();
    host.provider.set(|s| s.fault = Fault::HangAfterGrant);
    let began = SystemTime::now();
    let said = host.refresh(&[]);
    let took = began.elapsed().unwrap();
    assert_eq!((said.code, said.outcome.as_str()), (Some(1), "unknown"), "{said}");
    assert!((Duration::from_secs(29)..Duration::from_secs(40)).contains(&took), "{took:?}");
    assert_eq!((host.refresh(&[]).outcome.as_str(), host.requests()), ("unknown", 1));
}

#[test]
fn a_new_login_ends_the_doubt() {
    let host = Host::new();
    host.provider.set(|s| (s.fault, s.times) = (Fault::CutAfterGrant, Some(1)));
    assert_eq!(host.refresh(&[]).outcome, "unknown");
    let other = Pair::invent(FAMILY);
    host.provider.adopt(FAMILY, other.clone());
    host.write(&document(&other, in_seconds(-5)));
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(0), "adopted", 1), "{said}");
    assert!(host.intent().is_none());
    assert_eq!((host.refresh(&[]).outcome.as_str(), host.place_of_live()), ("rotated", "source"));
}

#[test]
fn a_forced_attempt_that_is_not_sent_keeps_refusal_and_doubt() {
    for (fault, status, word, next) in
        [(Fault::None, Some(400), "rejected", "blocked"), (Fault::CutAfterGrant, None, "unknown", "unknown")]
    {
        let host = Host::new();
        host.provider.set(|s| {
            (s.fault, s.status, s.body) = (fault, status, r#"{"error":"invalid_grant"}"#.into());
        });
        assert_eq!(host.refresh(&[]).outcome, word);
        host.provider.set(|s| (s.fault, s.status) = (Fault::None, Some(503)));
        assert_eq!(host.refresh(&["--force"]).outcome, "failed");
        host.configure(&nobody_listens(), "");
        assert_eq!(host.refresh(&["--force"]).outcome, "not-sent");
        std::fs::create_dir(&host.locks()[1]).unwrap();
        assert_eq!(host.refresh(&["--force"]).outcome, "not-sent");
        std::fs::remove_dir(&host.locks()[1]).unwrap();
        host.configure(&host.token_url(), "");
        host.provider.set(|s| s.status = None);
        let requests = host.requests();
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(1), next, requests), "{said}");
        assert_eq!(host.memory()["stopped"][0], word);
    }
}

#[test]
fn an_unreadable_intent_blocks_its_login() {
    let host = Host::new();
    let before = host.read();
    std::fs::create_dir_all(host.state_dir().join("intents")).unwrap();
    for text in ["", "{", "[]", r#"{"format_version":2}"#, "{\"format_version\":1,\"spent\":5}"] {
        std::fs::write(host.state_dir().join("intents/claude.json"), text).unwrap();
        let said = host.refresh(&[]);
        assert_eq!(
            (said.code, said.outcome.as_str(), host.requests()),
            (Some(1), "not-sent", 0),
            "{text:?} {said}"
        );
        assert_eq!((host.read(), host.intent().as_deref()), (before.clone(), Some(text)));
    }
}

/// A port that was free a moment ago.
fn nobody_listens() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1/oauth/token", listener.local_addr().unwrap())
}

#[test]
fn a_refused_connection_is_not_sent_and_tried_again_later() {
    let host = Host::new();
    host.configure(&nobody_listens(), "");
    let before = host.read();
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str(), host.wait()), (Some(1), "not-sent", Some(60)), "{said}");
    host.assert_untouched(&before);
    assert_eq!(host.memory()["requests"], json!([]), "it costs no budget");
    host.configure(&host.token_url(), "");
    assert_eq!((host.refresh(&[]).outcome.as_str(), host.requests()), ("blocked", 0), "it waits");
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
}

#[test]
fn a_token_endpoint_without_tls_elsewhere_gets_nothing() {
    let host = Host::new();
    let before = host.read();
    host.configure("https://localhost.invalid/v1/oauth/token", "");
    assert_eq!(host.refresh(&[]).outcome, "not-sent");
    host.configure("http://192.0.2.1/v1/oauth/token", "");
    let said = host.refresh(&["--force"]);
    assert_eq!(said.code, Some(1), "{said}");
    host.assert_untouched(&before);
}

#[test]
fn the_daily_budget_is_kept() {
    let host = Host::new();
    host.configure(&host.token_url(), "grants_per_day = 2");
    host.provider.set(|s| s.expires_in = 60);
    for _ in 0..2 {
        assert_eq!(host.refresh(&[]).outcome, "rotated");
    }
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str(), host.requests()), (Some(1), "blocked", 2), "{said}");
    assert!(said.detail.contains("used up until"), "{said}");
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
    assert_eq!(host.place_of_live(), "source");
}

#[test]
fn a_refresh_that_is_asked_for_over_the_bus_is_that_of_the_command_and_never_a_second_one() {
    let host = Host::expiring(3600);
    let bus = Bus::start_at(&host.home.join("../runtime/bus"));
    let daemon = host.start_daemon();
    let caller = bus.caller();
    until("the daemon is on the bus", 20, || caller.is_served());
    let refresh = |force: bool| -> (String, String) {
        caller.call("Refresh", &("claude", force)).unwrap().body().deserialize().unwrap()
    };
    assert_eq!(refresh(false), ("not-due".to_owned(), "not due yet".to_owned()));
    assert_eq!(host.requests(), 0);

    // Two callers at once, and the command beside them, while the server takes its time.
    host.provider.set(|s| s.delay_ms = 1500);
    let second = bus.caller();
    let (first, second, third) = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let caller = bus.caller();
            let reply = caller.call("Refresh", &("claude", true)).unwrap();
            reply.body().deserialize::<(String, String)>().unwrap()
        });
        host.wait_for_request();
        let reply = second.call("Refresh", &("claude", true)).unwrap();
        let third = host.refresh(&["--force"]);
        (first.join().unwrap(), reply.body().deserialize::<(String, String)>().unwrap(), third)
    });
    assert_eq!(first.0, "rotated", "{first:?}");
    assert_eq!(second, ("not-due".to_owned(), "another process refreshes it now".to_owned()));
    assert_eq!(third.outcome, "not-due", "{third}");
    assert_eq!((host.provider.ledger().grants(), host.provider.ledger().refused()), (1, 0));
    assert_eq!(login(&host)["refreshToken"], json!(host.live().refresh));
    assert!(caller.status()["logins"][0]["refresh"]["last_outcome"] == "rotated");

    let told = host.command(&["history", "--json"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    host.assert_no_token_in(&told);
    assert_eq!(told.matches("\"refreshed\"").count(), 1, "{told}");
    host.assert_no_token_in(&daemon.stop());
}
