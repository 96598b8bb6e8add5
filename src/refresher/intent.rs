//! The write-ahead record of a refresh, 0600: `intents/<login>.json` in our state directory says
//! which token is being spent, by fingerprint, and `<login>.answer` beside it what the answer
//! brought, whole: from then on the new tokens survive a crash.
//!
//! The room for the answer is taken before the request, so that a disk that fills up meanwhile does
//! not cost the login; where the disk fails, the runtime directory (memory) takes it.

use std::fmt;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::credential::Renewed;
use crate::base::fingerprint::Fingerprint;
use crate::base::id::LoginId;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::sys::atomic_file::{self, Expected, FileState, Policy, Reserve, WriteError};
use crate::sys::lock::LockMark;

/// Room for an answer, in bytes: access and id tokens of OpenID providers are a few KiB each.
const ROOM: usize = 64 * 1024;

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
    /// The CLI's locks that were held for it, and are still there when their holder was killed.
    pub locks: Vec<LockMark>,
    /// What the answer brought, if it was recorded, with the token that was spent for it.
    pub answer: Option<(Secret, Renewed)>,
    /// An answer that is there and cannot be read, just now or for good.
    pub unread: Option<PathBuf>,
}

/// Where intents are kept.
#[derive(Debug, Clone)]
pub struct Intents {
    /// In our state directory.
    pub directory: PathBuf,
    /// In memory: where an answer goes that no disk takes.
    pub spare: Option<PathBuf>,
}

/// The intent of one login.
#[derive(Debug)]
pub struct Intent {
    /// What is being spent.
    path: PathBuf,
    /// What the answer brought; its room is taken before the request.
    answer: PathBuf,
    /// The same, where the disk failed.
    spare: Option<PathBuf>,
}

/// An intent on record, with room for its answer.
#[derive(Debug)]
pub struct Begun<'a> {
    intent: &'a Intent,
    reserve: Reserve,
    spent: Fingerprint,
}

impl Intents {
    /// The record of a login.
    #[must_use]
    pub fn of(&self, login: &LoginId) -> Intent {
        let answer = format!("{login}.answer");
        Intent {
            path: self.directory.join(format!("{login}.json")),
            spare: self.spare.as_ref().map(|spare| spare.join(&answer)),
            answer: self.directory.join(answer),
        }
    }
}

impl Intent {
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
        let begun = read(document.expose()).ok_or_else(unreadable)?;
        let mut unread = None;
        for path in [Some(&self.answer), self.spare.as_ref()].into_iter().flatten() {
            match answer_in(path, &begun.spent) {
                Ok(Some(found)) => return Ok(Some(Found { locks: begun.locks, ..found })),
                Ok(None) => {}
                Err(NotRead) => unread = Some(path.clone()),
            }
        }
        Ok(Some(Found { unread, ..begun }))
    }

    /// Records that `spent` is about to be sent under these locks, and takes the room for the
    /// answer.
    ///
    /// # Errors
    /// `Write`: nothing may be sent then.
    pub fn begin(
        &self,
        spent: &Fingerprint,
        locks: &[LockMark],
        now: Timestamp,
    ) -> Result<Begun<'_>, IntentError> {
        let reserve = Reserve::take(&self.answer, ROOM).map_err(IntentError::Write)?;
        let record = json!({"format_version": 1, "spent": spent, "at": now, "locks": locks});
        write(&self.path, &document(&record)).map_err(IntentError::Write)?;
        Ok(Begun { intent: self, reserve, spent: spent.clone() })
    }

    /// Removes the record: the source holds what it held. Under the login's own lock only.
    ///
    /// # Errors
    /// `Remove`; a record that is left is resolved again by the next run, and found done.
    pub fn end(&self) -> Result<(), IntentError> {
        // The answer goes first, while what it answers is still on record: nobody takes an old
        // answer for a new one.
        for path in [self.spare.as_ref(), Some(&self.answer), Some(&self.path)].into_iter().flatten() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(IntentError::Remove(path.clone(), error));
                }
                _ => {}
            }
        }
        let name = self.path.file_name().unwrap_or_default();
        let entries = self.path.parent().and_then(|d| std::fs::read_dir(d).ok()).into_iter().flatten();
        for path in entries.flatten().map(|entry| entry.path()) {
            // A dead process's; what cannot be removed now is found again.
            if atomic_file::is_temp_of(&path, name) {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }
}

impl Begun<'_> {
    /// Records what the answer brought: in its room, else in memory.
    ///
    /// # Errors
    /// `Write`: the caller has the only copy of the tokens and must store them at once.
    pub fn record(&self, spent: &Secret, renewed: &Renewed, at: Timestamp) -> Result<(), IntentError> {
        let record = answered(&self.spent, spent, renewed, at);
        let Err(error) = self.reserve.fill(&record) else { return Ok(()) };
        let Some(spare) = &self.intent.spare else { return Err(IntentError::Write(error)) };
        if let Some(directory) = spare.parent() {
            // Whether it is there shows in the next step.
            let _ = std::fs::DirBuilder::new().mode(0o700).create(directory);
        }
        write(spare, &record).map_err(|_| IntentError::Write(error))
    }
}

/// A file is there, and its content is not to be had.
struct NotRead;

/// The answer that a file holds to the spending of `spent`. What is blank, torn or about another
/// token is none; what cannot be read may be one.
fn answer_in(path: &Path, spent: &Fingerprint) -> Result<Option<Found>, NotRead> {
    let file = match atomic_file::observe(path) {
        FileState::Present(file) => file,
        FileState::Absent { .. } => return Ok(None),
        FileState::Unreadable { .. } => return Err(NotRead),
    };
    let found = read(file.document.expose());
    Ok(found.filter(|found| &found.spent == spent && found.answer.is_some()))
}

fn document(record: &Value) -> Document {
    Document::new(format!("{record}\n").into_bytes())
}

fn write(path: &Path, document: &Document) -> Result<(), WriteError> {
    let state = atomic_file::observe(path);
    // What cannot be read is replaced by nobody: the caller looked before.
    let expected = state.expected().unwrap_or(Expected::Absent);
    atomic_file::replace(path, document, expected, Policy::default())
}

/// The record of an answer: what was spent, as fingerprint and as it is, and what that brought.
#[must_use]
pub fn answered(fingerprint: &Fingerprint, spent: &Secret, renewed: &Renewed, at: Timestamp) -> Document {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
    document(&json!({
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

/// Reads a record, with or without an answer; `None` for one that makes no sense.
#[must_use]
pub fn read(record: &[u8]) -> Option<Found> {
    let value: Value = serde_json::from_slice(record).ok()?;
    if value.get("format_version")?.as_u64()? != 1 {
        return None;
    }
    let spent = serde_json::from_value(value.get("spent")?.clone()).ok()?;
    let at = serde_json::from_value(value.get("at")?.clone()).ok()?;
    let answer = match value.get("answer") {
        None => None,
        Some(answer) => Some(parse_answer(answer)?),
    };
    let locks = value.get("locks").and_then(|locks| serde_json::from_value(locks.clone()).ok());
    Some(Found { spent, at, locks: locks.unwrap_or_default(), answer, unread: None })
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
