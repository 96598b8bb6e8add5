//! The lock of OpenClaw's `auth-profiles.json` (seen in OpenClaw 2026.2.9–2026.3.31): `<store>.lock`
//! in the real directory of the store, the store's own link not followed.
//!
//! Up to 2026.2.12 it is a directory (proper-lockfile, stale after 30 s); from 2026.2.17 a regular
//! file `{pid, createdAt}`, created exclusively and written afterwards. The wrong kind blocks the
//! other releases for ever, so each kind is only ever removed by its own protocol.
//!
//! OpenClaw releases by path without looking and takes a lock from a process of another user at
//! once; we do neither. There is no heartbeat: it must be held well under 30 s.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use serde::Deserialize;

use super::{DirectoryLock, Jitter, LockError, Patience, Pauses, Staleness};
use crate::base::time::Timestamp;
use crate::sys::clock;

/// OpenClaw's own limit, for both kinds.
const STALE: Duration = Duration::from_secs(30);

/// A lock of either kind is far smaller; what is larger is not read.
const MAX_BODY: u64 = 4096;

/// Which protocol the release speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLockKind {
    /// Up to 2026.2.12.
    Directory,
    /// From 2026.2.17.
    File,
}

/// How we take part.
#[derive(Debug, Clone, Copy)]
pub struct StoreLockOptions {
    /// The protocol.
    pub kind: StoreLockKind,
    /// True when OpenClaw runs in another PID namespace or under another user (a container):
    /// our process number would look dead to it, so 0 is written, which it honours; and its
    /// number is not judged by us, only its age.
    pub foreign_namespace: bool,
}

/// A held store lock. Dropping it releases it, if it is still ours.
#[derive(Debug)]
pub struct StoreLock(Held);

#[derive(Debug)]
enum Held {
    Directory(DirectoryLock),
    File(FileLock),
}

impl StoreLock {
    /// Takes the lock of `store`, waiting up to `patience`.
    ///
    /// # Errors
    /// `Busy`; `WrongKind` when a lock of the other kind is there, even a stale one; `ParentMissing`
    /// when the store's directory does not exist (it is not created); `Io`.
    pub async fn acquire(
        store: &Path,
        options: StoreLockOptions,
        patience: Patience,
        jitter: Jitter<'_>,
    ) -> Result<Self, LockError> {
        let path = lock_path(store)?;
        if options.kind == StoreLockKind::Directory {
            let staleness = Staleness { age: STALE, frozen: Duration::ZERO };
            let lock = DirectoryLock::acquire(&path, staleness, patience, jitter).await?;
            return Ok(Self(Held::Directory(lock)));
        }
        let mut pauses = Pauses::new(patience);
        let mut first: Option<Seen> = None;
        loop {
            if let Some(lock) = FileLock::try_create(&path, options)? {
                return Ok(Self(Held::File(lock)));
            }
            let Some(seen) = Seen::look(&path)? else { continue };
            if seen.is_stale(options, clock::now()) && seen.take_away(&path)? {
                continue;
            }
            let moving = first.as_ref().is_some_and(|f| f.id != seen.id || f.mtime != seen.mtime);
            let ahead = seen.mtime.since(clock::now());
            first.get_or_insert(seen);
            if !pauses.pause(jitter).await {
                return Err(LockError::Busy { path, moving, ahead, holder: None });
            }
        }
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Held::Directory(lock) => lock.path(),
            Held::File(lock) => &lock.path,
        }
    }

    /// True while the lock at the path is the one we made.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match &self.0 {
            Held::Directory(lock) => lock.is_ours(),
            Held::File(lock) => lock.is_ours(),
        }
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// `Compromised` when it is not ours any more; nothing is removed then.
    pub fn release(self) -> Result<(), LockError> {
        match self.0 {
            Held::Directory(lock) => lock.release(),
            Held::File(lock) => lock.release(),
        }
    }
}

/// `<real directory>/<name of the store>.lock`.
fn lock_path(store: &Path) -> Result<PathBuf, LockError> {
    let invalid = || LockError::io(store, Errno::EISDIR);
    let name = store.file_name().ok_or_else(invalid)?;
    let above = store.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut lock = name.to_os_string();
    lock.push(".lock");
    above.canonicalize().map(|dir| dir.join(&lock)).map_err(|e| LockError::io(&above.join(&lock), e))
}

#[derive(Debug)]
struct FileLock {
    path: PathBuf,
    /// Kept open: the inode number cannot be given to another file meanwhile.
    file: File,
    released: bool,
}

impl FileLock {
    fn try_create(path: &Path, options: StoreLockOptions) -> Result<Option<Self>, LockError> {
        // 0666 less the umask, as OpenClaw makes it: a gateway of another user must read it.
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(LockError::io(path, e)),
        };
        // From here on a failure drops the lock, which removes the file.
        let mut lock = Self { path: path.to_path_buf(), file, released: false };
        let pid = if options.foreign_namespace { 0 } else { std::process::id() };
        lock.file.write_all(body(pid, clock::now()).as_bytes()).map_err(|e| LockError::io(path, e))?;
        Ok(Some(lock))
    }

    fn is_ours(&self) -> bool {
        match (self.path.symlink_metadata(), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            _ => false,
        }
    }

    fn release(mut self) -> Result<(), LockError> {
        self.released = true;
        if !self.is_ours() {
            return Err(LockError::Compromised { path: self.path.clone() });
        }
        std::fs::remove_file(&self.path).map_err(|e| LockError::io(&self.path, e))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if !self.released && self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The text of a lock file.
fn body(pid: u32, now: Timestamp) -> String {
    let ms = u64::try_from(now.as_millis()).unwrap_or(0);
    let created = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\"\n}}")
}

/// The body, where it counts: both fields there and of their type.
#[derive(Debug, Deserialize)]
struct Body {
    pid: f64,
    #[serde(rename = "createdAt")]
    created_at: String,
}

/// Somebody else's lock file.
#[derive(Debug)]
struct Seen {
    id: (u64, u64),
    mtime: Timestamp,
    text: Vec<u8>,
}

impl Seen {
    fn look(path: &Path) -> Result<Option<Self>, LockError> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link: no release makes one.
            Err(e) if e.raw_os_error() == Some(Errno::ELOOP as i32) => {
                return Err(LockError::WrongKind { path: path.to_path_buf() });
            }
            Err(e) => return Err(LockError::io(path, e)),
        };
        let stat = file.metadata().map_err(|e| LockError::io(path, e))?;
        if !stat.is_file() {
            return Err(LockError::WrongKind { path: path.to_path_buf() });
        }
        let mtime = stat.modified().map(Timestamp::from).map_err(|e| LockError::io(path, e))?;
        let mut text = Vec::new();
        if file.take(MAX_BODY).read_to_end(&mut text).is_err() {
            // A lock that cannot be read to its end is judged by its age, as one without a body.
            text.clear();
        }
        Ok(Some(Self { id: (stat.dev(), stat.ino()), mtime, text }))
    }

    /// OpenClaw's own tests, in its order. Where it counts a process of another user as dead, we
    /// count it as alive.
    fn is_stale(&self, options: StoreLockOptions, now: Timestamp) -> bool {
        is_over(&self.text, !options.foreign_namespace, now) || now.since(self.mtime) > STALE
    }

    /// Removes the stale lock, if it still is the one that was judged.
    fn take_away(&self, path: &Path) -> Result<bool, LockError> {
        match Self::look(path)? {
            Some(again) if again.id == self.id && again.mtime == self.mtime => {}
            _ => return Ok(false),
        }
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(LockError::io(path, e)),
        }
    }
}

/// Whether a lock file says itself that its holder is gone, or has had it for too long. A body that does not
/// count says nothing. The holder's number is looked at only where it is one of ours.
#[must_use]
pub fn is_over(text: &[u8], is_of_ours: bool, now: Timestamp) -> bool {
    let Ok(body) = serde_json::from_slice::<Body>(text) else { return false };
    if body.pid != 0.0 && is_of_ours && !is_alive(body.pid) {
        return true;
    }
    let created = humantime::parse_rfc3339(&body.created_at);
    created.map_or(true, |created| now.since(created.into()) > STALE)
}

/// True unless there is provably no such process, or only a zombie.
fn is_alive(pid: f64) -> bool {
    if pid.fract() != 0.0 || !(1.0..=f64::from(i32::MAX)).contains(&pid) {
        return false;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked: a whole number within i32")]
    let pid = pid as i32;
    if nix::sys::signal::kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let zombie = state.as_deref().and_then(|s| s.rsplit_once(") ")).is_some_and(|(_, s)| s.starts_with('Z'));
    !zombie
}
