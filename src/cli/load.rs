//! From arguments and surroundings to a world that commands can look at.

use std::path::{Path, PathBuf};

use crate::config::{self, ConfigDirs, ConfigError, Environment, Loaded};
use crate::daemon::detect;
pub use crate::daemon::look::{daemon, remembered};
use crate::daemon::world::World;
use crate::sys::paths::Surroundings;

/// Where configuration is looked for.
#[must_use]
pub fn dirs(surroundings: &Surroundings) -> ConfigDirs {
    ConfigDirs {
        vendor: PathBuf::from("/usr/lib/tokensink"),
        system: PathBuf::from("/etc/tokensink"),
        user: surroundings.config_dir(),
    }
}

/// The configuration of this user.
///
/// # Errors
/// Every error of every file.
pub fn configuration(surroundings: &Surroundings, only: Option<&Path>) -> Result<Loaded, Vec<ConfigError>> {
    let environment = Environment { home: surroundings.home.clone(), vars: surroundings.variables.clone() };
    config::load(&dirs(surroundings), only, &environment)
}

/// All errors, one a line.
#[must_use]
pub fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(|e| format!("{e} [{}]", e.code)).collect::<Vec<_>>().join("\ntokensink: ")
}

/// A world, and whether it was configured or only detected.
///
/// # Errors
/// Every error of every file.
pub fn world(surroundings: Surroundings, only: Option<&Path>) -> Result<(World, bool), Vec<ConfigError>> {
    let loaded = configuration(&surroundings, only)?;
    let is_configured = !loaded.files.is_empty();
    let settings = if is_configured { loaded.settings } else { detect::settings(&surroundings) };
    Ok((World::new(settings, surroundings), is_configured))
}
