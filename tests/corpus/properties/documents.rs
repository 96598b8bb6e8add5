//! JSON that is edited and not rendered anew: every byte that is not of the edit stays.

use serde_json::Value;
use tokensink::base::secret::Secret;
use tokensink::format::Edit;
use tokensink::format::json_doc::{Found, JsonDoc};

use super::members::{inside, members, without};
use super::planted::{both, tells_nothing};

const NEW: &str = "a-new-value";

/// Reading, setting, removing and undoing, at every key of the root and in every object there.
pub fn json(bytes: &[u8]) {
    both(bytes, |bytes| match JsonDoc::parse(bytes) {
        Err(error) => tells_nothing(&error),
        Ok(doc) => {
            assert!(serde_json::from_slice::<Value>(bytes).is_ok(), "only strict JSON is read");
            assert_eq!(doc.into_edit(Some(bytes)), Edit::Unchanged);
            let text = std::str::from_utf8(bytes).unwrap();
            let before = members(text);
            for (key, _) in before.iter().take(4) {
                replaced(text, &before, key);
                removed(text, &before, key);
                for (inner, _) in inside(&before, key).iter().take(2) {
                    below(text, &before, key, inner);
                }
            }
            added(text, &before);
        }
    });
}

/// Another value stands in the place of the old one, and the old one comes back.
fn replaced(text: &str, before: &[(String, String)], key: &str) {
    let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
    let outcome = doc.set_secret(&[key], &Secret::new(NEW.into()));
    let is_twice = before.iter().filter(|(name, _)| name == key).count() > 1;
    let Ok(is_changed) = outcome else {
        assert!(is_twice, "{outcome:?}");
        return tells_nothing(&outcome.unwrap_err());
    };
    assert!(!is_twice);
    let raw = &before.iter().find(|(name, _)| name == key).unwrap().1;
    assert_eq!(is_changed, serde_json::from_str::<Value>(raw).unwrap() != NEW);
    let edited = text_of(doc, text);
    if is_changed {
        let literal = format!("\"{NEW}\"");
        let prefix = text.bytes().zip(edited.bytes()).take_while(|(a, b)| a == b).count();
        let at = edited.match_indices(&literal).map(|(at, _)| at).find(|at| {
            let rest = text.get(at + raw.len()..);
            *at <= prefix && rest.is_some() && rest == edited.get(at + literal.len()..)
        });
        assert!(at.is_some(), "every byte around it stays: {edited}");
    }
    assert_eq!(without(members(&edited), &[key]), without(before.to_vec(), &[key]));
    let mut doc = JsonDoc::parse(edited.as_bytes()).unwrap();
    assert_eq!(doc.find(&[key]), Ok(Found::Text(Secret::new(NEW.into()))));
    assert_eq!(doc.set_secret(&[key], &Secret::new(NEW.into())), Ok(false));
    let old: Value = serde_json::from_str(raw).unwrap();
    doc.set(&[key], &old).unwrap();
    let undone = text_of(doc, &edited);
    let spelled = old.to_string();
    // A number with more digits than a double has is another one when it was written and read once more.
    if serde_json::from_str::<Value>(&spelled).unwrap() == old {
        let values = [&undone, text].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(values[0], values[1]);
    }
    if !old.is_object() && !old.is_array() && spelled == *raw {
        assert_eq!(undone, text, "an edit and its undoing leave nothing");
    }
}

fn removed(text: &str, before: &[(String, String)], key: &str) {
    let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
    if let Ok(is_changed) = doc.remove(&[key]) {
        assert!(is_changed);
        let edited = text_of(doc, text);
        assert_eq!(members(&edited), without(before.to_vec(), &[key]));
        let mut doc = JsonDoc::parse(edited.as_bytes()).unwrap();
        assert_eq!((doc.find(&[key]), doc.remove(&[key])), (Ok(Found::Absent), Ok(false)));
    }
}

fn added(text: &str, before: &[(String, String)]) {
    let key =
        (0..).map(|n| format!("new{n}")).find(|key| before.iter().all(|(name, _)| name != key)).unwrap();
    let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
    assert_eq!(doc.set_secret(&[&key, "inner"], &Secret::new(NEW.into())), Ok(true));
    let edited = text_of(doc, text);
    assert_eq!(without(members(&edited), &[&key]), before);
    let mut doc = JsonDoc::parse(edited.as_bytes()).unwrap();
    assert_eq!(doc.text(&[&key, "inner"]), Ok(Some(Secret::new(NEW.into()))));
    assert_eq!(doc.remove(&[&key]), Ok(true));
    assert_eq!(members(&text_of(doc, &edited)), before);
}

/// An edit one step deeper leaves what is beside it on both levels.
fn below(text: &str, before: &[(String, String)], key: &str, inner: &str) {
    let mut doc = JsonDoc::parse(text.as_bytes()).unwrap();
    if doc.set(&[key, inner], &Value::from(1_795_199_075_831_i64)).is_ok() {
        let edited = text_of(doc, text);
        let after = members(&edited);
        assert_eq!(without(after.clone(), &[key]), without(before.to_vec(), &[key]));
        assert_eq!(without(inside(&after, key), &[inner]), without(inside(before, key), &[inner]));
    }
}

fn text_of(doc: JsonDoc, before: &str) -> String {
    match doc.into_edit(Some(before.as_bytes())) {
        Edit::Unchanged => before.to_owned(),
        Edit::Changed(document) => String::from_utf8(document.expose().to_vec()).unwrap(),
    }
}
