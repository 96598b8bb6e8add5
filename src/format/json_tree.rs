//! The opened part of a JSON document, for [`super::json_doc`]: objects on the path of an edit are
//! split into the text before each value and the value itself; all else stays a range of the
//! source. New text imitates its neighbours. Invariant: what `write` gives without an edit is the
//! source, byte for byte.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;
use zeroize::Zeroizing;

use super::json_text::{Members, decoded, encoded, offset_in, same};
use super::{FormatError, FormatErrorKind, bounded};

/// How the document is laid out where there is no neighbour to imitate.
pub(super) struct Style {
    newline: &'static str,
    /// One step of indentation; `None` for a document on one line.
    pub(super) unit: Option<String>,
    /// What stands between a key and its value.
    colon: String,
}

pub(super) enum Node {
    /// As it stands in the source.
    Source(Range<usize>),
    /// Written by us: a scalar or an array.
    New(Zeroizing<String>),
    /// Opened, because an edit leads through it.
    Object(Object),
}

pub(super) struct Object {
    pub(super) members: Vec<Member>,
    /// From the last value to the closing brace.
    tail: Text,
}

pub(super) struct Member {
    pub(super) key: String,
    /// From the previous value (or the opening brace) to this value: comma, key, colon.
    lead: Text,
    pub(super) value: Node,
}

pub(super) enum Text {
    Source(Range<usize>),
    New(String),
}

/// A value to be written; a secret is not copied into a `Value`.
#[derive(Clone, Copy)]
pub(super) enum New<'a> {
    Text(&'a str),
    Value(&'a Value),
}

impl Style {
    /// The layout of OpenClaw's own writers, for a document that has none.
    pub(super) fn two_spaces(newline: &'static str) -> Self {
        Self { newline, unit: Some("  ".into()), colon: ": ".into() }
    }

    /// The layout of a document whose root is `root`.
    pub(super) fn of(source: &str, root: &mut Node) -> Self {
        let newline = if source.contains("\r\n") { "\r\n" } else { "\n" };
        let lead = root.object(source).and_then(|o| o.members.first()).map(|m| m.lead.as_str(source));
        let Some(lead) = lead else { return Self::two_spaces(newline) };
        Self {
            newline,
            unit: line_indent(lead).map(str::to_owned),
            colon: after_key(lead).unwrap_or(":").to_owned(),
        }
    }
}

impl Node {
    /// The node as an object, opened; `None` when it is something else.
    pub(super) fn object(&mut self, source: &str) -> Option<&mut Object> {
        if let Self::Source(range) = self {
            *self = Self::Object(Object::read(source, range.clone())?);
        }
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(super) fn descend(&mut self, source: &str, path: &[&str]) -> Result<Option<&mut Self>, FormatError> {
        let mut node = self;
        let mut name = "the document";
        for key in path {
            let object = node.object(source).ok_or_else(|| wrong_type(name, "an object"))?;
            let Some(index) = object.index_of(key)? else { return Ok(None) };
            let Some(member) = object.members.get_mut(index) else { return Ok(None) };
            node = &mut member.value;
            name = key;
        }
        Ok(Some(node))
    }

    /// Sets `value` at `path` below this node; `indent` is that of the line it stands on, `None`
    /// when its surroundings are on one line.
    pub(super) fn put(
        &mut self,
        source: &str,
        style: &Style,
        indent: Option<&str>,
        path: &[&str],
        value: New<'_>,
    ) -> Result<bool, FormatError> {
        let Some((key, rest)) = path.split_first() else {
            let raw = self.raw(source);
            if value.equals(&raw) {
                return Ok(false);
            }
            let one_line = raw.starts_with(['[', '{']) && raw.len() > 2 && !raw.contains('\n');
            let indent = if one_line { None } else { indent };
            *self = Self::made(style, indent, value);
            return Ok(true);
        };
        let object = self.object(source).ok_or_else(|| wrong_type("a parent of the value", "an object"))?;
        let index = object.index_of(key)?;
        if let Some(member) = index.and_then(|i| object.members.get_mut(i)) {
            let indent = line_indent(member.lead.as_str(source)).map(str::to_owned);
            if !rest.is_empty() && member.value.object(source).is_none() {
                return Err(wrong_type(key, "an object"));
            }
            return member.value.put(source, style, indent.as_deref(), rest, value);
        }
        let lead = object.lead_for(source, style, indent, key);
        let indent = line_indent(&lead).map(str::to_owned);
        let made = if rest.is_empty() {
            Self::made(style, indent.as_deref(), value)
        } else {
            let mut parent = Self::Object(Object::default());
            parent.put(source, style, indent.as_deref(), rest, value)?;
            parent
        };
        object.members.push(Member { key: (*key).to_owned(), lead: Text::New(lead), value: made });
        Ok(true)
    }

    /// A node for a new value, laid out over lines when `indent` is given.
    fn made(style: &Style, indent: Option<&str>, value: New<'_>) -> Self {
        match value {
            New::Text(text) => Self::New(encoded(text)),
            New::Value(Value::Object(map)) => {
                let mut object = Object::default();
                for (key, value) in map {
                    let lead = object.lead_for("", style, indent, key);
                    let made = Self::made(style, line_indent(&lead), New::Value(value));
                    object.members.push(Member { key: key.clone(), lead: Text::New(lead), value: made });
                }
                Self::Object(object)
            }
            New::Value(Value::Array(items)) if !items.is_empty() => {
                let inner = indent.map(|i| format!("{i}{}", style.unit.as_deref().unwrap_or_default()));
                let items = items.iter().map(|item| {
                    let node = Self::made(style, inner.as_deref(), New::Value(item));
                    node.raw("").into_owned()
                });
                let items: Vec<String> = items.collect();
                let text = match (indent, &inner) {
                    (Some(indent), Some(inner)) => {
                        let nl = style.newline;
                        let joined = items.join(&format!(",{nl}{inner}"));
                        format!("[{nl}{inner}{joined}{nl}{indent}]")
                    }
                    _ => format!("[{}]", items.join(if style.colon.ends_with(' ') { ", " } else { "," })),
                };
                Self::New(Zeroizing::new(text))
            }
            New::Value(scalar) => Self::New(Zeroizing::new(scalar.to_string())),
        }
    }

    pub(super) fn raw<'a>(&'a self, source: &'a str) -> Cow<'a, str> {
        match self {
            Self::Source(range) => Cow::Borrowed(source.get(range.clone()).unwrap_or_default()),
            Self::New(text) => Cow::Borrowed(text.as_str()),
            Self::Object(_) => {
                let mut out = Vec::with_capacity(self.len(source));
                self.write(source, &mut out);
                Cow::Owned(String::from_utf8(out).unwrap_or_default())
            }
        }
    }

    pub(super) fn len(&self, source: &str) -> usize {
        match self {
            Self::Source(range) => range.len(),
            Self::New(text) => text.len(),
            Self::Object(object) => {
                let members = object.members.iter();
                let inner: usize = members.map(|m| m.lead.as_str(source).len() + m.value.len(source)).sum();
                2 + inner + object.tail.as_str(source).len()
            }
        }
    }

    pub(super) fn write(&self, source: &str, out: &mut Vec<u8>) {
        match self {
            Self::Source(range) => out.extend(source.as_bytes().get(range.clone()).unwrap_or_default()),
            Self::New(text) => out.extend(text.as_bytes()),
            Self::Object(object) => {
                out.push(b'{');
                for member in &object.members {
                    out.extend(member.lead.as_str(source).as_bytes());
                    member.value.write(source, out);
                }
                out.extend(object.tail.as_str(source).as_bytes());
                out.push(b'}');
            }
        }
    }
}

impl Default for Object {
    fn default() -> Self {
        Self { members: Vec::new(), tail: Text::New(String::new()) }
    }
}

fn twice(key: &str) -> FormatError {
    FormatError::new(FormatErrorKind::DuplicateKey, format!("the key {} occurs twice", bounded(key)))
}

impl Object {
    /// Opens the object that stands at `range`; `None` when something else stands there.
    fn read(source: &str, range: Range<usize>) -> Option<Self> {
        let text = source.get(range.clone())?;
        let found: Members<'_> = if text.starts_with('{') { serde_json::from_str(text).ok()? } else { None? };
        let mut members = Vec::with_capacity(found.0.len());
        let mut end = range.start + 1;
        for (key, raw) in found.0 {
            let start = range.start + offset_in(text, raw.get())?;
            let lead = Text::Source(end..start);
            end = start + raw.get().len();
            members.push(Member { key, lead, value: Node::Source(start..end) });
        }
        Some(Self { members, tail: Text::Source(end..range.end - 1) })
    }

    /// Where `key` is; more than once is an error, because readers disagree about which counts.
    pub(super) fn index_of(&self, key: &str) -> Result<Option<usize>, FormatError> {
        let mut places = self.members.iter().enumerate().filter(|(_, m)| m.key == key).map(|(i, _)| i);
        let first = places.next();
        if places.next().is_some() { Err(twice(key)) } else { Ok(first) }
    }

    /// No key more than once, for whoever reads them all.
    pub(super) fn are_keys_unique(&self) -> Result<(), FormatError> {
        let mut seen = BTreeSet::new();
        let again = self.members.iter().find(|member| !seen.insert(&member.key));
        again.map_or(Ok(()), |member| Err(twice(&member.key)))
    }

    /// The text before the value of a new last member, in the manner of its neighbours.
    fn lead_for(&mut self, source: &str, style: &Style, indent: Option<&str>, key: &str) -> String {
        let key = serde_json::to_string(key).unwrap_or_default();
        let only = self.members.len() == 1;
        if let Some(last) = self.members.last().map(|m| m.lead.as_str(source)) {
            let before = before_key(last);
            let colon = after_key(last).unwrap_or(":");
            return match (only, before.contains('\n')) {
                (false, _) => format!("{before}{key}{colon}"),
                (true, true) => format!(",{before}{key}{colon}"),
                (true, false) if colon.ends_with(' ') => format!(", {key}{colon}"),
                (true, false) => format!(",{key}{colon}"),
            };
        }
        match (indent, &style.unit) {
            (Some(indent), Some(unit)) => {
                self.tail = Text::New(format!("{}{indent}", style.newline));
                format!("{}{indent}{unit}{key}{}", style.newline, style.colon)
            }
            _ => format!("{key}{}", style.colon),
        }
    }

    /// Takes the member out, with the comma that it needed.
    pub(super) fn remove(&mut self, source: &str, index: usize) {
        let removed = self.members.remove(index);
        if self.members.is_empty() {
            self.tail = Text::New(String::new());
        } else if index == 0
            && let Some(next) = self.members.first_mut()
        {
            // The new first member stands where the old one stood, without the comma.
            let lead = next.lead.as_str(source);
            let key = lead.get(before_key(lead).len()..).unwrap_or_default();
            next.lead = Text::New(format!("{}{key}", before_key(removed.lead.as_str(source))));
        }
    }
}

impl Text {
    fn as_str<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Source(range) => source.get(range.clone()).unwrap_or_default(),
            Self::New(text) => text,
        }
    }
}

impl New<'_> {
    fn equals(self, raw: &str) -> bool {
        match self {
            Self::Text(text) => {
                raw.starts_with('"') && decoded(raw).is_some_and(|s| *Zeroizing::new(s) == text)
            }
            Self::Value(value) => {
                // Both through one reader: it does not give every float back to the last bit.
                let read = |text: &str| serde_json::from_str::<Value>(text).ok();
                read(raw).zip(read(&value.to_string())).is_some_and(|(old, new)| same(&old, &new))
            }
        }
    }
}

/// The text of a lead before the key's opening quote: comma and white space.
fn before_key(lead: &str) -> &str {
    lead.split('"').next().unwrap_or_default()
}

/// The text of a lead after the key's closing quote: the colon and white space.
fn after_key(lead: &str) -> Option<&str> {
    lead.rsplit('"').next()
}

/// The indentation of a member that begins a line; `None` for one that does not.
fn line_indent(lead: &str) -> Option<&str> {
    // Some people begin the line with the comma.
    before_key(lead).rsplit_once('\n').and_then(|(_, indent)| indent.split(',').next())
}

pub(super) fn wrong_type(what: &str, wanted: &str) -> FormatError {
    FormatError::new(FormatErrorKind::WrongType, format!("{} is not {wanted}", bounded(what)))
}
