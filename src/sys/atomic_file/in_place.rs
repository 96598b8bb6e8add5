//! The fallback for a target that cannot be renamed over: a file that is itself a mount point
//! (a single-file bind mount, as containers have them) answers EBUSY or EXDEV.
//!
//! Readers may see a half-written file here; nothing can prevent it. What is prevented is a
//! loss: the complete new content lies beside the target, named and synced, until the target is
//! complete and synced; space for growth is reserved first, and a write that breaks off puts the
//! old bytes back. The file is never truncated before its new content is in it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::observe::{Present, read_at, read_file, resolve};
use super::temp::{self, COPY_SUFFIX, Writer};
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
            // The copy is the only whole content now: it stays.
            staged.done = true;
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
    /// The target was sound (not begun, complete, or written by somebody since): the copy is gone.
    Discarded,
    /// The target was torn and has been completed from the copy.
    Completed,
}

/// Completes an in-place rewrite of `path` that a crash or a failing device interrupted. To be
/// called before the first pass and after `HalfWritten`, never beside a commit of the same file:
/// until then the copy may be the only whole content. `is_sound`
/// says whether a content is a whole document of its format (it parses): a sound target is newer
/// than the copy and wins.
///
/// # Errors
/// As for writing; the copy is kept then.
pub fn recover(path: &Path, is_sound: &dyn Fn(&Document) -> bool) -> Result<Recovery, WriteError> {
    let fail = |step, kind: WriteErrorKind| WriteError::new(path, step, kind);
    let Ok(target) = resolve(path) else { return Ok(Recovery::Nothing) };
    let Ok(entries) = std::fs::read_dir(&target.parent) else { return Ok(Recovery::Nothing) };
    // A copy from another boot is as dead as one from a dead process: a rewrite takes
    // milliseconds, and the pass lock keeps a second writer of the same user out.
    let copies: Vec<OsString> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| match temp::judge(name, Some(&target.name), COPY_SUFFIX) {
            Writer::Dead | Writer::Unknown => true,
            // Our own, from a rewrite that broke off: `HalfWritten`.
            Writer::Alive => temp::is_own(name),
            Writer::NotOurs => false,
        })
        .collect();
    if copies.is_empty() {
        return Ok(Recovery::Nothing);
    }
    let (_, dir) = Parent::open(&target.parent).map_err(|e| fail("open the directory", e.into()))?;
    let mut outcome = Recovery::Discarded;
    for name in copies {
        let copy = read_at(&dir, &name).map_err(|e| fail("read the copy", e.as_write_error()))?;
        if copy.uid != nix::unistd::geteuid().as_raw() && copy.uid != owner_of(&dir, &target.name) {
            continue;
        }
        let mut file = open_target(&dir, &target.name).map_err(|e| fail("open in place", e.into()))?;
        let current = read_file(&mut file).map_err(|e| fail("compare", e.as_write_error()))?;
        if current.document != copy.document && !is_sound(&current.document) && is_sound(&copy.document) {
            overwrite(&file, &copy.document, current.document.len())
                .map_err(|e| fail("write in place", WriteErrorKind::from(&e)))?;
            outcome = Recovery::Completed;
        }
        unlinkat(&dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|e| fail("remove the copy", e.into()))?;
    }
    Ok(outcome)
}

fn owner_of(dir: &OwnedFd, name: &OsString) -> u32 {
    use nix::fcntl::AtFlags;
    nix::sys::stat::fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_or(u32::MAX, |stat| stat.st_uid)
}
