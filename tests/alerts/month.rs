//! A month of a login that renews itself every eight hours, by the program's own verdicts: sources in,
//! findings and alerts out. The scripted clock also sleeps, and the daemon is started again.

use std::time::Duration;

use tokensink::base::credential::{Credential, Identity, SourceReading};
use tokensink::base::fingerprint::FingerprintKey;
use tokensink::base::id::{GatewayId, LoginId, Provider, SinkId};
use tokensink::base::secret::Secret;
use tokensink::core::clock::Judgement;
use tokensink::core::health;
use tokensink::core::memory::Memory;
use tokensink::core::model::{
    ApplyRule, Desired, DesiredGateway, DesiredLogin, DesiredSink, Observed, ObservedSource, Render,
};
use tokensink::core::plan;

use super::script::{Bench, DAY, START};

const HOUR: Duration = Duration::from_secs(3600);

/// One login with a sink and a gateway that reads it.
pub fn desired() -> Desired {
    let login = LoginId::try_new("claude").unwrap();
    let sink = SinkId::try_new("env").unwrap();
    Desired {
        logins: vec![DesiredLogin {
            id: login.clone(),
            provider: Provider::Claude,
            label: "at work".into(),
            refresh_mode: "auto",
        }],
        sinks: vec![DesiredSink { id: sink.clone(), login, kind: "secret-file", render: Render::SecretFile }],
        gateways: vec![DesiredGateway {
            is_heard: false,
            id: GatewayId::try_new("openclaw").unwrap(),
            sinks: vec![sink],
            kind: "unit",
            apply: ApplyRule::WhenNeeded,
            min_interval: Duration::ZERO,
        }],
        warn: DAY,
        ahead: 7 * DAY,
    }
}

/// The real verdicts over a scripted source.
struct Host {
    bench: Bench,
    memory: Memory,
    key: FingerprintKey,
    reading: SourceReading,
    settled: bool,
    renewals: u32,
}

impl Host {
    fn new() -> Self {
        let bench = Bench { desired: desired(), ..Bench::new() };
        let mut host = Self {
            bench,
            memory: Memory::default(),
            key: FingerprintKey::new([7; 32]),
            reading: SourceReading::Missing,
            settled: true,
            renewals: 0,
        };
        host.renew(90 * DAY);
        host
    }

    /// The CLI renews the login; it ends `left` from the start.
    fn renew(&mut self, left: Duration) {
        self.renewals += 1;
        let n = self.renewals;
        self.reading = SourceReading::Ok(Credential {
            access: Secret::new(format!("sk-ant-oat01-month-{n}")),
            refresh: Some(Secret::new(format!("sk-ant-ort01-month-{n}"))),
            expires_at: Some(self.bench.now.after(8 * HOUR)),
            login_deadline: Some(START.after(left)),
            scopes: Vec::new(),
            account: None,
            expiry_in_seconds: false,
            identity: Identity::default(),
        });
        self.settled = true;
    }

    /// What `claude setup-token` printed, which nobody can renew; it ends `left` from the start.
    fn paste(&mut self, left: Duration) {
        self.renew(left);
        if let SourceReading::Ok(credential) = &mut self.reading {
            credential.refresh = None;
            credential.expires_at = credential.login_deadline;
        }
    }

    /// How many hours before the thirtieth day the telephone rang, and how.
    fn rung(&self) -> Vec<(u128, &str)> {
        let told = self.bench.told.iter().filter(|(_, name, _)| name == "ntfy");
        let before = |at| START.after(30 * DAY).since(at).as_millis() / 3_600_000;
        told.map(|(at, _, message)| (before(*at), message.event.as_str())).collect()
    }

    /// One turn of the daemon.
    fn turn(&mut self) {
        let now = self.bench.now;
        let source = ObservedSource {
            login: LoginId::try_new("claude").unwrap(),
            path: "~/.claude/.credentials.json".into(),
            reading: self.reading.clone(),
            mode: Some(0o600),
            settled: self.settled,
        };
        let observed = Observed { sources: vec![source], ..Observed::default() };
        let clock = Judgement::steady(now);
        let plan = plan::plan(&self.bench.desired, &observed, &self.memory, &self.key, now);
        plan::remember(&mut self.memory, &observed, &plan, &self.key, &clock);
        let findings =
            health::findings(&self.bench.desired, &observed, &self.memory, &plan, &self.key, &clock);
        self.memory.replace_findings(&findings, now);
        self.bench.open.clone_from(&self.memory.findings);
        self.bench.ends.clear();
        if let SourceReading::Ok(credential) = &self.reading {
            self.bench.ends.extend(health::login_end(credential).map(|end| ("claude".to_owned(), end)));
        }
        self.bench.settle();
    }

    /// Time passes, looked at every ten minutes.
    fn pass(&mut self, span: Duration) {
        let end = self.bench.now.after(span);
        while self.bench.now < end {
            self.bench.now = end.min(self.bench.now.after(HOUR / 6));
            self.turn();
        }
    }

    /// The daemon ends and starts again; its first looks at a source that is no login prove nothing.
    fn restart(&mut self) {
        let written = serde_json::to_vec(&self.memory).unwrap();
        self.memory = serde_json::from_slice(&written).unwrap();
        self.bench.restart();
        if !matches!(self.reading, SourceReading::Ok(_)) {
            self.settled = false;
            self.turn();
            self.bench.now = self.bench.now.after(Duration::from_secs(3));
            self.settled = true;
        }
        self.turn();
    }
}

#[test]
fn a_month_of_renewals_every_eight_hours_is_silent() {
    let mut host = Host::new();
    for cycle in 0..90_u32 {
        // Renewed early, at the end, late, or hours late, because the machine slept.
        match cycle % 5 {
            0 => host.pass(7 * HOUR),
            1 => host.pass(8 * HOUR),
            2 => host.pass(9 * HOUR),
            3 => {
                host.bench.now = host.bench.now.after(10 * HOUR);
                host.turn();
            }
            _ => {
                host.pass(6 * HOUR);
                host.restart();
                host.pass(HOUR);
            }
        }
        if cycle % 3 == 0 {
            // Half-written at a look: not to be believed.
            host.settled = false;
            let whole = std::mem::replace(&mut host.reading, SourceReading::Missing);
            host.turn();
            host.reading = whole;
        }
        host.renew(90 * DAY);
        host.turn();
    }
    assert!(host.bench.now.since(START) > 29 * DAY, "{:?}", host.bench.now.since(START));
    assert!(host.bench.told.is_empty(), "{:?}", host.bench.told);
}

#[test]
fn a_dead_login_is_told_reminded_and_resolved() {
    let mut host = Host::new();
    host.pass(3 * HOUR);
    host.reading = SourceReading::Husk { login_ended: None };
    let died = host.bench.now;
    host.turn();
    for _ in 0..10 {
        host.pass(6 * HOUR);
        host.restart();
    }
    host.renew(90 * DAY);
    host.turn();
    host.bench.now = host.bench.now.after(Duration::from_secs(3));
    host.turn();
    host.pass(20 * DAY / 24);
    let events: Vec<(&str, Duration)> = host
        .bench
        .told
        .iter()
        .filter(|(_, name, _)| name == "ntfy")
        .map(|(at, _, message)| (message.event.as_str(), at.since(died)))
        .collect();
    let words: Vec<&str> = events.iter().map(|(word, _)| *word).collect();
    assert_eq!(words, ["raised", "reminder", "reminder", "resolved"], "{events:?}");
    assert_eq!(events[0].1, Duration::ZERO);
    for (n, (_, at)) in events[1..3].iter().enumerate() {
        let due = DAY * u32::try_from(n + 1).unwrap();
        assert!(*at >= due && *at < due + HOUR, "{at:?}");
    }
}

#[test]
fn the_end_of_a_login_is_told_a_week_before_although_it_is_well_till_then() {
    let mut host = Host::new();
    for _ in 0..90 {
        host.renew(30 * DAY);
        host.pass(8 * HOUR);
    }
    let at = host.rung();
    assert_eq!(
        at[..4],
        [(167, "raised"), (72, "worse"), (24, "worse"), (6, "worse")],
        "hours before: {at:?}"
    );
    assert_eq!(at[4].1, "worse", "the login is dead now: {at:?}");
    assert_eq!(at.len(), 5, "{at:?}");
}

#[test]
fn the_end_of_a_setup_token_is_told_a_week_before_too() {
    let mut host = Host::new();
    host.paste(30 * DAY);
    host.pass(31 * DAY);
    let at = host.rung();
    assert_eq!(
        at[..4],
        [(167, "raised"), (72, "worse"), (24, "worse"), (6, "worse")],
        "hours before: {at:?}"
    );
    assert_eq!(at[4].1, "worse", "it is over now: {at:?}");
    assert_eq!(at.len(), 6, "and once more a day later: {at:?}");
    // Another one is pasted in time: that is all.
    let mut host = Host::new();
    host.paste(30 * DAY);
    host.pass(20 * DAY);
    host.paste(390 * DAY);
    host.pass(12 * DAY);
    assert!(host.bench.told.is_empty(), "{:?}", host.bench.told);
}
