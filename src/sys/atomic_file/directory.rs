//! The directory of a target, as an identity: opened anew at every step and refused when it has
//! become another directory, so that nobody who exchanges directories redirects a write.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::WriteErrorKind;

/// Where a directory was, and which one it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parent {
    dev: u64,
    ino: u64,
    path: PathBuf,
}

impl Parent {
    /// Opens the directory `path` (links resolved already) and remembers its identity.
    pub(super) fn open(path: &Path) -> Result<(Self, OwnedFd), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok((Self { dev: stat.st_dev, ino: stat.st_ino, path: path.to_path_buf() }, fd))
    }

    /// Opens it again; `Changed` when another directory, or none, is there now.
    pub(super) fn reopen(&self) -> Result<OwnedFd, WriteErrorKind> {
        match Self::open(&self.path) {
            Ok((found, fd)) if found.dev == self.dev && found.ino == self.ino => Ok(fd),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Err(WriteErrorKind::Changed),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives the file `from` the name `to`, which must not exist (`EEXIST`).
pub(super) fn rename_new(dir: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    #[cfg(target_env = "gnu")]
    {
        use nix::fcntl::{RenameFlags, renameat2};
        match renameat2(dir, from, dir, to, RenameFlags::RENAME_NOREPLACE) {
            // The file system does not know the flag (NFS, some FUSE): a hard link does not
            // replace either.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
            done => return done,
        }
    }
    linkat(dir, from, dir, to, AtFlags::empty())?;
    // A second name that stays behind is a stale temporary file, found later.
    let _ = unlinkat(dir, from, UnlinkatFlags::NoRemoveDir);
    Ok(())
}
