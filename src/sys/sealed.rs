//! Documents sealed for one other host: the age format (age-encryption.org/v1, X25519), whole, by its
//! library; nothing is composed here. The key of this host never leaves its file.

use std::fmt;
use std::io::{Read as _, Write as _};

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};
use zeroize::Zeroizing;

use crate::base::secret::Document;

/// The longest document that is opened, in bytes; sealed or not.
pub const MOST: usize = 1024 * 1024;

/// Why a document is not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// The text is not a recipient (`age1…`).
    NotARecipient,
    /// The file does not hold a key.
    NotAKey,
    /// The library refuses to seal.
    Seal,
    /// It is longer than anything we make.
    TooLong,
    /// It is no sealed document, or is cut or changed.
    Damaged,
    /// It was sealed for another key.
    OtherKey,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotARecipient => "not a recipient: `tokensink import --key` on the new host prints one",
            Self::NotAKey => "the key file does not hold a key",
            Self::Seal => "it could not be encrypted",
            Self::TooLong => "it is too long",
            Self::Damaged => "it is no bundle, or it is cut or changed",
            Self::OtherKey => "it was made for another key than this host's",
        })
    }
}

impl std::error::Error for SealError {}

/// A new key, as its file holds it.
#[must_use]
pub fn new_key() -> Document {
    Document::new(format!("{}\n", Identity::generate().to_string().expose_secret()).into_bytes())
}

/// What others seal documents for, of a key.
///
/// # Errors
/// `NotAKey`.
pub fn recipient_of(key: &Document) -> Result<String, SealError> {
    Ok(identity(key)?.to_public().to_string())
}

/// Seals a document so that only the holder of that recipient's key can open it.
///
/// # Errors
/// `NotARecipient`, `Seal`, `TooLong`.
pub fn seal(document: &Document, recipient: &str) -> Result<Document, SealError> {
    let recipient: Recipient = recipient.trim().parse().map_err(|_| SealError::NotARecipient)?;
    if document.len() > MOST / 2 {
        return Err(SealError::TooLong);
    }
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| SealError::Seal)?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|_| SealError::Seal)?;
    let written = writer.write_all(document.expose()).and_then(|()| writer.finish().map(drop));
    written.map_err(|_| SealError::Seal)?;
    Ok(Document::new(sealed))
}

/// Opens what was sealed for that key. Nothing is returned of a document that is not whole.
///
/// # Errors
/// `NotAKey`, `TooLong`, `Damaged`, `OtherKey`.
pub fn open(sealed: &Document, key: &Document) -> Result<Document, SealError> {
    let identity = identity(key)?;
    if sealed.len() > MOST {
        return Err(SealError::TooLong);
    }
    let decryptor = age::Decryptor::new_buffered(sealed.expose()).map_err(|_| SealError::Damaged)?;
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let mut reader = reader.map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => SealError::OtherKey,
        _ => SealError::Damaged,
    })?;
    // Never grown: a buffer that moves leaves tokens behind.
    let mut bytes = Zeroizing::new(vec![0; sealed.len()]);
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(_) => return Err(SealError::Damaged),
        }
    }
    Ok(Document::new(bytes.get(..filled).unwrap_or_default().to_vec()))
}

fn identity(key: &Document) -> Result<Identity, SealError> {
    let text = std::str::from_utf8(key.expose()).map_err(|_| SealError::NotAKey)?;
    text.trim().parse().map_err(|_| SealError::NotAKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_it_and_only_whole() {
        let (key, other) = (new_key(), new_key());
        let document = Document::new(b"made-up".to_vec());
        let sealed = seal(&document, &recipient_of(&key).unwrap()).unwrap();
        assert_eq!(open(&sealed, &key), Ok(document));
        assert_eq!(open(&sealed, &other), Err(SealError::OtherKey));
        for length in 0..sealed.len() {
            let torn = Document::new(sealed.expose()[..length].to_vec());
            assert!(open(&torn, &key).is_err(), "{length}");
        }
        for at in 0..sealed.len() {
            let mut bytes = sealed.expose().to_vec();
            bytes[at] ^= 1;
            assert!(open(&Document::new(bytes), &key).is_err(), "{at}");
        }
        assert_eq!(open(&Document::new(vec![b'x'; MOST + 1]), &key), Err(SealError::TooLong));
        assert_eq!(seal(&sealed, "age1nobody"), Err(SealError::NotARecipient));
        assert_eq!(recipient_of(&Document::new(b"x".to_vec())), Err(SealError::NotAKey));
    }
}
