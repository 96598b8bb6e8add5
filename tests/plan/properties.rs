//! What holds in every world; see `plan.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use tokensink::base::code::Code;
use tokensink::base::credential::{Credential, SourceReading};
use tokensink::base::id::{GatewayId, LoginId, Provider, SinkId};
use tokensink::base::secret::{Document, Secret};
use tokensink::base::time::Timestamp;
use tokensink::core::clock::Judgement;
use tokensink::core::health;
use tokensink::core::memory::{GenerationRecord, Memory};
use tokensink::core::model::{
    ApplyRule, Desired, DesiredGateway, DesiredLogin, DesiredSink, Force, Observed, ObservedSource,
    ObservedTarget, Render, SupplyForm, TargetContent, TargetId, Write,
};
use tokensink::core::report::{DaemonReport, Facts, Report};
use tokensink::format::auth_profiles::EntryForm;
use tokensink::format::claude;
use tokensink::format::template::Template;

use super::sim::{NOW, World, assert_settled, credential_of, key};

/// What no output may contain: every made-up token begins like this.
const TOKEN: &str = "sk-ant-o";

/// A made-up generation: its number, when it ends, whether it can be refreshed, whose it is.
#[derive(Debug, Clone)]
struct Made {
    number: usize,
    ends: Timestamp,
    refresh: bool,
    account: Option<&'static str>,
}

impl Made {
    fn access(&self) -> String {
        format!("{TOKEN}at01-made-{}", self.number)
    }

    fn refresh_token(&self) -> String {
        format!("{TOKEN}rt01-made-{}", self.number)
    }

    /// As the CLI writes it.
    fn source(&self) -> SourceReading {
        let document = json!({ "claudeAiOauth": {
            "accessToken": self.access(),
            "refreshToken": if self.refresh { self.refresh_token() } else { String::new() },
            "expiresAt": self.ends.as_millis(),
            "scopes": ["user:inference"],
            "accountUuid": self.account,
        }});
        claude::parse(document.to_string().as_bytes())
    }

    fn credential(&self) -> Credential {
        credential_of(self.source()).unwrap()
    }

    /// As a sink of that kind holds it, among things that are not ours.
    fn held(&self, kind: Kind) -> Document {
        let (access, ends) = (self.access(), self.ends.as_millis());
        let refresh = self.refresh.then(|| self.refresh_token());
        let text = match kind {
            Kind::OAuthJson { .. } => {
                let mut entry = json!({ "access": access, "expires": ends, "note": 1.50 });
                if let Some(refresh) = refresh {
                    entry["refresh"] = refresh.into();
                }
                if let Some(account) = self.account {
                    entry["accountId"] = account.into();
                }
                json!({ "other": {}, "anthropic": entry }).to_string()
            }
            Kind::Profiles { .. } => {
                let mut entry =
                    json!({ "type": "oauth", "provider": "anthropic", "access": access, "expires": ends });
                if let Some(refresh) = refresh {
                    entry["refresh"] = refresh.into();
                }
                if let Some(account) = self.account {
                    entry["accountId"] = account.into();
                }
                json!({ "version": 1, "profiles": { "anthropic:default": entry } }).to_string()
            }
            Kind::Env => format!("# mine\nexport TOKEN='{access}'\nOTHER=1"),
            Kind::Secret => format!("{{\"access_token\":\"{access}\",\"expires_at\":{ends}}}\n"),
            Kind::Template => format!("bearer {access} until {ends}\n"),
            Kind::Command => String::new(),
        };
        Document::new(text.into_bytes())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    OAuthJson { refresh: bool },
    Profiles { form: EntryForm },
    Env,
    Secret,
    Template,
    Command,
}

const KINDS: [Kind; 9] = [
    Kind::OAuthJson { refresh: true },
    Kind::OAuthJson { refresh: false },
    Kind::Profiles { form: EntryForm::Token },
    Kind::Profiles { form: EntryForm::OAuth { with_refresh: false } },
    Kind::Profiles { form: EntryForm::OAuth { with_refresh: true } },
    Kind::Env,
    Kind::Secret,
    Kind::Template,
    Kind::Command,
];

impl Kind {
    fn render(self) -> Render {
        match self {
            Self::OAuthJson { refresh } => Render::OAuthJson { provider: "anthropic".into(), refresh },
            Self::Profiles { .. } => {
                Render::AuthProfiles { profile: "anthropic:default".into(), provider: "anthropic".into() }
            }
            Self::Env => Render::EnvFile { key: "TOKEN".into() },
            Self::Secret => Render::SecretFile,
            Self::Template => Render::Template,
            Self::Command => Render::Command,
        }
    }

    /// A file that only we write is replaced when it is torn; others are left.
    const fn is_ours(self) -> bool {
        matches!(self, Self::Secret | Self::Template)
    }

    fn target(self, id: TargetId, content: TargetContent) -> ObservedTarget {
        let form = match self {
            Self::Profiles { form } => Some(SupplyForm::Entry(form)),
            _ => None,
        };
        let template = || Template::parse("bearer {{access_token}} until {{expires_at}}\n").unwrap();
        ObservedTarget {
            path: id.to_string(),
            content: if self == Self::Command { TargetContent::Delivery } else { content },
            beside: None,
            mode: None,
            form,
            template: (self == Self::Template).then(template),
            force: Force::Restart,
            needs_set_up: false,
            release: None,
            unused: None,
            shadows: Vec::new(),
            id,
        }
    }
}

fn login_id(text: &str) -> LoginId {
    LoginId::try_new(text).unwrap()
}

fn target_id(sink: &str, part: &str) -> TargetId {
    TargetId { sink: SinkId::try_new(sink).unwrap(), part: part.into() }
}

fn desired_login(id: &str) -> DesiredLogin {
    DesiredLogin { id: login_id(id), provider: Provider::Claude, label: String::new(), refresh_mode: "auto" }
}

fn source_of(login: &str, reading: SourceReading) -> ObservedSource {
    ObservedSource { login: login_id(login), path: login.into(), reading, mode: Some(0o600), settled: true }
}

fn desired_sink(id: &str, login: &str, kind: Kind) -> DesiredSink {
    DesiredSink {
        id: SinkId::try_new(id).unwrap(),
        login: login_id(login),
        kind: "any",
        render: kind.render(),
    }
}

fn made() -> impl Strategy<Value = Made> {
    let account = prop_oneof![3 => Just(None), 3 => Just(Some("acct-a")), 1 => Just(Some("acct-b"))];
    (0..6_usize, -3_i64..9, any::<bool>(), account).prop_map(|(number, hours, refresh, account)| Made {
        number,
        ends: Timestamp::from_millis(NOW.as_millis() + hours * 3_600_000),
        refresh,
        account,
    })
}

fn reading() -> impl Strategy<Value = SourceReading> {
    prop_oneof![
        6 => made().prop_map(|m| m.source()),
        1 => Just(SourceReading::Missing),
        1 => Just(SourceReading::Husk { login_ended: None }),
        1 => made().prop_map(|m| claude::parse(format!("{{\"claudeAiOauth\":{{\"accessToken\":\"{}", m.access()).as_bytes())),
    ]
}

#[derive(Debug, Clone)]
enum There {
    Absent,
    NoDirectory,
    Unreadable,
    Refused,
    Torn(Made),
    Holds(Made),
}

impl There {
    fn content(&self, kind: Kind) -> TargetContent {
        match self {
            Self::Absent => TargetContent::Absent,
            Self::NoDirectory => TargetContent::NoDirectory,
            Self::Unreadable => TargetContent::Unreadable("no".into()),
            Self::Refused => TargetContent::Refused(Code::StoreRetired, "no".into()),
            Self::Torn(made) => {
                let whole = made.held(kind);
                let half = whole.expose().iter().take(whole.len() / 2).copied().collect();
                TargetContent::Present(Document::new(half))
            }
            Self::Holds(made) => TargetContent::Present(made.held(kind)),
        }
    }
}

fn there() -> impl Strategy<Value = There> {
    prop_oneof![
        2 => Just(There::Absent),
        1 => Just(There::NoDirectory),
        1 => Just(There::Unreadable),
        1 => Just(There::Refused),
        1 => made().prop_map(There::Torn),
        6 => made().prop_map(There::Holds),
    ]
}

fn lineage() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec(made(), 0..4)
}

/// Any world of two logins, some sinks and a gateway of each rule.
fn world() -> impl Strategy<Value = World> {
    let sink = (prop::sample::select(KINDS.to_vec()), any::<bool>(), prop::collection::vec(there(), 1..3));
    let remembered = prop::collection::vec((0..8_usize, made(), 0..5_usize), 0..4);
    let sinks = prop::collection::vec(sink, 1..6);
    ([reading(), reading()], [lineage(), lineage()], sinks, remembered).prop_map(
        |(readings, lineages, sinks, remembered)| {
            let names = ["a", "b"];
            let mut memory = Memory::default();
            for (name, lineage) in names.iter().zip(lineages) {
                for made in lineage {
                    let credential = made.credential();
                    let record = GenerationRecord::of(&credential, &key(), &Judgement::steady(NOW));
                    let login = memory.logins.entry(login_id(name)).or_default();
                    login.remember(record, credential.account.as_ref());
                }
            }
            let mut desired = Desired {
                logins: names.map(desired_login).to_vec(),
                warn: Duration::from_secs(3600),
                ahead: Duration::ZERO,
                ..Desired::default()
            };
            let sources = names.iter().zip(readings).map(|(name, reading)| source_of(name, reading));
            let mut observed = Observed { sources: sources.collect(), ..Observed::default() };
            for (n, (kind, is_second, targets)) in sinks.into_iter().enumerate() {
                let id = format!("sink{n}");
                desired.sinks.push(desired_sink(&id, names[usize::from(is_second)], kind));
                for (part, there) in targets.iter().enumerate() {
                    let id = target_id(&id, &part.to_string());
                    observed.targets.push(kind.target(id, there.content(kind)));
                }
            }
            for (n, made, clobbers) in remembered {
                let Some(target) = observed.targets.get(n) else { continue };
                let entry = memory.targets.entry(target.id.to_string()).or_default();
                entry.generation = Some(key().generation(&made.credential()));
                entry.written_at = Some(NOW.before(Duration::from_secs(30)));
                entry.clobbered_at = vec![NOW.before(Duration::from_secs(90)); clobbers];
                entry.failure = (clobbers == 0).then(|| "no space".to_owned());
            }
            let rules = [ApplyRule::Never, ApplyRule::WhenNeeded, ApplyRule::Always(Force::Restart)];
            desired.gateways.extend(rules.iter().enumerate().map(|(n, rule)| DesiredGateway {
                id: GatewayId::try_new(format!("gateway{n}")).unwrap(),
                sinks: desired.sinks.iter().map(|s| s.id.clone()).collect(),
                kind: "unit",
                apply: *rule,
                min_interval: Duration::from_secs(600),
                is_heard: false,
            }));
            World { desired, observed, memory, now: NOW }
        },
    )
}

fn documents(world: &World) -> BTreeMap<String, TargetContent> {
    world.observed.targets.iter().map(|t| (t.id.to_string(), t.content.clone())).collect()
}

fn kind_of(world: &World, write: &Write) -> Kind {
    let target = world.observed.targets.iter().find(|t| t.id == write.target).unwrap();
    match &world.desired.sink(&write.target.sink).unwrap().render {
        Render::OAuthJson { refresh, .. } => Kind::OAuthJson { refresh: *refresh },
        Render::AuthProfiles { .. } => match target.form.unwrap() {
            SupplyForm::Entry(form) => Kind::Profiles { form },
            SupplyForm::Mirror => unreachable!("no case has one"),
        },
        Render::EnvFile { .. } => Kind::Env,
        Render::SecretFile => Kind::Secret,
        Render::View(_) => unreachable!("no case has one"),
        Render::Template => Kind::Template,
        Render::Command => Kind::Command,
        Render::Sealed => unreachable!("never written by a plan"),
    }
}

/// Access and refresh token of a document, read without the code under test.
fn tokens_in(kind: Kind, document: &Document) -> (Option<String>, Option<String>) {
    let text = std::str::from_utf8(document.expose()).unwrap();
    let entry = |pointer: &str| {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.pointer(pointer)?.as_str().map(str::to_owned)
    };
    let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    match kind {
        Kind::OAuthJson { .. } => (entry("/anthropic/access"), entry("/anthropic/refresh")),
        Kind::Profiles { .. } => (
            entry("/profiles/anthropic:default/access")
                .or_else(|| entry("/profiles/anthropic:default/token")),
            entry("/profiles/anthropic:default/refresh"),
        ),
        Kind::Env => (
            text.lines().find_map(|l| l.trim_start_matches("export ").strip_prefix("TOKEN=").map(quoted)),
            None,
        ),
        Kind::Secret => (entry("/access_token"), entry("/refresh_token")),
        Kind::Template => (text.split(' ').nth(1).map(str::to_owned), None),
        Kind::Command => (None, None),
    }
}

/// The account that a document names.
fn account_in(kind: Kind, document: &Document) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(document.expose()).ok()?;
    let entry = match kind {
        Kind::OAuthJson { .. } => value.pointer("/anthropic/accountId"),
        Kind::Profiles { .. } => value.pointer("/profiles/anthropic:default/accountId"),
        _ => None,
    };
    entry?.as_str().map(str::to_owned)
}

/// Fails unless a write carries exactly this credential, whole, and no other token of ours.
fn assert_carries(kind: Kind, write: &Write, credential: &Credential) {
    let (access, refresh) = tokens_in(kind, &write.document);
    assert_eq!(access.as_deref(), Some(credential.access.expose()), "{write:?}");
    let with_refresh = matches!(
        kind,
        Kind::OAuthJson { refresh: true } | Kind::Profiles { form: EntryForm::OAuth { with_refresh: true } }
    );
    match &credential.refresh {
        _ if !with_refresh => assert_eq!(refresh, None, "{write:?}"),
        Some(own) => assert_eq!(refresh.as_deref(), Some(own.expose()), "{write:?}"),
        // A refresh token is only ever replaced by another one.
        None => {
            let before = write.planned_against.as_ref().and_then(|d| tokens_in(kind, d).1);
            assert_eq!(refresh, before, "{write:?}");
        }
    }
}

fn sort_by_keys<T>(items: &mut Vec<T>, keys: &[u8]) {
    let mut keyed: Vec<(u8, T)> = items
        .drain(..)
        .enumerate()
        .map(|(n, item)| (keys[n % keys.len()].wrapping_mul(n as u8 | 1), item))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    items.extend(keyed.into_iter().map(|(_, item)| item));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planning_twice_plans_nothing(mut world in world()) {
        world.pass();
        assert_settled(&world);
    }

    #[test]
    fn only_a_usable_source_is_written_and_it_is_written_whole(world in world()) {
        let plan = world.plan();
        for write in &plan.writes {
            let source = world.observed.source(&write.login).unwrap();
            let credential = credential_of(source.reading.clone()).expect("nothing else is handed on");
            assert_carries(kind_of(&world, write), write, &credential);
        }
        for delivery in &plan.deliveries {
            let source = world.observed.source(&delivery.login).unwrap();
            let credential = credential_of(source.reading.clone()).expect("nothing else is handed on");
            prop_assert_eq!(&delivery.generation, &key().generation(&credential));
        }
    }

    #[test]
    fn an_account_never_replaces_another(world in world()) {
        let plan = world.plan();
        for write in &plan.writes {
            let login = world.memory.logins.get(&write.login);
            let own = credential_of(world.observed.source(&write.login).unwrap().reading.clone()).unwrap();
            let differs = |other: Option<String>| other.is_some() && own.account.is_some() && other != own.account;
            let is_newest = login.and_then(|l| l.newest()).is_some_and(|r| r.generation == write.generation);
            prop_assert!(is_newest || !differs(login.and_then(|l| l.account.clone())), "{:?}", write);
            let kind = kind_of(&world, write);
            let Some(before) = &write.planned_against else { continue };
            let (access, _) = tokens_in(kind, before);
            let is_known = access.as_ref().is_none_or(|a| {
                let fingerprint = key().fingerprint(&Secret::new(a.clone()));
                own.access.expose() == a || login.is_some_and(|l| l.knows_access(&fingerprint))
            });
            prop_assert!(is_known || !differs(account_in(kind, before)), "{:?}", write);
        }
    }

    #[test]
    fn a_refused_target_is_never_written(mut world in world()) {
        let refused: BTreeSet<String> = world.plan().targets.into_iter()
            .filter(|t| ["refused", "error"].contains(&t.state.as_str()) || t.code.is_some())
            .map(|t| t.id.to_string())
            .collect();
        let before = documents(&world);
        world.pass();
        let after = documents(&world);
        for target in refused {
            prop_assert_eq!(&before[&target], &after[&target]);
        }
    }

    #[test]
    fn every_target_is_judged_once_and_every_finding_is_raised_once(world in world()) {
        let plan = world.plan();
        let judged: BTreeSet<_> = plan.targets.iter().map(|t| t.id.clone()).collect();
        prop_assert_eq!(judged.len(), plan.targets.len());
        prop_assert_eq!(judged.len(), world.observed.targets.len());
        let findings = world.findings(&plan);
        let keys: BTreeSet<_> = findings.iter().map(|f| f.key()).collect();
        prop_assert_eq!(keys.len(), findings.len(), "{:?}", findings);
    }

    #[test]
    fn the_order_of_logins_sinks_and_targets_changes_nothing(
        mut world in world(),
        keys in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let mut turned = world.clone();
        sort_by_keys(&mut turned.desired.logins, &keys);
        sort_by_keys(&mut turned.desired.sinks, &keys);
        sort_by_keys(&mut turned.desired.gateways, &keys);
        sort_by_keys(&mut turned.observed.sources, &keys);
        sort_by_keys(&mut turned.observed.targets, &keys);
        let decided = |world: &World| {
            let plan = world.plan();
            let verdicts: BTreeMap<_, _> = plan.targets.iter().map(|t| (t.id.clone(), (t.state.as_str(), t.code))).collect();
            let applies: BTreeMap<_, _> = plan.applies.iter().map(|a| (a.gateway.clone(), a.clone())).collect();
            let deliveries: BTreeMap<_, _> = plan.deliveries.iter().map(|d| (d.target.clone(), d.generation.clone())).collect();
            let rotations: BTreeMap<_, _> = plan.rotations.iter().map(|r| (r.login.clone(), r.clone())).collect();
            let mut findings: Vec<_> = world.findings(&plan).into_iter().map(|f| (f.code, f.subject)).collect();
            findings.sort();
            (verdicts, applies, deliveries, rotations, findings, plan.wake_at)
        };
        prop_assert_eq!(decided(&world), decided(&turned));
        world.pass();
        turned.pass();
        prop_assert_eq!(documents(&world), documents(&turned));
        prop_assert_eq!(world.memory, turned.memory);
    }

    #[test]
    fn no_token_is_shown_stored_or_reported(mut world in world()) {
        let plan = world.pass();
        let findings = world.findings(&plan);
        world.memory.replace_findings(&findings, NOW);
        let headline = health::headline(&world.desired, &world.observed, &world.memory, &plan, &findings, NOW);
        let key = key();
        let facts = Facts {
            next_refresh: std::collections::BTreeMap::new(),
            owners: std::collections::BTreeMap::new(),
            desired: &world.desired,
            observed: &world.observed,
            plan: &plan,
            memory: &world.memory,
            findings: &findings,
            key: Some(&key),
            daemon: DaemonReport::default(),
            now: NOW,
        };
        let report = Report::build(&facts, &|_| true);
        let shown = [
            format!("{plan:?} {:?} {report:?} {facts:?}", world),
            serde_json::to_string(&world.memory).unwrap(),
            serde_json::to_string(&report).unwrap(),
            serde_json::to_string(&findings).unwrap(),
            headline,
        ];
        for text in shown {
            prop_assert!(!text.contains(TOKEN), "{}", text);
        }
    }

    #[test]
    fn what_is_remembered_survives_a_restart(mut world in world()) {
        let plan = world.pass();
        let findings = world.findings(&plan);
        world.memory.replace_findings(&findings, NOW);
        let stored = serde_json::to_vec_pretty(&world.memory).unwrap();
        let read: Memory = serde_json::from_slice(&stored).unwrap();
        prop_assert_eq!(read, world.memory);
    }

    #[test]
    fn no_history_brings_an_old_generation_back(events in prop::collection::vec(event(), 1..40)) {
        let mut history = History::new();
        for event in &events {
            history.happen(event);
        }
        history.end();
    }
}

/// Something that happens to the files, or to us.
#[derive(Debug, Clone)]
enum Event {
    /// The CLI refreshes, or a person logs in again: a generation that lives this many hours.
    NewGeneration {
        hours: i64,
        refresh: bool,
    },
    /// An old backup of the source is put back.
    RestoreSource(prop::sample::Index),
    Husk,
    TornSource,
    NoSource,
    /// Somebody writes some generation into a sink.
    Overwrite(prop::sample::Index, prop::sample::Index),
    /// A sink is put back to a document that it held before.
    RestoreSink(prop::sample::Index, prop::sample::Index),
    TornSink(prop::sample::Index),
    DeletedSink(prop::sample::Index),
    Wait {
        minutes: u64,
    },
    Pass,
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (prop_oneof![Just(8_i64), Just(1), Just(8760)], prop::bool::weighted(0.8))
            .prop_map(|(hours, refresh)| Event::NewGeneration { hours, refresh }),
        3 => index().prop_map(Event::RestoreSource),
        1 => Just(Event::Husk),
        1 => Just(Event::TornSource),
        1 => Just(Event::NoSource),
        3 => (index(), index()).prop_map(|(sink, made)| Event::Overwrite(sink, made)),
        3 => (index(), index()).prop_map(|(sink, old)| Event::RestoreSink(sink, old)),
        1 => index().prop_map(Event::TornSink),
        1 => index().prop_map(Event::DeletedSink),
        3 => prop_oneof![Just(0_u64), Just(1), Just(30), Just(600)].prop_map(|minutes| Event::Wait { minutes }),
        8 => Just(Event::Pass),
    ]
}

/// One login over time, with a sink of every kind, and an account of its own of what was accepted.
struct History {
    world: World,
    made: Vec<Made>,
    /// What the source holds: a generation, or nothing usable.
    source: Option<usize>,
    /// Generations in the order in which a pass saw and accepted them.
    seen: Vec<usize>,
    /// Every document that each target ever held.
    past: Vec<Vec<Document>>,
}

impl History {
    fn new() -> Self {
        let mut desired = Desired { logins: vec![desired_login("claude")], ..Desired::default() };
        let mut observed = Observed::default();
        for (n, kind) in KINDS.into_iter().enumerate() {
            desired.sinks.push(desired_sink(&format!("sink{n}"), "claude", kind));
            observed.targets.push(kind.target(target_id(&format!("sink{n}"), ""), TargetContent::Absent));
        }
        observed.sources.push(source_of("claude", SourceReading::Missing));
        let world = World { desired, observed, memory: Memory::default(), now: NOW };
        let past = KINDS.iter().map(|_| Vec::new()).collect();
        let mut history = Self { world, made: Vec::new(), source: None, seen: Vec::new(), past };
        history.rotate(8, true);
        history
    }

    fn rotate(&mut self, hours: i64, refresh: bool) {
        let number = self.made.len();
        let ends = Timestamp::from_millis(self.world.now.as_millis() + hours * 3_600_000);
        self.made.push(Made { number, ends, refresh, account: None });
        self.supply(number);
    }

    fn supply(&mut self, number: usize) {
        self.source = Some(number);
        self.world.observed.sources[0].reading = self.made[number].source();
    }

    fn break_source(&mut self, reading: SourceReading) {
        self.source = None;
        self.world.observed.sources[0].reading = reading;
    }

    fn put(&mut self, sink: prop::sample::Index, content: TargetContent) {
        let n = sink.index(KINDS.len());
        if KINDS[n] != Kind::Command {
            self.world.observed.targets[n].content = content;
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::NewGeneration { hours, refresh } => self.rotate(*hours, *refresh),
            Event::RestoreSource(old) => self.supply(old.index(self.made.len())),
            Event::Husk => self.break_source(SourceReading::Husk { login_ended: None }),
            Event::TornSource => self.break_source(claude::parse(b"{\"claudeAiOauth\":{\"acc")),
            Event::NoSource => self.break_source(SourceReading::Missing),
            Event::Overwrite(sink, made) => {
                let document = made.get(&self.made).held(KINDS[sink.index(KINDS.len())]);
                self.put(*sink, TargetContent::Present(document));
            }
            Event::RestoreSink(sink, old) => {
                let past = &self.past[sink.index(KINDS.len())];
                if !past.is_empty() {
                    self.put(*sink, TargetContent::Present(old.get(past).clone()));
                }
            }
            Event::TornSink(sink) => self.put(*sink, TargetContent::Present(Document::new(b"{\"a".to_vec()))),
            Event::DeletedSink(sink) => self.put(*sink, TargetContent::Absent),
            Event::Wait { minutes } => {
                self.world.now = self.world.now.after(Duration::from_secs(minutes * 60))
            }
            Event::Pass => self.pass(),
        }
    }

    /// The generation that may be handed on now, by the history's own account.
    fn accept(&mut self) -> Option<usize> {
        let source = self.source?;
        let newest = self.seen.last().copied();
        if newest == Some(source) {
            return newest;
        }
        let ends = self.made[source].ends;
        let is_old = self.seen.contains(&source)
            || newest.is_some_and(|n| ends <= self.world.now && ends < self.made[n].ends);
        if is_old {
            return None;
        }
        self.seen.push(source);
        Some(source)
    }

    fn pass(&mut self) {
        let accepted = self.accept();
        let plan = self.world.pass();
        if accepted.is_none() {
            assert!(
                plan.writes.is_empty() && plan.deliveries.is_empty(),
                "nothing is to be handed on: {plan:?}"
            );
        }
        for write in &plan.writes {
            let kind = kind_of(&self.world, write);
            let current = &self.made[accepted.unwrap()];
            assert_carries(kind, write, &current.credential());
            self.check_displaced(kind, write);
            let n = KINDS.iter().position(|k| *k == kind).unwrap();
            self.past[n].push(write.document.clone());
        }
        let stale = plan.findings.iter().any(|f| f.code == Code::StaleSource && f.subject == "claude");
        assert_eq!(stale, self.source.is_some() && accepted.is_none(), "{:?}", plan.findings);
        assert_settled(&self.world);
    }

    /// A refresh token that was never seen at the source is not lost with what is displaced.
    fn check_displaced(&self, kind: Kind, write: &Write) {
        let before = write.planned_against.as_ref().and_then(|d| tokens_in(kind, d).1);
        let is_known = |token: &String| {
            self.seen.iter().any(|n| self.made[*n].refresh && &self.made[*n].refresh_token() == token)
        };
        let is_unknown = before.is_some_and(|token| !is_known(&token));
        // Our own files are written whole: a first write over a content that is not ours keeps it.
        let is_whole = matches!(kind, Kind::Secret | Kind::Template);
        assert!(write.keeps_displaced || !is_unknown, "{write:?}");
        assert!(is_whole || write.keeps_displaced == is_unknown, "{write:?}");
    }

    /// However it went, the next rotation reaches everything that can be written.
    fn end(mut self) {
        self.happen(&Event::Wait { minutes: 20 });
        self.rotate(100_000, true);
        self.pass();
        let newest = self.made.last().unwrap();
        for (target, kind) in self.world.observed.targets.iter().zip(KINDS) {
            let TargetContent::Present(document) = &target.content else { continue };
            if kind.is_ours() || tokens_in(kind, document).0.is_some() {
                assert_eq!(tokens_in(kind, document).0, Some(newest.access()), "{}", target.id);
            } else {
                assert_eq!(document.expose(), b"{\"a", "only what is torn is left: {}", target.id);
            }
        }
    }
}
