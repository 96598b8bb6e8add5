//! What was there comes back byte for byte, and no token is ever noted.

use proptest::prelude::*;

use super::*;
use crate::base::credential::{Credential, Identity};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::core::clock::Judgement;
use crate::core::memory::GenerationRecord;
use crate::format::auth_profiles::EntryForm;

fn key() -> FingerprintKey {
    FingerprintKey::new([7; 32])
}

fn login(n: usize) -> Credential {
    Credential {
        access: Secret::new(format!("sk-ant-oat01-{n:0width$}", width = 20 + n)),
        refresh: None,
        expires_at: None,
        login_deadline: None,
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

fn render(kind: usize) -> Render {
    match kind {
        0 => Render::EnvFile { key: "TOKEN".to_owned() },
        1 => Render::OAuthJson { provider: "anthropic".to_owned(), refresh: false },
        _ => {
            Render::AuthProfiles { profile: "anthropic:default".to_owned(), provider: "anthropic".to_owned() }
        }
    }
}

fn edited(render: &Render, old: Option<&Document>, credential: &Credential) -> Document {
    let bytes = old.map(Document::expose);
    let edit = match render {
        Render::EnvFile { key } => dotenv::edit(bytes, key, &credential.access),
        Render::OAuthJson { provider, .. } => oauth_json::edit(bytes, provider, credential, false),
        Render::AuthProfiles { profile, provider } => {
            auth_profiles::edit(bytes, profile, provider, credential, EntryForm::Token)
        }
        _ => unreachable!(),
    };
    match edit.unwrap() {
        Edit::Changed(document) => document,
        Edit::Unchanged => unreachable!(),
    }
}

fn document(text: &str) -> Document {
    Document::new(text.as_bytes().to_vec())
}

/// Documents of each kind without an entry of ours.
fn before() -> impl Strategy<Value = (usize, String)> {
    let lines = "(# [a-z]{0,6}(\r)?\n|[A-S]{1,4}=[a-z]{0,5}(\r)?\n|\n){0,5}([A-S]{1,3}=x)?";
    let space = "[ \n\t]{0,3}";
    let other = prop_oneof![Just(String::new()), Just("\"other\":{\"a\":1.50,\"b\":[1,2]}".to_owned())];
    let object = (space, other, space).prop_map(|(a, inner, b)| format!("{a}{{{b}{inner}{a}}}{b}"));
    let store = (space, object.clone(), any::<bool>()).prop_map(|(a, inner, has_more)| {
        let more = if has_more { ",\"order\":{}" } else { "" };
        format!("{{{a}\"version\":1,\"profiles\":{}{more}}}{a}", inner.trim())
    });
    prop_oneof![
        lines.prop_map(|text| (0, text)),
        object.prop_map(|text| (1, text)),
        store.prop_map(|text| (2, text)),
    ]
}

proptest! {
    #[test]
    fn what_was_there_before_comes_back_byte_for_byte_after_any_number_of_rotations(
        (kind, text) in before(),
        rotations in 1..4_usize,
    ) {
        let (key, render) = (key(), render(kind));
        let old = document(&text);
        let mut current = edited(&render, Some(&old), &login(0));
        let mut made = Made::note("f".to_owned(), Some(&old), &current, false, None, &key);
        for n in 1..rotations {
            let next = edited(&render, Some(&current), &login(n));
            made = Made::note("f".to_owned(), Some(&current), &next, true, Some(&made), &key);
            current = next;
        }
        let noted = serde_json::to_string(&made).unwrap();
        prop_assert!(!noted.contains("oat01"), "{}", noted);
        prop_assert_eq!(judge(&made, &current, None, None, &key).unwrap(), TakeBack::Replace(old));
    }

    #[test]
    fn bytes_of_a_token_are_never_noted(old in "[A-Za-z0-9_-]{4,40}", new in "[A-Za-z0-9_-]{4,40}") {
        prop_assume!(old != new);
        let line = |value: &str| document(&format!("A=1\nTOKEN={value}\nB=2\n"));
        for was_there in [true, false] {
            let made = Made::note("f".to_owned(), Some(&line(&old)), &line(&new), was_there, None, &key());
            let longest = match &made.origin {
                Origin::Spliced(splice) => splice.instead.len(),
                _ => 0,
            };
            // A value that the new one only continues leaves nothing to note.
            prop_assert_eq!(longest, 0, "{:?}", made);
            if was_there {
                prop_assert_eq!(&made.origin, &Origin::Token);
            }
        }
    }
}

#[test]
fn a_file_of_ours_is_removed_only_as_we_left_it() {
    let (key, new) = (key(), document("{\"access_token\":\"x\"}"));
    let made = Made::note("f".to_owned(), None, &new, false, None, &key);
    assert_eq!(judge(&made, &new, Some(&Render::SecretFile), None, &key).unwrap(), TakeBack::Remove);
    let other = document("{\"access_token\":\"y\"}");
    let left = judge(&made, &other, Some(&Render::SecretFile), None, &key).unwrap();
    assert_eq!(left, TakeBack::Leave(Left::Changed));
    // The next rotation does not make it somebody else's.
    let next = Made::note("f".to_owned(), Some(&new), &other, true, Some(&made), &key);
    assert_eq!(judge(&next, &other, None, None, &key).unwrap(), TakeBack::Remove);
    // What was noted of another path says nothing about this one.
    let moved = Made::note("g".to_owned(), Some(&new), &other, true, Some(&made), &key);
    assert_eq!(moved.origin, Origin::Token);
}

#[test]
fn a_line_that_somebody_wrote_before_the_next_rotation_is_never_taken_back() {
    let (key, render) = (key(), render(0));
    for old in [None, Some(document("A=1\n"))] {
        let first = edited(&render, old.as_ref(), &login(0));
        let made = Made::note("f".to_owned(), old.as_ref(), &first, false, None, &key);
        assert_ne!(made.origin, Origin::Entry, "as we left it, all of it could be undone");
        let theirs = Document::new([b"MINE=1\n", first.expose()].concat());
        let next = edited(&render, Some(&theirs), &login(1));
        let made = Made::note("f".to_owned(), Some(&theirs), &next, true, Some(&made), &key);
        assert_eq!(made.origin, Origin::Entry);
        let judged = judge(&made, &next, Some(&render), None, &key).unwrap();
        assert_eq!(judged, TakeBack::Leave(Left::Changed), "our token is not known as ours here");
        let mut known = LoginMemory::default();
        let clock = Judgement::steady(Timestamp::from_millis(1));
        known.remember(GenerationRecord::of(&login(1), &key, &clock), None);
        let judged = judge(&made, &next, Some(&render), Some(&known), &key).unwrap();
        let without = [&b"MINE=1\n"[..], old.as_ref().map_or(&b""[..], Document::expose)].concat();
        assert_eq!(judged, TakeBack::Replace(Document::new(without)));
    }
}

#[test]
fn an_entry_goes_only_with_tokens_that_are_all_known_here() {
    let key = key();
    let render = Render::OAuthJson { provider: "anthropic".to_owned(), refresh: true };
    let held = |access: &str, refresh: &str| {
        document(&format!(
            r#"{{"mine":1,"anthropic":{{"access":"sk-ant-oat01-{access}","refresh":"sk-ant-ort01-{refresh}","expires":5}}}}"#
        ))
    };
    let known = Credential {
        access: Secret::new("sk-ant-oat01-ours".to_owned()),
        refresh: Some(Secret::new("sk-ant-ort01-ours".to_owned())),
        ..login(0)
    };
    let mut memory = LoginMemory::default();
    memory.remember(GenerationRecord::of(&known, &key, &Judgement::steady(Timestamp::from_millis(1))), None);
    let written = held("ours", "ours");
    let made = Made::note("f".to_owned(), Some(&document("{\"mine\":1}")), &written, false, None, &key);
    // Somebody has written to the file since: it is judged by what our entry holds.
    let after = |access: &str, refresh: &str| {
        let text = String::from_utf8(held(access, refresh).expose().to_vec()).unwrap();
        judge(&made, &document(&text.replace("\"mine\":1", "\"mine\":2")), Some(&render), Some(&memory), &key)
            .unwrap()
    };
    assert!(matches!(after("ours", "ours"), TakeBack::Replace(_)));
    for (access, refresh) in [("ours", "theirs"), ("theirs", "ours"), ("theirs", "theirs")] {
        assert_eq!(after(access, refresh), TakeBack::Leave(Left::Changed), "{access} {refresh}");
    }
}
