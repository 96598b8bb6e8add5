//! What we remember ourselves, damaged or made up: what of it can be read is read, and a life with it is one
//! without a panic, whose own record is whole again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokensink::base::credential::{Credential, Identity, SourceReading};
use tokensink::base::fingerprint::FingerprintKey;
use tokensink::base::id::{GatewayId, LoginId, Provider, SinkId};
use tokensink::base::secret::{Document, Secret};
use tokensink::base::time::{ClockReading, Timestamp};
use tokensink::core::alert::decide::{self, Ear, Rules, Scene};
use tokensink::core::alert::memory::{AlertMemory, Refusal, Told};
use tokensink::core::clock::Judgement;
use tokensink::core::memory::read::{Damage, Newer, Read};
use tokensink::core::memory::{Memory, OpenFinding};
use tokensink::core::model::{
    ApplyRule, Desired, DesiredGateway, DesiredLogin, DesiredSink, Force, Observed, ObservedSource,
    ObservedTarget, Plan, Render, TargetContent, TargetId,
};
use tokensink::core::refresh::{Ended, Outcome};
use tokensink::core::report::{self, Report};
use tokensink::core::schedule::{self, Way};
use tokensink::core::undo::Made;
use tokensink::core::{apply, health, metrics, plan, unauthorized};

/// Noon of 2026-11-20 (UTC).
const NOW: Timestamp = Timestamp::from_millis(1_795_176_000_000);

/// `state.json`; `GEN`, `ACC` and `REF` stand for the fingerprints of the login that is there.
pub fn state(bytes: &[u8]) {
    let (key, login) = (key(), credential());
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for (word, print) in [
        ("\"GEN\"", key.generation(&login)),
        ("\"ACC\"", key.fingerprint(&login.access)),
        ("\"REF\"", key.fingerprint(login.refresh.as_ref().unwrap())),
    ] {
        text = text.replace(word, &format!("\"{}\"", print.as_str()));
    }
    let document = serde_json::from_str::<Map<String, Value>>(&text);
    let Read { memory, damage } = match Memory::read(text.as_bytes(), NOW) {
        Ok(read) => read,
        Err(Newer(version)) => {
            assert!(document.unwrap()["format_version"] == version && version > 1);
            return;
        }
    };
    assert!(damage.is_none_or(|damage| !damage.to_string().contains(char::is_control)));
    match document {
        Err(_) => assert!(matches!(damage, Some(Damage::All { .. })) && memory == Memory::default()),
        Ok(document) => {
            assert_eq!(serde_json::from_value::<Memory>(document.clone().into()).is_ok(), damage.is_none());
            is_kept(&document, "logins", &memory.logins, |id| LoginId::try_new(id).ok());
            is_kept(&document, "targets", &memory.targets, |id| Some(id.to_owned()));
            is_kept(&document, "gateways", &memory.gateways, |id| GatewayId::try_new(id).ok());
            let findings = document.get("findings").and_then(Value::as_array).into_iter().flatten();
            let readable =
                findings.filter_map(|finding| serde_json::from_value::<OpenFinding>(finding.clone()).ok());
            assert!(readable.eq(memory.findings.iter().cloned()));
        }
    }
    is_whole(&memory);
    // One of three clocks: a life is long, and one more byte of white space is another.
    let ahead = [0, 3_600_000, -3_600_000][bytes.len() % 3];
    let mut memory = memory;
    live(&mut memory, NOW.moved(ahead));
    is_whole(&memory);
}

/// Whatever can be read by itself is what is remembered.
fn is_kept<K: Ord, V: DeserializeOwned + PartialEq + Debug>(
    document: &Map<String, Value>,
    table: &str,
    read: &BTreeMap<K, V>,
    id: impl Fn(&str) -> Option<K>,
) {
    for (name, entry) in document.get(table).and_then(Value::as_object).into_iter().flatten() {
        if let (Some(id), Ok(entry)) = (id(name), serde_json::from_value::<V>(entry.clone())) {
            assert_eq!(read.get(&id), Some(&entry), "{table} {name}");
        }
    }
}

/// What is written of it is read as the same.
fn is_whole(memory: &Memory) {
    let memory = Memory { format_version: Memory::VERSION, ..memory.clone() };
    let written = serde_json::to_vec(&memory).unwrap();
    let alone = Memory { alerts: AlertMemory::default(), ..memory };
    assert_eq!(Memory::read(&written, NOW), Ok(Read { memory: alone, damage: None }));
}

/// Everything that is decided by what is remembered, in a world with one login and every kind of target.
fn live(memory: &mut Memory, wall: Timestamp) {
    let (desired, observed, key) = (desired(), observed(), key());
    let reading = ClockReading { boot: "a-boot".into(), boottime: Duration::from_secs(1000), wall };
    let clock = memory.clock.judge(&reading);
    memory.clock.note(&reading);
    let _ = clock.evidence();
    let now = clock.now;
    let planned = plan::plan(&desired, &observed, memory, &key, now);
    assert!(planned.writes.len() <= observed.targets.len());
    plan::remember(memory, &observed, &planned, &key, &clock);
    for write in &planned.writes {
        let target = memory.targets.entry(write.target.to_string()).or_default();
        let old = write.planned_against.as_ref();
        let made = Made::note("/f".into(), old, &write.document, old.is_some(), target.made.as_ref(), &key);
        let login = memory.logins.get(&write.login);
        let render = desired.sink(&write.target.sink).map(|sink| &sink.render);
        let _ = tokensink::core::undo::judge(&made, &write.document, render, login, &key);
        target.made = Some(made);
        target.note_clobber(now);
        plan::remember_target(memory, &write.target.to_string(), &write.generation);
    }
    for delivery in &planned.deliveries {
        let target = memory.targets.entry(delivery.target.to_string()).or_default();
        let _ = apply::delivery_due_at(Some(target), &delivery.generation);
        apply::note_undelivered(target, &delivery.generation, now);
        apply::note_delivered(memory, &desired, delivery, Force::Restart, now);
    }
    for step in &planned.applies {
        let gateway = memory.gateways.entry(step.gateway.clone()).or_default();
        gateway.note_change(now, step.token_ends, step.force);
    }
    let _ = unauthorized::follow(memory, &desired, &observed, &planned, now);
    for gateway in &desired.gateways {
        let known = memory.gateways.entry(gateway.id.clone()).or_default();
        let _ = (apply::due_at(known, gateway), apply::force_at(known, gateway, now));
        let _ = (apply::waits_for_idle(known, now), apply::not_converged(known, gateway, now));
        if let Some(pending) = &mut known.pending {
            assert!(apply::note_busy(pending, now) <= Duration::from_secs(3600));
        }
    }
    renew(memory, &clock, &key);
    shown(memory, &desired, &observed, &planned, &clock);
    memory.links.note(&[("/a".into(), None), ("/b".into(), Some("/c".into()))], now);
    memory.note_imported(key.of_parts(&[b"bundle"]));
    memory.clock.note_unanswered(&clock);
    memory.confirm_clock(&reading, 7_200_000);
    let again = memory.clock.judge(&reading);
    assert_eq!(again.now, wall.moved(-7_200_000), "a server's word counts");
}

/// What is decided about a refresh, and how each ending of one is remembered.
fn renew(memory: &mut Memory, clock: &Judgement, key: &FingerprintKey) {
    let login = credential();
    let (id, refresh) = (key.generation(&login), key.fingerprint(login.refresh.as_ref().unwrap()));
    let known = memory.logins.entry(LoginId::try_new("claude").unwrap()).or_default();
    for way in [Way::Cli, Way::Direct] {
        let rules = schedule::rules(Provider::Claude, way, None, 12);
        let rules = if schedule::is_kept_by_others(Some(known)) {
            schedule::yielding(rules, Provider::Claude)
        } else {
            rules
        };
        let step = schedule::step(&schedule::Facts {
            source: Some((&login, &id)),
            refresh: Some(&refresh),
            known: Some(known),
            unfinished: None,
            rules: Ok(rules),
            clock,
            asks_at: memory.clock.asks_at(clock),
        });
        let is_blocked =
            known.stop().is_some_and(|_| known.newest().unwrap().refresh == Some(refresh.clone()))
                || known.moved_with(Some(&refresh)).is_some();
        assert!(!is_blocked || step != schedule::Step::Refresh, "a spent or moved token is not sent");
    }
    for ended in Ended::ALL {
        let outcome = Outcome {
            ended,
            refresh: refresh.clone(),
            is_spent: true,
            wait: None,
            clock_ahead: None,
            detail: "it is said".into(),
        };
        known.refresh.note(&outcome, clock.now);
        assert_eq!(known.refresh.last_ended, Some(ended));
    }
    assert!(known.refresh.stopped_for(&refresh).is_some());
}

/// What people and scripts are shown of it.
fn shown(memory: &mut Memory, desired: &Desired, observed: &Observed, plan: &Plan, clock: &Judgement) {
    let key = key();
    let findings = health::findings(desired, observed, memory, plan, &key, clock);
    let changes = memory.replace_findings(&findings, clock.now);
    assert!(changes.raised.len() <= findings.len());
    let built = Report::build(
        &report::Facts {
            desired,
            observed,
            plan,
            memory,
            findings: &findings,
            key: Some(&key),
            next_refresh: BTreeMap::new(),
            owners: BTreeMap::new(),
            daemon: Default::default(),
            now: clock.now,
        },
        &|_| true,
    );
    let page = metrics::render(&built);
    assert!(page.lines().all(|line| !line.contains(char::is_control)));
    assert!(serde_json::to_string(&built).unwrap().contains("\"format_version\":1"));
    let _ = health::headline(desired, observed, memory, plan, &findings, clock.now);
}

/// `alerts.json`: what was told is remembered as far as it can be read, and telling goes on.
pub fn alerts(bytes: &[u8]) {
    let (mut memory, is_damaged) = AlertMemory::read(bytes);
    if let Ok(Value::Object(document)) = serde_json::from_slice(bytes) {
        let told = document.get("told").and_then(Value::as_array).into_iter().flatten();
        let readable = told.filter_map(|told| serde_json::from_value::<Told>(told.clone()).ok());
        assert!(readable.eq(memory.told.iter().cloned()));
        is_kept(&document, "trouble", &memory.trouble, |channel| Some(channel.to_owned()));
    } else {
        assert!(is_damaged && memory == AlertMemory::default());
    }
    let written = serde_json::to_vec(&memory).unwrap();
    let whole = (AlertMemory { format_version: AlertMemory::VERSION, ..memory.clone() }, false);
    assert_eq!(AlertMemory::read(&written), whole);
    let open = memory.told.iter().step_by(2).take(8);
    let findings: Vec<OpenFinding> =
        open.map(|told| OpenFinding { finding: told.finding.clone(), since: told.since }).collect();
    let ends = findings.iter().map(|open| (open.finding.subject.clone(), NOW.after(HOUR * 20))).collect();
    let rules = Rules {
        channels: vec![Ear { key: "a".into(), name: "ntfy".into() }],
        remind: HOUR * 24,
        login_deadline: vec![HOUR * 72, HOUR * 24],
        host: "host".into(),
    };
    let (desired, busy) = (desired(), BTreeSet::new());
    for turn in 0..4 {
        let now = NOW.after(HOUR * turn);
        let scene = Scene { findings: &findings, ends: &ends, desired: &desired, busy: &busy, now };
        let decision = decide::decide(&mut memory, &scene, &rules);
        assert!(decision.orders.len() <= 2, "at most one for each channel");
        for order in decision.orders {
            let message = &order.message;
            assert!(!message.title.contains(char::is_control), "{message:?}");
            assert!(message.body.lines().all(|line| !line.contains(char::is_control)), "{message:?}");
            if order.channel == "a" && turn % 2 == 0 {
                let refusal = Refusal {
                    name: "ntfy".into(),
                    why: "made up".into(),
                    is_lasting: false,
                    retry_after: Some(HOUR * 1_000_000),
                    may_be_absent: false,
                };
                memory.note_failed(&order.channel, refusal, now);
                let trouble = &memory.trouble["a"];
                assert!(trouble.not_before <= now.after(HOUR), "nobody mutes a channel for longer");
                let _ = trouble.finding();
            } else {
                memory.note_sent(&order.channel, &order.stamp, order.handle, now);
            }
        }
        let reminders = memory.told.iter().filter_map(|told| decide::next_reminder(told, &rules));
        assert!(reminders.count() <= memory.told.len());
    }
    memory.forget_pauses(NOW);
}

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> FingerprintKey {
    FingerprintKey::new([7; FingerprintKey::LEN])
}

fn credential() -> Credential {
    Credential {
        access: Secret::new("sk-ant-oat01-the-access-token".into()),
        refresh: Some(Secret::new("sk-ant-ort01-the-refresh-token".into())),
        expires_at: Some(NOW.after(HOUR)),
        login_deadline: None,
        scopes: vec!["user:inference".into()],
        account: Some("acct".into()),
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

fn sink(id: &str) -> SinkId {
    SinkId::try_new(id).unwrap()
}

fn desired() -> Desired {
    let login = LoginId::try_new("claude").unwrap();
    let renders = [
        ("legacy", Render::OAuthJson { provider: "anthropic".into(), refresh: true }),
        ("env", Render::EnvFile { key: "TOKEN".into() }),
        ("file", Render::SecretFile),
        ("run", Render::Command),
    ];
    let sinks = renders.map(|(id, render)| DesiredSink {
        id: sink(id),
        login: login.clone(),
        kind: "made-up",
        render,
    });
    Desired {
        logins: vec![DesiredLogin {
            id: login,
            provider: Provider::Claude,
            label: String::new(),
            refresh_mode: "auto",
        }],
        gateways: vec![DesiredGateway {
            id: GatewayId::try_new("claw").unwrap(),
            sinks: sinks.iter().map(|sink| sink.id.clone()).collect(),
            kind: "unit",
            apply: ApplyRule::WhenNeeded,
            min_interval: Duration::from_secs(600),
            is_heard: true,
        }],
        sinks: sinks.into(),
        warn: HOUR * 24,
        ahead: HOUR * 168,
    }
}

fn observed() -> Observed {
    let there = |text: &str| TargetContent::Present(Document::new(text.into()));
    let contents = [
        ("legacy", TargetContent::Absent),
        ("env", there("TOKEN=sk-ant-oat01-an-older-token\n")),
        ("file", there("{\"access_token\":\"sk-ant-oat01-the-access-token\"}\n")),
        ("run", TargetContent::Delivery),
    ];
    let targets = contents.map(|(id, content)| ObservedTarget {
        id: TargetId { sink: sink(id), part: String::new() },
        path: format!("/{id}"),
        content,
        beside: None,
        mode: Some(0o600),
        form: None,
        template: None,
        force: Force::Restart,
        needs_set_up: false,
        release: None,
        unused: None,
        shadows: Vec::new(),
    });
    Observed {
        sources: vec![ObservedSource {
            login: LoginId::try_new("claude").unwrap(),
            path: "/login".into(),
            reading: SourceReading::Ok(credential()),
            mode: Some(0o600),
            settled: true,
        }],
        targets: targets.into(),
        refused: BTreeMap::from([(GatewayId::try_new("claw").unwrap(), 3)]),
        ..Observed::default()
    }
}
