//! Properties of the formats; see `format.rs`.

use proptest::prelude::*;
use serde_json::{Map, Value};
use tokensink::base::credential::{Credential, Identity, Renewed, SourceReading};
use tokensink::base::secret::Secret;
use tokensink::base::time::Timestamp;
use tokensink::format::auth_profiles::{self, EntryForm};
use tokensink::format::json_doc::JsonDoc;
use tokensink::format::layout::Store;
use tokensink::format::release::Release;
use tokensink::format::template::Template;
use tokensink::format::{Edit, claude, codex, dotenv, oauth_json, openclaw_config, secret_file};

#[path = "../corpus/properties/members.rs"]
mod members;

use members::{inside, members, without};

const KEY: &str = "ANTHROPIC_OAUTH_TOKEN";

fn credential(access: &str, refresh: Option<&str>) -> Credential {
    Credential {
        access: Secret::new(access.to_owned()),
        refresh: refresh.map(|text| Secret::new(text.to_owned())),
        expires_at: Some(Timestamp::from_millis(1_795_199_075_831)),
        login_deadline: None,
        scopes: vec!["user:inference".to_owned()],
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

/// Any JSON value, printed in any of several layouts.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(("\\PC{0,8}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// White space chosen by `layout`, a stream of small numbers.
fn space(layout: &[u8], at: &mut usize, out: &mut String) {
    let pick = layout[*at % layout.len()];
    *at += 1;
    out.push_str(["", "", " ", "\n", "\r\n\t", "  ", "\n    "][usize::from(pick) % 7]);
}

/// Writes `value` with white space everywhere it may stand.
fn laid_out(value: &Value, layout: &[u8], at: &mut usize, out: &mut String) {
    let (open, close) = match value {
        Value::Array(_) => ('[', ']'),
        Value::Object(_) => ('{', '}'),
        other => return out.push_str(&other.to_string()),
    };
    let items: Vec<(Option<&str>, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (Some(key.as_str()), value)).collect(),
        other => other.as_array().unwrap().iter().map(|value| (None, value)).collect(),
    };
    out.push(open);
    for (i, (key, value)) in items.into_iter().enumerate() {
        if i > 0 {
            space(layout, at, out);
            out.push(',');
        }
        space(layout, at, out);
        if let Some(key) = key {
            out.push_str(&Value::from(key).to_string());
            space(layout, at, out);
            out.push(':');
            space(layout, at, out);
        }
        laid_out(value, layout, at, out);
    }
    space(layout, at, out);
    out.push(close);
}

/// A document whose root is an object.
fn document() -> impl Strategy<Value = String> {
    let members = prop::collection::vec(("\\PC{0,8}", json()), 0..6);
    (members, prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(members, layout)| {
        let mut out = String::new();
        let object = Value::Object(members.into_iter().collect::<Map<_, _>>());
        laid_out(&object, &layout, &mut 0, &mut out);
        if layout[0] % 3 == 0 {
            out.push('\n');
        }
        out
    })
}

fn changed(edit: Edit) -> String {
    match edit {
        Edit::Changed(document) => String::from_utf8(document.expose().to_vec()).unwrap(),
        Edit::Unchanged => panic!("nothing changed"),
    }
}

fn env_line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Z]{1,6}=[a-z0-9 #]{0,10}",
        "# [ -~]{0,12}",
        Just(String::new()),
        "(export )?[A-Z]{1,4}=\"[a-z =#']{0,8}\"",
        "[A-Z]{1,4}='[a-z =#\"]{0,8}'",
        Just(format!("#{KEY}=old")),
        Just(format!("X{KEY}=old")),
        "  [a-z ]{0,9}",
    ]
}

fn store() -> &'static [u8] {
    include_bytes!("auth_profiles/a_rotation_clears_the_cooldown_of_that_profile_only/before.json")
}

/// With one text in all its places, which may be a hostile token.
fn codex_document(access: &str) -> String {
    let token = Value::from(access).to_string();
    format!(
        "{{\"auth_mode\":\"chatgpt\",\"tokens\":{{\"id_token\":{token},\"access_token\":{token},\
         \"refresh_token\":\"rt_b\"}},\"last_refresh\":\"2026-11-20T17:15:48.760505969Z\"}}"
    )
}

fn renewed(id_token: &str, access: &str, refresh: &str) -> Renewed {
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    Renewed {
        id_token: secret(id_token),
        access: secret(access),
        refresh: secret(refresh),
        granted_at: Some(Timestamp::from_millis(1_795_199_075_831)),
        ..Renewed::default()
    }
}

fn claude_document() -> String {
    let login = concat!(
        r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-aé","refreshToken":"sk-ant-ort01-b","#,
        r#""expiresAt":1795199075831,"refreshTokenExpiresAt":1797000000000,"scopes":["user:inference"],"#,
        r#""subscriptionType":"max","accountUuid":"acct"},"mcpOAuth":{"x":{"accessToken":"m"}}}"#
    );
    login.to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn setting_a_member_keeps_every_other_members_source_text(
        text in document(), key in "\\PC{0,8}", pick in any::<prop::sample::Index>(), value in json(),
    ) {
        let before = members(&text);
        let key = if before.is_empty() || pick.index(2) == 0 { key } else { pick.get(&before).0.clone() };
        let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
        doc.set(&[&key], &value).unwrap();
        let edited = match doc.into_edit(Some(text.as_bytes())) {
            Edit::Unchanged => text.clone(),
            edit => changed(edit),
        };
        let after = members(&edited);
        prop_assert_eq!(without(after.clone(), &[&key]), without(before.clone(), &[&key]));
        let at = |list: &[(String, String)]| list.iter().position(|(k, _)| *k == key);
        prop_assert_eq!(at(&after), Some(at(&before).unwrap_or(before.len())));
        let mut again = JsonDoc::parse(edited.as_bytes()).unwrap();
        prop_assert!(!again.set(&[&key], &value).unwrap());
        prop_assert_eq!(again.into_edit(Some(edited.as_bytes())), Edit::Unchanged);
    }

    #[test]
    fn replacing_a_value_keeps_every_byte_around_it(text in document(), pick in any::<prop::sample::Index>()) {
        let before = members(&text);
        prop_assume!(!before.is_empty());
        let (key, raw) = pick.get(&before).clone();
        let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
        doc.set_secret(&[&key], &Secret::new("a-new-value".into())).unwrap();
        let edited = changed(doc.into_edit(Some(text.as_bytes())));
        let new = "\"a-new-value\"";
        // Everything before the value and everything after it is as it was.
        let prefix = text.bytes().zip(edited.bytes()).take_while(|(a, b)| a == b).count();
        prop_assert_eq!(edited.len() + raw.len(), text.len() + new.len());
        let at = edited.find(new).unwrap();
        prop_assert!(prefix >= at);
        prop_assert_eq!(&text[at + raw.len()..], &edited[at + new.len()..]);
    }

    #[test]
    fn removing_a_member_keeps_the_others_and_leaves_a_document(text in document(), pick in any::<prop::sample::Index>()) {
        let before = members(&text);
        prop_assume!(!before.is_empty());
        let key = pick.get(&before).0.clone();
        let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
        prop_assert!(doc.remove(&[&key]).unwrap());
        let edited = changed(doc.into_edit(Some(text.as_bytes())));
        prop_assert_eq!(members(&edited), without(before, &[&key]));
    }

    #[test]
    fn a_variable_is_edited_and_all_other_lines_are_identical(
        lines in prop::collection::vec(env_line(), 0..8),
        more in prop::collection::vec(env_line(), 0..4),
        ours in prop::option::of("(export |  )?ANTHROPIC_OAUTH_TOKEN=(old|\"old\"|'old'|)( # c)?"),
        crlf in any::<bool>(), ended in any::<bool>(),
        value in "[ -~]{1,30}",
    ) {
        prop_assume!(!value.trim().is_empty());
        let newline = if crlf { "\r\n" } else { "\n" };
        let all: Vec<String> = lines.iter().chain(&ours).chain(&more).cloned().collect();
        let mut text = all.join(newline);
        if ended && !text.is_empty() {
            text.push_str(newline);
        }
        let secret = Secret::new(value);
        let edited = changed(dotenv::edit(Some(text.as_bytes()), KEY, &secret).unwrap());
        prop_assert_eq!(dotenv::held(edited.as_bytes(), KEY).unwrap(), Some(secret.clone()));
        prop_assert_eq!(dotenv::edit(Some(edited.as_bytes()), KEY, &secret).unwrap(), Edit::Unchanged);
        if ours.is_none() {
            prop_assert!(edited.starts_with(&text));
        } else {
            let after: Vec<&str> = edited.split(newline).collect();
            let before: Vec<&str> = text.split(newline).collect();
            prop_assert_eq!(after.len(), before.len());
            let differing = before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b);
            prop_assert_eq!(differing.map(|(i, _)| i).collect::<Vec<_>>(), vec![lines.len()]);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-z0-9\\\\ \n='#$]{0,80}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = claude::parse(bytes);
            let _ = codex::parse(bytes);
            let _ = codex::provenance(bytes);
            let _ = codex::store(bytes, &Secret::new("old".into()), &renewed("i", "a", "r"));
            let _ = oauth_json::held(bytes, "anthropic");
            let _ = auth_profiles::held(bytes, "anthropic:default");
            let _ = auth_profiles::listed(bytes);
            let _ = auth_profiles::order(bytes, "anthropic");
            let _ = auth_profiles::set_order(bytes, "anthropic", None);
            let _ = dotenv::held(bytes, "A");
            let _ = secret_file::held(bytes);
            let _ = openclaw_config::agent_dirs(bytes);
            let _ = openclaw_config::configured_profiles(bytes, "anthropic");
            let _ = openclaw_config::global_order(bytes, "anthropic");
            let _ = openclaw_config::last_touched_version(bytes);
            let new = credential("new", Some("newer"));
            let _ = oauth_json::edit(Some(bytes), "anthropic", &new, true);
            let _ = auth_profiles::edit(Some(bytes), "a", "anthropic", &new, EntryForm::Token);
            let _ = dotenv::edit(Some(bytes), "A", &new.access);
            let _ = secret_file::edit(Some(bytes), &new);
            let text = String::from_utf8_lossy(bytes);
            let _ = Release::parse(&text);
            if let Ok(template) = Template::parse(&text) {
                let _ = template.held_access(bytes);
            }
        }
    }

    #[test]
    fn no_token_makes_the_reader_of_claims_panic_or_refuse(payload in "\\PC{0,60}|[A-Za-z0-9_=+/-]{0,60}|eyJ[A-Za-z0-9_-]{0,40}", parts in 0..5_usize) {
        let token = vec![payload.as_str(); parts].join(".");
        // A blank one is a partial login, one with a line end in it is none.
        prop_assume!(!token.trim().is_empty() && !token.contains(char::is_control));
        let read = codex::parse(codex_document(&token).as_bytes());
        prop_assert!(matches!(read, SourceReading::Ok(Credential { expires_at: Some(_), .. })), "{:?}", read);
    }

    #[test]
    fn a_stored_codex_login_is_read_back_and_every_other_member_stays(
        access in "[!-~]{1,40}", refresh in "[!-~]{1,20}", extra in json(), layout in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let login: Value = serde_json::from_str(&codex_document("a.b.c")).unwrap();
        let mut whole = Map::from_iter([("unknown".to_owned(), extra)]);
        whole.extend(login.as_object().unwrap().clone());
        whole["tokens"]["unknown"] = whole["unknown"].clone();
        let mut text = String::new();
        laid_out(&Value::Object(whole), &layout, &mut 0, &mut text);
        let new = renewed("i.n.c", &access, &refresh);
        let stored = codex::store(text.as_bytes(), &Secret::new("rt_b".into()), &new).unwrap();
        let Store::Patched(document) = stored else { panic!("the spent token is there") };
        let after = String::from_utf8(document.expose().to_vec()).unwrap();
        let SourceReading::Ok(read) = codex::parse(after.as_bytes()) else { panic!("a login") };
        prop_assert_eq!((Some(read.access), read.refresh), (new.access.clone(), new.refresh.clone()));
        let rest = |text: &str| without(members(text), &["tokens", "last_refresh"]);
        prop_assert_eq!(rest(&after), rest(&text));
        let inner = |text: &str| inside(&members(text), "tokens");
        prop_assert_eq!(inner(&after).pop(), inner(&text).pop());
    }

    #[test]
    fn a_store_edited_twice_is_unchanged(access in "[ -~]{1,20}", refresh in prop::option::of("[!-~]{1,20}"), form in 0..3) {
        prop_assume!(!access.trim().is_empty());
        let form = [EntryForm::Token, EntryForm::OAuth { with_refresh: false }, EntryForm::OAuth { with_refresh: true }][form as usize];
        let new = credential(&access, refresh.as_deref());
        let edit = |bytes: &[u8]| auth_profiles::edit(Some(bytes), "anthropic:default", "anthropic", &new, form).unwrap();
        let edited = changed(edit(store()));
        prop_assert_eq!(edit(edited.as_bytes()), Edit::Unchanged);
        let held = auth_profiles::held(edited.as_bytes(), "anthropic:default").unwrap().unwrap();
        prop_assert_eq!(held.access, Some(new.access.clone()));
        let lost = held.refresh.is_none() && form == EntryForm::OAuth { with_refresh: true };
        prop_assert!(!lost, "a refresh token was emptied");
    }

    #[test]
    fn a_template_gives_its_access_token_back(head in "[a-z\":= .\n]{0,8}", tail in "[a-z\"} .\n]{0,8}", token in "[A-Za-z0-9_-]{4,30}") {
        let template = Template::parse(&format!("{head}{{{{access_token}}}}{tail}")).unwrap();
        let new = credential(&token, None);
        let rendered = template.render(&new, "claude").unwrap();
        prop_assert_eq!(template.held_access(rendered.expose()), Some(new.access));
    }
}

#[test]
fn no_truncation_of_a_source_is_a_login() {
    type Reader = fn(&[u8]) -> SourceReading;
    let readers: [(Reader, String); 2] =
        [(claude::parse, claude_document()), (codex::parse, codex_document("a.b.c"))];
    for (parse, whole) in readers {
        assert!(matches!(parse(whole.as_bytes()), SourceReading::Ok(_)));
        for length in 0..whole.len() {
            let reading = parse(&whole.as_bytes()[..length]);
            assert!(matches!(reading, SourceReading::Unparseable { .. }), "{length}: {reading:?}");
        }
    }
}

#[test]
fn every_truncation_of_a_store_is_refused() {
    let whole = store();
    let end = whole.trim_ascii_end().len();
    let new = credential("new", None);
    for length in 0..end {
        let torn = Some(&whole[..length]);
        let edit = auth_profiles::edit(torn, "anthropic:default", "anthropic", &new, EntryForm::Token);
        assert!(edit.is_err(), "{length}");
    }
}

#[test]
fn an_error_never_quotes_the_document() {
    let whole = claude_document();
    for length in 0..whole.len() {
        if let SourceReading::Unparseable { reason } = claude::parse(&whole.as_bytes()[..length]) {
            assert!(!reason.contains("sk-") && reason.len() < 100, "{reason}");
        }
    }
    let odd = r#"{"anthropic":{"access":"canary","expires":"canary"}"canary"#;
    let error =
        oauth_json::edit(Some(odd.as_bytes()), "anthropic", &credential("new", None), true).unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"anthropic\":{}1{}}}", open.repeat(200_000), close.repeat(200_000));
        let bytes = deep.as_bytes();
        assert!(oauth_json::held(bytes, "anthropic").is_err());
        assert_eq!(openclaw_config::last_touched_version(bytes), None);
        assert!(openclaw_config::agent_dirs(&bytes[..bytes.len() / 2]).is_empty());
    }
}

/// Linear in what is done, not in time: the opened path is all that is scanned.
#[test]
fn ten_thousand_profiles_are_edited_in_place() {
    let mut text = String::from("{\n  \"version\": 1,\n  \"profiles\": {");
    for i in 0..10_000 {
        let comma = if i > 0 { "," } else { "" };
        let token = format!("sk-ant-oat01-{i:080}");
        text.push_str(&format!(
            "{comma}\n    \"anthropic:p{i}\": {{\n      \"type\": \"token\",\n      \"provider\": \"anthropic\",\n      \"token\": \"{token}\",\n      \"expires\": 1795199075831\n    }}"
        ));
    }
    text.push_str("\n  }\n}\n");
    let new = credential("sk-ant-oat01-new", None);
    let started = std::time::Instant::now();
    let edit =
        auth_profiles::edit(Some(text.as_bytes()), "anthropic:p9000", "anthropic", &new, EntryForm::Token);
    println!("{} bytes in {:?}", text.len(), started.elapsed());
    let old = format!("sk-ant-oat01-{:080}", 9000);
    assert_eq!(changed(edit.unwrap()), text.replace(&old, "sk-ant-oat01-new"));
}
