//! The secret of a channel: a credential of the unit (`LoadCredential=`, systemd.exec(5)) or a file. Read
//! for each message, so that a new one needs no restart, and kept no longer than that takes.

use std::path::PathBuf;

use super::{Around, Undelivered};
use crate::base::secret::Secret;
use crate::config::settings::AlertSettings;
use crate::sys::paths::Surroundings;
use crate::sys::secret_line;

/// Where credentials may be: what the service manager says; for a command that a person types, where
/// the manager of a user keeps those of the running unit (systemd 252).
pub(super) fn directories(surroundings: &Surroundings) -> Vec<PathBuf> {
    let told = surroundings.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let of_unit = surroundings.runtime_dir().map(|runtime| runtime.join("credentials/tokensink.service"));
    told.into_iter().chain(of_unit).collect()
}

/// Reads it; `None` for a channel that has none.
pub(super) fn of(settings: &AlertSettings, around: &Around) -> Result<Option<Secret>, Undelivered> {
    if let Some(name) = &settings.credential {
        let found =
            around.credentials.iter().map(|directory| directory.join(name)).find(|path| path.exists());
        let Some(path) = found else {
            return Err(Undelivered::lasting(format!(
                "there is no credential '{name}': the unit needs LoadCredential={name}:FILE"
            )));
        };
        return secret_line::read(&path, "the credential").map(Some).map_err(Undelivered::lasting);
    }
    let read = settings.token_file.as_deref().map(|path| secret_line::read(path, "the token"));
    read.transpose().map_err(Undelivered::lasting)
}
