//! A source that the configuration describes: a JSON document and, as RFC 6901 pointers, where in it
//! the parts of a login are. Only objects are walked; everything else of the document stays byte for
//! byte. Source of the shape: the owner's configuration, nobody's program.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::json_doc::{Found, JsonDoc};
use super::layout::Store;
use super::{FormatError, FormatErrorKind};
use crate::base::credential::{Credential, Identity, NewLogin, Renewed, SourceReading};
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;

/// The last millisecond of the year 9999: a later expiry is not a time that anybody meant.
const LAST_SANE_MS: i64 = 253_402_300_799_999;

/// A pointer to a member of nested objects, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Parses `/a/b`, with `~1` for a slash and `~0` for a tilde in a key.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("must be a JSON pointer, as in /tokens/access_token".to_owned());
        };
        let key = |part: &str| {
            let is_whole = part.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
            is_whole.then(|| part.replace("~1", "/").replace("~0", "~"))
        };
        let keys: Option<Vec<String>> = rest.split('/').map(key).collect();
        let keys = keys.ok_or("must write a tilde in a key as ~0 and a slash as ~1")?;
        if keys.iter().any(String::is_empty) {
            return Err("must name a key between slashes".to_owned());
        }
        Ok(Self(keys))
    }

    /// The member at these keys, which are as they stand.
    #[must_use]
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    fn path(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// How a point in time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// A number of milliseconds since the Unix epoch.
    Milliseconds,
    /// A number of seconds since the Unix epoch.
    Seconds,
    /// A text, as in `2026-11-20T18:24:35Z`.
    Rfc3339,
}

/// Where the parts of a login are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The access token.
    pub access_token: Pointer,
    /// The refresh token; `None`: such logins cannot be refreshed.
    pub refresh_token: Option<Pointer>,
    /// The id token of OpenID Connect.
    pub id_token: Option<Pointer>,
    /// When the access token ends; `None`: the document does not say.
    pub expires_at: Option<Pointer>,
    /// How that is written.
    pub expires_unit: TimeUnit,
    /// The granted scopes, as one text with spaces between them.
    pub scope: Option<Pointer>,
    /// The account's stable identity.
    pub account: Option<Pointer>,
}

enum Refusal {
    Partial(&'static str),
    Format(FormatError),
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Self {
        // A parent of another type is a document of another shape, not a torn one.
        match error.kind {
            FormatErrorKind::WrongType => Self::Partial("a described field"),
            _ => Self::Format(error),
        }
    }
}

impl Fields {
    /// A login of which only the place of the access token is known.
    #[must_use]
    pub const fn with_access_token(access_token: Pointer) -> Self {
        Self {
            access_token,
            refresh_token: None,
            id_token: None,
            expires_at: None,
            expires_unit: TimeUnit::Milliseconds,
            scope: None,
            account: None,
        }
    }

    /// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
    #[must_use]
    pub fn parse(&self, bytes: &[u8]) -> SourceReading {
        match JsonDoc::parse(bytes).map_err(Refusal::Format).and_then(|mut doc| self.login(&mut doc)) {
            Ok(reading) => reading,
            Err(Refusal::Partial(field)) => SourceReading::Partial { field },
            Err(Refusal::Format(error)) => SourceReading::Unparseable { reason: error.detail },
        }
    }

    fn login(&self, doc: &mut JsonDoc) -> Result<SourceReading, Refusal> {
        let access = text(doc, Some(&self.access_token), "access_token")?;
        let refresh = text(doc, self.refresh_token.as_ref(), "refresh_token")?;
        let access = match (access, &refresh) {
            (Some(access), _) => access,
            (None, Some(_)) => return Err(Refusal::Partial("access_token")),
            (None, None) => return Ok(SourceReading::Husk { login_ended: None }),
        };
        let scope = text(doc, self.scope.as_ref(), "scope")?;
        let account = text(doc, self.account.as_ref(), "account")?;
        Ok(SourceReading::Ok(Credential {
            access,
            refresh,
            expires_at: self.expires_at(doc)?,
            login_deadline: None,
            scopes: scope.map(words).unwrap_or_default(),
            account: account.map(|account| account.expose().to_owned()),
            expiry_in_seconds: false,
            identity: Identity::default(),
        }))
    }

    fn expires_at(&self, doc: &mut JsonDoc) -> Result<Option<Timestamp>, Refusal> {
        let Some(pointer) = &self.expires_at else { return Ok(None) };
        let millis = match (doc.find(&pointer.path())?, self.expires_unit) {
            // Zero says "never", or nothing: of opencode's entries, and of blank ones.
            (Found::Absent | Found::Null | Found::Number(Some(0)), _) => return Ok(None),
            (Found::Number(Some(number)), TimeUnit::Milliseconds) => number,
            (Found::Number(Some(number)), TimeUnit::Seconds) => number.saturating_mul(1000),
            // Kimi CLI 1.49.0 writes fractions of a second.
            (Found::Number(None), TimeUnit::Seconds) => seconds_of(doc, pointer)?,
            (Found::Text(text), TimeUnit::Rfc3339) => {
                let time = humantime::parse_rfc3339(text.expose().trim());
                Timestamp::from(time.map_err(|_| Refusal::Partial("expires_at"))?).as_millis()
            }
            _ => return Err(Refusal::Partial("expires_at")),
        };
        if (1..=LAST_SANE_MS).contains(&millis) {
            return Ok(Some(Timestamp::from_millis(millis)));
        }
        Err(Refusal::Partial("expires_at"))
    }

    /// Stores `renewed` over the login whose refresh token `spent` was traded for it.
    ///
    /// # Errors
    /// When the document cannot be parsed or has another shape, or a new token is blank.
    pub fn store(&self, bytes: &[u8], spent: &Secret, renewed: &Renewed) -> Result<Store, FormatError> {
        let mut doc = JsonDoc::parse(bytes)?;
        let held = match &self.refresh_token {
            Some(pointer) => doc.text(&pointer.path())?,
            None => None,
        };
        if held.is_some_and(|held| &held != spent) {
            return Ok(Store::Superseded);
        }
        let tokens = [
            (Some(&self.access_token), &renewed.access),
            (self.refresh_token.as_ref(), &renewed.refresh),
            (self.id_token.as_ref(), &renewed.id_token),
        ];
        for (pointer, secret) in tokens {
            if let (Some(pointer), Some(secret)) = (pointer, secret) {
                doc.set_secret(&pointer.path(), secret)?;
            }
        }
        if let (Some(pointer), Some(at)) = (&self.expires_at, renewed.expires_at) {
            doc.set(&pointer.path(), &self.written(at))?;
        }
        if let (Some(pointer), Some(scopes)) = (&self.scope, &renewed.scopes) {
            doc.set(&pointer.path(), &Value::from(scopes.join(" ")))?;
        }
        Ok(Store::Patched(doc.into_document()))
    }

    /// Writes a new login over whatever the document holds. Of the old login nothing stays: what the
    /// new one does not have is removed.
    ///
    /// # Errors
    /// When the document cannot be parsed or has another shape, or a token is blank.
    pub fn enter(&self, existing: Option<&[u8]>, login: &NewLogin) -> Result<Document, FormatError> {
        let mut doc = JsonDoc::open(existing)?;
        let tokens = [
            (Some(&self.access_token), Some(&login.access)),
            (self.refresh_token.as_ref(), login.refresh.as_ref()),
            (self.id_token.as_ref(), login.id_token.as_ref()),
        ];
        for (pointer, secret) in tokens {
            match (pointer, secret) {
                (Some(pointer), Some(secret)) => doc.set_secret(&pointer.path(), secret)?,
                (Some(pointer), None) => doc.remove(&pointer.path())?,
                (None, _) => false,
            };
        }
        let scope = (!login.scopes.is_empty()).then(|| Value::from(login.scopes.join(" ")));
        let texts = [
            (&self.expires_at, login.expires_at.map(|at| self.written(at))),
            (&self.scope, scope),
            (&self.account, login.account.as_deref().map(Value::from)),
        ];
        for (pointer, value) in texts {
            match (pointer, value) {
                (Some(pointer), Some(value)) => doc.set(&pointer.path(), &value)?,
                (Some(pointer), None) => doc.remove(&pointer.path())?,
                (None, _) => false,
            };
        }
        Ok(doc.into_document())
    }

    /// Blanks the refresh token, if it is that one.
    ///
    /// # Errors
    /// When the document cannot be parsed or has another shape.
    pub fn disarm(&self, bytes: &[u8], refresh: &Secret) -> Result<Store, FormatError> {
        let mut doc = JsonDoc::parse(bytes)?;
        let Some(pointer) = &self.refresh_token else { return Ok(Store::Superseded) };
        if doc.text(&pointer.path())?.as_ref() != Some(refresh) {
            return Ok(Store::Superseded);
        }
        doc.set(&pointer.path(), &Value::from(""))?;
        Ok(Store::Patched(doc.into_document()))
    }

    fn written(&self, at: Timestamp) -> Value {
        let millis = at.as_millis();
        match self.expires_unit {
            TimeUnit::Milliseconds => Value::from(millis),
            TimeUnit::Seconds => Value::from(millis.div_euclid(1000)),
            TimeUnit::Rfc3339 => {
                let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
                let time = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
                Value::from(humantime::format_rfc3339_millis(time).to_string())
            }
        }
    }
}

/// A number of seconds with a fraction, in milliseconds.
fn seconds_of(doc: &mut JsonDoc, pointer: &Pointer) -> Result<i64, Refusal> {
    let seconds = doc.number(&pointer.path())?.ok_or(Refusal::Partial("expires_at"))?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::Partial("expires_at"))?;
    i64::try_from(since.as_millis()).map_err(|_| Refusal::Partial("expires_at"))
}

/// A text that may be absent, null or blank (all `None`), and nothing else.
fn text(
    doc: &mut JsonDoc,
    pointer: Option<&Pointer>,
    field: &'static str,
) -> Result<Option<Secret>, Refusal> {
    let Some(pointer) = pointer else { return Ok(None) };
    match doc.find(&pointer.path())? {
        Found::Absent | Found::Null => Ok(None),
        Found::Text(text) if !text.expose().trim().contains(|c: char| c.is_control()) => {
            Ok(Some(text).filter(|text| !text.is_blank()))
        }
        _ => Err(Refusal::Partial(field)),
    }
}

fn words(scope: Secret) -> Vec<String> {
    scope.expose().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(expires_unit: TimeUnit) -> Fields {
        let at = |text: &str| Pointer::parse(text).unwrap();
        Fields {
            access_token: at("/oauth/access"),
            refresh_token: Some(at("/oauth/refresh")),
            id_token: None,
            expires_at: Some(at("/oauth/until")),
            expires_unit,
            scope: Some(at("/oauth/scope")),
            account: Some(at("/user~1id")),
        }
    }

    const DOCUMENT: &str = "{\n  \"user/id\": \"u7\",\n  \"oauth\": { \"access\": \"a1\", \"refresh\": \"r1\",\n    \
                            \"until\": 1795199075831, \"scope\": \"x y\", \"mine\": 1.50 }\n}\n";

    #[test]
    fn a_described_login_is_read() {
        let SourceReading::Ok(read) = fields(TimeUnit::Milliseconds).parse(DOCUMENT.as_bytes()) else {
            panic!("a login")
        };
        assert_eq!(read.access, Secret::new("a1".into()));
        assert_eq!(read.refresh, Some(Secret::new("r1".into())));
        assert_eq!(read.expires_at, Some(Timestamp::from_millis(1_795_199_075_831)));
        assert_eq!(read.scopes, ["x", "y"]);
        assert_eq!(read.account.as_deref(), Some("u7"));
    }

    #[test]
    fn a_refresh_changes_its_fields_and_nothing_else() {
        let renewed = Renewed {
            access: Some(Secret::new("a2".into())),
            refresh: Some(Secret::new("r2".into())),
            expires_at: Some(Timestamp::from_millis(1_795_300_000_000)),
            ..Renewed::default()
        };
        let spent = Secret::new("r1".into());
        let stored = fields(TimeUnit::Milliseconds).store(DOCUMENT.as_bytes(), &spent, &renewed).unwrap();
        let Store::Patched(document) = stored else { panic!("patched") };
        let wanted =
            DOCUMENT.replace("a1", "a2").replace("r1", "r2").replace("1795199075831", "1795300000000");
        assert_eq!(String::from_utf8_lossy(document.expose()), wanted);
        let other = Secret::new("r0".into());
        let superseded = fields(TimeUnit::Milliseconds).store(DOCUMENT.as_bytes(), &other, &renewed);
        assert_eq!(superseded.unwrap(), Store::Superseded);
    }

    #[test]
    fn a_new_login_leaves_nothing_of_the_old_one_and_everything_else() {
        let login = NewLogin {
            access: Secret::new("a2".into()),
            refresh: Some(Secret::new("r2".into())),
            id_token: None,
            expires_at: Some(Timestamp::from_millis(1_795_300_000_000)),
            scopes: Vec::new(),
            account: Some("u8".into()),
            granted_at: Timestamp::from_millis(1_795_200_000_000),
            document: None,
        };
        let fields = fields(TimeUnit::Milliseconds);
        let over = fields.enter(Some(DOCUMENT.as_bytes()), &login).unwrap();
        let expected = DOCUMENT
            .replace("u7", "u8")
            .replace("a1", "a2")
            .replace("r1", "r2")
            .replace("1795199075831", "1795300000000")
            .replace(" \"scope\": \"x y\",", "");
        assert_eq!(String::from_utf8_lossy(over.expose()), expected);
        let fresh = fields.enter(None, &login).unwrap();
        let SourceReading::Ok(read) = fields.parse(fresh.expose()) else { panic!("a login") };
        assert_eq!((read.access, read.account.as_deref()), (login.access.clone(), Some("u8")));
        let blank = NewLogin { access: Secret::new(" ".into()), ..login };
        assert!(fields.enter(None, &blank).is_err());
    }

    #[test]
    fn the_end_is_read_and_written_in_its_unit() {
        for (unit, text) in [
            (TimeUnit::Milliseconds, "1795199075000"),
            (TimeUnit::Seconds, "1795199075"),
            (TimeUnit::Rfc3339, "\"2026-11-20T18:24:35.000Z\""),
        ] {
            let document = format!("{{\"oauth\":{{\"access\":\"a\",\"refresh\":\"r\",\"until\":{text}}}}}");
            let SourceReading::Ok(read) = fields(unit).parse(document.as_bytes()) else { panic!("{unit:?}") };
            assert_eq!(read.expires_at, Some(Timestamp::from_millis(1_795_199_075_000)), "{unit:?}");
            let renewed = Renewed { expires_at: read.expires_at, ..Renewed::default() };
            let stored = fields(unit).store(document.as_bytes(), &Secret::new("r".into()), &renewed).unwrap();
            let Store::Patched(again) = stored else { panic!("patched") };
            assert_eq!(String::from_utf8_lossy(again.expose()), document);
        }
    }

    #[test]
    fn seconds_may_have_a_fraction_and_zero_says_nothing() {
        let read = |until: &str| {
            let text = format!("{{\"oauth\":{{\"access\":\"a\",\"until\":{until}}}}}");
            match fields(TimeUnit::Seconds).parse(text.as_bytes()) {
                SourceReading::Ok(read) => read.expires_at.map(Timestamp::as_millis),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("1795199075.25"), Some(1_795_199_075_250));
        assert_eq!(read("0"), None);
    }

    #[test]
    fn another_shape_is_partial_and_a_blank_login_is_a_husk() {
        let read = |text: &str| fields(TimeUnit::Milliseconds).parse(text.as_bytes());
        assert_eq!(read("{\"oauth\":[]}"), SourceReading::Partial { field: "a described field" });
        assert_eq!(read("{\"oauth\":{\"access\":5}}"), SourceReading::Partial { field: "access_token" });
        assert_eq!(read("{\"oauth\":{\"refresh\":\"r\"}}"), SourceReading::Partial { field: "access_token" });
        for until in ["\"soon\"", "-1", "1.5", "1e300", "true", "253402300800000"] {
            let text = format!("{{\"oauth\":{{\"access\":\"a\",\"until\":{until}}}}}");
            assert_eq!(read(&text), SourceReading::Partial { field: "expires_at" }, "{until}");
        }
        assert_eq!(read("{}"), SourceReading::Husk { login_ended: None });
        assert!(matches!(read("{\"oauth\":"), SourceReading::Unparseable { .. }));
    }

    #[test]
    fn a_pointer_is_one_of_rfc_6901_to_a_member() {
        assert_eq!(Pointer::parse("/a~1b/~0c").unwrap(), Pointer(vec!["a/b".into(), "~c".into()]));
        for bad in ["", "a", "/", "/a//b", "/a~2", "/a~", "$.a"] {
            assert!(Pointer::parse(bad).is_err(), "{bad}");
        }
    }
}
