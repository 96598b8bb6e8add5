//! Views of a login for its own CLI where that must not refresh: a container, another user. They hold
//! what the CLI needs to work and no refresh token, so that nothing in there can be spent. Written
//! whole.
//! Facts: Claude Code 2.1.329 (a login with a blank refresh token is used to its end and no request
//! is made for it); codex 0.169.0 (`chatgptAuthTokens` is used, never refreshed, and read again
//! after a 401).

use serde_json::Value;

use super::json_doc::JsonDoc;
use super::{Edit, FormatError, claude, codex};
use crate::base::credential::{Credential, Held, SourceReading};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;

/// Which CLI a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Claude Code's `.credentials.json`.
    Claude,
    /// Codex's `auth.json`.
    Codex,
}

/// The scope of a setup-token, which names none itself (Claude Code 2.1.329). Without a scope the
/// CLI says "Not logged in".
const LEAST_SCOPE: &str = "user:inference";

impl View {
    /// What a view holds; `None` for what is none.
    #[must_use]
    pub fn held(self, bytes: &[u8]) -> Option<Held> {
        let reading = match self {
            Self::Claude => claude::parse(bytes),
            Self::Codex => codex::parse(bytes),
        };
        let SourceReading::Ok(credential) = reading else { return None };
        let Credential { access, refresh, expires_at, account, .. } = credential;
        Some(Held { access: Some(access), refresh, expires_at, account })
    }

    /// The view of `credential`; whatever was there is replaced.
    ///
    /// # Errors
    /// `WouldEmpty` for a blank access token.
    pub fn edit(self, existing: Option<&[u8]>, credential: &Credential) -> Result<Edit, FormatError> {
        let document = match self {
            Self::Claude => claude_view(credential)?,
            Self::Codex => codex_view(credential)?,
        };
        Ok(Edit::between(existing, document.into_document()))
    }
}

fn claude_view(credential: &Credential) -> Result<JsonDoc, FormatError> {
    const LOGIN: &str = "claudeAiOauth";
    let mut doc = JsonDoc::parse(b"{\"claudeAiOauth\":{\"accessToken\":null}}\n")?;
    doc.set_secret(&[LOGIN, "accessToken"], &credential.access)?;
    doc.set(&[LOGIN, "refreshToken"], &Value::from(""))?;
    doc.set(&[LOGIN, "expiresAt"], &Value::from(credential.expires_at.map(Timestamp::as_millis)))?;
    let mut scopes = credential.scopes.clone();
    if scopes.is_empty() {
        scopes.push(LEAST_SCOPE.to_owned());
    }
    doc.set(&[LOGIN, "scopes"], &Value::from(scopes))?;
    let identity = &credential.identity;
    for (field, text) in [
        ("subscriptionType", &identity.subscription),
        ("rateLimitTier", &identity.rate_limit_tier),
        ("accountUuid", &credential.account),
    ] {
        if let Some(text) = text {
            doc.set(&[LOGIN, field], &Value::from(text.as_str()))?;
        }
    }
    Ok(doc)
}

/// All four keys of `tokens` must be there, and `last_refresh`: without any of them Codex sends no
/// token, or reads no file.
fn codex_view(credential: &Credential) -> Result<JsonDoc, FormatError> {
    let mut doc = JsonDoc::parse(
        b"{\"auth_mode\":\"chatgptAuthTokens\",\"OPENAI_API_KEY\":null,\"tokens\":{\"id_token\":null}}\n",
    )?;
    // Codex takes an access token for the id token, so long as it is a JWT.
    let id_token = credential.identity.id_token.as_ref().unwrap_or(&credential.access);
    let tokens: [(&str, &Secret); 2] = [("id_token", id_token), ("access_token", &credential.access)];
    for (field, token) in tokens {
        doc.set_secret(&["tokens", field], token)?;
    }
    doc.set(&["tokens", "refresh_token"], &Value::from(""))?;
    if let Some(account) = &credential.account {
        doc.set(&["tokens", "account_id"], &Value::from(account.as_str()))?;
    }
    // Of a lease nobody reads when it was granted, but it has to be a time.
    let granted_at = credential.identity.granted_at.unwrap_or_else(|| Timestamp::from_millis(0));
    doc.set(&["last_refresh"], &Value::from(codex::nanos(granted_at)))?;
    Ok(doc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::credential::Identity;

    fn credential() -> Credential {
        Credential {
            access: Secret::new("sk-ant-oat01-a".into()),
            refresh: Some(Secret::new("sk-ant-ort01-r".into())),
            expires_at: Some(Timestamp::from_millis(1_795_199_075_831)),
            login_deadline: Some(Timestamp::from_millis(1_797_000_000_000)),
            scopes: vec!["user:inference".into(), "user:profile".into()],
            account: Some("acct".into()),
            expiry_in_seconds: false,
            identity: Identity {
                id_token: Some(Secret::new("a.b.c".into())),
                granted_at: Some(Timestamp::from_millis(1_795_199_075_831)),
                subscription: Some("max".into()),
                rate_limit_tier: Some("tier".into()),
            },
        }
    }

    fn written(view: View, credential: &Credential) -> String {
        match view.edit(None, credential) {
            Ok(Edit::Changed(document)) => String::from_utf8(document.expose().to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_view_is_all_of_the_login_but_its_refresh_token() {
        assert_eq!(
            written(View::Claude, &credential()),
            "{\"claudeAiOauth\":{\"accessToken\":\"sk-ant-oat01-a\",\"refreshToken\":\"\",\"expiresAt\":1795199075831,\
             \"scopes\":[\"user:inference\",\"user:profile\"],\"subscriptionType\":\"max\",\"rateLimitTier\":\"tier\",\
             \"accountUuid\":\"acct\"}}\n"
        );
        assert_eq!(
            written(View::Codex, &credential()),
            "{\"auth_mode\":\"chatgptAuthTokens\",\"OPENAI_API_KEY\":null,\"tokens\":{\"id_token\":\"a.b.c\",\
             \"access_token\":\"sk-ant-oat01-a\",\"refresh_token\":\"\",\"account_id\":\"acct\"},\
             \"last_refresh\":\"2026-11-20T18:24:35.831000000Z\"}\n"
        );
    }

    #[test]
    fn a_view_reads_back_as_what_it_was_made_of_and_is_not_written_twice() {
        for view in [View::Claude, View::Codex] {
            let mut credential = credential();
            let text = written(view, &credential);
            let held = view.held(text.as_bytes()).unwrap();
            assert_eq!((held.access.as_ref(), held.refresh), (Some(&credential.access), None));
            assert_eq!(held.account, credential.account);
            assert_eq!(view.edit(Some(text.as_bytes()), &credential), Ok(Edit::Unchanged));
            credential.access = Secret::new("sk-ant-oat01-b".into());
            assert!(matches!(view.edit(Some(text.as_bytes()), &credential), Ok(Edit::Changed(_))));
            credential.access = Secret::new(" ".into());
            assert!(view.edit(None, &credential).is_err());
            assert_eq!(view.held(b"{\"torn"), None);
        }
    }

    #[test]
    fn a_token_that_nothing_is_known_of_makes_a_view_that_its_cli_reads() {
        let bare = Credential {
            refresh: None,
            expires_at: None,
            scopes: Vec::new(),
            account: None,
            identity: Identity::default(),
            ..credential()
        };
        assert_eq!(
            written(View::Claude, &bare),
            "{\"claudeAiOauth\":{\"accessToken\":\"sk-ant-oat01-a\",\"refreshToken\":\"\",\"expiresAt\":null,\
             \"scopes\":[\"user:inference\"]}}\n"
        );
        let lease = written(View::Codex, &bare);
        assert!(lease.contains("\"id_token\":\"sk-ant-oat01-a\"") && lease.contains("1970-01-01"), "{lease}");
    }
}
