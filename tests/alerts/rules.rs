//! The rules as a table of sentences, and what holds for every script.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokensink::base::code::{Code, Finding, Severity};
use tokensink::base::id::{GatewayId, LoginId, SinkId};
use tokensink::base::time::Timestamp;
use tokensink::core::alert::Event;
use tokensink::core::alert::memory::AlertMemory;
use tokensink::core::model::{Desired, DesiredGateway, DesiredSink};

use super::script::{ALWAYS, Bench, DAY, START, WORST};

/// A sentence, a script, and what the channel ntfy is told.
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 3600);
const TABLE: &[(&str, &str, &str)] = &[
    (
        "a dead login is told at once, again every day, and resolved once",
        "10s + LOGIN_NEEDED claude critical
         60h - LOGIN_NEEDED claude
         90h stop",
        "10s raised LOGIN_NEEDED claude
         1day10s reminder LOGIN_NEEDED claude
         2days10s reminder LOGIN_NEEDED claude
         2days12h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "a restart of the daemon tells nothing twice and loses no resolved",
        "0s + LOGIN_NEEDED claude critical
         1h restart
         2h restart
         3h - LOGIN_NEEDED claude
         3h restart
         90h stop",
        "0s raised LOGIN_NEEDED claude
         3h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "a warning that settles within a minute needs nobody",
        "0s + NOT_CONVERGED claw warning
         59s - NOT_CONVERGED claw
         2h + NOT_CONVERGED claw warning
         3h - NOT_CONVERGED claw
         4h stop",
        "2h1m raised NOT_CONVERGED claw
         3h3s resolved NOT_CONVERGED claw",
    ),
    (
        "a notice is told to nobody",
        "0s + DUPLICATE_FAMILY env notice
         50h - DUPLICATE_FAMILY env
         90h stop",
        "",
    ),
    (
        "what gets worse is told at once whatever was told before",
        "0s + NOT_CONVERGED claw warning
         2m + NOT_CONVERGED claw critical
         3m + LOGIN_NEEDED claude critical
         4m stop",
        "1m raised NOT_CONVERGED claw
         2m worse NOT_CONVERGED claw
         3m raised LOGIN_NEEDED claude",
    ),
    (
        "what is only a notice now is over",
        "0s + NOT_CONVERGED claw critical
         1h + NOT_CONVERGED claw notice
         2h stop",
        "0s raised NOT_CONVERGED claw
         1h3s resolved NOT_CONVERGED claw",
    ),
    (
        "what a dead login causes is told with it and not by itself",
        "0s + LOGIN_NEEDED claude critical
         0s + REFRESH_REFUSED claude warning LOGIN_NEEDED:claude
         2h - LOGIN_NEEDED claude
         2h - REFRESH_REFUSED claude
         3h stop",
        "0s raised LOGIN_NEEDED claude
         2h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "what is as bad as its cause is told with it as well",
        "0s + LOGIN_NEEDED claude critical
         0s + SINK_FAILED env critical LOGIN_NEEDED:claude
         2h - LOGIN_NEEDED claude
         2h - SINK_FAILED env
         3h stop",
        "0s raised LOGIN_NEEDED claude
         2h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "what was told before its cause came is not told again beside it, and resolved all the same",
        "0s + REFRESH_REFUSED claude warning LOGIN_NEEDED:claude
         2m + LOGIN_NEEDED claude critical
         30h - LOGIN_NEEDED claude
         30h - REFRESH_REFUSED claude
         31h stop",
        "1m raised REFRESH_REFUSED claude
         2m raised LOGIN_NEEDED claude
         1day2m reminder LOGIN_NEEDED claude
         1day6h3s resolved LOGIN_NEEDED claude
         1day6h3s resolved REFRESH_REFUSED claude",
    ),
    (
        "what outlasts its cause is told when it stands alone",
        "0s + SECOND_WRITER env warning
         0s + CLOBBERED env warning SECOND_WRITER:env
         2h - SECOND_WRITER env
         3h - CLOBBERED env
         4h stop",
        "1m raised SECOND_WRITER env
         2h3s resolved SECOND_WRITER env
         2h1m raised CLOBBERED env
         3h3s resolved CLOBBERED env",
    ),
    (
        "a cause that is milder does not cover what is worse",
        "0s + SECOND_WRITER env warning
         0s + SINK_FAILED env critical SECOND_WRITER:env
         2m stop",
        "0s raised SINK_FAILED env
         1m raised SECOND_WRITER env",
    ),
    (
        "findings that cause each other are told both",
        "0s + SECOND_WRITER env warning CLOBBERED:env
         0s + CLOBBERED env warning SECOND_WRITER:env
         2m stop",
        "1m raised SECOND_WRITER env
         1m raised CLOBBERED env",
    ),
    (
        "one finding never mutes another",
        "0s + LOGIN_EXPIRING work warning
         0s end work 23h
         2m + LOGIN_NEEDED claude critical
         3m + HUSK codex critical
         4m stop",
        "1m raised LOGIN_EXPIRING work
         2m raised LOGIN_NEEDED claude
         3m raised HUSK codex",
    ),
    (
        "a login's end is told once for each step",
        "0s end claude 10d
         0s + LOGIN_EXPIRING claude warning
         10d - LOGIN_EXPIRING claude
         10d + LOGIN_NEEDED claude critical
         252h - LOGIN_NEEDED claude
         300h stop",
        "3days raised LOGIN_EXPIRING claude
         7days worse LOGIN_EXPIRING claude
         9days worse LOGIN_EXPIRING claude
         9days18h worse LOGIN_EXPIRING claude
         10days worse LOGIN_NEEDED claude
         10days12h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "several steps that are crossed at once are one alert",
        "0s end claude 5h
         0s + LOGIN_EXPIRING claude warning
         4h stop",
        "1m raised LOGIN_EXPIRING claude",
    ),
    (
        "steps that were slept through are one alert",
        "0s end claude 8d
         0s + LOGIN_EXPIRING claude warning
         25h ! ntfy
         185h ? ntfy
         187h stop",
        "1day raised LOGIN_EXPIRING claude
         7days17h6m27s worse LOGIN_EXPIRING claude
         7days18h worse LOGIN_EXPIRING claude",
    ),
    (
        "a login that got a new end before the old one is told by that",
        "0s end claude 20h
         0s + LOGIN_EXPIRING claude warning
         1h end claude 6d
         79h stop",
        "1m raised LOGIN_EXPIRING claude
         3days1h worse LOGIN_EXPIRING claude",
    ),
    (
        "a token that somebody renews for hours at a time is told once",
        "0s end claude 20h
         0s + LOGIN_EXPIRING claude warning
         15h end claude 20h
         30h end claude 20h
         45h end claude 20h
         60h end claude 20h
         75h end claude 20h
         90h end claude 20h
         105h stop",
        "1m raised LOGIN_EXPIRING claude
         14h worse LOGIN_EXPIRING claude",
    ),
    (
        "a login that is well again is resolved although it soon ends",
        "0s + LOGIN_NEEDED claude critical
         1h - LOGIN_NEEDED claude
         1h + LOGIN_EXPIRING claude warning
         1h end claude 20h
         2h stop",
        "0s raised LOGIN_NEEDED claude
         1h3s resolved LOGIN_NEEDED claude
         1h1m raised LOGIN_EXPIRING claude",
    ),
    (
        "one dead login is one alert, whatever its file shows",
        "0s + HUSK claude critical
         1h - HUSK claude
         1h + MISSING claude critical
         2h - MISSING claude
         2h + UNREADABLE claude critical
         3h - UNREADABLE claude
         4h stop",
        "0s raised HUSK claude
         3h3s resolved UNREADABLE claude",
    ),
    (
        "a flap of a second is nothing to tell once more",
        "0s + HUSK claude critical
         1h - HUSK claude
         3601s + HUSK claude critical
         2h - HUSK claude
         3h stop",
        "0s raised HUSK claude
         2h3s resolved HUSK claude",
    ),
    (
        "what comes and goes is told at once, resolved when it stays away for ten minutes",
        "0s + HUSK claude critical
         10s - HUSK claude
         20s + HUSK claude critical
         30s - HUSK claude
         40s + HUSK claude critical
         50s - HUSK claude
         60s + HUSK claude critical
         70s - HUSK claude
         80s + HUSK claude critical
         90s - HUSK claude
         2h stop",
        "0s raised HUSK claude
         13s resolved HUSK claude
         20s raised HUSK claude
         33s resolved HUSK claude
         40s raised HUSK claude
         11m30s resolved HUSK claude",
    ),
    (
        "a channel that was away hears what is still so, and nothing of what is over",
        "0s ! ntfy
         1m + LOGIN_NEEDED claude critical
         2m + HUSK codex critical
         30m - HUSK codex
         6h ? ntfy
         7h - LOGIN_NEEDED claude
         8h stop",
        "6h7m27s raised LOGIN_NEEDED claude
         7h3s resolved LOGIN_NEEDED claude",
    ),
    (
        "a resolved that cannot be delivered is owed for three days",
        "0s + LOGIN_NEEDED claude critical
         1h ! ntfy
         2h - LOGIN_NEEDED claude
         48h ? ntfy
         49h stop",
        "0s raised LOGIN_NEEDED claude
         2days6m30s resolved LOGIN_NEEDED claude",
    ),
];

#[test]
fn every_sentence_of_the_table_holds() {
    let mut broken = Vec::new();
    for (sentence, script, expected) in TABLE {
        let bench = Bench::play(script);
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let found = bench.story("ntfy");
        if found != expected {
            broken.push(format!("{sentence}\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn one_finding_never_mutes_another() {
    let mut bench = Bench::new();
    let codes = Code::ALL.iter().filter(|code| **code != Code::AlertFailed);
    for (n, code) in codes.clone().enumerate() {
        bench.raise(Finding::new(*code, WORST, format!("subject-{n}"), "wrong"));
    }
    bench.settle();
    assert_eq!(bench.story("ntfy").len(), codes.count(), "each is told at the same moment");
}

#[test]
fn nothing_is_noted_before_it_was_delivered() {
    let mut bench = Bench::new();
    bench.broken.insert("ntfy".into());
    bench.raise(Finding::new(Code::LoginNeeded, WORST, "claude", "dead"));
    bench.until(START.after(DAY));
    assert!(bench.story("ntfy").is_empty() && bench.refused > 50, "{} tries", bench.refused);
    assert!(bench.refused < 110, "tries are paused: {}", bench.refused);
    let told = bench.memory.entry((Code::LoginNeeded, "claude")).unwrap();
    assert!(!told.channels.contains_key("ntfy:1") && told.channels.contains_key("webhook:1"));
    bench.broken.clear();
    bench.until(START.after(DAY + DAY / 24));
    assert_eq!(bench.story("ntfy").len(), 1, "the first delivery is the first alert");
    assert!(bench.memory.trouble.is_empty(), "and the end of the trouble");
}

#[test]
fn a_channel_that_fails_is_told_by_the_others_and_holds_up_none() {
    let mut bench = Bench::new();
    bench.broken.insert("ntfy".into());
    bench.raise(Finding::new(Code::LoginNeeded, WORST, "claude", "dead"));
    bench.until(START.after(Duration::from_secs(60)));
    assert_eq!(bench.story("webhook"), ["0s raised LOGIN_NEEDED claude"]);
    let trouble = bench.memory.trouble["ntfy:1"].finding().expect("three failures are a finding");
    assert_eq!((trouble.code, trouble.subject.as_str()), (Code::AlertFailed, "ntfy"));
    bench.raise(trouble);
    bench.until(START.after(Duration::from_secs(300)));
    assert_eq!(bench.story("webhook")[1..], ["2m raised ALERT_FAILED ntfy"]);
    bench.broken.clear();
    bench.until(START.after(Duration::from_secs(1300)));
    assert!(bench.memory.trouble.is_empty());
    assert_eq!(
        bench.told.iter().filter(|(_, name, _)| name == "ntfy").count(),
        2,
        "{:?}",
        bench.story("ntfy")
    );
    bench.clear(Code::AlertFailed, "ntfy");
    bench.until(START.after(Duration::from_secs(1400)));
    assert!(bench.story("webhook").last().unwrap().ends_with("resolved ALERT_FAILED ntfy"));
}

#[test]
fn a_channel_that_is_back_says_first_what_it_missed_and_then_that_it_was_away() {
    // Each time of its return is behind one failure more.
    for minutes in [20, 35, 50, 65] {
        let mut bench = Bench::new();
        bench.broken.insert("ntfy".into());
        bench.raise(Finding::new(Code::Husk, WORST, "claude", "dead"));
        bench.until(START.after(Duration::from_secs(60)));
        bench.clear(Code::Husk, "claude");
        bench.raise(bench.memory.trouble["ntfy:1"].finding().unwrap());
        bench.until(START.after(Duration::from_secs(300)));
        bench.raise(Finding::new(Code::NotConverged, Severity::Warning, "claw", "old token"));
        bench.until(START.after(Duration::from_secs(minutes * 60)));
        bench.broken.clear();
        bench.until(START.after(Duration::from_secs(7200)));
        let told = bench.story("ntfy");
        assert!(
            told[0].ends_with("NOT_CONVERGED claw") && told[1].ends_with("ALERT_FAILED ntfy"),
            "{told:?}"
        );
        assert_eq!(told.len(), 2);
    }
}

#[test]
fn a_message_that_is_always_refused_does_not_stand_before_the_others() {
    let mut bench = Bench { refuses: Some(Code::Husk), ..Bench::new() };
    bench.raise(Finding::new(Code::Husk, WORST, "claude", "dead"));
    bench.raise(Finding::new(Code::LoginNeeded, WORST, "codex", "dead"));
    bench.raise(Finding::new(Code::SinkFailed, Severity::Warning, "env", "full"));
    bench.until(START.after(Duration::from_secs(3600)));
    assert_eq!(bench.story("ntfy").len(), 2, "{:?}", bench.story("ntfy"));
}

#[test]
fn damaged_memory_and_future_stamps_mute_nothing() {
    let dead = || Finding::new(Code::LoginNeeded, WORST, "claude", "dead");
    for garbage in
        ["", "x", "[]", "{\"told\": 7}", "{\"told\":[{\"finding\":1}],\"trouble\":{\"a\":[]}}", "\u{0}"]
    {
        let (memory, is_damaged) = AlertMemory::read(garbage.as_bytes());
        assert!(is_damaged, "{garbage}");
        let mut bench = Bench { memory, ..Bench::new() };
        bench.raise(dead());
        bench.settle();
        assert_eq!(bench.story("ntfy"), ["0s raised LOGIN_NEEDED claude"], "{garbage}");
    }
    // Half of it is whole.
    let mut bench = Bench::new();
    bench.raise(dead());
    bench.raise(Finding::new(Code::Husk, WORST, "codex", "dead"));
    bench.settle();
    let mut document = serde_json::to_value(&bench.memory).unwrap();
    document["told"][0]["since"] = "yesterday".into();
    let (memory, is_damaged) = AlertMemory::read(document.to_string().as_bytes());
    assert!(is_damaged && memory.told.len() == 1);

    // The clock was ten years ahead when it was told, and while the channel failed.
    let mut bench = Bench::new();
    let future = 3650 * DAY;
    bench.now = START.after(future);
    bench.raise(dead());
    bench.settle();
    bench.now = START;
    bench.told.clear();
    bench.until(START.after(DAY + DAY / 2));
    assert_eq!(bench.story("ntfy"), ["1day reminder LOGIN_NEEDED claude"]);
    bench.memory.trouble.insert(
        "ntfy:1".into(),
        serde_json::from_value(
            serde_json::json!({"name": "ntfy", "failures": 1, "since": bench.now.after(future),
            "not_before": bench.now.after(future), "why": "", "is_lasting": false}),
        )
        .unwrap(),
    );
    bench.told.clear();
    bench.clear(Code::LoginNeeded, "claude");
    bench.until(START.after(2 * DAY));
    assert_eq!(bench.story("ntfy"), ["1day13h resolved LOGIN_NEEDED claude"], "a pause is an hour at most");
}

#[test]
fn an_alert_says_what_since_when_what_it_breaks_and_the_next_command() {
    let mut bench = Bench { desired: super::month::desired(), ..Bench::new() };
    let dead = Finding::new(Code::LoginNeeded, WORST, "claude", "the login has ended");
    bench.raise(dead.with_next("tokensink reauth claude"));
    let refused = Finding::new(Code::RefreshRefused, Severity::Warning, "claude", "answered invalid_grant");
    bench.raise(refused.with_cause(Code::LoginNeeded, "claude"));
    bench.now = START.after(Duration::from_secs(7500));
    bench.settle();
    let (_, _, message) = bench.told.iter().find(|(_, name, _)| name == "ntfy").unwrap();
    assert_eq!(message.title, "LOGIN_NEEDED claude on host");
    assert_eq!(
        message.body,
        "login claude (at work): the login has ended\n\
         since 2026-11-18T11:06:40Z (2h 5m)\n\
         breaks: sink env, gateway openclaw\n\
         with it: REFRESH_REFUSED claude: answered invalid_grant\n\
         next: tokensink reauth claude"
    );
    bench.open.clear();
    bench.until(START.after(Duration::from_secs(9000)));
    let (_, _, message) = bench.told.iter().rfind(|(_, name, _)| name == "ntfy").unwrap();
    assert_eq!(
        (message.title.as_str(), message.body.as_str()),
        ("resolved: LOGIN_NEEDED claude on host", "login claude (at work): over, after 2h 5m")
    );
    assert_eq!(message.event, Event::Resolved);
}

#[test]
fn what_a_finding_breaks_is_what_goes_without_a_token_because_of_it() {
    use tokensink::core::alert::words::breaks;
    let gateway = |id: &str, sinks: &[&str]| DesiredGateway {
        id: GatewayId::try_new(id).unwrap(),
        sinks: sinks.iter().map(|sink| SinkId::try_new(*sink).unwrap()).collect(),
        ..super::month::desired().gateways.remove(0)
    };
    let sink = |id: &str, login: &str| DesiredSink {
        id: SinkId::try_new(id).unwrap(),
        login: LoginId::try_new(login).unwrap(),
        ..super::month::desired().sinks.remove(0)
    };
    let desired = Desired {
        sinks: vec![sink("store", "claude"), sink("env", "claude"), sink("other", "codex")],
        gateways: vec![gateway("claw", &["other", "store"]), gateway("hub", &["env"]), gateway("idle", &[])],
        ..super::month::desired()
    };
    let of = |code, subject: &str| breaks(&desired, &Finding::new(code, WORST, subject, "made up"));
    let all = ["sink store", "sink env", "gateway claw", "gateway hub"];
    for code in [Code::LoginNeeded, Code::Husk, Code::AccountMismatch] {
        assert_eq!(of(code, "claude"), all, "{code}");
    }
    assert!(of(Code::RefreshRefused, "claude").is_empty(), "its token is good still");
    assert_eq!(of(Code::SinkFailed, "store"), ["gateway claw"]);
    assert_eq!(of(Code::SinkFailed, "store/main"), ["gateway claw"], "a target of it");
    assert_eq!(of(Code::SinkFailed, "env"), ["gateway hub"]);
    assert!(of(Code::SinkFailed, "unread").is_empty() && of(Code::SinkFailed, "other2/main").is_empty());
}

#[test]
fn a_text_is_cut_to_the_limit_and_no_shorter() {
    use tokensink::core::alert::words::clipped;
    assert_eq!(clipped("four", 4), "four");
    assert_eq!(clipped("more than four", 4), "m…");
    assert_eq!(clipped("äöü and more", 6), "ä…", "no letter is cut in two");
    assert_eq!(clipped("äöü", 2), "…", "nothing fits");
}

#[test]
fn text_of_others_cannot_break_a_line_or_grow_without_end() {
    let mut bench = Bench { desired: Desired::default(), ..Bench::new() };
    let summary = format!("a\r\nX-Evil: 1\u{1b}[2J{}", "x".repeat(100_000));
    bench.raise(Finding::new(Code::SinkFailed, WORST, "s\r\nTitle: y", summary));
    bench.settle();
    let (_, _, message) = &bench.told[0];
    assert!(!message.title.contains(['\r', '\n', '\u{1b}']), "{:?}", message.title);
    assert!(!message.body.contains(['\r', '\u{1b}']) && message.body.len() < 2000);
    assert_eq!(message.body.lines().count(), 2);
}

/// What may happen in a random script.
#[derive(Debug, Clone)]
enum Step {
    Raise(usize, Severity),
    Clear(usize),
    Break,
    Restart,
}

/// Findings of random scripts; the last one is caused by the first.
fn finding(n: usize, severity: Severity) -> Finding {
    match n {
        0 => Finding::new(Code::SecondWriter, severity, "env", "x"),
        1 => Finding::new(Code::LoginNeeded, severity, "claude", "x"),
        2 => Finding::new(Code::SinkFailed, severity, "env", "x"),
        _ => Finding::new(Code::Clobbered, severity, "env", "x").with_cause(Code::SecondWriter, "env"),
    }
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let severity = prop_oneof![Just(Severity::Notice), Just(Severity::Warning), Just(Severity::Critical)];
    let step = prop_oneof![
        4 => (0..4_usize, severity).prop_map(|(n, severity)| Step::Raise(n, severity)),
        3 => (0..4_usize).prop_map(Step::Clear),
        1 => Just(Step::Break),
        1 => Just(Step::Restart),
    ];
    let pause = prop_oneof![0_u64..5, 0_u64..120, 0_u64..7200, 0_u64..200_000];
    (pause, step)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_finding_is_told_twice_within_remind_and_each_is_resolved_once(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut bench = Bench::new();
        let mut now = START;
        for (pause, step) in steps {
            now = now.after(Duration::from_secs(pause));
            bench.until(now);
            // No channel is away for longer than a resolved is kept for it: what it missed is tried again before
            // it breaks anew.
            if !bench.broken.is_empty() {
                bench.broken.clear();
                now = now.after(LONGEST_PAUSE);
                bench.until(now);
            }
            match step {
                Step::Raise(n, severity) => bench.raise(finding(n, severity)),
                Step::Clear(n) => {
                    let gone = finding(n, Severity::Notice);
                    bench.clear(gone.code, &gone.subject);
                }
                Step::Break => drop(bench.broken.insert("ntfy".into())),
                Step::Restart => bench.restart(),
            }
            bench.settle();
        }
        bench.broken.clear();
        bench.open.clear();
        bench.until(now.after(2 * DAY));

        let mut known: BTreeMap<(String, Code, String), (Timestamp, Severity)> = BTreeMap::new();
        for (at, channel, message) in &bench.told {
            let key = (channel.clone(), message.code.unwrap(), message.subject.clone());
            prop_assert!(message.severity > Severity::Notice);
            match (message.event, known.get(&key).copied()) {
                (Event::Raised, None) => drop(known.insert(key, (*at, message.severity))),
                (Event::Worse, Some((_, before))) => {
                    prop_assert!(message.severity > before);
                    known.insert(key, (*at, message.severity));
                }
                (Event::Reminder, Some((last, before))) => {
                    prop_assert!(at.since(last) >= DAY && message.severity <= before);
                    known.insert(key, (*at, message.severity));
                }
                (Event::Resolved, Some(_)) => drop(known.remove(&key)),
                (event, before) => prop_assert!(false, "{event:?} after {before:?}"),
            }
        }
        prop_assert!(known.is_empty(), "each is resolved: {known:?}");
        // Both channels hear the same findings when nothing fails; the journal always does.
        prop_assert!(bench.told.iter().filter(|(_, name, _)| name == ALWAYS).count() >= bench.story("ntfy").len() / 4);
    }
}
