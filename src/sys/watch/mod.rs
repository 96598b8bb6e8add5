//! Raw inotify on the directories of the configured files: one instance for all of them.
//!
//! Events are hints: this says "look at these again", never what happened. Losing, doubling or
//! reordering events is harmless to the caller, and what cannot be watched is said (`Lost`), so
//! that he polls. Events of other names in a watched directory end here.

mod place;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::errno::Errno;
use tokio::io::unix::AsyncFd;

pub use self::place::{FsKind, kind_of};
use self::place::{Interest, Role, interests_of};

/// What the caller should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to these configured paths.
    Dirty(Vec<PathBuf>),
    /// Anything may have happened to any of them: events were lost, a file system was unmounted,
    /// or a directory on the way came, went or was exchanged (it is watched again already).
    RescanAll,
    /// This directory cannot be watched; poll the files in it.
    Lost {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: LostReason,
    },
}

/// Why something cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// `fs.inotify.max_user_watches` is reached.
    WatchLimit,
    /// `fs.inotify.max_user_instances`, or the limit of open files, is reached.
    InstanceLimit,
    /// The directory may not be read.
    Permission,
    /// Anything else: the system's error number.
    Io(i32),
}

impl From<&io::Error> for LostReason {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::ENOMEM) => Self::WatchLimit,
            Some(Errno::EMFILE | Errno::ENFILE) => Self::InstanceLimit,
            Some(Errno::EACCES | Errno::EPERM) => Self::Permission,
            other => Self::Io(other.unwrap_or(Errno::EIO) as i32),
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WatchLimit => f.write_str("the limit fs.inotify.max_user_watches is reached"),
            Self::InstanceLimit => f.write_str("the limit fs.inotify.max_user_instances is reached"),
            Self::Permission => f.write_str("the directory may not be read"),
            Self::Io(errno) => f.write_str(Errno::from_raw(*errno).desc()),
        }
    }
}

impl std::error::Error for LostReason {}

/// Reads at most this many buffers before it answers, so that a writer who is faster than we are
/// cannot keep the caller waiting for ever.
const MAX_READS: usize = 256;

/// Room for some 200 events of usual names; a multiple of what one event can need.
const BUFFER: usize = 8192;

/// How often the way to the files may change while it is being armed, before we leave it at that.
const MAX_ROUNDS: usize = 8;

/// What one watch stands for. Two configured directories that are one inode share a watch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Watched {
    /// Configured paths by the name in this directory that concerns them.
    names: BTreeMap<std::ffi::OsString, BTreeSet<(PathBuf, Role)>>,
    /// The directories, for messages.
    paths: BTreeSet<PathBuf>,
}

/// Watches the directories of a set of files. Needs a tokio runtime with I/O.
#[derive(Debug)]
pub struct Watcher {
    inotify: AsyncFd<Inotify>,
    files: Vec<PathBuf>,
    /// Per file: what was armed for it.
    ways: BTreeMap<PathBuf, Vec<Interest>>,
    watched: HashMap<WatchDescriptor, Watched>,
    /// Told once each, until the directory can be watched again.
    lost: BTreeMap<PathBuf, LostReason>,
    pending: VecDeque<Hint>,
    buffer: Vec<u8>,
}

/// What a batch of events came to.
#[derive(Debug, Default)]
struct Batch {
    dirty: BTreeSet<PathBuf>,
    /// A name came or went: the dirty paths may lead elsewhere now.
    renamed: bool,
    /// Events were lost or watches vanished: everything may have changed.
    rescan: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.dirty.is_empty() && !self.rescan
    }

    /// Takes in one event. `watched` is `None` for a watch that we have removed since.
    fn add(&mut self, watched: Option<&Watched>, mask: EventMask, name: Option<&OsStr>) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            // Among the lost ones may have been any.
            self.rescan = true;
            return;
        }
        let Some(watched) = watched else { return };
        let vanished =
            EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        if mask.intersects(vanished) {
            self.rescan = true;
            return;
        }
        // Without a name it is about the watched thing itself, a mounted file.
        let Some(concerned) = watched.names.get(name.unwrap_or_default()) else { return };
        for (path, role) in concerned {
            self.dirty.insert(path.clone());
            // A closed file is the same kind of thing as before; a new name may be a link now.
            if !mask.contains(EventMask::CLOSE_WRITE) || !matches!(role, Role::File | Role::Mounted) {
                self.renamed = true;
            }
        }
    }
}

impl Watcher {
    /// A watcher of nothing.
    ///
    /// # Errors
    /// `InstanceLimit`, or what the system says: then everything has to be polled.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of descriptors that change or close early; \
                  that of an `Inotify` does neither, and unsafe code is for sys/resident.rs alone"
    )]
    pub fn new() -> Result<Self, LostReason> {
        let inotify = Inotify::init().and_then(AsyncFd::new).map_err(|e| LostReason::from(&e))?;
        Ok(Self {
            inotify,
            files: Vec::new(),
            ways: BTreeMap::new(),
            watched: HashMap::new(),
            lost: BTreeMap::new(),
            pending: VecDeque::new(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Watches exactly these files from now on. May be called at any time and as often as one
    /// likes; the caller looks at the files after it, not before. What cannot be watched is told
    /// by `next`.
    pub fn set(&mut self, files: &[PathBuf]) {
        self.files = files.to_vec();
        self.files.sort();
        self.files.dedup();
        self.arm();
    }

    /// Number of watches in use.
    #[must_use]
    pub fn watch_count(&self) -> usize {
        self.watched.len()
    }

    /// Waits for the next hint; queued events are drained and become one. May be cancelled.
    pub async fn next(&mut self) -> Hint {
        loop {
            if let Some(hint) = self.pending.pop_front() {
                return hint;
            }
            let batch = self.drain().await;
            if batch.is_empty() {
                continue;
            }
            // No await from here on: a cancelled wait loses nothing.
            let stale = batch.rescan || (batch.renamed && self.leads_elsewhere(&batch.dirty));
            let rearmed = stale && self.arm();
            if batch.rescan || rearmed {
                self.pending.push_back(Hint::RescanAll);
            } else if !batch.dirty.is_empty() {
                self.pending.push_back(Hint::Dirty(batch.dirty.into_iter().collect()));
            }
        }
    }

    /// Waits for events and takes in all that are queued.
    async fn drain(&mut self) -> Batch {
        loop {
            let Ok(mut ready) = self.inotify.readable_mut().await else {
                // Only when the runtime is being shut down; nobody waits for an answer any more.
                std::future::pending::<()>().await;
                continue;
            };
            let mut batch = Batch::default();
            for _ in 0..MAX_READS {
                let read = ready.try_io(|fd| {
                    for event in fd.get_mut().read_events(&mut self.buffer)? {
                        batch.add(self.watched.get(&event.wd), event.mask, event.name);
                    }
                    Ok(())
                });
                match read {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(_)) => {
                        // An event too long for the buffer, or worse: treat it as an overflow.
                        batch.rescan = true;
                        break;
                    }
                    Err(_would_block) => break,
                }
            }
            return batch;
        }
    }

    /// True when the way to one of these files, or what is at its end, is another than was armed.
    /// A mere replacement of the file, the usual event, costs a few `lstat` and ends here.
    fn leads_elsewhere(&self, files: &BTreeSet<PathBuf>) -> bool {
        files.iter().any(|file| self.ways.get(file) != Some(&interests_of(file)))
    }

    /// Arms every watch for the present state of the file system; true when the way to some file
    /// is another than before.
    fn arm(&mut self) -> bool {
        let mut changed = false;
        self.ways = self.look();
        // Between looking and arming things may change unseen: look again after arming.
        for _ in 0..MAX_ROUNDS {
            changed |= self.apply();
            let again = self.look();
            if again == self.ways {
                break;
            }
            self.ways = again;
        }
        changed
    }

    fn look(&self) -> BTreeMap<PathBuf, Vec<Interest>> {
        self.files.iter().map(|file| (file.clone(), interests_of(file))).collect()
    }

    /// Makes the watches what `ways` asks for.
    fn apply(&mut self) -> bool {
        let mut wanted: Vec<(&PathBuf, &Interest)> =
            self.ways.iter().flat_map(|(file, way)| way.iter().map(move |i| (file, i))).collect();
        // What must be watched comes first: it gets the last watches below a limit.
        wanted.sort_by_key(|(_, interest)| interest.name.is_none());
        // The union per directory first: adding replaces the mask of a watch that exists.
        let mut masks: Vec<(&Path, WatchMask)> = Vec::new();
        let mut index: HashMap<&Path, usize> = HashMap::new();
        for (_, interest) in &wanted {
            let at = *index.entry(interest.dir.as_path()).or_insert(masks.len());
            match masks.get_mut(at) {
                Some((_, mask)) => *mask |= interest.mask(),
                None => masks.push((interest.dir.as_path(), interest.mask())),
            }
        }
        let mut descriptors: HashMap<&Path, WatchDescriptor> = HashMap::new();
        let mut lost = BTreeMap::new();
        for (dir, mask) in masks {
            // MASK_ADD: the same inode may be there under two paths.
            match self.inotify.get_ref().watches().add(dir, mask | WatchMask::MASK_ADD) {
                Ok(wd) => {
                    descriptors.insert(dir, wd);
                }
                // Gone again: the second look will find out.
                Err(e)
                    if matches!(
                        e.raw_os_error().map(Errno::from_raw),
                        Some(Errno::ENOENT | Errno::ENOTDIR)
                    ) => {}
                Err(e) => {
                    lost.insert(dir.to_path_buf(), LostReason::from(&e));
                }
            }
        }
        let mut watched: HashMap<WatchDescriptor, Watched> = HashMap::new();
        for (file, interest) in &wanted {
            let Some(wd) = descriptors.get(interest.dir.as_path()) else { continue };
            let entry = watched.entry(wd.clone()).or_default();
            entry.paths.insert(interest.dir.clone());
            if let Some(name) = &interest.name {
                entry.names.entry(name.clone()).or_default().insert(((*file).clone(), interest.role));
            }
        }
        // Directories above are a convenience; not being able to watch them is not told.
        lost.retain(|dir, _| wanted.iter().any(|(_, i)| i.name.is_some() && i.dir == *dir));
        for (path, reason) in &lost {
            if self.lost.get(path) != Some(reason) {
                self.pending.push_back(Hint::Lost { path: path.clone(), reason: *reason });
            }
        }
        self.lost = lost;
        for old in self.watched.keys().filter(|wd| !watched.contains_key(*wd)) {
            // Fails for a directory that is gone, whose watch went with it.
            let _ = self.inotify.get_ref().watches().remove(old.clone());
        }
        let changed = shape(&self.watched) != shape(&watched);
        self.watched = watched;
        changed
    }
}

/// What has to differ for files to be reached on another way: not which of them exist.
fn shape(watched: &HashMap<WatchDescriptor, Watched>) -> BTreeSet<(i32, &PathBuf, &OsStr, &PathBuf, bool)> {
    let mut shape = BTreeSet::new();
    for (wd, entry) in watched {
        for dir in &entry.paths {
            for (name, files) in &entry.names {
                for (file, role) in files {
                    let is_file = matches!(role, Role::File | Role::MissingFile);
                    shape.insert((wd.get_watch_descriptor_id(), dir, name.as_os_str(), file, is_file));
                }
            }
        }
    }
    shape
}

#[cfg(test)]
mod tests;
