//! A secret that its owner keeps alone in a file, on one line.

use std::path::Path;

use super::atomic_file::{self, FileState};
use crate::base::secret::Secret;

/// Reads it; `what` names it in words.
///
/// # Errors
/// Why it cannot be had, in words.
pub fn read(path: &Path, what: &str) -> Result<Secret, String> {
    let FileState::Present(file) = atomic_file::observe(path) else {
        return Err(format!("{what} cannot be read from '{}'", path.display()));
    };
    let text = std::str::from_utf8(file.document.expose()).unwrap_or_default().trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("'{}' does not hold {what} in one line", path.display()));
    }
    Ok(Secret::new(text.to_owned()))
}
