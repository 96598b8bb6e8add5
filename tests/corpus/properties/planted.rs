//! Secrets where a document has its values: none of them may come back in the text of an error.

use std::fmt::{Debug, Display};

use tokensink::base::secret::Secret;

/// What every planted secret begins with.
const MARK: &str = "c4n4ry";
/// Shorter values are words of the format (`token`, `oauth`) rather than secrets.
const SHORTEST: usize = 6;
/// No error is longer, in bytes: a sentence, and what it names is cut to 64 characters.
const LONGEST_ERROR: usize = 640;

/// The document with another secret in the place of each longer text that is a value, each longer than an
/// id may be, as tokens are; `None` where there is no such place, or the mark is in it already, perhaps in a key, which may be named.
pub fn planted(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(MARK))?;
    let mut out = String::with_capacity(text.len());
    let mut count = 0;
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let (before, from) = rest.split_at(open + 1);
        out.push_str(before);
        let Some(length) = length_of_string(from) else {
            rest = from;
            break;
        };
        let (value, after) = from.split_at(length);
        let is_key = after.get(1..).is_some_and(|after| after.trim_start().starts_with([':', '=', '.', ']']));
        // What names an entry may be named in turn.
        let is_id =
            ["id", "login", "sink"].iter().any(|key| before.trim_end_matches(['"', ' ', '=']).ends_with(key));
        if value.chars().count() < SHORTEST || is_key || is_id {
            out.push_str(value);
        } else {
            out.push_str(&format!("{MARK}-{count:03}-{}", "made-up".repeat(9)));
            count += 1;
        }
        out.push('"');
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    (count > 0).then(|| out.into_bytes())
}

/// How long the rest of a string is whose opening quote is gone, without the closing one.
fn length_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map(|(at, _)| at)
}

/// Checks the input, and the input with secrets planted in it.
pub fn both(bytes: &[u8], holds: impl Fn(&[u8])) {
    holds(bytes);
    if let Some(planted) = planted(bytes) {
        holds(&planted);
    }
}

/// An error is one bounded line that tells no planted secret.
pub fn tells_nothing<E: Display + Debug>(error: &E) {
    is_a_sentence(&error.to_string());
    let debug = format!("{error:?}");
    assert!(!debug.contains(MARK), "{debug}");
}

/// A text for people is one bounded line that tells no planted secret.
pub fn is_a_sentence(text: &str) {
    assert!(!text.contains(MARK), "{text}");
    assert!(text.len() <= LONGEST_ERROR, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// What was read does not show this secret, unless it says the same elsewhere, where it is none.
pub fn hides<T: Debug>(read: &T, secret: &Secret, plain: &[&str]) {
    let secret = secret.expose();
    if secret.starts_with(MARK) && !plain.iter().any(|text| text.contains(secret)) {
        let debug = format!("{read:?}");
        assert!(!debug.contains(secret), "{debug}");
    }
}
