//! OpenClaw's `credentials/oauth.json`: `{ "<provider>": { access, refresh, expires, scopes } }`.
//! Only our provider's known fields are touched; extra keys and other providers stay.
//! Facts: OpenClaw 2026.2.26 (a one-shot seed for an absent profile store, extra keys kept);
//! the mapping of the fields is that of the shell watchers this program replaces.

use serde_json::Value;

use super::json_doc::{Found, JsonDoc};
use super::{Edit, FormatError, FormatErrorKind};
use crate::base::credential::{Credential, Held};
use crate::base::time::Timestamp;

/// What the document holds for `provider`; `None` when it has no such entry.
///
/// # Errors
/// Whatever [`JsonDoc::parse`] refuses; `WrongType` for an entry that is not an object.
pub fn held(bytes: &[u8], provider: &str) -> Result<Option<Held>, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    match doc.find(&[provider])? {
        Found::Absent => Ok(None),
        Found::Object => Ok(Some(Held {
            access: doc.text(&[provider, "access"])?,
            refresh: doc.text(&[provider, "refresh"])?,
            expires_at: expiry(doc.integer(&[provider, "expires"])?),
            account: account(&mut doc, &[provider])?,
        })),
        _ => Err(FormatError::new(FormatErrorKind::WrongType, "the provider's entry is not an object")),
    }
}

/// Writes `credential` into the entry of `provider`. Without `with_refresh` a refresh token that
/// is there is removed; with it, a refresh token is only ever replaced by another one. An expiry
/// that the credential does not have is removed, so that an old one does not speak for it.
///
/// # Errors
/// `WouldEmpty` for a blank access token; else as [`held`], and `DuplicateKey`.
pub fn edit(
    existing: Option<&[u8]>,
    provider: &str,
    credential: &Credential,
    with_refresh: bool,
) -> Result<Edit, FormatError> {
    let mut doc = JsonDoc::open(existing)?;
    doc.set_secret(&[provider, "access"], &credential.access)?;
    if !with_refresh {
        doc.remove(&[provider, "refresh"])?;
    } else if let Some(refresh) = credential.refresh.as_ref().filter(|r| !r.is_blank()) {
        doc.set_secret(&[provider, "refresh"], refresh)?;
    }
    set_expiry(&mut doc, &[provider, "expires"], credential.expires_at)?;
    if !credential.scopes.is_empty() {
        let scopes = credential.scopes.iter().map(|s| Value::from(s.as_str())).collect();
        doc.set(&[provider, "scopes"], &Value::Array(scopes))?;
    }
    Ok(doc.into_edit(existing))
}

/// Removes the entry of `provider`; everything else stays.
///
/// # Errors
/// Whatever [`JsonDoc::parse`] refuses; `DuplicateKey`.
pub fn remove(bytes: &[u8], provider: &str) -> Result<Edit, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    doc.remove(&[provider])?;
    Ok(doc.into_edit(Some(bytes)))
}

/// A sink's expiry number as a time; zero and less mean that none is known.
pub(super) fn expiry(number: Option<i64>) -> Option<Timestamp> {
    number.filter(|n| *n > 0).map(|n| Timestamp::from_foreign(n).0)
}

/// Notes the expiry in milliseconds at `path`, or removes an old note when there is none.
pub(super) fn set_expiry(
    doc: &mut JsonDoc,
    path: &[&str],
    expires_at: Option<Timestamp>,
) -> Result<bool, FormatError> {
    match expires_at {
        Some(time) => doc.set(path, &Value::from(time.as_millis())),
        None => doc.remove(path),
    }
}

/// The account that an entry names, in either spelling seen.
pub(super) fn account(doc: &mut JsonDoc, entry: &[&str]) -> Result<Option<String>, FormatError> {
    for key in ["accountId", "accountUuid"] {
        let path: Vec<&str> = entry.iter().copied().chain([key]).collect();
        if let Some(account) = doc.text(&path)? {
            return Ok(Some(account.expose().to_owned()));
        }
    }
    Ok(None)
}
