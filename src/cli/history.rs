//! `tokensink history`: our own record of what happened, as text by day, as JSON, or as a drawn timeline.
//! Reads one file; no configuration is needed, so that logins that are gone can be asked for as well.

pub mod since;
pub mod text;
pub mod timeline;

use std::path::Path;

use serde_json::json;

use super::args::HistoryArguments;
use super::exit::Exit;
use super::output;
use crate::base::secret::Document;
use crate::base::time::Timestamp;
use crate::core::event::What;
use crate::daemon::history;
use crate::daemon::store::StateDir;
use crate::sys::atomic_file::{self, FileState, Policy};
use crate::sys::clock;
use crate::sys::paths::Surroundings;

/// Runs the command.
#[must_use]
pub fn run(arguments: &HistoryArguments, surroundings: &Surroundings) -> Exit {
    let now = clock::now();
    let since = match arguments.since.as_deref().map(|text| since::parse(text, now)).transpose() {
        Ok(since) => since,
        Err(why) => return output::failure(format_args!("--since {why}"), Exit::Usage),
    };
    let record = match history::read(&StateDir::of(surroundings)) {
        Ok(record) => record,
        Err(error) => {
            return output::failure(format_args!("the history cannot be read: {error}"), Exit::Failed);
        }
    };
    let mut events = record.events;
    events.retain(|event| {
        since.is_none_or(|since| event.at >= since) && is_about(&event.what, &arguments.logins)
    });
    if let Some(file) = &arguments.svg {
        // What a generation before the first event was is drawn to where it ends.
        let drawing = timeline::draw(&events, since, now);
        return if file.as_os_str() == "-" {
            output::print(&drawing);
            Exit::Done
        } else {
            write(file, drawing)
        };
    }
    if arguments.json {
        output::print_json(&json!({
            "format_version": 1,
            "generated_at": now,
            "since": since,
            "unreadable": record.unreadable,
            "events": events,
        }));
    } else {
        output::print(&text::by_day(&events));
        if record.unreadable > 0 {
            output::print(&format!("\n{} lines of the record could not be read\n", record.unreadable));
        }
    }
    Exit::Done
}

/// What names another login, or is a finding about something else, is left out when logins are named.
fn is_about(what: &What, logins: &[String]) -> bool {
    let is_wanted = |id: &str| logins.iter().any(|login| login == id);
    logins.is_empty()
        || match (what.login(), what.finding()) {
            (Some(login), _) => is_wanted(login.as_str()),
            (None, Some((_, subject))) => is_wanted(subject),
            (None, None) => !matches!(what, What::NotWritten { .. }),
        }
}

fn write(file: &Path, drawing: String) -> Exit {
    let state = atomic_file::observe(file);
    let expected = match (&state, state.expected()) {
        (FileState::Unreadable { reason, .. }, _) => {
            return output::failure(format_args!("{}: {reason}", file.display()), Exit::Failed);
        }
        (_, Some(expected)) => expected,
        (_, None) => return output::failure(format_args!("{} cannot be read", file.display()), Exit::Failed),
    };
    let document = Document::new(drawing.into_bytes());
    let written = atomic_file::replace(file, &document, expected, Policy::default());
    match written {
        Ok(()) => Exit::Done,
        Err(error) => output::failure(format_args!("{}: {error}", file.display()), Exit::Failed),
    }
}

/// The day and the time of day, in UTC.
fn day_and_time(at: Timestamp) -> (String, String) {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, time)) => (day.to_owned(), time.trim_end_matches('Z').to_owned()),
        None => (text, String::new()),
    }
}

/// What several tests draw and print: a day and a half of a login, as it is recorded.
#[cfg(test)]
pub(crate) fn example() -> Vec<crate::core::event::Event> {
    include_str!("history/example.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
