//! The one file writer of the program.
//!
//! A write is three steps, so that a pass can stage every file before the first one changes:
//! `stage` (temporary file beside the target, complete and synced), `Staged::commit` (compare
//! that the target is still what was planned against, rename) and `sync_directories`.
//!
//! I1: a target holds its old or its new bytes, whole, at every moment; the exception is a target
//!     that cannot be renamed over (a single-file mount), see `in_place`.
//! I2: nobody's write between planning and commit is overwritten, down to the few microseconds
//!     between the last comparison and the rename, which no system call can close.
//! I3: no temporary file outlives its writer: dropped, it is removed; after a crash
//!     `remove_stale_temps` finds it.
//!
//! It must not create directories, follow a link in the last component of an opened name, or put
//! contents into an error. Extended attributes (SELinux labels) are not copied: policy labels it.

mod directory;
mod error;
mod in_place;
mod observe;
mod reserve;
mod temp;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use sha2::Digest as _;

use self::directory::Parent;
pub use self::error::{WriteError, WriteErrorKind};
pub use self::in_place::{LeftNames, Recovery, recover};
pub use self::observe::{FileState, MAX_LEN, ParentState, Present, UnreadableReason, is_misled, observe};
use self::observe::{read_at, resolve};
pub use self::reserve::Reserve;
pub use self::temp::{is_temp_of, remove_stale_temps};
use super::failpoint;
use crate::base::secret::Document;

/// Mode of a file that we create and that no policy gives another mode.
const NEW_FILE_MODE: u32 = 0o600;

/// A step that is never made: whoever can make a link in a directory that several share would say which of
/// our files is overwritten. The kernel's `protected_symlinks` is about `open`, and we read links ourselves.
const MISLED: &str = "follow another user's link";

/// Identity of a content, for comparing within this process. Never shown and never stored: an
/// unkeyed digest of a guessable document would confirm the guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `document`.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        Self(sha2::Sha256::digest(document.expose()).into())
    }

    /// What `sha256sum` printed of a file elsewhere; `None` when that is none.
    #[must_use]
    pub fn parse(printed: &[u8]) -> Option<Self> {
        // A sign is none, whatever a number may begin with.
        let digits = printed.get(..64).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// What the target must still be when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There was no file; it is created and never replaces one that appeared since.
    Absent,
    /// There was a file with this content.
    Content(Digest),
}

/// Owner and mode of the written file. An absent field means: as the existing target has it; for
/// a new file mode 0600 and our own user and group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Numeric user.
    pub owner: Option<u32>,
    /// Numeric group.
    pub group: Option<u32>,
    /// A document without bytes is meant: what is taken back may leave nothing.
    pub may_be_empty: bool,
}

/// A complete, synced temporary file beside its target. Dropping it removes the temporary file.
///
/// It holds no descriptor, so that thousands may wait for their commit at the same time; the
/// directory is opened again later and must be the same one.
#[derive(Debug)]
pub struct Staged {
    asked: PathBuf,
    resolved: PathBuf,
    parent: Parent,
    name: OsString,
    temp: OsString,
    expected: Expected,
    content: Digest,
    len: usize,
    policy: Policy,
    /// Nothing of ours is left under the name `temp`.
    done: bool,
}

/// A target that has its new content. The directory entry is durable after `sync_directories`.
#[derive(Debug)]
pub struct Committed {
    /// The written file, links resolved.
    pub resolved: PathBuf,
    /// Digest of what was written: what a later observation has to show.
    pub content: Digest,
    /// True when the target could not be replaced and was rewritten in place.
    pub in_place: bool,
    parent: Parent,
}

/// Writes `document` to a temporary file in the directory of the file that `path` leads to,
/// with its final owner and mode, and syncs it. The target itself is not touched.
///
/// # Errors
/// `Empty` for a document without bytes; `Permission` for a link of another user that leads to what is not
/// theirs; `Changed` when the target already is not what
/// `expected` says; `ParentMissing` (parents are never created); and what the system refuses.
/// Nothing is left behind.
pub fn stage(
    path: &Path,
    document: &Document,
    expected: Expected,
    policy: Policy,
) -> Result<Staged, WriteError> {
    let fail = |step, kind| WriteError::new(path, step, kind);
    if document.is_empty() && !policy.may_be_empty {
        return Err(fail("check", WriteErrorKind::Empty));
    }
    let parent_kind = |errno| match errno {
        Errno::ENOENT => WriteErrorKind::ParentMissing,
        other => other.into(),
    };
    let target = resolve(path).map_err(|errno| fail("resolve", parent_kind(errno)))?;
    if target.is_misled {
        return Err(fail(MISLED, WriteErrorKind::Permission));
    }
    let (parent, dir) =
        Parent::open(&target.parent).map_err(|errno| fail("open the directory", parent_kind(errno)))?;
    let policy = inherit(&dir, &target.name, expected, policy).map_err(|kind| fail("check", kind))?;
    let temp = temp::name_for(&target.name).map_err(|errno| fail("name the temporary file", errno.into()))?;
    let mut staged = Staged {
        asked: path.to_path_buf(),
        resolved: target.path(),
        parent,
        name: target.name,
        temp,
        expected,
        content: Digest::of(document),
        len: document.len(),
        policy,
        done: true,
    };
    staged.write(&dir, document)?;
    Ok(staged)
}

/// Completes `policy` from the existing target and checks early that the target is as expected.
fn inherit(
    dir: &OwnedFd,
    name: &OsString,
    expected: Expected,
    policy: Policy,
) -> Result<Policy, WriteErrorKind> {
    match (fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW), expected) {
        (Err(Errno::ENOENT), Expected::Absent) => Ok(policy),
        (Err(Errno::ENOENT), Expected::Content(_)) | (Ok(_), Expected::Absent) => {
            Err(WriteErrorKind::Changed)
        }
        (Err(errno), _) => Err(errno.into()),
        (Ok(stat), Expected::Content(_)) => {
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                return Err(WriteErrorKind::NotRegular);
            }
            Ok(Policy {
                mode: policy.mode.or(Some(stat.st_mode & 0o7777)),
                owner: policy.owner.or(Some(stat.st_uid)),
                group: policy.group.or(Some(stat.st_gid)),
                ..policy
            })
        }
    }
}

impl Staged {
    /// The file that will be replaced or created, links resolved.
    #[must_use]
    pub fn resolved(&self) -> &Path {
        &self.resolved
    }

    fn fail(&self, step: &'static str, kind: impl Into<WriteErrorKind>) -> WriteError {
        WriteError::new(&self.asked, step, kind.into())
    }

    fn write(&mut self, dir: &OwnedFd, document: &Document) -> Result<(), WriteError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(dir, self.temp.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.fail("create the temporary file", errno))?;
        // From here on a failure drops `self`, which removes the temporary file.
        self.done = false;
        let mut file = File::from(fd);
        self.dress(&file)?;
        failpoint::hit("stage-created");
        // `write_all` goes on after short writes and interruptions.
        file.write_all(document.expose()).map_err(|e| self.fail("write the temporary file", &e))?;
        failpoint::hit("stage-written");
        file.sync_all().map_err(|e| self.fail("sync the temporary file", &e))?;
        let stat = file.metadata().map_err(|e| self.fail("check the temporary file", &e))?;
        if stat.len() != self.len as u64 {
            return Err(self.fail("check the temporary file", Errno::EIO));
        }
        failpoint::hit("stage-synced");
        Ok(())
    }

    /// Gives the still empty file its final owner and mode: no byte is ever readable too widely.
    fn dress(&self, file: &File) -> Result<(), WriteError> {
        let stat = file.metadata().map_err(|e| self.fail("check the temporary file", &e))?;
        let owner = self.policy.owner.filter(|uid| *uid != stat.uid()).map(Uid::from_raw);
        let group = self.policy.group.filter(|gid| *gid != stat.gid()).map(Gid::from_raw);
        if owner.is_some() || group.is_some() {
            fchown(file.as_fd(), owner, group).map_err(|errno| self.fail("set the owner", errno))?;
        }
        // After chown, which may clear bits; and always, because the umask took its share.
        let mode = Mode::from_bits_truncate(self.policy.mode.unwrap_or(NEW_FILE_MODE) & 0o7777);
        fchmod(file.as_fd(), mode).map_err(|errno| self.fail("set the mode", errno))
    }

    /// Replaces the target, if it still is what was planned against.
    ///
    /// # Errors
    /// `Changed` when somebody wrote, removed, created or re-linked the target in between, or
    /// exchanged its directory; the temporary file is removed then. `HalfWritten` only from an
    /// in-place rewrite whose undo failed as well.
    pub fn commit(mut self) -> Result<Committed, WriteError> {
        // A way that does not resolve any more has changed as well.
        if !resolve(&self.asked).is_ok_and(|again| again.path() == self.resolved) {
            return Err(self.fail("compare", WriteErrorKind::Changed));
        }
        let dir = self.parent.reopen().map_err(|kind| self.fail("open the directory", kind))?;
        let current = match read_at(&dir, &self.name) {
            Ok(present) => Some(present),
            Err(observe::ReadFailure { errno: Some(Errno::ENOENT), .. }) => None,
            Err(failure) => return Err(self.fail("compare", failure.as_write_error())),
        };
        let renamed = match (self.expected, &current) {
            (Expected::Absent, None) => {
                failpoint::hit("before-rename");
                directory::rename_new(&dir, &self.temp, &self.name)
            }
            (Expected::Content(digest), Some(present)) if Digest::of(&present.document) == digest => {
                failpoint::hit("before-rename");
                renameat(&dir, self.temp.as_os_str(), &dir, self.name.as_os_str())
            }
            _ => return Err(self.fail("compare", WriteErrorKind::Changed)),
        };
        let in_place = match (renamed, current) {
            (Ok(()), _) => false,
            (Err(Errno::EEXIST), _) => return Err(self.fail("rename", WriteErrorKind::Changed)),
            (Err(Errno::EBUSY | Errno::EXDEV), Some(old)) => {
                in_place::rewrite(&mut self, &dir, old)?;
                true
            }
            (Err(errno), _) => return Err(self.fail("rename", errno)),
        };
        self.done = true;
        failpoint::hit("after-rename");
        Ok(Committed {
            resolved: std::mem::take(&mut self.resolved),
            content: self.content,
            in_place,
            parent: self.parent.clone(),
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // What cannot be removed now is found by `remove_stale_temps` later.
        if let Ok(dir) = self.parent.reopen() {
            let _ = unlinkat(&dir, self.temp.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Replaces one file durably: staged, committed, its directory synced.
///
/// # Errors
/// As [`stage`], [`Staged::commit`] and [`sync_directories`].
pub fn replace(
    path: &Path,
    document: &Document,
    expected: Expected,
    policy: Policy,
) -> Result<(), WriteError> {
    let committed = stage(path, document, expected, policy)?.commit()?;
    sync_directories(&[committed])
}

/// Removes one file durably, if its content still is what is expected. A link that leads to it stays.
///
/// # Errors
/// `Changed` for another content, or none; and what the system refuses.
pub fn remove(path: &Path, expected: Digest) -> Result<(), WriteError> {
    let fail = |step, kind| WriteError::new(path, step, kind);
    let target = resolve(path).map_err(|errno| fail("resolve", errno.into()))?;
    if target.is_misled {
        return Err(fail(MISLED, WriteErrorKind::Permission));
    }
    let (_, dir) = Parent::open(&target.parent).map_err(|errno| fail("open the directory", errno.into()))?;
    match read_at(&dir, &target.name) {
        Ok(present) if Digest::of(&present.document) == expected => {}
        Ok(_) | Err(observe::ReadFailure { errno: Some(Errno::ENOENT), .. }) => {
            return Err(fail("compare", WriteErrorKind::Changed));
        }
        Err(failure) => return Err(fail("compare", failure.as_write_error())),
    }
    unlinkat(&dir, target.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
        .map_err(|errno| fail("remove", errno.into()))?;
    nix::unistd::fsync(&dir).map_err(|errno| fail("sync the directory", errno.into()))
}

/// Makes the renames durable: syncs every distinct directory once.
///
/// # Errors
/// The first failure, after all directories were tried. The files have their new content then,
/// but after a power cut they may have their old one.
pub fn sync_directories(committed: &[Committed]) -> Result<(), WriteError> {
    let mut parents: Vec<(&Parent, &Path)> =
        committed.iter().map(|c| (&c.parent, c.resolved.as_path())).collect();
    parents.sort_by(|a, b| a.0.cmp(b.0));
    parents.dedup_by(|a, b| a.0 == b.0);
    let mut result = Ok(());
    for (parent, path) in parents {
        let synced = parent
            .reopen()
            .and_then(|dir| nix::unistd::fsync(&dir).map_err(WriteErrorKind::from))
            .map_err(|kind| WriteError::new(path, "sync the directory", kind));
        if result.is_ok() {
            result = synced;
        }
    }
    result
}
