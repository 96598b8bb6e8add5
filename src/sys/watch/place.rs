//! Where to look for a file: which directories, and which names in them, decide what its path
//! leads to; and whether inotify works there at all.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use inotify::WatchMask;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::statfs;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// What a name in a directory is to a configured path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The file itself.
    File,
    /// The file itself, which is not there yet.
    MissingFile,
    /// The file itself, which is a mount point: its events belong to the directory that it comes
    /// from, so that the directory of its path stays silent (seen on Linux 6.18). `dir` is the
    /// file and the name is empty.
    Mounted,
    /// A directory on the way that is not there yet.
    Missing,
    /// A symbolic link on the way, or at its end.
    Link,
    /// A directory on the way: only its own removal or renaming matters.
    Above,
}

/// A directory to watch, and the name in it that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) dir: PathBuf,
    /// `None` for `Above`, empty for `Mounted`.
    pub(super) name: Option<OsString>,
    pub(super) role: Role,
}

impl Interest {
    pub(super) fn mask(&self) -> WatchMask {
        let own = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let gone = WatchMask::DELETE | WatchMask::MOVED_FROM;
        match self.role {
            Role::File => own | gone | WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO,
            // CREATE: a hard link or symbolic link is never opened, so never closed.
            Role::MissingFile => {
                own | gone | WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::CREATE
            }
            // ATTRIB: its number of names changed, so it was replaced or removed where it comes
            // from. The mount keeps it alive, so there is no DELETE_SELF.
            Role::Mounted => WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | WatchMask::MOVE_SELF,
            Role::Missing => own | WatchMask::CREATE | WatchMask::MOVED_TO,
            Role::Link => own | gone | WatchMask::CREATE | WatchMask::MOVED_TO,
            // A directory that was renamed keeps its watches, under another path: only its own
            // watch tells. Unlike a watch on names this costs nothing in a busy directory.
            Role::Above => own,
        }
    }
}

/// The directories and names that decide what `path` (absolute) leads to at this moment.
pub(super) fn interests_of(path: &Path) -> Vec<Interest> {
    let mut interests = Vec::new();
    let mut dir = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = VecDeque::new();
    push_front(&mut rest, path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == OsStr::new("..") {
            dir.pop();
            continue;
        }
        let at = dir.join(&name);
        let mut add = |role| interests.push(Interest { dir: dir.clone(), name: Some(name.clone()), role });
        match at.symlink_metadata() {
            Ok(stat) if stat.is_symlink() => {
                add(Role::Link);
                links += 1;
                let Ok(target) = std::fs::read_link(&at) else { break };
                if links > MAX_LINKS {
                    break;
                }
                if target.is_absolute() {
                    dir = PathBuf::from("/");
                }
                push_front(&mut rest, &target);
            }
            Ok(_) if rest.is_empty() => {
                add(Role::File);
                if is_mount_point(&dir, &name) {
                    interests.push(Interest { dir: at, name: Some(OsString::new()), role: Role::Mounted });
                }
            }
            Ok(stat) if stat.is_dir() => {
                interests.push(Interest { dir: dir.clone(), name: None, role: Role::Above });
                dir = at;
            }
            // A file where a directory belongs: something has to take its place.
            Ok(_) => {
                add(Role::Link);
                break;
            }
            Err(e) if rest.is_empty() && e.kind() == io::ErrorKind::NotFound => add(Role::MissingFile),
            Err(_) => {
                add(Role::Missing);
                break;
            }
        }
    }
    interests
}

/// True when `name` in `dir` is a mount point, bind mounts of single files included. Where it
/// cannot be asked (before Linux 5.6, or under an old seccomp filter) it counts as none.
fn is_mount_point(dir: &Path, name: &OsStr) -> bool {
    let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(path).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    open(dir, path | OFlag::O_DIRECTORY, Mode::empty())
        .is_ok_and(|dir| openat2(dir, name, how).err() == Some(Errno::EXDEV))
}

/// Puts the components of `path` before what is left to walk.
fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_os_string()),
            Component::ParentDir => rest.push_front(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// Whether inotify sees every change on the file system of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsKind {
    /// It does.
    Local,
    /// Changes from elsewhere (a server, a host) go unnoticed: poll at 5 s.
    NoInotify {
        /// The file system's name.
        name: &'static str,
    },
}

/// Magic numbers of statfs(2) and linux/magic.h. Overlayfs is absent on purpose: its changes are
/// made by this kernel and are seen.
const REMOTE: &[(u32, &str)] = &[
    (0x0000_6969, "nfs"),
    (0x0000_517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
    (0x013d_111e, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x0bd0_0bd0, "lustre"),
];

/// The kind of file system that `path`, or the nearest directory above it that exists, is on.
/// What cannot be asked counts as local: the ordinary poll is behind it anyway.
#[must_use]
pub fn kind_of(path: &Path) -> FsKind {
    let found = path.ancestors().filter(|p| !p.as_os_str().is_empty()).find_map(|p| statfs(p).ok());
    found.map_or(FsKind::Local, |stat| {
        // The type is signed on some targets; the magic numbers are 32 bits everywhere.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic is 32 bits")]
        let magic = stat.filesystem_type().0 as u32;
        kind_of_magic(magic)
    })
}

fn kind_of_magic(magic: u32) -> FsKind {
    REMOTE
        .iter()
        .find(|(known, _)| *known == magic)
        .map_or(FsKind::Local, |(_, name)| FsKind::NoInotify { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_others_are_told_from_local_ones() {
        assert_eq!(kind_of_magic(0x6969), FsKind::NoInotify { name: "nfs" });
        assert_eq!(kind_of_magic(0x6573_5546), FsKind::NoInotify { name: "fuse" });
        for (magic, name) in [(0x794c_7630, "overlay"), (0x0102_1994, "tmpfs"), (0xef53, "ext4")] {
            assert_eq!(kind_of_magic(magic), FsKind::Local, "{name}");
        }
    }

    #[test]
    fn a_path_that_does_not_exist_is_judged_by_what_is_above_it() {
        assert_eq!(kind_of(Path::new("/proc/not/there")), FsKind::Local);
    }
}
