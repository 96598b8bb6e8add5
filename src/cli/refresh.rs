//! `tokensink refresh`: the daemon's path, by hand. One request per call, no retry.

use std::path::Path;

use serde_json::json;

use super::args::{RefreshArguments, Via};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output};
use crate::config::settings::LoginSettings;
use crate::core::schedule::Way;
use crate::daemon::asked::{self, Asked};
use crate::daemon::store::StateDir;
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

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
            let via = arguments.via.map(|via| match via {
                Via::Cli => Way::Cli,
                Via::Direct => Way::Direct,
            });
            let is_forced = arguments.force;
            let asked = Asked { world: &world, state: &state, key: &key, login, via, is_forced };
            results.push((login.id.clone(), asked::refresh(&asked).await));
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
