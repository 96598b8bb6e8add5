//! `tokensink import`: a bundle on standard input, and what became of it; `--key`: the recipient for
//! which the old host seals it. The key itself is never shown.

use std::io::IsTerminal as _;
use std::path::Path;

use super::args::SyncArguments;
use super::exit::Exit;
use super::{load, output, reload, sync};
use crate::daemon::export::NotMoved;
use crate::daemon::import::Import;
use crate::daemon::login::Place;
use crate::daemon::store::{StateDir, StoreError};
use crate::sys::paths::Surroundings;
use crate::sys::{log, sealed, stdio};

/// `import --key`.
#[must_use]
pub fn key(surroundings: &Surroundings) -> Exit {
    log::init(surroundings, tracing::Level::WARN);
    let state = StateDir::of(surroundings);
    let made = || -> Result<_, StoreError> {
        state.create()?;
        if state.import_key().is_none() {
            state.keep_import_key(&sealed::new_key())?;
        }
        Ok(state.import_key())
    };
    let recipient = made().map_err(NotMoved::because).and_then(|key| {
        let key = key.ok_or(sealed::SealError::NotAKey);
        key.and_then(|key| sealed::recipient_of(&key)).map_err(NotMoved::because)
    });
    match recipient {
        Ok(recipient) => {
            output::print(&format!("{recipient}\n"));
            Exit::Done
        }
        Err(why) => output::failure(why, Exit::Failed),
    }
}

/// `import`.
#[must_use]
pub fn run(surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    if std::io::stdin().is_terminal() {
        return output::failure("the bundle comes on standard input: `tokensink import <FILE`", Exit::Usage);
    }
    let bundle = match stdio::take(sealed::MOST) {
        Ok(Some(bundle)) => bundle,
        Ok(None) => return output::failure("the bundle is too long; nothing was changed", Exit::Failed),
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let state = StateDir::of(&surroundings);
    let loaded = match load::configuration(&surroundings, only) {
        Ok(loaded) => loaded,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let key = match state.create().and_then(|()| state.key_or_create()) {
        Ok(key) => key,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let work = async {
        let import = match Import::open(&loaded.settings, &surroundings, &state, &key, &bundle) {
            Ok(import) if only.is_some() && import.is_new() => {
                let why = "the file of --config has no such login, and it is not ours to change";
                return output::failure(why, Exit::Usage);
            }
            Ok(import) => import,
            Err(why) => return output::failure(why, Exit::Failed),
        };
        match import.store().await {
            Ok(places) => follow(&places, surroundings, &state, only).await,
            Err(why) => output::failure(
                format_args!("{why}; once that is seen to, import the same bundle again"),
                Exit::Failed,
            ),
        }
    };
    match output::block_on(work) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// Enters what is new in the configuration, and makes a pass.
async fn follow(places: &[Place], surroundings: Surroundings, state: &StateDir, only: Option<&Path>) -> Exit {
    for place in places {
        let id = &place.login.id;
        output::print(&format!("login {id} is here, in {}\n", place.path.display()));
        match place.enter(&surroundings) {
            Ok(Some(file)) => output::print(&format!("and entered in {}\n", file.display())),
            Ok(None) => {}
            Err(why) => {
                let why = format_args!("login {id} is not in the configuration: {why}");
                return output::failure(why, Exit::Failed);
            }
        }
    }
    match load::world(surroundings, only) {
        Ok((world, _)) => {
            if places.iter().any(|place| place.is_new) {
                reload::daemon(&world, state).await;
            }
            let pass = SyncArguments { dry_run: false, json: false, accept: None };
            sync::sync(&pass, &world, state).await
        }
        Err(errors) => output::failure(load::lines(&errors), Exit::Failed),
    }
}
