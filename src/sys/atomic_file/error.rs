//! Why a file could not be written. Never quotes contents.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// What kind of failure it was: what the caller does next depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteErrorKind {
    /// Somebody else wrote, removed or re-linked the target in between: plan again.
    Changed,
    /// The target's directory does not exist; it is not ours to create.
    ParentMissing,
    /// The file system is mounted read-only.
    ReadOnly,
    /// No space or quota left; the old content is intact.
    NoSpace,
    /// The permissions of the file or its directory forbid it, or its owner could not be kept.
    Permission,
    /// The target is a directory, a device, a pipe, or larger than any credential file.
    NotRegular,
    /// The document had no bytes; an empty file is never written.
    Empty,
    /// An in-place rewrite broke off and the old bytes could not be put back. The complete new
    /// content is in the file `copy` beside the target; `recover` completes it.
    HalfWritten {
        /// The complete copy.
        copy: PathBuf,
        /// Why writing stopped.
        errno: i32,
    },
    /// Anything else the system said.
    Io {
        /// The system's error number.
        errno: i32,
    },
}

impl From<Errno> for WriteErrorKind {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EROFS => Self::ReadOnly,
            Errno::ENOSPC | Errno::EDQUOT => Self::NoSpace,
            Errno::EACCES | Errno::EPERM => Self::Permission,
            Errno::EISDIR => Self::NotRegular,
            other => Self::Io { errno: other as i32 },
        }
    }
}

impl From<&io::Error> for WriteErrorKind {
    fn from(error: &io::Error) -> Self {
        // Without a number it is a short write or the like: an I/O error in all but name.
        Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)).into()
    }
}

/// A write that did not happen: which file, at which step, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError {
    /// The path as the caller named it.
    pub path: PathBuf,
    /// What was being done, as a phrase: `rename`, `sync the directory`.
    pub step: &'static str,
    /// The reason.
    pub kind: WriteErrorKind,
}

impl WriteError {
    pub(super) fn new(path: &Path, step: &'static str, kind: WriteErrorKind) -> Self {
        Self { path: path.to_path_buf(), step, kind }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write '{}' ({}): ", self.path.display(), self.step)?;
        match &self.kind {
            WriteErrorKind::Changed => f.write_str("it was changed by somebody else in between"),
            WriteErrorKind::ParentMissing => f.write_str("its directory does not exist"),
            WriteErrorKind::ReadOnly => f.write_str("the file system is read-only"),
            WriteErrorKind::NoSpace => f.write_str("no space left"),
            WriteErrorKind::Permission => f.write_str("permission denied"),
            WriteErrorKind::NotRegular => f.write_str("it is not a regular file of sensible size"),
            WriteErrorKind::Empty => f.write_str("an empty document is never written"),
            WriteErrorKind::HalfWritten { copy, errno } => write!(
                f,
                "half written: {}; the complete content is in '{}'",
                Errno::from_raw(*errno).desc(),
                copy.display()
            ),
            WriteErrorKind::Io { errno } => f.write_str(Errno::from_raw(*errno).desc()),
        }
    }
}

impl std::error::Error for WriteError {}
