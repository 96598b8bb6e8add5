//! A gateway whose log says 401, by a scripted clock: what is done, and what never is.

use super::super::memory::{Failure, GenerationRecord, Then};
use super::super::model::{DesiredSink, ObservedTarget, Render, TargetContent, TargetId, TargetVerdict};
use super::*;
use crate::base::id::SinkId;

const LOGIN: &str = "claude";

/// One gateway with one sink, and a clock.
struct Scene {
    desired: Desired,
    observed: Observed,
    plan: Plan,
    memory: Memory,
    now: Timestamp,
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_millis(s * 1000)
}

fn login() -> LoginId {
    LoginId::try_new(LOGIN).unwrap()
}

fn claw() -> GatewayId {
    GatewayId::try_new("claw").unwrap()
}

fn generation(n: u32) -> Fingerprint {
    serde_json::from_value(format!("{n:016x}").into()).unwrap()
}

impl Scene {
    fn new(rule: ApplyRule, force: Force) -> Self {
        let sink = SinkId::try_new("s").unwrap();
        let id = TargetId { sink: sink.clone(), part: String::new() };
        let gateway = DesiredGateway {
            id: claw(),
            sinks: vec![sink.clone()],
            kind: "unit",
            apply: rule,
            min_interval: Duration::from_secs(600),
            is_heard: true,
        };
        let sinks =
            vec![DesiredSink { id: sink, login: login(), kind: "secret-file", render: Render::SecretFile }];
        let target = ObservedTarget {
            id: id.clone(),
            path: String::new(),
            content: TargetContent::Absent,
            beside: None,
            mode: None,
            form: None,
            template: None,
            force,
            needs_set_up: false,
            release: None,
            unused: None,
            shadows: Vec::new(),
        };
        let verdict = TargetVerdict { id, path: String::new(), state: TargetState::Current, code: None };
        let mut scene = Self {
            desired: Desired { sinks, gateways: vec![gateway], ..Desired::default() },
            observed: Observed { targets: vec![target], ..Observed::default() },
            plan: Plan { targets: vec![verdict], ..Plan::default() },
            memory: Memory::default(),
            now: at(1000),
        };
        scene.rotate(1);
        scene
    }

    /// A new generation is seen, and the sinks have it.
    fn rotate(&mut self, n: u32) {
        let record = GenerationRecord {
            generation: generation(n),
            access: generation(n),
            refresh: None,
            expires_at: Some(at(9_000_000)),
            seen_at: self.now,
            clock_ahead: 0,
            is_ours: true,
        };
        self.memory.logins.entry(login()).or_default().remember(record, None);
    }

    fn gateway(&mut self) -> &mut GatewayMemory {
        self.memory.gateways.entry(claw()).or_default()
    }

    /// The pending change was applied.
    fn applied(&mut self) {
        let now = self.now;
        let gateway = self.gateway();
        gateway.pending = None;
        gateway.last_action = LastAction::Restart;
        gateway.last_at = Some(now);
    }

    /// So many seconds later, so many lines are heard; what follows.
    fn hears(&mut self, later: i64, lines: u64) -> &'static str {
        self.now = self.now.moved(later * 1000);
        self.observed.refused =
            BTreeMap::from([(claw(), lines)]).into_iter().filter(|(_, n)| *n > 0).collect();
        let before = self.memory.clone();
        follow(&mut self.memory, &self.desired, &self.observed, &self.plan, self.now);
        let pending = |memory: &Memory| memory.gateways.get(&claw()).is_some_and(|g| g.pending.is_some());
        let wanted = |memory: &Memory| memory.logins[&login()].refresh.wanted.clone();
        match () {
            () if !pending(&before) && pending(&self.memory) => "apply",
            () if wanted(&before) != wanted(&self.memory) => "refresh",
            () if finding(&claw(), &self.memory).is_some() => "finding",
            () => "-",
        }
    }

    fn ended(&mut self) {
        self.memory.logins.get_mut(&login()).unwrap().refresh.wanted = None;
    }
}

#[test]
fn one_401_that_does_not_repeat_changes_nothing() {
    let mut scene = Scene::new(ApplyRule::WhenNeeded, Force::Restart);
    assert_eq!(scene.hears(0, 40), "-");
    assert_eq!(scene.hears(3, 40), "-", "one failure may be many lines");
    assert_eq!(scene.hears(8 * 3600, 0), "-");
    assert_eq!(scene.gateway().refusals, None, "and is forgotten");
    assert_eq!(scene.hears(0, 1), "-");
}

#[test]
fn a_gateway_follows_once_then_its_login_is_refreshed_once_then_it_is_told() {
    let mut scene = Scene::new(ApplyRule::WhenNeeded, Force::Restart);
    assert_eq!(scene.hears(0, 1), "-");
    assert_eq!(scene.hears(10, 1), "apply", "nothing proves that it uses this generation");
    assert_eq!(scene.hears(60, 9), "-", "its restart is pending");
    scene.applied();
    assert_eq!(scene.hears(2, 9), "-", "a request may have been under way");
    assert_eq!(scene.hears(10, 1), "refresh");
    assert_eq!(scene.memory.logins[&login()].refresh.wanted, Some(generation(1)));
    scene.ended();
    assert_eq!(scene.hears(60, 1), "-", "the refresh takes its time");
    scene.rotate(2);
    scene.applied();
    assert_eq!(scene.hears(5, 1), "-");
    assert_eq!(scene.hears(120, 1), "finding");
    let told = finding(&claw(), &scene.memory).unwrap();
    assert_eq!(
        (told.code, told.severity, told.next.as_str()),
        (Code::Unauthorized, Severity::Warning, "tokensink reauth claude")
    );
    // Whatever comes: neither a restart nor a refresh for that again.
    for _ in 0..500 {
        assert_eq!(scene.hears(30, 3), "finding");
    }
}

#[test]
fn a_gateway_that_has_proven_its_generation_is_not_restarted_for_it() {
    let mut scene = Scene::new(ApplyRule::WhenNeeded, Force::Restart);
    scene.applied();
    assert_eq!(scene.hears(0, 1), "-");
    assert_eq!(scene.hears(10, 1), "refresh");
    let mut live = Scene::new(ApplyRule::WhenNeeded, Force::Nothing);
    assert_eq!(live.hears(0, 1), "-");
    assert_eq!(live.hears(10, 1), "refresh", "it reads its sink at each use");
    // One that did not become ready has proven nothing.
    let mut unready = Scene::new(ApplyRule::WhenNeeded, Force::Restart);
    unready.applied();
    unready.gateway().ready = Some(false);
    assert_eq!((unready.hears(0, 1), unready.hears(10, 1)), ("-", "apply"));
}

#[test]
fn one_that_its_owner_sees_to_is_neither_restarted_nor_refreshed_for() {
    let mut scene = Scene::new(ApplyRule::Never, Force::Restart);
    assert_eq!(scene.hears(0, 1), "-");
    assert_eq!(scene.hears(10, 1), "finding");
}

#[test]
fn while_something_else_is_wrong_that_goes_first() {
    for break_it in [
        (|scene: &mut Scene| scene.plan.targets[0].state = TargetState::Stale) as fn(&mut Scene),
        |scene| scene.gateway().note_change(at(1000), None, Force::Restart),
        |scene| scene.gateway().failure = Some(Failure::new(Code::UnitFailed, "", "").meaning(Then::Again)),
    ] {
        let mut scene = Scene::new(ApplyRule::WhenNeeded, Force::Restart);
        break_it(&mut scene);
        for _ in 0..20 {
            assert_eq!(scene.hears(60, 1), "-");
        }
    }
}

#[test]
fn it_is_over_after_a_new_generation_and_an_hour_of_silence() {
    let told = |rule| {
        let mut scene = Scene::new(rule, Force::Restart);
        scene.hears(0, 1);
        assert_eq!(scene.hears(10, 1), "finding");
        scene
    };
    let mut scene = told(ApplyRule::Never);
    assert_eq!(scene.hears(2 * 3600, 0), "finding", "silence alone: it may have nothing to do");
    scene.rotate(2);
    assert_eq!(scene.hears(60, 0), "-", "silent for two hours, and a new generation");
    let mut scene = told(ApplyRule::Never);
    scene.rotate(2);
    assert_eq!(scene.hears(1800, 0), "finding");
    assert_eq!(scene.hears(60, 1), "finding", "the new one is refused as well");
    assert_eq!(scene.hears(3700, 0), "finding", "so that it takes yet another one");
    assert_eq!(scene.hears(6 * 3600 - 3700 - 1, 0), "finding");
    assert_eq!(scene.hears(1, 0), "-", "or six hours");
    // A dead login is the cause, and is told by itself.
    let mut scene = told(ApplyRule::Never);
    let known = scene.memory.logins.get_mut(&login()).unwrap();
    known.lineage[0].refresh = Some(generation(7));
    known.refresh.stopped = Some((super::super::refresh::Stop::Rejected, generation(7)));
    let cause = finding(&claw(), &scene.memory).unwrap().caused_by;
    assert_eq!(cause.as_deref(), Some("LOGIN_NEEDED:claude"));
}

#[test]
fn a_refresh_is_not_asked_for_again_when_new_tokens_are_refused_as_well() {
    let mut scene = Scene::new(ApplyRule::WhenNeeded, Force::Nothing);
    let mut refreshes = Vec::new();
    let mut generation = 1;
    // A day in which each token is refused, a line a minute.
    for minute in 0..24 * 60 {
        if scene.hears(60, 1) == "refresh" {
            refreshes.push(minute);
            generation += 1;
            scene.ended();
            scene.rotate(generation);
        }
    }
    assert!(
        refreshes.len() <= 4 && refreshes.windows(2).all(|two| two[1] - two[0] >= 6 * 60),
        "{refreshes:?}"
    );
}

#[test]
fn what_is_no_longer_listened_to_is_forgotten() {
    let mut scene = Scene::new(ApplyRule::Never, Force::Restart);
    scene.hears(0, 1);
    assert_eq!(scene.hears(10, 1), "finding");
    scene.desired.gateways[0].is_heard = false;
    assert_eq!(scene.hears(1, 0), "-");
}

#[test]
fn a_setting_is_matches_or_a_pattern() {
    for (text, is) in [
        ("SYSLOG_IDENTIFIER=claw", Some(vec!["SYSLOG_IDENTIFIER=claw"])),
        ("_COMM=node PRIORITY=3", Some(vec!["_COMM=node", "PRIORITY=3"])),
        ("MESSAGE=401 Unauthorized", Some(vec!["MESSAGE=401 Unauthorized"])),
        ("HTTP 401|authentication_error", None),
        ("status=401", None),
        ("X=", None),
        ("=401", None),
    ] {
        assert_eq!(matches(text), is, "{text}");
    }
}

#[test]
fn a_login_whose_token_is_refused_is_due_for_one_attempt_within_all_limits() {
    use super::super::refresh::{Due, Ended, Generation, Outcome, RefreshMemory, Rules, Spread, due};
    use crate::base::credential::{Credential, Identity};
    use crate::base::secret::Secret;
    let credential = Credential {
        access: Secret::new("a".into()),
        refresh: Some(Secret::new("r".into())),
        expires_at: Some(at(900_000)),
        login_deadline: None,
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    };
    let rules =
        Rules { margin: Duration::from_secs(60), half_life: false, spread: Spread::Later, grants_per_day: 2 };
    let (this, token) = (generation(1), generation(9));
    let judged = |memory: &RefreshMemory| {
        let generation = Generation { id: &this, refresh: Some(&token), seen_at: None, clock_ahead: 0 };
        due(&credential, generation, memory, rules, at(1000))
    };
    let mut memory = RefreshMemory::default();
    assert!(matches!(judged(&memory), Due::At(_)));
    memory.wanted = Some(this.clone());
    assert_eq!(judged(&memory), Due::Now);
    memory.requests = vec![at(900), at(950)];
    assert!(matches!(judged(&memory), Due::At(_)), "the budget holds");
    memory.requests.clear();
    memory.wanted = Some(generation(2));
    assert!(matches!(judged(&memory), Due::At(_)), "it was another generation's");
    memory.wanted = Some(this.clone());
    let ended = Ended::Failed;
    let outcome = Outcome {
        ended,
        refresh: token.clone(),
        is_spent: false,
        wait: None,
        clock_ahead: None,
        detail: String::new(),
    };
    memory.note(&outcome, at(1000));
    assert_eq!(memory.wanted, None, "one attempt");
}
