//! Our own lock between our own processes (the pass, the daemon): a file of ours with an open
//! file description lock, which the kernel releases when its holder dies in whatever way.
//!
//! It is `fcntl(F_OFD_SETLK)` and not `flock`, because only the former can be asked about
//! without being taken for a moment: a `probe` never makes a real attempt fail. The content,
//! `{"pid":N,"since":MS}`, is for people and means nothing without the lock. The file stays after
//! release: removing it would let two processes lock two files of the same name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{Jitter, LockError, Patience, Pauses};
use crate::base::time::Timestamp;

/// Who holds a lock of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process number, in its own namespace.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// What a look at a lock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Nobody holds it, or there is no such file.
    Free,
    /// Somebody holds it; the content may be missing for a moment.
    Held(Option<Holder>),
}

/// A held lock. Dropping it, or dying, releases it.
#[derive(Debug)]
pub struct ProcessLock {
    path: PathBuf,
    _file: File,
}

impl ProcessLock {
    /// One attempt. `since` is written into the file (mode 0600, created if missing). Without it nobody says who holds
    /// it: a lock that is taken every minute shall not have the disk written every minute.
    ///
    /// # Errors
    /// `Busy` with the holder's own words; `ParentMissing`; `Io`.
    pub fn try_acquire(path: &Path, since: Option<Timestamp>) -> Result<Self, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| LockError::io(path, e))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(LockError::Busy {
                    path: path.to_path_buf(),
                    moving: true,
                    ahead: std::time::Duration::ZERO,
                    holder: read_holder(&file),
                });
            }
            Err(errno) => return Err(LockError::io(path, errno)),
        }
        let written = match since {
            Some(since) => write_holder(&file, Holder { pid: std::process::id(), since }),
            None => erase_holder(&file),
        };
        written.map_err(|e| LockError::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), _file: file })
    }

    /// Takes the lock, waiting up to `patience`.
    ///
    /// # Errors
    /// As for `try_acquire`.
    pub async fn acquire(
        path: &Path,
        since: Option<Timestamp>,
        patience: Patience,
        jitter: Jitter<'_>,
    ) -> Result<Self, LockError> {
        let mut pauses = Pauses::new(patience);
        loop {
            match Self::try_acquire(path, since) {
                Err(busy @ LockError::Busy { .. }) => {
                    if !pauses.pause(jitter).await {
                        return Err(busy);
                    }
                }
                done => return done,
            }
        }
    }

    /// Tells whether the lock is held, without writing and without disturbing anybody.
    ///
    /// # Errors
    /// When the file exists and cannot be opened or asked about.
    pub fn probe(path: &Path) -> io::Result<Probe> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Probe::Free),
            Err(e) => return Err(e),
        };
        let mut question = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut question))?;
        if i32::from(question.l_type) == libc::F_UNLCK {
            return Ok(Probe::Free);
        }
        Ok(Probe::Held(read_holder(&file)))
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A write lock on all of the file; the process number must be zero for this kind.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn read_holder(file: &File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What another release wrote, or one that died, would be told of somebody else.
fn erase_holder(file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 { Ok(()) } else { file.set_len(0) }
}

/// Written over, then cut: a reader never sees an empty file once one holder was there.
fn write_holder(file: &File, holder: Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(&holder)?;
    text.push(b'\n');
    file.write_all_at(&text, 0)?;
    file.set_len(text.len() as u64)
}
