//! Files that hold copies: an edit is read back, a second one changes nothing, and what is not ours stays.

use tokensink::base::credential::{Credential, Identity};
use tokensink::base::secret::Secret;
use tokensink::base::time::Timestamp;
use tokensink::format::auth_profiles::{self as profiles, EntryForm};
use tokensink::format::template::Template;
use tokensink::format::view::View;
use tokensink::format::{
    Edit, FormatError, dotenv as variables, mirror, oauth_json as oauth, refreshes, secret_file,
};

use super::members::{inside, members, without};
use super::planted::{both, hides, is_a_sentence, tells_nothing};

/// What writes a file over whatever there is.
type Writer = dyn Fn(Option<&[u8]>) -> Result<Edit, FormatError>;

const PROFILE: &str = "anthropic:default";
const PROVIDER: &str = "anthropic";
const KEY: &str = "ANTHROPIC_OAUTH_TOKEN";
const ACCESS: &str = "sk-ant-oat01-the-new-access-token";
const REFRESH: &str = "sk-ant-ort01-the-new-refresh-token";

/// OpenClaw's store of profiles.
pub fn auth_profiles(bytes: &[u8]) {
    both(bytes, |bytes| {
        match profiles::held(bytes, PROFILE) {
            Err(error) => tells_nothing(&error),
            Ok(Some(held)) => {
                let plain: Vec<&str> = held.account.iter().map(String::as_str).collect();
                for secret in [&held.access, &held.refresh].into_iter().flatten() {
                    assert!(!secret.is_blank());
                    hides(&held, secret, &plain);
                }
                assert_eq!(profiles::has_profile(bytes, PROFILE), Ok(true));
            }
            Ok(None) => assert_eq!(profiles::has_profile(bytes, PROFILE), Ok(false)),
        }
        if let Ok(listed) = profiles::listed(bytes) {
            let is_short = |text: &str| text.chars().count() <= 64 && !text.contains(char::is_control);
            assert!(listed.iter().all(|profile| is_short(&profile.provider) && is_short(&profile.kind)));
        }
        let forms = [
            EntryForm::Token,
            EntryForm::OAuth { with_refresh: false },
            EntryForm::OAuth { with_refresh: true },
        ];
        for form in forms {
            let edit = |bytes: &[u8]| profiles::edit(Some(bytes), PROFILE, PROVIDER, &credential(), form);
            let Some(after) = settles(bytes, edit) else { continue };
            let held = profiles::held(&after, PROFILE).unwrap().unwrap();
            assert_eq!(held.access.as_ref().map(Secret::expose), Some(ACCESS));
            let has_refresh = form == EntryForm::OAuth { with_refresh: true };
            assert_eq!(held.refresh.as_ref().map(Secret::expose), has_refresh.then_some(REFRESH));
            stays_beside(bytes, &after, &["profiles", "usageStats"]);
            for table in ["profiles", "usageStats"] {
                let rest = |bytes: &[u8]| without(inside(&members(&text_of(bytes)), table), &[PROFILE]);
                assert_eq!(rest(&after), rest(bytes), "{table}");
            }
        }
        if let Some(after) = settles(bytes, |bytes| profiles::remove(bytes, PROFILE)) {
            assert_eq!(profiles::held(&after, PROFILE), Ok(None));
            stays_beside(bytes, &after, &["profiles"]);
        }
        let order = [PROFILE.to_owned()];
        let set = |bytes: &[u8]| profiles::set_order(bytes, PROVIDER, Some(&order));
        if let Some(after) = settles(bytes, set) {
            assert_eq!(profiles::order(&after, PROVIDER).unwrap().as_deref(), Some(&order[..]));
            stays_beside(bytes, &after, &["order"]);
            let unset = settles(&after, |bytes| profiles::set_order(bytes, PROVIDER, None)).unwrap();
            assert_eq!(profiles::order(&unset, PROVIDER), Ok(None));
        }
        for (_, refresh) in refreshes::of_profiles(bytes).iter().chain(&refreshes::of_providers(bytes)) {
            assert!(!refresh.is_blank());
        }
    });
}

/// OpenClaw's seed.
pub fn oauth_json(bytes: &[u8]) {
    both(bytes, |bytes| {
        if let Err(error) = oauth::held(bytes, PROVIDER) {
            tells_nothing(&error);
        }
        for with_refresh in [false, true] {
            let edit = |bytes: &[u8]| oauth::edit(Some(bytes), PROVIDER, &credential(), with_refresh);
            let Some(after) = settles(bytes, edit) else { continue };
            let held = oauth::held(&after, PROVIDER).unwrap().unwrap();
            assert_eq!(held.access.as_ref().map(Secret::expose), Some(ACCESS));
            assert_eq!(held.refresh.as_ref().map(Secret::expose), with_refresh.then_some(REFRESH));
            stays_beside(bytes, &after, &[PROVIDER]);
        }
        if let Some(after) = settles(bytes, |bytes| oauth::remove(bytes, PROVIDER)) {
            assert_eq!(oauth::held(&after, PROVIDER), Ok(None));
            stays_beside(bytes, &after, &[PROVIDER]);
        }
    });
}

/// Environment files: one value is written anew, every other byte stays.
pub fn dotenv(bytes: &[u8]) {
    if let Err(error) = variables::held(bytes, KEY) {
        tells_nothing(&error);
    }
    for token in [ACCESS, "with 'both' \"quotes\" $and \\more", "a # b"] {
        let secret = Secret::new(token.to_owned());
        let edit = |bytes: &[u8]| variables::edit(Some(bytes), KEY, &secret);
        let Some(after) = settles(bytes, edit) else {
            // A plain one is never refused, whatever is open above it.
            assert!(token != ACCESS && text_of(bytes).contains(['"', '\'']));
            continue;
        };
        assert_eq!(variables::held(&after, KEY), Ok(Some(secret)));
        if bytes != after {
            // One stretch differs, and no other variable has changed.
            let same = bytes.iter().zip(&after).take_while(|(a, b)| a == b).count();
            let rest = bytes.len().min(after.len()) - same;
            let tail =
                bytes.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
            assert!(after.len() - same - tail <= 2 * token.len() + KEY.len() + 8, "one value is written");
        }
    }
    // One of several in a row is taken away each time.
    let mut rest = bytes.to_vec();
    for _ in 0..32 {
        let Some(next) = after(&rest, &|bytes| variables::remove(bytes, KEY)).filter(|next| *next != rest)
        else {
            break;
        };
        assert!(next.len() < rest.len(), "it becomes shorter each time");
        rest = next;
    }
    let is_left = text_of(&rest).matches(KEY).count() > 0;
    assert!(is_left || variables::held(&rest, KEY) == Ok(None));
    for key in ["", "1A", "A B", "A=B"] {
        assert!(
            variables::edit(Some(bytes), key, &Secret::new(ACCESS.into())).is_err(),
            "{key:?} is no name"
        );
    }
    // The input as a token: it is read back, or refused.
    if let Ok(token) = std::str::from_utf8(bytes) {
        let secret = Secret::new(token.to_owned());
        for existing in ["", "ANTHROPIC_OAUTH_TOKEN='x' # c\n", "ANTHROPIC_OAUTH_TOKEN=\"x\"\nB=1\n"] {
            match variables::edit(Some(existing.as_bytes()), KEY, &secret) {
                Err(error) => tells_nothing(&error),
                Ok(Edit::Unchanged) => assert_eq!(token, "x", "it is another one"),
                Ok(Edit::Changed(document)) => {
                    assert_eq!(variables::held(document.expose(), KEY), Ok(Some(secret.clone())));
                    assert!(
                        text_of(document.expose()).ends_with(
                            existing
                                .split_once('x')
                                .map_or("", |(_, rest)| { rest.trim_start_matches(['\'', '"']) })
                        )
                    );
                }
            }
        }
    }
}

/// The files that are ours alone: written whole over whatever is there, the same for any of it.
pub fn own_files(bytes: &[u8]) {
    both(bytes, |bytes| {
        for error in
            [secret_file::held(bytes).err(), mirror::held(bytes, PROVIDER).err()].into_iter().flatten()
        {
            tells_nothing(&error);
        }
        let files: [(&str, &Writer); 4] = [
            ("secret file", &|existing| secret_file::edit(existing, &credential())),
            ("mirror", &|existing| mirror::edit(existing, PROVIDER, &credential())),
            ("view of Claude", &|existing| View::Claude.edit(existing, &credential())),
            ("view of Codex", &|existing| View::Codex.edit(existing, &credential())),
        ];
        for (what, edit) in files {
            let Edit::Changed(new) = edit(None).unwrap() else { panic!("{what}: nothing is there") };
            let over = edit(Some(bytes)).unwrap();
            assert_eq!(
                over,
                if bytes == new.expose() { Edit::Unchanged } else { Edit::Changed(new.clone()) }
            );
            assert!(!text_of(new.expose()).contains(REFRESH), "{what}: no refresh token leaves its source");
        }
        for view in [View::Claude, View::Codex] {
            if let Some(held) = view.held(bytes) {
                assert!(held.access.is_some_and(|access| !access.is_blank()));
            }
        }
    });
    // The input as a token and as whatever a login says of itself.
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.trim().is_empty()
    {
        let secret = Secret::new(text.to_owned());
        let strange = Credential { access: secret.clone(), account: Some(text.to_owned()), ..credential() };
        let Edit::Changed(file) = secret_file::edit(None, &strange).unwrap() else { panic!("a new file") };
        assert_eq!(secret_file::held(file.expose()).unwrap().access, Some(secret.clone()));
        let Edit::Changed(file) = mirror::edit(None, PROVIDER, &strange).unwrap() else {
            panic!("a new file")
        };
        assert_eq!(mirror::held(file.expose(), PROVIDER).unwrap().access, Some(secret));
        assert!(mirror::pointer(text).starts_with('/'));
        let _ = (View::Claude.edit(None, &strange), View::Codex.edit(None, &strange));
    }
}

/// Templates: what is rendered is found again, and cannot become more than the template says.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Template::parse(text) {
        Err(error) => {
            is_a_sentence(&error.to_string());
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&error.line) && error.column >= 1);
        }
        Ok(template) => match template.render(&credential(), "work") {
            Err(error) => tells_nothing(&error),
            Ok(rendered) => {
                let fields = text.matches("{{").count();
                assert!(rendered.len() <= text.len() + fields * 64);
                let has_refresh = text_of(rendered.expose()).contains(REFRESH) && !text.contains(REFRESH);
                assert!(!has_refresh || template.uses_refresh_token());
                if let Some(found) = template.held_access(rendered.expose()) {
                    let unique = text.matches("access_token").count() == 1 && fields == 1;
                    assert!(!unique || found.expose() == ACCESS, "the only field is the token");
                }
                assert_eq!(template.render(&credential(), "work").unwrap(), rendered);
            }
        },
    }
    // The input as an earlier rendering, and as a token.
    for shape in [
        "{{access_token}}",
        "a={{access_token}}\nb={{scopes}}\nc={{access_token}}\n",
        "{\"t\":\"{{access_token}}\",\"e\":{{expires_at}}}",
    ] {
        let template = Template::parse(shape).unwrap();
        if let Some(found) = template.held_access(bytes) {
            assert!(!found.is_blank() && text.contains(found.expose()));
        }
        let strange = Credential { access: Secret::new(text.to_owned()), ..credential() };
        if let Ok(rendered) = template.render(&strange, "work") {
            assert!(!text.contains(char::is_control));
            assert_eq!(rendered.expose().split(|byte| *byte == b'\n').count(), shape.split('\n').count());
        }
    }
}

fn credential() -> Credential {
    Credential {
        access: Secret::new(ACCESS.into()),
        refresh: Some(Secret::new(REFRESH.into())),
        expires_at: Some(Timestamp::from_millis(1_795_199_075_831)),
        login_deadline: None,
        scopes: vec!["user:inference".into()],
        account: Some("acct".into()),
        expiry_in_seconds: false,
        identity: Identity { id_token: Some(Secret::new("an.id.token".into())), ..Identity::default() },
    }
}

/// The document after an edit, which is the same after the next one; `None` where it is refused, in silence.
fn settles(bytes: &[u8], edit: impl Fn(&[u8]) -> Result<Edit, FormatError>) -> Option<Vec<u8>> {
    let after = after(bytes, &edit)?;
    assert_eq!(edit(&after), Ok(Edit::Unchanged), "a second edit changes nothing");
    Some(after)
}

fn after(bytes: &[u8], edit: &impl Fn(&[u8]) -> Result<Edit, FormatError>) -> Option<Vec<u8>> {
    match edit(bytes) {
        Err(error) => {
            tells_nothing(&error);
            None
        }
        Ok(Edit::Unchanged) => Some(bytes.to_vec()),
        Ok(Edit::Changed(document)) => {
            assert_ne!(document.expose(), bytes, "a change changes something");
            Some(document.expose().to_vec())
        }
    }
}

fn stays_beside(before: &[u8], after: &[u8], keys: &[&str]) {
    let rest = |bytes: &[u8]| without(members(&text_of(bytes)), keys);
    assert_eq!(rest(after), rest(before));
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
