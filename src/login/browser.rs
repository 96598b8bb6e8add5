//! Opening a browser, where there is one that the person can see: a display, and no SSH between.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::sys::detached::{Detached, DetachedSpec};
use crate::sys::paths::Surroundings;
use crate::sys::search;

/// The desktop's own opener.
const OPENER: &str = "xdg-open";

/// The opener, where a person would see what it opens.
///
/// # Errors
/// Why nobody would.
pub fn program(surroundings: &Surroundings) -> Result<PathBuf, &'static str> {
    let is_set = |names: &[&str]| names.iter().any(|name| surroundings.variable(name).is_some());
    if is_set(&["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"]) {
        return Err("this is an SSH session");
    }
    if !is_set(&["DISPLAY", "WAYLAND_DISPLAY"]) {
        return Err("there is no display");
    }
    search::find_on(surroundings.search_path(), OPENER).ok_or("xdg-open is not installed")
}

/// Hands the URL to the desktop's opener, which outlives us. Must be called within a runtime.
///
/// # Errors
/// Why no browser was opened; the URL is printed in any case.
pub fn open(url: &str, surroundings: &Surroundings) -> Result<(), &'static str> {
    let program = program(surroundings)?;
    // The person's own program, in the person's own surroundings.
    let env: BTreeMap<String, String> = surroundings.variables.clone();
    let argv = vec![program.display().to_string(), url.to_owned()];
    let started = Detached::start(&DetachedSpec { argv, env, cwd: None, output: None });
    started.map(drop).map_err(|_| "xdg-open cannot be started")
}
