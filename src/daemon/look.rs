//! One look at everything, as `tokensink status` prints it and as the daemon answers on D-Bus: offline,
//! nothing written.

use std::collections::BTreeMap;

use crate::base::code::Finding;
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::LoginId;
use crate::base::time::Timestamp;
use crate::core::clock::Judgement;
use crate::core::health;
use crate::core::memory::Memory;
use crate::core::model::{Observed, Plan};
use crate::core::plan;
use crate::core::report::{DaemonReport, Facts, Report};
use crate::core::schedule::{Step, Way};
use crate::daemon::refresh;
use crate::daemon::store::StateDir;
use crate::daemon::world::{Observation, World};
use crate::sys::clock;
use crate::sys::lock::{Probe, ProcessLock};

/// One look, of which several reports can be made.
#[derive(Debug)]
pub struct Look {
    /// The world.
    pub seen: Observation,
    /// What is remembered.
    pub memory: Memory,
    /// The daemon.
    pub daemon: DaemonReport,
    key: Option<FingerprintKey>,
    plan: Plan,
    findings: Vec<Finding>,
    next_refresh: BTreeMap<LoginId, Timestamp>,
    owners: BTreeMap<LoginId, &'static str>,
    now: Timestamp,
}

/// Looks at everything once.
#[must_use]
pub fn at(world: &World, state: &StateDir) -> Look {
    let (memory, key) = remembered(state);
    world.recall(&memory);
    let seen = world.observe();
    let now = clock::now();
    // Without a key nothing is remembered by fingerprint either: any key compares as well.
    let compare = key.clone().unwrap_or_else(|| FingerprintKey::new([0; FingerprintKey::LEN]));
    let plan = plan::plan(&world.desired, &seen.observed, &memory, &compare, now);
    let clock = memory.clock.judge(&clock::reading());
    let mut findings = health::findings(&world.desired, &seen.observed, &memory, &plan, &compare, &clock);
    let facts_of_daemon = memory.findings.iter().filter(|open| open.finding.code.is_daemons_own());
    findings.extend(facts_of_daemon.map(|open| open.finding.clone()));
    let daemon = daemon(state);
    if !daemon.running {
        findings.extend(health::unattended(&world.desired, &seen.observed, &plan));
    }
    let next_refresh = next_refreshes(world, state, &seen.observed, &memory, &compare, &clock);
    let owners = owners(world, &memory);
    Look { seen, memory, daemon, key, plan, findings, next_refresh, owners, now }
}

impl Look {
    /// What was seen of those logins, or of all when none is named.
    #[must_use]
    pub fn report(&self, wanted: &[String], world: &World) -> Report {
        let facts = Facts {
            desired: &world.desired,
            observed: &self.seen.observed,
            plan: &self.plan,
            memory: &self.memory,
            findings: &self.findings,
            key: self.key.as_ref(),
            next_refresh: self.next_refresh.clone(),
            owners: self.owners.clone(),
            daemon: self.daemon.clone(),
            now: self.now,
        };
        Report::build(&facts, &|id| wanted.is_empty() || wanted.iter().any(|w| w == id))
    }
}

/// What is to be seen now of those logins, or of all when none is named.
#[must_use]
pub fn report(wanted: &[String], world: &World, state: &StateDir) -> Report {
    at(world, state).report(wanted, world)
}

/// Who renews the logins that are renewed from here.
fn owners(world: &World, memory: &Memory) -> BTreeMap<LoginId, &'static str> {
    let owned = world.settings.logins.iter().filter_map(|login| {
        let cli = refresh::cli_of(world, login);
        let way = refresh::way(login, memory.logins.get(&login.id), cli.as_ref(), None).ok()?;
        Some((login.id.clone(), if way == Way::Direct { "tokensink" } else { "cli" }))
    });
    owned.collect()
}

/// When the daemon would refresh each login, as the wall clock will show it.
fn next_refreshes(
    world: &World,
    state: &StateDir,
    observed: &Observed,
    memory: &Memory,
    key: &FingerprintKey,
    clock: &Judgement,
) -> BTreeMap<LoginId, Timestamp> {
    let next = world.settings.logins.iter().filter_map(|login| {
        let known = memory.logins.get(&login.id);
        let way = refresh::way(login, known, refresh::cli_of(world, login).as_ref(), None);
        let credential = refresh::credential(observed, &login.id);
        match refresh::step(state, login, credential, memory, way, key, clock) {
            Step::Refresh | Step::Resolve | Step::AskTime => Some((login.id.clone(), clock.wall)),
            Step::Wait(at) => Some((login.id.clone(), at.moved(clock.ahead()))),
            Step::Rest(_) => None,
        }
    });
    next.collect()
}

/// What is remembered; nothing when it cannot be read. Of our own files only a damaged `state.json` is touched: it is
/// set aside, see [`StateDir::load`].
#[must_use]
pub fn remembered(state: &StateDir) -> (Memory, Option<FingerprintKey>) {
    (state.load().unwrap_or_default(), state.key())
}

/// Whether the daemon of this user runs.
#[must_use]
pub fn daemon(state: &StateDir) -> DaemonReport {
    match ProcessLock::probe(&state.daemon_lock()) {
        Ok(Probe::Held(holder)) => {
            DaemonReport { running: true, pid: holder.map(|h| h.pid), since: holder.map(|h| h.since) }
        }
        Ok(Probe::Free) | Err(_) => DaemonReport::default(),
    }
}
