//! The fallback for a target that cannot be renamed over: a file that is itself a mount point
//! (a single-file bind mount, as containers have them) answers EBUSY or EXDEV.
//!
//! Readers may see a half-written file here; nothing can prevent it. What is prevented is a
//! loss: the complete new content and the old one lie beside the target, named and synced, until the
//! target is complete and synced; space for growth is reserved first, and a write that breaks off puts
//! the old bytes back. The file is never truncated before its new content is in it. With both beside
//! it a torn target is told from one that somebody wrote since, whatever its format is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::observe::{Present, ReadFailure, read_at, read_file, resolve};
use super::temp::{self, BEFORE_SUFFIX, COPY_SUFFIX, Writer};
use super::{Digest, Parent, Staged, WriteError, WriteErrorKind};
use crate::base::secret::Document;
use crate::sys::failpoint;

/// Rewrites the target of `staged`, whose content is `old`, from its temporary file.
pub(super) fn rewrite(staged: &mut Staged, dir: &OwnedFd, old: Present) -> Result<(), WriteError> {
    let mut file = open_target(dir, &staged.name).map_err(|e| staged.fail("open in place", e))?;
    let current = read_file(&mut file).map_err(|e| staged.fail("open in place", e.as_write_error()))?;
    if current.document != old.document {
        return Err(staged.fail("compare", WriteErrorKind::Changed));
    }
    drop(old);
    let before = Before::keep(staged, dir, &current.document)?;

    // The copy gets a name of its own, so that a cleaner of temporary files leaves it alone.
    let copy = temp::copy_name(&staged.temp);
    renameat(dir, staged.temp.as_os_str(), dir, copy.as_os_str())
        .map_err(|e| staged.fail("keep a copy", e))?;
    staged.temp = copy;
    fsync(dir).map_err(|e| staged.fail("keep a copy", e))?;
    let new = read_at(dir, &staged.temp).map_err(|e| staged.fail("read the copy", e.as_write_error()))?;
    if Digest::of(&new.document) != staged.content {
        return Err(staged.fail("read the copy", Errno::EIO));
    }

    if let Err(error) = overwrite(&file, &new.document, current.document.len()) {
        let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
        if restore(&file, &current.document).is_err() {
            // The copy is the only whole content now: it stays, and what tells that it does.
            staged.done = true;
            before.leave();
            let copy = staged.parent.path().join(&staged.temp);
            return Err(staged.fail("write in place", WriteErrorKind::HalfWritten { copy, errno }));
        }
        return Err(staged.fail("write in place", Errno::from_raw(errno)));
    }
    // The content is there; owner and mode follow only where a policy differs from the file.
    let dressed = dress(&file, staged, current.mode, current.uid, current.gid);
    let _ = unlinkat(dir, staged.temp.as_os_str(), UnlinkatFlags::NoRemoveDir);
    staged.done = true;
    dressed
}

/// What the target held, beside it; removed when this is dropped, after the copy.
struct Before<'a> {
    dir: &'a OwnedFd,
    name: OsString,
}

impl<'a> Before<'a> {
    fn keep(staged: &Staged, dir: &'a OwnedFd, old: &Document) -> Result<Self, WriteError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let before = Self { dir, name: temp::before_name(&staged.temp) };
        let mut file = openat(dir, before.name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map(File::from)
            .map_err(|e| staged.fail("keep what was there", e))?;
        let written = file.write_all(old.expose()).and_then(|()| file.sync_all());
        written.map_err(|e| staged.fail("keep what was there", &e))?;
        Ok(before)
    }

    fn leave(mut self) {
        self.name.clear();
    }
}

impl Drop for Before<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = unlinkat(self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn open_target(dir: &OwnedFd, name: &OsString) -> Result<File, Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name.as_os_str(), flags, Mode::empty()).map(File::from)
}

/// Puts `new` into `file`, whose length is `old_len`. Any failure before the first byte, lack of
/// space included, leaves the file as it was.
fn overwrite(file: &File, new: &Document, old_len: usize) -> io::Result<()> {
    reserve(file, new.len(), old_len)?;
    let bytes = new.expose();
    if failpoint::is_armed("in-place-half") {
        file.write_all_at(bytes.get(..bytes.len() / 2).unwrap_or(bytes), 0)?;
        failpoint::die();
    }
    file.write_all_at(bytes, 0)?;
    if new.len() < old_len {
        file.set_len(new.len() as u64)?;
    }
    file.sync_all()
}

/// Makes sure of the space for growth without changing length or content.
fn reserve(file: &File, len: usize, old_len: usize) -> io::Result<()> {
    let length = i64::try_from(len).map_err(|_| io::Error::from(Errno::EFBIG))?;
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Ok(()) => Ok(()),
        // Where nothing can be reserved, growing by the tail first (zeros; the old bytes stay in
        // front) finds out whether there is room, and shrinking back costs nothing.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) if len > old_len => {
            let zeros = vec![0_u8; len - old_len];
            let grown = file.write_all_at(&zeros, old_len as u64).and_then(|()| file.sync_data());
            let back = file.set_len(old_len as u64);
            grown.and(back)
        }
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
        Err(errno) => {
            // A partial reservation beyond the end is given back.
            let _ = file.set_len(old_len as u64);
            Err(errno.into())
        }
    }
}

fn restore(file: &File, old: &Document) -> io::Result<()> {
    file.write_all_at(old.expose(), 0)?;
    file.set_len(old.len() as u64)?;
    file.sync_all()
}

fn dress(file: &File, staged: &Staged, mode: u32, uid: u32, gid: u32) -> Result<(), WriteError> {
    let policy = staged.policy;
    let owner = policy.owner.filter(|o| *o != uid).map(Uid::from_raw);
    let group = policy.group.filter(|g| *g != gid).map(Gid::from_raw);
    if owner.is_some() || group.is_some() {
        fchown(file, owner, group).map_err(|e| staged.fail("set the owner", e))?;
    }
    match policy.mode {
        Some(wanted) if wanted & 0o7777 != mode => fchmod(file, Mode::from_bits_truncate(wanted & 0o7777))
            .map_err(|e| staged.fail("set the mode", e)),
        _ => Ok(()),
    }
}

/// What became of an interrupted in-place rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// No rewrite of this file was interrupted.
    Nothing,
    /// The target was whole (not begun, complete, or written by somebody since): the copy is gone.
    Discarded,
    /// The target was torn and has been completed from the copy.
    Completed,
}

/// Names of copies, by directory: a directory is read once, however many targets are in it.
#[derive(Debug, Default)]
pub struct LeftNames(HashMap<PathBuf, Vec<OsString>>);

impl LeftNames {
    fn within(&mut self, directory: &Path) -> &[OsString] {
        let is_copy =
            |name: &OsString| [COPY_SUFFIX, BEFORE_SUFFIX].iter().any(|s| name.as_bytes().ends_with(s));
        let read = || {
            let entries = std::fs::read_dir(directory).into_iter().flatten();
            entries.filter_map(|entry| Some(entry.ok()?.file_name())).filter(is_copy).collect()
        };
        self.0.entry(directory.to_owned()).or_insert_with(read)
    }
}

/// Completes an in-place rewrite of `path` that a crash or a failing device interrupted. To be
/// called before the first pass, never beside a commit of the same file: until then the copy may be
/// the only whole content. A target that is no mixture of the old and the new content was written by
/// somebody since, and wins.
///
/// # Errors
/// As for writing; the copy is kept then.
pub fn recover(path: &Path, left: &mut LeftNames) -> Result<Recovery, WriteError> {
    let fail = |step, kind: WriteErrorKind| WriteError::new(path, step, kind);
    let Ok(target) = resolve(path) else { return Ok(Recovery::Nothing) };
    let names = left.within(&target.parent);
    // A copy from another boot is as dead as one from a dead process: a rewrite takes
    // milliseconds, and the pass lock keeps a second writer of the same user out.
    let left_with = |suffix: &[u8]| {
        let is_left = |name: &&OsString| match temp::judge(name, Some(&target.name), suffix) {
            Writer::Dead | Writer::Unknown => true,
            // Our own, from a rewrite that broke off: `HalfWritten`.
            Writer::Alive => temp::is_own(name),
            Writer::NotOurs => false,
        };
        names.iter().filter(is_left).collect::<Vec<_>>()
    };
    let (copies, befores) = (left_with(COPY_SUFFIX), left_with(BEFORE_SUFFIX));
    if copies.is_empty() && befores.is_empty() {
        return Ok(Recovery::Nothing);
    }
    let (_, dir) = Parent::open(&target.parent).map_err(|e| fail("open the directory", e.into()))?;
    let remove = |name: &OsString| {
        unlinkat(&dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|e| fail("remove the copy", e.into()))
    };
    let mut outcome = Recovery::Discarded;
    for name in copies {
        let copy = read_at(&dir, name).map_err(|e| fail("read the copy", e.as_write_error()))?;
        if copy.uid != nix::unistd::geteuid().as_raw() && copy.uid != owner_of(&dir, &target.name) {
            continue;
        }
        let mut file = open_target(&dir, &target.name).map_err(|e| fail("open in place", e.into()))?;
        let current = read_file(&mut file).map_err(|e| fail("compare", e.as_write_error()))?;
        let before = temp::before_name(name);
        // It is made before the copy and removed after it.
        let old = match read_at(&dir, &before) {
            Ok(old) => Some(old.document),
            Err(ReadFailure { errno: Some(Errno::ENOENT), .. }) => None,
            Err(failure) => return Err(fail("read what was there", failure.as_write_error())),
        };
        if old.is_some_and(|old| is_torn(&current.document, &old, &copy.document)) {
            overwrite(&file, &copy.document, current.document.len())
                .map_err(|e| fail("write in place", WriteErrorKind::from(&e)))?;
            outcome = Recovery::Completed;
        }
        remove(name)?;
    }
    for name in befores {
        remove(name)?;
    }
    Ok(outcome)
}

/// Whether every byte is one of the old content, or of the new one, or one of the zeros that reserved
/// the room for it, while the whole is neither.
fn is_torn(current: &Document, old: &Document, new: &Document) -> bool {
    let (current, old, new) = (current.expose(), old.expose(), new.expose());
    let is_ours = |(at, byte): (usize, &u8)| {
        let was = old.get(at).copied().unwrap_or_default();
        *byte == was || new.get(at) == Some(byte)
    };
    current != old
        && current != new
        && (old.len().min(new.len())..=old.len().max(new.len())).contains(&current.len())
        && current.iter().enumerate().all(is_ours)
}

fn owner_of(dir: &OwnedFd, name: &OsString) -> u32 {
    use nix::fcntl::AtFlags;
    nix::sys::stat::fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_or(u32::MAX, |stat| stat.st_uid)
}
