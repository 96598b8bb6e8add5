//! Which login is due, in which way it is refreshed, and what is remembered of it. Shared by the
//! daemon's own timer and `tokensink refresh`.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{LoginId, Provider};
use crate::config::settings::{LoginSettings, RefreshMode};
use crate::core::clock::Judgement;
use crate::core::memory::{LoginMemory, Memory};
use crate::core::model::Observed;
use crate::core::refresh::{Ended, Outcome};
use crate::core::schedule::{self, Facts, NoWay, Step, Unfinished, Way};
use crate::daemon::apply;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::StateDir;
use crate::daemon::world::{Source, World};
use crate::providers;
use crate::refresher::codex;
use crate::refresher::direct::{self, Refresh};
use crate::refresher::official::{self, Official};
use crate::refresher::server_time;
use crate::refresher::side::Side;
use crate::sys::clock;
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::{search, witness};

/// How long to wait for a pass before an outcome is recorded.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// Chooses the way of a login.
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
    schedule::way(login.refresh.mode, via, has_cli, had_cli, Side::of(login).is_some())
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

/// The usable credential of a login, as observed.
#[must_use]
pub fn credential<'a>(observed: &'a Observed, login: &LoginId) -> Option<&'a Credential> {
    match observed.source(login).map(|s| &s.reading) {
        Some(SourceReading::Ok(credential)) => Some(credential),
        _ => None,
    }
}

/// What is to be done about a login now.
#[must_use]
pub fn step(
    state: &StateDir,
    login: &LoginSettings,
    credential: Option<&Credential>,
    memory: &Memory,
    way: Result<Way, NoWay>,
    key: &FingerprintKey,
    clock: &Judgement,
) -> Step {
    let known = memory.logins.get(&login.id);
    let runs = || providers::cli_name(login.provider).is_some_and(witness::runs);
    let rules = way.map(|way| {
        let LoginSettings { provider, refresh, .. } = login;
        let rules = schedule::rules(*provider, way, refresh.margin, refresh.grants_per_day);
        let yields = way == Way::Direct && schedule::is_kept_by_others(known) && runs();
        if yields { schedule::yielding(rules, *provider) } else { rules }
    });
    let unfinished = match direct::unfinished(&state.intents(), &login.id) {
        Ok(None) => None,
        Ok(Some(found)) if found.answer.is_some() => Some(Unfinished::Answered),
        Ok(Some(_)) | Err(_) => Some(Unfinished::Open),
    };
    let refresh = credential.and_then(|c| c.refresh.as_ref()).map(|token| key.fingerprint(token));
    let generation = credential.map(|c| key.generation(c));
    schedule::step(&Facts {
        source: credential.zip(generation.as_ref()),
        refresh: refresh.as_ref(),
        known,
        unfinished,
        rules,
        clock,
        asks_at: memory.clock.asks_at(clock),
    })
}

/// Asks the server of a login's token endpoint for the time and records what it said, or that it did not.
///
/// # Errors
/// When our own state cannot be used.
pub async fn ask_time(state: &StateDir, login: &LoginSettings) -> Result<(), PassError> {
    let answer = match Side::of(login) {
        Some((_, token_url)) => server_time::ahead(&token_url).await,
        None => Err("the token endpoint is not known".into()),
    };
    let _lock = pass::hold_pass(state, RECORD_DEADLINE).await?;
    let mut memory = state.load()?;
    let reading = clock::reading();
    match answer {
        Ok(ahead) => memory.confirm_clock(&reading, ahead),
        Err(why) => {
            tracing::info!("no server says what time it is ({why}), going by the time since boot");
            let judgement = memory.clock.judge(&reading);
            memory.clock.note_unanswered(&judgement);
        }
    }
    Ok(state.save(&mut memory)?)
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
    /// The generation that was found due; a newer one at the source is adopted and not spent. `None`
    /// where the source held none, and only something unfinished is resolved.
    pub generation: Option<Fingerprint>,
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
            generation: self.generation.clone(),
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
        if self.generation.as_ref() != Some(&generation) {
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
                self.outcome(Some(&before), Ended::Failed, detail)
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
        Outcome { ended, refresh, is_spent: false, wait: None, clock_ahead: None, detail }
    }

    async fn record(&self, outcome: &Outcome) -> Result<(), PassError> {
        let _lock = pass::hold_pass(self.state, RECORD_DEADLINE).await?;
        let mut memory: Memory = self.state.load()?;
        let reading = clock::reading();
        if let Some(ahead) = outcome.clock_ahead {
            memory.confirm_clock(&reading, ahead);
        }
        let now = memory.clock.judge(&reading).now;
        let entry = memory.logins.entry(self.login.id.clone()).or_default();
        entry.refresh.note(outcome, now);
        if matches!(outcome.ended, Ended::Rotated | Ended::Kept)
            && let Some(made) = self.read()
        {
            entry.note_made(self.key.generation(&made));
        }
        self.state.save(&mut memory)?;
        Ok(())
    }
}

/// What an earlier process left unfinished, to be resolved before anything else.
#[must_use]
pub fn is_unfinished(state: &StateDir, login: &LoginId) -> bool {
    !matches!(direct::unfinished(&state.intents(), login), Ok(None))
}
