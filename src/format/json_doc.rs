//! A strict JSON document that is edited, not re-rendered: every byte outside an edited value
//! stays — order, unknown keys, number spelling, escapes, white space, final newline.
//!
//! The whole text is validated first (`serde_json`, nesting limit 128); then only the objects on
//! the path of an edit are opened, into the text before each value and the value itself. The cost
//! is a few scans of the document, whatever its size.
//! NOTE: a `jsonc-parser` tree was tried and rejected: it breaks compact objects into lines when
//! a member is added and needs 25 times the document in (never wiped) memory.

use std::fmt;
use std::ops::Range;

use serde_json::Value;
use zeroize::Zeroizing;

use super::json_text::{decoded, offset_in, validate, whole};
use super::json_tree::{New, Node, Style, wrong_type};
use super::{Edit, FormatError, FormatErrorKind, text_of};
use crate::base::secret::{Document, Secret};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the key, or one of its parents, is not there.
    Absent,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; `None` when it is not a whole number of 64 bits. `1.795e12` is whole.
    Number(Option<i64>),
    /// A string.
    Text(Secret),
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A JSON document, its root an object.
pub struct JsonDoc {
    source: Zeroizing<String>,
    root_range: Range<usize>,
    root: Node,
    style: Style,
    changed: bool,
}

impl fmt::Debug for JsonDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonDoc({} bytes)", self.source.len())
    }
}

/// The key of a member, and strings in it.
pub type Fields<const N: usize> = (String, [Option<Secret>; N]);

impl JsonDoc {
    /// A document without members, which will be indented by two spaces and end in a newline.
    #[must_use]
    pub fn empty() -> Self {
        let source = Zeroizing::new(String::from("{}\n"));
        let style = Style::two_spaces("\n");
        Self { source, root_range: 0..2, root: Node::Source(0..2), style, changed: false }
    }

    /// Reads a document, or begins an empty one where none exists.
    ///
    /// # Errors
    /// As [`JsonDoc::parse`].
    pub fn open(existing: Option<&[u8]>) -> Result<Self, FormatError> {
        existing.map_or_else(|| Ok(Self::empty()), Self::parse)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `TooLarge`, `NotUtf8`, `Unparseable` (empty, torn, comments, trailing commas, nesting
    /// beyond 128, a byte order mark), `WrongType` when the root is not an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = text_of(bytes)?;
        if text.trim().is_empty() {
            return Err(FormatError::new(FormatErrorKind::Unparseable, "the file is empty"));
        }
        validate(text)?;
        let body = text.trim_matches([' ', '\t', '\r', '\n']);
        if !body.starts_with('{') {
            return Err(wrong_type("the document", "an object"));
        }
        let start = offset_in(text, body).unwrap_or(0);
        let root_range = start..start + body.len();
        let mut root = Node::Source(root_range.clone());
        let style = Style::of(text, &mut root);
        Ok(Self { source: Zeroizing::new(text.to_owned()), root_range, root, style, changed: false })
    }

    /// What stands at `path`; the empty path is the document itself.
    ///
    /// # Errors
    /// `WrongType` when a parent on the path is not an object, `DuplicateKey`.
    pub fn find(&mut self, path: &[&str]) -> Result<Found, FormatError> {
        let node = self.root.descend(&self.source, path)?;
        Ok(node.map_or(Found::Absent, |node| found(node, &self.source)))
    }

    /// Every member of the object at `path` with the strings `names` in it, each as
    /// [`text`](Self::text) gives it; `None` when nothing is there. As fast for ten thousand members as
    /// they are long.
    ///
    /// # Errors
    /// As [`JsonDoc::find`], for the object, its members and what is in them.
    pub fn texts_of_each<const N: usize>(
        &mut self,
        path: &[&str],
        names: [&str; N],
    ) -> Result<Option<Vec<Fields<N>>>, FormatError> {
        let source = &self.source;
        let Some(node) = self.root.descend(source, path)? else { return Ok(None) };
        let what = path.last().copied().unwrap_or("the document");
        let object = node.object(source).ok_or_else(|| wrong_type(what, "an object"))?;
        object.are_keys_unique()?;
        let mut each = Vec::with_capacity(object.members.len());
        for member in &mut object.members {
            let mut texts = [const { None }; N];
            for (name, text) in names.iter().zip(&mut texts) {
                let node = member.value.descend(source, &[name])?;
                *text = match node.map(|node| found(node, source)) {
                    Some(Found::Text(text)) if !text.is_blank() => Some(text),
                    _ => None,
                };
            }
            each.push((member.key.clone(), texts));
        }
        Ok(Some(each))
    }

    /// The string at `path`; `None` when there is none, it is blank, or something else is there.
    ///
    /// # Errors
    /// As [`JsonDoc::find`].
    pub fn text(&mut self, path: &[&str]) -> Result<Option<Secret>, FormatError> {
        Ok(match self.find(path)? {
            Found::Text(text) if !text.is_blank() => Some(text),
            _ => None,
        })
    }

    /// The whole number at `path`; `None` when there is none.
    ///
    /// # Errors
    /// As [`JsonDoc::find`].
    pub fn integer(&mut self, path: &[&str]) -> Result<Option<i64>, FormatError> {
        Ok(match self.find(path)? {
            Found::Number(number) => number,
            _ => None,
        })
    }

    /// The number at `path`, whole or not; `None` when there is none.
    ///
    /// # Errors
    /// As [`JsonDoc::find`].
    pub fn number(&mut self, path: &[&str]) -> Result<Option<f64>, FormatError> {
        let Some(node) = self.root.descend(&self.source, path)? else { return Ok(None) };
        if matches!(node, Node::Object(_)) {
            return Ok(None);
        }
        Ok(serde_json::from_str(&node.raw(&self.source)).ok())
    }

    /// The array of strings at `path`; `None` when something else, or nothing, is there.
    ///
    /// # Errors
    /// As [`JsonDoc::find`].
    pub fn strings(&mut self, path: &[&str]) -> Result<Option<Vec<String>>, FormatError> {
        let Some(node) = self.root.descend(&self.source, path)? else { return Ok(None) };
        if matches!(node, Node::Object(_)) {
            return Ok(None);
        }
        Ok(serde_json::from_str(&node.raw(&self.source)).ok())
    }

    /// The keys of the object at `path`, in order; `None` when there is nothing.
    ///
    /// # Errors
    /// As [`JsonDoc::find`]; `WrongType` when it is not an object.
    pub fn keys(&mut self, path: &[&str]) -> Result<Option<Vec<String>>, FormatError> {
        let Some(node) = self.root.descend(&self.source, path)? else { return Ok(None) };
        let what = path.last().copied().unwrap_or("the document");
        let object = node.object(&self.source).ok_or_else(|| wrong_type(what, "an object"))?;
        Ok(Some(object.members.iter().map(|m| m.key.clone()).collect()))
    }

    /// Sets the value at `path`, creating missing parents; says whether that changed anything.
    /// A value that means the same (another spelling of a number, escapes) is left as it stands.
    ///
    /// # Errors
    /// `WrongType` when a parent is not an object or the path is empty, `DuplicateKey`.
    pub fn set(&mut self, path: &[&str], value: &Value) -> Result<bool, FormatError> {
        self.put(path, New::Value(value))
    }

    /// Sets a string without leaving copies of it behind; else as [`JsonDoc::set`].
    ///
    /// # Errors
    /// As [`JsonDoc::set`]; `WouldEmpty` for a blank secret.
    pub fn set_secret(&mut self, path: &[&str], secret: &Secret) -> Result<bool, FormatError> {
        if secret.is_blank() {
            let key = path.last().copied().unwrap_or_default();
            return Err(FormatError::new(FormatErrorKind::WouldEmpty, format!("{key} would become blank")));
        }
        self.put(path, New::Text(secret.expose()))
    }

    fn put(&mut self, path: &[&str], value: New<'_>) -> Result<bool, FormatError> {
        if path.is_empty() {
            return Err(wrong_type("the document", "a member's path"));
        }
        let indent = self.style.unit.as_ref().map(|_| self.root_indent());
        let changed = self.root.put(&self.source, &self.style, indent.as_deref(), path, value)?;
        self.changed |= changed;
        Ok(changed)
    }

    /// Removes the member at `path`; says whether there was one.
    ///
    /// # Errors
    /// `WrongType` when a parent is not an object, `DuplicateKey`.
    pub fn remove(&mut self, path: &[&str]) -> Result<bool, FormatError> {
        let Some((key, parents)) = path.split_last() else { return Ok(false) };
        let Some(parent) = self.root.descend(&self.source, parents)? else { return Ok(false) };
        let what = parents.last().copied().unwrap_or("the document");
        let object = parent.object(&self.source).ok_or_else(|| wrong_type(what, "an object"))?;
        let Some(index) = object.index_of(key)? else { return Ok(false) };
        object.remove(&self.source, index);
        self.changed = true;
        Ok(true)
    }

    /// The document as it now is.
    #[must_use]
    pub fn into_document(self) -> Document {
        let source = self.source.as_str();
        let before = source.get(..self.root_range.start).unwrap_or_default();
        let after = source.get(self.root_range.end..).unwrap_or_default();
        // The exact length at once: a growing buffer would leave unwiped copies behind.
        let length = before.len() + self.root.len(source) + after.len();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(before.as_bytes());
        self.root.write(source, &mut out);
        out.extend_from_slice(after.as_bytes());
        Document::new(out)
    }

    /// The outcome for a caller who read the document from `existing`.
    #[must_use]
    pub fn into_edit(self, existing: Option<&[u8]>) -> Edit {
        if !self.changed && existing.is_some() {
            return Edit::Unchanged;
        }
        Edit::between(existing, self.into_document())
    }

    fn root_indent(&self) -> String {
        let before = self.source.get(..self.root_range.start).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().to_owned()
    }
}

/// What a node is.
fn found(node: &Node, source: &str) -> Found {
    if matches!(node, Node::Object(_)) {
        return Found::Object;
    }
    let raw = node.raw(source);
    match raw.as_bytes().first() {
        Some(b'{') => Found::Object,
        Some(b'[') => Found::Array,
        Some(b'"') => decoded(&raw).map_or(Found::Absent, |s| Found::Text(Secret::new(s))),
        Some(b't' | b'f') => Found::Bool(raw.starts_with('t')),
        Some(b'n') => Found::Null,
        _ => Found::Number(whole(&raw)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doc(text: &str) -> JsonDoc {
        JsonDoc::parse(text.as_bytes()).unwrap()
    }

    fn text(doc: JsonDoc) -> String {
        String::from_utf8(doc.into_document().expose().to_vec()).unwrap()
    }

    #[test]
    fn what_stands_at_a_path_is_told_apart() {
        let mut doc =
            doc(r#"{"a":{"n":null,"b":true,"i":1e3,"f":0.5,"s":"x\u0021","e":" ","l":["p"],"o":{}}}"#);
        let mut find = |key: &str| doc.find(&["a", key]).unwrap();
        assert_eq!(find("none"), Found::Absent);
        assert_eq!(find("n"), Found::Null);
        assert_eq!(find("b"), Found::Bool(true));
        assert_eq!((find("i"), find("f")), (Found::Number(Some(1000)), Found::Number(None)));
        assert_eq!(find("s"), Found::Text(Secret::new("x!".into())));
        assert_eq!((find("l"), find("o")), (Found::Array, Found::Object));
        assert_eq!(doc.text(&["a", "e"]).unwrap(), None);
        assert_eq!(doc.integer(&["a", "s"]).unwrap(), None);
        assert_eq!(doc.strings(&["a", "l"]).unwrap(), Some(vec!["p".into()]));
        assert_eq!(doc.keys(&["a", "o"]).unwrap(), Some(Vec::new()));
        assert_eq!(doc.keys(&["x", "y"]).unwrap(), None);
        assert_eq!(doc.find(&["a", "s", "deeper"]).unwrap_err().kind, FormatErrorKind::WrongType);
        assert_eq!(doc.keys(&["a", "l"]).unwrap_err().kind, FormatErrorKind::WrongType);
        assert_eq!(doc.into_edit(Some(b"anything")), Edit::Unchanged);
    }

    #[test]
    fn missing_parents_are_made_and_no_other_value_becomes_one() {
        let mut made = JsonDoc::empty();
        assert!(made.set(&["a", "b", "c"], &json!({"x": [1, {"y": []}], "z": {}})).unwrap());
        assert!(!made.set(&["a", "b", "c"], &json!({"x": [1, {"y": []}], "z": {}})).unwrap());
        assert!(made.set(&["a", "b", "c", "z", "n"], &json!(null)).unwrap());
        assert_eq!(
            made.set(&["a", "b", "c", "x", "n"], &json!(1)).unwrap_err().kind,
            FormatErrorKind::WrongType
        );
        assert_eq!(made.set(&[], &json!({})).unwrap_err().kind, FormatErrorKind::WrongType);
        let pretty = serde_json::to_string_pretty(
            &json!({"a": {"b": {"c": {"x": [1, {"y": []}], "z": {"n": null}}}}}),
        );
        assert_eq!(text(made), pretty.unwrap() + "\n");
    }

    #[test]
    fn a_refused_edit_leaves_the_document_as_it_was() {
        let mut doc = doc("{ \"a\" : [ ] }");
        assert!(doc.set(&["a", "b"], &json!(1)).is_err());
        assert!(doc.set_secret(&["b"], &Secret::new(" ".into())).is_err());
        assert!(!doc.remove(&["b"]).unwrap() && !doc.remove(&[]).unwrap());
        assert_eq!(text(doc), "{ \"a\" : [ ] }");
    }

    #[test]
    fn the_last_member_leaves_an_empty_object_that_can_be_filled_again() {
        let mut doc = doc("\n {\n  \"a\": {\n    \"b\": 1\n  }\n }\n\n");
        assert!(doc.remove(&["a", "b"]).unwrap());
        assert!(doc.set(&["a", "c"], &json!("d")).unwrap());
        assert_eq!(text(doc), "\n {\n  \"a\": {\n    \"c\": \"d\"\n  }\n }\n\n");
    }

    #[test]
    fn nothing_of_a_document_shows_in_debug() {
        assert_eq!(format!("{:?}", doc("{\"canary\":\"canary\"}")), "JsonDoc(19 bytes)");
    }
}
