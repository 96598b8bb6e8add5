//! Which login is due, in which way it is refreshed, and what is remembered of it. Shared by the
//! daemon's own timer and `tokensink refresh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{LoginId, Provider};
use crate::config::settings::{LoginSettings, RefreshMode, RefreshWay};
use crate::core::clock::Judgement;
use crate::core::memory::{LoginMemory, Memory};
use crate::core::model::Observed;
use crate::core::refresh::{Ended, Outcome};
use crate::core::schedule::{self, Facts, NoWay, Step, Unfinished, Way};
use crate::daemon::apply;
use crate::daemon::fetch;
use crate::daemon::history;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::StateDir;
use crate::daemon::world::{Source, World};
use crate::providers;
use crate::refresher::cli_run::RunEnd;
use crate::refresher::codex;
use crate::refresher::direct::{self, Refresh, Spender};
use crate::refresher::exchange::{Exchange, Scratch};
use crate::refresher::official::{self, Official};
use crate::refresher::server_time;
use crate::refresher::side::Side;
use crate::sys::clock;
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::paths::Surroundings;
use crate::sys::{search, witness};

/// How soon an exchange that could not be made is tried again, at the latest.
const EXCHANGE_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How long to wait for a pass before an outcome is recorded.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);
/// How often, and how far apart, a source that shows no login after a run of the CLI is looked at.
const LOOKS: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(700);

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
    let way = schedule::way(login.refresh.mode, via, has_cli, had_cli, Side::of(login).is_some())?;
    Ok(match (way, login.refresh.way) {
        (Way::Cli, RefreshWay::Exchange) => Way::Exchange,
        (way, _) => way,
    })
}

/// The name of the CLI that keeps the login; `None` where there is none, also for a login of our own
/// store.
fn driven_cli(login: &LoginSettings) -> Option<&'static str> {
    providers::cli_name(login.provider).filter(|_| !login.is_own())
}

/// The official CLI of a login, if it is found.
#[must_use]
pub fn cli_of(world: &World, login: &LoginSettings) -> Option<PathBuf> {
    find_cli(&world.surroundings, driven_cli(login)?)
}

/// The official CLI of a provider, if it is found: what a person logs in with.
#[must_use]
pub fn cli_for(surroundings: &Surroundings, provider: Provider) -> Option<PathBuf> {
    find_cli(surroundings, providers::cli_name(provider)?)
}

fn find_cli(surroundings: &Surroundings, name: &str) -> Option<PathBuf> {
    search::find_on(surroundings.search_path(), name).or_else(|| {
        official::usual_places(&surroundings.home)
            .into_iter()
            .find_map(|place| search::find_on(&place.display().to_string(), name))
    })
}

/// The environment for that CLI, with its own directory first on the search path: a script of Node's
/// needs the `node` that is beside it where an installer put both (nvm), not an older one of the system.
fn environment_for(surroundings: &Surroundings, program: Option<&Path>) -> BTreeMap<String, String> {
    let mut environment = surroundings.cli_environment();
    if let (Some(beside), Some(path)) = (program.and_then(Path::parent), environment.get_mut("PATH"))
        && !std::env::split_paths(path.as_str()).any(|directory| directory == beside)
    {
        *path = format!("{}:{path}", beside.display());
    }
    environment
}

/// The environment in which the official CLI finds that login: a CLI knows one directory at a time,
/// and would renew the login in its usual one.
fn environment_of(
    surroundings: &Surroundings,
    program: Option<&Path>,
    login: &LoginSettings,
    source: &Path,
) -> BTreeMap<String, String> {
    let mut environment = environment_for(surroundings, program);
    let usual = providers::default_path(login.provider, &surroundings.home, &surroundings.variables);
    if let Some(directory) = source.parent().filter(|_| usual.as_deref() != Some(source)) {
        for (name, value) in providers::lead_to(login.provider, &surroundings.home, directory) {
            match value {
                Some(value) => environment.insert(name.to_owned(), value),
                None => environment.remove(name),
            };
        }
    }
    environment
}

/// Notes which logins have an official CLI: one that was there and is gone later, or that the owner
/// wants and that never was there, is a finding, not a change of mode. Returns those that are there.
pub fn note_clis(world: &World, memory: &mut Memory) -> BTreeMap<LoginId, PathBuf> {
    let mut found = BTreeMap::new();
    for login in &world.settings.logins {
        let is_driven = matches!(login.refresh.mode, RefreshMode::Auto | RefreshMode::Cli);
        let is_elsewhere = login.refresh.command.is_some() || login.refresh.container.is_some();
        let cli = cli_of(world, login);
        if let Some(cli) = &cli {
            found.insert(login.id.clone(), cli.clone());
        }
        let Some(known) = memory.logins.get_mut(&login.id) else { continue };
        match cli {
            Some(cli) => {
                known.cli = Some(cli.display().to_string());
                known.cli_gone = false;
            }
            None => {
                let is_wanted = known.cli.is_some() || login.refresh.mode == RefreshMode::Cli;
                known.cli_gone = is_wanted && is_driven && !is_elsewhere;
            }
        }
    }
    found
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
    let LoginSettings { provider, refresh, .. } = login;
    let rules = way.map(|way| schedule::rules(*provider, way, refresh.margin, refresh.grants_per_day));
    let intents = state.intents();
    let scratch = Scratch::of(&intents.directory, &login.id);
    let unfinished = match direct::unfinished(&intents, &login.id) {
        Ok(None) => None,
        // A CLI that took very long may have left its answer after we had given it up.
        Ok(Some(found)) if found.answer.is_some() || scratch.has_login() => Some(Unfinished::Answered),
        Ok(Some(_)) | Err(_) => Some(Unfinished::Open),
    };
    let refresh = credential.and_then(|c| c.refresh.as_ref()).map(|token| key.fingerprint(token));
    let generation = credential.map(|c| key.generation(c));
    let facts = Facts {
        source: credential.zip(generation.as_ref()),
        refresh: refresh.as_ref(),
        known,
        unfinished,
        rules,
        clock,
        asks_at: memory.clock.asks_at(clock),
    };
    let step = schedule::step(&facts);
    // Processes are looked through only when something would be sent: to yield is to come later.
    let sends = matches!(step, Step::Refresh | Step::AskTime);
    let runs = || driven_cli(login).is_some_and(witness::runs);
    match (way, rules) {
        (Ok(way), Ok(rules)) if sends && way != Way::Cli && schedule::is_kept_by_others(known) && runs() => {
            schedule::step(&Facts { rules: Ok(schedule::yielding(rules, *provider)), ..facts })
        }
        _ => step,
    }
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
        let _lock = ProcessLock::try_acquire(&lock, Some(clock::now())).map_err(|error| match error {
            LockError::Busy { .. } => PassError::Busy,
            other => PassError::Lock(other),
        })?;
        if let Some(refused) = self.moved()? {
            return Ok(refused);
        }
        // A refusal, or a wait that was asked for, has to be remembered.
        if !self.only_resolves {
            self.state.prove_room()?;
        }
        let outcome = match self.way {
            _ if self.only_resolves => self.direct(None).await?,
            Way::Direct => self.direct(None).await?,
            Way::Exchange => self.exchange().await?,
            Way::Cli => self.by_cli().await,
        };
        self.record(&outcome).await?;
        Ok(outcome)
    }

    /// A login that went to another host is spent there, whoever asks for it here.
    fn moved(&self) -> Result<Option<Outcome>, PassError> {
        let memory = self.state.load()?;
        let credential = self.read();
        let token = credential.as_ref().and_then(|credential| credential.refresh.as_ref());
        let refresh = token.map(|token| self.key.fingerprint(token));
        let known = memory.logins.get(&self.login.id);
        Ok(known.and_then(|known| known.moved_with(refresh.as_ref())).map(|moved| {
            let why = format!("it was moved to another host at {}, which refreshes it", moved.at);
            self.outcome(credential.as_ref(), Ended::NotSent, why)
        }))
    }

    fn reading(&self) -> SourceReading {
        self.world.source(&self.login.id).map_or(SourceReading::Missing, |source| source.read().reading)
    }

    fn read(&self) -> Option<Credential> {
        match self.reading() {
            SourceReading::Ok(credential) => Some(credential),
            _ => None,
        }
    }

    /// An exchange; where it cannot be made, the CLI's own refresh in the last minutes in which the
    /// CLI does that: rather a prompt than a token that ends.
    async fn exchange(&self) -> Result<Outcome, PassError> {
        let program =
            cli_of(self.world, self.login).ok_or_else(|| "the official CLI is not found".to_owned());
        let environment = environment_for(&self.world.surroundings, program.as_deref().ok());
        let exchange = match program {
            Ok(program) => Exchange::with(&program, &environment, &self.login.refresh.env).await,
            Err(why) => Err(why),
        };
        let mut outcome = match exchange {
            Ok(exchange) => self.direct(Some(exchange)).await?,
            Err(why) => self.outcome(self.read().as_ref(), Ended::NotSent, why),
        };
        if outcome.ended == Ended::NotSent {
            let ends = self.read().and_then(|credential| credential.expires_at);
            let left = ends.map(|at| at.before(schedule::PROMPT_MARGIN).since(clock::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(self.by_cli().await);
            }
            outcome.wait = outcome.wait.or(left.map(|left| left.min(EXCHANGE_AGAIN)));
        }
        Ok(outcome)
    }

    /// A refresh token that we spend, by a request of our own or by that exchange.
    async fn direct(&self, exchange: Option<Exchange>) -> Result<Outcome, PassError> {
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
            by: exchange.map_or(Spender::Request(token_url), Spender::Exchange),
            buses: &apply::buses(self.world),
            key: self.key,
            generation: self.generation.clone(),
            is_forced: self.is_forced,
            only_resolves: self.only_resolves,
        };
        Ok(refresh.run().await)
    }

    async fn by_cli(&self) -> Outcome {
        fetch::fetch(self.world, self.state, self.login).await;
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
        let source = self.world.source(&self.login.id).map(|s| s.path.as_path()).unwrap_or(Path::new(""));
        let program = cli_of(self.world, self.login);
        let environment = environment_of(&self.world.surroundings, program.as_deref(), self.login, source);
        let official = Official {
            provider: self.login.provider,
            command: self.login.refresh.command.clone(),
            program,
            container: self.login.refresh.container.clone(),
            overrides: self.login.refresh.env.clone(),
            environment,
            buses: apply::buses(self.world),
            answers: self.state.intents().directory.join(format!("{}.answers", self.login.id)),
        };
        let ran = match official.run(&self.login.id, source).await {
            Ok(ran) => ran,
            Err(why) => return self.outcome(Some(&before), Ended::NotSent, why),
        };
        if ran.was_refused {
            self.wait_for_another(&generation).await;
        }
        let (ended, detail) = match self.judge(&before, &generation, ran.end).await {
            (Ended::Failed, _) if ran.was_refused => {
                (Ended::Rejected, "the CLI says that the provider refused the refresh token")
            }
            judged => judged,
        };
        // A run that brought nothing is limited by the pauses after failures.
        let is_spent = ended != Ended::Failed;
        Outcome { is_spent, ..self.outcome(Some(&before), ended, detail.to_owned()) }
    }

    /// After a refusal: somebody who spent the same token before may not have stored its answer yet.
    async fn wait_for_another(&self, generation: &Fingerprint) {
        let doubts = Side::of(self.login).map_or(&[][..], |(side, _)| side.doubts());
        for pause in doubts {
            tokio::time::sleep(*pause).await;
            if self.read().is_some_and(|now| self.key.generation(&now) != *generation) {
                return;
            }
        }
    }

    /// What a run of the CLI brought: never what it said, always what is on disk. Older versions
    /// write in place, so that a file that cannot be read is looked at again.
    async fn judge(
        &self,
        before: &Credential,
        generation: &Fingerprint,
        end: RunEnd,
    ) -> (Ended, &'static str) {
        fetch::fetch(self.world, self.state, self.login).await;
        let mut reading = self.reading();
        for _ in 1..LOOKS {
            if matches!(reading, SourceReading::Ok(_)) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            reading = self.reading();
        }
        match (reading, end) {
            (SourceReading::Ok(after), _) if self.key.generation(&after) != *generation => {
                let how = if after.refresh == before.refresh { Ended::Kept } else { Ended::Rotated };
                (how, "by the CLI")
            }
            (SourceReading::Ok(_), RunEnd::Exited(_)) => {
                (Ended::Failed, "the CLI ran and left the login as it was")
            }
            (SourceReading::Ok(_), RunEnd::Killed) => {
                (Ended::Unknown, "the CLI was killed; the refresh token may have been spent")
            }
            (SourceReading::Ok(_), RunEnd::StillRunning) => {
                (Ended::Failed, "the CLI takes very long and was left alone")
            }
            (SourceReading::Husk { .. }, _) => {
                (Ended::Rejected, "the CLI found the login refused and blanked it")
            }
            _ => (Ended::Failed, "the CLI ran and the login cannot be read"),
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
        history::refreshed(self.state, &self.login.id, outcome);
        Ok(())
    }
}

/// What an earlier process left unfinished, to be resolved before anything else.
#[must_use]
pub fn is_unfinished(state: &StateDir, login: &LoginId) -> bool {
    !matches!(direct::unfinished(&state.intents(), login), Ok(None))
}
