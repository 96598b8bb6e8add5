//! `tokensink login`: what a person sees of a login, and the order of its steps: find its place, ask
//! the person, store, enter it in the configuration, one pass. An attempt that ends before the third
//! step leaves everything as it was.

use std::path::Path;
use std::time::Duration;

use super::args::{LoginArguments, SyncArguments};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output, reload, sync};
use crate::base::code::Code;
use crate::base::credential::NewLogin;
use crate::base::id::Provider;
use crate::core::token_answer::Grant;
use crate::daemon::login::{self as places, NoPlace, NotStored, Place};
use crate::daemon::refresh;
use crate::daemon::store::StateDir;
use crate::format;
use crate::login::claude::{self, Scratch};
use crate::login::paste::Lines;
use crate::login::{Comes, Failed, Told, browser, codex, device, generic, pkce, setup_token};
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// What an access token without a stated lifetime is believed to last.
const UNSTATED_LIFETIME: Duration = Duration::from_secs(3600);

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
    let asked = tokio::select! {
        asked = ask(arguments, place, &surroundings, &state) => asked,
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

/// Asks the person, in the way that fits.
async fn ask(
    arguments: &LoginArguments,
    place: &Place,
    surroundings: &Surroundings,
    state: &StateDir,
) -> Result<NewLogin, Failed> {
    let patience = Duration::from_secs(arguments.patience);
    let mut tell = |told: Told<'_>| say(&told, arguments, surroundings);
    match place.login.provider {
        Provider::Static => {
            let prompt =
                || output::print("Paste the token that `claude setup-token` printed. It is not shown.\n");
            setup_token::run(patience, prompt).await
        }
        Provider::Claude => {
            let system = |error: &dyn std::fmt::Display| Failed::System(error.to_string());
            let (lock, scratch) = state.attempt(&place.login.id).map_err(|error| system(&error))?;
            let _attempt = ProcessLock::try_acquire(&lock, clock::now()).map_err(|error| match error {
                LockError::Busy { .. } => {
                    Failed::System(format!("a login of {} is in progress: {error}", place.login.id))
                }
                other => system(&other),
            })?;
            let scratch = Scratch::make(scratch).map_err(Failed::System)?;
            let program = refresh::cli_for(surroundings, Provider::Claude).ok_or_else(|| {
                let why = "Claude Code is not found; --setup-token takes a token made on another host";
                Failed::System(format!("{}: {why}", Code::CliMissing))
            })?;
            let wants_browser = !arguments.no_browser;
            let mut lines = Lines::of_stdin();
            claude::run(&program, &scratch, surroundings, wants_browser, &mut lines, patience, &mut tell)
                .await
        }
        provider => {
            let grant = granted(arguments, place, patience, &mut tell).await?;
            new_login(provider, grant)
        }
    }
}

/// Asks at the provider itself.
async fn granted(
    arguments: &LoginArguments,
    place: &Place,
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Grant, Failed> {
    let login = &place.login;
    let asked = match &login.authorize {
        None if arguments.device => return codex::by_device(login, patience, tell).await,
        None => codex::authorization(login),
        Some(described) => match (generic::authorization(login, described)?, &described.device_url) {
            (Some(asked), _) if !arguments.device => asked,
            (_, Some(url)) => {
                return device::run(&generic::client(login)?, url, &described.scopes, patience, tell).await;
            }
            (_, None) => return Err(Failed::System(format!("login {} has no device_url", login.id))),
        },
    };
    pkce::run(&asked, &mut Lines::of_stdin(), patience, tell).await
}

/// Prints what the person has to know, and opens the browser.
fn say(told: &Told<'_>, arguments: &LoginArguments, surroundings: &Surroundings) {
    match told {
        Told::Visit { url, comes } => {
            let how = match (arguments.no_browser, browser::open) {
                (true, _) => "Visit this URL to log in:",
                (false, open) => match open(url, surroundings) {
                    Ok(()) => "A browser was opened. If none is to be seen, visit this URL to log in:",
                    Err(_) => "Visit this URL to log in:",
                },
            };
            let then = match comes {
                Comes::Heard => {
                    "If the browser is on another machine it ends at a page that cannot be shown: paste that page's \
                     URL here, or the code in it."
                }
                Comes::Unheard => {
                    "Every callback port of this machine is taken, so the browser ends at a page of another program \
                     or at one that cannot be shown: paste that page's URL here, or the code in it."
                }
                Comes::Shown => "The browser ends at a page that shows a code: paste that page's code here.",
            };
            output::print(&format!("{how}\n\n{url}\n\n{then}\n"));
        }
        Told::Code { url, complete, code, lasts } => {
            let minutes = lasts.as_secs() / 60;
            let open =
                complete.map(|complete| format!("or, with the code in it, {complete}\n")).unwrap_or_default();
            output::print(&format!(
                "On any device visit\n\n{url}\n{open}\nand type the code {code} there. It lasts for {minutes} min; never \
                 type a code that somebody sent you.\n"
            ));
        }
        Told::VisitFor { url, takes_code } => {
            let how = if arguments.no_browser || browser::program(surroundings).is_err() {
                "Visit this URL to log in:"
            } else {
                "Claude Code opens a browser. If none is to be seen, visit this URL to log in:"
            };
            let then = if *takes_code {
                "Then paste here the code that the page shows."
            } else {
                "This version of Claude Code takes no code by hand: it waits for the browser on this machine."
            };
            output::print(&format!("{how}\n\n{url}\n\n{then}\n"));
        }
        Told::Unfit(why) => output::print(&format!("That is not the answer: {}. Try again.\n", why.as_str())),
    }
}

/// What is stored of a grant that came just now.
fn new_login(provider: Provider, grant: Grant) -> Result<NewLogin, Failed> {
    let lacks = |what: &str| Err(Failed::Endpoint(format!("the token endpoint gave no {what}")));
    let Some(access) = grant.access else { return lacks("access token") };
    let account = match provider {
        Provider::Codex => format::codex::account_of(&access, grant.id_token.as_ref()),
        _ => grant.id_token.as_ref().and_then(format::own_login::subject),
    };
    // Codex can do nothing without the two.
    if provider == Provider::Codex && grant.refresh.is_none() {
        return lacks("refresh token");
    }
    if provider == Provider::Codex && account.is_none() {
        return lacks("token that names its account");
    }
    let now = clock::now();
    Ok(NewLogin {
        expires_at: Some(now.after(grant.expires_in.unwrap_or(UNSTATED_LIFETIME))),
        refresh: grant.refresh,
        id_token: grant.id_token,
        scopes: grant.scopes.unwrap_or_default(),
        account,
        granted_at: now,
        document: None,
        access,
    })
}

/// An argument as it may be repeated.
fn shown(text: &str) -> String {
    crate::core::token_answer::fit_to_show(text)
}
