//! When a gateway is made to follow, and by what force: rate limit, backoff, a gateway that is busy,
//! a reload that keeps failing; and the end of the token in use, which beats all of them.

use std::time::Duration;

use super::memory::{Busy, GatewayMemory, Memory, Pending, Retry, TargetMemory, Then};
use super::model::{ApplyRule, Delivery, Desired, DesiredGateway, Force};
use crate::base::code::{Code, Severity};
use crate::base::fingerprint::Fingerprint;
use crate::base::time::Timestamp;

/// First wait after a failed attempt; doubles up to [`BACKOFF_MOST`].
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait between attempts.
const BACKOFF_MOST: Duration = Duration::from_secs(15 * 60);
/// First wait after a gateway was busy; doubles up to [`BUSY_MOST`].
const BUSY_FIRST: Duration = Duration::from_secs(5);
/// The longest wait between two questions whether it is idle.
const BUSY_MOST: Duration = Duration::from_secs(2 * 60);
/// How long a busy gateway is waited for where the end of its token is not known: the life of a
/// Claude access token.
const BUSY_PATIENCE: Duration = Duration::from_secs(8 * 3600);
/// Failed reloads before a restart takes their place: half a minute of them.
const ESCALATE_AFTER: u32 = 3;
/// How long before the end of the token that is: Claude Code's own refresh comes 4 to 5 minutes
/// before that end, and a reload needs time to fail.
const ESCALATE_BEFORE: Duration = Duration::from_secs(2 * 60);
/// A change that was due this long ago and has neither arrived nor failed is a finding: the longest
/// attempt takes twelve minutes.
const CONVERGE_WITHIN: Duration = Duration::from_secs(15 * 60);

/// When the pending change of a gateway is due; `None` when nothing is pending. A reload, which
/// interrupts nothing, is due at once. Neither a rate limit nor a busy gateway delays a restart past
/// the end of the token that the gateway uses now.
#[must_use]
pub fn due_at(memory: &GatewayMemory, gateway: &DesiredGateway) -> Option<Timestamp> {
    let pending = memory.pending.as_ref()?;
    let due = match (pending.not_before, memory.restarted_at) {
        (Some(not_before), _) => not_before,
        (None, Some(last)) if pending.force == Force::Restart => {
            let limited = last.after(gateway.min_interval).max(pending.since);
            pending.token_ends.map_or(limited, |ends| limited.min(ends.max(pending.since)))
        }
        (None, _) => pending.since,
    };
    let due = match &pending.busy {
        Some(busy) if pending.force == Force::Restart => due.max(busy.again_at.min(patience_ends(pending))),
        _ => due,
    };
    Some(escalates_at(memory, gateway).map_or(due, |at| due.min(at)))
}

/// The force of an attempt made now.
#[must_use]
pub fn force_at(memory: &GatewayMemory, gateway: &DesiredGateway, now: Timestamp) -> Option<Force> {
    let pending = memory.pending.as_ref()?;
    let is_escalated = escalates_at(memory, gateway).is_some_and(|at| at <= now);
    Some(if is_escalated { Force::Restart } else { pending.force })
}

/// When a restart takes the place of a reload that keeps failing: shortly before the token in use
/// ends, and not within the interval of another restart. Never where the owner wants reloads only.
fn escalates_at(memory: &GatewayMemory, gateway: &DesiredGateway) -> Option<Timestamp> {
    let pending = memory.pending.as_ref()?;
    let may = gateway.apply == ApplyRule::WhenNeeded && is_failing_reload(memory, pending);
    let at = pending.token_ends.filter(|_| may)?.before(ESCALATE_BEFORE).max(pending.since);
    Some(memory.restarted_at.map_or(at, |last| at.max(last.after(gateway.min_interval))))
}

/// True when the gateway runs and its reload has failed more often than a passing trouble explains.
fn is_failing_reload(memory: &GatewayMemory, pending: &Pending) -> bool {
    let fails = memory.failure.as_ref().is_some_and(|f| f.then == Then::Again);
    fails && pending.force == Force::Reload && pending.attempts >= ESCALATE_AFTER
}

/// Whether a restart that is due now still waits for the gateway to be idle.
#[must_use]
pub fn waits_for_idle(memory: &GatewayMemory, now: Timestamp) -> bool {
    memory.pending.as_ref().is_some_and(|pending| now < patience_ends(pending))
}

fn patience_ends(pending: &Pending) -> Timestamp {
    let begun = pending.busy.map_or(pending.since, |busy| busy.since);
    pending.token_ends.unwrap_or_else(|| begun.after(BUSY_PATIENCE))
}

/// Notes that a gateway is busy. Returns the wait before it is asked again.
pub fn note_busy(pending: &mut Pending, now: Timestamp) -> Duration {
    let (since, before) = pending.busy.map_or((now, 0), |busy| (busy.since, busy.asked));
    let asked = before.saturating_add(1);
    let again_at = now.after(doubled(BUSY_FIRST, BUSY_MOST, asked)).min(patience_ends(pending));
    pending.busy = Some(Busy { since, asked, again_at });
    pending.not_before = None;
    again_at.since(now)
}

/// How bad it is that a gateway does not provably use the new generation, with the code and the
/// sentence where the attempts themselves have told nothing; `None` while all goes its way.
#[must_use]
pub fn not_converged(
    memory: &GatewayMemory,
    gateway: &DesiredGateway,
    now: Timestamp,
) -> Option<(Code, Severity, String)> {
    let pending = memory.pending.as_ref();
    let ends_soon =
        || pending.and_then(|p| p.token_ends).is_none_or(|ends| ends.before(ESCALATE_BEFORE) <= now);
    if let Some(failure) = &memory.failure {
        let severity = match failure.then {
            Then::Down => Severity::Notice,
            _ if pending.is_none() => Severity::Warning,
            // It goes on with the old token, which is good for a while.
            Then::Again | Then::Unresolved
                if pending.is_some_and(|p| p.force == Force::Reload) && !ends_soon() =>
            {
                Severity::Warning
            }
            _ => Severity::Critical,
        };
        return Some((failure.code, severity, failure.summary.clone()));
    }
    let is_late = due_at(memory, gateway)?.after(CONVERGE_WITHIN) <= now;
    let since = pending?.since;
    is_late.then(|| {
        let severity = if ends_soon() { Severity::Critical } else { Severity::Warning };
        let summary = format!("{} has not been made to use the generation of {since}", gateway.id);
        (Code::NotConverged, severity, summary)
    })
}

/// When a command may be handed `generation` by itself; `None` means at once.
#[must_use]
pub fn delivery_due_at(memory: Option<&TargetMemory>, generation: &Fingerprint) -> Option<Timestamp> {
    let retry = memory?.retry.as_ref()?;
    (&retry.generation == generation).then_some(retry.not_before)
}

/// Notes that a delivery was taken, and that its gateways have to follow from now on: before that
/// there was nothing new for them to read. `need` is what the change takes.
pub fn note_delivered(
    memory: &mut Memory,
    desired: &Desired,
    delivery: &Delivery,
    need: Force,
    now: Timestamp,
) {
    let target = memory.targets.entry(delivery.target.to_string()).or_default();
    let used = target.generation.replace(delivery.generation.clone());
    target.written_at = Some(now);
    target.failure = None;
    target.retry = None;
    let login = memory.logins.get(&delivery.login);
    let token_ends = used.and_then(|used| login?.record_of(&used)?.expires_at);
    for gateway in desired.gateways.iter().filter(|g| g.sinks.contains(&delivery.target.sink)) {
        let force = gateway.apply.force(need);
        if force > Force::Nothing {
            let known = memory.gateways.entry(gateway.id.clone()).or_default();
            known.note_change(now, token_ends, force);
        }
    }
}

/// Notes that a command did not take `generation`.
pub fn note_undelivered(memory: &mut TargetMemory, generation: &Fingerprint, now: Timestamp) {
    let before = memory.retry.take().filter(|r| &r.generation == generation).map_or(0, |r| r.attempts);
    let attempts = before.saturating_add(1);
    memory.retry =
        Some(Retry { generation: generation.clone(), attempts, not_before: now.after(backoff(attempts)) });
}

/// The wait after `attempts` failed attempts.
#[must_use]
pub fn backoff(attempts: u32) -> Duration {
    doubled(BACKOFF_FIRST, BACKOFF_MOST, attempts)
}

fn doubled(first: Duration, most: Duration, times: u32) -> Duration {
    (first * (1_u32 << times.saturating_sub(1).min(10))).min(most)
}

#[cfg(test)]
mod tests;
