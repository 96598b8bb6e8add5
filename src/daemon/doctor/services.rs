//! Facts of services: daemons of ours, our unit, units that run one instance twice, lingering, limits.

use std::path::{Path, PathBuf};

use super::{Environment, Managers, environment_of, is_wanted};
use crate::config::settings::UnitScope;
use crate::core::doctor::facts::{DaemonFacts, InotifyFacts, Manager, TwinFacts, Twins, UnitState};
use crate::core::report::DaemonReport;
use crate::daemon::world::World;
use crate::dbus;
use crate::sinks::openclaw::units;
use crate::sys::account::Account;
use crate::sys::processes;
use crate::systemd::bus::Scope;
use crate::systemd::outcome::LoadState;
use crate::systemd::{login1, look};

/// Our program and our unit.
const OURS: &str = "tokensink";
const UNIT: &str = "tokensink.service";
/// Where the system's units are enabled.
const SYSTEM_UNITS: &str = "/etc/systemd/system";
/// A host that systemd has booted has this.
const BOOTED: &str = "/run/systemd/system";
const LIMITS: &str = "/proc/sys/fs/inotify";
/// The limits of a user namespace, which hold as well.
const NAMESPACE_LIMITS: &str = "/proc/sys/user";

/// The daemons that keep the logins of this home: the one with the lock first.
pub fn daemons(world: &World, uid: u32, ours: &DaemonReport) -> Vec<DaemonFacts> {
    let home = std::fs::canonicalize(&world.surroundings.home).ok();
    let of_home = |pid: &u32| {
        let environment = processes::environment(*pid, &is_wanted);
        let its = environment.and_then(|environment| environment.values.get("HOME").map(PathBuf::from));
        home.is_some() && its.and_then(|its| std::fs::canonicalize(its).ok()) == home
    };
    let held = ours.pid.filter(|_| ours.running);
    let others = processes::running(uid, OURS, "daemon").into_iter().filter(|pid| Some(*pid) != held);
    let pids = held.into_iter().chain(others.filter(of_home));
    let facts = pids.map(|pid| {
        let (program, is_replaced) = processes::program(pid).unwrap_or_default();
        let program = program.display().to_string();
        DaemonFacts { pid, program, is_replaced, version: None, is_ours: Some(pid) == held }
    });
    facts.collect()
}

/// The environment of the daemon that runs, or that its unit would start.
pub async fn daemons_environment(
    managers: &Managers,
    daemon: &DaemonReport,
    managed: Option<&Environment>,
) -> Option<Environment> {
    if let Some(pid) = daemon.pid.filter(|_| daemon.running) {
        return processes::environment(pid, &is_wanted);
    }
    let manager = managers.of(Scope::User).await.ok()?;
    let facts = manager.unit_facts(UNIT).await.ok()?;
    if facts.load_state != LoadState::Loaded {
        return None;
    }
    environment_of(&manager, UNIT, managed).await
}

/// The version that the daemon says it is. To be asked only while one runs.
pub async fn version(managers: &Managers) -> Option<String> {
    look::version_of(&managers.addresses, dbus::NAME, dbus::PATH).await
}

/// The user's service manager and our unit in it.
pub async fn manager(managers: &Managers, version: &'static str) -> Manager {
    let is_booted = Path::new(BOOTED).is_dir();
    let manager = match managers.of(Scope::User).await {
        Ok(manager) => manager,
        Err(error) => {
            return Manager { unreachable: Some(error.to_string()), unit: None, version, is_booted };
        }
    };
    let facts = manager.unit_facts(UNIT).await.ok();
    let unit = facts.map(|facts| UnitState {
        is_loaded: facts.load_state == LoadState::Loaded,
        is_active: facts.active_state.is_running(),
        active: facts.active_state.as_str().to_owned(),
        file_state: facts.unit_file_state,
    });
    Manager { unreachable: None, unit, version, is_booted }
}

/// Whether the user's manager stays without a session.
pub fn lingers() -> Option<bool> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
    Path::new(BOOTED).is_dir().then(|| login1::lingers(&user.name))
}

/// The user's name, or number.
pub fn user_name(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// How much of the inotify limits this user has used.
pub fn inotify(uid: u32) -> Option<InotifyFacts> {
    let limit = |name: &str| {
        let read = |path: String| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let own = read(format!("{NAMESPACE_LIMITS}/max_inotify_{name}"));
        Some(read(format!("{LIMITS}/max_user_{name}"))?.min(own.unwrap_or(u64::MAX)))
    };
    let (instances, watches) = processes::inotify_use(uid);
    Some(InotifyFacts { instances: (instances, limit("instances")?), watches: (watches, limit("watches")?) })
}

/// Units of both managers, or several of one, that run the same instance.
pub async fn twins(world: &World, managers: &Managers, uid: u32) -> Vec<Twins> {
    let home = &world.surroundings.home;
    let own = Account::own();
    let mut by_instance: Vec<(PathBuf, Vec<(String, UnitScope)>)> = Vec::new();
    for (unit, scope) in units::named_like_gateways(home) {
        let Some(service) = units::service_of(&unit, scope, home) else { continue };
        let is_mine = own.is_meant_by(service.user.as_deref());
        if scope == UnitScope::User || units::is_placed(&service) || is_mine {
            let state_dir = units::state_dir(&service, home);
            match by_instance.iter_mut().find(|(known, _)| *known == state_dir) {
                Some((_, units)) => units.push((unit, scope)),
                None => by_instance.push((state_dir, vec![(unit, scope)])),
            }
        }
    }
    let mut found = Vec::new();
    for (state_dir, units) in by_instance.into_iter().filter(|(_, units)| units.len() > 1) {
        found.push(Twins {
            what: format!("the OpenClaw in {}", state_dir.display()),
            units: states(managers, units).await,
        });
    }
    let name = user_name(uid);
    let system = [UNIT.to_owned(), format!("tokensink@{name}.service")];
    let system = system.into_iter().filter(|unit| is_there(unit)).map(|unit| (unit, UnitScope::System));
    let units: Vec<_> = std::iter::once((UNIT.to_owned(), UnitScope::User)).chain(system).collect();
    if units.len() > 1 {
        found.push(Twins { what: "tokensink".to_owned(), units: states(managers, units).await });
    }
    found
}

async fn states(managers: &Managers, units: Vec<(String, UnitScope)>) -> Vec<TwinFacts> {
    let mut states = Vec::new();
    for (unit, scope) in units {
        let (manager, word) = match scope {
            UnitScope::User => (managers.of(Scope::User).await, "user"),
            UnitScope::System => (managers.of(Scope::System).await, "system"),
        };
        let facts = match manager {
            Ok(manager) => manager.unit_facts(&unit).await.ok(),
            Err(_) => None,
        };
        let state = match facts {
            Some(facts) => (facts.active_state.is_running(), facts.unit_file_state == "enabled"),
            None => (false, scope == UnitScope::System && is_wanted_by_some(&unit)),
        };
        states.push(TwinFacts { unit, scope: word, is_active: state.0, is_enabled: state.1 });
    }
    states
}

/// Whether the system has that unit, or starts an instance of that name.
fn is_there(unit: &str) -> bool {
    [SYSTEM_UNITS, "/usr/lib/systemd/system"].iter().any(|directory| Path::new(directory).join(unit).exists())
        || is_wanted_by_some(unit)
}

/// Whether a unit of the system is enabled, by the links that make it so.
fn is_wanted_by_some(unit: &str) -> bool {
    let listed = std::fs::read_dir(SYSTEM_UNITS).into_iter().flatten().flatten();
    let mut wants =
        listed.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "wants"));
    wants.any(|directory| directory.join(unit).is_symlink())
}
