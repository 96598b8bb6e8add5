//! OpenClaw's `auth-profiles.json`, one per agent: our profile is edited, all else stays.
//! Facts: OpenClaw 2026.2.26 (schema, field names, version 1; usage statistics outlive a new
//! credential there, and a profile in the wrong field is silently dropped). Whether a release
//! may be written at all is not decided here.

use serde_json::Value;

use super::json_doc::{Found, JsonDoc};
use super::oauth_json::{account, expiry, set_expiry};
use super::{Edit, FormatError, FormatErrorKind, bounded};
use crate::base::credential::{Credential, Held};
use crate::base::secret::Secret;

/// The version of the store that is known.
const VERSION: i64 = 1;

/// The provider whose profiles of type `oauth` name the account (2026.2.26).
const CODEX: &str = "openai-codex";

/// Every field that was seen to hold an access token, the proper ones first.
const ACCESS_FIELDS: [&str; 5] = ["access", "token", "key", "apiKey", "api_key"];

/// What keeps OpenClaw from using a profile after failures of its former credential.
const COOLDOWN_FIELDS: [&str; 6] =
    ["cooldownUntil", "disabledUntil", "disabledReason", "cooldownReason", "failureCounts", "errorCount"];

/// As what kind of profile a credential is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryForm {
    /// `type: "token"`: access token and expiry; never refreshed by the gateway.
    Token,
    /// `type: "oauth"`.
    OAuth {
        /// Whether the gateway gets the refresh token as well.
        with_refresh: bool,
    },
}

/// What the profile holds, in whichever field; `None` when there is no such profile.
///
/// # Errors
/// Whatever [`JsonDoc::parse`] refuses; `UnsupportedVersion`; `WrongType` without a `profiles`
/// object or for a profile that is not an object.
pub fn held(bytes: &[u8], profile_id: &str) -> Result<Option<Held>, FormatError> {
    let mut doc = opened(bytes)?;
    let entry = ["profiles", profile_id];
    match doc.find(&entry)? {
        Found::Absent => Ok(None),
        Found::Object => Ok(Some(Held {
            access: held_access(&mut doc, profile_id)?,
            refresh: doc.text(&["profiles", profile_id, "refresh"])?,
            expires_at: expiry(doc.integer(&["profiles", profile_id, "expires"])?),
            account: account(&mut doc, &entry)?,
        })),
        _ => Err(not_an_object(profile_id)),
    }
}

/// A profile as it is listed: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The provider noted in it; empty when none is.
    pub provider: String,
    /// Its type (`oauth`, `token`, `api_key`); empty when none is noted.
    pub kind: String,
}

/// All profiles, in the order of the document.
///
/// # Errors
/// As [`held`].
pub fn listed(bytes: &[u8]) -> Result<Vec<Listed>, FormatError> {
    let mut doc = opened(bytes)?;
    let profiles = doc.texts_of_each(&["profiles"], ["provider", "type"])?.unwrap_or_default();
    let word = |text: Option<Secret>| text.map(|text| bounded(text.expose())).unwrap_or_default();
    let listed = profiles.into_iter().map(|(id, [provider, kind])| Listed {
        id,
        provider: word(provider),
        kind: word(kind),
    });
    Ok(listed.collect())
}

/// Whether there is a profile of that id.
///
/// # Errors
/// As [`held`].
pub fn has_profile(bytes: &[u8], profile_id: &str) -> Result<bool, FormatError> {
    Ok(opened(bytes)?.find(&["profiles", profile_id])? != Found::Absent)
}

/// The agent's own order of a provider's profiles; `None` where it has none. An empty list is none.
///
/// # Errors
/// As [`held`].
pub fn order(bytes: &[u8], provider: &str) -> Result<Option<Vec<String>>, FormatError> {
    let mut doc = opened(bytes)?;
    if doc.find(&["order"])? != Found::Object {
        return Ok(None);
    }
    Ok(doc.strings(&["order", provider])?.filter(|ids| !ids.is_empty()))
}

/// Sets the agent's own order of a provider's profiles, or removes it.
///
/// # Errors
/// As [`held`]; `WrongType` when what is there is not an object of orders.
pub fn set_order(bytes: &[u8], provider: &str, ids: Option<&[String]>) -> Result<Edit, FormatError> {
    let mut doc = opened(bytes)?;
    match ids {
        Some(ids) => {
            doc.set(&["order", provider], &Value::from(ids.to_vec()))?;
        }
        None => {
            doc.remove(&["order", provider])?;
            // As OpenClaw 2026.2.26 leaves it.
            if doc.keys(&["order"])?.is_some_and(|left| left.is_empty()) {
                doc.remove(&["order"])?;
            }
        }
    }
    Ok(doc.into_edit(Some(bytes)))
}

/// Writes `credential` as the profile `profile_id`. Fields of another kind that hold a credential
/// are removed (repair), unknown keys stay; when the credential changed, what its predecessor's
/// failures left in `usageStats` is cleared. A refresh token is only ever replaced by another
/// one, or removed because the form has none.
///
/// # Errors
/// As [`held`]; `WouldEmpty` for a blank access token, `DuplicateKey`, `ProviderMismatch` for a
/// profile of another provider.
pub fn edit(
    existing: Option<&[u8]>,
    profile_id: &str,
    provider: &str,
    credential: &Credential,
    form: EntryForm,
) -> Result<Edit, FormatError> {
    let mut doc = match existing {
        Some(bytes) => opened(bytes)?,
        None => JsonDoc::empty(),
    };
    if existing.is_none() {
        doc.set(&["version"], &Value::from(VERSION))?;
    }
    let entry = Entry { profile_id };
    entry.check(&mut doc, provider)?;

    let (kind, field) = match form {
        EntryForm::Token => ("token", "token"),
        EntryForm::OAuth { .. } => ("oauth", "access"),
    };
    if doc.find(&entry.path("type"))? == Found::Absent {
        doc.remove(&entry.path("mode"))?;
    }
    doc.set(&entry.path("type"), &Value::from(kind))?;
    doc.set(&entry.path("provider"), &Value::from(provider))?;
    let mut rotated = doc.set_secret(&entry.path(field), &credential.access)?;
    if form != (EntryForm::OAuth { with_refresh: true }) {
        doc.remove(&entry.path("refresh"))?;
    } else if let Some(refresh) = credential.refresh.as_ref().filter(|r| !r.is_blank()) {
        rotated |= doc.set_secret(&entry.path("refresh"), refresh)?;
    }
    if let (Some(account), EntryForm::OAuth { .. }, CODEX) = (&credential.account, form, provider) {
        doc.set(&entry.path("accountId"), &Value::from(account.as_str()))?;
    }
    set_expiry(&mut doc, &entry.path("expires"), credential.expires_at)?;
    for other in ACCESS_FIELDS.into_iter().chain(["tokenRef", "keyRef"]).filter(|f| *f != field) {
        doc.remove(&entry.path(other))?;
    }
    if rotated {
        clear_cooldown(&mut doc, profile_id)?;
    }
    Ok(doc.into_edit(existing))
}

/// Removes a profile; everything else stays.
///
/// # Errors
/// As [`held`].
pub fn remove(bytes: &[u8], profile_id: &str) -> Result<Edit, FormatError> {
    let mut doc = opened(bytes)?;
    doc.remove(&["profiles", profile_id])?;
    Ok(doc.into_edit(Some(bytes)))
}

/// The one profile that an edit is about.
struct Entry<'a> {
    profile_id: &'a str,
}

impl<'a> Entry<'a> {
    fn path(&self, field: &'a str) -> [&'a str; 3] {
        ["profiles", self.profile_id, field]
    }

    /// Refuses an entry that is not a profile, or is somebody else's.
    fn check(&self, doc: &mut JsonDoc, provider: &str) -> Result<(), FormatError> {
        match doc.find(&["profiles", self.profile_id])? {
            Found::Absent => return Ok(()),
            Found::Object => {}
            _ => return Err(not_an_object(self.profile_id)),
        }
        match doc.text(&self.path("provider"))? {
            Some(other) if other.expose() != provider => {
                let detail = format!("the profile {} is of another provider", bounded(self.profile_id));
                return Err(FormatError::new(FormatErrorKind::ProviderMismatch, detail));
            }
            _ => {}
        }
        // A key that somebody bought is not to be had again. An OAuth token that was put into a
        // profile of that type by mistake (`sk-ant-oat…`) is, and is repaired.
        let kind = doc.text(&self.path("type"))?;
        let key = doc.text(&self.path("key"))?;
        let is_key = kind.is_some_and(|k| k.expose() == "api_key")
            && key.is_some_and(|k| !k.is_blank() && !k.expose().contains("-oat"));
        if is_key {
            let detail = format!("the profile {} holds an API key", bounded(self.profile_id));
            return Err(FormatError::new(FormatErrorKind::HoldsApiKey, detail));
        }
        Ok(())
    }
}

fn opened(bytes: &[u8]) -> Result<JsonDoc, FormatError> {
    let mut doc = JsonDoc::parse(bytes)?;
    if doc.find(&["version"])? != Found::Number(Some(VERSION)) {
        let detail = format!("the store's version is not {VERSION}");
        return Err(FormatError::new(FormatErrorKind::UnsupportedVersion, detail));
    }
    if doc.find(&["profiles"])? != Found::Object {
        // OpenClaw counts such a file as absent and may overwrite it at any time.
        return Err(FormatError::new(FormatErrorKind::WrongType, "the store has no object of profiles"));
    }
    Ok(doc)
}

fn held_access(doc: &mut JsonDoc, profile_id: &str) -> Result<Option<Secret>, FormatError> {
    for field in ACCESS_FIELDS {
        if let Some(access) = doc.text(&["profiles", profile_id, field])? {
            return Ok(Some(access));
        }
    }
    Ok(None)
}

fn clear_cooldown(doc: &mut JsonDoc, profile_id: &str) -> Result<(), FormatError> {
    // Statistics of an unexpected shape are no reason to withhold a token.
    if doc.find(&["usageStats"])? != Found::Object || doc.find(&["usageStats", profile_id])? != Found::Object
    {
        return Ok(());
    }
    for field in COOLDOWN_FIELDS {
        doc.remove(&["usageStats", profile_id, field])?;
    }
    Ok(())
}

fn not_an_object(profile_id: &str) -> FormatError {
    let detail = format!("the profile {} is not an object", bounded(profile_id));
    FormatError::new(FormatErrorKind::WrongType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;

    fn store(profile: &str) -> String {
        format!("{{\"version\":1,\"profiles\":{{\"b:x\":{{}},\"a:x\":{profile}}}}}")
    }

    #[test]
    fn a_token_is_found_in_whichever_field_holds_it() {
        for field in ACCESS_FIELDS.into_iter().filter(|field| *field != "access") {
            let text = store(&format!("{{\"{field}\":\"t\",\"access\":\" \"}}"));
            let held = held(text.as_bytes(), "a:x").unwrap().unwrap();
            assert_eq!(held.access, Some(Secret::new("t".into())), "{field}");
        }
        let text =
            store(r#"{"access":"t","token":"u","refresh":"r","expires":1795000000,"accountId":"acct"}"#);
        let whole = Held {
            access: Some(Secret::new("t".into())),
            refresh: Some(Secret::new("r".into())),
            expires_at: Some(Timestamp::from_millis(1_795_000_000_000)),
            account: Some("acct".into()),
        };
        assert_eq!(held(text.as_bytes(), "a:x").unwrap(), Some(whole));
        assert_eq!(held(text.as_bytes(), "b:x").unwrap(), Some(Held::default()));
        assert_eq!(held(text.as_bytes(), "c:x").unwrap(), None);
    }

    #[test]
    fn an_order_is_set_and_removed_and_all_else_stays() {
        let bare = b"{ \"version\":1, \"profiles\":{}, \"odd\":1.50 }\n";
        let ids = ["a:y".to_owned(), "a:x".to_owned()];
        let Edit::Changed(set) = set_order(bare, "a", Some(&ids)).unwrap() else { panic!("unchanged") };
        assert_eq!(order(set.expose(), "a").unwrap().unwrap(), ids);
        assert_eq!(order(set.expose(), "b").unwrap(), None);
        assert_eq!(set_order(set.expose(), "a", Some(&ids)).unwrap(), Edit::Unchanged);
        assert_eq!(set_order(set.expose(), "b", None).unwrap(), Edit::Unchanged);
        let Edit::Changed(cleared) = set_order(set.expose(), "a", None).unwrap() else { panic!("unchanged") };
        assert_eq!(cleared.expose(), bare);
        for odd in [r#""order":{"a":[]}"#, r#""order":7"#, r#""order":{"a":[7]}"#, r#""order":{"a":{}}"#] {
            let text = format!("{{\"version\":1,\"profiles\":{{}},{odd}}}");
            assert_eq!(order(text.as_bytes(), "a").unwrap(), None, "{odd}");
        }
    }

    #[test]
    fn profiles_are_listed_in_the_order_of_the_store() {
        let text = store(r#"{"type":"token","provider":"a","token":"t"}"#);
        let of = |id: &str, provider: &str, kind: &str| Listed {
            id: id.into(),
            provider: provider.into(),
            kind: kind.into(),
        };
        assert_eq!(listed(text.as_bytes()).unwrap(), [of("b:x", "", ""), of("a:x", "a", "token")]);
        assert!(has_profile(text.as_bytes(), "b:x").unwrap() && !has_profile(text.as_bytes(), "c").unwrap());
        let refused = |bytes: &[u8]| listed(bytes).unwrap_err().kind;
        assert_eq!(refused(b"{\"version\":1}"), FormatErrorKind::WrongType);
        assert_eq!(refused(b"{\"version\":2,\"profiles\":{}}"), FormatErrorKind::UnsupportedVersion);
    }
}
