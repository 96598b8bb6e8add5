//! A token that somebody was given once and nobody refreshes. Either alone in a file on one line: what
//! `claude setup-token` (Claude Code 2.1.329) prints, or a key; when it was issued and when it ends is
//! not in it, and it is never written. Or in our own login store: `{ token, issued, deadline }`, the
//! times in milliseconds, written by `tokensink login`.

use serde_json::Value;

use super::json_doc::{Found, JsonDoc};
use super::{FormatError, FormatErrorKind, text_of};
use crate::base::credential::{Credential, Identity, NewLogin, SourceReading};
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;

/// Reads the file. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    if bytes.first() == Some(&b'{') {
        return stored(bytes).unwrap_or_else(|error| SourceReading::Unparseable { reason: error.detail });
    }
    alone(bytes)
}

/// Writes a new token over whatever is there. The token that is there already keeps its dates: a year
/// does not begin again because somebody pastes it again.
///
/// # Errors
/// When the document that is there is not one of this form, or the token has no end.
pub fn enter(existing: Option<&[u8]>, login: &NewLogin) -> Result<Document, FormatError> {
    if let Some(bytes) = existing
        && matches!(stored(bytes)?, SourceReading::Ok(held) if held.access == login.access)
    {
        return Ok(Document::new(bytes.to_vec()));
    }
    let nothing = || FormatError::new(FormatErrorKind::WouldEmpty, "the token has no deadline");
    let deadline = login.expires_at.ok_or_else(nothing)?;
    let mut doc = JsonDoc::empty();
    doc.set_secret(&["token"], &login.access)?;
    doc.set(&["issued"], &Value::from(login.granted_at.as_millis()))?;
    doc.set(&["deadline"], &Value::from(deadline.as_millis()))?;
    Ok(doc.into_document())
}

fn stored(bytes: &[u8]) -> Result<SourceReading, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    let Some(access) = doc.text(&["token"])?.filter(|token| is_one_word(token.expose())) else {
        return Ok(SourceReading::Partial { field: "token" });
    };
    let Found::Number(Some(deadline @ 1..)) = doc.find(&["deadline"])? else {
        return Ok(SourceReading::Partial { field: "deadline" });
    };
    let deadline = Some(Timestamp::from_millis(deadline));
    Ok(SourceReading::Ok(credential(access, deadline)))
}

fn credential(access: Secret, deadline: Option<Timestamp>) -> Credential {
    Credential {
        access,
        refresh: None,
        expires_at: deadline,
        login_deadline: deadline,
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

fn alone(bytes: &[u8]) -> SourceReading {
    let text = match text_of(bytes) {
        Ok(text) => text.trim(),
        Err(error) => return SourceReading::Unparseable { reason: error.detail },
    };
    if text.is_empty() {
        return SourceReading::Partial { field: "token" };
    }
    if !is_one_word(text) {
        return SourceReading::Unparseable { reason: "not one token on one line".to_owned() };
    }
    SourceReading::Ok(credential(Secret::new(text.to_owned()), None))
}

fn is_one_word(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether it is one of Anthropic's API keys, which nobody has to renew (Claude Code 2.1.329 takes either).
#[must_use]
pub fn is_api_key(token: &Secret) -> bool {
    token.expose().starts_with("sk-ant-api")
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
    fn a_stored_token_has_its_dates_and_keeps_them() {
        let login = |token: &str, issued: i64| NewLogin {
            access: Secret::new(token.into()),
            refresh: None,
            id_token: None,
            expires_at: Some(Timestamp::from_millis(issued + 1000)),
            scopes: Vec::new(),
            account: None,
            granted_at: Timestamp::from_millis(issued),
            document: None,
        };
        let first = enter(None, &login("sk-ant-oat01-a", 5000)).unwrap();
        let SourceReading::Ok(read) = parse(first.expose()) else { panic!("a login") };
        let deadline = Some(Timestamp::from_millis(6000));
        assert_eq!((read.access.expose(), read.refresh), ("sk-ant-oat01-a", None));
        assert_eq!((read.expires_at, read.login_deadline), (deadline, deadline));
        assert_eq!(enter(Some(first.expose()), &login("sk-ant-oat01-a", 9000)).unwrap(), first);
        let second = enter(Some(first.expose()), &login("sk-ant-oat01-b", 9000)).unwrap();
        let SourceReading::Ok(read) = parse(second.expose()) else { panic!("a login") };
        assert_eq!(read.login_deadline, Some(Timestamp::from_millis(10_000)));
        // A file of somebody's with a token alone is not made into another one.
        assert!(enter(Some(b"sk-ant-oat01-a\n"), &login("sk-ant-oat01-b", 1)).is_err());
        for (text, field) in [
            ("{}", "token"),
            (r#"{"token":" ","deadline":5}"#, "token"),
            (r#"{"token":"t"}"#, "deadline"),
            (r#"{"token":"t","deadline":"5"}"#, "deadline"),
            (r#"{"token":"t","deadline":-5}"#, "deadline"),
        ] {
            assert_eq!(parse(text.as_bytes()), SourceReading::Partial { field }, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_login() {
        for text in ["", "\n", " \t\r\n"] {
            assert_eq!(parse(text.as_bytes()), SourceReading::Partial { field: "token" });
        }
        for bytes in [&b"a b"[..], b"one\ntwo\n", b"{\n", b"a\0b", b"\xff", b"\xef\xbb\xbfa"] {
            assert!(matches!(parse(bytes), SourceReading::Unparseable { .. }), "{bytes:?}");
        }
    }
}
