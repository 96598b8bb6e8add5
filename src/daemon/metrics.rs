//! The metrics as a file for a textfile collector: looked at once in a poll, written when they differ from
//! what was written last. They hold no secret, and the collector is another user: mode 0644.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::secret::Document;
use crate::core::metrics;
use crate::daemon::look;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::atomic_file::{self, FileState, Policy};
use crate::sys::clock;

/// What was written, and when that was looked at.
#[derive(Debug, Default)]
pub struct Textfile {
    looked_at: Option<Duration>,
    written: Option<(PathBuf, String)>,
    /// Why it cannot be written; `None` when it can.
    pub failure: Option<String>,
}

impl Textfile {
    /// Writes the metrics where that is configured and it is time.
    pub fn turn(&mut self, world: &World, state: &StateDir) {
        let Some(path) = &world.settings.textfile else {
            *self = Self::default();
            return;
        };
        let now = clock::monotonic();
        let is_elsewhere = self.written.as_ref().is_some_and(|(there, _)| there != path);
        // A turn that comes a little early is as good as the next one, a poll later.
        let rest = world.settings.poll.mul_f32(0.9);
        if is_elsewhere || self.looked_at.is_none_or(|at| now.saturating_sub(at) >= rest) {
            self.looked_at = Some(now);
            self.write(path, metrics::render(&look::report(&[], world, state)));
        }
    }

    /// The last word: that the daemon runs no more.
    pub fn end(&mut self, world: &World, state: &StateDir) {
        if let Some(path) = &world.settings.textfile {
            let mut report = look::report(&[], world, state);
            report.daemon = Default::default();
            self.write(path, metrics::render(&report));
        }
    }

    fn write(&mut self, path: &Path, text: String) {
        if self.written.as_ref().is_some_and(|(there, before)| there == path && before == &text) {
            return;
        }
        match replace(path, &text) {
            Ok(()) => {
                self.written = Some((path.to_owned(), text));
                self.failure = None;
            }
            Err(why) => self.failure = Some(why),
        }
    }
}

fn replace(path: &Path, text: &str) -> Result<(), String> {
    let state = atomic_file::observe(path);
    let expected = match (&state, state.expected()) {
        (FileState::Unreadable { reason, .. }, _) => return Err(reason.to_string()),
        (_, Some(expected)) => expected,
        (_, None) => return Err("cannot be read".to_owned()),
    };
    let document = Document::new(text.as_bytes().to_vec());
    let policy = Policy { mode: Some(0o644), ..Policy::default() };
    // Metrics that a power loss takes are written again: nothing waits for the disk here.
    let written = atomic_file::stage(path, &document, expected, policy).and_then(atomic_file::Staged::commit);
    written.map(drop).map_err(|error| error.to_string())
}
