//! A provider's side of a refresh: which locks its CLI takes, what is sent, and how long a refusal
//! is doubted. To add a provider: its module beside `claude`, its arm in each function here.

use std::path::Path;
use std::time::Duration;

use super::{claude, codex, generic};
use crate::base::credential::Credential;
use crate::base::id::Provider;
use crate::base::secret::{Document, Secret};
use crate::config::settings::LoginSettings;
use crate::format::codex::TOKEN_URL;
use crate::oauth::endpoint::Request;
use crate::sys::lock::{DirectoryLock, Flock, LockError, LockMark};

/// Whose protocol is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// Claude Code's.
    Claude,
    /// Codex's.
    Codex {
        /// The token endpoint is the configuration's, whatever the login says of its origin.
        is_configured: bool,
        /// The login is one of our own store, where no Codex looks.
        is_own: bool,
    },
    /// RFC 6749's, for a client that the configuration describes.
    Generic(generic::Client),
}

/// What keeps the provider's own CLI from refreshing meanwhile. Dropping it releases it.
#[derive(Debug)]
pub enum Locks {
    /// Claude Code's two.
    Claude(claude::RefreshLocks),
    /// `auth.lock`.
    Codex(Flock),
    /// None is known.
    None,
}

/// What guards one read-modify-write of the source. Dropping it releases it.
#[derive(Debug)]
pub enum WriteLock {
    /// `.storage-write.lock`.
    Claude(DirectoryLock),
    /// `auth.json.lock`.
    Codex(Flock),
    /// None is known.
    None,
}

impl Side {
    /// The side of a login and its token endpoint: the configured one, else the provider's own.
    /// `None` where its logins are not refreshed by a request of ours, or too little is described.
    #[must_use]
    pub fn of(login: &LoginSettings) -> Option<(Self, String)> {
        // Nothing can be stored where that is kept.
        if login.container.is_some() {
            return None;
        }
        let (side, own) = match login.provider {
            Provider::Claude => (Self::Claude, Some(claude::TOKEN_URL)),
            Provider::Codex => {
                let is_configured = login.refresh.token_url.is_some();
                (Self::Codex { is_configured, is_own: login.is_own() }, Some(TOKEN_URL))
            }
            Provider::Generic => {
                let client = generic::Client {
                    id: login.refresh.client_id.clone()?,
                    secret: login.refresh.client_secret_file.clone(),
                    style: login.refresh.style,
                };
                (Self::Generic(client), None)
            }
            _ => return None,
        };
        let url = login.refresh.token_url.clone().or_else(|| own.map(str::to_owned))?;
        Some((side, url))
    }

    /// Takes everything that the provider's CLI honours around its request, or nothing.
    ///
    /// # Errors
    /// `Busy` after the CLI's own patience; anything else as the system says it.
    pub async fn lock(&self, source: &Path) -> Result<Locks, LockError> {
        match self {
            Self::Claude => claude::RefreshLocks::acquire(source).await.map(Locks::Claude),
            Self::Codex { is_own: false, .. } => codex::outer_lock(source).await.map(Locks::Codex),
            Self::Codex { .. } | Self::Generic(_) => Ok(Locks::None),
        }
    }

    /// Takes the lock of the source itself. Never held across a request.
    ///
    /// # Errors
    /// `Busy` when somebody holds it longer than any CLI does.
    pub async fn write_lock(&self, source: &Path) -> Result<WriteLock, LockError> {
        match self {
            Self::Claude => claude::write_lock(source).await.map(WriteLock::Claude),
            Self::Codex { is_own: false, .. } => codex::inner_lock(source).await.map(WriteLock::Codex),
            Self::Codex { .. } | Self::Generic(_) => Ok(WriteLock::None),
        }
    }

    /// Why that lock could not be had later, however long we waited.
    #[must_use]
    pub fn write_lock_blocked(&self, source: &Path) -> Option<&'static str> {
        match self {
            Self::Claude => claude::write_lock_blocked(source),
            Self::Codex { is_own: false, .. } => codex::inner_lock_blocked(source),
            Self::Codex { .. } | Self::Generic(_) => None,
        }
    }

    /// Whether the CLI writes through a link at the source; else a link is a reason not to spend.
    #[must_use]
    pub const fn follows_links(&self) -> bool {
        match self {
            Self::Claude => false,
            Self::Codex { .. } | Self::Generic(_) => true,
        }
    }

    /// The request of an ordinary refresh. `document` is the source, for what the login was made
    /// with.
    ///
    /// # Errors
    /// Why there is none, in words; nothing may be sent then.
    pub fn request(
        &self,
        url: &str,
        document: &Document,
        credential: &Credential,
        refresh: &Secret,
    ) -> Result<Request, String> {
        match self {
            Self::Claude => Ok(claude::request(url, document, credential, refresh)),
            Self::Codex { is_configured, .. } => codex::request(url, *is_configured, document, refresh),
            Self::Generic(client) => generic::request(url, client, refresh),
        }
    }

    /// The pauses before the source is read again after a refusal: somebody who spent the same
    /// token before us may not have stored its answer yet.
    #[must_use]
    pub const fn doubts(&self) -> &'static [Duration] {
        match self {
            Self::Claude => &claude::DOUBTS,
            Self::Codex { is_own: false, .. } => &codex::DOUBTS,
            Self::Codex { .. } | Self::Generic(_) => &[Duration::ZERO],
        }
    }
}

impl Locks {
    /// Keeps them alive until one is lost, and says which. To be raced against the work.
    pub async fn beat_until_lost(&mut self) -> LockError {
        match self {
            Self::Claude(locks) => locks.beat_until_lost().await,
            // The kernel keeps the one, nobody the other.
            Self::Codex(_) | Self::None => std::future::pending().await,
        }
    }

    /// What a later run of ours knows those by that this one leaves when it dies.
    #[must_use]
    pub fn marks(&self) -> Vec<LockMark> {
        match self {
            Self::Claude(locks) => locks.marks(),
            // The kernel releases the one.
            Self::Codex(_) | Self::None => Vec::new(),
        }
    }

    /// True while they are ours.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        match self {
            Self::Claude(locks) => locks.are_ours(),
            Self::Codex(lock) => lock.is_ours(),
            Self::None => true,
        }
    }
}
