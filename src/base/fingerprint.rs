//! Short irreversible identities of secrets, to compare and to show. Keyed: without the host's
//! own key a fingerprint can neither be recomputed from a guessed token nor compared across hosts.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::credential::Credential;
use super::secret::{Document, Secret};

/// The host's fingerprint key: 32 random bytes, kept in our state directory (0600).
#[derive(Clone)]
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// Length of the key in bytes.
    pub const LEN: usize = 32;

    /// Wraps key bytes that were read from the state directory, or just made.
    #[must_use]
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The fingerprint of one secret.
    #[must_use]
    pub fn fingerprint(&self, secret: &Secret) -> Fingerprint {
        self.of_parts(&[secret.expose().as_bytes()])
    }

    /// The generation of a credential: changes with every rotation of either token.
    #[must_use]
    pub fn generation(&self, credential: &Credential) -> Fingerprint {
        let refresh = credential.refresh.as_ref().map_or("", |r| r.expose());
        self.of_parts(&[credential.access.expose().as_bytes(), refresh.as_bytes()])
    }

    /// The fingerprint of a whole document.
    #[must_use]
    pub fn document(&self, document: &Document) -> Fingerprint {
        self.of_parts(&[document.expose()])
    }

    /// The fingerprint of a sequence of byte strings; where one part ends is part of the input.
    #[must_use]
    pub fn of_parts(&self, parts: &[&[u8]]) -> Fingerprint {
        // HMAC takes a key of any length: the error cannot occur, and has nothing to lose if it did.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            return Fingerprint(String::new());
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let digest = mac.finalize().into_bytes();
        Fingerprint(digest.iter().take(8).map(|b| format!("{b:02x}")).collect())
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// A fingerprint: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_key_and_on_where_parts_end() {
        let (one, two) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let token = Secret::new("t".into());
        assert_eq!(one.fingerprint(&token), one.fingerprint(&token));
        assert_ne!(one.fingerprint(&token), two.fingerprint(&token));
        assert_ne!(one.of_parts(&[b"ab", b"c"]), one.of_parts(&[b"a", b"bc"]));
        assert_eq!(one.fingerprint(&token).as_str().len(), 16);
    }
}
