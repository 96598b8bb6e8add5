//! A token that somebody was given once and nobody refreshes, alone in a file on one line: what
//! `claude setup-token` (Claude Code 2.1.329) prints, or a key. When it was issued and when it ends
//! is not in it. Never written.

use super::text_of;
use crate::base::credential::{Credential, Identity, SourceReading};
use crate::base::secret::Secret;

/// Reads the file. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    let text = match text_of(bytes) {
        Ok(text) => text.trim(),
        Err(error) => return SourceReading::Unparseable { reason: error.detail },
    };
    if text.is_empty() {
        return SourceReading::Partial { field: "token" };
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return SourceReading::Unparseable { reason: "not one token on one line".to_owned() };
    }
    SourceReading::Ok(Credential {
        access: Secret::new(text.to_owned()),
        refresh: None,
        expires_at: None,
        login_deadline: None,
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    })
}

/// Whether it is a token of `claude setup-token`.
#[must_use]
pub fn is_setup_token(token: &Secret) -> bool {
    token.expose().starts_with("sk-ant-oat01-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_a_login_that_nothing_is_known_to_end() {
        for text in ["sk-ant-oat01-made-up", "sk-ant-oat01-made-up\n", " sk-ant-oat01-made-up\r\n\n"] {
            let SourceReading::Ok(credential) = parse(text.as_bytes()) else { panic!("{text:?}") };
            assert_eq!(credential.access.expose(), "sk-ant-oat01-made-up");
            assert_eq!((credential.refresh, credential.expires_at), (None, None));
        }
    }

    #[test]
    fn anything_else_is_no_login() {
        for text in ["", "\n", " \t\r\n"] {
            assert_eq!(parse(text.as_bytes()), SourceReading::Partial { field: "token" });
        }
        for bytes in [&b"a b"[..], b"one\ntwo\n", b"{\n}", b"a\0b", b"\xff", b"\xef\xbb\xbfa"] {
            assert!(matches!(parse(bytes), SourceReading::Unparseable { .. }), "{bytes:?}");
        }
    }
}
