//! Which OpenClaw releases keep their credentials in a JSON store that a foreign program may
//! write, and how. Facts: releases 2026.1.29 to 2026.3.31 examined by running or reading them
//! (2026.2.9, 2.25, 2.26, 3.13 and 3.31 by running); everything else is read-only.

use crate::format::release::Release;

/// The lock that a release's own writers take on `auth-profiles.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLockKind {
    /// A directory `auth-profiles.json.lock` (up to 2026.2.12).
    Directory,
    /// A file of that name (from 2026.2.17).
    File,
}

/// What may be done with the JSON store of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its lock.
    pub lock: StoreLockKind,
    /// The gateway reads the file at each turn; else it keeps a snapshot and must be told.
    pub is_read_live: bool,
    /// The release can be trusted with a refresh token if the owner asks for it.
    pub may_hold_refresh: bool,
}

const READ_LIVE_DIRECTORY: Window =
    Window { lock: StoreLockKind::Directory, is_read_live: true, may_hold_refresh: true };
const READ_LIVE_FILE: Window =
    Window { lock: StoreLockKind::File, is_read_live: true, may_hold_refresh: true };
const SNAPSHOT: Window = Window { lock: StoreLockKind::File, is_read_live: false, may_hold_refresh: false };

/// First and last release of each writable window.
const WINDOWS: [(&str, &str, Window); 4] = [
    ("2026.1.29", "2026.2.12", READ_LIVE_DIRECTORY),
    ("2026.2.17", "2026.2.25", READ_LIVE_FILE),
    ("2026.2.26", "2026.3.13", SNAPSHOT),
    ("2026.3.31", "2026.3.31", SNAPSHOT),
];

/// The writable window of a release; `None` for a release whose JSON store must not be written.
#[must_use]
pub fn window_of(release: &Release) -> Option<Window> {
    WINDOWS.iter().find_map(|(first, last, window)| {
        let (first, last) = (Release::parse(first)?, Release::parse(last)?);
        (first <= *release && *release <= last).then_some(*window)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_of(text: &str) -> Option<StoreLockKind> {
        window_of(&Release::parse(text).unwrap()).map(|w| w.lock)
    }

    #[test]
    fn only_the_examined_json_releases_are_writable_each_with_its_own_lock() {
        for unknown in
            ["2026.1.24", "2026.1.28", "2026.2.13", "2026.2.16", "2026.3.14", "2026.3.30", "2026.4.1"]
        {
            assert_eq!(lock_of(unknown), None, "{unknown}");
        }
        for retired in ["2026.5.28", "2026.6.11", "2026.9.6", "2027.1.1"] {
            assert_eq!(lock_of(retired), None, "{retired}");
        }
        assert_eq!(lock_of("2026.1.29"), Some(StoreLockKind::Directory));
        assert_eq!(lock_of("2026.2.12"), Some(StoreLockKind::Directory));
        for file in ["2026.2.17", "2026.2.25", "2026.2.26", "2026.3.13", "2026.3.31"] {
            assert_eq!(lock_of(file), Some(StoreLockKind::File), "{file}");
        }
    }

    #[test]
    fn a_gateway_with_a_snapshot_is_never_trusted_with_a_refresh_token() {
        let window = window_of(&Release::parse("2026.2.26").unwrap()).unwrap();
        assert!(!window.may_hold_refresh && !window.is_read_live);
    }
}
