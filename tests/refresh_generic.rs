//! A provider that only the configuration knows: its document is read, kept alive by RFC 6749 and
//! handed to its sinks by the same code as every other.
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
use support::host::{Host, in_parallel, until};
use support::provider::Fault;

/// A login of nobody's CLI whose access token ends in so many seconds.
fn described(seconds: i64, style: &str) -> Host {
    let host = Host::new();
    let document = json!({
        "user": {"id": "u-7"},
        "session": {"token": host.pair.access, "renewal": host.pair.refresh, "until": in_seconds(seconds) / 1000},
        "mine": 1.50,
    });
    host.write(&format!("{document:#}\n"));
    std::fs::write(host.home.join("client.secret"), "not-a-real-secret\n").unwrap();
    let text = format!(
        "[daemon]\npoll = \"5s\"\n[[login]]\nid = \"claude\"\nprovider = \"generic\"\npath = \"~/.claude/.credentials.json\"\n\
         [login.fields]\naccess_token = \"/session/token\"\nrefresh_token = \"/session/renewal\"\n\
         expires_at = \"/session/until\"\nexpires_unit = \"s\"\naccount = \"/user/id\"\n\
         [login.refresh]\ntoken_url = \"{}\"\nclient_id = \"acme cli\"\nclient_secret_file = \"~/client.secret\"\n\
         style = \"{style}\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n",
        host.token_url()
    );
    std::fs::write(host.home.join(".config/tokensink/tokensink.toml"), text).unwrap();
    host
}

#[test]
fn a_described_login_is_refreshed_as_a_form_or_as_json_and_keeps_every_other_byte() {
    for (style, content_type) in [("form", "application/x-www-form-urlencoded"), ("json", "application/json")]
    {
        let host = described(-60, style);
        let before = host.read();
        let old: Value = serde_json::from_str(&before).unwrap();
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
        let (live, after) = (host.live(), host.read());
        let new: Value = serde_json::from_str(&after).unwrap();
        let ends_in = new["session"]["until"].as_i64().unwrap() - in_seconds(0) / 1000;
        assert!((28_700..=28_800).contains(&ends_in), "{ends_in}");
        let expected = before
            .replace(&host.pair.access, &live.access)
            .replace(&host.pair.refresh, &live.refresh)
            .replace(&old["session"]["until"].to_string(), &new["session"]["until"].to_string());
        assert_eq!(after, expected);
        let ledger = host.provider.ledger();
        let request = ledger.token_requests().next().unwrap();
        assert_eq!(request.header("content-type"), Some(content_type));
        assert_eq!(request.field("client_id").as_deref(), Some("acme cli"));
        assert_eq!(request.field("client_secret").as_deref(), Some("not-a-real-secret"));
        assert_eq!(request.field("refresh_token"), Some(host.pair.refresh.clone()));
        assert_eq!(request.field("scope"), None);
        assert!(!said.text.contains("not-a-real-secret"));
    }
}

#[test]
fn the_daemon_keeps_a_described_login_alive_and_hands_it_on() {
    let host = described(-60, "form");
    let daemon = host.start_daemon();
    let copy = || std::fs::read_to_string(host.home.join("copy.json")).unwrap_or_default();
    until("the copy holds the new token", 20, || {
        host.requests() == 1 && copy().contains(&host.live().access) && !copy().contains("ort01")
    });
    daemon.stop();
    assert_eq!((host.requests(), host.place_of_live()), (1, "source"));
}

#[test]
fn commands_of_a_described_login_spend_its_token_once() {
    let host = described(-60, "form");
    host.provider.set(|s| s.delay_ms = 500);
    let said = in_parallel(&[(); 6], 6, |()| host.refresh(&[]));
    assert_eq!(host.requests(), 1);
    assert!(said.iter().all(|said| said.code == Some(0)), "{said:?}");
    assert_eq!(host.place_of_live(), "source");
}

#[test]
fn a_cut_after_the_grant_of_a_described_login_ends_unknown() {
    let host = described(-60, "form");
    host.provider.set(|s| s.fault = Fault::CutAfterGrant);
    let before = host.read();
    assert_eq!(host.refresh(&[]).outcome, "unknown");
    host.provider.set(|s| s.fault = Fault::None);
    assert_eq!(host.refresh(&[]).outcome, "unknown");
    assert_eq!((host.requests(), host.read()), (1, before));
}

#[test]
fn a_client_without_its_secret_sends_nothing() {
    let host = described(-60, "form");
    for text in ["", "two\nlines\n"] {
        std::fs::write(host.home.join("client.secret"), text).unwrap();
        assert_eq!(host.refresh(&["--force"]).outcome, "not-sent");
    }
    std::fs::remove_file(host.home.join("client.secret")).unwrap();
    let said = host.refresh(&["--force"]);
    assert!(said.outcome == "not-sent" && said.detail.contains("client.secret"), "{said}");
    assert_eq!((host.requests(), host.intent()), (0, None));
}
