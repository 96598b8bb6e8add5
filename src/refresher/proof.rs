//! Proof, before anything is spent, that an answer can be stored: a refresh token that was traded
//! and cannot be kept is a lost login.

use std::path::Path;

use crate::base::secret::Document;
use crate::sys::atomic_file::{self, FileState, Policy};
use crate::sys::mounts;

/// Room that an answer may need beyond the present size of the source, in bytes.
const HEADROOM: usize = 16 * 1024;

/// Why a refresh must not be spent on this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStorable(pub String);

/// Checks that `source` is a regular file of ours, no mount of its own and, unless links are
/// followed, no link, in a directory where a file of its size and more can be written and synced.
///
/// # Errors
/// The reason in words.
pub fn storable(source: &Path, follows_links: bool) -> Result<(), NotStorable> {
    let refuse = |why: &str| Err(NotStorable(format!("{}: {why}", source.display())));
    let FileState::Present(file) = atomic_file::observe(source) else {
        return refuse("is not a readable regular file");
    };
    if file.is_symlink && !follows_links {
        return refuse("is a link; the CLI would replace it by a file and part it from its target");
    }
    if file.nlink != 1 {
        return refuse("has another name (hard link) that would keep the old tokens");
    }
    if file.uid != nix::unistd::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if atomic_file::is_misled(source) {
        return refuse("is another user's link, which is not followed for writing");
    }
    // What is replaced is the real file, and the answer needs room beside that one.
    let Ok(real) = source.canonicalize() else { return refuse("is gone") };
    if is_mount(&real, file.dev) {
        return refuse("is a mount of its own; it cannot be replaced");
    }
    let padding = Document::new(vec![b' '; file.document.len() + HEADROOM]);
    let Some(name) = real.file_name().and_then(|n| n.to_str()) else {
        return refuse("has a name that is not UTF-8");
    };
    // Staged and dropped: created, written, synced, removed.
    let probe = real.with_file_name(format!("{name}.tokensink-probe"));
    match atomic_file::stage(&probe, &padding, atomic_file::Expected::Absent, Policy::default()) {
        Ok(_staged) => Ok(()),
        Err(error) => Err(NotStorable(error.to_string())),
    }
}

/// A file on another device than its directory was mounted there. (A bind mount of a file of the
/// same file system shares the device: renaming over it fails, and that is noticed before anything
/// is sent only by the mount table.)
fn is_mount(real: &Path, device: u64) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let other_device =
        real.parent().and_then(|p| std::fs::metadata(p).ok()).is_some_and(|parent| parent.dev() != device);
    other_device || mounts::list().is_ok_and(|mounts| mounts.iter().any(|mount| mount.point == real))
}
