//! The report that `status` prints, as data: format version 1, times in Unix milliseconds. Fields
//! are added, never renamed or removed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::apply;
use super::health;
use super::memory::{LastAction, LoginMemory, Memory};
use super::model::{Desired, DesiredLogin, Observed, ObservedSource, Plan};
use super::refresh::{Ended, Stop};
use super::verdict::{self, Check, LoginState, Verdict};
use crate::base::code::{Code, Finding, Severity};
use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{LoginId, SinkId};
use crate::base::time::Timestamp;
use crate::format::static_token;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document.
    pub format_version: u32,
    /// When the world was looked at.
    pub generated_at: Timestamp,
    /// The worst state of all logins.
    pub overall: &'static str,
    /// The daemon of this user.
    pub daemon: DaemonReport,
    /// The logins, in the order of the configuration.
    pub logins: Vec<LoginReport>,
    /// The targets of the sinks, in the order of the configuration.
    pub sinks: Vec<SinkReport>,
    /// The gateways, in the order of the configuration.
    pub gateways: Vec<GatewayReport>,
    /// Everything that is wrong.
    pub findings: Vec<FindingReport>,
    /// The result of `--check`.
    #[serde(skip)]
    pub check: Check,
    /// The result of `--check=access`.
    #[serde(skip)]
    pub check_access: Check,
    /// The word of `--simple`.
    #[serde(skip)]
    pub simple: &'static str,
}

/// The daemon of this user.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DaemonReport {
    /// Whether it runs.
    pub running: bool,
    /// Its process id.
    pub pid: Option<u32>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// One login.
#[derive(Debug, Serialize)]
pub struct LoginReport {
    /// Its id.
    pub id: String,
    /// Whose CLI owns it.
    pub provider: &'static str,
    /// `rotating`, `static` or `api_key`.
    pub kind: &'static str,
    /// The label, if it has one.
    pub account: Option<String>,
    /// The account's stable identity, where the source names one or once did.
    pub account_id: Option<String>,
    /// Its state.
    pub state: &'static str,
    /// The access token is over and the next refresh brings it back.
    pub renewing: bool,
    /// When the access token ends.
    pub access_expires_at: Option<Timestamp>,
    /// When the token that the source holds now was first seen here; `null` before a first pass.
    pub access_seen_at: Option<Timestamp>,
    /// When the login ends, refreshes or not.
    pub login_deadline: Option<Timestamp>,
    /// Whether there is a refresh token to use.
    pub refreshable: bool,
    /// The access token's fingerprint; `null` until there is a key.
    pub fingerprint: Option<Fingerprint>,
    /// How many generations were new, ever.
    #[serde(skip)]
    pub rotations: u64,
    /// The source.
    pub path: String,
    /// Who refreshes it, and how that went.
    pub refresh: RefreshReport,
}

/// Who refreshes a login, and how that went.
#[derive(Debug, Serialize)]
pub struct RefreshReport {
    /// The configured mode.
    pub mode: &'static str,
    /// Who renews it: `tokensink` by a request of its own, `cli` when the official CLI does and is run
    /// for it, `others` when its own program does it alone; `null` when nobody can.
    pub owner: Option<&'static str>,
    /// When it was last refreshed from here.
    pub last_at: Option<Timestamp>,
    /// How that went.
    pub last_outcome: Option<String>,
    /// When the next refresh is due.
    pub next_at: Option<Timestamp>,
    /// Why there is none.
    pub blocked: Option<String>,
    /// How often each ending was noted, ever.
    #[serde(skip)]
    pub counts: BTreeMap<Ended, u64>,
}

/// One target of a sink.
#[derive(Debug, Serialize)]
pub struct SinkReport {
    /// The sink's id.
    pub id: String,
    /// The login.
    pub login: String,
    /// The sink's kind.
    pub kind: &'static str,
    /// The agent, for a sink with several targets.
    pub agent: Option<String>,
    /// The file.
    pub path: String,
    /// Its state.
    pub state: &'static str,
    /// Why it is refused or in error.
    pub code: Option<Code>,
    /// When it was last written from here.
    pub written_at: Option<Timestamp>,
    /// How often it was written from here, ever.
    #[serde(skip)]
    pub writes: u64,
}

/// One gateway.
#[derive(Debug, Serialize)]
pub struct GatewayReport {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: &'static str,
    /// Its release, where it is known.
    pub version: Option<String>,
    /// Nothing is pending: it was made to use what its sinks hold.
    pub applied: bool,
    /// When what is pending is due.
    pub due_at: Option<Timestamp>,
    /// Since when its restart waits for it to be idle.
    pub busy_since: Option<Timestamp>,
    /// What was done last.
    pub last_action: &'static str,
    /// When.
    pub last_at: Option<Timestamp>,
    /// Whether it answered its probe after that; `null` without a probe.
    pub ready: Option<bool>,
    /// How often each action was done, ever.
    #[serde(skip)]
    pub counts: BTreeMap<LastAction, u64>,
}

/// One finding with its age.
#[derive(Debug, Serialize)]
pub struct FindingReport {
    /// The stable code.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: String,
    /// Since when it is open.
    pub since: Timestamp,
    /// One sentence.
    pub summary: String,
    /// The finding that causes it.
    pub caused_by: Option<String>,
    /// The next command.
    pub next: String,
}

/// What a report is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The configuration.
    pub desired: &'a Desired,
    /// The world.
    pub observed: &'a Observed,
    /// The plan over that world.
    pub plan: &'a Plan,
    /// What is remembered.
    pub memory: &'a Memory,
    /// Everything that is wrong.
    pub findings: &'a [Finding],
    /// The fingerprint key, if it exists.
    pub key: Option<&'a FingerprintKey>,
    /// When each login is refreshed next from here.
    pub next_refresh: BTreeMap<LoginId, Timestamp>,
    /// Who renews each login, where it is somebody from here.
    pub owners: BTreeMap<LoginId, &'static str>,
    /// The daemon.
    pub daemon: DaemonReport,
    /// When the world was looked at.
    pub now: Timestamp,
}

/// The worst state of all logins; missing when there is none.
#[must_use]
pub fn overall(desired: &Desired, observed: &Observed, memory: &Memory, now: Timestamp) -> LoginState {
    let states = desired.logins.iter().filter_map(|login| {
        let reading = &observed.source(&login.id)?.reading;
        let is_refused = health::is_refused(memory.logins.get(&login.id));
        Some(verdict::judge(reading, is_refused, desired.warn, now).state)
    });
    states.max_by_key(|state| state.rank()).unwrap_or(LoginState::Missing)
}

impl Report {
    /// The version of the document.
    pub const VERSION: u32 = 1;

    /// Makes the report over the logins for which `is_wanted` holds.
    #[must_use]
    pub fn build(facts: &Facts<'_>, is_wanted: &dyn Fn(&str) -> bool) -> Self {
        let mut worst = (LoginState::Ok, Check::Ok, Check::Ok);
        let mut logins = Vec::new();
        for login in facts.desired.logins.iter().filter(|l| is_wanted(l.id.as_str())) {
            let Some(source) = facts.observed.source(&login.id) else { continue };
            let known = facts.memory.logins.get(&login.id);
            let verdict =
                verdict::judge(&source.reading, health::is_refused(known), facts.desired.warn, facts.now);
            if verdict.state.rank() > worst.0.rank() {
                worst.0 = verdict.state;
            }
            worst.1 = worst.1.worse(verdict.check);
            worst.2 = worst.2.worse(verdict.check_access);
            logins.push(login_report(login, source, known, verdict, facts));
        }
        if logins.is_empty() {
            worst = (LoginState::Missing, Check::Expired, Check::Expired);
        }
        Self {
            format_version: Self::VERSION,
            generated_at: facts.now,
            overall: worst.0.as_str(),
            daemon: facts.daemon.clone(),
            logins,
            sinks: sink_reports(facts, is_wanted),
            gateways: gateway_reports(facts, is_wanted),
            findings: facts.findings.iter().map(|f| finding_report(f, facts.memory, facts.now)).collect(),
            check: worst.1,
            check_access: worst.2,
            simple: worst.0.simple(),
        }
    }
}

fn login_report(
    login: &DesiredLogin,
    source: &ObservedSource,
    known: Option<&LoginMemory>,
    verdict: Verdict,
    facts: &Facts<'_>,
) -> LoginReport {
    let credential: Option<&Credential> = match &source.reading {
        SourceReading::Ok(credential) => Some(credential),
        _ => None,
    };
    let refreshable = credential.is_some_and(|c| c.refresh.is_some());
    LoginReport {
        id: login.id.to_string(),
        provider: login.provider.as_str(),
        kind: match &source.reading {
            SourceReading::ApiKey => "api_key",
            SourceReading::Ok(held) if static_token::is_api_key(&held.access) => "api_key",
            SourceReading::Ok(held) if held.refresh.is_none() => "static",
            _ => "rotating",
        },
        account: Some(login.label.clone()).filter(|l| !l.is_empty()),
        account_id: credential.and_then(|c| c.account.clone()).or_else(|| known?.account.clone()),
        state: verdict.state.as_str(),
        renewing: verdict.renewing,
        access_expires_at: credential.and_then(|c| c.expires_at),
        access_seen_at: credential.and_then(|c| seen_at(known?, &facts.key?.generation(c))),
        login_deadline: credential.and_then(|c| c.login_deadline),
        refreshable,
        fingerprint: credential.and_then(|c| facts.key.map(|k| k.fingerprint(&c.access))),
        rotations: known.map_or(0, |k| k.rotations),
        path: source.path.clone(),
        refresh: RefreshReport {
            mode: login.refresh_mode,
            owner: Some(facts.owners.get(&login.id).copied().unwrap_or("others")).filter(|_| refreshable),
            last_at: known.and_then(|k| k.refresh.last_at),
            last_outcome: known.and_then(|k| k.refresh.last_ended).map(|e| e.as_str().to_owned()),
            next_at: facts.next_refresh.get(&login.id).copied(),
            blocked: blocked_of(known),
            counts: known.map(|k| k.refresh.counts.clone()).unwrap_or_default(),
        },
    }
}

fn seen_at(known: &LoginMemory, generation: &Fingerprint) -> Option<Timestamp> {
    known.record_of(generation).map(|record| record.seen_at)
}

fn blocked_of(known: Option<&LoginMemory>) -> Option<String> {
    let known = known?;
    let word = match known.stop() {
        Some(Stop::Rejected) => "refused",
        Some(Stop::Unknown) => "unknown",
        None if known.cli_gone => "cli-missing",
        None => return None,
    };
    Some(word.to_owned())
}

fn sink_reports(facts: &Facts<'_>, is_wanted: &dyn Fn(&str) -> bool) -> Vec<SinkReport> {
    let reports = facts.desired.sinks.iter().filter(|s| is_wanted(s.login.as_str())).flat_map(|sink| {
        facts
            .plan
            .targets
            .iter()
            .filter(|t| t.id.sink == sink.id)
            .map(|target| (target, facts.memory.targets.get(&target.id.to_string())))
            .map(|(target, known)| SinkReport {
                id: sink.id.to_string(),
                login: sink.login.to_string(),
                kind: sink.kind,
                agent: Some(target.id.part.clone()).filter(|p| !p.is_empty()),
                path: target.path.clone(),
                state: target.state.as_str(),
                code: target.code,
                written_at: known.and_then(|t| t.written_at),
                writes: known.map_or(0, |t| t.writes),
            })
    });
    reports.collect()
}

fn gateway_reports(facts: &Facts<'_>, is_wanted: &dyn Fn(&str) -> bool) -> Vec<GatewayReport> {
    let reads = |sink: &SinkId| facts.desired.sink(sink).is_some_and(|s| is_wanted(s.login.as_str()));
    let gateways = facts.desired.gateways.iter().filter(|g| g.sinks.iter().any(reads));
    let reports = gateways.map(|gateway| {
        let known = facts.memory.gateways.get(&gateway.id).cloned().unwrap_or_default();
        let version = facts
            .observed
            .targets
            .iter()
            .filter(|t| gateway.sinks.contains(&t.id.sink))
            .find_map(|t| t.release.clone());
        GatewayReport {
            id: gateway.id.to_string(),
            kind: gateway.kind,
            version,
            applied: known.pending.is_none(),
            due_at: apply::due_at(&known, gateway),
            busy_since: known.pending.as_ref().and_then(|p| p.busy).map(|busy| busy.since),
            last_action: known.last_action.as_str(),
            last_at: known.last_at,
            ready: known.ready,
            counts: known.counts,
        }
    });
    reports.collect()
}

fn finding_report(finding: &Finding, memory: &Memory, now: Timestamp) -> FindingReport {
    FindingReport {
        code: finding.code,
        severity: finding.severity,
        subject: finding.subject.clone(),
        since: memory.open_since(finding, now),
        summary: finding.summary.clone(),
        caused_by: finding.caused_by.clone(),
        next: finding.next.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::core::memory::GenerationRecord;

    #[test]
    fn a_token_was_first_seen_when_its_own_generation_was() {
        let key = FingerprintKey::new([7; 32]);
        let of = |name: &str| key.fingerprint(&Secret::new(format!("sk-ant-oat01-made-up-{name}")));
        let mut known = LoginMemory::default();
        for (name, ms) in [("first", 1), ("second", 2)] {
            let record = GenerationRecord {
                generation: of(name),
                access: of(name),
                refresh: None,
                expires_at: None,
                seen_at: Timestamp::from_millis(ms),
                clock_ahead: 0,
                is_ours: false,
            };
            known.remember(record, None);
        }
        let seen = ["first", "second", "third"].map(|name| seen_at(&known, &of(name)));
        assert_eq!(seen, [Some(Timestamp::from_millis(1)), Some(Timestamp::from_millis(2)), None]);
    }
}
