//! Reads a file as it is, without ever blocking on it or believing a half of it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use super::{Digest, Expected, WriteErrorKind};
use crate::base::secret::Document;
use crate::sys::account;

/// Size limit in bytes: no credential store of any tool comes near it.
pub const MAX_LEN: u64 = 16 * 1024 * 1024;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// What is at a path.
#[derive(Debug, Clone)]
pub enum FileState {
    /// No file; the last link, if any, dangles.
    Absent {
        /// The directory it would be in.
        parent: ParentState,
        /// The path that a write would create, links resolved as far as they lead.
        resolved: PathBuf,
        /// True when the path itself is a (dangling) link.
        is_symlink: bool,
    },
    /// A regular file, read whole.
    Present(Present),
    /// Something is there that cannot be read.
    Unreadable {
        /// Why.
        reason: UnreadableReason,
        /// The system's error number, where it gave one.
        errno: Option<i32>,
    },
}

/// The directory of an absent file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentState {
    /// It exists.
    Present,
    /// It does not.
    Missing {
        /// The nearest directory above that does exist.
        nearest: PathBuf,
    },
}

/// A regular file and its contents.
#[derive(Debug, Clone)]
pub struct Present {
    /// The contents.
    pub document: Document,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device of the file.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of hard links: a rename would part us from the other names.
    pub nlink: u64,
    /// True when the path itself is a link.
    pub is_symlink: bool,
    /// The file that the path leads to, links resolved.
    pub resolved: PathBuf,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableReason {
    /// A directory, device, pipe or socket.
    NotRegular,
    /// Larger than [`MAX_LEN`].
    TooLarge,
    /// The permissions forbid it.
    Permission,
    /// A ring of links, or too many of them.
    Loop,
    /// Anything else.
    Io,
}

impl fmt::Display for UnreadableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegular => "not a regular file",
            Self::TooLarge => "larger than 16 MiB",
            Self::Permission => "permission denied",
            Self::Loop => "too many levels of symbolic links",
            Self::Io => "cannot be read",
        })
    }
}

impl FileState {
    /// What a write planned on this observation has to expect; `None` for an unreadable file,
    /// over which nothing is ever written.
    #[must_use]
    pub fn expected(&self) -> Option<Expected> {
        match self {
            Self::Absent { .. } => Some(Expected::Absent),
            Self::Present(present) => Some(Expected::Content(Digest::of(&present.document))),
            Self::Unreadable { .. } => None,
        }
    }
}

/// Reads what is at `path`. Never blocks on a pipe or device and never reads more than
/// [`MAX_LEN`]. A relative link is resolved against the directory that holds it.
#[must_use]
pub fn observe(path: &Path) -> FileState {
    // A file replaced between resolving and opening is simply resolved again.
    for _ in 0..3 {
        let target = match resolve(path) {
            Ok(target) => target,
            Err(Errno::ENOENT) => return absent_below(path),
            Err(errno) => return ReadFailure::from(errno).into_state(),
        };
        let dir = match super::Parent::open(&target.parent) {
            Ok((_, dir)) => dir,
            Err(Errno::ENOENT | Errno::ELOOP) => continue,
            // A directory that may be passed but not listed is enough for reading.
            Err(Errno::EACCES) => match open_path(&target.parent) {
                Ok(dir) => dir,
                Err(errno) => return ReadFailure::from(errno).into_state(),
            },
            Err(errno) => return ReadFailure::from(errno).into_state(),
        };
        return match read_at(&dir, &target.name) {
            Ok(mut present) => {
                present.is_symlink = target.links > 0;
                present.resolved = target.path();
                FileState::Present(present)
            }
            Err(ReadFailure { errno: Some(Errno::ELOOP), .. }) => continue,
            Err(ReadFailure { errno: Some(Errno::ENOENT), .. }) => FileState::Absent {
                parent: ParentState::Present,
                is_symlink: target.links > 0,
                resolved: target.path(),
            },
            Err(failure) => failure.into_state(),
        };
    }
    // Re-linked three times while we looked: the caller's next look will tell.
    FileState::Unreadable { reason: UnreadableReason::Io, errno: Some(Errno::EAGAIN as i32) }
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// The state of a path some directory of which does not exist.
fn absent_below(path: &Path) -> FileState {
    let is_symlink = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
    let mut at = path.to_path_buf();
    if is_symlink && let Ok(link) = std::fs::read_link(path) {
        at = path.parent().unwrap_or(Path::new("")).join(link);
    }
    let nearest =
        at.ancestors().skip(1).find(|dir| dir.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    FileState::Absent { parent: ParentState::Missing { nearest }, resolved: at, is_symlink }
}

/// A path without links in it: a real directory and the name of the (perhaps absent) file.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) parent: PathBuf,
    pub(super) name: OsString,
    pub(super) links: usize,
    /// A link on the way, which neither we nor root made, leads to what its maker does not own.
    pub(super) is_misled: bool,
}

impl Target {
    pub(super) fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }
}

/// Follows `path` to the file it leads to. `ENOENT`: a directory on the way is missing.
pub(super) fn resolve(path: &Path) -> Result<Target, Errno> {
    let mut path = path.to_path_buf();
    let mut stranger = None;
    for links in 0..=MAX_LINKS {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Errno::EISDIR);
        };
        let name = name.to_os_string();
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = above
            .canonicalize()
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(Errno::EIO as i32)))?;
        match readlinkat(AT_FDCWD, &parent.join(&name)) {
            Ok(link) => {
                stranger = stranger.or_else(|| maker_of(&parent.join(&name)));
                path = parent.join(link);
            }
            // EINVAL: there, and not a link.
            Err(Errno::EINVAL | Errno::ENOENT) => {
                let is_misled = stranger.is_some_and(|maker| !is_of(maker, &parent, &name));
                return Ok(Target { parent, name, links, is_misled });
            }
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ELOOP)
}

/// Whether a link on the way to `path` keeps everybody from writing there.
#[must_use]
pub fn is_misled(path: &Path) -> bool {
    resolve(path).is_ok_and(|target| target.is_misled)
}

/// Who made that link, unless it was us or root.
///
/// In a user namespace (`PrivateUsers=` of our unit) everybody else has one and the same number, root too. There a
/// link counts as a stranger's where a stranger could have made it: in a directory that others may write.
fn maker_of(link: &Path) -> Option<u32> {
    let ours = nix::unistd::geteuid().as_raw();
    let uid = link.symlink_metadata().ok()?.uid();
    let may_be_roots = || {
        let above = link.parent().and_then(|parent| parent.metadata().ok());
        !account::maps_root() && above.is_some_and(|above| above.mode() & 0o022 == 0)
    };
    (uid != ours && uid != 0 && !may_be_roots()).then_some(uid)
}

/// Whether that user could have written the file without us: it is theirs, or is to be made in their directory. In a
/// user namespace a directory may be anybody's.
fn is_of(uid: u32, parent: &Path, name: &OsStr) -> bool {
    let owner = match parent.join(name).symlink_metadata() {
        Ok(stat) => Some(stat.uid()),
        Err(_) if account::maps_root() => parent.metadata().ok().map(|stat| stat.uid()),
        Err(_) => None,
    };
    owner == Some(uid)
}

/// Why reading failed.
#[derive(Debug)]
pub(super) struct ReadFailure {
    pub(super) reason: UnreadableReason,
    pub(super) errno: Option<Errno>,
}

impl From<Errno> for ReadFailure {
    fn from(errno: Errno) -> Self {
        let reason = match errno {
            Errno::EACCES | Errno::EPERM => UnreadableReason::Permission,
            Errno::ELOOP => UnreadableReason::Loop,
            // ENXIO: a socket, or a device without driver. ENOTDIR: a file where a directory was.
            Errno::EISDIR | Errno::ENXIO | Errno::ENODEV | Errno::ENOTDIR => UnreadableReason::NotRegular,
            _ => UnreadableReason::Io,
        };
        Self { reason, errno: Some(errno) }
    }
}

impl ReadFailure {
    fn into_state(self) -> FileState {
        FileState::Unreadable { reason: self.reason, errno: self.errno.map(|e| e as i32) }
    }

    /// The same failure, met while comparing before a write.
    pub(super) fn as_write_error(&self) -> WriteErrorKind {
        match (self.reason, self.errno) {
            (UnreadableReason::NotRegular | UnreadableReason::TooLarge, _) => WriteErrorKind::NotRegular,
            // A link where a file was when we resolved it.
            (UnreadableReason::Loop, _) => WriteErrorKind::Changed,
            (_, errno) => errno.unwrap_or(Errno::EIO).into(),
        }
    }
}

/// Reads the file `name` in `dir`, which must not be a link. `resolved` is left empty.
pub(super) fn read_at(dir: &OwnedFd, name: &OsStr) -> Result<Present, ReadFailure> {
    // O_NONBLOCK: opening a pipe must not wait for its other end. O_NOCTTY: nor adopt a terminal.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    read_file(&mut File::from(fd))
}

/// Reads an opened file from its current position.
pub(super) fn read_file(file: &mut File) -> Result<Present, ReadFailure> {
    let errno = |e: &std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(Errno::EIO as i32));
    let stat = file.metadata().map_err(|e| ReadFailure::from(errno(&e)))?;
    if !stat.is_file() {
        return Err(ReadFailure { reason: UnreadableReason::NotRegular, errno: None });
    }
    let too_large = ReadFailure { reason: UnreadableReason::TooLarge, errno: None };
    if stat.len() > MAX_LEN {
        return Err(too_large);
    }
    // Room for one byte more: a file that does not grow is read without a second, unwiped buffer.
    let mut bytes = Vec::with_capacity(usize::try_from(stat.len()).unwrap_or(0) + 1);
    let read = file.take(MAX_LEN + 1).read_to_end(&mut bytes);
    let document = Document::new(bytes);
    read.map_err(|e| ReadFailure::from(errno(&e)))?;
    if document.len() as u64 > MAX_LEN {
        return Err(too_large);
    }
    Ok(Present {
        document,
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        dev: stat.dev(),
        ino: stat.ino(),
        nlink: stat.nlink(),
        is_symlink: false,
        resolved: PathBuf::new(),
    })
}
