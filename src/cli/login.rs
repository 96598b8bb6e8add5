//! `tokensink login`: what a person sees of a login, and the order of its steps: find its place, ask
//! the person, store, enter it in the configuration, one pass. An attempt that ends before the third
//! step leaves everything as it was.

use std::path::Path;
use std::time::Duration;

use super::args::{LoginArguments, SyncArguments};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output, sync};
use crate::base::code::Code;
use crate::base::credential::NewLogin;
use crate::base::id::Provider;
use crate::core::token_answer::Grant;
use crate::daemon::login::{self as places, NoPlace, NotStored, Place};
use crate::daemon::store::StateDir;
use crate::format;
use crate::login::paste::Lines;
use crate::login::{Failed, Told, browser, codex, pkce};
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// What an access token without a stated lifetime is believed to last.
const UNSTATED_LIFETIME: Duration = Duration::from_secs(3600);

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
    if arguments.openclaw {
        return Err(usage("login --openclaw is not in this version; run `openclaw models auth login`"));
    }
    let provider = Provider::from_word(&arguments.provider)
        .ok_or_else(|| NoPlace::Usage(format!("there is no provider {}", shown(&arguments.provider))))?;
    if provider != Provider::Codex {
        return Err(NoPlace::Usage(format!("this version does not log in to {provider}; its own CLI does")));
    }
    if arguments.setup_token {
        return Err(usage("--setup-token is for the provider claude"));
    }
    if arguments.device {
        return Err(usage("--device is not in this version"));
    }
    let loaded = load::configuration(surroundings, only);
    let loaded = loaded.map_err(|errors| NoPlace::Unusable(load::lines(&errors)))?;
    let place = places::place(&loaded.settings, surroundings, provider, arguments.id.as_deref())?;
    if place.is_new && only.is_some() {
        return Err(usage("the file of --config has no such login, and it is not ours to change"));
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
    let asked = clock::now();
    let asking = ask(arguments, place, &surroundings);
    let grant = tokio::select! {
        granted = asking => granted,
        () = stops.come() => return output::failure("stopped; nothing was changed", Exit::Failed),
    };
    let login = match grant.and_then(|grant| new_login(grant, asked)) {
        Ok(login) => login,
        Err(why) => return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed),
    };
    let state = StateDir::of(&surroundings);
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
        Ok(Some(file)) => output::print(&format!("and entered in {}\n", file.display())),
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
            sync::sync(&SyncArguments { dry_run: false, json: false, accept }, &world, &state).await
        }
        Err(errors) => output::failure(load::lines(&errors), Exit::Failed),
    }
}

/// Asks the person, in the way that fits.
async fn ask(
    arguments: &LoginArguments,
    place: &Place,
    surroundings: &Surroundings,
) -> Result<Grant, Failed> {
    let patience = Duration::from_secs(arguments.patience);
    let mut tell = |told: Told<'_>| say(&told, arguments, surroundings);
    let mut lines = Lines::of_stdin();
    pkce::run(&codex::authorization(&place.login), &mut lines, patience, &mut tell).await
}

/// Prints what the person has to know, and opens the browser.
fn say(told: &Told<'_>, arguments: &LoginArguments, surroundings: &Surroundings) {
    match told {
        Told::Visit { url, is_heard } => {
            let how = match (arguments.no_browser, browser::open) {
                (true, _) => "Visit this URL to log in:",
                (false, open) => match open(url, surroundings) {
                    Ok(()) => "A browser was opened. If none is to be seen, visit this URL to log in:",
                    Err(_) => "Visit this URL to log in:",
                },
            };
            let then = if *is_heard {
                "If the browser is on another machine it ends at a page that cannot be shown: paste that page's \
                 URL here, or the code in it."
            } else {
                "Every callback port of this machine is taken, so the browser ends at a page of another program or \
                 at one that cannot be shown: paste that page's URL here, or the code in it."
            };
            output::print(&format!("{how}\n\n{url}\n\n{then}\n"));
        }
        Told::Unfit(why) => output::print(&format!("That is not the answer: {}. Try again.\n", why.as_str())),
    }
}

/// What is stored of a grant. `asked` is a time before the grant was made: what it brings ends no
/// earlier than its lifetime after that.
fn new_login(grant: Grant, asked: crate::base::time::Timestamp) -> Result<NewLogin, Failed> {
    let lacks = |what: &str| Failed::Endpoint(format!("the token endpoint gave no {what}"));
    let access = grant.access.ok_or_else(|| lacks("access token"))?;
    let account = format::codex::account_of(&access, grant.id_token.as_ref());
    Ok(NewLogin {
        expires_at: Some(asked.after(grant.expires_in.unwrap_or(UNSTATED_LIFETIME))),
        refresh: Some(grant.refresh.ok_or_else(|| lacks("refresh token"))?),
        id_token: grant.id_token,
        scopes: grant.scopes.unwrap_or_default(),
        account: Some(account.ok_or_else(|| Failed::Endpoint("no token names its account".to_owned()))?),
        granted_at: clock::now(),
        access,
    })
}

/// An argument as it may be repeated.
fn shown(text: &str) -> String {
    crate::core::token_answer::fit_to_show(text)
}
