//! The file of ours that an OpenClaw's configuration refers to: `{"anthropic":{"accessToken":"…"}}`
//! and a newline. Written whole; holds the access token alone, not even its expiry, and is never
//! written with an empty one: OpenClaw 2026.9.6 does not start with a reference to an empty text.

use super::json_doc::JsonDoc;
use super::{Edit, FormatError};
use crate::base::credential::{Credential, Held};

/// The key of the token.
const TOKEN: &str = "accessToken";

/// Where the token of `provider` is in the file, as a JSON pointer (RFC 6901).
#[must_use]
pub fn pointer(provider: &str) -> String {
    format!("/{provider}/{TOKEN}")
}

/// What the file holds.
///
/// # Errors
/// Whatever [`JsonDoc::parse`] refuses.
pub fn held(bytes: &[u8], provider: &str) -> Result<Held, FormatError> {
    let access = JsonDoc::parse(bytes)?.text(&[provider, TOKEN])?;
    Ok(Held { access, ..Held::default() })
}

/// The file for `credential`; whatever was there is replaced.
///
/// # Errors
/// `WouldEmpty` for a blank access token.
pub fn edit(existing: Option<&[u8]>, provider: &str, credential: &Credential) -> Result<Edit, FormatError> {
    let empty = serde_json::json!({ provider: { TOKEN: null } });
    let mut doc = JsonDoc::parse(format!("{empty}\n").as_bytes())?;
    doc.set_secret(&[provider, TOKEN], &credential.access)?;
    Ok(Edit::between(existing, doc.into_document()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::credential::Identity;
    use crate::base::secret::Secret;

    fn credential(access: &str) -> Credential {
        Credential {
            access: Secret::new(access.into()),
            refresh: Some(Secret::new("sk-ant-ort01-made-up".into())),
            expires_at: None,
            login_deadline: None,
            scopes: Vec::new(),
            account: None,
            expiry_in_seconds: false,
            identity: Identity::default(),
        }
    }

    #[test]
    fn the_mirror_holds_the_access_token_alone_and_is_replaced_whole() {
        let Edit::Changed(new) = edit(Some(b"torn"), "anthropic", &credential("a token")).unwrap() else {
            panic!("it changes")
        };
        assert_eq!(new.expose(), b"{\"anthropic\":{\"accessToken\":\"a token\"}}\n");
        assert_eq!(held(new.expose(), "anthropic").unwrap().access, Some(Secret::new("a token".into())));
        let again = edit(Some(new.expose()), "anthropic", &credential("a token")).unwrap();
        assert!(matches!(again, Edit::Unchanged));
    }

    #[test]
    fn a_blank_token_is_never_written() {
        assert!(edit(None, "anthropic", &credential(" ")).is_err());
    }
}
