//! Which login is due, in which way it is refreshed, and what is remembered of it. Shared by the
//! daemon's own timer and `tokensink refresh`.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{LoginId, Provider};
use crate::base::time::Timestamp;
use crate::config::settings::{LoginSettings, RefreshMode};
use crate::core::memory::{LoginMemory, Memory};
use crate::core::model::Observed;
use crate::core::refresh::{self, Due, Ended, Outcome, Rules};
use crate::daemon::apply;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::StateDir;
use crate::daemon::world::{Source, World};
use crate::providers;
use crate::refresher::codex;
use crate::refresher::direct::{self, Refresh};
use crate::refresher::official::{self, Official};
use crate::refresher::side::Side;
use crate::sys::clock;
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::search;

/// Claude Code renews inside its last five minutes; a run before that would only cost a prompt.
const PROMPT_MARGIN: Duration = Duration::from_secs(4 * 60);
/// Early enough that no consumer meets the end, late enough that the CLI may do it first.
const DIRECT_MARGIN: Duration = Duration::from_secs(20 * 60);
/// Codex takes no lock around its request, so we must be early by far: it has its own in the last five
/// minutes, and tokens of some days. Half of the lifetime, where that is later.
const CODEX_MARGIN: Duration = Duration::from_secs(24 * 3600);
/// How long to wait for a pass before an outcome is recorded.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// How a login is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the provider's own CLI.
    Cli,
    /// By a request of our own.
    Direct,
}

/// Why a login cannot be refreshed from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWay {
    /// `mode = "off"`.
    Off,
    /// The CLI was there and is gone.
    CliMissing,
    /// No CLI is driven for this provider, and its token endpoint is not known.
    Unknown,
}

/// Chooses the way: what the configuration says, else the CLI where one was ever found.
///
/// # Errors
/// Why there is none.
pub fn way(
    login: &LoginSettings,
    memory: Option<&LoginMemory>,
    cli: Option<&PathBuf>,
    via: Option<Way>,
) -> Result<Way, NoWay> {
    let has_cli = cli.is_some() || login.refresh.command.is_some() || login.refresh.container.is_some();
    let had_cli = memory.is_some_and(|m| m.cli.is_some());
    let by_cli = || if has_cli { Ok(Way::Cli) } else { Err(NoWay::CliMissing) };
    let direct = || if Side::of(login).is_some() { Ok(Way::Direct) } else { Err(NoWay::Unknown) };
    match (via, login.refresh.mode) {
        (Some(Way::Direct), _) | (None, RefreshMode::Direct) => direct(),
        (Some(Way::Cli), _) | (None, RefreshMode::Cli) => by_cli(),
        (None, RefreshMode::Off) => Err(NoWay::Off),
        (None, RefreshMode::Auto) if has_cli || had_cli => by_cli(),
        (None, RefreshMode::Auto) => direct(),
    }
}

/// The official CLI of a login, if it is found.
#[must_use]
pub fn cli_of(world: &World, login: &LoginSettings) -> Option<PathBuf> {
    let name = providers::cli_name(login.provider)?;
    let surroundings = &world.surroundings;
    search::find_on(surroundings.search_path(), name).or_else(|| {
        official::usual_places(&surroundings.home)
            .into_iter()
            .find_map(|place| search::find_on(&place.display().to_string(), name))
    })
}

/// Notes which logins have an official CLI: one that was there and is gone later is a finding, not
/// a change of mode.
pub fn note_clis(world: &World, memory: &mut Memory) {
    for login in &world.settings.logins {
        let is_driven = matches!(login.refresh.mode, RefreshMode::Auto | RefreshMode::Cli);
        let is_elsewhere = login.refresh.command.is_some() || login.refresh.container.is_some();
        let Some(known) = memory.logins.get_mut(&login.id) else { continue };
        match cli_of(world, login) {
            Some(cli) => {
                known.cli = Some(cli.display().to_string());
                known.cli_gone = false;
            }
            None => known.cli_gone = known.cli.is_some() && is_driven && !is_elsewhere,
        }
    }
}

/// The rules of a login when refreshed in that way.
#[must_use]
pub fn rules(login: &LoginSettings, way: Way) -> Rules {
    // Codex renews by our request or when its own server is asked to, early in both ways.
    let (by_default, half_life) = match (login.provider, way) {
        (Provider::Codex, _) => (CODEX_MARGIN, true),
        (_, Way::Cli) => (PROMPT_MARGIN, false),
        (_, Way::Direct) => (DIRECT_MARGIN, true),
    };
    Rules {
        margin: login.refresh.margin.unwrap_or(by_default),
        half_life,
        grants_per_day: login.refresh.grants_per_day,
    }
}

/// The usable credential of a login, as observed.
#[must_use]
pub fn credential<'a>(observed: &'a Observed, login: &LoginId) -> Option<&'a Credential> {
    match observed.source(login).map(|s| &s.reading) {
        Some(SourceReading::Ok(credential)) => Some(credential),
        _ => None,
    }
}

/// When a login is due.
#[must_use]
pub fn due(
    login: &LoginSettings,
    credential: &Credential,
    memory: Option<&LoginMemory>,
    way: Way,
    key: &FingerprintKey,
    now: Timestamp,
) -> Due {
    let refresh = credential.refresh.as_ref().map(|token| key.fingerprint(token));
    let seen_at = memory.and_then(LoginMemory::newest).map(|record| record.seen_at);
    let none = refresh::RefreshMemory::default();
    let remembered = memory.map_or(&none, |m| &m.refresh);
    refresh::due(credential, refresh.as_ref(), seen_at, remembered, rules(login, way), now)
}

/// One refresh, through the lock that the daemon and the command share.
#[derive(Debug)]
pub struct Run<'a> {
    /// The configuration.
    pub world: &'a World,
    /// Our state.
    pub state: &'a StateDir,
    /// The fingerprint key.
    pub key: &'a FingerprintKey,
    /// The login.
    pub login: &'a LoginSettings,
    /// How.
    pub way: Way,
    /// The generation that was found due; a newer one at the source is adopted and not spent.
    pub generation: Fingerprint,
    /// A person asked for it and knows that the token may have been spent.
    pub is_forced: bool,
    /// Only what an earlier run left is resolved; nothing is sent.
    pub only_resolves: bool,
}

impl Run<'_> {
    /// Carries it out and records how it ended.
    ///
    /// # Errors
    /// When our own state cannot be used, or another process refreshes this login now.
    pub async fn run(&self) -> Result<Outcome, PassError> {
        let lock = self.state.refresh_lock(&self.login.id)?;
        let _lock = ProcessLock::try_acquire(&lock, clock::now()).map_err(|error| match error {
            LockError::Busy { .. } => PassError::Busy,
            other => PassError::Lock(other),
        })?;
        // A refusal, or a wait that was asked for, has to be remembered.
        if !self.only_resolves {
            self.state.prove_room()?;
        }
        let outcome = match self.way {
            _ if self.only_resolves => self.direct().await?,
            Way::Direct => self.direct().await?,
            Way::Cli => self.by_cli().await,
        };
        self.record(&outcome).await?;
        Ok(outcome)
    }

    fn read(&self) -> Option<Credential> {
        match self.world.source(&self.login.id)?.read().reading {
            SourceReading::Ok(credential) => Some(credential),
            _ => None,
        }
    }

    async fn direct(&self) -> Result<Outcome, PassError> {
        let source = self.world.source(&self.login.id);
        let (Some((side, token_url)), Some(Source { path, layout: Some(layout), .. })) =
            (Side::of(self.login), source)
        else {
            return Ok(self.outcome(None, Ended::NotSent, "its token endpoint is not known".into()));
        };
        let refresh = Refresh {
            login: &self.login.id,
            side,
            source: path.clone(),
            layout: layout.clone(),
            intents: self.state.intents(),
            token_url,
            key: self.key,
            generation: Some(self.generation.clone()),
            is_forced: self.is_forced,
            only_resolves: self.only_resolves,
        };
        Ok(refresh.run().await)
    }

    async fn by_cli(&self) -> Outcome {
        let Some(before) = self.read() else {
            return self.outcome(None, Ended::NotSent, "the source holds no usable login".into());
        };
        let generation = self.key.generation(&before);
        if generation != self.generation {
            let detail = "somebody else had refreshed it".to_owned();
            return self.outcome(Some(&before), Ended::Adopted, detail);
        }
        if let Err(why) = self.cli_can_save() {
            return self.outcome(Some(&before), Ended::NotSent, why);
        }
        let official = Official {
            provider: self.login.provider,
            command: self.login.refresh.command.clone(),
            program: cli_of(self.world, self.login),
            container: self.login.refresh.container.clone(),
            overrides: self.login.refresh.env.clone(),
            environment: self.world.surroundings.cli_environment(),
            buses: apply::buses(self.world),
        };
        if let Err(why) = official.run(&self.login.id).await {
            return self.outcome(Some(&before), Ended::NotSent, why);
        }
        match self.read() {
            Some(after) if self.key.generation(&after) != generation => {
                let how = if after.refresh == before.refresh { Ended::Kept } else { Ended::Rotated };
                Outcome { is_spent: true, ..self.outcome(Some(&before), how, "by the CLI".into()) }
            }
            Some(_) => {
                let detail = "the CLI ran and left the login as it was".to_owned();
                Outcome { is_spent: true, ..self.outcome(Some(&before), Ended::Failed, detail) }
            }
            None => {
                let detail = "the CLI ran and the login is gone".to_owned();
                Outcome { is_spent: true, ..self.outcome(Some(&before), Ended::Rejected, detail) }
            }
        }
    }

    /// Whether the CLI would keep what it is sent for. Claude Code sees to that itself.
    fn cli_can_save(&self) -> Result<(), String> {
        match (self.login.provider, self.world.source(&self.login.id)) {
            (Provider::Codex, Some(source)) if self.login.refresh.container.is_none() => {
                codex::can_save(&source.path).map_err(|why| why.0)
            }
            _ => Ok(()),
        }
    }

    fn outcome(&self, before: Option<&Credential>, ended: Ended, detail: String) -> Outcome {
        let token = before.and_then(|credential| credential.refresh.as_ref());
        let refresh = token.map_or_else(|| self.key.of_parts(&[]), |token| self.key.fingerprint(token));
        Outcome { ended, refresh, is_spent: false, wait: None, detail }
    }

    async fn record(&self, outcome: &Outcome) -> Result<(), PassError> {
        let _lock = pass::hold_pass(self.state, RECORD_DEADLINE).await?;
        let mut memory: Memory = self.state.load()?;
        let entry = memory.logins.entry(self.login.id.clone()).or_default();
        entry.refresh.note(outcome, clock::now());
        self.state.save(&mut memory)?;
        Ok(())
    }
}

/// What an earlier process left unfinished, to be resolved before anything else.
#[must_use]
pub fn is_unfinished(state: &StateDir, login: &LoginId) -> bool {
    !matches!(direct::unfinished(&state.intents(), login), Ok(None))
}

/// When the daemon resolves by itself what was left unfinished; `None` when there is nothing to
/// do. An answer on record is stored sooner or later; a token that may have been spent is looked
/// into once and then left to a person.
#[must_use]
pub fn resolves_at(
    state: &StateDir,
    login: &LoginId,
    memory: Option<&LoginMemory>,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_kept = match direct::unfinished(&state.intents(), login) {
        Ok(None) => return None,
        Ok(Some(found)) => found.answer.is_some(),
        Err(_) => false,
    };
    if !is_kept && memory.is_some_and(|m| m.stop().is_some()) {
        return None;
    }
    Some(memory.and_then(|m| m.refresh.not_before).map_or(now, |at| at.max(now)))
}
