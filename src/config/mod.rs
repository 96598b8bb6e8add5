//! TOML to settings, in three stages: fragments (one file each), merge, validate.
//!
//! Everything that depends on the host is an argument: directories, home, variables. Nothing here
//! writes, logs, or knows what a provider's own path is. All faults of all files are reported at
//! once, each with file and line.

pub mod check;
pub mod cross;
pub mod entries;
pub mod error;
pub mod expand;
pub mod fragment;
pub mod gateway;
pub mod merge;
pub mod schema;
pub mod section;
pub mod settings;
pub mod show;
pub mod sink;
pub mod validate;

use std::path::{Path, PathBuf};

pub use error::ConfigError;
pub use expand::Environment;
pub use merge::{ConfigDirs, discover};
pub use show::{Origin, Shown, ShownValue, render_shown};

use section::Gaps;
use settings::Settings;

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings; defaults throughout when there is no file.
    pub settings: Settings,
    /// The files that were merged, in that order; empty when there is none at all.
    pub files: Vec<PathBuf>,
    /// Every effective value with its origin, for `config show`.
    pub shown: Vec<ShownValue>,
}

/// Loads the configuration: `only` alone where it is given, else what the directories hold.
///
/// # Errors
/// Every fault, sorted by file and line. References and missing keys are not judged while a file
/// could not be read or parsed, because it may hold what they need.
pub fn load(dirs: &ConfigDirs, only: Option<&Path>, env: &Environment) -> Result<Loaded, Vec<ConfigError>> {
    let (files, mut errors) = match only {
        Some(file) => (vec![file.to_path_buf()], Vec::new()),
        None => merge::survey(dirs),
    };
    let mut root = fragment::Table::new();
    let mut gaps = Gaps { keys: !errors.is_empty(), entries: !errors.is_empty() };
    for file in &files {
        match fragment::load(file) {
            Ok(mut table) => {
                gaps.entries |= schema::check(&mut table, &mut errors);
                merge::merge(&mut root, table);
            }
            Err(mut faults) => {
                gaps = Gaps { keys: true, entries: true };
                errors.append(&mut faults);
            }
        }
    }
    let (settings, shown) = validate::validate(&root, env, gaps, &mut errors);
    if errors.is_empty() {
        return Ok(Loaded { settings, files, shown });
    }
    errors.sort();
    errors.dedup();
    Err(errors)
}
