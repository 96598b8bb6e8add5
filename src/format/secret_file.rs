//! Our own secret file: `{"access_token":"…","expires_at":<ms>}` and a newline, for consumers
//! that read a reference instead of a copy. Written whole; never holds a refresh token.

use super::json_doc::JsonDoc;
use super::oauth_json::{expiry, set_expiry};
use super::{Edit, FormatError};
use crate::base::credential::{Credential, Held};

/// What the file holds.
///
/// # Errors
/// Whatever [`JsonDoc::parse`] refuses.
pub fn held(bytes: &[u8]) -> Result<Held, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    let access = doc.text(&["access_token"])?;
    let expires_at = expiry(doc.integer(&["expires_at"])?);
    Ok(Held { access, refresh: None, expires_at, account: None })
}

/// The file for `credential`; whatever was there is replaced. Without an expiry the key is absent.
///
/// # Errors
/// `WouldEmpty` for a blank access token.
pub fn edit(existing: Option<&[u8]>, credential: &Credential) -> Result<Edit, FormatError> {
    // The layout is taken from the first member: a document on one line.
    let mut doc = JsonDoc::parse(b"{\"access_token\":null}\n")?;
    doc.set_secret(&["access_token"], &credential.access)?;
    set_expiry(&mut doc, &["expires_at"], credential.expires_at)?;
    Ok(Edit::between(existing, doc.into_document()))
}
