//! A refresh that somebody asks for, by command or over D-Bus: decided as the daemon would decide, and why it
//! is not made where it is not. One request at most, no retry.

use crate::base::credential::Credential;
use crate::base::fingerprint::FingerprintKey;
use crate::base::time::Timestamp;
use crate::config::settings::LoginSettings;
use crate::core::refresh::{Ended, Outcome, RefreshMemory};
use crate::core::schedule::{NoWay, Step, Way};
use crate::daemon::fetch;
use crate::daemon::pass::PassError;
use crate::daemon::refresh::{self, Run};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;

/// What became of one login.
#[derive(Debug)]
pub enum Done {
    /// Nothing is to be done; why.
    NotDue(&'static str),
    /// It was tried.
    Ended(Outcome),
    /// There is no way to do it; why.
    NoWay(&'static str),
    /// Due, and held back by an earlier failure or the budget.
    Waits(String),
    /// Our own state, or the source, cannot be used; why.
    Failed(String),
}

impl Done {
    /// Somebody is at it; what they get is seen at the source.
    pub const UNDER_WAY: Self = Self::NotDue("another process refreshes it now");

    /// Whether nobody has to do anything.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        match self {
            Self::NotDue(_) => true,
            Self::Ended(outcome) => matches!(outcome.ended, Ended::Rotated | Ended::Kept | Ended::Adopted),
            Self::NoWay(_) | Self::Waits(_) | Self::Failed(_) => false,
        }
    }

    /// A stable word and a sentence.
    #[must_use]
    pub fn words(&self) -> (&str, &str) {
        match self {
            Self::NotDue(why) => ("not-due", why),
            Self::Ended(outcome) => (outcome.ended.as_str(), &outcome.detail),
            Self::NoWay(why) => ("blocked", why),
            Self::Waits(why) => ("blocked", why),
            Self::Failed(why) => ("failed", why),
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The configuration.
    pub world: &'a World,
    /// Our state.
    pub state: &'a StateDir,
    /// The fingerprint key.
    pub key: &'a FingerprintKey,
    /// The login.
    pub login: &'a LoginSettings,
    /// In this way, whatever is configured.
    pub via: Option<Way>,
    /// Although it is not due, or although the last token may have been spent.
    pub is_forced: bool,
}

fn waits(memory: &RefreshMemory, until: Timestamp, now: Timestamp) -> String {
    if memory.not_before.is_some_and(|at| at > now) {
        format!("waiting until {until} after: {}", memory.detail)
    } else {
        format!("the requests of a day are used up until {until}")
    }
}

/// Refreshes a login that is due.
pub async fn refresh(asked: &Asked<'_>) -> Done {
    let &Asked { world, state, key, login, via, is_forced } = asked;
    fetch::fetch(world, state, login).await;
    let memory = match state.load() {
        Ok(memory) => memory,
        Err(error) => return Done::Failed(error.to_string()),
    };
    let known = memory.logins.get(&login.id);
    let way = match refresh::way(login, known, refresh::cli_of(world, login).as_ref(), via) {
        Ok(way) => way,
        Err(NoWay::Off) => return Done::NoWay("mode is off; --via overrides it"),
        Err(NoWay::CliMissing) => return Done::NoWay("CLI_MISSING: the official CLI is not found"),
        Err(NoWay::Unknown) => {
            return Done::NoWay("this version knows no way to refresh it; see token_url and client_id");
        }
    };
    let seen = world.observe();
    let credential = refresh::credential(&seen.observed, &login.id);
    let only_resolves = refresh::is_unfinished(state, &login.id) && !is_forced;
    if !only_resolves && credential.is_none() {
        return Done::Failed("the source holds no usable login".into());
    }
    if !only_resolves && !is_forced {
        match judged(state, login, credential, way, key).await {
            Ok(None) => {}
            Ok(Some(done)) => return done,
            Err(error) => return Done::Failed(error.to_string()),
        }
    }
    let generation = credential.map(|credential| key.generation(credential));
    let run = Run { world, state, key, login, way, generation, is_forced, only_resolves };
    match run.run().await {
        Ok(outcome) => Done::Ended(outcome),
        Err(PassError::Busy) => Done::UNDER_WAY,
        Err(error) => Done::Failed(error.to_string()),
    }
}

/// Decides as the daemon would; `None` means that it is due.
async fn judged(
    state: &StateDir,
    login: &LoginSettings,
    credential: Option<&Credential>,
    way: Way,
    key: &FingerprintKey,
) -> Result<Option<Done>, PassError> {
    let mut memory = state.load()?;
    let mut clock = memory.clock.judge(&clock::reading());
    let mut step = refresh::step(state, login, credential, &memory, Ok(way), key, &clock);
    if step == Step::AskTime {
        refresh::ask_time(state, login).await?;
        memory = state.load()?;
        clock = memory.clock.judge(&clock::reading());
        step = refresh::step(state, login, credential, &memory, Ok(way), key, &clock);
    }
    Ok(match step {
        Step::Refresh | Step::Resolve => None,
        Step::AskTime => {
            Some(Done::NotDue("no server says what time it is, and by the time since boot it is not due"))
        }
        Step::Rest(why) => Some(Done::NoWay(why)),
        Step::Wait(until) => {
            // What would be decided without what happened before?
            let before = memory.logins.get_mut(&login.id).map(|known| std::mem::take(&mut known.refresh));
            let is_due =
                refresh::step(state, login, credential, &memory, Ok(way), key, &clock) == Step::Refresh;
            Some(match before.filter(|_| is_due) {
                Some(before) => Done::Waits(waits(&before, until, clock.now)),
                None => Done::NotDue("not due yet"),
            })
        }
    })
}
