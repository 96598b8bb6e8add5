//! Due times, their spread, jumps of the clock, and who makes way for whom.

use super::*;
use crate::base::credential::Identity;
use crate::base::fingerprint::FingerprintKey;
use crate::base::secret::Secret;
use crate::base::time::ClockReading;
use crate::core::clock::Standing;
use crate::core::memory::{GenerationRecord, Memory};
use crate::core::refresh::{Ended, Outcome};

const HOUR: i64 = 3_600_000;
const NOON: Timestamp = Timestamp::from_millis(1_795_176_000_000);

fn key() -> FingerprintKey {
    FingerprintKey::new([7; FingerprintKey::LEN])
}

fn credential(number: u32, expires_at: Timestamp) -> Credential {
    Credential {
        access: Secret::new(format!("sk-ant-oat01-{number}")),
        refresh: Some(Secret::new(format!("sk-ant-ort01-{number}"))),
        expires_at: Some(expires_at),
        login_deadline: None,
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

fn decide(credential: &Credential, known: &LoginMemory, rules: Rules, clock: &Judgement) -> Step {
    step(&Facts {
        source: Some((credential, &key().generation(credential))),
        refresh: credential.refresh.as_ref().map(|t| key().fingerprint(t)).as_ref(),
        known: Some(known),
        unfinished: None,
        rules: Ok(rules),
        clock,
        asks_at: clock.is_open().then_some(clock.now),
    })
}

/// A login whose generations were seen at these times, each with a lifetime of eight hours.
fn lineage(seen: &[i64]) -> (LoginMemory, Credential) {
    let mut known = LoginMemory::default();
    let mut newest = credential(0, NOON);
    for (number, at) in seen.iter().enumerate() {
        newest = credential(u32::try_from(number).unwrap(), NOON.moved(at + 8 * HOUR));
        known.remember(GenerationRecord::of(&newest, &key(), &Judgement::steady(NOON.moved(*at))), None);
    }
    (known, newest)
}

/// How long before its end this login is due, in seconds, as looked at when it was fresh.
fn lead(provider: Provider, way: Way, number: u32, lifetime: i64) -> i64 {
    let ends = NOON.moved(lifetime);
    let credential = credential(number, ends);
    let mut known = LoginMemory::default();
    known.remember(GenerationRecord::of(&credential, &key(), &Judgement::steady(NOON)), None);
    let rules = rules(provider, way, None, 12);
    match decide(&credential, &known, rules, &Judgement::steady(NOON)) {
        Step::Wait(at) => ends.millis_from(at) / 1000,
        other => panic!("{other:?}"),
    }
}

#[test]
fn due_times_are_spread_within_what_the_margin_allows() {
    let leads = |provider, way, lifetime| {
        let all: Vec<i64> = (0..200).map(|n| lead(provider, way, n, lifetime)).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    };
    let (latest, earliest) = leads(Provider::Claude, Way::Cli, 8 * HOUR);
    assert!(latest >= 210 && earliest <= 240, "inside the CLI's last five minutes: {latest}..{earliest}");
    assert!(earliest - latest > 20, "spread: {latest}..{earliest}");
    let (latest, earliest) = leads(Provider::Claude, Way::Direct, 8 * HOUR);
    assert!(latest >= 1200 && earliest <= 1320 && earliest - latest > 100, "{latest}..{earliest}");
    let (latest, earliest) = leads(Provider::Codex, Way::Direct, 240 * HOUR);
    assert!(latest >= 86_400 && earliest <= 95_040 && earliest - latest > 8000, "{latest}..{earliest}");
    let (latest, earliest) = leads(Provider::Codex, Way::Direct, 2 * HOUR);
    assert!(latest >= 3600 && earliest <= 3960, "half of a short life: {latest}..{earliest}");
    assert_eq!(lead(Provider::Claude, Way::Cli, 5, 8 * HOUR), lead(Provider::Claude, Way::Cli, 5, 8 * HOUR));
}

#[test]
fn a_jump_that_would_make_a_login_due_asks_and_without_an_answer_spends_nothing() {
    let (known, newest) = lineage(&[0]);
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    for by in [12 * HOUR, 400 * 24 * HOUR] {
        let jumped =
            Judgement { now: NOON.moved(HOUR), wall: NOON.moved(HOUR + by), standing: Standing::Jumped };
        assert_eq!(decide(&newest, &known, rules, &jumped), Step::AskTime);
        let unanswered = step(&Facts {
            source: Some((&newest, &key().generation(&newest))),
            refresh: Some(&key().fingerprint(newest.refresh.as_ref().unwrap())),
            known: Some(&known),
            unfinished: None,
            rules: Ok(rules),
            clock: &jumped,
            asks_at: Some(NOON.moved(2 * HOUR)),
        });
        assert_eq!(unanswered, Step::Wait(NOON.moved(2 * HOUR)), "asked again then");
        let wrong = Judgement { standing: Standing::Wrong, ..jumped };
        assert!(matches!(decide(&newest, &known, rules, &wrong), Step::Wait(_)));
    }
    // Nothing is asked where both clocks agree about what is to be done.
    let early = Judgement { now: NOON.moved(HOUR), wall: NOON.moved(3 * HOUR), standing: Standing::Jumped };
    assert!(matches!(decide(&newest, &known, rules, &early), Step::Wait(_)));
    let late =
        Judgement { now: NOON.moved(8 * HOUR), wall: NOON.moved(30 * HOUR), standing: Standing::Jumped };
    assert_eq!(decide(&newest, &known, rules, &late), Step::Refresh);
}

#[test]
fn an_expiry_is_read_by_the_clock_that_it_was_written_with() {
    // The wall clock is three hours ahead, and known to be; a refresh made then is due in time.
    let wrong = |at: i64| Judgement {
        now: NOON.moved(at),
        wall: NOON.moved(at + 3 * HOUR),
        standing: Standing::Wrong,
    };
    let newest = credential(1, NOON.moved(11 * HOUR));
    let mut known = LoginMemory::default();
    known.remember(GenerationRecord::of(&newest, &key(), &wrong(0)), None);
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    assert!(matches!(decide(&newest, &known, rules, &wrong(7 * HOUR)), Step::Wait(_)));
    assert_eq!(decide(&newest, &known, rules, &wrong(8 * HOUR - 1_200_000)), Step::Refresh);
    // Told anew that it jumped: nothing to ask, the expiry was written by that very clock.
    let jumped = Judgement { standing: Standing::Jumped, ..wrong(6 * HOUR) };
    assert!(matches!(decide(&newest, &known, rules, &jumped), Step::Wait(_)));
    // Set right in between: the same moment.
    assert_eq!(
        decide(&newest, &known, rules, &Judgement::steady(NOON.moved(8 * HOUR - 1_200_000))),
        Step::Refresh
    );
}

#[test]
fn a_clock_that_was_wrong_from_the_start_is_made_up_for_when_a_server_tells() {
    let reading = |ms: i64, wall: Timestamp| ClockReading {
        boot: "a".into(),
        boottime: Duration::from_millis(ms.unsigned_abs()),
        wall,
    };
    // Three hours ahead: the refresh at NOON was dated 15:00 and its end 23:00.
    let mut memory = Memory::default();
    let first = reading(HOUR, NOON.moved(3 * HOUR));
    memory.clock.note(&first);
    let id = crate::base::id::LoginId::try_new("claude").unwrap();
    let newest = credential(1, NOON.moved(11 * HOUR));
    let login = memory.logins.entry(id.clone()).or_default();
    let clock = memory.clock.judge(&first);
    login.remember(GenerationRecord::of(&newest, &key(), &clock), None);
    let outcome = Outcome {
        ended: Ended::Failed,
        refresh: key().of_parts(&[]),
        is_spent: true,
        wait: None,
        clock_ahead: Some(3 * HOUR),
        detail: String::new(),
    };
    login.refresh.note(&outcome, clock.now);
    memory.confirm_clock(&first, 3 * HOUR);
    let login = &memory.logins[&id];
    assert_eq!(login.refresh.last_at, Some(NOON));
    assert_eq!(login.newest().unwrap().seen_at, NOON);
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    let late = memory.clock.judge(&reading(9 * HOUR, NOON.moved(11 * HOUR)));
    assert_eq!((late.now, late.standing), (NOON.moved(8 * HOUR), Standing::Wrong));
    assert_eq!(decide(&newest, login, rules, &late), Step::Refresh, "the end has come, in truth");
}

#[test]
fn a_source_that_went_back_to_a_replaced_token_spends_nothing() {
    let (known, _) = lineage(&[0, 7 * HOUR]);
    let older = credential(0, NOON.moved(8 * HOUR));
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    let late = Judgement::steady(NOON.moved(20 * HOUR));
    assert_eq!(decide(&older, &known, rules, &late), Step::Rest("the source holds an older generation"));
}

#[test]
fn an_answer_on_record_is_stored_also_where_the_cli_has_blanked_the_source() {
    let clock = Judgement::steady(NOON);
    let facts = Facts {
        source: None,
        refresh: None,
        known: None,
        unfinished: Some(Unfinished::Answered),
        rules: Err(NoWay::CliMissing),
        clock: &clock,
        asks_at: None,
    };
    assert_eq!(step(&facts), Step::Resolve);
    let nothing = Facts { unfinished: None, ..facts };
    assert!(matches!(step(&nothing), Step::Rest(_)));
}

#[test]
fn a_login_that_the_cli_keeps_fresh_is_left_to_it_and_one_that_we_keep_is_not() {
    let (kept, newest) = lineage(&[0, 7 * HOUR, 14 * HOUR]);
    assert!(is_kept_by_others(Some(&kept)));
    let (short, _) = lineage(&[0, 7 * HOUR]);
    assert!(!is_kept_by_others(Some(&short)), "once is not yet a habit");
    let (late, _) = lineage(&[0, 7 * HOUR, 16 * HOUR]);
    assert!(!is_kept_by_others(Some(&late)), "it came when the token was over");
    let mut ours = kept.clone();
    ours.note_made(key().generation(&newest));
    assert!(!is_kept_by_others(Some(&ours)));

    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    let ends = NOON.moved(22 * HOUR);
    let clock = Judgement::steady(ends.moved(-360_000));
    assert_eq!(decide(&newest, &kept, rules, &clock), Step::Refresh);
    let yields = yielding(rules, Provider::Claude);
    assert!(matches!(decide(&newest, &kept, yields, &clock),
            Step::Wait(at) if at >= ends.moved(-120_000) && at <= ends.moved(-105_000)));
    assert_eq!(yielding(rules, Provider::Codex), rules);
}

#[test]
fn the_tick_bounds_the_rest_between_two_looks() {
    let hours = |h: u64| Duration::from_secs(h * 3600);
    let minute = Duration::from_secs(60);
    assert_eq!(longest_rest(minute, [hours(6)].into_iter()), minute);
    assert_eq!(longest_rest(hours(24), [hours(6), hours(2)].into_iter()), hours(2));
    assert_eq!(longest_rest(hours(24), std::iter::empty()), hours(24));
}

/// A login of eight hours whose endpoint answers like this for a day, from the due time on: the requests.
fn day_of(outcome: impl Fn(Fingerprint) -> Outcome) -> (Vec<Timestamp>, LoginMemory, Credential) {
    let (mut known, newest) = lineage(&[0]);
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    let token = key().fingerprint(newest.refresh.as_ref().unwrap());
    let (mut now, mut sent) = (NOON, Vec::new());
    while now < NOON.moved(32 * HOUR) {
        match decide(&newest, &known, rules, &Judgement::steady(now)) {
            Step::Refresh => {
                sent.push(now);
                known.refresh.note(&outcome(token.clone()), now);
            }
            Step::Wait(at) => {
                assert!(at > now, "time passes");
                now = at;
            }
            other => panic!("{other:?}"),
        }
    }
    (sent, known, newest)
}

#[test]
fn who_is_refused_at_the_door_waits_four_hours() {
    assert_eq!(crate::core::refresh::blocked_wait(), Duration::from_secs(4 * 3600));
}

#[test]
fn a_day_of_429_is_a_few_requests_each_later_than_the_one_before_and_no_login_lost() {
    let throttled = |wait| {
        move |refresh| Outcome {
            ended: Ended::Failed,
            refresh,
            is_spent: false,
            wait,
            clock_ahead: None,
            detail: "429".to_owned(),
        }
    };
    let (sent, known, newest) = day_of(throttled(None));
    let waits: Vec<i64> = sent.windows(2).map(|pair| pair[1].millis_from(pair[0]) / 60_000).collect();
    assert_eq!(waits[..7], [1, 2, 4, 8, 16, 32, 60], "minutes");
    assert!(waits[6..].iter().all(|wait| *wait == 60) && (28..=34).contains(&sent.len()), "{waits:?}");
    // Where the server says how long, that is kept.
    let (patient, ..) = day_of(throttled(Some(Duration::from_secs(6 * 3600))));
    assert!((4..=5).contains(&patient.len()), "{patient:?}");
    assert!(patient.windows(2).all(|pair| pair[1].millis_from(pair[0]) == 6 * HOUR));
    // The token was never judged: the day after it is sent once more, and the budget is whole.
    let after = Judgement::steady(sent.last().unwrap().moved(HOUR));
    assert_eq!((known.refresh.stopped.as_ref(), known.refresh.requests.len()), (None, 0));
    let rules = rules(Provider::Claude, Way::Direct, None, 12);
    assert_eq!(decide(&newest, &known, rules, &after), Step::Refresh);
}
