//! The keys that exist, their types, and the check of one file against them.
//!
//! The man page lists these tables; a test compares the two. Which keys fit which kind of sink,
//! gateway or alert is decided after merging, because the kind may be written in another file.

use std::collections::BTreeMap;

use super::error::{ConfigError, DUPLICATE_ID, MISSING_KEY, UNKNOWN_KEY, WRONG_TYPE, bounded};
use super::fragment::{Node, Place, Table, Value};

/// The type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A string.
    Text,
    /// A string with a unit, as in `60s`.
    Duration,
    /// A string of octal digits.
    Mode,
    /// An integer.
    Number,
    /// A boolean.
    Flag,
    /// A list of strings.
    Texts,
    /// A string or a list of strings.
    TextOrTexts,
    /// A table with known keys.
    Table(&'static Shape),
    /// A table with names of the user's choice and strings.
    Variables,
    /// A list of tables.
    Entries(&'static Shape),
}

/// A table: its line in TOML and its keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// As in `[[login]]`.
    pub header: &'static str,
    /// Whether its entries have an `id`, by which they merge.
    pub has_id: bool,
    /// The keys, in the order of the documentation.
    pub keys: &'static [(&'static str, Type)],
}

/// The whole file.
pub const ROOT: Shape = Shape {
    header: "",
    has_id: false,
    keys: &[
        ("daemon", Type::Table(&DAEMON)),
        ("status", Type::Table(&STATUS)),
        ("metrics", Type::Table(&METRICS)),
        ("login", Type::Entries(&LOGIN)),
        ("sink", Type::Entries(&SINK)),
        ("gateway", Type::Entries(&GATEWAY)),
        ("alert", Type::Entries(&ALERT)),
        ("alerts", Type::Table(&ALERTS)),
    ],
};

/// `[daemon]`.
pub const DAEMON: Shape = Shape { header: "[daemon]", has_id: false, keys: &[("poll", Type::Duration)] };
/// `[status]`.
pub const STATUS: Shape = Shape { header: "[status]", has_id: false, keys: &[("warn", Type::Duration)] };
/// `[metrics]`.
pub const METRICS: Shape = Shape { header: "[metrics]", has_id: false, keys: &[("textfile", Type::Text)] };
/// `[[login]]`.
pub const LOGIN: Shape = Shape {
    header: "[[login]]",
    has_id: true,
    keys: &[
        ("id", Type::Text),
        ("provider", Type::Text),
        ("path", Type::Text),
        ("container", Type::Text),
        ("label", Type::Text),
        ("fields", Type::Table(&FIELDS)),
        ("authorize", Type::Table(&AUTHORIZE)),
        ("refresh", Type::Table(&REFRESH)),
    ],
};
/// `[login.fields]`.
pub const FIELDS: Shape = Shape {
    header: "[login.fields]",
    has_id: false,
    keys: &[
        ("access_token", Type::Text),
        ("refresh_token", Type::Text),
        ("id_token", Type::Text),
        ("expires_at", Type::Text),
        ("expires_unit", Type::Text),
        ("scope", Type::Text),
        ("account", Type::Text),
    ],
};
/// `[login.authorize]`.
pub const AUTHORIZE: Shape = Shape {
    header: "[login.authorize]",
    has_id: false,
    keys: &[
        ("url", Type::Text),
        ("device_url", Type::Text),
        ("scopes", Type::Texts),
        ("redirect", Type::Text),
    ],
};
/// `[login.refresh]`.
pub const REFRESH: Shape = Shape {
    header: "[login.refresh]",
    has_id: false,
    keys: &[
        ("mode", Type::Text),
        ("margin", Type::Duration),
        ("every", Type::Duration),
        ("command", Type::Texts),
        ("way", Type::Text),
        ("container", Type::Text),
        ("env", Type::Variables),
        ("token_url", Type::Text),
        ("client_id", Type::Text),
        ("client_secret_file", Type::Text),
        ("style", Type::Text),
        ("grants_per_day", Type::Number),
    ],
};
/// `[[sink]]`, all kinds together.
pub const SINK: Shape = Shape {
    header: "[[sink]]",
    has_id: true,
    keys: &[
        ("id", Type::Text),
        ("login", Type::Text),
        ("kind", Type::Text),
        ("state_dir", Type::Text),
        ("agents", Type::TextOrTexts),
        ("profile", Type::Text),
        ("manage", Type::Flag),
        ("form", Type::Text),
        ("path", Type::Text),
        ("refresh", Type::Flag),
        ("key", Type::Text),
        ("name", Type::Text),
        ("source", Type::Text),
        ("mode", Type::Mode),
        ("owner", Type::Text),
        ("group", Type::Text),
        ("command", Type::Texts),
        ("timeout", Type::Duration),
    ],
};
/// `[[gateway]]`, all kinds together.
pub const GATEWAY: Shape = Shape {
    header: "[[gateway]]",
    has_id: true,
    keys: &[
        ("id", Type::Text),
        ("sinks", Type::Texts),
        ("unit", Type::Text),
        ("scope", Type::Text),
        ("compose", Type::Table(&COMPOSE)),
        ("container", Type::Text),
        ("command", Type::Texts),
        ("apply", Type::Text),
        ("probe", Type::Text),
        ("idle", Type::Text),
        ("min_interval", Type::Duration),
        ("unauthorized", Type::Text),
    ],
};
/// `compose` of a gateway.
pub const COMPOSE: Shape = Shape {
    header: "[gateway.compose]",
    has_id: false,
    keys: &[("dir", Type::Text), ("service", Type::Text)],
};
/// `[[alert]]`, all kinds together.
pub const ALERT: Shape = Shape {
    header: "[[alert]]",
    has_id: false,
    keys: &[
        ("kind", Type::Text),
        ("url", Type::Text),
        ("command", Type::Texts),
        ("target", Type::Text),
        ("channel", Type::Text),
        ("credential", Type::Text),
        ("token_file", Type::Text),
    ],
};
/// `[alerts]`.
pub const ALERTS: Shape = Shape {
    header: "[alerts]",
    has_id: false,
    keys: &[("login_deadline", Type::Texts), ("remind", Type::Duration), ("heartbeat_url", Type::Text)],
};

/// The kinds of sinks and the keys of each beside `id`, `login` and `kind`.
pub const SINK_KINDS: [(&str, &[&str]); 10] = [
    ("openclaw", &["state_dir", "agents", "profile", "manage"]),
    ("auth-profiles", &["state_dir", "agents", "profile", "form"]),
    ("oauth-json", &["path", "refresh"]),
    ("env-file", &["path", "key"]),
    ("secret-file", &["path"]),
    ("systemd-creds", &["path", "name"]),
    ("claude-credentials", &["path", "mode", "owner", "group"]),
    ("codex-auth", &["path", "mode", "owner", "group"]),
    ("template", &["path", "source", "mode", "owner", "group"]),
    ("command", &["command", "timeout"]),
];

/// The kinds of alerts and the keys of each beside `kind`.
pub const ALERT_KINDS: [(&str, &[&str]); 6] = [
    ("ntfy", &["url", "credential", "token_file"]),
    ("webhook", &["url", "credential", "token_file"]),
    ("command", &["command"]),
    ("desktop", &[]),
    ("openclaw", &["target", "channel", "command"]),
    ("journal", &[]),
];

/// Checks one file. What is wrong is taken out of the tree, or broken so that nobody stumbles
/// over it again. Answers whether entries were lost, so that their ids are not known.
pub fn check(root: &mut Table, errors: &mut Vec<ConfigError>) -> bool {
    let before = errors.len();
    check_table(root, &ROOT, "", errors);
    let lost = |key: &str| !key.contains('.') || matches!(key, "login.id" | "sink.id" | "gateway.id");
    errors.iter().skip(before).any(|error| lost(&error.key))
}

/// An error at a place.
pub(super) fn fault(place: &Place, key: &str, code: &'static str, message: impl Into<String>) -> ConfigError {
    ConfigError {
        file: place.file.as_ref().clone(),
        line: place.line,
        column: place.column,
        key: key.to_owned(),
        message: message.into(),
        code,
    }
}

/// `table.key`, or the key alone at the top.
pub(super) fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { bounded(key) } else { format!("{table}.{}", bounded(key)) }
}

fn check_table(table: &mut Table, shape: &Shape, path: &str, errors: &mut Vec<ConfigError>) {
    table.retain(|name, node| {
        let known = shape.keys.iter().find(|(key, _)| key == name);
        if known.is_none() {
            let names = shape.keys.iter().map(|(key, _)| *key);
            let mut message = "there is no such key".to_owned();
            if let Some(near) = nearest(name, names) {
                message.push_str(&format!("; did you mean '{near}'?"));
            }
            errors.push(fault(&node.place, &joined(path, name), UNKNOWN_KEY, message));
        }
        known.is_some()
    });
    for (key, wanted) in shape.keys {
        if let Some(node) = table.get_mut(*key) {
            check_value(node, *wanted, &joined(path, key), errors);
        }
    }
}

fn check_value(node: &mut Node, wanted: Type, path: &str, errors: &mut Vec<ConfigError>) {
    let place = node.place.clone();
    let mut wrong = None;
    match (wanted, &mut node.value) {
        (Type::Text | Type::Duration | Type::Mode | Type::TextOrTexts, Value::Text(text)) => {
            if text.chars().any(char::is_control) {
                wrong = Some("must not contain control characters".to_owned());
            }
        }
        (Type::Number, Value::Number(_)) | (Type::Flag, Value::Flag(_)) => {}
        (Type::Texts | Type::TextOrTexts, Value::List(list)) => {
            if let Some(other) = list.iter().find(|item| !matches!(item.value, Value::Text(_))) {
                let found = other.value.type_name();
                wrong = Some(format!("must be a list of strings, but one of them is {found}"));
            } else if list.iter().any(has_control) {
                wrong = Some("must not contain control characters".to_owned());
            }
        }
        (Type::Table(shape), Value::Table(table)) => check_table(table, shape, path, errors),
        (Type::Variables, Value::Table(table)) => {
            for (name, node) in table {
                check_value(node, Type::Text, &joined(path, name), errors);
            }
        }
        (Type::Entries(shape), Value::List(list)) => check_entries(list, shape, path, errors),
        (wanted, found) => wrong = Some(expectation(wanted, found)),
    }
    if let Some(message) = wrong {
        errors.push(fault(&place, path, WRONG_TYPE, message));
        node.value = Value::Broken;
    }
}

fn has_control(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if text.chars().any(char::is_control))
}

fn expectation(wanted: Type, found: &Value) -> String {
    let expected = match wanted {
        Type::Text => "a string",
        Type::Duration => "a duration in quotes, as in \"60s\"",
        Type::Mode => "an octal mode in quotes, as in \"0640\"",
        Type::Number => "a number without quotes",
        Type::Flag => "true or false without quotes",
        Type::Texts => "a list of strings, as in [\"a\", \"b\"]",
        Type::TextOrTexts => "a string or a list of strings",
        Type::Variables => "a table of strings, as in { NAME = \"value\" }",
        Type::Table(shape) => return format!("must be a table {}, not {}", shape.header, found.type_name()),
        Type::Entries(shape) => {
            return format!("must be written as {}, not as {}", shape.header, found.type_name());
        }
    };
    format!("must be {expected}, not {}", found.type_name())
}

fn check_entries(list: &mut Vec<Node>, shape: &'static Shape, path: &str, errors: &mut Vec<ConfigError>) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    list.retain_mut(|node| {
        let place = node.place.clone();
        let Value::Table(table) = &mut node.value else {
            let message = format!("must be written as {}", shape.header);
            errors.push(fault(&place, path, WRONG_TYPE, message));
            return false;
        };
        let id = match table.get("id") {
            Some(Node { value: Value::Text(id), .. }) => Some(id.clone()),
            _ => None,
        };
        let name = id.as_deref().map_or_else(|| path.to_owned(), |id| joined(path, id));
        check_table(table, shape, &name, errors);
        if !shape.has_id {
            return true;
        }
        let Some(id) = id else {
            if !table.contains_key("id") {
                errors.push(fault(&place, &joined(path, "id"), MISSING_KEY, "is required"));
            }
            return false;
        };
        if let Some(first) = seen.get(&id) {
            let message = format!("is used twice in this file, first in line {first}");
            errors.push(fault(&place, &joined(&name, "id"), DUPLICATE_ID, message));
            return false;
        }
        seen.insert(id, place.line);
        true
    });
}

/// The known name that a mistyped one probably means.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    if plain.len() > 32 {
        return None;
    }
    known
        .map(|candidate| (distance(&plain, &candidate.replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two short names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut older: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (index, from) in left.chars().enumerate() {
        let mut next = vec![index + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = at(&row, column) + usize::from(from != *to);
            let mut best = replaced.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let before = column.checked_sub(1);
            if previous == Some(*to) && before.and_then(|before| right.get(before)) == Some(&from) {
                best = best.min(at(&older, column.saturating_sub(1)) + 1);
            }
            next.push(best);
        }
        older = std::mem::replace(&mut row, next);
        previous = Some(from);
    }
    at(&row, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_finds_its_neighbour() {
        let known = || LOGIN.keys.iter().chain(REFRESH.keys).map(|(key, _)| *key);
        assert_eq!(nearest("provder", known()), Some("provider"));
        assert_eq!(nearest("token-url", known()), Some("token_url"));
        assert_eq!(nearest("Mode", known()), Some("mode"));
        assert_eq!(nearest("banana", known()), None);
        assert_eq!(nearest(&"x".repeat(5000), known()), None);
        assert_eq!(nearest("lable", known()), Some("label"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn every_key_of_a_kind_is_a_key_of_its_table() {
        for (_, keys) in SINK_KINDS {
            assert!(keys.iter().all(|key| SINK.keys.iter().any(|(known, _)| known == key)));
        }
        for (_, keys) in ALERT_KINDS {
            assert!(keys.iter().all(|key| ALERT.keys.iter().any(|(known, _)| known == key)));
        }
    }
}
