//! What was told, and what could not be: kept over a restart as `alerts.json`. Holds ids, codes and
//! times, never a secret and never where a channel leads.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::code::{Code, Finding, Severity};
use crate::base::time::Timestamp;

/// Findings that are remembered at most; more are not told apart by anybody.
const TOLD_LIMIT: usize = 512;
/// Failures in a row that a passing trouble explains.
const PASSING: u32 = 3;
/// Pauses between tries of a channel, by the number of failures; the last one goes on.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];
/// No pause is longer, whatever a receiver asks for.
const PAUSE_MOST: Duration = Duration::from_secs(3600);

/// Everything that was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AlertMemory {
    /// Version of the document.
    pub format_version: u32,
    /// One entry for each finding that is open, or was told and may come back.
    pub told: Vec<Told>,
    /// Channels that did not take the last message, by their key.
    pub trouble: BTreeMap<String, Trouble>,
}

/// A finding and who was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The finding as it was seen last.
    pub finding: Finding,
    /// When it was raised.
    pub since: Timestamp,
    /// Since when it stands by itself: not covered by its cause.
    pub first: Timestamp,
    /// It was covered: what goes with its cause needs no word of its own.
    #[serde(default)]
    pub was_covered: bool,
    /// Since when it is over.
    #[serde(default)]
    pub gone_at: Option<Timestamp>,
    /// When it came back after it was resolved, oldest first.
    #[serde(default)]
    pub returns: Vec<Timestamp>,
    /// By the key of the channel: deliveries that were confirmed.
    #[serde(default)]
    pub channels: BTreeMap<String, Delivered>,
}

/// The last confirmed delivery of one channel about one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// When.
    pub at: Timestamp,
    /// How bad it was then.
    pub severity: Severity,
    /// False when the last word was that it is resolved.
    pub is_open: bool,
    /// The step before a login's end that was told, in milliseconds.
    #[serde(default)]
    pub step: Option<u64>,
    /// The login's end at that time.
    #[serde(default)]
    pub end: Option<Timestamp>,
    /// What the next message needs to take this one's place.
    #[serde(default)]
    pub handle: Option<String>,
}

/// A channel that does not take messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The channel's name.
    pub name: String,
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was.
    pub since: Timestamp,
    /// Not tried before.
    pub not_before: Timestamp,
    /// Why the last one failed; without a secret.
    pub why: String,
    /// Another try will not help.
    pub is_lasting: bool,
    /// Nobody may be there, and that is no fault.
    #[serde(default)]
    pub may_be_absent: bool,
}

impl Trouble {
    /// The finding that it is, once it is not passing any more.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        if !self.is_lasting && self.failures < PASSING {
            return None;
        }
        let severity = if self.may_be_absent { Severity::Notice } else { Severity::Warning };
        let summary = format!("nothing could be delivered since {}: {}", self.since, self.why);
        let finding = Finding::new(Code::AlertFailed, severity, self.name.clone(), summary);
        Some(finding.with_next("tokensink alert test"))
    }
}

/// What is noted when a message was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The finding.
    pub finding: Finding,
    /// Since when it is open.
    pub since: Timestamp,
    /// False for a resolved message.
    pub is_open: bool,
    /// The step before a login's end.
    pub step: Option<u64>,
    /// The login's end.
    pub end: Option<Timestamp>,
}

/// A message that a channel did not take.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The channel's name.
    pub name: String,
    /// Why; without a secret.
    pub why: String,
    /// Another try will not help.
    pub is_lasting: bool,
    /// The receiver's word on when to try again.
    pub retry_after: Option<Duration>,
    /// Nobody may be there, and that is no fault.
    pub may_be_absent: bool,
}

impl AlertMemory {
    /// The version of the document that this code writes.
    pub const VERSION: u32 = 1;

    /// Reads a document. What is damaged of it is left out: better told twice than not at all. The
    /// second value says whether anything was.
    #[must_use]
    pub fn read(bytes: &[u8]) -> (Self, bool) {
        let Ok(Value::Object(mut document)) = serde_json::from_slice(bytes) else {
            return (Self::default(), true);
        };
        let mut is_damaged = false;
        let mut memory = Self { format_version: Self::VERSION, ..Self::default() };
        match document.remove("told") {
            Some(Value::Array(entries)) => {
                for entry in entries {
                    match serde_json::from_value(entry) {
                        Ok(told) => memory.told.push(told),
                        Err(_) => is_damaged = true,
                    }
                }
            }
            other => is_damaged |= other.is_some(),
        }
        match document.remove("trouble") {
            Some(Value::Object(entries)) => {
                for (channel, entry) in entries {
                    match serde_json::from_value(entry) {
                        Ok(trouble) => drop(memory.trouble.insert(channel, trouble)),
                        Err(_) => is_damaged = true,
                    }
                }
            }
            other => is_damaged |= other.is_some(),
        }
        (memory, is_damaged)
    }

    /// The entry of a finding.
    #[must_use]
    pub fn entry(&self, key: (Code, &str)) -> Option<&Told> {
        self.told.iter().find(|told| told.finding.key() == key)
    }

    pub(super) fn entry_mut(&mut self, key: (Code, &str)) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.finding.key() == key)
    }

    /// Notes that a channel took a message: only this is a delivery.
    pub fn note_sent(&mut self, channel: &str, stamp: &Stamp, handle: Option<String>, at: Timestamp) {
        self.trouble.remove(channel);
        let delivered = Delivered {
            at,
            severity: stamp.finding.severity,
            is_open: stamp.is_open,
            step: stamp.step,
            end: stamp.end,
            handle,
        };
        if self.entry(stamp.finding.key()).is_none() {
            // It was over before it was delivered: somebody has to hear that, too.
            self.told.push(Told::new(stamp.finding.clone(), stamp.since, at));
        }
        if let Some(told) = self.entry_mut(stamp.finding.key()) {
            told.channels.insert(channel.to_owned(), delivered);
        }
    }

    /// Notes that a channel did not take a message; nothing else is touched by that.
    pub fn note_failed(&mut self, channel: &str, refusal: Refusal, at: Timestamp) {
        let before = self.trouble.get(channel);
        let failures = before.map_or(0, |trouble| trouble.failures).saturating_add(1);
        let since = before.map_or(at, |trouble| trouble.since);
        let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = PAUSES.get(step).or(PAUSES.last()).copied().unwrap_or(PAUSE_MOST);
        let pause = pause.max(refusal.retry_after.unwrap_or_default()).min(PAUSE_MOST);
        let trouble = Trouble {
            name: refusal.name,
            failures,
            since,
            not_before: at.after(pause),
            why: refusal.why,
            is_lasting: refusal.is_lasting,
            may_be_absent: refusal.may_be_absent,
        };
        self.trouble.insert(channel.to_owned(), trouble);
    }

    /// Every channel may be tried at once: somebody changed something.
    pub fn forget_pauses(&mut self, now: Timestamp) {
        self.trouble.values_mut().for_each(|trouble| trouble.not_before = now);
    }

    /// Puts what lies in the future at `now` (a clock that was wrong must not mute anything), and bounds
    /// what is kept.
    pub(super) fn clamp(&mut self, now: Timestamp) {
        for told in &mut self.told {
            told.first = told.first.min(now);
            told.gone_at = told.gone_at.map(|at| at.min(now));
            told.returns.iter_mut().for_each(|at| *at = (*at).min(now));
            told.channels.values_mut().for_each(|delivered| delivered.at = delivered.at.min(now));
        }
        for trouble in self.trouble.values_mut() {
            trouble.since = trouble.since.min(now);
            trouble.not_before = trouble.not_before.min(now.after(PAUSE_MOST));
        }
        if self.told.len() > TOLD_LIMIT {
            self.told.sort_by_key(|told| (told.gone_at.is_some(), std::cmp::Reverse(told.first)));
            self.told.truncate(TOLD_LIMIT);
        }
    }
}

impl Told {
    pub(super) fn new(finding: Finding, since: Timestamp, first: Timestamp) -> Self {
        Self {
            finding,
            since,
            first,
            was_covered: false,
            gone_at: None,
            returns: Vec::new(),
            channels: BTreeMap::new(),
        }
    }
}
