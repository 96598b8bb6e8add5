//! Copilot CLI's `config.json`, of which only the token of the user who logged in last is read; never
//! written. The file begins with comments. Facts: GitHub Copilot CLI 1.0.102: `authTokens` by
//! `HOST:LOGIN:github`, before that `copilotTokens` by `HOST:LOGIN`.

use jsonc_parser::{JsonObject, JsonValue, ParseOptions, parse_to_value};

use super::text_of;
use crate::base::credential::{Credential, Identity, SourceReading};
use crate::base::secret::Secret;

/// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    let unparseable = |reason: &str| SourceReading::Unparseable { reason: reason.to_owned() };
    let text = match text_of(bytes) {
        Ok(text) => text,
        Err(error) => return SourceReading::Unparseable { reason: error.detail },
    };
    match parse_to_value(text, &ParseOptions::default()) {
        Ok(Some(JsonValue::Object(root))) => login(&root),
        Ok(None) => unparseable("the file is empty"),
        Ok(Some(_)) => unparseable("the document is not an object"),
        Err(_) => unparseable("not JSON, with or without comments"),
    }
}

fn login(root: &JsonObject<'_>) -> SourceReading {
    let Some(user) = root.get_object("lastLoggedInUser") else {
        return SourceReading::Husk { login_ended: None };
    };
    // Comments are not all that this parser allows: a line may end inside a text.
    let is_line = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let text = |key| user.get_string(key).map(|text| text.trim().to_owned()).filter(|text| is_line(text));
    let (Some(host), Some(login)) = (text("host"), text("login")) else {
        return SourceReading::Partial { field: "lastLoggedInUser" };
    };
    let token = |table: &str, key: String| {
        let entry = root.get_object(table)?.get(&key)?;
        match entry {
            JsonValue::Object(entry) => entry.get_string("token").map(ToString::to_string),
            JsonValue::String(text) => Some(text.to_string()),
            _ => None,
        }
    };
    let access = token("authTokens", format!("{host}:{login}:github"))
        .or_else(|| token("copilotTokens", format!("{host}:{login}")))
        .filter(|token| !token.trim().is_empty());
    let Some(access) = access else { return SourceReading::Husk { login_ended: None } };
    if !is_line(access.trim()) {
        return SourceReading::Partial { field: "authTokens" };
    }
    SourceReading::Ok(Credential {
        access: Secret::new(access),
        refresh: None,
        expires_at: None,
        login_deadline: None,
        scopes: Vec::new(),
        account: Some(format!("{host}:{login}")),
        expiry_in_seconds: false,
        identity: Identity::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tables: &str) -> SourceReading {
        parse(
            format!(
                "// Written by the CLI.\n{{\"lastLoggedInUser\":{{\"host\":\"https://github.com\",\"login\":\"ann\"}},{tables}}}"
            )
            .as_bytes(),
        )
    }

    #[test]
    fn the_token_of_the_last_user_is_read_in_its_new_or_old_place() {
        for tables in [
            r#""authTokens":{"https://github.com:bob:github":{"token":"b"},"https://github.com:ann:github":{"token":"a"}}"#,
            r#""copilotTokens":{"https://github.com:ann":"a"}"#,
        ] {
            let SourceReading::Ok(read) = of(tables) else { panic!("{tables}") };
            assert_eq!((read.access, read.refresh, read.expires_at), (Secret::new("a".into()), None, None));
            assert_eq!(read.account.as_deref(), Some("https://github.com:ann"));
        }
    }

    #[test]
    fn a_file_without_a_token_is_a_husk_and_a_torn_one_is_said_to_be() {
        assert_eq!(parse(b"{}"), SourceReading::Husk { login_ended: None });
        assert_eq!(of("\"authTokens\":{}"), SourceReading::Husk { login_ended: None });
        for torn in [&b"{\"lastLoggedInUser\":"[..], b"", b"// only this", b"[]", b"\xff"] {
            assert!(matches!(parse(torn), SourceReading::Unparseable { .. }), "{torn:?}");
        }
        let partial = parse(br#"{"lastLoggedInUser":{"host":"x"}}"#);
        assert_eq!(partial, SourceReading::Partial { field: "lastLoggedInUser" });
        let two_lines = of("\"copilotTokens\":{\"https://github.com:ann\":\"a\nb\"}");
        assert_eq!(two_lines, SourceReading::Partial { field: "authTokens" });
    }
}
