//! Where a new login belongs, and storing it there: in our own login store, or in the file that the
//! configuration names, under the locks of that file's CLI and by compare-and-swap, as a refresh is
//! stored. The old login is replaced in one step or not at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::credential::{NewLogin, SourceReading};
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::{LoginId, Provider};
use crate::base::secret::Document;
use crate::config::settings::{LoginSettings, Settings};
use crate::core::event::{How, What};
use crate::daemon::detect;
use crate::daemon::export;
use crate::daemon::history;
use crate::daemon::pass;
use crate::daemon::store::{StateDir, private_directory};
use crate::daemon::world;
use crate::format;
use crate::format::layout::Layout;
use crate::providers;
use crate::refresher::proof;
use crate::refresher::side::Side;
use crate::sys::atomic_file::{self, Expected, FileState, Policy, WriteErrorKind};
use crate::sys::paths::Surroundings;

/// How the names of the files begin that hold the entry of a new login.
const ENTRY: &str = "60-login-";

/// Whether a file of the configuration is the entry of a login that was made here.
#[must_use]
pub fn is_entry(file: &Path) -> bool {
    file.file_name().and_then(std::ffi::OsStr::to_str).is_some_and(|name| name.starts_with(ENTRY))
}

/// How long a refresh of the same login that is in hand is waited for: longer than one takes.
const REFRESH_PATIENCE: Duration = Duration::from_secs(90);
/// How long a pass is waited for.
const PASS_PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to store while somebody else writes the file too.
const STORE_TRIES: usize = 5;

/// Why there is no place for a new login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// What was asked for does not fit the configuration.
    Usage(String),
    /// The place cannot be used.
    Unusable(String),
}

/// Why a login was not stored. The old one is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStored {
    /// The login that is there belongs to another account.
    OtherAccount,
    /// Anything else, in words.
    Failed(String),
}

/// The place of one login.
#[derive(Debug, Clone)]
pub struct Place {
    /// The login, as configured or as it will be.
    pub login: LoginSettings,
    /// Its file.
    pub path: PathBuf,
    /// How that is laid out.
    pub layout: Layout,
    /// The configuration does not have it yet.
    pub is_new: bool,
}

/// A login that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// It took the place of another account's.
    pub replaced_account: bool,
}

/// Finds the place of a login of that provider: the one of that id; without an id, the only one that
/// is configured, or a new one named like the provider. A new one is in our own store.
///
/// # Errors
/// See [`NoPlace`].
pub fn place(
    settings: &Settings,
    surroundings: &Surroundings,
    provider: Provider,
    id: Option<&str>,
) -> Result<Place, NoPlace> {
    let of_provider = || settings.logins.iter().filter(|login| login.provider == provider);
    let id = match (id, of_provider().next(), of_provider().nth(1)) {
        (Some(id), _, _) => {
            LoginId::try_new(id).map_err(|why| NoPlace::Usage(format!("the id of a login {why}")))?
        }
        (None, Some(only), None) => only.id.clone(),
        (None, None, _) => {
            LoginId::try_new(provider.as_str()).map_err(|why| NoPlace::Usage(why.to_string()))?
        }
        (None, Some(_), Some(_)) => {
            let ids: Vec<&str> = of_provider().map(|login| login.id.as_str()).collect();
            let why =
                format!("there are several logins of {provider}: name one by --id ({})", ids.join(", "));
            return Err(NoPlace::Usage(why));
        }
    };
    let known = settings.logins.iter().find(|login| login.id == id);
    if let Some(other) = known.filter(|login| login.provider != provider) {
        return Err(NoPlace::Usage(format!("login {id} is one of {}, not of {provider}", other.provider)));
    }
    if let Some(container) = known.and_then(|login| login.container.as_ref()) {
        let why =
            format!("login {id} is kept in container {container}: log in there, with {provider}'s own CLI");
        return Err(NoPlace::Usage(why));
    }
    let (login, is_new) = match known {
        Some(login) => (login.clone(), false),
        None => {
            let store = surroundings.logins_dir();
            let path = match provider {
                // The CLI's own, and a directory of its own for each further one.
                Provider::Claude if id.as_str() == provider.as_str() => None,
                Provider::Claude => Some(store.join(id.as_str()).join(providers::claude_cli::FILE_NAME)),
                _ => Some(store.join(format!("{id}.json"))),
            };
            (LoginSettings { path, ..detect::default_login(id, provider) }, true)
        }
    };
    let path = world::source_path(&login, surroundings);
    let (Some(path), Some(layout)) = (path, providers::layout(&login)) else {
        return Err(NoPlace::Usage(format!("where a login of {provider} is kept is not known; see --id")));
    };
    Ok(Place { login, path, layout, is_new })
}

impl Place {
    /// Checks, before a person is troubled, that a login can be stored here.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn prove(&self) -> Result<(), String> {
        let side = Side::of(&self.login).map(|(side, _)| side);
        match atomic_file::observe(&self.path) {
            FileState::Present(file) => {
                // What cannot be read now cannot be written over later, when the person has said yes.
                if let SourceReading::Unparseable { reason } = self.layout.parse(file.document.expose()) {
                    return Err(format!("{}: {reason}", self.path.display()));
                }
                let follows = side.as_ref().is_none_or(Side::follows_links);
                proof::storable(&self.path, follows).map_err(|why| why.0)?;
                let blocked = side.as_ref().and_then(|side| side.write_lock_blocked(&self.path));
                blocked.map_or(Ok(()), |why| Err(why.to_owned()))
            }
            FileState::Absent { .. } if self.login.is_own() || self.login.own_directory().is_some() => Ok(()),
            FileState::Absent { .. } => match self.path.parent().filter(|parent| parent.is_dir()) {
                Some(_) => Ok(()),
                None => Err(format!("the directory of {} is not there", self.path.display())),
            },
            FileState::Unreadable { reason, .. } => Err(format!("{}: {reason}", self.path.display())),
        }
    }

    /// Stores the login, in one step, over whatever is there; another account's login is replaced
    /// only with `replaces`, and kept aside.
    ///
    /// # Errors
    /// See [`NotStored`].
    pub async fn store(
        &self,
        state: &StateDir,
        key: &FingerprintKey,
        new: &NewLogin,
        replaces: bool,
    ) -> Result<Stored, NotStored> {
        let failed = |why: String| NotStored::Failed(why);
        let lock = state.refresh_lock(&self.login.id).map_err(|e| failed(e.to_string()))?;
        let _refresh = pass::hold(&lock, REFRESH_PATIENCE).await.map_err(|e| failed(e.to_string()))?;
        if self.login.is_own()
            && let Some(directory) = self.path.parent()
        {
            private_directory(directory).map_err(|e| failed(e.to_string()))?;
        }
        if let Some(directory) = self.login.own_directory() {
            private_directory(directory).map_err(|e| failed(e.to_string()))?;
        }
        // Nobody refreshes a static token, so that nobody locks it.
        let side = Side::of(&self.login).map(|(side, _)| side);
        let (_cli, _commit) = match &side {
            Some(side) => (
                Some(side.lock(&self.path).await.map_err(|e| failed(e.to_string()))?),
                Some(side.write_lock(&self.path).await.map_err(|e| failed(e.to_string()))?),
            ),
            None => (None, None),
        };
        for _ in 0..STORE_TRIES {
            let (existing, expected) = match atomic_file::observe(&self.path) {
                FileState::Absent { .. } => (None, Expected::Absent),
                FileState::Present(file) => {
                    let digest = atomic_file::Digest::of(&file.document);
                    (Some(file.document), Expected::Content(digest))
                }
                FileState::Unreadable { reason, .. } => return Err(failed(reason.to_string())),
            };
            let is_other = self.is_of_another(state, existing.as_ref(), new)?;
            if is_other && !replaces {
                return Err(NotStored::OtherAccount);
            }
            if let (true, Some(old)) = (is_other, &existing) {
                state.keep_replaced(&self.login.id, old, key).map_err(|e| failed(e.to_string()))?;
            }
            let entered = self.layout.enter(existing.as_ref().map(Document::expose), new);
            let document = entered.map_err(|e| failed(format!("{}: {e}", self.path.display())))?;
            match export::write(&self.path, &document, expected) {
                Ok(()) => {
                    // Only who made it would be remembered otherwise; the login is there.
                    let _ = self.note(state, key, &document).await;
                    let login = self.login.id.clone();
                    history::note(state, [What::LoggedIn { login, how: How::Login }]);
                    return Ok(Stored { replaced_account: is_other });
                }
                Err(error) if error.kind == WriteErrorKind::Changed => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Err(failed(format!("{} changes all the time", self.path.display())))
    }

    /// Whether the login that is there, or that was there last, belongs to another account.
    fn is_of_another(
        &self,
        state: &StateDir,
        existing: Option<&Document>,
        new: &NewLogin,
    ) -> Result<bool, NotStored> {
        let held = existing.map(|document| self.layout.parse(document.expose()));
        let held = match held {
            Some(SourceReading::Ok(credential)) => credential.account.or_else(|| self.account_beside()),
            _ => None,
        };
        let memory = state.load().map_err(|error| NotStored::Failed(error.to_string()))?;
        let known = memory.logins.get(&self.login.id).and_then(|known| known.account.clone());
        let differs = |account: &Option<String>| {
            account.as_ref().zip(new.account.as_ref()).is_some_and(|(held, new)| held != new)
        };
        Ok(differs(&held) || differs(&known))
    }

    /// The account of a Claude login that does not name it (written by 2.1.112 or earlier): it is in
    /// `.claude.json`, in the directory of the login, or beside `~/.claude`.
    fn account_beside(&self) -> Option<String> {
        let directory = self.path.parent().filter(|_| self.layout == Layout::Claude)?;
        let home = directory.parent().filter(|_| directory.ends_with(".claude"));
        [Some(directory), home].into_iter().flatten().find_map(|directory| {
            match atomic_file::observe(&directory.join(".claude.json")) {
                FileState::Present(file) => format::claude::account_beside(file.document.expose()),
                FileState::Absent { .. } | FileState::Unreadable { .. } => None,
            }
        })
    }

    /// What is there, before a program that we do not steer goes at it; a copy is kept as well.
    ///
    /// # Errors
    /// When a login is there that cannot be kept.
    pub fn kept(&self, state: &StateDir) -> Result<Option<Document>, String> {
        let FileState::Present(file) = atomic_file::observe(&self.path) else { return Ok(None) };
        if !matches!(self.layout.parse(file.document.expose()), SourceReading::Ok(_)) {
            return Ok(None);
        }
        let key = state.key_or_create().map_err(|error| error.to_string())?;
        state.keep_replaced(&self.login.id, &file.document, &key).map_err(|error| error.to_string())?;
        Ok(Some(file.document))
    }

    /// Puts back what was there, if no login is there any more.
    ///
    /// # Errors
    /// When there is none, whether the old one is back or not.
    pub fn put_back_if_gone(&self, before: Option<Document>) -> Result<(), String> {
        let state = atomic_file::observe(&self.path);
        if let FileState::Present(file) = &state
            && matches!(self.layout.parse(file.document.expose()), SourceReading::Ok(_))
        {
            return Ok(());
        }
        let put_back = before
            .zip(state.expected())
            .map(|(before, expected)| export::write(&self.path, &before, expected));
        Err(match put_back {
            Some(Ok(())) => "it left no login; the old one is as it was".to_owned(),
            Some(Err(error)) => format!("it left no login, and the old one is in displaced/ only: {error}"),
            None => "it left no login".to_owned(),
        })
    }

    /// Remembers that this generation was made here.
    async fn note(&self, state: &StateDir, key: &FingerprintKey, document: &Document) -> Result<(), String> {
        let SourceReading::Ok(made) = self.layout.parse(document.expose()) else { return Ok(()) };
        let _lock = pass::hold_pass(state, PASS_PATIENCE).await.map_err(|e| e.to_string())?;
        let mut memory = state.load().map_err(|e| e.to_string())?;
        memory.logins.entry(self.login.id.clone()).or_default().note_made(key.generation(&made));
        state.save(&mut memory).map_err(|e| e.to_string())
    }

    /// Enters the login in the configuration, in a drop-in of its own; a file of somebody's is never
    /// changed. Returns the file, or `None` where the configuration has the login already.
    ///
    /// # Errors
    /// When it cannot be written; the login itself is stored then.
    pub fn enter(&self, surroundings: &Surroundings) -> Result<Option<PathBuf>, String> {
        if !self.is_new {
            return Ok(None);
        }
        let file = surroundings.config_dir().join(format!("tokensink.d/{ENTRY}{}.toml", self.login.id));
        let path = self.path.to_str().ok_or_else(|| format!("{} is not UTF-8", self.path.display()))?;
        let text = format!(
            "# Written by `tokensink login`. Yours to change: it is not written again.\n\n[[login]]\nid = \"{}\"\n\
             provider = \"{}\"\npath = {}\n",
            self.login.id,
            self.login.provider,
            // A TOML basic string is a JSON one; a dollar would begin a variable.
            serde_json::Value::from(path.replace('$', "$$")),
        );
        let document = Document::new(text.into_bytes());
        if let Some(directory) = file.parent() {
            use std::os::unix::fs::DirBuilderExt as _;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(|e| format!("{}: {e}", directory.display()))?;
        }
        match atomic_file::observe(&file) {
            FileState::Present(there) if there.document == document => return Ok(Some(file)),
            FileState::Absent { .. } => {}
            _ => return Err(format!("{} is there already and does not name this login", file.display())),
        }
        let policy = Policy { mode: Some(0o644), ..Policy::default() };
        let written = atomic_file::replace(&file, &document, Expected::Absent, policy);
        written.map(|()| Some(file)).map_err(|error| error.to_string())
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(why) | Self::Unusable(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for NoPlace {}
