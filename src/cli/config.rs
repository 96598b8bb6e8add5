//! `tokensink config`: validate, or print what holds and where it came from.

use std::path::Path;

use super::exit::Exit;
use super::{load, output};
use crate::config;
use crate::sys::paths::Surroundings;

/// `config check`.
#[must_use]
pub fn check(surroundings: &Surroundings, only: Option<&Path>) -> Exit {
    match load::configuration(surroundings, only) {
        Err(errors) => output::failure(load::lines(&errors), Exit::Config),
        Ok(loaded) if loaded.files.is_empty() => {
            output::failure("there is no configuration; `tokensink setup` writes one", Exit::Config)
        }
        Ok(loaded) => {
            let files: Vec<String> = loaded.files.iter().map(|f| f.display().to_string()).collect();
            output::print(&format!("{} is valid\n", files.join(", ")));
            if let Some(warning) = loaded.settings.alert_warning() {
                output::failure(format_args!("warning: {warning}"), Exit::Done);
            }
            Exit::Done
        }
    }
}

/// `config show`.
#[must_use]
pub fn show(surroundings: &Surroundings, only: Option<&Path>, json: bool) -> Exit {
    match load::configuration(surroundings, only) {
        Err(errors) => output::failure(load::lines(&errors), Exit::Failed),
        Ok(loaded) => {
            if json {
                let value = serde_json::json!({
                    "format_version": 1,
                    "files": loaded.files,
                    "values": loaded.shown,
                });
                output::print_json(&value);
            } else {
                output::print(&config::render_shown(&loaded));
            }
            Exit::Done
        }
    }
}
