//! A `flock` on a file that stays: how Codex (0.166 and later) keeps its own writers apart. The
//! kernel releases it when its holder dies, in whatever way, so there is nothing to judge stale and
//! no heartbeat; the file is empty and is never removed, or two holders would lock two files.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;

use super::{Jitter, LockError, Patience, Pauses};

/// A held exclusive lock. Dropping it, or dying, releases it.
#[derive(Debug)]
pub struct Flock {
    path: PathBuf,
    file: File,
}

impl Flock {
    /// Takes the lock, waiting up to `patience`. A missing file is created with `mode`, less the
    /// umask; a link is followed, as the other holders follow it.
    ///
    /// # Errors
    /// `Busy`; `WrongKind` when something else than a regular file is there; `ParentMissing`; `Io`.
    pub async fn acquire(
        path: &Path,
        mode: u32,
        patience: Patience,
        jitter: Jitter<'_>,
    ) -> Result<Self, LockError> {
        let mut pauses = Pauses::new(patience);
        loop {
            if let Some(lock) = Self::attempt(path, mode)? {
                return Ok(lock);
            }
            if !pauses.pause(jitter).await {
                // Nobody but a live process holds such a lock.
                let path = path.to_path_buf();
                return Err(LockError::Busy { path, moving: true, ahead: Duration::ZERO, holder: None });
            }
        }
    }

    fn attempt(path: &Path, mode: u32) -> Result<Option<Self>, LockError> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => {
                return Err(LockError::WrongKind { path: path.to_path_buf() });
            }
            Err(e) => return Err(LockError::io(path, e)),
        };
        if !file.metadata().map_err(|e| LockError::io(path, e))?.is_file() {
            return Err(LockError::WrongKind { path: path.to_path_buf() });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(LockError::io(path, e)),
        }
        let lock = Self { path: path.to_path_buf(), file };
        // Replaced since it was opened: others lock the new one.
        Ok(lock.is_ours().then_some(lock))
    }

    /// True while the file at the path is the one that is locked.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            _ => false,
        }
    }
}
