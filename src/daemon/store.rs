//! Our state directory: `state.json` (what is remembered), `fingerprint.key`, `displaced/` (copies
//! of foreign refresh tokens that a write displaced), `mirrors/` (access tokens that gateways refer
//! to), `logins/` (logins of our own), `import.key` and `exports/` (logins that move), `identities/`
//! (what a gateway's CLI keeps of itself when it comes as ours), `alerts.json` (what was told to whom),
//! `setup.json` (what a set-up did), and the locks of daemon and pass. Files are 0600 and directories 0700 from the start.

use std::fmt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{GatewayId, LoginId, SinkId};
use crate::base::secret::Document;
use crate::core::alert::memory::AlertMemory;
use crate::core::memory::Memory;
use crate::core::memory::read::{Newer, Read};
use crate::core::model::TargetId;
use crate::refresher::intent::Intents;
use crate::sys::atomic_file::{self, Expected, FileState, Policy, WriteError, WriteErrorKind};
use crate::sys::clock;
use crate::sys::paths::Surroundings;

/// Why the state could not be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// The directory cannot be made or used.
    Directory(PathBuf, std::io::Error),
    /// A file in it cannot be read.
    Read(PathBuf, String),
    /// A file in it cannot be written.
    Write(PathBuf, WriteError),
    /// It was written by a newer version.
    Newer(PathBuf, u64),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, why) => write!(f, "state directory {}: {why}", path.display()),
            Self::Read(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Write(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Newer(path, version) => {
                write!(f, "{} has format version {version}, written by a newer tokensink", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    /// `$XDG_RUNTIME_DIR`, where there is one: memory, which survives us and not the machine.
    runtime: Option<PathBuf>,
}

impl StateDir {
    /// Names it; nothing is made yet.
    #[must_use]
    pub fn of(surroundings: &Surroundings) -> Self {
        Self { path: surroundings.state_dir(), runtime: surroundings.runtime_dir() }
    }

    /// Makes it, with its parents, and closes it to others.
    ///
    /// # Errors
    /// When it cannot be made or closed.
    pub fn create(&self) -> Result<(), StoreError> {
        private_directory(&self.path)
    }

    /// Our own record of what happened; `daemon::history` alone uses it.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// What `tokensink setup` did, so that it can be taken back.
    #[must_use]
    pub fn setup(&self) -> PathBuf {
        self.path.join("setup.json")
    }

    /// The lock that one pass at a time holds.
    #[must_use]
    pub fn pass_lock(&self) -> PathBuf {
        self.path.join("pass.lock")
    }

    /// The lock that the one daemon holds; its content says which process and since when.
    #[must_use]
    pub fn daemon_lock(&self) -> PathBuf {
        self.path.join("daemon.lock")
    }

    /// The lock under which one process at a time refreshes a login.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn refresh_lock(&self, login: &LoginId) -> Result<PathBuf, StoreError> {
        let directory = self.intents().directory;
        private_directory(&directory)?;
        Ok(directory.join(format!("{login}.lock")))
    }

    /// Where a person's attempts to log in are kept; nothing is made.
    #[must_use]
    pub fn attempts(&self) -> PathBuf {
        self.path.join("attempts")
    }

    /// The lock of a person's attempts to log in, one at a time for each login, and the scratch
    /// directory of the one that holds it. Only the directory of both is made.
    ///
    /// # Errors
    /// When that cannot be made.
    pub fn attempt(&self, login: &LoginId) -> Result<(PathBuf, PathBuf), StoreError> {
        let directory = self.attempts();
        private_directory(&directory)?;
        Ok((directory.join(format!("{login}.lock")), directory.join(login.as_str())))
    }

    /// Where intents are kept; nothing is made.
    #[must_use]
    pub fn intents(&self) -> Intents {
        Intents {
            directory: self.path.join("intents"),
            spare: self.runtime.as_ref().map(|runtime| runtime.join("tokensink")),
        }
    }

    /// The lock under which one process at a time applies a change to a gateway.
    #[must_use]
    pub fn gateway_lock(&self, gateway: &GatewayId) -> PathBuf {
        self.path.join(format!("gateway-{gateway}.lock"))
    }

    /// Every directory in which a write of ours may have been interrupted.
    #[must_use]
    pub fn directories(&self) -> [PathBuf; 6] {
        let more = ["logins", "fetched", "exports"].map(|name| self.path.join(name));
        let [logins, fetched, exports] = more;
        [self.path.clone(), self.displaced(), mirrors_in(&self.path), logins, fetched, exports]
    }

    fn displaced(&self) -> PathBuf {
        self.path.join("displaced")
    }

    /// What is remembered, as a file: it is replaced at each change.
    #[must_use]
    pub fn memory_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// What is remembered; nothing when there is no file yet. A file that cannot be parsed, or not as
    /// a whole, is set aside under another name, never overwritten; what of it can be read, is.
    ///
    /// # Errors
    /// When the file cannot be read, or was written by a newer version.
    pub fn load(&self) -> Result<Memory, StoreError> {
        let path = self.memory_file();
        let document = match atomic_file::observe(&path) {
            FileState::Absent { .. } => return Ok(Memory { alerts: self.alerts(), ..Memory::default() }),
            FileState::Unreadable { reason, .. } => return Err(StoreError::Read(path, reason.to_string())),
            FileState::Present(file) => file.document,
        };
        let Read { memory, damage } = Memory::read(document.expose(), clock::now())
            .map_err(|Newer(version)| StoreError::Newer(path.clone(), version))?;
        if let Some(damage) = damage {
            let aside = self.path.join("state.json.unreadable");
            // An empty file holds nothing to keep.
            let is_kept = !document.is_empty() && self.replace(&aside, &document).is_ok();
            let kept =
                if is_kept { "it is kept as state.json.unreadable" } else { "nothing of it could be kept" };
            tracing::warn!("{} {damage}; {kept}", path.display());
        }
        Ok(Memory { alerts: self.alerts(), ..memory })
    }

    /// Writes what is remembered, durably.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is still there then.
    pub fn save(&self, memory: &mut Memory) -> Result<(), StoreError> {
        memory.format_version = Memory::VERSION;
        let path = self.memory_file();
        let mut bytes =
            serde_json::to_vec_pretty(memory).map_err(|e| StoreError::Read(path.clone(), e.to_string()))?;
        bytes.push(b'\n');
        self.replace(&path, &Document::new(bytes))
    }

    /// What was told to whom; nothing when there is no file, or none that can be read.
    #[must_use]
    pub fn alerts(&self) -> AlertMemory {
        self.alerts_as_they_are().0
    }

    /// The same, and whether anything of the file was left out.
    #[must_use]
    pub fn alerts_as_they_are(&self) -> (AlertMemory, bool) {
        match atomic_file::observe(&self.path.join("alerts.json")) {
            FileState::Present(file) => AlertMemory::read(file.document.expose()),
            FileState::Absent { .. } => Default::default(),
            FileState::Unreadable { .. } => (AlertMemory::default(), true),
        }
    }

    /// Writes what was told to whom, durably. Only the daemon does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_alerts(&self, alerts: &AlertMemory) -> Result<(), StoreError> {
        let path = self.path.join("alerts.json");
        let mut bytes =
            serde_json::to_vec_pretty(alerts).map_err(|e| StoreError::Read(path.clone(), e.to_string()))?;
        bytes.push(b'\n');
        self.replace(&path, &Document::new(bytes))
    }

    /// Proves that an outcome can be remembered: a file of a likely size is written beside the
    /// state, synced and removed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn prove_room(&self) -> Result<(), StoreError> {
        const LIKELY: usize = 64 * 1024;
        let probe = self.path.join("probe");
        let padding = Document::new(vec![b' '; LIKELY]);
        let staged = atomic_file::stage(
            &probe,
            &padding,
            Expected::Absent,
            Policy { mode: Some(0o600), ..Policy::default() },
        );
        staged.map(drop).map_err(|error| StoreError::Write(probe, error))
    }

    /// The fingerprint key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<FingerprintKey> {
        key_in(&atomic_file::observe(&self.key_file()))
    }

    /// The fingerprint key; made when there is none. Of several processes that make it at the same
    /// time one succeeds, and all use that one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn key_or_create(&self) -> Result<FingerprintKey, StoreError> {
        let path = self.key_file();
        let state = atomic_file::observe(&path);
        if let Some(key) = key_in(&state) {
            return Ok(key);
        }
        let mut bytes = [0_u8; FingerprintKey::LEN];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Read(path.clone(), e.to_string()))?;
        match Self::replace_observed(&path, &state, &Document::new(bytes.to_vec())) {
            Err(StoreError::Write(_, error)) if error.kind == WriteErrorKind::Changed => {
                self.key().ok_or(StoreError::Write(path, error))
            }
            written => written.map(|()| FingerprintKey::new(bytes)),
        }
    }

    fn key_file(&self) -> PathBuf {
        self.path.join("fingerprint.key")
    }

    /// Keeps what a write displaces: the only copy, perhaps, of somebody's refresh token.
    ///
    /// # Errors
    /// When it cannot be written; the write must not happen then.
    pub fn keep_displaced(
        &self,
        target: &TargetId,
        old: &Document,
        key: &FingerprintKey,
    ) -> Result<(), StoreError> {
        self.keep(&target.to_string().replace('/', "_"), old, key)
    }

    /// Keeps a login that a person replaces by another one.
    ///
    /// # Errors
    /// As [`Self::keep_displaced`].
    pub fn keep_replaced(
        &self,
        login: &LoginId,
        old: &Document,
        key: &FingerprintKey,
    ) -> Result<(), StoreError> {
        self.keep(login.as_str(), old, key)
    }

    fn keep(&self, name: &str, old: &Document, key: &FingerprintKey) -> Result<(), StoreError> {
        let directory = self.displaced();
        private_directory(&directory)?;
        let identity = key.of_parts(&[old.expose()]);
        self.replace(&directory.join(format!("{name}.{identity}")), old)
    }

    /// The key that bundles for this host are sealed for; `None` where none was made.
    #[must_use]
    pub fn import_key(&self) -> Option<Document> {
        match atomic_file::observe(&self.path.join("import.key")) {
            FileState::Present(file) => Some(file.document),
            _ => None,
        }
    }

    /// Keeps a new key for bundles. One that is there is never replaced.
    ///
    /// # Errors
    /// When it cannot be written, or one is there.
    pub fn keep_import_key(&self, key: &Document) -> Result<(), StoreError> {
        let path = self.path.join("import.key");
        write_expecting(&path, Expected::Absent, key)
    }

    /// Keeps a bundle that leaves this host, durably, under that name; returns its file.
    ///
    /// # Errors
    /// When it cannot be written; the login must stay here then.
    pub fn keep_bundle(&self, name: &Fingerprint, sealed: &Document) -> Result<PathBuf, StoreError> {
        let directory = self.path.join("exports");
        private_directory(&directory)?;
        let path = directory.join(format!("{name}.age"));
        self.replace(&path, sealed)?;
        Ok(path)
    }

    /// Replaces a file in the directory durably; one that holds just that is left alone.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn replace(&self, path: &Path, document: &Document) -> Result<(), StoreError> {
        let state = atomic_file::observe(path);
        if matches!(&state, FileState::Present(file) if file.document == *document) {
            return Ok(());
        }
        Self::replace_observed(path, &state, document)
    }

    fn replace_observed(path: &Path, state: &FileState, document: &Document) -> Result<(), StoreError> {
        let unreadable = || StoreError::Read(path.to_owned(), "cannot be read".to_owned());
        write_expecting(path, state.expected().ok_or_else(unreadable)?, document)
    }
}

fn write_expecting(path: &Path, expected: Expected, document: &Document) -> Result<(), StoreError> {
    let written = atomic_file::replace(path, document, expected, Policy::default());
    written.map_err(|e| StoreError::Write(path.to_owned(), e))
}

/// Where the files are that gateways refer to, in our state directory.
#[must_use]
pub fn mirrors_in(state_dir: &Path) -> PathBuf {
    state_dir.join("mirrors")
}

/// What was last read of a login whose file is in a container, in our state directory.
#[must_use]
pub fn fetched_in(state_dir: &Path, login: &LoginId) -> PathBuf {
    state_dir.join("fetched").join(format!("{login}.json"))
}

/// Where a CLI of a gateway keeps an identity of its own that we come with, in our state directory.
#[must_use]
pub fn identity_in(state_dir: &Path, sink: &SinkId) -> PathBuf {
    state_dir.join("identities").join(sink.as_str())
}

/// Makes a directory of ours, with its parents, and closes it to others.
///
/// # Errors
/// When it cannot be made or closed.
pub fn private_directory(path: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::Directory(path.to_owned(), e);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

fn key_in(state: &FileState) -> Option<FingerprintKey> {
    match state {
        FileState::Present(file) => file.document.expose().try_into().ok().map(FingerprintKey::new),
        _ => None,
    }
}
