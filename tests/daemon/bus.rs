//! The daemon on a bus: what it answers, tells and refuses, and how it lives without one.

use std::fs;
use std::path::PathBuf;

use inotify::EventMask;
use tokensink::dbus::{INTERFACE_XML, NAME, PATH};
use zbus::Variant;

use crate::bus::{Bus, Caller, error_name};
use crate::stage::{CANARY, Home, Login, STATE};

const STANDARD: [&str; 3] =
    ["org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Properties"];

/// The socket at which a bus of that home is looked for.
fn socket(home: &Home) -> PathBuf {
    home.root().join("run/bus")
}

/// A home with three sinks, a first login and a poll so long that only events count.
fn staged() -> Home {
    let home = Home::new();
    home.configure(&home.three_sinks("[daemon]\npoll = \"1h\"\n"));
    home.rotate(&Login::nth(1));
    home
}

fn document(xml: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(xml, options).unwrap()
}

/// Every member of our interface with the types of its arguments, as an introspection tells.
fn members(xml: &str) -> Vec<String> {
    let document = document(xml);
    let interface = document.descendants().find(|node| node.attribute("name") == Some(NAME)).unwrap();
    let told = interface.children().filter(|node| node.is_element()).map(|node| {
        let args = node
            .children()
            .filter(|arg| arg.is_element())
            .map(|arg| format!("{:?}", arg.attributes().map(|a| (a.name(), a.value())).collect::<Vec<_>>()));
        let own = node.attributes().map(|a| (a.name(), a.value())).collect::<Vec<_>>();
        format!("{} {own:?} {:?}", node.tag_name().name(), args.collect::<Vec<_>>())
    });
    told.collect()
}

#[test]
fn it_answers_as_its_interface_file_says() {
    let home = staged();
    let bus = Bus::start_at(&socket(&home));
    let daemon = home.ready();
    let caller = bus.caller();

    let reply = caller.call_on(STANDARD[1], "Introspect", &()).unwrap();
    let xml: String = reply.body().deserialize().unwrap();
    assert_eq!(members(&xml), members(INTERFACE_XML));
    for interface in STANDARD {
        assert!(xml.contains(&format!("<interface name=\"{interface}\">")));
    }
    caller.call_on(STANDARD[0], "Ping", &()).unwrap();

    // Every method answers with the types that the file names.
    let file = document(INTERFACE_XML);
    let types = |name: &str, tag: &str, direction: Option<&str>| -> String {
        let member = file.descendants().find(|n| n.has_tag_name(tag) && n.attribute("name") == Some(name));
        let args = member.unwrap().children().filter(|arg| arg.attribute("direction") == direction);
        args.filter_map(|arg| arg.attribute("type")).collect()
    };
    let signature = |reply: &zbus::Message| {
        let whole = reply.body().signature().to_string();
        whole.strip_prefix('(').and_then(|s| s.strip_suffix(')')).map(str::to_owned).unwrap_or(whole)
    };
    let synced = caller.call("Sync", &()).unwrap();
    assert_eq!(signature(&synced), types("Sync", "method", Some("out")));
    assert_eq!(synced.body().deserialize::<(u32, u32, u32)>().unwrap(), (0, 0, 0), "everything is current");
    let refreshed = caller.call("Refresh", &("claude", false)).unwrap();
    assert_eq!(signature(&refreshed), types("Refresh", "method", Some("out")));
    let (outcome, detail): (String, String) = refreshed.body().deserialize().unwrap();
    let said = home.run(&["refresh", "--json"]).json();
    assert_eq!(
        (said["logins"][0]["outcome"].as_str(), said["logins"][0]["detail"].as_str()),
        (Some(outcome.as_str()), Some(detail.as_str())),
        "as the command says"
    );

    // The report is that of the command.
    let mut told = caller.status();
    let mut printed = home.run(&["status", "--json"]).json();
    for report in [&mut told, &mut printed] {
        report["generated_at"].take();
    }
    assert_eq!(told, printed);
    assert_eq!(told["daemon"]["pid"], daemon.pid);

    let all = caller.call_on(STANDARD[2], "GetAll", &NAME).unwrap();
    let body = all.body();
    let all: std::collections::HashMap<String, Variant<'_>> = body.deserialize().unwrap();
    let described: Vec<_> = file.descendants().filter(|n| n.has_tag_name("property")).collect();
    assert_eq!(all.len(), described.len());
    for property in described {
        let value = &all[property.attribute("name").unwrap()];
        assert_eq!(Some(value.value_signature().to_string().as_str()), property.attribute("type"));
    }
    assert_eq!(all["Version"], Variant::from(env!("CARGO_PKG_VERSION")));
    assert_eq!(caller.property("Overall"), "ok");
    let status = home.said(daemon.from, "STATUS=").pop().unwrap().1;
    assert!(status.contains(&caller.property("Headline")), "{status}");
    daemon.stop();
    assert!(!caller.is_served(), "the name is free at once");
    home.finish();
}

#[test]
fn what_is_no_call_of_ours_is_refused_by_name_and_a_flood_makes_few_passes() {
    let home = staged();
    let bus = Bus::start_at(&socket(&home));
    let daemon = home.ready();
    let caller = bus.caller();
    let bad = "org.freedesktop.DBus.Error";
    let long = "x".repeat(100_000);
    for (answer, expected) in [
        (caller.call("Refresh", &("nobody", true)), "org.tokensink.Error.UnknownLogin".to_owned()),
        (caller.call("Refresh", &("../claude", true)), "org.tokensink.Error.UnknownLogin".to_owned()),
        (caller.call("Refresh", &(long.as_str(), false)), format!("{bad}.InvalidArgs")),
        (caller.call("Refresh", &"claude"), format!("{bad}.InvalidArgs")),
        (caller.call("Sync", &long), format!("{bad}.InvalidArgs")),
        (caller.call("Token", &()), format!("{bad}.UnknownMethod")),
        (caller.call_on("org.example.Other", "Sync", &()), format!("{bad}.UnknownInterface")),
        (caller.call_on(STANDARD[2], "Get", &(NAME, "Token")), format!("{bad}.UnknownProperty")),
        (
            caller.call_on(STANDARD[2], "Set", &(NAME, "Overall", Variant::from("x"))),
            format!("{bad}.PropertyReadOnly"),
        ),
    ] {
        assert_eq!(error_name(answer), expected);
    }

    home.rest();
    let (mark, lock) = (home.mark(), home.path(&format!("{STATE}/pass.lock")));
    let passes = |mark| home.touched(mark, &lock, EventMask::MODIFY);
    // Truncated and written: what one pass is worth in events.
    caller.call("Sync", &()).unwrap();
    home.rest();
    let one = passes(mark).max(1);
    let mark = home.mark();
    let answers = caller.runtime.block_on(async {
        let call = |_| caller.connection.call_method(Some(NAME), PATH, Some(NAME), "Sync", &());
        futures_util::future::join_all((0..300).map(call)).await
    });
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(served >= 1, "{answers:?}");
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(error_name(refused), "org.tokensink.Error.Busy");
    }
    home.rest();
    let made = passes(mark) / one;
    assert!(made <= 8 + served / 2, "{made} passes for {served} calls");
    // It lives, and follows as before.
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));
    daemon.stop();
    home.finish();
}

#[test]
fn signals_tell_what_a_turn_brought_and_no_token_is_on_the_bus() {
    let home = staged();
    let bus = Bus::start_at(&socket(&home));
    let recording = home.root().join("recording");
    let mut monitor = bus.monitor(&recording);
    let recorded = |text: &str| fs::read_to_string(&recording).unwrap_or_default().contains(text);
    home.until("the monitor listens", || recorded("NameLost") || recorded("NameAcquired"));
    let daemon = home.ready();
    let caller = bus.caller();

    home.rotate(&Login::nth(2));
    home.until("the rotation is told", || recorded("member=Rotated"));
    fs::remove_file(home.credentials()).unwrap();
    home.until("the finding is told", || recorded("member=FindingRaised") && recorded("string \"MISSING\""));
    home.until("the property follows", || caller.property("Overall") == "missing");
    home.rotate(&Login::nth(3));
    home.until("its end is told", || recorded("member=FindingCleared"));
    home.until("the property follows", || caller.property("Overall") == "ok");
    home.until_sinks_hold(&Login::nth(3));
    caller.status();
    let _ = caller.call("Refresh", &("claude", false)).unwrap();
    home.until("all is recorded", || recorded("member=Refresh"));
    daemon.stop();
    let _ = monitor.kill();
    let _ = monitor.wait();
    let recording = fs::read_to_string(&recording).unwrap();
    assert!(recording.contains("member=PropertiesChanged") && recording.contains("string \"Headline\""));
    assert!(!recording.contains(CANARY), "a token was on the bus");
    // The record has what the signals said.
    let history = home.run(&["history", "--json"]).json();
    let events: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    for event in ["rotated", "raised", "cleared", "written", "started", "stopped"] {
        assert!(events.contains(&event), "{event}: {events:?}");
    }
    home.finish();
}

#[test]
fn a_name_that_somebody_else_has_is_a_notice_until_it_is_free() {
    let home = staged();
    let bus = Bus::start_at(&socket(&home));
    let other = bus.caller();
    other.runtime.block_on(other.connection.request_name(NAME)).unwrap();
    let daemon = home.ready();
    let (_, line) = home.until_said(daemon.from, "BUS_NAME_TAKEN");
    assert!(line.contains("INFO"), "a notice: {line}");
    let codes = |home: &Home| home.run(&["status", "--json"]).json()["findings"].to_string();
    assert!(codes(&home).contains("BUS_NAME_TAKEN"));
    assert_eq!(home.run(&["status", "--check"]).code, 0);
    // A command's own pass knows nothing of it, and clears nothing.
    assert_eq!(home.run(&["sync"]).code, 0);
    assert!(codes(&home).contains("BUS_NAME_TAKEN"));
    other.runtime.block_on(other.connection.release_name(NAME)).unwrap();
    home.until_said(daemon.from, "BUS_NAME_TAKEN org.tokensink.Daemon1 is resolved");
    assert_eq!(other.property("Overall"), "ok");
    assert!(!codes(&home).contains("BUS_NAME_TAKEN"));
    daemon.stop();
    home.finish();
}

#[test]
fn without_a_bus_it_works_and_it_comes_to_one_that_appears_or_comes_back() {
    let home = Home::new();
    home.configure(&home.three_sinks("[daemon]\npoll = \"1s\"\n"));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.rotate(&Login::nth(2));
    home.until("the sinks follow", || home.sinks_hold(&Login::nth(2)));
    let findings = home.run(&["status", "--json"]).json()["findings"].as_array().unwrap().clone();
    assert!(findings.iter().all(|finding| finding["code"] == "DUPLICATE_FAMILY"), "quietly: {findings:?}");
    for generation in [3, 4] {
        let _ = fs::remove_file(socket(&home));
        let bus = Bus::start_at(&socket(&home));
        let caller: Caller = bus.caller();
        home.until("the daemon is on the bus", || caller.is_served());
        assert_eq!(caller.property("Overall"), "ok");
        home.rotate(&Login::nth(generation));
        home.until("the sinks follow", || home.sinks_hold(&Login::nth(generation)));
    }
    home.rotate(&Login::nth(5));
    home.until("the sinks follow without it", || home.sinks_hold(&Login::nth(5)));
    daemon.stop();
    home.finish();
}
