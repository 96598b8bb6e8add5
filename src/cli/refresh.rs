//! `tokensink refresh`: the daemon's path, by hand. One request per call, no retry.

use std::path::Path;

use serde_json::json;

use super::args::{RefreshArguments, Via};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output};
use crate::base::credential::Credential;
use crate::base::fingerprint::FingerprintKey;
use crate::base::time::Timestamp;
use crate::config::settings::LoginSettings;
use crate::core::refresh::{Ended, Outcome, RefreshMemory};
use crate::core::schedule::{NoWay, Step, Way};
use crate::daemon::pass::PassError;
use crate::daemon::refresh::{self, Run};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// What became of one login.
enum Done {
    NotDue(&'static str),
    Ended(Outcome),
    NoWay(&'static str),
    /// Due, and held back by an earlier failure or the budget.
    Waits(String),
    Failed(String),
}

impl Done {
    const fn is_success(&self) -> bool {
        match self {
            Self::NotDue(_) => true,
            Self::Ended(outcome) => matches!(outcome.ended, Ended::Rotated | Ended::Kept | Ended::Adopted),
            Self::NoWay(_) | Self::Waits(_) | Self::Failed(_) => false,
        }
    }

    fn words(&self) -> (&str, &str) {
        match self {
            Self::NotDue(why) => ("not-due", why),
            Self::Ended(outcome) => (outcome.ended.as_str(), &outcome.detail),
            Self::NoWay(why) => ("blocked", why),
            Self::Waits(why) => ("blocked", why),
            Self::Failed(why) => ("failed", why),
        }
    }
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &RefreshArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, true)) => world,
        Ok((_, false)) => {
            return output::failure("there is no configuration; `tokensink setup` writes one", Exit::Failed);
        }
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let is_wanted =
        |login: &&LoginSettings| arguments.login.as_ref().is_none_or(|id| login.id.as_str() == id);
    let logins: Vec<&LoginSettings> = world.settings.logins.iter().filter(is_wanted).collect();
    if logins.is_empty() {
        return output::failure("there is no such login", Exit::Usage);
    }
    let key = match state.create().and_then(|()| state.key_or_create()) {
        Ok(key) => key,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let work = async {
        // A refresh in hand is finished first: stopped in mid-request, it could lose the login and
        // would leave the CLI's locks behind. It is bounded by its own deadlines.
        let mut stops = Stops::take();
        let mut results = Vec::new();
        for login in logins {
            if stops.asked().await {
                break;
            }
            results.push((login.id.clone(), one(arguments, &world, &state, &key, login).await));
        }
        results
    };
    let results = match output::block_on(work) {
        Ok(results) => results,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    if arguments.json {
        let logins: Vec<_> = results
            .iter()
            .map(|(id, done)| {
                let (outcome, detail) = done.words();
                json!({"id": id, "outcome": outcome, "detail": detail, "ok": done.is_success()})
            })
            .collect();
        output::print_json(&json!({"format_version": 1, "generated_at": clock::now(), "logins": logins}));
    } else {
        for (id, done) in &results {
            let (outcome, detail) = done.words();
            output::print(&format!("{id}: {outcome}, {detail}\n"));
        }
    }
    if results.iter().all(|(_, done)| done.is_success()) { Exit::Done } else { Exit::Failed }
}

fn waits(memory: &RefreshMemory, until: Timestamp, now: Timestamp) -> String {
    if memory.not_before.is_some_and(|at| at > now) {
        format!("waiting until {until} after: {}", memory.detail)
    } else {
        format!("the requests of a day are used up until {until}")
    }
}

async fn one(
    arguments: &RefreshArguments,
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
    login: &LoginSettings,
) -> Done {
    let memory = match state.load() {
        Ok(memory) => memory,
        Err(error) => return Done::Failed(error.to_string()),
    };
    let known = memory.logins.get(&login.id);
    let via = arguments.via.map(|via| match via {
        Via::Cli => Way::Cli,
        Via::Direct => Way::Direct,
    });
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
    let only_resolves = refresh::is_unfinished(state, &login.id) && !arguments.force;
    if !only_resolves && credential.is_none() {
        return Done::Failed("the source holds no usable login".into());
    }
    if !only_resolves && !arguments.force {
        match judged(state, login, credential, way, key).await {
            Ok(None) => {}
            Ok(Some(done)) => return done,
            Err(error) => return Done::Failed(error.to_string()),
        }
    }
    let generation = credential.map(|credential| key.generation(credential));
    let run = Run { world, state, key, login, way, generation, is_forced: arguments.force, only_resolves };
    match run.run().await {
        Ok(outcome) => Done::Ended(outcome),
        Err(PassError::Busy) => Done::NotDue("another process refreshes it now"),
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
