//! A provider's side of a refresh: which locks its CLI takes, what is sent, and how long a refusal
//! is doubted. To add a provider: its module beside `claude`, its arm in each function here.

use std::path::Path;
use std::time::Duration;

use super::claude;
use crate::base::credential::Credential;
use crate::base::id::Provider;
use crate::base::secret::{Document, Secret};
use crate::config::settings::LoginSettings;
use crate::oauth::endpoint::Request;
use crate::sys::lock::{DirectoryLock, LockError};

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Claude Code's.
    Claude,
}

/// What keeps the provider's own CLI from refreshing meanwhile. Dropping it releases it.
#[derive(Debug)]
pub enum Locks {
    /// Claude Code's two.
    Claude(claude::RefreshLocks),
}

/// What guards one read-modify-write of the source. Dropping it releases it.
#[derive(Debug)]
pub enum WriteLock {
    /// `.storage-write.lock`.
    Claude(DirectoryLock),
}

impl Side {
    /// The side of a login; `None` where its logins are not refreshed by a request of ours.
    #[must_use]
    pub fn of(login: &LoginSettings) -> Option<Self> {
        match login.provider {
            Provider::Claude => Some(Self::Claude),
            _ => None,
        }
    }

    /// The provider's own token endpoint.
    #[must_use]
    pub const fn token_url(&self) -> &'static str {
        match self {
            Self::Claude => claude::TOKEN_URL,
        }
    }

    /// Takes everything that the provider's CLI honours around its request, or nothing.
    ///
    /// # Errors
    /// `Busy` after the CLI's own patience; anything else as the system says it.
    pub async fn lock(&self, source: &Path) -> Result<Locks, LockError> {
        match self {
            Self::Claude => claude::RefreshLocks::acquire(source).await.map(Locks::Claude),
        }
    }

    /// Takes the lock of the source itself. Never held across a request.
    ///
    /// # Errors
    /// `Busy` when somebody holds it longer than any CLI does.
    pub async fn write_lock(&self, source: &Path) -> Result<WriteLock, LockError> {
        match self {
            Self::Claude => claude::write_lock(source).await.map(WriteLock::Claude),
        }
    }

    /// Why that lock could not be had later, however long we waited.
    #[must_use]
    pub fn write_lock_blocked(&self, source: &Path) -> Option<&'static str> {
        match self {
            Self::Claude => claude::write_lock_blocked(source),
        }
    }

    /// Whether the CLI writes through a link at the source; else a link is a reason not to spend.
    #[must_use]
    pub const fn follows_links(&self) -> bool {
        match self {
            Self::Claude => false,
        }
    }

    /// The request of an ordinary refresh. `document` is the source, for what the login was made
    /// with.
    #[must_use]
    pub fn request(
        &self,
        url: &str,
        document: &Document,
        credential: &Credential,
        refresh: &Secret,
    ) -> Request {
        match self {
            Self::Claude => claude::request(url, document, credential, refresh),
        }
    }

    /// The pauses before the source is read again after a refusal: somebody who spent the same
    /// token before us may not have stored its answer yet.
    #[must_use]
    pub const fn doubts(&self) -> &'static [Duration] {
        match self {
            Self::Claude => &claude::DOUBTS,
        }
    }
}

impl Locks {
    /// Keeps them alive until one is lost, and says which. To be raced against the work.
    pub async fn beat_until_lost(&mut self) -> LockError {
        match self {
            Self::Claude(locks) => locks.beat_until_lost().await,
        }
    }

    /// True while they are ours.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        match self {
            Self::Claude(locks) => locks.are_ours(),
        }
    }
}
