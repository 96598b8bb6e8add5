//! Sources of logins: what is read of them, and what storing a refresh, entering a login or disarming it
//! makes of them.

use tokensink::base::credential::{Credential, NewLogin, Renewed, SourceReading};
use tokensink::base::secret::{Document, Secret};
use tokensink::base::time::Timestamp;
use tokensink::format::layout::{Layout, Store};
use tokensink::format::mapped::{Fields, Pointer, TimeUnit};
use tokensink::format::{bundle as bundles, claude as claudes, codex as codexes, own_login};

use super::members::{inside, members, without};
use super::planted::{both, hides, is_a_sentence, tells_nothing};

const ACCESS: &str = "sk-ant-oat01-the-new-access-token";
const REFRESH: &str = "sk-ant-ort01-the-new-refresh-token";
/// In 2026, in milliseconds, at a whole second.
const NOW: i64 = 1_795_199_075_000;

/// Claude Code's file.
pub fn claude(bytes: &[u8]) {
    both(bytes, |bytes| {
        source(&Layout::Claude, bytes, &["claudeAiOauth"], "claudeAiOauth", &TOKENS_OF_CLAUDE);
        let _ = (claudes::client_id(bytes), claudes::account_beside(bytes));
        if let Ok(entered) = claudes::enter(Some(bytes), MADE.as_bytes()) {
            let read = claudes::parse(entered.expose());
            assert!(matches!(&read, SourceReading::Ok(new) if new.access.expose() == ACCESS), "{read:?}");
            stay(bytes, entered.expose(), &["claudeAiOauth"]);
        }
        match claudes::enter(None, bytes) {
            Err(error) => tells_nothing(&error),
            // The login alone is the login, where it is one: a time that is no whole number comes along no further.
            Ok(lone) => {
                let whole = claudes::parse(bytes);
                assert!(!matches!(whole, SourceReading::Ok(_)) || claudes::parse(lone.expose()) == whole);
            }
        }
    });
}

const TOKENS_OF_CLAUDE: [&str; 2] = ["accessToken", "refreshToken"];
const MADE: &str = concat!(
    r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-the-new-access-token","refreshToken":"r","#,
    r#""expiresAt":1795199075000,"scopes":["user:inference"]}}"#
);

/// Codex's file, and the claims of its tokens.
pub fn codex(bytes: &[u8]) {
    both(bytes, |bytes| {
        let keys = ["auth_mode", "OPENAI_API_KEY", "tokens", "last_refresh"];
        source(&Layout::Codex, bytes, &keys, "tokens", &["access_token", "refresh_token", "id_token"]);
        let _ = codexes::provenance(bytes);
    });
    // A token in the place of the input.
    if let Ok(token) = std::str::from_utf8(bytes) {
        let token = Secret::new(token.to_owned());
        let account = codexes::account_of(&token, None);
        assert!(
            account.is_none_or(|account| !account.trim().is_empty() && !account.contains(char::is_control))
        );
        let _ = own_login::subject(&token);
    }
}

/// Copilot's file, which is only read.
pub fn copilot(bytes: &[u8]) {
    both(bytes, |bytes| source(&Layout::Copilot, bytes, &[], "", &[]));
}

/// A file that the configuration describes, in each spelling of time.
pub fn described(bytes: &[u8]) {
    for expires_unit in [TimeUnit::Milliseconds, TimeUnit::Seconds, TimeUnit::Rfc3339] {
        let fields = Fields {
            access_token: Pointer::of(&["tokens", "access"]),
            refresh_token: Some(Pointer::of(&["tokens", "refresh"])),
            id_token: Some(Pointer::of(&["tokens", "id"])),
            expires_at: Some(Pointer::of(&["tokens", "end"])),
            expires_unit,
            scope: Some(Pointer::of(&["tokens", "scope"])),
            account: Some(Pointer::of(&["account"])),
        };
        let inner = ["access", "refresh", "id", "end", "scope"];
        both(bytes, |bytes| {
            source(&Layout::Mapped(fields.clone()), bytes, &["tokens", "account"], "tokens", &inner);
        });
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        match Pointer::parse(text) {
            Ok(pointer) => assert_eq!(Pointer::parse(text), Ok(pointer)),
            Err(why) => assert!(why.len() < 200, "{why}"),
        }
    }
}

/// A file of our own store.
pub fn own(bytes: &[u8]) {
    let keys = ["access", "refresh", "id_token", "expires", "scope", "accountId"];
    both(bytes, |bytes| source(&Layout::Own, bytes, &keys, "", &[]));
}

/// A token on a line, or in our store.
pub fn static_token(bytes: &[u8]) {
    both(bytes, |bytes| source(&Layout::Static, bytes, &["token", "issued", "deadline"], "", &[]));
}

/// Logins on their way from one host to another: what is read is written as it was.
pub fn bundle(bytes: &[u8]) {
    both(bytes, |bytes| match bundles::parse(bytes) {
        Err(error) => tells_nothing(&error),
        Ok(logins) => {
            assert!((1..=64).contains(&logins.len()));
            for login in &logins {
                hides(login, &Secret::new(text_of(login.document.expose())), &[&login.layout]);
            }
            match bundles::compose(&logins, Timestamp::from_millis(NOW)) {
                Ok(made) => assert_eq!(bundles::parse(made.expose()).unwrap(), logins),
                Err(error) => tells_nothing(&error),
            }
        }
    });
}

/// Every property of a layout. `keys` are the members of the root that it may touch, `object` one of them
/// that is an object, `inner` what of it a refresh may touch.
fn source(layout: &Layout, bytes: &[u8], keys: &[&str], object: &str, inner: &[&str]) {
    let reading = layout.parse(bytes);
    assert_eq!(reading, layout.parse(bytes));
    match &reading {
        SourceReading::Ok(credential) => {
            is_sound(credential);
            if let Some(refresh) = &credential.refresh {
                refreshed(layout, bytes, credential, refresh, keys);
                if !object.is_empty() {
                    let stored = layout.store(bytes, refresh, &renewed()).unwrap();
                    if let Store::Patched(document) = stored {
                        let inside = |bytes: &[u8]| without(inside(&members(&text_of(bytes)), object), inner);
                        assert_eq!(inside(document.expose()), inside(bytes));
                    }
                }
            }
        }
        SourceReading::Unparseable { reason } => is_a_sentence(reason),
        SourceReading::Husk { login_ended: Some(why) } => {
            assert!(why.chars().count() <= 96 && !why.contains(char::is_control), "{why:?}");
        }
        SourceReading::Missing | SourceReading::Unreadable { .. } => panic!("that is about files"),
        _ => {}
    }
    // Whatever is there: nothing is stored over another refresh token, and errors are silent.
    let other = Secret::new("another-refresh-token".into());
    match layout.store(bytes, &other, &renewed()) {
        Err(error) => tells_nothing(&error),
        Ok(Store::Superseded) => {}
        Ok(Store::Patched(document)) => {
            assert!(
                !matches!(&reading, SourceReading::Ok(known) if known.refresh.as_ref().is_some_and(|r| *r != other))
            );
            stay(bytes, document.expose(), keys);
        }
    }
    match layout.enter(Some(bytes), &new_login()) {
        Err(error) => tells_nothing(&error),
        Ok(document) => {
            let read = layout.parse(document.expose());
            assert!(matches!(&read, SourceReading::Ok(new) if new.access.expose() == ACCESS), "{read:?}");
            if bytes != document.expose() && *layout != Layout::Static {
                stay(bytes, document.expose(), keys);
            }
            // Once more changes nothing.
            assert_eq!(layout.enter(Some(document.expose()), &new_login()).unwrap(), document);
        }
    }
}

fn is_sound(credential: &Credential) {
    let Credential { access, refresh, account, scopes, identity, .. } = credential;
    assert!(!access.is_blank() && refresh.as_ref().is_none_or(|refresh| !refresh.is_blank()));
    assert!(!access.expose().trim().contains(char::is_control), "a token is one line");
    let mut plain: Vec<&str> = scopes.iter().map(String::as_str).collect();
    plain.extend(
        [account, &identity.subscription, &identity.rate_limit_tier]
            .into_iter()
            .flatten()
            .map(String::as_str),
    );
    for secret in [Some(access), refresh.as_ref(), identity.id_token.as_ref()].into_iter().flatten() {
        hides(credential, secret, &plain);
    }
    for time in [credential.expires_at, credential.login_deadline].into_iter().flatten() {
        let _ = time.to_string();
    }
}

/// A refresh is stored, read back, stored again without a change, superseded for whoever comes late, and
/// taken back; a disarmed login has the same access token and no refresh token.
fn refreshed(layout: &Layout, bytes: &[u8], known: &Credential, spent: &Secret, keys: &[&str]) {
    let Store::Patched(document) = layout.store(bytes, spent, &renewed()).unwrap() else { return };
    let SourceReading::Ok(read) = layout.parse(document.expose()) else { panic!("a login stays one") };
    assert_eq!((read.access.expose(), read.refresh.as_ref().map(Secret::expose)), (ACCESS, Some(REFRESH)));
    if *layout != Layout::Codex {
        // Codex's tokens say themselves what they are good for.
        assert_eq!((&read.account, &read.scopes), (&known.account, &known.scopes));
    }
    stay(bytes, document.expose(), keys);
    let new = Secret::new(REFRESH.into());
    assert_eq!(layout.store(document.expose(), &new, &renewed()).unwrap(), Store::Patched(document.clone()));
    if *spent != new {
        assert_eq!(layout.store(document.expose(), spent, &renewed()).unwrap(), Store::Superseded);
    }
    let back =
        Renewed { access: Some(known.access.clone()), refresh: Some(spent.clone()), ..Renewed::default() };
    let Store::Patched(undone) = layout.store(document.expose(), &new, &back).unwrap() else {
        panic!("its own")
    };
    let SourceReading::Ok(read) = layout.parse(undone.expose()) else { panic!("a login stays one") };
    // In our own store the end that a token tells of itself counts from then on.
    let expires_at = if *layout == Layout::Own { read.expires_at } else { known.expires_at };
    assert_eq!(read, Credential { expires_at, ..known.clone() });
    let Store::Patched(disarmed) = layout.disarm(bytes, spent).unwrap() else { panic!("its own") };
    if let SourceReading::Ok(read) = layout.parse(disarmed.expose()) {
        assert_eq!((&read.access, read.refresh), (&known.access, None));
    }
    assert_eq!(
        layout.disarm(bytes, &Secret::new(format!("{}x", spent.expose()))).unwrap(),
        Store::Superseded
    );
}

/// All members but those of `keys` are the same text in the same order.
fn stay(before: &[u8], after: &[u8], keys: &[&str]) {
    let rest = |bytes: &[u8]| without(members(&text_of(bytes)), keys);
    assert_eq!(rest(after), rest(before));
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn renewed() -> Renewed {
    let secret = |text: &str| Some(Secret::new(text.into()));
    Renewed { access: secret(ACCESS), refresh: secret(REFRESH), ..Renewed::default() }
}

fn new_login() -> NewLogin {
    let secret = |text: &str| Secret::new(text.into());
    NewLogin {
        access: secret(ACCESS),
        refresh: Some(secret(REFRESH)),
        id_token: Some(secret("an.id.token")),
        expires_at: Some(Timestamp::from_millis(NOW)),
        scopes: vec!["user:inference".into()],
        account: Some("acct".into()),
        granted_at: Timestamp::from_millis(NOW),
        document: Some(Document::new(MADE.into())),
    }
}
