//! The real daemon and a receiver: a dead login from its file to a telephone and back.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::channels::{configure, home, ntfy};
use crate::receiver::{Manner, Receiver};
use crate::stage::{Home, Login, STATE, husk};

const PROMISE: Duration = Duration::from_secs(5);

fn webhook(receiver: &Receiver, path: &str) -> String {
    format!("[[alert]]\nkind = \"webhook\"\nurl = \"{}\"\n", receiver.url(path))
}

fn dies(home: &Home) -> Instant {
    home.replace(".claude/.credentials.json", husk());
    Instant::now()
}

#[test]
fn a_dead_login_is_sent_once_within_five_seconds_and_resolved_within_five_of_its_recovery() {
    let receiver = Receiver::start(Manner::Ntfy(None));
    let home = home(&ntfy(&receiver));
    let daemon = home.ready();
    assert!(receiver.requests().is_empty(), "a login that is well is nothing to tell");
    let died = dies(&home);
    let alert = receiver.until(0, &["HUSK claude"]);
    assert!(alert.at - died < PROMISE, "{:?}", alert.at - died);
    let published = alert.json();
    assert_eq!(published["priority"], 5);
    let text = published["message"].as_str().unwrap();
    for part in ["login claude (at work)", "since 20", "breaks: sink token", "next: tokensink reauth claude"]
    {
        assert!(text.contains(part), "{text}");
    }
    home.until_said(daemon.from, "alert sent by ntfy: HUSK claude");
    let listed = home.run(&["alert", "list", "--json"]).json();
    let finding = &listed["findings"][0];
    assert_eq!(finding["code"], "HUSK");
    let (sent, next) =
        (finding["sent"]["ntfy"].as_i64().unwrap(), finding["next_reminder"].as_i64().unwrap());
    assert!((next - sent - 86_400_000).abs() < 10_000, "{finding}");
    assert!(home.run(&["alert", "list"]).stdout.contains("told by ntfy"));

    // A start on a dead login tells nothing twice, and takes nothing back.
    daemon.stop();
    let daemon = home.ready();
    // It is in doubt at the first looks of a start, and believed after the third.
    home.until_said(daemon.from, "STATUS=claude husk");
    daemon.crash();
    let daemon = home.ready();
    assert!(home.said(0, "HUSK claude is resolved").is_empty(), "{}", home.story());
    assert_eq!(home.said(0, "HUSK claude: ").len(), 1, "raised once: {}", home.story());
    assert_eq!(receiver.requests().len(), 1, "{:#?}", receiver.requests());

    home.rotate(&Login::nth(2));
    let recovered = Instant::now();
    let resolved = receiver.until(1, &["resolved: HUSK claude"]);
    assert!(resolved.at - recovered < PROMISE, "{:?}", resolved.at - recovered);
    assert_eq!(resolved.json()["priority"], 2);
    home.until_said(daemon.from, "alert sent by ntfy: resolved");
    daemon.stop();
    assert_eq!(receiver.requests().len(), 2, "{:#?}", receiver.requests());
    let record = home.run(&["history", "--json"]).json();
    let told = record["events"].as_array().unwrap().iter().filter(|event| event["event"] == "alerted");
    let told: Vec<_> = told.map(|event| (&event["channel"], &event["stage"], &event["code"])).collect();
    let wanted = ["raised", "resolved"].map(|stage| (json!("ntfy"), json!(stage), json!("HUSK")));
    assert_eq!(told, wanted.each_ref().map(|(channel, stage, code)| (channel, stage, code)));
    home.finish();
}

#[test]
fn a_dead_login_is_told_while_its_gateway_is_down_as_well() {
    let receiver = Receiver::start(Manner::Says("200 OK", ""));
    let gateway = "[[gateway]]\nid = \"gate\"\nsinks = [\"token\"]\ncommand = [\"false\"]\n";
    let home = home(&(webhook(&receiver, "a") + gateway));
    let daemon = home.ready();
    receiver.until(0, &["UNIT_FAILED"]);
    let before = receiver.requests().len();
    let died = dies(&home);
    let alert = receiver.until(before, &["HUSK"]);
    assert!(alert.at - died < PROMISE, "{:?}", alert.at - died);
    daemon.stop();
    home.finish();
}

#[test]
fn a_channel_that_fails_is_a_finding_until_the_next_delivery() {
    let broken = Receiver::start(Manner::Says("401 Unauthorized", "canary5f1e"));
    let whole = Receiver::start(Manner::Says("200 OK", ""));
    let home = home(&(webhook(&broken, "a") + &webhook(&whole, "b")));
    let daemon = home.ready();
    dies(&home);
    whole.until(0, &["\"HUSK\""]);
    home.until_said(daemon.from, "ALERT_FAILED webhook: nothing could be delivered since");
    let status = home.run(&["status", "--json"]).json();
    let findings = status["findings"].as_array().unwrap();
    let failed = findings.iter().find(|finding| finding["code"] == "ALERT_FAILED").unwrap();
    assert_eq!((&failed["subject"], &failed["next"]), (&"webhook".into(), &"tokensink alert test".into()));

    broken.answer(Manner::Says("200 OK", ""));
    home.until_said(daemon.from, "ALERT_FAILED webhook is resolved");
    let tried = broken.requests();
    assert!(tried.len() >= 2 && tried.iter().all(|request| request.body.contains("HUSK")), "{tried:#?}");
    daemon.stop();
    home.finish();
}

#[test]
fn a_receiver_that_hangs_holds_up_neither_the_loop_nor_another_channel() {
    let hanging = Receiver::start(Manner::Hangs);
    let whole = Receiver::start(Manner::Says("200 OK", ""));
    let home = home(&(webhook(&hanging, "a") + &webhook(&whole, "b")));
    let daemon = home.ready();
    let died = dies(&home);
    hanging.until(0, &["HUSK"]);
    assert!(whole.until(0, &["HUSK"]).at - died < PROMISE);
    home.rotate(&Login::nth(2));
    home.until("the sink follows meanwhile", || {
        home.read("sinks/token.json").contains(&Login::nth(2).access)
    });
    let resolved = whole.until(1, &["resolved"]);
    assert!(resolved.at - died < 3 * PROMISE);
    let asked = Instant::now();
    daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(20));
    home.finish();
}

#[test]
fn what_cannot_be_read_is_an_alert_and_no_crash() {
    let receiver = Receiver::start(Manner::Says("200 OK", ""));
    let home = home(&webhook(&receiver, "x"));
    let daemon = home.ready();
    for (n, text) in
        ["{\"claudeAiOauth\":{\"accessToken\":7}}", "null", "0", "", "{\"claudeAiOauth\":", "1.5"]
            .into_iter()
            .enumerate()
    {
        let seen = receiver.requests().len();
        home.write(".claude/.credentials.json", text);
        receiver.until(seen, &["\"raised\""]);
        home.rotate(&Login::nth(2 + u32::try_from(n).unwrap()));
        if n > 1 {
            // It comes and goes: from now on it is not resolved before it has stayed away.
            break;
        }
        receiver.until(seen, &["\"resolved\""]);
    }
    daemon.stop();
    home.finish();
}

#[test]
fn a_bad_value_ends_the_start_and_is_named() {
    let home = home("");
    for (line, key) in [
        ("remind = \"1.5\"", "alerts.remind"),
        ("remind = \"-1h\"", "alerts.remind"),
        ("login_deadline = [\"1.5\"]", "alerts.login_deadline"),
        ("heartbeat_url = \"ping\"", "alerts.heartbeat_url"),
    ] {
        configure(&home, &format!("[alerts]\n{line}\n"));
        let daemon = home.start();
        assert_eq!(daemon.until_ended().code(), Some(78), "{line}");
        home.until_said(daemon.from, key);
        let checked = home.run(&["config", "check"]);
        assert!(checked.code == 78 && checked.stderr.contains(key), "{checked:?}");
    }
    home.finish();
}

#[test]
fn another_topic_is_told_what_is_open_after_a_reload() {
    let receiver = Receiver::start(Manner::Ntfy(None));
    let channel = |topic: &str| format!("[[alert]]\nkind = \"ntfy\"\nurl = \"{}\"\n", receiver.url(topic));
    let home = home(&channel("one"));
    let daemon = home.ready();
    dies(&home);
    receiver.until(0, &["\"one\"", "HUSK"]);
    home.until_said(daemon.from, "alert sent by ntfy");
    configure(&home, &channel("two"));
    daemon.signal(Signal::SIGHUP);
    receiver.until(1, &["\"two\"", "HUSK"]);
    home.until("it is noted", || home.said(daemon.from, "alert sent by ntfy").len() == 2);
    daemon.signal(Signal::SIGHUP);
    home.until("it is read again", || home.said(daemon.from, "configuration read again").len() == 2);
    home.rest();
    assert_eq!(receiver.requests().len(), 2, "the same configuration tells nothing anew");
    daemon.stop();
    home.finish();
}

#[test]
fn a_dead_login_is_no_failure_of_the_unit() {
    let home = home("");
    let daemon = home.ready();
    dies(&home);
    home.until_said(daemon.from, "HUSK claude");
    // `stop` wants exit status 0.
    daemon.stop();
    home.finish();
}

#[test]
fn no_directory_of_others_is_made() {
    let receiver = Receiver::start(Manner::Says("200 OK", ""));
    let home = home(&webhook(&receiver, "x"));
    let daemon = home.ready();
    dies(&home);
    receiver.until(0, &["HUSK"]);
    home.until_said(daemon.from, "alert sent by webhook");
    daemon.stop();
    home.run(&["alert", "test"]);
    let mut names: Vec<String> = std::fs::read_dir(home.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, [".claude", ".config", ".local", "channel.token", "sinks"]);
    home.finish();
}

#[test]
fn damaged_memory_is_no_reason_to_be_silent_or_to_stop() {
    let receiver = Receiver::start(Manner::Says("200 OK", ""));
    let home = home(&webhook(&receiver, "x"));
    home.write(&format!("{STATE}/alerts.json"), "{\"told\": [1, {}], \"trouble\": 7");
    let daemon = home.ready();
    dies(&home);
    receiver.until(0, &["HUSK"]);
    home.until_said(daemon.from, "alert sent by webhook");
    assert!(home.read(&format!("{STATE}/alerts.json")).contains("\"HUSK\""));
    daemon.stop();
    home.finish();
}

#[test]
fn the_dead_mans_signal_follows_a_completed_turn_and_says_how_things_are() {
    let receiver = Receiver::start(Manner::Says("200 OK", "OK"));
    let home = home(&format!("[alerts]\nheartbeat_url = \"{}\"\n", receiver.url("beat/canary5f1e")));
    home.replace(".claude/.credentials.json", husk());
    let daemon = home.ready();
    let beat = receiver.until(0, &["tokensink on "]);
    assert_eq!(beat.line, "POST /beat/canary5f1e HTTP/1.1");
    // At the first turn the husk is not believed yet.
    assert!(beat.body.ends_with(": ok, 0 findings\n"), "{beat:?}");
    home.until_said(daemon.from, "HUSK claude");
    home.rest();
    assert_eq!(receiver.requests().len(), 1, "one in five minutes, however many turns there are");

    // A service that does not know it is told of; at a reload it is tried at once.
    receiver.answer(Manner::Says("404 Not Found", ""));
    daemon.signal(Signal::SIGHUP);
    let (_, said) = home.until_said(daemon.from, "ALERT_FAILED heartbeat: nothing could be delivered since");
    assert!(said.contains("http://127.0.0.1:") && !said.contains("beat/"), "{said}");
    assert!(receiver.requests()[1].body.ends_with(": critical, 1 findings\n"), "{:?}", receiver.requests());
    receiver.answer(Manner::Says("200 OK", ""));
    daemon.signal(Signal::SIGHUP);
    home.until_said(daemon.from, "ALERT_FAILED heartbeat is resolved");
    daemon.stop();
    home.finish();
}
