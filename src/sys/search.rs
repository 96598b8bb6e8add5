//! Programs on a search path, as a shell would find them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Container engines, in the order of preference.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The first program of that name on a search path: a regular file that may be executed.
#[must_use]
pub fn find_on(search_path: &str, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|directory| directory.join(name)).find(|program| {
        std::fs::metadata(program).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// What is said where there is none.
pub const NO_ENGINE: &str = "neither docker nor podman is on the search path";

/// The names of the container engines on a search path, the preferred one first.
pub fn container_engines(search_path: &str) -> impl Iterator<Item = &'static str> {
    ENGINES.into_iter().filter(|name| find_on(search_path, name).is_some())
}

/// The name of the container engine on a search path.
///
/// # Errors
/// The sentence that says there is none.
pub fn container_engine(search_path: &str) -> Result<&'static str, &'static str> {
    container_engines(search_path).next().ok_or(NO_ENGINE)
}
