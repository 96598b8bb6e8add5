//! What follows when a gateway says in its own log that the provider answers 401, while by every clock
//! the token is good. Pure: what was heard, and the time, are arguments.
//!
//! U1: a 401 that does not come again changes nothing: everything is looked at once, and that is all.
//! U2: at one generation the gateway is made to follow once for this, by the usual means and limits.
//! U3: a refresh is asked for once in [`FORGOTTEN_AFTER`], whatever generations come in between: where a
//!     new token is refused like the old one, another new one is no help.
//! U4: only what is heard [`REPEATS_AFTER`] the last thing that was done counts: a request may have been
//!     under way, and one failure may be several lines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::health;
use super::memory::{GatewayMemory, LastAction, Memory};
use super::model::{ApplyRule, Desired, DesiredGateway, Force, Observed, Plan, TargetState};
use crate::base::code::{Code, Finding, Severity};
use crate::base::fingerprint::Fingerprint;
use crate::base::id::{GatewayId, LoginId};
use crate::base::time::Timestamp;

/// What comes within this time of the last step belongs to it.
pub const REPEATS_AFTER: Duration = Duration::from_secs(10);
/// How long a refresh that was asked for, and the gateway's following it, may take.
const REFRESH_TAKES: Duration = Duration::from_secs(2 * 60);
/// A new generation, and no 401 for so long: it is over.
const CALM: Duration = Duration::from_secs(3600);
/// Without a new generation, and between two refreshes: a gateway that has nothing to do logs nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 3600);

/// What a gateway's log said, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// When the first was heard.
    pub since: Timestamp,
    /// When the last was heard.
    pub last: Timestamp,
    /// How many lines.
    pub count: u64,
    /// The newest generations of the gateway's logins.
    pub generations: BTreeMap<LoginId, Fingerprint>,
    /// When something was last done, or a new generation came.
    pub step_at: Timestamp,
    /// The gateway was made to follow once more at these generations.
    pub reapplied: bool,
    /// When a refresh was asked for.
    pub refreshed_at: Option<Timestamp>,
    /// It persists, whatever was done: since when that is known, and whether a new generation came since.
    pub persists: Option<Persists>,
}

/// A 401 that nothing helped against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persists {
    /// Since when.
    pub since: Timestamp,
    /// A generation came that it has not been heard of yet, or not for long.
    pub has_new_generation: bool,
}

/// What is done about a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing more than to look.
    Look,
    /// The gateway is made to follow once more.
    Apply,
    /// Its logins are refreshed.
    Refresh,
    /// It is told.
    Tell,
}

/// What is known of the gateway when something is heard.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    generations: &'a BTreeMap<LoginId, Fingerprint>,
    /// When the newest of these generations was first seen.
    seen_at: Option<Timestamp>,
    gateway: &'a GatewayMemory,
    rule: ApplyRule,
    /// What a change of its sinks takes.
    force: Force,
    /// Every sink of it that can hold the current generation holds it.
    is_supplied: bool,
    now: Timestamp,
}

/// Takes a pass's hearing into account: marks what is to be applied and refreshed in the memory, and
/// forgets what is over. Called before pending changes begin and findings are made. Returns what was
/// done.
pub fn follow(
    memory: &mut Memory,
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> Vec<(GatewayId, Step)> {
    let mut done = Vec::new();
    for gateway in &desired.gateways {
        let heard = observed.refused.get(&gateway.id).copied().unwrap_or_default();
        let known = memory.gateways.get(&gateway.id);
        let record = known.and_then(|known| known.refusals.clone());
        if heard == 0 && record.is_none() {
            continue;
        }
        let (generations, seen_at) = generations(memory, desired, gateway);
        let mut record =
            record.filter(|_| gateway.is_heard).and_then(|record| settled(record, &generations, now));
        let none = GatewayMemory::default();
        let facts = Facts {
            generations: &generations,
            seen_at,
            gateway: known.unwrap_or(&none),
            rule: gateway.apply,
            force: force(gateway, observed),
            is_supplied: is_supplied(gateway, plan),
            now,
        };
        let step = if heard > 0 { hear(&mut record, heard, &facts) } else { Step::Look };
        let force = facts.force;
        let entry = memory.gateways.entry(gateway.id.clone()).or_default();
        entry.refusals = record;
        match step {
            Step::Apply => {
                let ends =
                    generations.keys().filter_map(|login| memory.logins.get(login)?.newest()?.expires_at);
                entry.note_change(now, ends.min(), force);
            }
            Step::Refresh => {
                for (login, generation) in generations {
                    memory.logins.entry(login).or_default().refresh.wanted = Some(generation);
                }
            }
            Step::Look | Step::Tell => {}
        }
        if step != Step::Look {
            done.push((gateway.id.clone(), step));
        }
    }
    done
}

/// The finding about a gateway, where nothing has helped.
#[must_use]
pub fn finding(gateway: &GatewayId, memory: &Memory) -> Option<Finding> {
    let record = memory.gateways.get(gateway)?.refusals.as_ref()?;
    record.persists?;
    let logins: Vec<&str> = record.generations.keys().map(LoginId::as_str).collect();
    let summary = format!(
        "its log says 401, {} times since {}, although it was given the current generation of {}",
        record.count,
        record.since,
        logins.join(", ")
    );
    let next = logins.first().map_or_else(String::new, |login| format!("tokensink reauth {login}"));
    let finding =
        Finding::new(Code::Unauthorized, Severity::Warning, gateway.as_str(), summary).with_next(next);
    // A login that is known to be dead is the cause.
    let mut dead = record.generations.keys().filter(|id| health::is_refused(memory.logins.get(*id)));
    Some(match dead.next() {
        Some(login) => finding.with_cause(Code::LoginNeeded, login.as_str()),
        None => finding,
    })
}

/// The newest generation of each login that the gateway reads, and when the latest of them was seen.
fn generations(
    memory: &Memory,
    desired: &Desired,
    gateway: &DesiredGateway,
) -> (BTreeMap<LoginId, Fingerprint>, Option<Timestamp>) {
    let sinks = desired.sinks.iter().filter(|sink| gateway.sinks.contains(&sink.id));
    let newest =
        sinks.filter_map(|sink| Some((sink.login.clone(), memory.logins.get(&sink.login)?.newest()?)));
    let newest: BTreeMap<_, _> = newest.collect();
    let seen_at = newest.values().map(|record| record.seen_at).max();
    (newest.into_iter().map(|(login, record)| (login, record.generation.clone())).collect(), seen_at)
}

fn force(gateway: &DesiredGateway, observed: &Observed) -> Force {
    let targets = observed.targets.iter().filter(|target| gateway.sinks.contains(&target.id.sink));
    targets.map(|target| gateway.apply.force(target.force)).max().unwrap_or(Force::Nothing)
}

fn is_supplied(gateway: &DesiredGateway, plan: &Plan) -> bool {
    let mut targets = plan.targets.iter().filter(|target| gateway.sinks.contains(&target.id.sink));
    targets.all(|target| matches!(target.state, TargetState::Current | TargetState::Refused))
}

/// What is still to be remembered; a new generation is noted.
fn settled(
    mut record: Refusals,
    generations: &BTreeMap<LoginId, Fingerprint>,
    now: Timestamp,
) -> Option<Refusals> {
    // A clock that was put back must not keep it for ever.
    record.last = record.last.min(now);
    if &record.generations != generations {
        record.generations.clone_from(generations);
        record.reapplied = false;
        record.step_at = now;
        record.persists = record.persists.map(|known| Persists { has_new_generation: true, ..known });
    }
    let quiet = now.since(record.last);
    if record.persists.is_some_and(|known| known.has_new_generation) && quiet >= CALM {
        record.persists = None;
    }
    (quiet < FORGOTTEN_AFTER).then_some(record)
}

/// Notes what was heard, and says what is done about it.
fn hear(record: &mut Option<Refusals>, heard: u64, facts: &Facts<'_>) -> Step {
    let now = facts.now;
    let Some(record) = record else {
        *record = Some(Refusals {
            since: now,
            last: now,
            count: heard,
            generations: facts.generations.clone(),
            step_at: now,
            reapplied: false,
            refreshed_at: None,
            persists: None,
        });
        return Step::Look;
    };
    record.last = now;
    record.count = record.count.saturating_add(heard);
    let is_settled = facts.gateway.pending.is_none() && facts.gateway.failure.is_none();
    // The pass and the usual attempts are at it, and tell themselves if they fail.
    if !(facts.is_supplied && is_settled) {
        return Step::Look;
    }
    let begun = facts.gateway.last_at.map_or(record.step_at, |at| at.max(record.step_at));
    if now.since(begun) < REPEATS_AFTER {
        return Step::Look;
    }
    if !is_proven(facts) && !record.reapplied && facts.force > Force::Nothing {
        record.reapplied = true;
        record.step_at = now;
        return Step::Apply;
    }
    let may_refresh = record.refreshed_at.is_none_or(|at| now.since(at) >= FORGOTTEN_AFTER);
    if may_refresh && is_proven(facts) {
        record.refreshed_at = Some(now);
        record.step_at = now;
        return Step::Refresh;
    }
    if record.refreshed_at.is_some_and(|at| now.since(at) < REFRESH_TAKES) {
        return Step::Look;
    }
    let known = record.persists.replace(Persists { since: now, has_new_generation: false });
    if let (Some(known), Some(persists)) = (known, &mut record.persists) {
        // Heard again, at the new generation too.
        persists.since = known.since;
        return Step::Look;
    }
    Step::Tell
}

/// Whether the gateway provably uses what its sinks hold.
fn is_proven(facts: &Facts<'_>) -> bool {
    match facts.rule {
        // Somebody else sees to it.
        ApplyRule::Never => false,
        _ if facts.force == Force::Nothing => true,
        _ => {
            let gateway = facts.gateway;
            let has_followed = gateway.last_action != LastAction::None && gateway.ready != Some(false);
            has_followed && gateway.last_at >= facts.seen_at
        }
    }
}

/// The matches in a setting that is one: `FIELD=VALUE`, or several of them, each without a blank in it.
/// `None` for a pattern.
#[must_use]
pub fn matches(text: &str) -> Option<Vec<&str>> {
    let is_match = |word: &str| {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
                && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        word.split_once('=').is_some_and(|(name, value)| is_name(name) && !value.is_empty())
    };
    if text.split_whitespace().all(is_match) {
        return Some(text.split_whitespace().collect());
    }
    is_match(text).then(|| vec![text])
}

#[cfg(test)]
mod tests;
