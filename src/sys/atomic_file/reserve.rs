//! Room that is taken before it is needed: a file of spaces, written and synced, whose blocks are
//! overwritten later. On file systems that write in place (ext4, XFS, tmpfs) that needs no further
//! space: a disk that fills up in between does not matter any more. On those that copy on write
//! (btrfs, ZFS) it is no worse than a new file.
//!
//! Only for files of our own. A crash may leave the old spaces or, where the power goes, a mixture:
//! whoever reads it takes what is not whole for nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::error::WriteError;
use crate::base::secret::Document;
use crate::sys::failpoint;

/// A file whose room is taken.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    file: File,
    size: usize,
}

impl Reserve {
    /// Makes the file (mode 0600), or makes an existing one blank, with room for `size` bytes.
    ///
    /// # Errors
    /// When the room is not to be had.
    pub fn take(path: &Path, size: usize) -> Result<Self, WriteError> {
        let fail = |what: &'static str| move |error: io::Error| WriteError::new(path, what, (&error).into());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(fail("create"))?;
        failpoint::hit("reserve-created");
        (&file).write_all(&vec![b' '; size]).map_err(fail("write"))?;
        file.sync_all().map_err(fail("sync"))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|dir| dir.sync_all()).map_err(fail("sync the directory of"))?;
        failpoint::hit("reserve-synced");
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// Puts `document` into the room, durably. What is left of the room stays spaces.
    ///
    /// # Errors
    /// When the disk refuses; a document that is longer than the room needs more of it.
    pub fn fill(&self, document: &Document) -> Result<(), WriteError> {
        let fail =
            |what: &'static str| move |error: io::Error| WriteError::new(&self.path, what, (&error).into());
        self.file.write_all_at(document.expose(), 0).map_err(fail("write"))?;
        failpoint::hit("reserve-filled");
        if document.len() > self.size {
            return self.file.sync_all().map_err(fail("sync"));
        }
        self.file.sync_data().map_err(fail("sync"))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "plays the file's earlier writers")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_fills_a_reserve_stands_before_spaces_and_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        std::fs::write(&path, "what a dead process left, and longer than the room").unwrap();
        let reserve = Reserve::take(&path, 16).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), " ".repeat(16));
        reserve.fill(&Document::new(b"{\"a\":1}".to_vec())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}         ");
        reserve.fill(&Document::new(vec![b'x'; 40])).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 40]);
        let fresh = dir.path().join("s");
        Reserve::take(&fresh, 1).unwrap();
        assert_eq!(fresh.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("r"), dir.path().join("other"));
        std::fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Reserve::take(&path, 16).is_err());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
    }
}
