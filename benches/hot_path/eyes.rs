//! Sees renames the moment the kernel tells of them. All contenders are seen by the same eyes:
//! one inotify instance, read by a thread of its own that only takes the time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};

/// A name that got a new file.
pub struct Seen {
    pub at: Instant,
    pub path: PathBuf,
}

pub struct Eyes {
    watches: Watches,
    directories: Arc<Mutex<HashMap<WatchDescriptor, PathBuf>>>,
    events: Receiver<Seen>,
}

impl Eyes {
    pub fn open() -> Self {
        let mut inotify = Inotify::init().unwrap();
        let watches = inotify.watches();
        let directories: Arc<Mutex<HashMap<WatchDescriptor, PathBuf>>> = Arc::default();
        let known = Arc::clone(&directories);
        let (sender, events) = mpsc::channel();
        // Ends with the program.
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let Ok(events) = inotify.read_events_blocking(&mut buffer) else { return };
                let at = Instant::now();
                for event in events {
                    let (Some(name), known) = (event.name, known.lock().unwrap()) else { continue };
                    let Some(directory) = known.get(&event.wd) else { continue };
                    if sender.send(Seen { at, path: directory.join(name) }).is_err() {
                        return;
                    }
                }
            }
        });
        Self { watches, directories, events }
    }

    /// Looks at a directory from now on.
    pub fn watch(&mut self, directory: &Path) {
        let mut known = self.directories.lock().unwrap();
        let descriptor = self.watches.add(directory, WatchMask::MOVED_TO).unwrap();
        known.insert(descriptor, directory.to_owned());
    }

    /// Forgets what was seen so far.
    pub fn blink(&self) {
        while self.events.try_recv().is_ok() {}
    }

    /// The next rename; `None` after `deadline`.
    pub fn next(&self, deadline: Instant) -> Option<Seen> {
        self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits until each of `files` was renamed to and holds `token`. The time of the last one's
    /// rename, or `None` when that did not come to pass.
    pub fn until_all_hold(&self, files: &[PathBuf], token: &str, patience: Duration) -> Option<Instant> {
        let deadline = Instant::now() + patience;
        let mut open: Vec<&PathBuf> = files.iter().collect();
        let mut last = None;
        while !open.is_empty() {
            let seen = self.next(deadline)?;
            let before = open.len();
            open.retain(|file| **file != seen.path || !holds(file, token));
            if open.len() < before {
                last = Some(seen.at);
            }
        }
        last
    }

    /// Waits for a rename to `file`.
    pub fn until_renamed(&self, file: &Path, patience: Duration) -> Option<Instant> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.next(deadline)?;
            if seen.path == file {
                return Some(seen.at);
            }
        }
    }
}

/// Whether a file contains the token.
pub fn holds(file: &Path, token: &str) -> bool {
    let Ok(bytes) = std::fs::read(file) else { return false };
    bytes.windows(token.len()).any(|window| window == token.as_bytes())
}
