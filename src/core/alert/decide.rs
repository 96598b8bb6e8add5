//! The rules of telling, for each finding and each channel by itself:
//!
//! - a critical finding is told at once, a warning when it has lasted a minute: what settles by itself
//!   needs nobody; one whose cause is open, and as bad, is told with that and not by itself, and when it
//!   outlasts that by a minute;
//! - a login's coming end is told once for each step that is crossed, any other finding again after
//!   `remind`, and whatever gets worse at once;
//! - what is over is resolved when it has been away for three seconds. One that has come back twice
//!   within `remind` is resolved only after ten minutes away: until then it stands as told;
//! - findings about one login's life take each other's place: a husk that becomes a missing file is the
//!   same dead login;
//! - one message at a time for each channel, the worst first; a channel that fails pauses alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::memory::{AlertMemory, Delivered, Stamp, Told};
use super::words::{self, Facts, LIFE};
use super::{Event, Message};
use crate::base::code::{Code, Finding, Severity};
use crate::base::time::Timestamp;
use crate::core::memory::OpenFinding;
use crate::core::model::Desired;

/// The channel that every configuration has.
pub const JOURNAL: &str = "journal";
/// How long a warning has to last before it is told.
const SETTLES: Duration = Duration::from_secs(60);
/// How long a finding has to be away before it is resolved.
const AWAY: Duration = Duration::from_secs(3);
/// The same for one that comes and goes.
const AWAY_LONG: Duration = Duration::from_secs(600);
/// So often it has come back then.
const COMES_AND_GOES: usize = 2;
/// A resolved message that is not delivered by then is of no use any more.
const STALE: Duration = Duration::from_secs(3 * 86_400);
/// A login's end that moved by more than this at once is that of another login. A token that somebody
/// renews for hours at a time is not told anew each time.
const ANOTHER_END: Duration = Duration::from_secs(3 * 86_400);

/// Who is told, and how often.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The channels that there are; the journal is always one.
    pub channels: Vec<Ear>,
    /// How long until an open finding is told again.
    pub remind: Duration,
    /// Steps before a login's end.
    pub login_deadline: Vec<Duration>,
    /// The name of this host.
    pub host: String,
}

/// One channel, as far as the rules know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ear {
    /// What is remembered under.
    pub key: String,
    /// What people call it; the subject of `ALERT_FAILED`.
    pub name: String,
}

/// How things are.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Every open finding.
    pub findings: &'a [OpenFinding],
    /// When logins end, by their id.
    pub ends: &'a BTreeMap<String, Timestamp>,
    /// The configuration.
    pub desired: &'a Desired,
    /// Keys of channels that are sending.
    pub busy: &'a BTreeSet<String>,
    /// The believed time.
    pub now: Timestamp,
}

/// One message for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The key of the channel.
    pub channel: String,
    /// What to send.
    pub message: Message,
    /// What to note when it was delivered.
    pub stamp: Stamp,
    /// What the channel's last message about the same left.
    pub handle: Option<String>,
}

/// What to do now, and when to decide again.
#[derive(Debug, Default)]
pub struct Decision {
    /// At most one for each channel.
    pub orders: Vec<Order>,
    /// When something is due that is not due now.
    pub wake_at: Option<Timestamp>,
}

/// Decides. Changes in memory what is seen, never what was delivered.
#[must_use]
pub fn decide(memory: &mut AlertMemory, scene: &Scene<'_>, rules: &Rules) -> Decision {
    let now = scene.now;
    memory.clamp(now);
    let open: Vec<&OpenFinding> =
        scene.findings.iter().filter(|open| open.finding.severity >= Severity::Warning).collect();
    forget_channels(memory, rules);
    take_over(memory, &open, now);
    note_seen(memory, &open, scene, rules);
    let mut decision = Decision::default();
    for ear in ears(rules) {
        if scene.busy.contains(&ear.key) {
            continue;
        }
        let mut owed = Vec::new();
        for told in &memory.told {
            let due = due(told, &ear, &open, scene, rules);
            match due {
                Some(due) if due.at <= now => owed.push((told, due)),
                Some(due) => decision.wake(due.at),
                None => {}
            }
        }
        // What a channel has to say of itself comes when it has nothing else to say.
        if owed.iter().any(|(told, _)| !is_of_itself(told, &ear)) {
            owed.retain(|(told, _)| !is_of_itself(told, &ear));
        }
        if owed.is_empty() {
            continue;
        }
        let trouble = memory.trouble.get(&ear.key);
        if let Some(trouble) = trouble.filter(|trouble| trouble.not_before > now) {
            decision.wake(trouble.not_before);
            continue;
        }
        owed.sort_by_key(|(told, due)| {
            (std::cmp::Reverse(told.finding.severity), due.event == Event::Reminder, told.first)
        });
        // A message that is refused again and again must not stand before the others.
        let failures = trouble.map_or(0, |trouble| trouble.failures);
        let index = usize::try_from(failures).unwrap_or(0) % owed.len();
        if let Some((told, due)) = owed.into_iter().nth(index) {
            decision.orders.push(order(told, due, &ear, &open, scene, rules));
        }
    }
    decision
}

/// When an open finding is told again at the latest, and since when which channel knows of it.
#[must_use]
pub fn next_reminder(told: &Told, rules: &Rules) -> Option<Timestamp> {
    if told.finding.code == Code::LoginExpiring || told.gone_at.is_some() {
        return None;
    }
    let open = told.channels.values().filter(|delivered| delivered.is_open);
    open.map(|delivered| delivered.at.after(rules.remind)).min()
}

impl Decision {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

fn ears(rules: &Rules) -> impl Iterator<Item = Ear> + '_ {
    let journal = Ear { key: JOURNAL.to_owned(), name: JOURNAL.to_owned() };
    std::iter::once(journal).chain(rules.channels.iter().cloned())
}

fn is_of_itself(told: &Told, ear: &Ear) -> bool {
    told.finding.code == Code::AlertFailed && told.finding.subject == ear.name
}

/// A channel that is not configured any more is owed nothing.
fn forget_channels(memory: &mut AlertMemory, rules: &Rules) {
    let is_known = |key: &String| key == JOURNAL || rules.channels.iter().any(|ear| &ear.key == key);
    for told in &mut memory.told {
        told.channels.retain(|key, _| is_known(key));
    }
    memory.trouble.retain(|key, trouble| is_known(key) || trouble.name == super::HEARTBEAT);
}

/// A finding about a login's life that is over because another one, as bad, took its place.
fn take_over(memory: &mut AlertMemory, open: &[&OpenFinding], now: Timestamp) {
    let is_open = |finding: &Finding| open.iter().any(|open| open.finding.key() == finding.key());
    let (over, mut rest): (Vec<Told>, Vec<Told>) = std::mem::take(&mut memory.told)
        .into_iter()
        .partition(|told| LIFE.contains(&told.finding.code) && !is_open(&told.finding));
    for told in over {
        let heir = open.iter().find(|open| {
            open.finding.subject == told.finding.subject
                && LIFE.contains(&open.finding.code)
                && open.finding.severity >= told.finding.severity
        });
        let Some(heir) = heir.filter(|_| told.channels.values().any(|delivered| delivered.is_open)) else {
            rest.push(told);
            continue;
        };
        if !rest.iter().any(|known| known.finding.key() == heir.finding.key()) {
            rest.push(Told::new(heir.finding.clone(), heir.since, now));
        }
        if let Some(entry) = rest.iter_mut().find(|known| known.finding.key() == heir.finding.key()) {
            for (channel, delivered) in told.channels {
                entry.channels.entry(channel).or_insert(delivered);
            }
        }
    }
    memory.told = rest;
}

/// Notes which findings are there and which are gone.
fn note_seen(memory: &mut AlertMemory, open: &[&OpenFinding], scene: &Scene<'_>, rules: &Rules) {
    let now = scene.now;
    for seen in open {
        let key = seen.finding.key();
        if memory.entry(key).is_none() {
            memory.told.push(Told::new(seen.finding.clone(), seen.since, now));
        }
        let Some(told) = memory.entry_mut(key) else { continue };
        if told.gone_at.take().is_some() && told.channels.values().any(|delivered| !delivered.is_open) {
            told.returns.push(now);
            told.first = now;
            told.was_covered = false;
        }
        told.since = seen.since;
        told.finding = seen.finding.clone();
        if is_covered(&seen.finding, open) {
            told.first = now;
            told.was_covered = true;
        }
        if let Some(end) = scene.ends.get(&seen.finding.subject) {
            told.channels.values_mut().for_each(|delivered| follow_end(delivered, *end, now, rules));
        }
    }
    let is_open = |told: &Told| open.iter().any(|seen| seen.finding.key() == told.finding.key());
    for told in memory.told.iter_mut().filter(|told| !is_open(told)) {
        let gone_at = *told.gone_at.get_or_insert(now);
        if now.since(gone_at) > STALE {
            told.channels.retain(|_, delivered| !delivered.is_open);
        }
    }
    memory.told.retain_mut(|told| {
        told.returns.retain(|at| now.since(*at) < rules.remind);
        let Some(gone_at) = told.gone_at else { return true };
        let is_owed = told.channels.values().any(|delivered| delivered.is_open);
        is_owed || (!told.channels.is_empty() && now.since(gone_at) < rules.remind)
    });
}

/// A login that was renewed, and still ends soon: the steps count from its new end.
fn follow_end(delivered: &mut Delivered, end: Timestamp, now: Timestamp, rules: &Rules) {
    if delivered.end.is_some_and(|known| end > known.after(ANOTHER_END)) {
        delivered.step = step(end, now, rules);
    }
    delivered.end = delivered.end.map(|_| end);
}

/// The last step before an end that is crossed, in milliseconds.
fn step(end: Timestamp, now: Timestamp, rules: &Rules) -> Option<u64> {
    let left = end.since(now);
    let crossed = rules.login_deadline.iter().filter(|step| left <= **step).min();
    crossed.map(|step| u64::try_from(step.as_millis()).unwrap_or(u64::MAX))
}

/// A finding whose cause is open, and as bad: told with that.
fn is_covered(finding: &Finding, open: &[&OpenFinding]) -> bool {
    causing(finding, open).is_some_and(|cause| {
        let back = causing(cause, open).is_some_and(|next| next.key() == finding.key());
        cause.severity >= finding.severity && !back && cause.key() != finding.key()
    })
}

fn causing<'a>(finding: &Finding, open: &[&'a OpenFinding]) -> Option<&'a Finding> {
    let cause = finding.caused_by.as_deref()?;
    let is_cause = |known: &&Finding| {
        cause.strip_prefix(known.code.as_str()).and_then(|rest| rest.strip_prefix(':'))
            == Some(&known.subject)
    };
    open.iter().map(|open| &open.finding).find(is_cause)
}

/// What a channel is owed about a finding, and when.
struct Due {
    event: Event,
    at: Timestamp,
    step: Option<u64>,
}

fn due(told: &Told, ear: &Ear, open: &[&OpenFinding], scene: &Scene<'_>, rules: &Rules) -> Option<Due> {
    let delivered = told.channels.get(&ear.key);
    let knows = delivered.filter(|delivered| delivered.is_open);
    if let Some(gone_at) = told.gone_at {
        knows?;
        let away = if told.returns.len() >= COMES_AND_GOES { AWAY_LONG } else { AWAY };
        return Some(Due { event: Event::Resolved, at: gone_at.after(away), step: None });
    }
    if is_covered(&told.finding, open) {
        return None;
    }
    let end = scene.ends.get(&told.finding.subject).filter(|_| told.finding.code == Code::LoginExpiring);
    if let Some(end) = end {
        return due_at_step(told, knows, *end, scene.now, rules);
    }
    let Some(knows) = knows else {
        let is_urgent = told.finding.severity == Severity::Critical && !told.was_covered;
        let settles = if is_urgent { Duration::ZERO } else { SETTLES };
        return Some(Due { event: Event::Raised, at: told.first.after(settles), step: None });
    };
    if told.finding.severity > knows.severity {
        return Some(Due { event: Event::Worse, at: scene.now, step: None });
    }
    let at = knows.at.after(rules.remind).max(told.first.after(SETTLES));
    Some(Due { event: Event::Reminder, at, step: None })
}

fn due_at_step(
    told: &Told,
    knows: Option<&Delivered>,
    end: Timestamp,
    now: Timestamp,
    rules: &Rules,
) -> Option<Due> {
    let said = knows.map(|delivered| delivered.step.unwrap_or(u64::MAX));
    if let Some(crossed) = step(end, now, rules).filter(|crossed| said.is_none_or(|said| *crossed < said)) {
        let event = if knows.is_some() { Event::Worse } else { Event::Raised };
        let at = if knows.is_some() { now } else { told.first.after(SETTLES) };
        return Some(Due { event, at, step: Some(crossed) });
    }
    let crosses = |step: &Duration| Some(end.before(*step)).filter(|at| *at > now);
    let at = rules.login_deadline.iter().filter_map(crosses).min()?;
    Some(Due { event: Event::Worse, at, step: None })
}

fn order(told: &Told, due: Due, ear: &Ear, open: &[&OpenFinding], scene: &Scene<'_>, rules: &Rules) -> Order {
    let delivered = told.channels.get(&ear.key);
    let caused = open.iter().map(|open| &open.finding).filter(|finding| {
        is_covered(finding, open)
            && causing(finding, open).is_some_and(|cause| cause.key() == told.finding.key())
    });
    let facts = Facts {
        event: due.event,
        finding: &told.finding,
        since: told.since,
        returns: told.returns.len(),
        caused: caused.collect(),
        desired: scene.desired,
        host: &rules.host,
        now: scene.now,
    };
    let stamp = Stamp {
        finding: told.finding.clone(),
        since: told.since,
        is_open: due.event != Event::Resolved,
        step: due.step,
        end: scene.ends.get(&told.finding.subject).copied(),
    };
    let handle = delivered.and_then(|delivered| delivered.handle.clone());
    Order { channel: ear.key.clone(), message: words::message(&facts), stamp, handle }
}
