//! proper-lockfile's protocol (npm proper-lockfile 4.1.2, seen in Claude Code 2.1.112–2.1.329 and
//! OpenClaw 2026.2.9): `mkdir` takes the lock, its mtime is the heartbeat, an old mtime makes it
//! stale, `rmdir` releases it.
//!
//! Stricter than the original in three ways: a stale lock must also have stood still while we
//! watched (a resumed laptop finds every lock old); before each beat and before release the
//! directory must be the one we made, with the time we gave it; our times are set through the
//! directory's own descriptor, so that we can never touch a lock that replaced ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use super::{Jitter, LockError, Patience, Pauses};
use crate::base::time::Timestamp;
use crate::sys::clock;

/// When somebody else's lock counts as abandoned: both must hold.
#[derive(Debug, Clone, Copy)]
pub struct Staleness {
    /// Its mtime is older than this.
    pub age: Duration,
    /// And did not move for this long while we looked.
    pub frozen: Duration,
}

/// A held directory lock. Dropping it releases it, if it is still ours.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    dir: File,
    id: Identity,
    released: bool,
}

/// Which directory with which time: a taken-over lock differs in one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    /// Seconds and nanoseconds, as the file system stored them.
    mtime: (i64, i64),
}

impl Identity {
    fn of(stat: &std::fs::Metadata) -> Self {
        Self { dev: stat.dev(), ino: stat.ino(), mtime: (stat.mtime(), stat.mtime_nsec()) }
    }

    fn mtime(self) -> Timestamp {
        let (seconds, nanos) = self.mtime;
        Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    }
}

/// What a look at somebody else's lock showed.
struct Foreign {
    id: Identity,
    since: Duration,
    moved: bool,
}

impl DirectoryLock {
    /// Takes the lock, waiting up to `patience` for its holder, and taking over an abandoned one.
    ///
    /// # Errors
    /// `Busy`, `WrongKind` (a regular file or a link is there), `ParentMissing`, `Io`.
    pub async fn acquire(
        path: &Path,
        staleness: Staleness,
        patience: Patience,
        jitter: Jitter<'_>,
    ) -> Result<Self, LockError> {
        let mut pauses = Pauses::new(patience);
        let mut seen: Option<Foreign> = None;
        loop {
            if let Some(lock) = Self::try_create(path)? {
                return Ok(lock);
            }
            let Some(id) = look(path)? else { continue };
            let foreign = match seen.take() {
                Some(before) if before.id == id => before,
                before => Foreign { id, since: clock::monotonic(), moved: before.is_some() },
            };
            if is_abandoned(&foreign, staleness) && take_away(path, foreign.id)? {
                continue;
            }
            let (moving, ahead) = (foreign.moved, foreign.id.mtime().since(clock::now()));
            seen = Some(foreign);
            if !pauses.pause(jitter).await {
                return Err(LockError::Busy { path: path.to_path_buf(), moving, ahead, holder: None });
            }
        }
    }

    /// One attempt; `None` when something is there.
    fn try_create(path: &Path) -> Result<Option<Self>, LockError> {
        match std::fs::DirBuilder::new().mode(0o755).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(LockError::io(path, e)),
        }
        let made = (|| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let dir = File::from(open(path, flags, Mode::empty())?);
            let id = set_time(&dir)?;
            Ok::<_, io::Error>((dir, id))
        })();
        match made {
            Ok((dir, id)) => Ok(Some(Self { path: path.to_path_buf(), dir, id, released: false })),
            Err(e) => {
                // Made a moment ago and still empty: nobody can have judged it stale.
                let _ = std::fs::remove_dir(path);
                Err(LockError::io(path, e))
            }
        }
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True while the directory at the path is ours and carries the time we gave it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|stat| Identity::of(&stat) == self.id)
    }

    /// One heartbeat: checks that the lock is still ours, then moves its time to now.
    ///
    /// # Errors
    /// `Compromised`: stop at once, neither send nor save. `Io` as well: the beat did not happen.
    pub fn beat(&mut self) -> Result<(), LockError> {
        if !self.is_ours() {
            return Err(LockError::Compromised { path: self.path.clone() });
        }
        self.id = set_time(&self.dir).map_err(|e| LockError::io(&self.path, e))?;
        Ok(())
    }

    /// Beats every `every` until the lock is lost, and says how. To be raced against the work
    /// that the lock protects.
    pub async fn beat_until_lost(&mut self, every: Duration) -> LockError {
        loop {
            tokio::time::sleep(every).await;
            if let Err(lost) = self.beat() {
                return lost;
            }
        }
    }

    /// What tells this lock from every other that is ever made at its path; `None` where the file
    /// system does not keep the time of birth (inode numbers alone are used again).
    #[must_use]
    pub fn mark(&self) -> Option<LockMark> {
        LockMark::of(&self.path, &self.dir.metadata().ok()?)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// `Compromised` when it is not ours any more; nothing is removed then.
    pub fn release(mut self) -> Result<(), LockError> {
        self.released = true;
        if !self.is_ours() {
            return Err(LockError::Compromised { path: self.path.clone() });
        }
        std::fs::remove_dir(&self.path).map_err(|e| LockError::io(&self.path, e))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if !self.released && self.is_ours() {
            // What cannot be removed becomes stale, and is then anybody's to remove.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// A directory lock that a process of ours made, as it can be written down. Whoever knows that the
/// process is dead need not wait until the lock looks abandoned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockMark {
    path: PathBuf,
    dev: u64,
    ino: u64,
    /// When the directory was made, in nanoseconds since the Unix epoch.
    born: u64,
}

impl LockMark {
    fn of(path: &Path, stat: &std::fs::Metadata) -> Option<Self> {
        let born = stat.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let born = u64::try_from(born.as_nanos()).ok()?;
        Some(Self { path: path.to_owned(), dev: stat.dev(), ino: stat.ino(), born })
    }

    /// Removes the lock if it still is the one that was marked; says whether it did. Only for a
    /// caller who knows that its holder is dead.
    pub fn remove(&self) -> bool {
        let is_same = self.path.symlink_metadata().ok().and_then(|stat| Self::of(&self.path, &stat)).as_ref()
            == Some(self);
        is_same && std::fs::remove_dir(&self.path).is_ok()
    }
}

/// Moves the time of an own lock to now; returns what the file system made of it.
fn set_time(dir: &File) -> io::Result<Identity> {
    let ms = u64::try_from(clock::now().as_millis()).unwrap_or(0);
    let time = TimeSpec::from_duration(Duration::from_millis(ms));
    futimens(dir, &time, &time)?;
    Ok(Identity::of(&dir.metadata()?))
}

/// The lock that is there; `None` when it has just gone.
fn look(path: &Path) -> Result<Option<Identity>, LockError> {
    match path.symlink_metadata() {
        Ok(stat) if stat.is_dir() => Ok(Some(Identity::of(&stat))),
        Ok(_) => Err(LockError::WrongKind { path: path.to_path_buf() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(LockError::io(path, e)),
    }
}

fn is_abandoned(foreign: &Foreign, staleness: Staleness) -> bool {
    clock::now().since(foreign.id.mtime()) > staleness.age
        && clock::monotonic().saturating_sub(foreign.since) >= staleness.frozen
}

/// Removes the abandoned lock, if it still is the one that was judged. False: it has moved.
fn take_away(path: &Path, judged: Identity) -> Result<bool, LockError> {
    if look(path)? != Some(judged) {
        return Ok(false);
    }
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        // Something lies in it: no lock of this protocol, and not ours to clear away.
        Err(e) if e.raw_os_error() == Some(Errno::ENOTEMPTY as i32) => {
            Err(LockError::WrongKind { path: path.to_path_buf() })
        }
        Err(e) => Err(LockError::io(path, e)),
    }
}
