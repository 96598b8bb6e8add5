//! What there is on this host to set up on: who runs us, whose environment that is, which service
//! managers answer. Nothing is changed, and nothing that a foreign tool says to people is read.
//!
//! A shell that was opened for somebody else (`su`, `sudo`, `runuser`) has half of the other's
//! environment: what names a place that is not ours is not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::plan::{Facts, Runtime, UNIT, UnitNow};
use crate::base::id::Provider;
use crate::daemon::{apply, refresh};
use crate::format::unit_file;
use crate::providers;
use crate::sys::account::Account;
use crate::sys::paths::Surroundings;
use crate::sys::process::{self, CommandSpec};
use crate::sys::search;
use crate::systemd::bus::{BusAddresses, BusError, Scope};
use crate::systemd::job::ServiceManager;
use crate::systemd::login1;
use crate::systemd::outcome::LoadState;

/// Made by systemd where it is the first process; see sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// What units are started with where no manager says otherwise (systemd 252).
const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";
/// How long a login shell may take to say what its search path is.
const SHELL_DEADLINE: Duration = Duration::from_secs(5);

/// Who runs us, and what of the environment is to be believed.
pub(super) struct Ground {
    pub account: Account,
    pub surroundings: Surroundings,
    disowned_home: Option<PathBuf>,
    runtime: Runtime,
}

/// The variables of a manager's units, without those that hold secrets: they say where things are.
fn places(assignments: &[String]) -> BTreeMap<String, String> {
    let pairs = assignments.iter().filter_map(|assignment| assignment.split_once('='));
    let plain = pairs.filter(|(name, _)| !unit_file::is_secret(name));
    plain.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Where the official CLI of a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// The daemon finds it.
    Daemon(PathBuf),
    /// Only this shell, or a login shell, does.
    Shell(PathBuf),
    /// Nobody does.
    Nobody,
}

/// The managers that answer, and what their units are started with.
pub(super) struct Managers {
    pub user: Option<ServiceManager>,
    pub system: Option<ServiceManager>,
    pub environment: BTreeMap<String, String>,
}

impl Ground {
    /// Looks who we are, and drops what the environment says of somebody else.
    ///
    /// # Errors
    /// When there is no home directory of ours: nothing is ever written into another's.
    pub fn of(mut surroundings: Surroundings) -> Result<Self, String> {
        let account = Account::own();
        let mut disowned_home = None;
        if !account.owns(&surroundings.home) {
            let foreign = surroundings.home.display().to_string();
            let own = account.home.clone().filter(|home| account.owns(home)).ok_or_else(|| {
                format!(
                    "HOME is {foreign}, which is not yours, and your account has no home directory of its own"
                )
            })?;
            disowned_home = Some(std::mem::replace(&mut surroundings.home, own));
        }
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            let is_foreign = surroundings.variable(name).is_some_and(|dir| !account.owns(Path::new(dir)));
            if is_foreign {
                surroundings.variables.remove(name);
            }
        }
        for directory in [surroundings.config_dir(), surroundings.state_dir()] {
            if !account.owns(&directory) {
                return Err(format!("{} is not yours to make", directory.display()));
            }
        }
        let runtime = runtime(&account, &mut surroundings);
        Ok(Self { account, surroundings, disowned_home, runtime })
    }

    /// Where the buses are.
    pub fn buses(&self) -> BusAddresses {
        apply::buses_of(&self.surroundings)
    }

    /// The account's name, else its number.
    pub fn user(&self) -> String {
        if self.account.name.is_empty() { self.account.uid.to_string() } else { self.account.name.clone() }
    }

    /// Asks the managers.
    pub async fn managers(&self) -> Managers {
        let buses = self.buses();
        let user = ServiceManager::connect(Scope::User, &buses).await.ok();
        let system = match Path::new(BOOTED).is_dir() {
            true => ServiceManager::connect(Scope::System, &buses).await.ok(),
            false => None,
        };
        let environment = match &user {
            Some(manager) => manager.environment().await.map(|all| places(&all)).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        Managers { user, system, environment }
    }

    /// Everything that the plan rests on.
    pub async fn facts(
        &self,
        managers: &Managers,
        configured: Vec<PathBuf>,
        has_anything: bool,
        has_syncers: bool,
    ) -> Facts {
        let user = self.user();
        let template = format!("tokensink@{user}.service");
        let of_unit = |name: &'static str| managers.environment.get(name).cloned();
        // Without a manager to ask: what it would be told by default.
        let unit_home = of_unit("HOME").map(PathBuf::from).or_else(|| self.account.home.clone());
        let as_unit = unit_home.map(|home| {
            let variables = of_unit("XDG_CONFIG_HOME").map(|dir| ("XDG_CONFIG_HOME".to_owned(), dir));
            Surroundings { home, variables: variables.into_iter().collect() }.config_dir()
        });
        Facts {
            lingers: login1::lingers(&user),
            unit: unit_now(managers.user.as_ref(), UNIT).await,
            template: unit_now(managers.system.as_ref(), &template).await,
            user,
            uid: self.account.uid,
            sudo_user: self.surroundings.variable("SUDO_USER").filter(|by| *by != "root").map(str::to_owned),
            disowned_home: self.disowned_home.clone(),
            home: self.surroundings.home.clone(),
            runtime: self.runtime,
            has_systemd: Path::new(BOOTED).is_dir(),
            manages: managers.user.is_some(),
            has_bus: managers.user.as_ref().is_some_and(|manager| !manager.is_private()),
            config_dir: self.surroundings.config_dir(),
            unit_config_dir: as_unit,
            configured,
            has_anything,
            has_syncers,
        }
    }

    /// The file of a provider's login, by the variables of this shell or by those of a unit.
    pub fn place(&self, managers: &Managers, provider: Provider, is_here: bool) -> Option<PathBuf> {
        let variables = if is_here { &self.surroundings.variables } else { &managers.environment };
        providers::default_path(provider, &self.surroundings.home, variables)
    }

    /// Where the official CLI of each of those providers is.
    pub async fn clis(
        &self,
        managers: &Managers,
        providers: &BTreeSet<Provider>,
    ) -> Vec<(&'static str, Reach)> {
        let mut unit = self.surroundings.clone();
        let path = managers.environment.get("PATH").cloned().unwrap_or_else(|| UNIT_PATH.to_owned());
        unit.variables.insert("PATH".to_owned(), path);
        let mut login_shell = None;
        let mut found = Vec::new();
        for provider in providers {
            let Some(name) = providers::cli_name(*provider) else { continue };
            let reach =
                match (refresh::cli_for(&unit, *provider), refresh::cli_for(&self.surroundings, *provider)) {
                    (Some(program), _) => Reach::Daemon(program),
                    (None, Some(program)) => Reach::Shell(program),
                    (None, None) => {
                        if login_shell.is_none() {
                            login_shell = Some(self.login_path().await);
                        }
                        let path = login_shell.as_deref().unwrap_or_default();
                        search::find_on(path, name).map_or(Reach::Nobody, Reach::Shell)
                    }
                };
            found.push((name, reach));
        }
        found
    }

    /// The search path of a login shell; empty when that does not say.
    async fn login_path(&self) -> String {
        let Some(shell) = &self.account.shell else { return String::new() };
        let argv = [shell.as_os_str(), "-l".as_ref(), "-c".as_ref(), "echo; echo \"$PATH\"".as_ref()];
        let environment = self.surroundings.child_environment();
        let spec = CommandSpec {
            argv: argv.map(ToOwned::to_owned).to_vec(),
            env: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            stdin: None,
            cwd: None,
            deadline: SHELL_DEADLINE,
            output_limit: 64 * 1024,
        };
        let Ok(done) = process::run(spec).await else { return String::new() };
        // Profiles say what they like before it.
        let said = String::from_utf8_lossy(done.stdout.bytes.expose()).into_owned();
        said.lines().last().unwrap_or_default().to_owned()
    }
}

/// Whose runtime directory is named, with whatever is not ours taken out of the environment.
fn runtime(account: &Account, surroundings: &mut Surroundings) -> Runtime {
    let is_ours = |dir: &Path| dir.is_dir() && account.owns(dir);
    let named = surroundings.variable("XDG_RUNTIME_DIR").is_some_and(|dir| is_ours(Path::new(dir)));
    if !named {
        surroundings.variables.remove("XDG_RUNTIME_DIR");
    }
    let is_foreign = surroundings.variable("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| {
        let sockets = address.split([';', ',']).filter_map(|part| part.split_once("path="));
        sockets.into_iter().any(|(_, socket)| !account.owns(Path::new(socket)))
    });
    if is_foreign {
        surroundings.variables.remove("DBUS_SESSION_BUS_ADDRESS");
    }
    if named {
        return Runtime::Named;
    }
    // `Surroundings` fills it in from here on, for everybody.
    let own = surroundings.runtime_dir().filter(|dir| is_ours(dir));
    if own.is_some() { Runtime::Filled } else { Runtime::Absent }
}

/// A unit as its manager knows it; nothing without a manager.
async fn unit_now(manager: Option<&ServiceManager>, unit: &str) -> UnitNow {
    match manager {
        Some(manager) => look(manager, unit).await.unwrap_or_default(),
        None => UnitNow::default(),
    }
}

/// What matters here of a unit. It is enabled when its files and its manager say so: where one of them alone
/// does, enabling it again brings them together.
pub(super) async fn look(manager: &ServiceManager, unit: &str) -> Result<UnitNow, BusError> {
    let facts = manager.unit_facts(unit).await?;
    let is_told = matches!(facts.unit_file_state.as_str(), "enabled" | "enabled-runtime");
    Ok(UnitNow {
        is_installed: matches!(facts.load_state, LoadState::Loaded | LoadState::Merged | LoadState::Stub),
        is_enabled: is_told && manager.is_enabled(unit).await?,
        is_running: facts.active_state.is_running(),
    })
}
