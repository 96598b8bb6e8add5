//! Claude Code's `.credentials.json`: read, and patched after a refresh of our own. Only the token
//! fields are touched; unknown keys inside the login are dropped by the CLI, so nothing of ours is
//! ever kept there.
//! Facts: Claude Code 2.1.329 (schema and failure shapes observed on the running CLI); older
//! versions write in place, so an empty or torn file is an everyday sight.

use super::json_doc::{Found, JsonDoc};
use super::layout::Store;
use super::{FormatError, FormatErrorKind, bounded};
use serde_json::Value;

use crate::base::credential::{Credential, Identity, Renewed, SourceReading};
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;

const LOGIN: &str = "claudeAiOauth";

/// The last millisecond of the year 9999: a later expiry is not a time that anybody meant.
const LAST_SANE_MS: i64 = 253_402_300_799_999;

/// Why a login object is not usable.
enum Refusal {
    Partial(&'static str),
    Format(FormatError),
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    let reading = JsonDoc::parse(bytes).map_err(Refusal::Format).and_then(|mut doc| login(&mut doc));
    match reading {
        Ok(reading) => reading,
        Err(Refusal::Partial(field)) => SourceReading::Partial { field },
        Err(Refusal::Format(error)) => SourceReading::Unparseable { reason: error.detail },
    }
}

fn login(doc: &mut JsonDoc) -> Result<SourceReading, Refusal> {
    match doc.find(&[LOGIN])? {
        // The file exists for the sake of other logins (`mcpOAuth`).
        Found::Absent | Found::Null => return Ok(SourceReading::Husk { login_ended: None }),
        Found::Object => {}
        _ => return Err(Refusal::Partial(LOGIN)),
    }
    let access = text(doc, "accessToken")?;
    let refresh = text(doc, "refreshToken")?;
    let access = match (access, &refresh) {
        (Some(access), _) => access,
        (None, Some(_)) => return Err(Refusal::Partial("accessToken")),
        (None, None) => {
            let ended = doc.text(&[LOGIN, "loginEnded"])?;
            return Ok(SourceReading::Husk { login_ended: ended.map(|e| bounded(e.expose())) });
        }
    };
    let (expires_at, expiry_in_seconds) = match doc.find(&[LOGIN, "expiresAt"])? {
        Found::Absent | Found::Null => (None, false),
        // Neither milliseconds nor seconds of any login: before 2001 in seconds.
        Found::Number(Some(number)) if number >= 1_000_000_000 => time(number, "expiresAt")?,
        _ => return Err(Refusal::Partial("expiresAt")),
    };
    // Without scopes the CLI itself says "Not logged in".
    let scopes = doc.strings(&[LOGIN, "scopes"])?.filter(|scopes| !scopes.is_empty());
    let scopes = scopes.ok_or(Refusal::Partial("scopes"))?;
    let (login_deadline, _) = match doc.find(&[LOGIN, "refreshTokenExpiresAt"])? {
        Found::Absent | Found::Null | Found::Number(Some(0)) => (None, false),
        Found::Number(Some(number)) if number > 0 => time(number, "refreshTokenExpiresAt")?,
        _ => return Err(Refusal::Partial("refreshTokenExpiresAt")),
    };
    let account = text(doc, "accountUuid")?.map(|account| account.expose().to_owned());
    Ok(SourceReading::Ok(Credential {
        access,
        refresh,
        expires_at,
        login_deadline,
        scopes,
        account,
        expiry_in_seconds,
        identity: Identity {
            subscription: word(doc, "subscriptionType")?,
            rate_limit_tier: word(doc, "rateLimitTier")?,
            ..Identity::default()
        },
    }))
}

/// The OAuth client that the login was made with, where the CLI noted one.
#[must_use]
pub fn client_id(bytes: &[u8]) -> Option<String> {
    let mut doc = JsonDoc::parse(bytes).ok()?;
    doc.text(&[LOGIN, "clientId"]).ok()?.map(|id| id.expose().to_owned())
}

/// Stores `renewed` over the login whose refresh token `spent` was traded for it.
///
/// # Errors
/// When the document cannot be parsed, or the new access token is blank.
pub fn store(bytes: &[u8], spent: &Secret, renewed: &Renewed) -> Result<Store, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    let held = doc.text(&[LOGIN, "refreshToken"])?;
    if held.is_some_and(|held| &held != spent) {
        return Ok(Store::Superseded);
    }
    for (field, secret) in [("accessToken", &renewed.access), ("refreshToken", &renewed.refresh)] {
        if let Some(secret) = secret {
            doc.set_secret(&[LOGIN, field], secret)?;
        }
    }
    if let Some(expires_at) = renewed.expires_at {
        doc.set(&[LOGIN, "expiresAt"], &Value::from(expires_at.as_millis()))?;
    }
    // A refresh without `user:inference` in its answer would log the CLI out: the old scopes stay.
    if let Some(scopes) = renewed.scopes.as_ref().filter(|s| s.iter().any(|scope| scope == "user:inference"))
    {
        doc.set(&[LOGIN, "scopes"], &Value::from(scopes.clone()))?;
    }
    // The deadline can shrink and never grow, and a refresh never adds one (2.1.329).
    if let (Some(known), Some(new)) =
        (doc.integer(&[LOGIN, "refreshTokenExpiresAt"])?, renewed.login_deadline)
        && new.as_millis() < known
    {
        doc.set(&[LOGIN, "refreshTokenExpiresAt"], &Value::from(new.as_millis()))?;
    }
    Ok(Store::Patched(doc.into_document()))
}

/// Writes the login of `made`, a document of the CLI's own, over whatever `existing` holds: the whole
/// login of old goes (why it ended, too), all beside it stays.
///
/// # Errors
/// When one of them cannot be parsed, or `made` holds no login.
pub fn enter(existing: Option<&[u8]>, made: &[u8]) -> Result<Document, FormatError> {
    let mut made = JsonDoc::parse(made)?;
    let keys = made.keys(&[LOGIN])?.filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| FormatError::new(FormatErrorKind::WouldEmpty, "there is no login"))?;
    let mut doc = JsonDoc::open(existing)?;
    doc.remove(&[LOGIN])?;
    for key in keys {
        let path = [LOGIN, key.as_str()];
        let value = match made.find(&path)? {
            Found::Text(text) if !text.is_blank() => {
                doc.set_secret(&path, &text)?;
                continue;
            }
            Found::Text(_) => Value::from(""),
            Found::Number(Some(number)) => Value::from(number),
            Found::Bool(yes) => Value::from(yes),
            Found::Null => Value::Null,
            Found::Array => Value::from(made.strings(&path)?.unwrap_or_default()),
            // None is known (2.1.329), and none holds what the CLI would not ask for again.
            Found::Absent | Found::Object | Found::Number(None) => continue,
        };
        doc.set(&path, &value)?;
    }
    Ok(doc.into_document())
}

/// The account in `.claude.json`, which lies beside the login.
#[must_use]
pub fn account_beside(bytes: &[u8]) -> Option<String> {
    let mut doc = JsonDoc::parse(bytes).ok()?;
    doc.text(&["oauthAccount", "accountUuid"]).ok()?.map(|account| account.expose().to_owned())
}

/// Blanks the refresh token, if it is that one: what a view of the login has in its place.
///
/// # Errors
/// When the document cannot be parsed.
pub fn disarm(bytes: &[u8], refresh: &Secret) -> Result<Store, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    if doc.text(&[LOGIN, "refreshToken"])?.as_ref() != Some(refresh) {
        return Ok(Store::Superseded);
    }
    doc.set(&[LOGIN, "refreshToken"], &Value::from(""))?;
    // The deadline of the refresh token, which is not here any more.
    doc.remove(&[LOGIN, "refreshTokenExpiresAt"])?;
    Ok(Store::Patched(doc.into_document()))
}

/// A text that may be absent, null or blank (all `None`), and nothing else.
fn text(doc: &mut JsonDoc, field: &'static str) -> Result<Option<Secret>, Refusal> {
    match doc.find(&[LOGIN, field])? {
        Found::Absent | Found::Null => Ok(None),
        // A token or an id with a line end in it is neither.
        Found::Text(text) if text.expose().trim().contains(|c: char| c.is_control()) => {
            Err(Refusal::Partial(field))
        }
        Found::Text(text) => Ok(Some(text).filter(|t| !t.is_blank())),
        _ => Err(Refusal::Partial(field)),
    }
}

/// A short text that only a view of the login repeats: whatever else is there does not spoil a login.
fn word(doc: &mut JsonDoc, field: &'static str) -> Result<Option<String>, FormatError> {
    match doc.find(&[LOGIN, field])? {
        Found::Text(text) => Ok(Some(bounded(text.expose())).filter(|text| !text.is_empty())),
        _ => Ok(None),
    }
}

fn time(number: i64, field: &'static str) -> Result<(Option<Timestamp>, bool), Refusal> {
    let (time, seconds) = Timestamp::from_foreign(number);
    if time.as_millis() > LAST_SANE_MS { Err(Refusal::Partial(field)) } else { Ok((Some(time), seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &str = r#""accessToken":"sk-ant-oat01-a""#;
    const SCOPES: &str = r#""scopes":["user:inference","user:profile"]"#;

    fn of(members: &[&str]) -> SourceReading {
        parse(format!("{{\"claudeAiOauth\":{{{}}}}}", members.join(",")).as_bytes())
    }

    fn login(members: &[&str]) -> Credential {
        match of(members) {
            SourceReading::Ok(credential) => credential,
            other => panic!("{other:?}"),
        }
    }

    fn partial(field: &'static str) -> SourceReading {
        SourceReading::Partial { field }
    }

    #[test]
    fn what_only_a_view_repeats_is_read_as_well() {
        let read = login(&[ACCESS, SCOPES, r#""subscriptionType":"max","rateLimitTier":"tier-4""#]);
        let Identity { subscription, rate_limit_tier, .. } = read.identity;
        assert_eq!((subscription.as_deref(), rate_limit_tier.as_deref()), (Some("max"), Some("tier-4")));
    }

    #[test]
    fn a_whole_login_is_read() {
        let read = login(&[
            ACCESS,
            r#""refreshToken":"sk-ant-ort01-r""#,
            r#""expiresAt":1795199075831"#,
            r#""refreshTokenExpiresAt":1797000000000"#,
            SCOPES,
            r#""accountUuid":"acct""#,
            r#""subscriptionType":null"#,
        ]);
        assert_eq!(
            read,
            Credential {
                access: Secret::new("sk-ant-oat01-a".into()),
                refresh: Some(Secret::new("sk-ant-ort01-r".into())),
                expires_at: Some(Timestamp::from_millis(1_795_199_075_831)),
                login_deadline: Some(Timestamp::from_millis(1_797_000_000_000)),
                scopes: vec!["user:inference".into(), "user:profile".into()],
                account: Some("acct".into()),
                expiry_in_seconds: false,
                identity: Identity::default(),
            }
        );
    }

    #[test]
    fn a_blank_refresh_token_is_a_login_that_cannot_be_refreshed() {
        for refresh in [r#""refreshToken":"""#, r#""refreshToken":null"#, r#""refreshToken":" ""#, r#""x":1"#]
        {
            assert_eq!(login(&[ACCESS, refresh, SCOPES]).refresh, None);
        }
    }

    #[test]
    fn blank_tokens_are_a_husk_with_the_clis_own_reason() {
        let husk = |ended: Option<&str>| SourceReading::Husk { login_ended: ended.map(str::to_owned) };
        let wiped = [r#""accessToken":"""#, r#""refreshToken":"""#, r#""expiresAt":0"#, SCOPES];
        assert_eq!(of(&wiped), husk(None));
        assert_eq!(of(&[&wiped[..], &[r#""loginEnded":"time_limit""#]].concat()), husk(Some("time_limit")));
        assert_eq!(of(&[]), husk(None));
        assert_eq!(parse(br#"{"mcpOAuth":{"s":{"accessToken":"m"}}}"#), husk(None));
        assert_eq!(parse(br#"{"claudeAiOauth":null}"#), husk(None));
        assert_eq!(parse(b"{}"), husk(None));
    }

    #[test]
    fn a_reason_of_the_cli_is_bounded_and_one_line() {
        let long = format!("\"loginEnded\":\"a\\nb{}\"", "x".repeat(500));
        let SourceReading::Husk { login_ended: Some(reason) } = of(&[&long]) else { panic!("a husk") };
        assert!(reason.len() == 64 && reason.starts_with("a b"), "{reason}");
    }

    #[test]
    fn missing_and_wrong_parts_are_named() {
        assert_eq!(of(&[r#""refreshToken":"r""#, SCOPES]), partial("accessToken"));
        assert_eq!(of(&[r#""accessToken":5"#, SCOPES]), partial("accessToken"));
        assert_eq!(of(&[ACCESS, r#""refreshToken":["r"]"#, SCOPES]), partial("refreshToken"));
        assert_eq!(of(&[ACCESS]), partial("scopes"));
        for scopes in
            [r#""scopes":"user:inference""#, r#""scopes":[1]"#, r#""scopes":[]"#, r#""scopes":null"#]
        {
            assert_eq!(of(&[ACCESS, scopes]), partial("scopes"));
        }
        assert_eq!(of(&[ACCESS, SCOPES, r#""accountUuid":7"#]), partial("accountUuid"));
        assert_eq!(parse(br#"{"claudeAiOauth":"x"}"#), partial("claudeAiOauth"));
    }

    #[test]
    fn an_expiry_is_milliseconds_in_any_spelling_or_seconds_with_a_note() {
        let read = |number: &str| login(&[ACCESS, SCOPES, &format!("\"expiresAt\":{number}")]);
        for number in ["1795000000000", "1.795e12", "1795000000000.0"] {
            let read = read(number);
            assert_eq!(read.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)), "{number}");
            assert!(!read.expiry_in_seconds);
        }
        let seconds = read("1795000000");
        assert_eq!(seconds.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
        assert!(seconds.expiry_in_seconds);
        assert_eq!(read("null").expires_at, None);
        assert_eq!(login(&[ACCESS, SCOPES]).expires_at, None);
    }

    #[test]
    fn an_absurd_expiry_is_not_believed() {
        for number in ["0", "-1", "253402300800000", "1e300", "1.5", "\"2026-11-20\"", "true", "{}"] {
            let text = format!("\"expiresAt\":{number}");
            assert_eq!(of(&[ACCESS, SCOPES, &text]), partial("expiresAt"), "{number}");
        }
        let deadline = |number: &str| of(&[ACCESS, SCOPES, &format!("\"refreshTokenExpiresAt\":{number}")]);
        assert_eq!(deadline("-5"), partial("refreshTokenExpiresAt"));
        assert_eq!(deadline("\"x\""), partial("refreshTokenExpiresAt"));
        assert!(matches!(deadline("0"), SourceReading::Ok(Credential { login_deadline: None, .. })));
    }

    #[test]
    fn a_login_that_the_cli_made_takes_the_place_of_the_old_one_alone() {
        let old = concat!(
            r#"{"mcpOAuth": {"s": {"accessToken": "m", "n": 1.50}}, "claudeAiOauth": {"accessToken": "","#,
            r#" "refreshToken": "", "expiresAt": 0, "loginEnded": "time_limit", "unknown": 1}, "x": [1]}"#
        );
        let made = concat!(
            r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-n","refreshToken":"sk-ant-ort01-n","#,
            r#""expiresAt":1795199075831,"scopes":["user:inference"],"subscriptionType":null,"rateLimitTier":"","accountUuid":"a"}}"#
        );
        let entered = enter(Some(old.as_bytes()), made.as_bytes()).unwrap();
        let text = std::str::from_utf8(entered.expose()).unwrap();
        assert!(text.contains(r#""mcpOAuth": {"s": {"accessToken": "m", "n": 1.50}}"#), "{text}");
        assert!(text.contains(r#""x": [1]"#) && !text.contains("loginEnded"), "{text}");
        for bytes in [entered.expose(), enter(None, made.as_bytes()).unwrap().expose()] {
            let values: Value = serde_json::from_slice(bytes).unwrap();
            let wanted: Value = serde_json::from_str(made).unwrap();
            assert_eq!(values.get(LOGIN), wanted.get(LOGIN));
        }
        // What cannot be read is not written over, and nothing is no login.
        assert!(enter(Some(b"{\"claudeAiOauth\":{"), made.as_bytes()).is_err());
        for nothing in [&b"{}"[..], br#"{"claudeAiOauth":{}}"#, br#"{"claudeAiOauth":"x"}"#, b""] {
            assert!(enter(None, nothing).is_err());
        }
    }

    #[test]
    fn the_account_beside_a_login_is_found() {
        let beside = |text: &str| account_beside(text.as_bytes());
        assert_eq!(beside(r#"{"oauthAccount":{"accountUuid":"a"}}"#).as_deref(), Some("a"));
        for none in ["", "{}", r#"{"oauthAccount":null}"#, r#"{"oauthAccount":{"accountUuid":""}}"#] {
            assert_eq!(beside(none), None);
        }
    }

    #[test]
    fn what_is_no_document_says_why() {
        let reason = |bytes: &[u8]| match parse(bytes) {
            SourceReading::Unparseable { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(b""), "the file is empty");
        assert_eq!(reason(b" \n"), "the file is empty");
        assert_eq!(reason(b"{\"claudeAiOauth\":{\n\"acc"), "ends inside a value at line 2 column 4");
        assert_eq!(reason(b"<html>"), "not strict JSON at line 1 column 1");
        assert_eq!(reason(b"[]"), "the document is not an object");
        assert_eq!(reason(b"{\"a\":\"\xff\"}"), "not UTF-8 at byte 6");
        assert_eq!(reason(b"\xef\xbb\xbf{}"), "begins with a byte order mark");
        assert_eq!(
            reason(br#"{"claudeAiOauth":{"accessToken":"a","accessToken":"b"}}"#),
            "the key accessToken occurs twice"
        );
        assert!(reason(&vec![b' '; super::super::MAX_DOCUMENT + 1]).contains("bytes, more than"));
    }
}
