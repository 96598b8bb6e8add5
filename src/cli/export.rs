//! `tokensink export`: what a person is asked before a login leaves this host, and the bundle on standard
//! output. Nothing changes here before all of it is written.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::args::ExportArguments;
use super::exit::Exit;
use super::{load, output};
use crate::config::settings::LoginSettings;
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
    let mut logins: Vec<&LoginSettings> = Vec::new();
    for id in &arguments.logins {
        match world.settings.logins.iter().find(|login| login.id.as_str() == id) {
            Some(login) if logins.iter().all(|known| known.id != login.id) => logins.push(login),
            Some(_) => {}
            None => return output::failure(format_args!("there is no login {id}"), Exit::Usage),
        }
    }
    if std::io::stdout().is_terminal() {
        return output::failure("the bundle goes to standard output: redirect it to a file", Exit::Usage);
    }
    if !arguments.yes && !is_confirmed(&arguments.logins) {
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
                    "tokensink: {} left this host; a copy of the bundle is kept in {}",
                    arguments.logins.join(", "),
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

/// Asks on standard error: standard output is the bundle's.
fn is_confirmed(logins: &[String]) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(
        std::io::stderr().lock(),
        "{} will be refreshed by the new host alone; here the access token stays until it ends. Go on? [y/N] ",
        logins.join(", ")
    );
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}
