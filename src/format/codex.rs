//! Codex's `auth.json`: read, and patched after a refresh of our own. Only the token fields and
//! `last_refresh` are touched. Codex drops keys that it does not know on its next write, so nothing
//! of ours is ever kept there.
//! Facts: codex 0.169.0 (schema and reactions observed on the running CLI); up to 0.166 it writes in
//! place, so an empty or torn file is an everyday sight there.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::json_doc::{Found, JsonDoc};
use super::jwt::Claims;
use super::layout::Store;
use super::{FormatError, FormatErrorKind, bounded};
use crate::base::credential::{Credential, Identity, NewLogin, Renewed, SourceReading};
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;

/// Who gives these logins.
pub const ISSUER: &str = "https://auth.openai.com";
/// Its token endpoint.
pub const TOKEN_URL: &str = "https://auth.openai.com/oauth/token";
/// The public client of Codex.
pub const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

const TOKENS: &str = "tokens";
/// The claim, in both tokens, that says whose they are.
const AUTH_CLAIM: &str = "https://api.openai.com/auth";
/// Codex renews an access token whose end it cannot read when it is this old.
const OPAQUE_LIFETIME: Duration = Duration::from_secs(8 * 86_400);

/// What the file says it is.
enum Kind {
    /// A login with a rotating refresh token.
    Login,
    /// `chatgptAuthTokens`: an access token that somebody else renews. Codex never spends a refresh
    /// token of such a file, even when there is one.
    Lease,
    /// An API key: there is no ChatGPT login to look after.
    ApiKey,
    /// Another way to be known: nothing here is a ChatGPT login.
    Other(String),
}

/// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    match JsonDoc::parse(bytes).and_then(|mut doc| login(&mut doc)) {
        Ok(reading) => reading,
        Err(error) => SourceReading::Unparseable { reason: error.detail },
    }
}

fn login(doc: &mut JsonDoc) -> Result<SourceReading, FormatError> {
    let partial = |field| Ok(SourceReading::Partial { field });
    let Some(kind) = kind(doc)? else { return partial("auth_mode") };
    let is_lease = match kind {
        Kind::Login => false,
        Kind::Lease => true,
        Kind::ApiKey => return Ok(SourceReading::ApiKey),
        Kind::Other(mode) => {
            return Ok(SourceReading::Husk { login_ended: Some(format!("auth_mode is {mode}")) });
        }
    };
    match doc.find(&[TOKENS])? {
        // Codex calls `{}` "Logged in using ChatGPT"; there is nothing that could be handed on.
        Found::Absent | Found::Null => return Ok(SourceReading::Husk { login_ended: None }),
        Found::Object => {}
        _ => return partial(TOKENS),
    }
    // Codex reads no file in which one of the three keys is missing; a blank refresh token it does.
    let mut texts = Vec::with_capacity(3);
    for field in ["access_token", "refresh_token", "id_token"] {
        match doc.find(&[TOKENS, field])? {
            Found::Text(text) if !text.expose().contains(char::is_control) => texts.push(text),
            _ => return partial(field),
        }
    }
    let [access, refresh, id_token] = texts.as_slice() else { return partial(TOKENS) };
    match (access.is_blank(), refresh.is_blank()) {
        (true, true) => return Ok(SourceReading::Husk { login_ended: None }),
        (true, false) => return partial("access_token"),
        (false, _) => {}
    }
    let refresh = Some(refresh.clone()).filter(|token| !is_lease && !token.is_blank());
    let (claims, identity) = (Claims::of(access), Claims::of(id_token));
    let account = match doc.text(&[TOKENS, "account_id"])? {
        Some(account) => Some(account.expose().to_owned()),
        None => [&identity, &claims].into_iter().flatten().find_map(account_in),
    };
    let granted_at = last_refresh(doc)?;
    let mut expires_at = claims.as_ref().and_then(Claims::expires_at);
    if expires_at.is_none() && refresh.is_some() {
        expires_at = granted_at.map(|at| at.after(OPAQUE_LIFETIME));
    }
    Ok(SourceReading::Ok(Credential {
        access: access.clone(),
        refresh,
        expires_at,
        login_deadline: None,
        scopes: claims.map(|claims| claims.words("scp")).unwrap_or_default(),
        account,
        expiry_in_seconds: false,
        identity: Identity {
            id_token: Some(id_token.clone()).filter(|token| !token.is_blank()),
            granted_at,
            ..Identity::default()
        },
    }))
}

fn account_in(claims: &Claims) -> Option<String> {
    claims.text_in(AUTH_CLAIM, "chatgpt_account_id").map(str::to_owned)
}

/// The account that a new login belongs to; `None` when neither token names one.
#[must_use]
pub fn account_of(access: &Secret, id_token: Option<&Secret>) -> Option<String> {
    [id_token, Some(access)].into_iter().flatten().find_map(|token| account_in(&Claims::of(token)?))
}

/// Codex's own rule: without `auth_mode` an API key makes it one, and everything else is a login.
/// `None`: not a text.
fn kind(doc: &mut JsonDoc) -> Result<Option<Kind>, FormatError> {
    let mode = match doc.find(&["auth_mode"])? {
        Found::Text(mode) => mode,
        Found::Absent | Found::Null => {
            let has_key = matches!(doc.find(&["OPENAI_API_KEY"])?, Found::Text(_));
            return Ok(Some(if has_key { Kind::ApiKey } else { Kind::Login }));
        }
        _ => return Ok(None),
    };
    Ok(Some(match mode.expose() {
        "chatgpt" => Kind::Login,
        "chatgptAuthTokens" => Kind::Lease,
        "apikey" => Kind::ApiKey,
        other => Kind::Other(bounded(other)),
    }))
}

fn last_refresh(doc: &mut JsonDoc) -> Result<Option<Timestamp>, FormatError> {
    let text = doc.text(&["last_refresh"])?;
    Ok(text.and_then(|text| humantime::parse_rfc3339(text.expose()).ok()).map(Timestamp::from))
}

/// Where the login came from, as 0.169 notes it: Codex refreshes there, with that client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The issuer, a URL.
    pub issuer: Option<String>,
    /// The OAuth client.
    pub client_id: Option<String>,
}

/// Reads `tokens.oauth_provenance`; empty where there is none.
#[must_use]
pub fn provenance(bytes: &[u8]) -> Provenance {
    let Ok(mut doc) = JsonDoc::parse(bytes) else { return Provenance::default() };
    let mut text = |key| {
        let text = doc.text(&[TOKENS, "oauth_provenance", key]).ok().flatten()?;
        Some(text.expose().to_owned())
    };
    Provenance { issuer: text("issuer"), client_id: text("client_id") }
}

/// Makes a lease of the login, if it has that refresh token: Codex uses it to its end and never
/// refreshes it.
///
/// # Errors
/// When the document cannot be parsed.
pub fn disarm(bytes: &[u8], refresh: &Secret) -> Result<Store, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    let is_login = matches!(kind(&mut doc)?, Some(Kind::Login));
    if !is_login || doc.text(&[TOKENS, "refresh_token"])?.as_ref() != Some(refresh) {
        return Ok(Store::Superseded);
    }
    doc.set(&["auth_mode"], &Value::from("chatgptAuthTokens"))?;
    doc.set(&[TOKENS, "refresh_token"], &Value::from(""))?;
    // Without a time there Codex sends no token of a lease.
    if last_refresh(&mut doc)?.is_none() {
        doc.set(&["last_refresh"], &Value::from(nanos(Timestamp::from_millis(0))))?;
    }
    Ok(Store::Patched(doc.into_document()))
}

/// Stores `renewed` over the login whose refresh token `spent` was traded for it. A file that has
/// become something else meanwhile (an API key, a lease, another login) stays what it is.
///
/// # Errors
/// When the document cannot be parsed, or a new token is blank.
pub fn store(bytes: &[u8], spent: &Secret, renewed: &Renewed) -> Result<Store, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    let is_login = matches!(kind(&mut doc)?, Some(Kind::Login));
    let held = match doc.find(&[TOKENS])? {
        Found::Object => doc.text(&[TOKENS, "refresh_token"])?,
        _ => return Ok(Store::Superseded),
    };
    if !is_login || held.is_some_and(|held| &held != spent) {
        return Ok(Store::Superseded);
    }
    let tokens = [
        ("id_token", &renewed.id_token),
        ("access_token", &renewed.access),
        ("refresh_token", &renewed.refresh),
    ];
    for (field, secret) in tokens {
        if let Some(secret) = secret {
            doc.set_secret(&[TOKENS, field], secret)?;
        }
    }
    // Without it Codex sends no token at all.
    if let Some(text) = renewed.granted_at.and_then(nanos) {
        doc.set(&["last_refresh"], &Value::from(text))?;
    }
    Ok(Store::Patched(doc.into_document()))
}

/// Writes a new login over whatever the file says, as a login of Codex itself would leave it. What
/// Codex notes of a login's origin stays only where it is true of this one as well; everything that
/// is not about the login stays in any case.
///
/// # Errors
/// When the document cannot be parsed, or lacks what Codex needs: without an account it refuses to
/// refresh, without an id token it does not read the file.
pub fn enter(existing: Option<&[u8]>, login: &NewLogin) -> Result<Document, FormatError> {
    let needed = |what| FormatError::new(FormatErrorKind::WouldEmpty, format!("the login has no {what}"));
    let account = login.account.as_ref().ok_or_else(|| needed("account"))?;
    let refresh = login.refresh.as_ref().ok_or_else(|| needed("refresh token"))?;
    let mut doc = JsonDoc::open(existing)?;
    let (origin, held) = match doc.find(&[TOKENS])? {
        Found::Object => (existing.map(provenance).unwrap_or_default(), doc.text(&[TOKENS, "account_id"])?),
        Found::Absent => Default::default(),
        // Of an API key, `null` in the place of the tokens.
        _ => {
            doc.remove(&[TOKENS])?;
            Default::default()
        }
    };
    doc.set(&["auth_mode"], &Value::from("chatgpt"))?;
    // A key that is there is somebody's, and does no harm beside a mode that is said.
    if doc.find(&["OPENAI_API_KEY"])? == Found::Absent {
        doc.set(&["OPENAI_API_KEY"], &Value::Null)?;
    }
    // An access token is taken in the place of an id token.
    doc.set_secret(&[TOKENS, "id_token"], login.id_token.as_ref().unwrap_or(&login.access))?;
    doc.set_secret(&[TOKENS, "access_token"], &login.access)?;
    doc.set_secret(&[TOKENS, "refresh_token"], refresh)?;
    doc.set(&[TOKENS, "account_id"], &Value::from(account.as_str()))?;
    let is_ours = |issuer: &String| issuer.trim_end_matches('/') == ISSUER;
    if !origin.issuer.as_ref().is_some_and(is_ours) || origin.client_id.as_deref() != Some(CLIENT_ID) {
        doc.remove(&[TOKENS, "oauth_provenance"])?;
    }
    if held.is_none_or(|held| held.expose() != account) {
        doc.remove(&[TOKENS, "login_owner_id"])?;
    }
    // Without it Codex sends no token at all.
    if let Some(text) = nanos(login.granted_at) {
        doc.set(&["last_refresh"], &Value::from(text))?;
    }
    Ok(doc.into_document())
}

/// RFC 3339 in UTC with nanoseconds, as Codex writes it; `None` for what is not between the years
/// 1970 and 9999.
pub(super) fn nanos(time: Timestamp) -> Option<String> {
    let millis = u64::try_from(time.as_millis()).ok().filter(|ms| *ms < 253_402_300_800_000)?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    Some(humantime::format_rfc3339_nanos(time).to_string())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn access() -> String {
        jwt(
            r#"{"exp":1795199075,"scp":["openid","offline_access"],"https://api.openai.com/auth":{"chatgpt_account_id":"acct-of-access"}}"#,
        )
    }

    fn id_token() -> String {
        jwt(r#"{"https://api.openai.com/auth":{"chatgpt_account_id":"acct-of-id"}}"#)
    }

    fn file(mode: &str, access: &str, refresh: &str, more: &str) -> SourceReading {
        let text = format!(
            "{{{mode}\"OPENAI_API_KEY\":null,\"tokens\":{{\"id_token\":\"{}\",\"access_token\":\"{access}\",\
             \"refresh_token\":{refresh}{more}}},\"last_refresh\":\"2026-11-20T17:15:48.760505969Z\"}}",
            id_token()
        );
        parse(text.as_bytes())
    }

    const CHATGPT: &str = "\"auth_mode\":\"chatgpt\",";

    fn login_of(reading: SourceReading) -> Credential {
        match reading {
            SourceReading::Ok(credential) => credential,
            other => panic!("{other:?}"),
        }
    }

    fn partial(field: &'static str) -> SourceReading {
        SourceReading::Partial { field }
    }

    fn husk(ended: Option<&str>) -> SourceReading {
        SourceReading::Husk { login_ended: ended.map(str::to_owned) }
    }

    #[test]
    fn a_whole_login_is_read() {
        let read = login_of(file(CHATGPT, &access(), "\"rt_a\"", ",\"account_id\":\"acct\""));
        assert_eq!(
            read,
            Credential {
                access: Secret::new(access()),
                refresh: Some(Secret::new("rt_a".into())),
                expires_at: Some(Timestamp::from_millis(1_795_199_075_000)),
                login_deadline: None,
                scopes: vec!["openid".into(), "offline_access".into()],
                account: Some("acct".into()),
                expiry_in_seconds: false,
                identity: Identity {
                    id_token: Some(Secret::new(id_token())),
                    granted_at: Some(Timestamp::from_millis(1_795_194_948_760)),
                    ..Identity::default()
                },
            }
        );
        // Older releases write no mode.
        assert_eq!(login_of(file("", &access(), "\"rt_a\"", ",\"account_id\":\"acct\"")), read);
    }

    #[test]
    fn the_account_is_the_files_then_the_id_tokens_then_the_access_tokens() {
        assert_eq!(login_of(file(CHATGPT, &access(), "\"r\"", "")).account.as_deref(), Some("acct-of-id"));
        let text = format!(
            "{{\"tokens\":{{\"id_token\":\"a.b.c\",\"access_token\":\"{}\",\"refresh_token\":\"r\",\"account_id\":null}}}}",
            access()
        );
        assert_eq!(login_of(parse(text.as_bytes())).account.as_deref(), Some("acct-of-access"));
    }

    #[test]
    fn a_blank_refresh_token_and_a_lease_are_not_refreshable() {
        assert_eq!(login_of(file(CHATGPT, &access(), "\"\"", "")).refresh, None);
        let lease = "\"auth_mode\":\"chatgptAuthTokens\",";
        for refresh in ["\"\"", "\"rt_real\""] {
            let read = login_of(file(lease, &access(), refresh, ""));
            assert_eq!(
                (read.refresh, read.expires_at.map(Timestamp::as_millis)),
                (None, Some(1_795_199_075_000))
            );
        }
        // Nobody renews it, so nobody knows its end either.
        assert_eq!(login_of(file(lease, "opaque", "\"\"", "")).expires_at, None);
    }

    #[test]
    fn an_opaque_token_ends_when_codex_would_renew_it() {
        let read = login_of(file(CHATGPT, "opaque", "\"r\"", ""));
        assert_eq!(read.expires_at.unwrap().to_string(), "2026-11-28T17:15:48Z");
        for last in ["", ",\"last_refresh\":null", ",\"last_refresh\":5", ",\"last_refresh\":\"yesterday\""] {
            let text = format!(
                "{{\"tokens\":{{\"id_token\":\"a.b.c\",\"access_token\":\"opaque\",\"refresh_token\":\"r\"}}{last}}}"
            );
            assert_eq!(login_of(parse(text.as_bytes())).expires_at, None, "{last}");
        }
    }

    #[test]
    fn what_is_no_login_is_a_husk_that_says_what_it_is() {
        assert_eq!(
            parse(br#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-invented","tokens":null}"#),
            SourceReading::ApiKey
        );
        assert_eq!(parse(br#"{"OPENAI_API_KEY":"sk-invented"}"#), SourceReading::ApiKey);
        assert_eq!(
            file("\"auth_mode\":\"personalAccessToken\",", &access(), "\"r\"", ""),
            husk(Some("auth_mode is personalAccessToken"))
        );
        for text in ["{}", r#"{"auth_mode":"chatgpt","tokens":null}"#] {
            assert_eq!(parse(text.as_bytes()), husk(None), "{text}");
        }
        assert_eq!(file(CHATGPT, "", "\"\"", ""), husk(None));
    }

    #[test]
    fn missing_and_wrong_parts_are_named() {
        assert_eq!(file(CHATGPT, "", "\"r\"", ""), partial("access_token"));
        for refresh in ["null", "5", "[\"r\"]", r#""a\nb""#] {
            assert_eq!(file(CHATGPT, &access(), refresh, ""), partial("refresh_token"), "{refresh}");
        }
        let without_id =
            format!("{{\"tokens\":{{\"access_token\":\"{}\",\"refresh_token\":\"r\"}}}}", access());
        assert_eq!(parse(without_id.as_bytes()), partial("id_token"));
        assert_eq!(parse(br#"{"auth_mode":5}"#), partial("auth_mode"));
        assert_eq!(parse(br#"{"tokens":"x"}"#), partial("tokens"));
    }

    #[test]
    fn what_is_no_document_says_why() {
        for (text, why) in
            [("", "the file is empty"), ("{\"tokens\":{\n\"acc", "ends inside a value at line 2 column 4")]
        {
            assert_eq!(parse(text.as_bytes()), SourceReading::Unparseable { reason: why.into() });
        }
    }

    #[test]
    fn provenance_is_what_a_new_login_notes() {
        let text =
            br#"{"tokens":{"oauth_provenance":{"issuer":"https://auth.example","client_id":"app_x"}}}"#;
        let expected =
            Provenance { issuer: Some("https://auth.example".into()), client_id: Some("app_x".into()) };
        assert_eq!(provenance(text), expected);
        for text in ["", "{}", r#"{"tokens":5}"#, r#"{"tokens":{"oauth_provenance":[]}}"#] {
            assert_eq!(provenance(text.as_bytes()), Provenance::default(), "{text}");
        }
    }

    #[test]
    fn a_file_that_became_something_else_is_left_alone() {
        let renewed = Renewed { refresh: Some(Secret::new("rt_new".into())), ..Renewed::default() };
        let spent = Secret::new("rt_a".into());
        for text in [
            r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-invented","tokens":null}"#,
            r#"{"auth_mode":"apikey","tokens":{"refresh_token":"rt_a"}}"#,
            r#"{"auth_mode":"chatgptAuthTokens","tokens":{"refresh_token":""}}"#,
            r#"{"tokens":{"refresh_token":"rt_b"}}"#,
            "{}",
        ] {
            assert_eq!(store(text.as_bytes(), &spent, &renewed), Ok(Store::Superseded), "{text}");
        }
        assert!(store(b"{\"tok", &spent, &renewed).is_err());
    }

    fn new_login(account: &str) -> NewLogin {
        NewLogin {
            access: Secret::new("a.b.c".into()),
            refresh: Some(Secret::new("rt_new".into())),
            id_token: Some(Secret::new("i.d.t".into())),
            expires_at: None,
            scopes: Vec::new(),
            account: Some(account.into()),
            granted_at: Timestamp::from_millis(1_795_199_075_831),
            document: None,
        }
    }

    fn entered(existing: Option<&str>, account: &str) -> String {
        let document = enter(existing.map(str::as_bytes), &new_login(account)).unwrap();
        String::from_utf8_lossy(document.expose()).into_owned()
    }

    #[test]
    fn a_new_login_is_entered_where_there_was_none_and_an_api_key_stays_beside_it() {
        let tokens = r#""tokens":{"id_token":"i.d.t","access_token":"a.b.c","refresh_token":"rt_new","account_id":"acct"}"#;
        let last = r#""last_refresh":"2026-11-20T18:24:35.831000000Z""#;
        let expected = format!("{{\"auth_mode\":\"chatgpt\",\"OPENAI_API_KEY\":null,{tokens},{last}}}");
        let mut wanted: Value = serde_json::from_str(&expected).unwrap();
        let got = |existing| serde_json::from_str::<Value>(&entered(existing, "acct")).unwrap();
        assert_eq!(got(None), wanted);
        wanted["OPENAI_API_KEY"] = "sk-invented".into();
        assert_eq!(
            got(Some(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-invented","tokens":null}"#)),
            wanted
        );
        assert!(enter(Some(b"{\"tok"), &new_login("acct")).is_err());
        let without = NewLogin { account: None, ..new_login("") };
        assert!(enter(None, &without).is_err());
    }

    #[test]
    fn the_notes_of_a_login_stay_where_they_are_true_of_the_new_one() {
        let held = |issuer: &str| {
            format!(
                "{{\"mine\":1.50,\"tokens\":{{\"account_id\":\"acct\",\"login_owner_id\":\"k\",\
                 \"oauth_provenance\":{{\"issuer\":\"{issuer}\",\"client_id\":\"{CLIENT_ID}\"}}}}}}"
            )
        };
        let same = entered(Some(&held(ISSUER)), "acct");
        assert!(same.contains("\"login_owner_id\":\"k\"") && same.contains("oauth_provenance"), "{same}");
        assert!(same.starts_with("{\"mine\":1.50,"), "{same}");
        let other = entered(Some(&held("https://login.example")), "another");
        assert!(!other.contains("login_owner_id") && !other.contains("oauth_provenance"), "{other}");
    }

    #[test]
    fn a_blanked_refresh_token_is_put_right() {
        let renewed = Renewed {
            refresh: Some(Secret::new("rt_new".into())),
            granted_at: Some(Timestamp::from_millis(1_795_199_075_831)),
            ..Renewed::default()
        };
        let stored = store(br#"{"tokens":{"refresh_token":""}}"#, &Secret::new("rt_a".into()), &renewed);
        let Ok(Store::Patched(document)) = stored else { panic!("{stored:?}") };
        assert_eq!(
            String::from_utf8_lossy(document.expose()),
            r#"{"tokens":{"refresh_token":"rt_new"},"last_refresh":"2026-11-20T18:24:35.831000000Z"}"#
        );
    }

    #[test]
    fn the_account_of_a_new_login_is_that_of_its_id_token_and_else_of_its_access_token() {
        let (access, id) = (Secret::new(access()), Secret::new(id_token()));
        assert_eq!(account_of(&access, Some(&id)).as_deref(), Some("acct-of-id"));
        assert_eq!(account_of(&access, None).as_deref(), Some("acct-of-access"));
        let opaque = Secret::new("no.jwt.at-all".to_owned());
        assert_eq!(account_of(&access, Some(&opaque)).as_deref(), Some("acct-of-access"));
        assert_eq!(account_of(&opaque, None), None);
    }
}
