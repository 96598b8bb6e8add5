//! The write-ahead record of a refresh: `intents/<login>.json` in our state directory, 0600. It
//! says which token is being spent, by fingerprint, and later what the answer brought, whole: from
//! then on the new tokens survive a crash.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::credential::Renewed;
use crate::base::fingerprint::Fingerprint;
use crate::base::id::LoginId;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::sys::atomic_file::{self, FileState, Policy, WriteError};

/// Why an intent cannot be used.
#[derive(Debug)]
pub enum IntentError {
    /// It cannot be written; nothing may be sent then.
    Write(WriteError),
    /// It cannot be read: whoever wrote it may have spent a token.
    Unreadable(PathBuf),
    /// It cannot be removed.
    Remove(PathBuf, std::io::Error),
}

impl fmt::Display for IntentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => write!(f, "intent record: {error}"),
            Self::Unreadable(path) => write!(f, "intent record {} cannot be read", path.display()),
            Self::Remove(path, error) => write!(f, "intent record {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for IntentError {}

/// An intent as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The refresh token that was to be spent.
    pub spent: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// What the answer brought, if it was recorded, with the token that was spent for it.
    pub answer: Option<(Secret, Renewed)>,
}

/// The intent of one login.
#[derive(Debug)]
pub struct Intent {
    path: PathBuf,
}

impl Intent {
    /// Names the record of a login in `directory`, which must exist.
    #[must_use]
    pub fn of(directory: &Path, login: &LoginId) -> Self {
        Self { path: directory.join(format!("{login}.json")) }
    }

    /// What an earlier run left.
    ///
    /// # Errors
    /// `Unreadable` for a record that is there and makes no sense: it is never taken for none.
    pub fn find(&self) -> Result<Option<Found>, IntentError> {
        let unreadable = || IntentError::Unreadable(self.path.clone());
        let document = match atomic_file::observe(&self.path) {
            FileState::Absent { .. } => return Ok(None),
            FileState::Unreadable { .. } => return Err(unreadable()),
            FileState::Present(file) => file.document,
        };
        let value: Value = serde_json::from_slice(document.expose()).map_err(|_| unreadable())?;
        let found = parse(&value).ok_or_else(unreadable)?;
        if found.answer.is_none() {
            return Ok(Some(self.answer_in_temporary(&found).unwrap_or(found)));
        }
        Ok(Some(found))
    }

    /// The answer to `found` in a temporary file whose writer died before it took its place. One
    /// that is not whole is not JSON.
    fn answer_in_temporary(&self, found: &Found) -> Option<Found> {
        self.temporaries().into_iter().find_map(|path| {
            let FileState::Present(file) = atomic_file::observe(&path) else { return None };
            let value: Value = serde_json::from_slice(file.document.expose()).ok()?;
            parse(&value).filter(|other| other.spent == found.spent && other.answer.is_some())
        })
    }

    /// Temporary files of this record. Under the login's own lock they are a dead process's.
    fn temporaries(&self) -> Vec<PathBuf> {
        let name = self.path.file_name().unwrap_or_default();
        let entries = self.path.parent().and_then(|d| std::fs::read_dir(d).ok()).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| atomic_file::is_temp_of(path, name)).collect()
    }

    /// Records that `spent` is about to be sent.
    ///
    /// # Errors
    /// `Write`: nothing may be sent then.
    pub fn begin(&self, spent: &Fingerprint, now: Timestamp) -> Result<(), IntentError> {
        self.write(&json!({"format_version": 1, "spent": spent, "at": now}))
    }

    /// Records what the answer brought.
    ///
    /// # Errors
    /// `Write`: the caller still has the tokens and must store them at once.
    pub fn record(
        &self,
        fingerprint: &Fingerprint,
        spent: &Secret,
        renewed: &Renewed,
        at: Timestamp,
    ) -> Result<(), IntentError> {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        self.write(&json!({
            "format_version": 1,
            "spent": fingerprint,
            "at": at,
            "answer": {
                "spent": spent.expose(),
                "access": text(&renewed.access),
                "refresh": text(&renewed.refresh),
                "id_token": text(&renewed.id_token),
                "expires_at": renewed.expires_at,
                "login_deadline": renewed.login_deadline,
                "scopes": renewed.scopes,
                "granted_at": renewed.granted_at,
            },
        }))
    }

    /// Removes the record, and what a dead process left of it: the source holds what it held.
    /// Under the login's own lock only.
    ///
    /// # Errors
    /// `Remove`; a record that is left is resolved again by the next run, and found done.
    pub fn end(&self) -> Result<(), IntentError> {
        for path in self.temporaries() {
            // What cannot be removed now is found again.
            let _ = std::fs::remove_file(path);
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(IntentError::Remove(self.path.clone(), error))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, value: &Value) -> Result<(), IntentError> {
        let document = Document::new(format!("{value}\n").into_bytes());
        let state = atomic_file::observe(&self.path);
        let expected = state.expected().ok_or_else(|| IntentError::Unreadable(self.path.clone()))?;
        atomic_file::stage(&self.path, &document, expected, Policy::default())
            .and_then(atomic_file::Staged::commit)
            .and_then(|committed| atomic_file::sync_directories(&[committed]))
            .map_err(IntentError::Write)
    }
}

fn parse(value: &Value) -> Option<Found> {
    if value.get("format_version")?.as_u64()? != 1 {
        return None;
    }
    let spent = serde_json::from_value(value.get("spent")?.clone()).ok()?;
    let at = serde_json::from_value(value.get("at")?.clone()).ok()?;
    let answer = match value.get("answer") {
        None => None,
        Some(answer) => Some(parse_answer(answer)?),
    };
    Some(Found { spent, at, answer })
}

fn parse_answer(answer: &Value) -> Option<(Secret, Renewed)> {
    let secret = |name: &str| answer.get(name).and_then(Value::as_str).map(|s| Secret::new(s.to_owned()));
    let time = |name: &str| answer.get(name).and_then(Value::as_i64).map(Timestamp::from_millis);
    let scopes = answer.get("scopes").and_then(|s| serde_json::from_value(s.clone()).ok());
    let renewed = Renewed {
        access: secret("access"),
        refresh: secret("refresh"),
        id_token: secret("id_token"),
        expires_at: time("expires_at"),
        login_deadline: time("login_deadline"),
        scopes,
        granted_at: time("granted_at"),
    };
    Some((secret("spent")?, renewed))
}
