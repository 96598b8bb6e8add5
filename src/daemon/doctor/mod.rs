//! Gathers what the checks of `tokensink doctor` judge (`core::doctor`). Reads only: the host's files, `/proc`,
//! the service managers; the network where it is asked for. What cannot be seen is absent, never an error.

mod consumers;
mod network;
mod places;
mod services;

use std::collections::BTreeSet;

pub use self::places::links;
use crate::base::id::Provider;
use crate::config::settings::{LoginSettings, RefreshMode};
use crate::core::doctor::facts::{CliFacts, Facts, LoginFacts, SyncerFacts};
use crate::core::doctor::hiding;
use crate::daemon::apply;
use crate::daemon::look::Look;
use crate::daemon::store::StateDir;
use crate::daemon::syncers;
use crate::daemon::world::{World, source_path};
use crate::gateway::unit;
use crate::providers;
use crate::refresher::official;
use crate::sys::paths::Surroundings;
use crate::sys::processes::Environment;
use crate::sys::{processes, search};
use crate::systemd::bus::{BusAddresses, BusError, Scope};
use crate::systemd::job::ServiceManager;

/// Variables of the way to the network.
const WAYS: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "CODEX_CA_CERTIFICATE",
];

/// Everything that the checks look at.
pub async fn gather(
    version: &'static str,
    world: &World,
    state: &StateDir,
    look: &Look,
    asks: bool,
) -> Facts {
    let surroundings = &world.surroundings;
    let uid = nix::unistd::geteuid().as_raw();
    let managers = Managers { addresses: apply::buses(world), kept: unit::Managers::default() };
    let managed = managers.environment().await;
    let daemon = services::daemons(world, uid, &look.daemon);
    let daemons_environment = services::daemons_environment(&managers, &look.daemon, managed.as_ref()).await;
    let mut facts = Facts {
        logins: world
            .settings
            .logins
            .iter()
            .map(|login| of_login(world, login, daemons_environment.as_ref()))
            .collect(),
        places: places::places(world, state, look),
        consumers: consumers::consumers(world, look, &managers, managed.as_ref()).await,
        shell: set_in(surroundings),
        twins: services::twins(world, &managers, uid).await,
        syncers: syncers::found(surroundings, &world.settings).await.iter().map(of_syncer).collect(),
        daemons: daemon,
        manager: services::manager(&managers, version).await,
        lingers: services::lingers(),
        user: services::user_name(uid),
        uid,
        inotify: services::inotify(uid),
        logs: consumers::logs(world, uid).await,
        strays: places::strays(world),
        network: None,
    };
    if let Some(ours) = facts.daemons.iter_mut().find(|daemon| daemon.is_ours) {
        ours.version = services::version(&managers).await;
    }
    if asks {
        facts.network = Some(network::ask(world, &managers, daemons_environment.as_ref()).await);
    }
    facts
}

fn of_syncer(found: &syncers::Found) -> SyncerFacts {
    SyncerFacts {
        by: found.by.to_string(),
        unit: found.by.unit().map(|(name, _)| name.to_owned()),
        does: found.deed(),
        script: found.script.as_ref().map(|script| script.display().to_string()),
        remedy: found.by.remedy(),
    }
}

/// The variables of this command that may hide a login.
fn set_in(surroundings: &Surroundings) -> BTreeSet<String> {
    hiding().filter(|name| surroundings.variable(name).is_some()).map(str::to_owned).collect()
}

/// Variables whose values say where things are. None of them is a secret; those of proxies may be, and are
/// compared and never shown.
fn is_wanted(name: &str) -> bool {
    name == "HOME"
        || name == "PATH"
        || name.ends_with("_HOME")
        || name.ends_with("_DIR")
        || WAYS.contains(&name)
}

fn of_login(world: &World, login: &LoginSettings, daemon: Option<&Environment>) -> LoginFacts {
    let path = |surroundings: &Surroundings| source_path(login, surroundings).unwrap_or_default();
    let as_daemon = daemon.and_then(surroundings_of).filter(|_| login.path.is_none());
    let is_elsewhere = login.refresh.command.is_some() || login.refresh.container.is_some();
    let is_cli = matches!(login.refresh.mode, RefreshMode::Auto | RefreshMode::Cli);
    LoginFacts {
        id: login.id.to_string(),
        provider: login.provider,
        path: path(&world.surroundings).display().to_string(),
        daemons_path: as_daemon.map(|surroundings| path(&surroundings).display().to_string()),
        is_driven: is_cli && !is_elsewhere && !login.is_own(),
        cli: cli(login.provider, &world.surroundings, daemon),
    }
}

/// Surroundings as a process has them, as far as paths go.
fn surroundings_of(environment: &Environment) -> Option<Surroundings> {
    let home = environment.values.get("HOME")?.into();
    Some(Surroundings { home, variables: environment.values.clone() })
}

fn cli(provider: Provider, surroundings: &Surroundings, daemon: Option<&Environment>) -> Option<CliFacts> {
    let name = providers::cli_name(provider)?;
    let by_daemon = daemon.and_then(surroundings_of).map(|daemon| {
        let usual = || official::usual_places(&daemon.home).into_iter();
        let found = search::find_on(daemon.search_path(), name);
        found.or_else(|| usual().find_map(|place| search::find_on(&place.display().to_string(), name)))
    });
    let shown = |path: std::path::PathBuf| path.display().to_string();
    Some(CliFacts {
        name,
        here: search::find_on(surroundings.search_path(), name).map(shown),
        by_daemon: by_daemon.map(|found| found.map(shown)),
    })
}

/// The service managers, as far as they can be asked.
struct Managers {
    addresses: BusAddresses,
    kept: unit::Managers,
}

impl Managers {
    async fn of(&self, scope: Scope) -> Result<ServiceManager, BusError> {
        self.kept.of(scope, &self.addresses).await
    }

    /// What the user's manager gives every unit.
    async fn environment(&self) -> Option<Environment> {
        let assignments = self.of(Scope::User).await.ok()?.environment().await.ok()?;
        Some(Environment::of(assignments.iter().map(String::as_bytes), &is_wanted))
    }
}

/// The environment of a service: that of its process, else what its unit and its manager give it.
async fn environment_of(
    manager: &ServiceManager,
    unit: &str,
    managed: Option<&Environment>,
) -> Option<Environment> {
    let look = manager.service_look(unit).await.ok()?;
    if let Some(environment) = look.main_pid.and_then(|pid| processes::environment(pid, &is_wanted)) {
        return Some(environment);
    }
    let own = Environment::of(look.assignments.iter().map(String::as_bytes), &is_wanted);
    let mut environment = managed?.clone();
    environment.names.extend(own.names);
    environment.values.extend(own.values);
    Some(environment)
}
