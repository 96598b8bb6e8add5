//! Secrets as types: a token (`Secret`) and a document that contains tokens (`Document`).
//! Both are wiped on drop, have no `Display`, and say nothing in `Debug`. The two `expose`
//! functions are the only doors; `tests/architecture.rs` lists the files that may open them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// One secret text: an access token, a refresh token, a setup token.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes over `text`; its buffer is wiped when the secret is dropped.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The secret itself. Callers hand it to a file, a request or a child that must have it,
    /// and to nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// True for a text that is empty or only white space: a logged-out CLI leaves such tokens.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.expose().trim().is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The bytes of a file that holds, or may hold, tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Document(Zeroizing<Vec<u8>>);

impl Document {
    /// Takes over `bytes`; the buffer is wiped when the document is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, for parsing and for the one file writer.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for a document of zero bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret_or_a_document() {
        let secret = Secret::new("canary-token".into());
        let document = Document::new(b"canary-token".to_vec());
        let shown = format!("{secret:?} {document:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn white_space_is_a_blank_token() {
        assert!(Secret::new(" \n".into()).is_blank());
        assert!(!Secret::new("x".into()).is_blank());
    }
}
