//! `tokensink login`: what a person sees of a login, and the order of its steps: find its place, ask
//! the person, store, enter it in the configuration, one pass. An attempt that ends before the third
//! step leaves everything as it was.

use std::path::Path;
use std::time::Duration;

use super::args::{LoginArguments, SyncArguments};
use super::asking::{Asking, Device};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output, reload, sync};
use crate::base::code::Code;
use crate::base::id::Provider;
use crate::daemon::login::{self as places, NoPlace, NotStored, Place};
use crate::daemon::store::StateDir;
use crate::login::Told;
use crate::login::paste::Lines;
use crate::sys::log;
use crate::sys::paths::Surroundings;

/// The id of a setup-token, unless another is given.
const SETUP_TOKEN_ID: &str = "claude-token";

/// Runs the command.
#[must_use]
pub fn run(arguments: &LoginArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    let place = match place(arguments, &surroundings, only) {
        Ok(place) => place,
        Err(NoPlace::Usage(why)) => return output::failure(why, Exit::Usage),
        Err(NoPlace::Unusable(why)) => return output::failure(why, Exit::Failed),
    };
    match output::block_on(log_in(arguments, &place, surroundings, only)) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// Where the login belongs, and that it can be stored there.
fn place(
    arguments: &LoginArguments,
    surroundings: &Surroundings,
    only: Option<&Path>,
) -> Result<Place, NoPlace> {
    let usage = |why: &str| NoPlace::Usage(why.to_owned());
    let provider = Provider::from_word(&arguments.provider)
        .ok_or_else(|| NoPlace::Usage(format!("there is no provider {}", shown(&arguments.provider))))?;
    let mut id = arguments.id.as_deref();
    let provider = match (provider, arguments.setup_token) {
        (Provider::Claude, true) => {
            id = id.or(Some(SETUP_TOKEN_ID));
            Provider::Static
        }
        (_, true) => return Err(usage("--setup-token is for the provider claude")),
        (Provider::Claude | Provider::Codex | Provider::Generic, false) => provider,
        (_, false) => {
            return Err(NoPlace::Usage(format!(
                "this version does not log in to {provider}; its own CLI does"
            )));
        }
    };
    if arguments.device && provider == Provider::Claude {
        return Err(usage("--device is not for claude; its own CLI asks for a code that any device shows"));
    }
    let loaded = load::configuration(surroundings, only);
    let loaded = loaded.map_err(|errors| NoPlace::Unusable(load::lines(&errors)))?;
    let place = places::place(&loaded.settings, surroundings, provider, id)?;
    if place.is_new && only.is_some() {
        return Err(usage("the file of --config has no such login, and it is not ours to change"));
    }
    if provider == Provider::Generic && place.login.authorize.is_none() {
        return Err(NoPlace::Usage(format!(
            "there is no login {} of the provider generic that has a table [login.authorize]",
            place.login.id
        )));
    }
    place.prove().map_err(NoPlace::Unusable)?;
    Ok(place)
}

async fn log_in(
    arguments: &LoginArguments,
    place: &Place,
    surroundings: Surroundings,
    only: Option<&Path>,
) -> Exit {
    // From here on a signal ends the waiting and nothing else: what is stored is stored whole.
    let mut stops = Stops::take();
    let state = StateDir::of(&surroundings);
    let asking = Asking {
        place,
        surroundings: &surroundings,
        state: &state,
        patience: Duration::from_secs(arguments.patience),
        wants_browser: !arguments.no_browser,
        device: if arguments.device { Device::Only } else { Device::Never },
        scratch: None,
        ends_with_stdin: true,
    };
    let mut lines = Lines::of_stdin();
    let mut tell = |told: Told<'_>| output::print(&asking.words(&told));
    let asked = tokio::select! {
        asked = asking.ask(&mut lines, &mut tell) => asked,
        () = stops.come() => return output::failure("stopped; nothing was changed", Exit::Failed),
    };
    let login = match asked {
        Ok(login) => login,
        Err(why) => return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed),
    };
    let key = match state.create().and_then(|()| state.key_or_create()) {
        Ok(key) => key,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let stored = match place.store(&state, &key, &login, arguments.replace_account).await {
        Ok(stored) => stored,
        Err(NotStored::OtherAccount) => {
            let why = format!(
                "{}: the new login belongs to another account than login {} does; nothing was changed \
                 (--replace-account stores it all the same, another --id beside it)",
                Code::AccountMismatch,
                place.login.id
            );
            return output::failure(why, Exit::Failed);
        }
        Err(NotStored::Failed(why)) => return output::failure(why, Exit::Failed),
    };
    output::print(&format!("login {} is stored in {}\n", place.login.id, place.path.display()));
    match place.enter(&surroundings) {
        Ok(Some(file)) => {
            output::print(&format!("and entered in {}\n", file.display()));
        }
        Ok(None) => {}
        Err(why) => {
            return output::failure(
                format_args!("the login is not in the configuration: {why}"),
                Exit::Failed,
            );
        }
    }
    let accept = stored.replaced_account.then(|| place.login.id.to_string());
    match load::world(surroundings, only) {
        Ok((world, _)) => {
            if place.is_new {
                reload::daemon(&world, &state).await;
            }
            let pass = SyncArguments { dry_run: false, json: false, accept };
            tokio::select! {
                exit = sync::sync(&pass, &world, &state) => exit,
                () = stops.come() => output::failure("stopped; the login is stored, not every sink has it", Exit::Failed),
            }
        }
        Err(errors) => output::failure(load::lines(&errors), Exit::Failed),
    }
}

/// An argument as it may be repeated.
fn shown(text: &str) -> String {
    crate::core::token_answer::fit_to_show(text)
}
