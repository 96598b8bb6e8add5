//! A file of our own login store: `{ access, refresh, expires, accountId, id_token, scope }`, the end
//! in milliseconds. One login in each file, written by `tokensink login` and by refreshes of ours,
//! by nobody else. Source of the shape: what OpenClaw (2026.9.6) and pi-ai keep of a login.

use super::FormatError;
use super::json_doc::JsonDoc;
use super::jwt::Claims;
use super::layout::Store;
use super::mapped::{Fields, Pointer, TimeUnit};
use crate::base::credential::{NewLogin, Renewed, SourceReading};
use crate::base::secret::{Document, Secret};

fn fields() -> Fields {
    Fields {
        access_token: Pointer::of(&["access"]),
        refresh_token: Some(Pointer::of(&["refresh"])),
        id_token: Some(Pointer::of(&["id_token"])),
        expires_at: Some(Pointer::of(&["expires"])),
        expires_unit: TimeUnit::Milliseconds,
        scope: Some(Pointer::of(&["scope"])),
        account: Some(Pointer::of(&["accountId"])),
    }
}

/// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
#[must_use]
pub fn parse(bytes: &[u8]) -> SourceReading {
    match (fields().parse(bytes), JsonDoc::parse(bytes)) {
        (SourceReading::Ok(mut credential), Ok(mut doc)) => {
            // Of a login without one, or with something else there, nobody can say who it is.
            credential.identity.id_token = doc.text(&["id_token"]).ok().flatten();
            SourceReading::Ok(credential)
        }
        (reading, _) => reading,
    }
}

/// Whose an id token of OpenID Connect is: its `sub`.
#[must_use]
pub fn subject(id_token: &Secret) -> Option<String> {
    Claims::of(id_token)?.text("sub").map(str::to_owned)
}

/// Stores `renewed` over the login whose refresh token `spent` was traded for it. What a token says
/// of its own end counts, not what the answer said beside it.
///
/// # Errors
/// When the document cannot be parsed, or a new token is blank.
pub fn store(bytes: &[u8], spent: &Secret, renewed: &Renewed) -> Result<Store, FormatError> {
    let told = renewed.access.as_ref().and_then(|access| Claims::of(access)?.expires_at());
    let renewed = Renewed { expires_at: told.or(renewed.expires_at), ..renewed.clone() };
    fields().store(bytes, spent, &renewed)
}

/// Blanks the refresh token, if it is that one.
///
/// # Errors
/// When the document cannot be parsed.
pub fn disarm(bytes: &[u8], refresh: &Secret) -> Result<Store, FormatError> {
    fields().disarm(bytes, refresh)
}

/// Writes a new login over the one that is there, if any.
///
/// # Errors
/// When the document cannot be parsed, or a token is blank.
pub fn enter(existing: Option<&[u8]>, login: &NewLogin) -> Result<Document, FormatError> {
    let told = Claims::of(&login.access).and_then(|claims| claims.expires_at());
    fields().enter(existing, &NewLogin { expires_at: told.or(login.expires_at), ..login.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;

    #[test]
    fn a_new_login_is_read_back_and_what_its_token_says_of_its_end_counts() {
        let login = NewLogin {
            // {"exp":1795199075}
            access: Secret::new("e30.eyJleHAiOjE3OTUxOTkwNzV9.c2ln".into()),
            refresh: Some(Secret::new("rt_a".into())),
            id_token: Some(Secret::new("i.d.t".into())),
            expires_at: Some(Timestamp::from_millis(1_795_000_000_000)),
            scopes: vec!["openid".into(), "email".into()],
            account: Some("acct".into()),
            granted_at: Timestamp::from_millis(1_794_000_000_000),
            document: None,
        };
        let document = enter(None, &login).unwrap();
        let SourceReading::Ok(read) = parse(document.expose()) else { panic!("a login") };
        assert_eq!((&read.access, &read.refresh), (&login.access, &login.refresh));
        assert_eq!(read.expires_at, Some(Timestamp::from_millis(1_795_199_075_000)));
        assert_eq!((read.scopes, read.account), (login.scopes.clone(), login.account.clone()));
        assert_eq!(read.identity.id_token, login.id_token);
        let renewed = Renewed {
            access: Some(Secret::new("opaque".into())),
            expires_at: Some(Timestamp::from_millis(1_796_000_000_000)),
            ..Renewed::default()
        };
        let stored = store(document.expose(), &Secret::new("rt_a".into()), &renewed).unwrap();
        let Store::Patched(document) = stored else { panic!("patched") };
        let SourceReading::Ok(read) = parse(document.expose()) else { panic!("a login") };
        assert_eq!(read.expires_at, renewed.expires_at);
        let told = Renewed { access: Some(login.access.clone()), ..renewed };
        let stored = store(document.expose(), &Secret::new("rt_a".into()), &told).unwrap();
        let Store::Patched(document) = stored else { panic!("patched") };
        let SourceReading::Ok(read) = parse(document.expose()) else { panic!("a login") };
        assert_eq!(
            read.expires_at,
            Some(Timestamp::from_millis(1_795_199_075_000)),
            "the token, not the answer"
        );
    }
}
