//! What programs of this host answer or leave: CLIs, gateways, packages, receivers of alerts, holders of locks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokensink::alerts::ntfy;
use tokensink::base::time::Timestamp;
use tokensink::core::memory::Then;
use tokensink::core::token_answer::Answer;
use tokensink::format::syncer::{self as scripts, cron_line};
use tokensink::gateway::idle::{self, Answer as Idle};
use tokensink::gateway::{openclaw, probe, profiles};
use tokensink::login::codex::{Given, judge};
use tokensink::oauth::endpoint::SendError;
use tokensink::refresher::exchange::{self, Version};
use tokensink::refresher::official;
use tokensink::sinks::credential::version_in;
use tokensink::sinks::openclaw::probe::release_of;
use tokensink::sys::atomic_file::Digest;
use tokensink::sys::lock;

use super::planted::{hides, is_a_sentence};

/// Codex's app server: a login is refused by its own answer to our question, and by nothing else.
pub fn app_server(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let messages = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let first = messages().find(|message| message["id"] == 2);
    let knows_nobody = |message: &Value| message.pointer("/result/account").is_some_and(Value::is_null);
    assert_eq!(official::says_refused(bytes), first.as_ref().is_some_and(knows_nobody));
    // A torn answer is none: what has ended is not concluded from what is missing.
    if let Some((whole, last)) = text.trim_end().rsplit_once('\n') {
        let torn = format!("{whole}\n{}", last.get(..last.len() / 2).unwrap_or_default());
        assert!(
            !official::says_refused(torn.as_bytes())
                || official::says_refused(whole.as_bytes())
                || last.len() < 4
        );
    }
}

/// What Claude Code says of itself and of its one request; and what other programs print.
pub fn programs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(version) = Version::parse(&text) {
        assert!(text.trim_end().ends_with(" (Claude Code)"));
        assert_eq!(Version::parse(&format!("{version} (Claude Code)")), Some(version));
    }
    match exchange::judge(&text) {
        // Only these make a login dead.
        Ok(Answer::Rejected { error }) => {
            assert!(["400", "401"].iter().any(|code| text.contains(code)), "{error}");
        }
        Ok(Answer::Granted(_)) => panic!("tokens are in the file, never in words"),
        Ok(_) => {}
        Err(SendError::NotSent(why) | SendError::Unknown(why)) => is_a_sentence(&why),
        Err(other) => panic!("{other}"),
    }
    if Digest::parse(bytes).is_some() {
        assert!(bytes.iter().take(64).all(u8::is_ascii_hexdigit));
    }
    if let Some(version) = version_in(bytes) {
        assert!(text.contains(&version.to_string()) || text.contains("-0"));
    }
    let environment = BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]);
    for line in text.lines() {
        for is_systems in [false, true] {
            if let Some((user, words)) = cron_line(line, is_systems) {
                assert_eq!(user.is_some(), is_systems);
                assert!(!words.is_empty() && words.iter().all(|word| line.contains(word.as_str())));
                let _ = scripts::read(&words.join(" "), &environment);
            }
        }
    }
}

/// The answers of OpenClaw's CLI, and of a gateway's pages.
pub fn gateway(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let says_ok = serde_json::from_str::<Value>(&text).is_ok_and(|answer| answer["ok"] == true);
    let (out, err) = text.split_once('\n').unwrap_or((&text, ""));
    for succeeded in [false, true] {
        assert_eq!(openclaw::reloaded(succeeded, &text, "").is_ok(), succeeded && says_ok);
        if let Err(then) = openclaw::reloaded(succeeded, out, err) {
            assert!(then != Then::Busy && then != Then::Unproven && then != Then::Unfit);
        }
    }
    if let Some(is_busy) = openclaw::says_busy(bytes) {
        assert!(text.contains(if is_busy { "false" } else { "true" }));
    }
    match profiles::listed_in(bytes) {
        Err(why) => is_a_sentence(&why),
        Ok(listed) => {
            let is_word = |text: &str| text.chars().count() <= 64 && !text.contains(char::is_control);
            assert!(listed.iter().all(|known| is_word(&known.provider) && is_word(&known.kind)));
        }
    }
    match profiles::order_in(bytes) {
        Err(why) => is_a_sentence(&why),
        Ok(order) => assert!(order.is_none_or(|order| !order.is_empty())),
    }
    if probe::is_older(&text, Duration::from_secs(10)) {
        assert!(text.contains("uptimeMs") || text.contains('\\'));
        assert!(probe::is_older(&text, Duration::ZERO) && !probe::is_older(&text, Duration::MAX));
    }
    for status in [200, 204, 404, 503] {
        if let Idle::Unknown(why) = idle::of_page(status, &text) {
            is_a_sentence(&why);
        }
    }
}

/// The whole of an answer. What nobody reads of one need not be well-formed: numbers of any size, bytes that are
/// no text.
fn well_formed(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// The manifest of a package.
pub fn manifest(bytes: &[u8]) {
    if let Some((release, _)) = release_of(bytes) {
        if let Some(value) = well_formed(bytes) {
            let is_named = |name: &str| value["name"] == name;
            assert!(["openclaw", "clawdbot", "moltbot"].into_iter().any(is_named), "{}", value["name"]);
        }
        assert_eq!(tokensink::format::release::Release::parse(&release.to_string()), Some(release));
    }
}

/// The answer of an ntfy server; of Codex's own endpoint for another device; and a lock of OpenClaw's.
pub fn small(bytes: &[u8]) {
    if ntfy::is_taken(bytes, "made-up-topic")
        && let Some(value) = well_formed(bytes)
    {
        assert!(value["event"] == "message" && value["topic"] == "made-up-topic" && value["id"] != "");
    }
    if let Some(given) = Given::parse(bytes) {
        assert!(given.user_code.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
        hides(&given, &given.device, &[&given.user_code]);
    }
    for status in [200, 299, 400, 403, 404, 500] {
        if let Ok((code, verifier)) = judge(status, bytes) {
            assert!((200..300).contains(&status));
            assert!(well_formed(bytes).is_none_or(|value| {
                value["authorization_code"] == code.expose() && value["code_verifier"] == verifier.expose()
            }));
        }
    }
    // A lock that says nothing that counts is judged by its age, and never by us.
    let now = Timestamp::from_millis(1_795_176_000_000);
    if lock::is_over(bytes, false, now) {
        let said = well_formed(bytes);
        assert!(said.is_none_or(|value| value["pid"].is_number() && value["createdAt"].is_string()));
        assert!(lock::is_over(bytes, true, now));
    }
}
