//! Carrying changes to gateways, and recording how that went. Long: every call here
//! runs in a task of its own, never inside a pass.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::code::Finding;
use crate::base::credential::SourceReading;
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::GatewayId;
use crate::base::time::Timestamp;
use crate::config::settings::{GatewaySettings, SinkSettings};
use crate::core::apply;
use crate::core::memory::{Failure, GatewayMemory, LastAction, LoginMemory, Memory, Then};
use crate::core::model::{Delivery, Force};
use crate::core::windows::Supply;
use crate::daemon::containers;
use crate::daemon::history;
use crate::daemon::model;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::{StateDir, identity_in};
use crate::daemon::world::{Source, World};
use crate::format::mirror;
use crate::gateway::openclaw::{self, Entry, Instance, KeyPlace, Reference};
use crate::gateway::openclaw_cli::OpenClawCli;
use crate::gateway::rpc::Door;
use crate::gateway::unit::Managers;
use crate::gateway::view::{self, Witness};
use crate::gateway::{self, Applied, Means, Order, UnderWay};
use crate::sinks::openclaw::{Wanted, probe};
use crate::sys::paths::Surroundings;
use crate::sys::{clock, failpoint};
use crate::systemd::bus::BusAddresses;

/// How long to wait for a pass of another process before recording an outcome.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);
/// How long a command of a gateway may take: a compose service has to be drained and made anew.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);

/// One attempt on a gateway.
#[derive(Debug)]
pub struct Attempt {
    /// The gateway.
    pub gateway: GatewayId,
    /// The change it began with.
    pub change: Timestamp,
    /// The release of its OpenClaw, where it has one.
    pub release: Option<String>,
    /// How it went.
    pub outcome: Result<Applied, Failure>,
    /// What its containers do not see after that; `None` where that could not be told.
    pub unseen: Option<Vec<Finding>>,
    /// How long it took.
    pub took: Duration,
    /// With what force.
    pub force: Force,
    /// The least time between two restarts.
    pub min_interval: Duration,
    /// Whether that was recorded, and after a failure the wait before the next attempt.
    pub recorded: Result<Option<Duration>, PassError>,
}

/// A gateway with a pending change.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The gateway.
    pub gateway: GatewaySettings,
    /// The change.
    pub change: Timestamp,
    /// What it takes.
    pub force: Force,
    /// When it is due.
    pub at: Timestamp,
    /// An attempt failed before; `at` is when the next one is due.
    pub has_failed: bool,
    /// The gateway was busy when it was asked last.
    pub is_busy: bool,
    /// A restart waits until the gateway is idle.
    pub waits_for_idle: bool,
    /// What shows whether it has what its sinks hold, where it is in containers.
    pub witnesses: Vec<Witness>,
}

/// The gateways with a pending change.
#[must_use]
pub fn waiting(world: &World, memory: &Memory, now: Timestamp) -> Vec<Waiting> {
    let gateways = world.settings.gateways.iter().zip(&world.desired.gateways);
    let waiting = gateways.filter_map(|(gateway, desired)| {
        let known = memory.gateways.get(&gateway.id)?;
        let pending = known.pending.as_ref()?;
        Some(Waiting {
            gateway: gateway.clone(),
            change: pending.since,
            force: apply::force_at(known, desired, now)?,
            at: apply::due_at(known, desired)?,
            has_failed: pending.not_before.is_some(),
            is_busy: pending.busy.is_some(),
            waits_for_idle: apply::waits_for_idle(known, now),
            witnesses: containers::witnesses(world, gateway),
        })
    });
    waiting.collect()
}

/// Until when a delivery that failed before is not tried again by itself.
#[must_use]
pub fn held_back(memory: &Memory, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
    let target = memory.targets.get(&delivery.target.to_string());
    apply::delivery_due_at(target, &delivery.generation).filter(|at| *at > now)
}

/// Where the buses are.
#[must_use]
pub fn buses(world: &World) -> BusAddresses {
    buses_of(&world.surroundings)
}

/// The same, before there is a world.
#[must_use]
pub fn buses_of(surroundings: &Surroundings) -> BusAddresses {
    BusAddresses {
        session: surroundings.variable("DBUS_SESSION_BUS_ADDRESS").map(str::to_owned),
        runtime_dir: surroundings.runtime_dir(),
        system: surroundings.variable("DBUS_SYSTEM_BUS_ADDRESS").map(str::to_owned),
    }
}

/// What gateways need of the surroundings.
#[must_use]
pub fn means(world: &World, managers: &Managers) -> Means {
    Means {
        buses: buses(world),
        managers: managers.clone(),
        environment: world.surroundings.child_environment(),
        command_deadline: COMMAND_DEADLINE,
    }
}

/// An OpenClaw instance that can be asked to reload.
#[derive(Debug)]
pub struct Reachable {
    /// How to reach it.
    pub instance: Instance,
    /// The entry of its own secret store that is to be handed the token, and where the token is.
    entry: Option<(String, Source)>,
}

impl Reachable {
    /// With the token as it is at the source now; without it if that is no login that a pass has
    /// judged to be the current one. It is kept for this attempt only.
    fn with_token(self, memory: &Memory, key: Option<&FingerprintKey>, is_retry: bool) -> Instance {
        let entry = self.entry.map(|(name, source)| {
            let newest = memory.logins.get(&source.login).and_then(LoginMemory::newest);
            let token = match (source.read().reading, key, newest) {
                (SourceReading::Ok(credential), Some(key), Some(newest))
                    if key.generation(&credential) == newest.generation =>
                {
                    Some(credential.access)
                }
                _ => None,
            };
            Entry { name, token, is_retry }
        });
        Instance { entry, ..self.instance }
    }
}

/// The OpenClaw instances whose sinks a gateway reads, as far as they can be asked to reload.
#[must_use]
pub fn instances(world: &World, memory: &Memory, gateway: &GatewaySettings) -> Vec<Reachable> {
    let unfit = memory.gateways.get(&gateway.id).and_then(|known| known.unfit.clone());
    let sinks = world.settings.sinks.iter().filter(|sink| gateway.sinks.contains(&sink.id));
    let found = sinks.filter_map(|sink| {
        let Reached { supply, instance, reference, .. } = reached(world, sink)?;
        let entry = match &reference.place {
            KeyPlace::Entry { name } => Some((name.clone(), world.source(&sink.login)?.clone())),
            KeyPlace::File { .. } => None,
        };
        match supply {
            Supply::Reference { needs_set_up } | Supply::Entry { needs_set_up } => {
                let is_fit = unfit.is_none() || unfit != instance.release;
                let instance = Instance { set_up: needs_set_up.then_some(reference), ..instance };
                (is_fit || !needs_set_up).then_some(Reachable { instance, entry })
            }
            Supply::Store(window) if !window.is_read_live => Some(Reachable { instance, entry }),
            _ => None,
        }
    });
    found.collect()
}

/// The instances whose configuration refers to what we supply, or knows it still, each with what it refers to and the
/// gateway that reads it.
#[must_use]
pub fn references(world: &World) -> Vec<(GatewayId, Instance, Reference)> {
    let sinks = world.settings.sinks.iter().filter_map(|sink| {
        let Reached { supply, instance, reference, is_half } = reached(world, sink)?;
        let gateway = world.settings.gateways.iter().find(|g| g.sinks.contains(&sink.id))?;
        let is_set_up = matches!(
            supply,
            Supply::Reference { needs_set_up: false } | Supply::Entry { needs_set_up: false }
        );
        (is_set_up || is_half).then(|| (gateway.id.clone(), instance, reference))
    });
    sinks.collect()
}

/// Files of ours to which an OpenClaw does not refer any more: what an undo that died has left.
#[must_use]
pub fn left(world: &World) -> Vec<PathBuf> {
    let of = |sink: &SinkSettings| {
        let (wanted, around) = (Wanted::of(sink)?, world.around(&sink.id));
        wanted.left(&probe::probe(wanted.state_dir, &around), &around)
    };
    world.settings.sinks.iter().filter_map(of).collect()
}

/// The instance of an OpenClaw sink.
struct Reached {
    /// How it is supplied.
    supply: Supply,
    instance: Instance,
    /// What its configuration refers to where that is the way.
    reference: Reference,
    /// It knows our file and has no key from there.
    is_half: bool,
}

/// `None` for another kind of sink, and for an instance that cannot be reached.
fn reached(world: &World, sink: &SinkSettings) -> Option<Reached> {
    let wanted = Wanted::of(sink)?;
    let around = world.around(&sink.id);
    let seen = probe::probe(wanted.state_dir, &around);
    let supply = wanted.supply(&seen, &around);
    let owner = std::fs::metadata(wanted.state_dir).ok().map(|directory| directory.uid());
    let door = seen.release.as_ref().zip(seen.config.as_ref()).and_then(|(release, config)| {
        Door::of(release, config.expose(), &seen.environment, &seen.secrets, owner)
    });
    let is_entry = matches!(supply, Supply::Entry { .. });
    let is_half = !is_entry && wanted.is_half_referred(&seen, openclaw::ALIAS, &around);
    // What is handed over can be handed over without a CLI.
    if seen.program.is_none() && !(is_entry && door.is_some()) {
        return None;
    }
    let instance = Instance {
        cli: cli(world, &seen, around.container.is_some()),
        release: seen.release.map(|release| release.to_string()),
        state_dir: wanted.state_dir.to_owned(),
        config_path: seen.config_path,
        installed_at: seen.installed_at,
        identity: identity_in(&world.surroundings.state_dir(), &sink.id),
        door,
        entry: None,
        set_up: None,
    };
    let reference = Reference {
        provider: wanted.provider().to_owned(),
        place: if is_entry {
            KeyPlace::Entry { name: wanted.entry() }
        } else {
            KeyPlace::File { path: wanted.mirror(&around), pointer: mirror::pointer(wanted.provider()) }
        },
    };
    Some(Reached { supply, instance, reference, is_half })
}

/// The CLI of an instance, with the environment of the daemon and what its unit adds.
#[must_use]
pub fn cli(world: &World, seen: &probe::Instance, is_contained: bool) -> OpenClawCli {
    let mut environment = world.surroundings.child_environment();
    environment.extend(seen.environment.clone());
    let program = seen.program.clone().unwrap_or_default();
    OpenClawCli { program, environment, secrets: seen.secrets.clone(), is_contained }
}

/// Makes one attempt, waiting up to `patience` for another process that applies a change to the
/// same gateway. `None` when that one goes on, or has settled this change meanwhile: a change is
/// applied once, by whoever is first. `under_way` is dropped when the slow part begins.
pub async fn attempt(
    state: StateDir,
    waiting: Waiting,
    instances: Vec<Reachable>,
    means: Means,
    patience: Duration,
    under_way: UnderWay,
) -> Option<Attempt> {
    let Waiting { gateway, change, force, waits_for_idle, witnesses, .. } = waiting;
    let _lock = pass::hold(&state.gateway_lock(&gateway.id), patience).await.ok()?;
    let is_open = |memory: &Memory| {
        memory.gateways.get(&gateway.id).and_then(|g| g.pending.as_ref()).is_some_and(|p| p.since == change)
    };
    let memory = state.load().ok().filter(is_open)?;
    let key = state.key();
    let known = memory.gateways.get(&gateway.id);
    let is_retry = known.and_then(|known| known.pending.as_ref()).is_some_and(|pending| pending.attempts > 0);
    let is_unproven =
        known.and_then(|known| known.failure.as_ref()).is_some_and(|f| f.then == Then::Unproven);
    let instances: Vec<Instance> =
        instances.into_iter().map(|instance| instance.with_token(&memory, key.as_ref(), is_retry)).collect();
    let start = clock::monotonic();
    let without_model = model::without_one(&instances);
    let unproven_for = is_unproven.then(|| clock::now().since(change));
    let order = Order { force, waits_for_idle, unproven_for };
    let outcome = gateway::apply(&gateway, order, &instances, &witnesses, &means, under_way).await;
    let mut unseen = None;
    if outcome.is_ok() {
        model::complete(&state, &gateway.id, &without_model).await;
        unseen = view::check(&gateway.kind, &witnesses, &means).await.ok();
    }
    let mut attempt = Attempt {
        gateway: gateway.id,
        change,
        force,
        min_interval: gateway.min_interval,
        release: instances.into_iter().find_map(|instance| instance.release),
        outcome,
        unseen,
        took: clock::monotonic().saturating_sub(start),
        recorded: Ok(None),
    };
    // Recorded under the same lock: nobody else can find the change open again.
    attempt.recorded = record(&state, &attempt).await;
    history::attempt(&state, &attempt);
    Some(attempt)
}

/// Records an attempt. Returns the wait before the next one after a failure.
async fn record(state: &StateDir, attempt: &Attempt) -> Result<Option<Duration>, PassError> {
    failpoint::hit("apply-unrecorded");
    let _lock = pass::hold_pass(state, RECORD_DEADLINE).await?;
    let mut memory = state.load()?;
    let now = clock::now();
    let entry = memory.gateways.entry(attempt.gateway.clone()).or_default();
    let wait = note(entry, attempt, now);
    state.save(&mut memory)?;
    Ok(wait)
}

/// Notes how an attempt went. Returns the wait before the next one after a failure.
fn note(entry: &mut GatewayMemory, attempt: &Attempt, now: Timestamp) -> Option<Duration> {
    if let Some(unseen) = &attempt.unseen {
        entry.unseen.clone_from(unseen);
    }
    match &attempt.outcome {
        Ok(applied) => {
            entry.note_applied(attempt.change);
            entry.last_action = applied.action;
            let count = entry.counts.entry(applied.action).or_default();
            *count = count.saturating_add(1);
            entry.last_at = Some(now);
            let is_restart = matches!(applied.action, LastAction::Restart | LastAction::Recreate);
            if is_restart && applied.outcome != gateway::PROVEN {
                entry.restarted_at = Some(now);
            }
            entry.failure = None;
            entry.ready = applied.ready;
            entry.invocation.clone_from(&applied.invocation);
            None
        }
        Err(failure) => {
            // What is seen to by a restart, or waits for one, is not missing yet.
            if !matches!(failure.then, Then::MoreForce | Then::Busy) {
                entry.failure = Some(failure.clone());
            }
            if matches!(failure.then, Then::Unfit | Then::OldProcess) {
                if failure.then == Then::Unfit {
                    entry.unfit.clone_from(&attempt.release);
                }
                entry.last_at = Some(now);
                entry.note_applied(attempt.change);
                return None;
            }
            note_open(entry, attempt, failure.then, now)
        }
    }
}

/// Notes an attempt that leaves its change open. Returns the wait before the next one.
fn note_open(entry: &mut GatewayMemory, attempt: &Attempt, then: Then, now: Timestamp) -> Option<Duration> {
    if then == Then::Unproven {
        entry.last_action = LastAction::Restart;
        entry.last_at = Some(now);
        entry.restarted_at = Some(now);
        entry.ready = Some(false);
    }
    let pending = entry.pending.as_mut()?;
    if then == Then::MoreForce && pending.force < Force::Restart {
        pending.force = Force::Restart;
        return Some(Duration::ZERO);
    }
    // A restart that took the place of a reload stays one until it is done.
    pending.force = pending.force.max(attempt.force);
    if then == Then::Busy {
        return Some(apply::note_busy(pending, now));
    }
    pending.attempts = pending.attempts.saturating_add(1);
    let mut wait = apply::backoff(pending.attempts);
    if then == Then::Unproven {
        wait = wait.max(attempt.min_interval);
    }
    pending.not_before = Some(now.after(wait));
    Some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::code::Code;

    const AT: fn(i64) -> Timestamp = |s| Timestamp::from_millis(s * 1000);

    fn attempt(then: Then, force: Force) -> Attempt {
        Attempt {
            gateway: GatewayId::try_new("claw").unwrap(),
            change: AT(0),
            release: None,
            outcome: Err(Failure::new(Code::NotConverged, "why", "").meaning(then)),
            unseen: None,
            took: Duration::ZERO,
            force,
            min_interval: Duration::from_secs(600),
            recorded: Ok(None),
        }
    }

    fn changed(force: Force) -> GatewayMemory {
        let mut memory = GatewayMemory::default();
        memory.note_change(AT(0), Some(AT(9000)), force);
        memory
    }

    #[test]
    fn a_restart_without_its_proof_is_not_repeated_within_the_interval() {
        let mut memory = changed(Force::Restart);
        let wait = note(&mut memory, &attempt(Then::Unproven, Force::Restart), AT(100));
        assert_eq!(wait, Some(Duration::from_secs(600)));
        assert_eq!((memory.restarted_at, memory.ready), (Some(AT(100)), Some(false)));
        assert_eq!(memory.pending.unwrap().not_before, Some(AT(700)));
    }

    #[test]
    fn a_busy_gateway_is_no_failure_and_a_restart_in_place_of_a_reload_stays_one() {
        let mut memory = changed(Force::Reload);
        assert_eq!(
            note(&mut memory, &attempt(Then::Busy, Force::Restart), AT(100)),
            Some(Duration::from_secs(5))
        );
        assert_eq!((&memory.failure, memory.restarted_at), (&None, None));
        let pending = memory.pending.unwrap();
        assert_eq!((pending.force, pending.attempts, pending.not_before), (Force::Restart, 0, None));
    }

    #[test]
    fn an_old_process_settles_the_change_and_stays_a_finding() {
        let mut memory = changed(Force::Reload);
        assert_eq!(note(&mut memory, &attempt(Then::OldProcess, Force::Reload), AT(100)), None);
        assert!(memory.pending.is_none() && memory.failure.is_some() && memory.unfit.is_none());
    }
}
