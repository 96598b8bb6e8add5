//! Locks: the three protocols of other programs that we must speak, and our own.
//!
//! `DirectoryLock` is proper-lockfile's (Claude Code's refresh and write locks, OpenClaw up to
//! 2026.2.12), `StoreLock` is OpenClaw's lock of `auth-profiles.json`, `Flock` is Codex's,
//! `ProcessLock` keeps two of our own processes apart. Waiting is asynchronous, bounded and
//! jittered by the caller; no lock that is not provably ours is ever released.

mod directory;
mod flock;
mod process;
mod store;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::directory::{DirectoryLock, LockMark, Staleness};
pub use self::flock::Flock;
pub use self::process::{Holder, Probe, ProcessLock};
pub use self::store::{StoreLock, StoreLockKind, StoreLockOptions, is_over};
use super::clock;

/// A source of numbers in `0.0..1.0`; randomness is the caller's to give.
pub type Jitter<'a> = &'a mut (dyn FnMut() -> f64 + Send);

/// How long to wait for a lock, and how often to look.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Total time; zero is a single attempt.
    pub total: Duration,
    /// First pause; doubled each time and stretched by a factor of 1 to 2 (jitter).
    pub first: Duration,
    /// Longest pause before jitter.
    pub longest: Duration,
}

impl Patience {
    /// One attempt.
    #[must_use]
    pub const fn none() -> Self {
        Self { total: Duration::ZERO, first: Duration::ZERO, longest: Duration::ZERO }
    }
}

/// Counts the pauses of one acquisition.
struct Pauses {
    patience: Patience,
    started: Duration,
    next: Duration,
}

impl Pauses {
    fn new(patience: Patience) -> Self {
        Self { patience, started: clock::monotonic(), next: patience.first }
    }

    /// Sleeps before the next attempt; false when the time is up.
    async fn pause(&mut self, jitter: &mut (dyn FnMut() -> f64 + Send)) -> bool {
        let waited = clock::monotonic().saturating_sub(self.started);
        let Some(left) = self.patience.total.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return false;
        };
        let stretched = self.next.mul_f64(1.0 + jitter().clamp(0.0, 1.0));
        tokio::time::sleep(stretched.max(Duration::from_millis(1)).min(left)).await;
        self.next = (self.next * 2).min(self.patience.longest);
        true
    }
}

/// Why a lock is not held.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else held it to the end of our patience.
    Busy {
        /// The lock.
        path: PathBuf,
        /// True when the holder showed life while we waited (its time moved).
        moving: bool,
        /// How far the lock's time lies in the future; up to two seconds are normal.
        ahead: Duration,
        /// Who holds it, where the lock says so.
        holder: Option<Holder>,
    },
    /// A lock of another protocol (a file where a directory belongs, or the reverse) is there.
    WrongKind {
        /// The lock.
        path: PathBuf,
    },
    /// It was ours and is not any more: somebody took it over.
    Compromised {
        /// The lock.
        path: PathBuf,
    },
    /// The directory that would hold the lock does not exist.
    ParentMissing {
        /// The lock.
        path: PathBuf,
    },
    /// Anything else the system said.
    Io {
        /// The lock.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl LockError {
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_path_buf(), source.into());
        match source.kind() {
            io::ErrorKind::NotFound => Self::ParentMissing { path },
            _ => Self::Io { path, source },
        }
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Busy { path, .. }
            | Self::WrongKind { path }
            | Self::Compromised { path }
            | Self::ParentMissing { path }
            | Self::Io { path, .. } => path,
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::Busy { holder: Some(holder), .. } => {
                write!(f, "lock '{path}' is held by process {} since {}", holder.pid, holder.since)
            }
            Self::Busy { moving: true, .. } => write!(f, "lock '{path}' is held by a live process"),
            Self::Busy { .. } => write!(f, "lock '{path}' is held"),
            Self::WrongKind { .. } => write!(f, "lock '{path}' is of another kind than expected"),
            Self::Compromised { .. } => write!(f, "lock '{path}' was taken over by somebody else"),
            Self::ParentMissing { .. } => write!(f, "the directory of lock '{path}' does not exist"),
            Self::Io { source, .. } => write!(f, "lock '{path}': {source}"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
