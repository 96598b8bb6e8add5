//! What survives a restart of the daemon: lineages, what was written where, pending restarts and
//! open findings. Holds fingerprints and times, never a secret. Stored as `state.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod read;

use crate::base::code::{Code, Finding};
use crate::base::credential::Credential;
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{GatewayId, LoginId};
use crate::base::time::{ClockReading, Timestamp};
use crate::core::alert::memory::AlertMemory;
use crate::core::clock::{self, ClockMemory, JUMP, Judgement};
use crate::core::links::Links;
use crate::core::model::Force;
use crate::core::refresh::{RefreshMemory, Stop};
use crate::core::unauthorized::Refusals;
use crate::core::undo::Made;
use crate::format::container::Inside;

/// How many generations of a login are remembered: three weeks at one rotation in eight hours.
const LINEAGE_LIMIT: usize = 64;
/// How many imported bundles are remembered.
const IMPORTED_LIMIT: usize = 1024;
/// How many overwrites of a target are remembered.
const CLOBBER_LIMIT: usize = 16;

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Version of this document.
    pub format_version: u32,
    /// By login.
    pub logins: BTreeMap<LoginId, LoginMemory>,
    /// By target, as printed.
    pub targets: BTreeMap<String, TargetMemory>,
    /// By gateway.
    pub gateways: BTreeMap<GatewayId, GatewayMemory>,
    /// Findings that are open.
    pub findings: Vec<OpenFinding>,
    /// Bundles of moved logins that were imported here, oldest first.
    pub imported: Vec<Fingerprint>,
    /// Which time is believed.
    pub clock: ClockMemory,
    /// Which files were reached by a link.
    #[serde(skip_serializing_if = "Links::is_empty")]
    pub links: Links,
    /// What was told to whom. In a file of its own, which the daemon alone writes.
    #[serde(skip)]
    pub alerts: AlertMemory,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What is remembered of a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginMemory {
    /// Its account, once one was seen; another account is not accepted without being told to.
    pub account: Option<String>,
    /// The generations seen, oldest first.
    pub lineage: Vec<GenerationRecord>,
    /// How many generations were new here, ever; the lineage holds the newest of them.
    #[serde(skip_serializing_if = "is_none")]
    pub rotations: u64,
    /// The refreshes made from here.
    pub refresh: RefreshMemory,
    /// The generation that a refresh of ours made last.
    pub made: Option<Fingerprint>,
    /// The official CLI, once it was found: if it is gone later, that is a finding and no reason to
    /// refresh in another way.
    pub cli: Option<String>,
    /// It is gone now.
    pub cli_gone: bool,
    /// It went to another host, with this refresh token.
    pub moved: Option<Moved>,
    /// Why its file could not be read in its container, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfetched: Option<Failure>,
}

/// A login that went to another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The refresh token that went.
    pub refresh: Fingerprint,
    /// When.
    pub at: Timestamp,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its identity.
    pub generation: Fingerprint,
    /// The fingerprint of its access token.
    pub access: Fingerprint,
    /// The fingerprint of its refresh token.
    pub refresh: Option<Fingerprint>,
    /// When its access token ends.
    pub expires_at: Option<Timestamp>,
    /// When it was first seen.
    pub seen_at: Timestamp,
    /// How far the wall clock was ahead of the believed time then, in milliseconds: whoever wrote
    /// the expiry did so by the wall clock.
    #[serde(default)]
    pub clock_ahead: i64,
    /// A refresh of ours made it.
    #[serde(default)]
    pub is_ours: bool,
}

impl GenerationRecord {
    /// The record of `credential`, first seen now.
    #[must_use]
    pub fn of(credential: &Credential, key: &FingerprintKey, clock: &Judgement) -> Self {
        Self {
            generation: key.generation(credential),
            access: key.fingerprint(&credential.access),
            refresh: credential.refresh.as_ref().map(|r| key.fingerprint(r)),
            expires_at: credential.expires_at,
            seen_at: clock.now,
            clock_ahead: clock.ahead(),
            is_ours: false,
        }
    }
}

impl LoginMemory {
    /// Notes a generation as the newest one.
    pub fn remember(&mut self, mut record: GenerationRecord, account: Option<&String>) {
        record.is_ours = self.made.as_ref() == Some(&record.generation);
        self.lineage.retain(|r| r.generation != record.generation);
        self.lineage.push(record);
        let surplus = self.lineage.len().saturating_sub(LINEAGE_LIMIT);
        self.lineage.drain(..surplus);
        if let Some(account) = account {
            self.account = Some(account.clone());
        }
    }

    /// Notes the generation that a refresh of ours made, whether it was seen already or not.
    pub fn note_made(&mut self, generation: Fingerprint) {
        for record in self.lineage.iter_mut().filter(|r| r.generation == generation) {
            record.is_ours = true;
        }
        self.made = Some(generation);
    }

    /// What is remembered of a generation.
    #[must_use]
    pub fn record_of(&self, generation: &Fingerprint) -> Option<&GenerationRecord> {
        self.lineage.iter().find(|r| &r.generation == generation)
    }

    /// The terminal state of the refresh token that is at the source now.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        self.refresh.stopped_for(self.newest()?.refresh.as_ref()?)
    }

    /// Where the login went, if the source still holds what went, or what was left of it.
    #[must_use]
    pub fn moved_with(&self, refresh: Option<&Fingerprint>) -> Option<&Moved> {
        self.moved.as_ref().filter(|moved| refresh.is_none_or(|refresh| refresh == &moved.refresh))
    }

    /// True when this refresh token was replaced here by a later one.
    #[must_use]
    pub fn knows_as_spent(&self, refresh: &Fingerprint) -> bool {
        let is_newest = self.newest().is_some_and(|newest| newest.refresh.as_ref() == Some(refresh));
        let is_moved = self.moved.as_ref().is_some_and(|moved| &moved.refresh == refresh);
        self.knows_refresh(refresh) && !is_newest && !is_moved
    }

    /// The newest generation.
    #[must_use]
    pub fn newest(&self) -> Option<&GenerationRecord> {
        self.lineage.last()
    }

    /// True when an access token of that fingerprint was seen at the source.
    #[must_use]
    pub fn knows_access(&self, access: &Fingerprint) -> bool {
        self.lineage.iter().any(|r| &r.access == access)
    }

    /// True when a refresh token of that fingerprint was seen at the source.
    #[must_use]
    pub fn knows_refresh(&self, refresh: &Fingerprint) -> bool {
        self.lineage.iter().any(|r| r.refresh.as_ref() == Some(refresh))
    }
}

/// What is remembered of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetMemory {
    /// The generation last written there, or found there.
    pub generation: Option<Fingerprint>,
    /// When we last wrote it.
    pub written_at: Option<Timestamp>,
    /// How often it was written from here, ever.
    #[serde(skip_serializing_if = "is_none")]
    pub writes: u64,
    /// When somebody replaced our content with an older one, oldest first.
    pub clobbered_at: Vec<Timestamp>,
    /// Who did it, where that could be seen.
    pub clobbered_by: Option<String>,
    /// Why the last write failed; `None` after one that worked.
    pub failure: Option<String>,
    /// The fingerprint of the encrypted file that we wrote there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Fingerprint>,
    /// What our writes made of the file, for whoever wants them undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// A command that did not take a generation yet.
    pub retry: Option<Retry>,
}

/// A generation that a command did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The generation; another one is handed over at once.
    pub generation: Fingerprint,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not before this time.
    pub not_before: Timestamp,
}

impl TargetMemory {
    /// Notes that our content was replaced.
    pub fn note_clobber(&mut self, now: Timestamp) {
        self.clobbered_at.push(now);
        let surplus = self.clobbered_at.len().saturating_sub(CLOBBER_LIMIT);
        self.clobbered_at.drain(..surplus);
    }
}

/// What a gateway was last made to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastAction {
    /// Nothing.
    #[default]
    None,
    /// A reload.
    Reload,
    /// A restart.
    Restart,
    /// Its container was made anew.
    Recreate,
}

impl LastAction {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
        }
    }
}

/// What is remembered of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayMemory {
    /// A change of its sinks that it has not been made to use yet.
    pub pending: Option<Pending>,
    /// What was done last.
    pub last_action: LastAction,
    /// How often each action was done, ever.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<LastAction, u64>,
    /// When that ended.
    pub last_at: Option<Timestamp>,
    /// When it was last restarted or made anew from here.
    pub restarted_at: Option<Timestamp>,
    /// Why the last attempt failed: a stable word and a sentence.
    pub failure: Option<Failure>,
    /// Whether it answered its probe after the last action; `None` without a probe.
    pub ready: Option<bool>,
    /// The unit's invocation after the last restart.
    pub invocation: Option<String>,
    /// The release with which its configuration could not be set up.
    pub unfit: Option<String>,
    /// The default model that was set in each configuration of its instances.
    #[serde(default)]
    pub models: BTreeMap<String, String>,
    /// The container it runs in, as it was asked last.
    #[serde(default)]
    pub inside: Option<Inside>,
    /// What its containers do not see as its sinks have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Finding>,
    /// That its log says 401, and what was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<Refusals>,
}

/// A change that a gateway has not been made to use yet. Written before the first rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When its sinks last changed. Tells one change from the next: an attempt settles the change
    /// it began with, and no later one.
    pub since: Timestamp,
    /// When the token it uses now ends.
    pub token_ends: Option<Timestamp>,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not before this time (after a failed attempt).
    pub not_before: Option<Timestamp>,
    /// What it takes.
    #[serde(default)]
    pub force: Force,
    /// The gateway said that it is busy; kept when a further change joins this one.
    #[serde(default)]
    pub busy: Option<Busy>,
}

/// A gateway that was busy whenever it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Since when.
    pub since: Timestamp,
    /// How often it was asked.
    pub asked: u32,
    /// When it is asked again.
    pub again_at: Timestamp,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The finding it is.
    pub code: Code,
    /// One sentence.
    pub summary: String,
    /// The next command a person should run; may be empty.
    #[serde(default)]
    pub next: String,
    /// What it means for the change.
    #[serde(default)]
    pub then: Then,
}

/// What a failed attempt means for the change it began with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It is tried again.
    #[default]
    Again,
    /// The gateway does not answer: it is down, and reads what its sinks hold when it starts, or it
    /// is about to come up and may have read them before. It is tried again, and nobody is alarmed.
    Down,
    /// This force does not work here; the next greater one is needed.
    MoreForce,
    /// The gateway cannot be supplied in this way with the release it has; it is not tried again.
    Unfit,
    /// The gateway is at work and is asked again later; nothing was done to it.
    Busy,
    /// It was told to restart, and there is no proof that it did and is ready. It may be working on
    /// that: another restart waits for the interval between two.
    Unproven,
    /// The gateway runs and could not resolve everything that its configuration refers to. It is tried
    /// again, and never restarted for that: it would not resolve it then either, and may not start.
    Unresolved,
    /// The process that runs is older than the package and reads what its sinks hold at each use.
    /// Nothing is to be done.
    OldProcess,
}

impl Failure {
    /// A failure that is tried again, with the next command for a person (may be empty).
    pub fn new(code: Code, summary: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, summary: summary.into(), next: next.into(), then: Then::Again }
    }

    /// The same with another meaning for the change.
    #[must_use]
    pub fn meaning(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// A finding and when it was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFinding {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// When it was raised.
    pub since: Timestamp,
}

/// What changed among the findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingChanges {
    /// New ones.
    pub raised: Vec<Finding>,
    /// Those that are gone.
    pub cleared: Vec<Finding>,
}

impl GatewayMemory {
    /// Notes that the gateway's sinks change now. A change that is still pending is part of it.
    pub fn note_change(&mut self, now: Timestamp, token_ends: Option<Timestamp>, force: Force) {
        let before = self.pending.take();
        let since = before.as_ref().map_or(now, |p| now.max(p.since.after(Duration::from_millis(1))));
        // The gateway still uses the token from before the first of these changes.
        let token_ends = before.as_ref().map_or(token_ends, |p| p.token_ends);
        let busy = before.as_ref().and_then(|p| p.busy);
        let force = before.map_or(force, |p| p.force.max(force));
        self.pending = Some(Pending { since, token_ends, attempts: 0, not_before: None, force, busy });
    }

    /// Notes that the change of that time was applied; a later one stays pending.
    pub fn note_applied(&mut self, change: Timestamp) {
        self.pending = self.pending.take().filter(|p| p.since != change);
    }
}

impl Memory {
    /// The version of the document that this code writes.
    pub const VERSION: u32 = 1;

    /// Replaces the open findings by `now_open`, keeping the time of those that stay.
    pub fn replace_findings(&mut self, now_open: &[Finding], now: Timestamp) -> FindingChanges {
        let mut changes = FindingChanges::default();
        let before = std::mem::take(&mut self.findings);
        for finding in now_open {
            let known = before.iter().find(|o| o.finding.key() == finding.key());
            let since = known.map(|o| o.since);
            // One that has become worse is told anew.
            if known.is_none_or(|o| o.finding.severity < finding.severity) {
                changes.raised.push(finding.clone());
            }
            self.findings.push(OpenFinding { finding: finding.clone(), since: since.unwrap_or(now) });
        }
        for open in before {
            if !now_open.iter().any(|f| f.key() == open.finding.key()) {
                changes.cleared.push(open.finding);
            }
        }
        changes
    }

    /// Takes a server's word for the time: the wall clock is so many milliseconds ahead of it. What
    /// was dated by a clock that turns out to have been wrong is dated anew.
    pub fn confirm_clock(&mut self, reading: &ClockReading, ahead: i64) {
        let since = self.clock.anchored_at();
        let moved = self.clock.confirm(reading, ahead);
        let went_back = Duration::from_millis(moved.min(0).unsigned_abs()) > JUMP;
        for login in self.logins.values_mut() {
            if went_back {
                login.refresh.move_times(moved);
            }
            for record in login.lineage.iter_mut().filter(|r| Some(r.seen_at) >= since) {
                record.clock_ahead = clock::offset_after(record.clock_ahead, moved);
                if went_back {
                    record.seen_at = record.seen_at.moved(moved);
                }
            }
        }
    }

    /// Notes that a bundle was imported.
    pub fn note_imported(&mut self, bundle: Fingerprint) {
        self.imported.push(bundle);
        let surplus = self.imported.len().saturating_sub(IMPORTED_LIMIT);
        self.imported.drain(..surplus);
    }

    /// Since when a finding is open; `now` for one that is not.
    #[must_use]
    pub fn open_since(&self, finding: &Finding, now: Timestamp) -> Timestamp {
        self.findings.iter().find(|o| o.finding.key() == finding.key()).map_or(now, |o| o.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::code::{Code, Severity};
    use crate::base::secret::Secret;

    #[test]
    fn a_finding_is_told_when_it_comes_when_it_is_worse_and_when_it_is_over() {
        let at = Timestamp::from_millis;
        let finding = |severity| Finding::new(Code::SinkFailed, severity, "env", "words");
        let (mild, bad) = (finding(Severity::Warning), finding(Severity::Critical));
        let other = Finding::new(Code::SinkFailed, Severity::Warning, "another", "words");
        let changes = |raised: &[&Finding], cleared: &[&Finding]| FindingChanges {
            raised: raised.iter().copied().cloned().collect(),
            cleared: cleared.iter().copied().cloned().collect(),
        };
        let mut memory = Memory::default();
        let mut opened = |now_open: &[&Finding], now: i64| {
            let now_open: Vec<Finding> = now_open.iter().copied().cloned().collect();
            let changes = memory.replace_findings(&now_open, at(now));
            (changes, memory.open_since(&bad, at(9)))
        };
        assert_eq!(opened(&[&mild, &other], 1), (changes(&[&mild, &other], &[]), at(1)));
        assert_eq!(opened(&[&mild, &other], 2), (changes(&[], &[]), at(1)), "it lasts");
        assert_eq!(opened(&[&bad], 3), (changes(&[&bad], &[&other]), at(1)), "the same, but worse");
        assert_eq!(opened(&[&mild], 4), (changes(&[], &[]), at(1)), "better is not over");
        assert_eq!(opened(&[], 5), (changes(&[], &[&mild]), at(9)));
    }

    #[test]
    fn a_refresh_token_is_spent_when_a_later_one_came_and_not_when_it_went_elsewhere() {
        let key = FingerprintKey::new([7; FingerprintKey::LEN]);
        let token = |n: u8| key.fingerprint(&Secret::new(format!("sk-ant-ort01-{n}")));
        let record = |n: u8| GenerationRecord {
            generation: token(n + 100),
            access: token(n + 50),
            refresh: Some(token(n)),
            expires_at: None,
            seen_at: Timestamp::from_millis(i64::from(n)),
            clock_ahead: 0,
            is_ours: false,
        };
        let mut login = LoginMemory::default();
        assert!(!login.knows_as_spent(&token(1)), "never seen");
        (1..=3).for_each(|n| login.remember(record(n), None));
        let spent: Vec<bool> = (1..=4).map(|n| login.knows_as_spent(&token(n))).collect();
        assert_eq!(spent, [true, true, false, false]);
        login.moved = Some(Moved { refresh: token(2), at: Timestamp::from_millis(9) });
        assert!(!login.knows_as_spent(&token(2)), "it lives, at another host");
    }
}
