//! The order in which the agents of an OpenClaw try the profiles of a provider: read and set in the
//! way of its release (`core::order`). In a JSON store under the store's own lock, and seen to have
//! stayed there after the reload of a gateway that writes its memory back.

use std::path::{Path, PathBuf};

use crate::base::code::Code;
use crate::base::secret::Document;
use crate::config::settings::SinkSettings;
use crate::core::agreement::{self, Said};
use crate::core::memory::{Memory, Then};
use crate::core::order::{self, Orders, Way};
use crate::core::windows::{Supply, Window};
use crate::daemon::apply;
use crate::daemon::pass::{self, STORE_LOCK_DEADLINE};
use crate::daemon::world::World;
use crate::format::auth_profiles::{self, Listed};
use crate::format::{Edit, openclaw_config};
use crate::gateway::openclaw;
use crate::gateway::profiles::Profiles;
use crate::sinks::openclaw::Wanted;
use crate::sinks::openclaw::probe::{self, Instance};
use crate::sys::atomic_file::{self, FileState, Policy};
use crate::sys::lock::StoreLock;
use crate::sys::random;

/// How often an order is set before a gateway that takes it back has won.
const ROUNDS: usize = 3;

/// One instance of OpenClaw as a sink names it.
#[derive(Debug)]
pub struct OfSink<'a> {
    world: &'a World,
    sink: &'a SinkSettings,
    wanted: Wanted<'a>,
    instance: Instance,
    is_contained: bool,
}

/// What is known of one agent and one provider.
#[derive(Debug)]
pub struct AgentOrder {
    /// The agent.
    pub agent: String,
    /// OpenClaw's name of the provider.
    pub provider: String,
    /// The provider's profiles.
    pub profiles: Vec<Listed>,
    /// The orders that there are.
    pub orders: Orders,
}

/// Why an order could not be read or set, and the code of the finding that says the same.
#[derive(Debug)]
pub struct OrderError {
    /// Its code; `None` for what is no finding.
    pub code: Option<Code>,
    /// One sentence.
    pub why: String,
}

impl OrderError {
    fn new(why: impl Into<String>) -> Self {
        Self { code: None, why: why.into() }
    }
}

impl<'a> OfSink<'a> {
    /// The instance of a sink; `None` for a sink of another kind.
    #[must_use]
    pub fn of(world: &'a World, sink: &'a SinkSettings) -> Option<Self> {
        let wanted = Wanted::of(sink)?;
        let around = world.around(&sink.id);
        let instance = probe::probe(wanted.state_dir, &around);
        Some(Self { world, sink, wanted, instance, is_contained: around.container.is_some() })
    }

    /// The sink.
    #[must_use]
    pub fn sink(&self) -> &'a SinkSettings {
        self.sink
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &'a Path {
        self.wanted.state_dir
    }

    /// The profile that the sink supplies.
    #[must_use]
    pub fn profile(&self) -> &'a str {
        self.wanted.profile
    }

    /// OpenClaw's name of the provider that the sink supplies.
    #[must_use]
    pub fn provider(&self) -> &'a str {
        self.wanted.provider()
    }

    /// The ids of the agents, the main one first.
    #[must_use]
    pub fn agents(&self) -> Vec<String> {
        let known = self.instance.agents.iter().map(|(id, _)| id.clone()).filter(|id| id != probe::MAIN);
        std::iter::once(probe::MAIN.to_owned()).chain(known).collect()
    }

    /// The profiles and orders of one agent.
    ///
    /// # Errors
    /// When the store, or the CLI of an instance with a database, cannot be read or run.
    pub async fn read(&self, agent: &str, provider: &str) -> Result<AgentOrder, OrderError> {
        let config = self.instance.config.as_ref().map(Document::expose);
        let global = config.and_then(|config| openclaw_config::global_order(config, provider));
        let (mut profiles, own) = if self.is_sqlite() {
            let cli = self.profiles(agent, provider)?;
            (cli.listed().await.map_err(OrderError::new)?, cli.order().await.map_err(OrderError::new)?)
        } else {
            match self.document(agent)? {
                Some(document) => (
                    auth_profiles::listed(document.expose()).map_err(|e| self.unreadable(agent, &e))?,
                    auth_profiles::order(document.expose(), provider)
                        .map_err(|e| self.unreadable(agent, &e))?,
                ),
                None => (Vec::new(), None),
            }
        };
        profiles.retain(|profile| profile.provider == provider);
        let orders = Orders { agent: own, global };
        Ok(AgentOrder { agent: agent.to_owned(), provider: provider.to_owned(), profiles, orders })
    }

    /// In which way orders are set here.
    ///
    /// # Errors
    /// Why they are not.
    pub fn way(&self) -> Result<Way, OrderError> {
        order::way(self.instance.release.as_ref(), self.is_sqlite())
            .map_err(|(code, why)| OrderError { code: Some(code), why })
    }

    /// Sets an agent's own order of a provider's profiles, or removes it.
    ///
    /// # Errors
    /// A refusal by the release's window, a store that is not there, cannot be read, locked or
    /// written, or an order that did not stay.
    pub async fn set(&self, agent: &str, provider: &str, ids: Option<&[String]>) -> Result<(), OrderError> {
        match self.way()? {
            Way::Cli => {
                let cli = self.profiles(agent, provider)?;
                cli.set_order(ids).await.map_err(OrderError::new)?;
                let is_kept = cli.order().await.map_err(OrderError::new)?.as_deref() == ids;
                if is_kept { Ok(()) } else { Err(not_kept()) }
            }
            Way::Store(window) => self.set_in_store(window, agent, provider, ids).await,
        }
    }

    async fn set_in_store(
        &self,
        window: Window,
        agent: &str,
        provider: &str,
        ids: Option<&[String]>,
    ) -> Result<(), OrderError> {
        let store = self.store(agent);
        for _ in 0..ROUNDS {
            let is_changed = self.write(window, &store, agent, provider, ids).await?;
            if window.is_read_live {
                return Ok(());
            }
            // What was written by a pass that is over stays; what is written by this one may not.
            if is_changed {
                self.reload().await?;
            }
            let document = self.document(agent)?.ok_or_else(|| self.no_store(agent))?;
            let own = auth_profiles::order(document.expose(), provider);
            if own.map_err(|e| self.unreadable(agent, &e))?.as_deref() == ids {
                return Ok(());
            }
        }
        Err(not_kept())
    }

    /// Writes the order under the store's lock; says whether that changed anything.
    async fn write(
        &self,
        window: Window,
        store: &Path,
        agent: &str,
        provider: &str,
        ids: Option<&[String]>,
    ) -> Result<bool, OrderError> {
        let owner = match atomic_file::observe(store) {
            FileState::Present(file) => file.uid,
            FileState::Absent { .. } => return Err(self.no_store(agent)),
            FileState::Unreadable { reason, .. } => return Err(self.unreadable(agent, &reason)),
        };
        let options = pass::lock_options(window.lock, Some(owner), self.is_contained);
        let _lock =
            StoreLock::acquire(store, options, pass::patience(STORE_LOCK_DEADLINE), &mut random::unit)
                .await
                .map_err(|e| OrderError::new(format!("{}: {e}", store.display())))?;
        let state = atomic_file::observe(store);
        let (FileState::Present(file), Some(expected)) = (&state, state.expected()) else {
            return Err(self.no_store(agent));
        };
        let edit = auth_profiles::set_order(file.document.expose(), provider, ids);
        let Edit::Changed(new) = edit.map_err(|e| self.unreadable(agent, &e))? else { return Ok(false) };
        atomic_file::replace(store, &new, expected, Policy::default())
            .map_err(|e| OrderError::new(format!("{}: {e}", store.display())))?;
        Ok(true)
    }

    /// Makes the gateways of the sink read their stores anew. One that does not run reads them when it
    /// starts.
    async fn reload(&self) -> Result<(), OrderError> {
        for gateway in self.world.settings.gateways.iter().filter(|g| g.sinks.contains(&self.sink.id)) {
            // What its configuration does not refer to yet is not set up by the way.
            let instances = apply::instances(self.world, &Memory::default(), gateway);
            for reachable in instances.into_iter().filter(|r| r.instance.set_up.is_none()) {
                match openclaw::converge(&gateway.id, &reachable.instance).await {
                    Ok(()) => {}
                    Err(failure) if failure.then == Then::Down => {}
                    Err(failure) => {
                        return Err(OrderError { code: Some(failure.code), why: failure.summary });
                    }
                }
            }
        }
        Ok(())
    }

    /// How the instance is supplied, and what its own health check says of an agent; `None` for an
    /// instance that is not supplied.
    ///
    /// # Errors
    /// When its CLI cannot be run, or answers something else.
    pub async fn health(&self, agent: &str) -> Option<Result<(agreement::Way, Said), String>> {
        let way = match self.wanted.supply(&self.instance, &self.world.around(&self.sink.id)) {
            Supply::Store(_) => agreement::Way::Entry,
            Supply::Reference { needs_set_up: false } | Supply::Entry { needs_set_up: false } => {
                agreement::Way::Reference
            }
            Supply::Native => agreement::Way::Native,
            Supply::Reference { needs_set_up: true }
            | Supply::Entry { needs_set_up: true }
            | Supply::Refused(..) => return None,
        };
        let cli = match self.profiles(agent, self.provider()) {
            Ok(cli) => cli,
            Err(error) => return Some(Err(error.why)),
        };
        Some(cli.health().await.map(|said| (way, said)))
    }

    fn is_sqlite(&self) -> bool {
        self.instance.has_database || self.instance.has_schema
    }

    fn profiles(&self, agent: &str, provider: &str) -> Result<Profiles, OrderError> {
        if self.instance.program.is_none() {
            return Err(OrderError::new("the program openclaw is not found"));
        }
        let cli = apply::cli(self.world, &self.instance, self.is_contained);
        Ok(Profiles { cli, agent: agent.to_owned(), provider: provider.to_owned() })
    }

    fn store(&self, agent: &str) -> PathBuf {
        self.instance.store(self.wanted.state_dir, agent)
    }

    fn document(&self, agent: &str) -> Result<Option<Document>, OrderError> {
        match atomic_file::observe(&self.store(agent)) {
            FileState::Present(file) => Ok(Some(file.document)),
            FileState::Absent { .. } => Ok(None),
            FileState::Unreadable { reason, .. } => Err(self.unreadable(agent, &reason)),
        }
    }

    fn no_store(&self, agent: &str) -> OrderError {
        OrderError::new(format!(
            "{} does not exist: agent {agent} has no profiles of its own",
            self.store(agent).display()
        ))
    }

    fn unreadable(&self, agent: &str, why: &dyn std::fmt::Display) -> OrderError {
        OrderError { code: Some(Code::Unreadable), why: format!("{}: {why}", self.store(agent).display()) }
    }
}

fn not_kept() -> OrderError {
    let why = "the gateway goes on with another order than the one that was set".to_owned();
    OrderError { code: Some(Code::NotConverged), why }
}
