//! When a login is refreshed, and what follows from how that went. Pure: the clock, the world and
//! the random number are arguments.
//!
//! R1: no refresh token is sent twice unless it is known that the first try was not sent, or that
//!     the server did not look at it.
//! R2: a dead or unknown token stops everything until the generation changes, or a person forces it.
//! R3: a clock jump alone spends nothing: times here are believed ones, see `core::clock`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::credential::Credential;
use crate::base::fingerprint::Fingerprint;
use crate::base::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
/// First wait after a failure that says nothing about the token.
const BACKOFF_FIRST: Duration = Duration::from_secs(60);
/// The longest such wait.
const BACKOFF_MOST: Duration = Duration::from_secs(3600);
/// The wait after an edge or policy refused us.
const BLOCKED_WAIT: Duration = Duration::from_secs(4 * 3600);
/// The wait when the CLI's own lock was not to be had.
const BUSY_WAIT: Duration = Duration::from_secs(60);

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Both tokens are new.
    Rotated,
    /// A new access token; the refresh token stayed.
    Kept,
    /// Somebody else had refreshed it; nothing was sent.
    Adopted,
    /// The provider refused the token for good.
    Rejected,
    /// Nothing was sent.
    NotSent,
    /// The server answered with something that says nothing about the token.
    Failed,
    /// Sent, and no answer that can be read.
    Unknown,
}

impl Ended {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Rotated,
        Self::Kept,
        Self::Adopted,
        Self::Rejected,
        Self::NotSent,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word used in JSON and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Kept => "kept",
            Self::Adopted => "adopted",
            Self::Rejected => "rejected",
            Self::NotSent => "not-sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a refresh came to, with what decides about the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The refresh token that was, or would have been, sent.
    pub refresh: Fingerprint,
    /// Whether it counts against the budget: it was a grant, or may have been one. What traded
    /// nothing is limited by the waits alone: a long outage must not use up the day after it.
    pub is_spent: bool,
    /// How long the other side asked us to wait.
    pub wait: Option<Duration>,
    /// How far our wall clock was ahead of the server's when its answer came, in milliseconds;
    /// `None` when no server told its time.
    pub clock_ahead: Option<i64>,
    /// One sentence.
    pub detail: String,
}

/// Why a login is not refreshed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The provider refused this refresh token.
    Rejected,
    /// It is not known whether this refresh token was spent; also what a word of another version comes to.
    #[serde(other)]
    Unknown,
}

/// What is remembered of the refreshes of a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshMemory {
    /// When the last attempt ended.
    pub last_at: Option<Timestamp>,
    /// How.
    pub last_ended: Option<Ended>,
    /// One sentence about it.
    pub detail: String,
    /// What counts against the budget of the last 24 hours, oldest first.
    pub requests: Vec<Timestamp>,
    /// A terminal state and the refresh token it is about.
    pub stopped: Option<(Stop, Fingerprint)>,
    /// Not before this time.
    pub not_before: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// How often each ending was noted, ever.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<Ended, u64>,
    /// A generation whose access token is refused, although it has not ended: it is due, for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Fingerprint>,
}

impl RefreshMemory {
    /// Notes how an attempt ended.
    pub fn note(&mut self, outcome: &Outcome, now: Timestamp) {
        self.last_at = Some(now);
        self.last_ended = Some(outcome.ended);
        let count = self.counts.entry(outcome.ended).or_default();
        *count = count.saturating_add(1);
        self.wanted = None;
        self.detail.clone_from(&outcome.detail);
        self.requests.retain(|at| now.since(*at) < DAY && *at <= now);
        if outcome.is_spent {
            self.requests.push(now);
        }
        match outcome.ended {
            Ended::Rotated | Ended::Kept | Ended::Adopted => {
                self.failures = 0;
                self.not_before = None;
                self.stopped = None;
                return;
            }
            Ended::Rejected => self.stopped = Some((Stop::Rejected, outcome.refresh.clone())),
            Ended::Unknown => self.stopped = Some((Stop::Unknown, outcome.refresh.clone())),
            // They say nothing about the token: what stopped it before (a person forced this
            // attempt) stops it still.
            Ended::NotSent | Ended::Failed => {}
        }
        self.failures = self.failures.saturating_add(1);
        let wait = outcome.wait.unwrap_or_else(|| backoff(self.failures));
        self.not_before = Some(now.after(wait));
    }

    /// Moves every time by so many milliseconds: the clock that they were taken from was wrong.
    pub fn move_times(&mut self, ms: i64) {
        let times = self.requests.iter_mut().chain(&mut self.last_at).chain(&mut self.not_before);
        times.for_each(|at| *at = at.moved(ms));
    }

    /// The terminal state, if it is about this refresh token.
    #[must_use]
    pub fn stopped_for(&self, refresh: &Fingerprint) -> Option<&Stop> {
        self.stopped.as_ref().filter(|(_, about)| about == refresh).map(|(stop, _)| stop)
    }
}

/// The wait after so many failures in a row.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(10);
    (BACKOFF_FIRST * factor).min(BACKOFF_MOST)
}

/// The wait after an edge or policy refused us.
#[must_use]
pub const fn blocked_wait() -> Duration {
    BLOCKED_WAIT
}

/// The wait when the CLI's own lock was not to be had.
#[must_use]
pub const fn busy_wait() -> Duration {
    BUSY_WAIT
}

/// In which direction due times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// By up to a tenth of the margin earlier.
    Earlier,
    /// By up to an eighth of the margin later: for a CLI that does nothing before the margin.
    Later,
}

/// The rules of one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long before the end of the access token a refresh is due.
    pub margin: Duration,
    /// Where the margin is longer than half of what is left of a fresh token, half of it is used.
    pub half_life: bool,
    /// Several logins, and several hosts, do not all come at once.
    pub spread: Spread,
    /// Requests in 24 hours, at most.
    pub grants_per_day: u32,
}

/// Whether and when a login is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Then.
    At(Timestamp),
    /// Not at all, with the reason in words; until the generation changes.
    Never(&'static str),
}

/// The generation at the source, and what its access token's end is measured with.
#[derive(Debug, Clone, Copy)]
pub struct Generation<'a> {
    /// Its identity: what the spread is taken from, so that a restart does not draw anew.
    pub id: &'a Fingerprint,
    /// Its refresh token.
    pub refresh: Option<&'a Fingerprint>,
    /// When it was first seen, for the half-life rule.
    pub seen_at: Option<Timestamp>,
    /// How far the wall clock was ahead of the believed time when it was written: its expiry was
    /// written by that clock. In milliseconds.
    pub clock_ahead: i64,
}

/// Judges a login.
#[must_use]
pub fn due(
    credential: &Credential,
    generation: Generation<'_>,
    memory: &RefreshMemory,
    rules: Rules,
    now: Timestamp,
) -> Due {
    let Some(refresh) = generation.refresh else { return Due::Never("there is no refresh token") };
    match memory.stopped_for(refresh) {
        Some(Stop::Rejected) => return Due::Never("the provider refused the refresh token"),
        Some(Stop::Unknown) => return Due::Never("it is not known whether the refresh token was spent"),
        None => {}
    }
    if credential.login_deadline.is_some_and(|at| at <= now) {
        return Due::Never("the login has ended");
    }
    let Some(ends) = credential.expires_at else { return Due::Never("the access token has no known end") };
    let ends = ends.moved(generation.clock_ahead.saturating_neg());
    let mut margin = rules.margin;
    if rules.half_life
        && let Some(seen_at) = generation.seen_at
    {
        margin = margin.min(ends.since(seen_at) / 2);
    }
    let share = share_of(generation.id);
    let mut at = match rules.spread {
        Spread::Earlier => ends.before(margin + margin.mul_f64(share) / 10),
        Spread::Later => ends.before(margin - margin.mul_f64(share) / 8),
    };
    if memory.wanted.as_ref() == Some(generation.id) {
        at = at.min(now);
    }
    if let Some(held) = held_until(memory, rules.grants_per_day, now) {
        at = at.max(held);
    }
    if at <= now { Due::Now } else { Due::At(at) }
}

/// A number from 0 to 1 that belongs to a generation.
fn share_of(generation: &Fingerprint) -> f64 {
    let digits = generation.as_str().get(..8).unwrap_or_default();
    u32::from_str_radix(digits, 16).map_or(0.0, |n| f64::from(n) / f64::from(u32::MAX))
}

/// Until when an earlier outcome or the budget holds a refresh back; `None` when nothing does.
#[must_use]
pub fn held_until(memory: &RefreshMemory, grants_per_day: u32, now: Timestamp) -> Option<Timestamp> {
    let not_before = memory.not_before.filter(|at| *at > now);
    not_before.max(budget_free_at(memory, grants_per_day, now))
}

/// When the budget allows the next request; `None` when it does now.
#[must_use]
fn budget_free_at(memory: &RefreshMemory, grants_per_day: u32, now: Timestamp) -> Option<Timestamp> {
    let recent: Vec<Timestamp> =
        memory.requests.iter().copied().filter(|at| now.since(*at) < DAY && *at <= now).collect();
    let allowed = usize::try_from(grants_per_day).unwrap_or(usize::MAX);
    let surplus = recent.len().checked_sub(allowed)?;
    recent.get(surplus).map(|oldest| oldest.after(DAY))
}
