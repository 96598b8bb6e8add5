//! GitHub Copilot CLI: where it keeps its token where there is no keyring. Facts: Copilot CLI 1.0.102.
//! Its tokens have no end and are never refreshed.

use std::path::{Path, PathBuf};

use super::Variables;

/// `$COPILOT_HOME/config.json`, by default below `~/.copilot`.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    super::directory(home, variables, "COPILOT_HOME", ".copilot").join("config.json")
}
