//! `tokensink export`: what a person is asked before a login leaves this host, and the bundle on standard
//! output. Nothing changes here before all of it is written.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::args::ExportArguments;
use super::exit::Exit;
use super::{load, output};
use crate::config::settings::{LoginSettings, Settings};
use crate::daemon::export::Export;
use crate::daemon::store::StateDir;
use crate::sys::log;
use crate::sys::paths::Surroundings;
use crate::sys::stdio;

/// Runs the command.
#[must_use]
pub fn run(arguments: &ExportArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let logins = match named(arguments, &world.settings) {
        Ok(logins) => logins,
        Err(why) => return output::failure(why, Exit::Usage),
    };
    let ids = logins.iter().map(|login| login.id.as_str()).collect::<Vec<_>>().join(", ");
    if std::io::stdout().is_terminal() {
        return output::failure("the bundle goes to standard output: redirect it to a file", Exit::Usage);
    }
    if !arguments.yes && !is_confirmed(&ids) {
        return output::failure("not confirmed, nothing was changed; --yes does not ask", Exit::Failed);
    }
    let key = match state.create().and_then(|()| state.key_or_create()) {
        Ok(key) => key,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let work = async {
        let export = Export::prepare(&world, &state, &key, &logins, &arguments.to).await;
        let export = match export {
            Ok(export) => export,
            Err(why) => return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed),
        };
        if let Err(error) = stdio::give(&export.sealed) {
            // What nobody got is nowhere else either.
            let _ = std::fs::remove_file(&export.kept);
            let why = format_args!("the bundle could not be written ({error}); nothing was changed");
            return output::failure(why, Exit::Failed);
        }
        let kept = export.kept.clone();
        match export.disarm().await {
            Ok(()) => {
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "tokensink: {ids} left this host; a copy of the bundle is kept in {}",
                    kept.display()
                );
                Exit::Done
            }
            Err(why) => output::failure(why, Exit::Failed),
        }
    };
    match output::block_on(work) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// The logins that were named, each once; without a name the only one.
fn named<'a>(arguments: &ExportArguments, settings: &'a Settings) -> Result<Vec<&'a LoginSettings>, String> {
    if arguments.logins.is_empty() {
        let ids: Vec<&str> = settings.logins.iter().map(|login| login.id.as_str()).collect();
        return match settings.logins.as_slice() {
            [only] => Ok(vec![only]),
            [] => Err("there is no login".to_owned()),
            _ => Err(format!("name the logins that go ({})", ids.join(", "))),
        };
    }
    let mut logins: Vec<&LoginSettings> = Vec::new();
    for id in &arguments.logins {
        match settings.logins.iter().find(|login| login.id.as_str() == id) {
            Some(login) if logins.iter().all(|known| known.id != login.id) => logins.push(login),
            Some(_) => {}
            None => return Err(format!("there is no login {id}")),
        }
    }
    Ok(logins)
}

/// Asks on standard error: standard output is the bundle's.
fn is_confirmed(logins: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(
        std::io::stderr().lock(),
        "{logins} will be refreshed by the new host alone; here the access token stays until it ends. Go on? [y/N] "
    );
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}
