//! When a gateway is made to follow, by a scripted clock: single rules, and what holds whatever the
//! gateway says and whenever its sinks change.

use proptest::prelude::*;

use super::*;
use crate::base::id::GatewayId;
use crate::core::memory::Failure;

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn at(s: i64) -> Timestamp {
    Timestamp::from_millis(s * 1000)
}

fn desired(apply: ApplyRule, min_interval: Duration) -> DesiredGateway {
    let id = GatewayId::try_new("claw").unwrap();
    DesiredGateway { id, sinks: Vec::new(), kind: "unit", apply, min_interval, is_heard: false }
}

fn auto() -> DesiredGateway {
    desired(ApplyRule::WhenNeeded, TEN_MINUTES)
}

fn changed(force: Force, since: i64, last: Option<i64>, ends: Option<i64>) -> GatewayMemory {
    let mut memory = GatewayMemory { restarted_at: last.map(at), ..GatewayMemory::default() };
    memory.note_change(at(since), ends.map(at), force);
    memory
}

/// A gateway whose reload failed that often, the last time at `now`.
fn failing(attempts: u32, now: i64, ends: Option<i64>) -> GatewayMemory {
    let mut memory = changed(Force::Reload, 100, None, ends);
    memory.failure = Some(Failure::new(Code::NotConverged, "why", "next"));
    let pending = memory.pending.as_mut().unwrap();
    pending.attempts = attempts;
    pending.not_before = Some(at(now).after(backoff(attempts)));
    memory
}

#[test]
fn the_first_restart_is_due_at_once_and_the_next_one_waits_for_the_interval() {
    let due = |memory: &GatewayMemory| due_at(memory, &auto());
    assert_eq!(due(&changed(Force::Restart, 100, None, None)), Some(at(100)));
    assert_eq!(due(&changed(Force::Restart, 100, Some(50), None)), Some(at(650)));
    assert_eq!(due(&changed(Force::Restart, 1000, Some(50), None)), Some(at(1000)));
    assert_eq!(due(&GatewayMemory::default()), None);
}

#[test]
fn the_interval_never_delays_a_restart_past_the_end_of_the_token_in_use() {
    let due = |ends| due_at(&changed(Force::Restart, 100, Some(50), Some(ends)), &auto());
    assert_eq!(due(300), Some(at(300)));
    assert_eq!(due(20), Some(at(100)), "already over");
}

#[test]
fn a_reload_waits_for_no_interval() {
    assert_eq!(due_at(&changed(Force::Reload, 100, Some(50), None), &auto()), Some(at(100)));
}

#[test]
fn a_busy_gateway_is_asked_less_and_less_often_and_not_past_the_end_of_its_token() {
    let mut memory = changed(Force::Restart, 0, None, Some(400));
    let mut asked = Vec::new();
    let mut now = at(0);
    while waits_for_idle(&memory, now) {
        asked.push(now.as_millis() / 1000);
        note_busy(memory.pending.as_mut().unwrap(), now);
        now = due_at(&memory, &auto()).unwrap();
    }
    assert_eq!(asked, [0, 5, 15, 35, 75, 155, 275, 395]);
    assert_eq!(now, at(400), "then it is restarted whatever it says");
}

#[test]
fn a_change_that_joins_a_busy_gateway_does_not_make_it_be_asked_more_often() {
    let mut memory = changed(Force::Restart, 0, None, Some(4000));
    for now in [0, 5, 15] {
        note_busy(memory.pending.as_mut().unwrap(), at(now));
    }
    memory.note_change(at(20), Some(at(9000)), Force::Restart);
    assert_eq!(due_at(&memory, &auto()), Some(at(35)));
    assert!(
        waits_for_idle(&memory, at(3999)) && !waits_for_idle(&memory, at(4000)),
        "its token is the old one"
    );
}

#[test]
fn a_gateway_whose_token_has_no_known_end_is_waited_for_eight_hours() {
    let mut memory = changed(Force::Restart, 0, None, None);
    note_busy(memory.pending.as_mut().unwrap(), at(0));
    memory.note_change(at(5000), None, Force::Restart);
    assert!(waits_for_idle(&memory, at(8 * 3600 - 1)) && !waits_for_idle(&memory, at(8 * 3600)));
}

#[test]
fn a_reload_that_keeps_failing_becomes_a_restart_two_minutes_before_the_token_ends() {
    let memory = failing(3, 150, Some(1000));
    assert_eq!(due_at(&memory, &auto()), Some(at(190)), "until then it is tried on");
    assert_eq!(force_at(&memory, &auto(), at(190)), Some(Force::Reload));
    let memory = failing(7, 800, Some(1000));
    assert_eq!(due_at(&memory, &auto()), Some(at(880)), "not as late as its backoff");
    assert_eq!(force_at(&memory, &auto(), at(880)), Some(Force::Restart));
}

#[test]
fn what_a_restart_would_not_help_or_is_for_reloads_only_never_becomes_one() {
    let late = at(5000);
    assert_eq!(force_at(&failing(2, 150, Some(1000)), &auto(), late), Some(Force::Reload));
    assert_eq!(force_at(&failing(9, 150, None), &auto(), late), Some(Force::Reload));
    let reload_only = desired(ApplyRule::Always(Force::Reload), TEN_MINUTES);
    assert_eq!(force_at(&failing(9, 150, Some(1000)), &reload_only, late), Some(Force::Reload));
    for then in [Then::Down, Then::Unresolved] {
        let mut other = failing(9, 150, Some(1000));
        other.failure = other.failure.map(|failure| failure.meaning(then));
        assert_eq!(force_at(&other, &auto(), late), Some(Force::Reload), "{then:?}");
    }
}

#[test]
fn a_restart_in_place_of_a_reload_keeps_the_interval_even_when_the_token_is_over() {
    let mut memory = failing(9, 1100, Some(1000));
    memory.restarted_at = Some(at(900));
    assert_eq!(force_at(&memory, &auto(), at(1499)), Some(Force::Reload));
    assert_eq!(due_at(&memory, &auto()), Some(at(1500)));
    assert_eq!(force_at(&memory, &auto(), at(1500)), Some(Force::Restart));
}

#[test]
fn a_failed_reload_is_a_warning_while_the_old_token_is_good_and_critical_after() {
    let severity = |memory: &GatewayMemory, now| not_converged(memory, &auto(), at(now)).map(|(_, s, _)| s);
    let failed = failing(1, 150, Some(1000));
    assert_eq!(severity(&failed, 200), Some(Severity::Warning));
    assert_eq!(severity(&failed, 880), Some(Severity::Critical));
    assert_eq!(severity(&failing(1, 150, None), 200), Some(Severity::Critical), "no end is known");
    for (then, expected) in [
        (Then::Down, Severity::Notice),
        (Then::Unresolved, Severity::Warning),
        (Then::Unproven, Severity::Critical),
    ] {
        let mut memory = failed.clone();
        memory.failure = memory.failure.map(|failure| failure.meaning(then));
        assert_eq!(severity(&memory, 200), Some(expected), "{then:?}");
    }
    let mut settled = failed.clone();
    settled.pending = None;
    assert_eq!(severity(&settled, 5000), Some(Severity::Warning));
}

#[test]
fn a_change_that_neither_arrives_nor_fails_is_a_finding_after_a_quarter_of_an_hour() {
    let memory = changed(Force::Reload, 100, None, Some(8000));
    let found = |now| not_converged(&memory, &auto(), at(now)).map(|(code, severity, _)| (code, severity));
    assert_eq!(found(999), None);
    assert_eq!(found(1000), Some((Code::NotConverged, Severity::Warning)));
    assert_eq!(found(7880), Some((Code::NotConverged, Severity::Critical)));
    let mut applied = memory.clone();
    applied.note_applied(at(100));
    assert_eq!(not_converged(&applied, &auto(), at(9000)), None);
    // What waits for its interval is not late.
    let waiting = changed(Force::Restart, 100, Some(90), Some(8000));
    assert_eq!(not_converged(&waiting, &desired(ApplyRule::WhenNeeded, TEN_MINUTES * 6), at(3000)), None);
}

#[test]
fn a_command_that_fails_waits_longer_each_time_but_never_with_another_generation() {
    let key = crate::base::fingerprint::FingerprintKey::new([1; 32]);
    let (one, two) = (key.of_parts(&[b"1"]), key.of_parts(&[b"2"]));
    let mut memory = TargetMemory::default();
    assert_eq!(delivery_due_at(Some(&memory), &one), None);
    note_undelivered(&mut memory, &one, at(100));
    assert_eq!(delivery_due_at(Some(&memory), &one), Some(at(110)));
    note_undelivered(&mut memory, &one, at(110));
    assert_eq!(delivery_due_at(Some(&memory), &one), Some(at(130)));
    assert_eq!(delivery_due_at(Some(&memory), &two), None);
    note_undelivered(&mut memory, &two, at(130));
    assert_eq!(delivery_due_at(Some(&memory), &two), Some(at(140)));
}

#[test]
fn failed_attempts_wait_longer_each_time_up_to_a_quarter_of_an_hour() {
    let waits: Vec<u64> = [1, 2, 3, 8, 40].into_iter().map(|n| backoff(n).as_secs()).collect();
    assert_eq!(waits, [10, 20, 40, 900, 900]);
}

proptest! {
    /// However busy it is, however often its sinks change: one restart, not before it is due by the
    /// interval or idle, and at the end of the token that it had before the first change at the latest.
    #[test]
    fn a_restart_is_one_and_never_late(
        last in proptest::option::of(0_i64..2000),
        ends in 1000_i64..20_000,
        more in proptest::collection::vec(1001_i64..20_000, 0..6),
        idle_from in 0_i64..30_000,
    ) {
        let mut memory = changed(Force::Restart, 1000, last, Some(ends));
        let mut more = more;
        more.sort_unstable();
        let mut more = more.into_iter().peekable();
        let mut asked = Vec::new();
        let restarted = loop {
            let now = due_at(&memory, &auto()).unwrap();
            if let Some(change) = more.next_if(|change| at(*change) < now) {
                memory.note_change(at(change), Some(at(90_000)), Force::Restart);
                continue;
            }
            if waits_for_idle(&memory, now) && now < at(idle_from) {
                asked.push(now);
                note_busy(memory.pending.as_mut().unwrap(), now);
                continue;
            }
            break now;
        };
        prop_assert!(restarted <= at(ends.max(1000)), "{restarted:?}");
        prop_assert!(restarted >= at(idle_from).min(at(ends)));
        // 5, 10, 20, 40, 80 s, then every two minutes: nobody polls.
        let most = 6 + usize::try_from(ends / 120).unwrap();
        prop_assert!(asked.len() <= most, "{} questions", asked.len());
        prop_assert!(asked.windows(2).all(|pair| pair[0] < pair[1]));
    }

    /// A reload that fails for ever is tried on, becomes a restart only when the token is about to end,
    /// and never twice within the interval.
    #[test]
    fn a_failing_reload_is_restarted_late_and_seldom(ends in 200_i64..50_000, last in proptest::option::of(0_i64..40_000)) {
        let gateway = auto();
        let mut memory = changed(Force::Reload, 100, last, Some(ends));
        let mut tried = 0;
        let mut now = at(0);
        let restarted = loop {
            now = now.max(due_at(&memory, &gateway).unwrap());
            if force_at(&memory, &gateway, now) == Some(Force::Restart) {
                break now;
            }
            tried += 1;
            prop_assert!(tried < 1000, "it ends");
            memory.failure = Some(Failure::new(Code::NotConverged, "why", ""));
            let pending = memory.pending.as_mut().unwrap();
            pending.attempts += 1;
            pending.not_before = Some(now.after(backoff(pending.attempts)));
        };
        prop_assert!(tried >= 3);
        prop_assert!(restarted >= at(ends - 120));
        prop_assert!(last.is_none_or(|last| restarted >= at(last + 600)));
        let prompt = [at(ends - 120), at(100 + 30)].into_iter().chain(last.map(|last| at(last + 600))).max().unwrap();
        prop_assert_eq!(restarted, prompt);
    }
}
