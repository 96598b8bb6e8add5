//! Claude Code's side of a refresh: its locks, its request, its store. Facts: Claude Code 2.1.329
//! and the older lines (2.1.50 to 2.1.310 sampled).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::credential::Credential;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::format;
use crate::oauth::endpoint::{Encoding, Request};
use crate::sys::lock::{DirectoryLock, LockError, LockMark, Patience, Staleness};
use crate::sys::{clock, random};

/// The token endpoint (2.1.30 and later; before that `console.anthropic.com`).
pub const TOKEN_URL: &str = "https://platform.claude.com/v1/oauth/token";
/// The public client of Claude Code.
pub const CLIENT_ID: &str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";
/// A lock of the CLI is abandoned after a minute without a heartbeat (2.1.218 and later); it must
/// stand still before our eyes as well, because a resumed laptop shows old times too.
const ABANDONED: Staleness = Staleness { age: Duration::from_secs(60), frozen: Duration::from_secs(10) };
/// The CLI's own patience with a refresh lock: five pauses of one to two seconds.
const LOCK_TRIES: u32 = 5;
/// The write lock is held for a moment only; the CLI itself gives up after some 10 s. We hold new
/// tokens by then and wait longer.
const WRITE_PATIENCE: Patience = Patience {
    total: Duration::from_secs(25),
    first: Duration::from_millis(50),
    longest: Duration::from_millis(500),
};
const WRITE_ABANDONED: Staleness = Staleness { age: Duration::from_secs(15), frozen: Duration::from_secs(2) };
/// The CLI rounds up the times of its locks: up to a second ahead is normal.
const LOCK_AHEAD: Duration = Duration::from_secs(2);
/// After a refusal: whoever spent the token stores its answer under a lock that we held, so that
/// there is no more to wait for than a slow disk.
pub const DOUBTS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];
/// The holder of a lock shows that it lives at least this often.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// The CLI's two refresh locks, taken in its order. Newer versions honour both, 2.1.132 to 2.1.139
/// only the first, older ones only the second: one alone protects from nobody in particular.
#[derive(Debug)]
pub struct RefreshLocks {
    // Dropped in this order: the reverse of taking them.
    second: DirectoryLock,
    first: DirectoryLock,
}

impl RefreshLocks {
    /// Takes both locks of the directory that holds `source`, or none.
    ///
    /// # Errors
    /// `Busy` after the CLI's own patience; anything else as the system says it.
    pub async fn acquire(source: &Path) -> Result<Self, LockError> {
        let [first_path, second_path] = paths(source);
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match Self::try_both(&first_path, &second_path).await {
                Ok(locks) => return Ok(locks),
                Err(error) => error,
            };
            // Old, watched, and seen to move: its holder lives and has a clock of its own.
            let is_over = !matches!(error, LockError::Busy { moving: false, .. });
            if is_over || tries > LOCK_TRIES {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_secs_f64(1.0 + random::unit())).await;
        }
    }

    async fn try_both(first_path: &Path, second_path: &Path) -> Result<Self, LockError> {
        // Long enough to see whether a lock that looks abandoned moves.
        let patience = if looks_old(first_path) || looks_old(second_path) {
            let longest = Duration::from_secs(1);
            Patience { total: ABANDONED.frozen + Duration::from_secs(2), first: longest, longest }
        } else {
            Patience::none()
        };
        let first = DirectoryLock::acquire(first_path, ABANDONED, patience, &mut random::unit).await?;
        // When the second is held, the first is released again by its drop.
        let second = DirectoryLock::acquire(second_path, ABANDONED, patience, &mut random::unit).await?;
        Ok(Self { second, first })
    }

    /// Keeps both alive until one is lost, and says which. To be raced against the work.
    pub async fn beat_until_lost(&mut self) -> LockError {
        tokio::select! {
            lost = self.first.beat_until_lost(HEARTBEAT) => lost,
            lost = self.second.beat_until_lost(HEARTBEAT) => lost,
        }
    }

    /// What tells them from locks that others make later.
    #[must_use]
    pub fn marks(&self) -> Vec<LockMark> {
        [&self.first, &self.second].into_iter().filter_map(DirectoryLock::mark).collect()
    }

    /// True while both are ours.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        self.first.is_ours() && self.second.is_ours()
    }
}

/// `DIR/.oauth_refresh.lock` and `realpath(DIR).lock`.
fn paths(source: &Path) -> [PathBuf; 2] {
    let directory = source.parent().unwrap_or(Path::new("."));
    let real = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mut beside = real.into_os_string();
    beside.push(".lock");
    [directory.join(".oauth_refresh.lock"), PathBuf::from(beside)]
}

fn looks_old(lock: &Path) -> bool {
    let modified = lock.symlink_metadata().and_then(|m| m.modified()).ok();
    modified.is_some_and(|at| clock::now().since(Timestamp::from(at)) > ABANDONED.age)
}

/// True while somebody holds a refresh lock of the directory that holds `source`, with a heartbeat:
/// a CLI in that state must not be killed.
#[must_use]
pub fn is_refreshing(source: &Path) -> bool {
    paths(source).iter().any(|lock| lock.is_dir() && !looks_old(lock))
}

/// The lock of every read-modify-write of the file (2.1.136 and later). Never held across a request.
///
/// # Errors
/// `Busy` after 25 s.
pub async fn write_lock(source: &Path) -> Result<DirectoryLock, LockError> {
    let path = write_lock_path(source);
    DirectoryLock::acquire(&path, WRITE_ABANDONED, WRITE_PATIENCE, &mut random::unit).await
}

/// Why the write lock could not be had later, however long we waited: in its place lies what no
/// holder releases, or it is dated far ahead. The CLI itself (2.1.329) loses its login over that.
#[must_use]
pub fn write_lock_blocked(source: &Path) -> Option<&'static str> {
    let path = write_lock_path(source);
    let there = path.symlink_metadata().ok()?;
    if !there.is_dir() {
        return Some("a file is in the place of the lock .storage-write.lock");
    }
    if std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Some("the lock .storage-write.lock holds files");
    }
    let ahead = there.modified().ok()?.elapsed().err()?.duration();
    (ahead > LOCK_AHEAD).then_some("the lock .storage-write.lock is dated in the future")
}

fn write_lock_path(source: &Path) -> PathBuf {
    source.parent().unwrap_or(Path::new(".")).join(".storage-write.lock")
}

/// The request of an ordinary refresh: the stored scopes, the client that is stored in `document` or
/// the public one.
#[must_use]
pub fn request(url: &str, document: &Document, credential: &Credential, refresh: &Secret) -> Request {
    let client = format::claude::client_id(document.expose());
    Request {
        url: url.to_owned(),
        encoding: Encoding::Json,
        fields: vec![
            ("grant_type", Secret::new("refresh_token".to_owned())),
            ("refresh_token", refresh.clone()),
            ("client_id", Secret::new(client.unwrap_or_else(|| CLIENT_ID.to_owned()))),
            ("scope", Secret::new(credential.scopes.join(" "))),
        ],
    }
}
