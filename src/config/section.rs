//! Reads the keys of one merged table: value or fault, and what `config show` says about it.
//!
//! A reader never stops at a fault: it notes it and answers `None`, so that every fault of every
//! table is found in one go. Defaults are written as in the documentation and read by the same
//! code as values of a file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{self, Range};
use super::error::{BAD_VALUE, ConfigError, MISSING_KEY};
use super::expand::{Environment, expand_path};
use super::fragment::{Node, Place, Table, Value};
use super::schema::{Shape, fault, joined, nearest};
use super::show::{Origin, Shown, ShownValue, is_hidden};

static NOTHING: Table = Table::new();

/// One merged table.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    table: &'a Table,
    place: Option<&'a Place>,
    shape: &'static Shape,
    /// The table with its id, as in `login.work`.
    pub path: String,
}

impl<'a> Section<'a> {
    /// A table of the tree; `None` and broken ones count as empty.
    #[must_use]
    pub fn new(node: Option<&'a Node>, shape: &'static Shape, path: String) -> Self {
        let table = match node {
            Some(Node { value: Value::Table(table), .. }) => table,
            _ => &NOTHING,
        };
        Self { table, place: node.map(|node| &node.place), shape, path }
    }

    /// The table under a key of this one.
    #[must_use]
    pub fn inner(&self, key: &str, shape: &'static Shape) -> Self {
        Section::new(self.table.get(key), shape, joined(&self.path, key))
    }

    /// Whether the key is written, even if what is written is wrong.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The keys that are written, with their places.
    pub fn written(&self) -> impl Iterator<Item = (&'a str, &'a Place)> {
        let table = self.table;
        table.iter().map(|(key, node)| (key.as_str(), &node.place))
    }

    /// Where the key is written, else where the table begins.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Option<&'a Place> {
        self.table.get(key).map(|node| &node.place).or(self.place)
    }
}

/// What faults of files keep from being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// A file is not known: nothing is called missing.
    pub keys: bool,
    /// Entries are not known: no reference is called unknown.
    pub entries: bool,
}

/// Collects faults and shown values while tables are read.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Home and variables for paths.
    pub env: &'a Environment,
    /// What nobody can know here.
    pub gaps: Gaps,
    /// The faults so far.
    pub errors: &'a mut Vec<ConfigError>,
    /// The effective values so far.
    pub shown: Vec<ShownValue>,
}

impl Reader<'_> {
    /// Notes a fault at a key, or at the table when the key is not written.
    pub fn fault(&mut self, s: &Section<'_>, key: &str, code: &'static str, message: impl Into<String>) {
        let key_path = if key.is_empty() { s.path.clone() } else { joined(&s.path, key) };
        if let Some(place) = s.place_of(key) {
            self.errors.push(fault(place, &key_path, code, message));
        }
    }

    /// Notes that a key without default is absent.
    pub fn missing(&mut self, s: &Section<'_>, key: &str, message: &str) {
        if !self.gaps.keys && !s.has(key) {
            self.fault(s, key, MISSING_KEY, message);
        }
    }

    fn show(&mut self, s: &Section<'_>, key: &str, value: Shown) {
        let origin = s.table.get(key).map_or(Origin::Default, |node| Origin::File {
            file: node.place.file.as_ref().clone(),
            line: node.place.line,
        });
        self.push_shown(s, key, value, origin);
    }

    fn push_shown(&mut self, s: &Section<'_>, key: &str, value: Shown, origin: Origin) {
        let (table, header, key) = if s.shape.header == super::schema::COMPOSE.header {
            // Printed as a dotted key of its gateway: `[gateway.compose]` would end the gateway.
            let gateway = s.path.strip_suffix(".compose").unwrap_or(&s.path);
            (gateway.to_owned(), super::schema::GATEWAY.header, format!("compose.{key}"))
        } else {
            (s.path.clone(), s.shape.header, key.to_owned())
        };
        self.shown.push(ShownValue { table, header, key, value, origin });
    }

    /// A string that passes a check.
    pub fn parsed<T>(
        &mut self,
        s: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(Node { value: Value::Text(text), .. }) = s.table.get(key) else { return None };
        match parse(text) {
            Ok(value) => {
                self.show(s, key, Shown::Text(text.clone()));
                Some(value)
            }
            Err(message) => {
                self.fault(s, key, BAD_VALUE, message);
                None
            }
        }
    }

    /// As [`Self::parsed`], with the default as it would be written.
    pub fn parsed_or<T>(
        &mut self,
        s: &Section<'_>,
        key: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if s.has(key) {
            return self.parsed(s, key, parse);
        }
        self.show(s, key, default.into());
        parse(default).ok()
    }

    /// As [`Self::parsed`], for a key without default.
    pub fn required<T>(
        &mut self,
        s: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.missing(s, key, "is required");
        self.parsed(s, key, parse)
    }

    /// A string that an empty one switches off.
    pub fn optional(
        &mut self,
        s: &Section<'_>,
        key: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        let parse = |text: &str| {
            if text.is_empty() {
                return Ok(None);
            }
            check(text).map(|()| Some(text.to_owned()))
        };
        self.parsed(s, key, parse).flatten()
    }

    /// A URL whose path may be a secret (an ntfy topic, a webhook): shown without it. An empty one
    /// switches off what it is for.
    pub fn private_url(
        &mut self,
        s: &Section<'_>,
        key: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        let Some(Node { value: Value::Text(text), .. }) = s.table.get(key) else { return None };
        match check(text) {
            Ok(()) => {
                let shown = super::show::origin_of_url(text);
                self.show(s, key, Shown::Text(shown));
                Some(text.clone()).filter(|text| !text.is_empty())
            }
            Err(message) => {
                self.fault(s, key, BAD_VALUE, message);
                None
            }
        }
    }

    /// A duration with its default.
    pub fn duration_or(&mut self, s: &Section<'_>, key: &str, default: &str, range: Range) -> Duration {
        self.parsed_or(s, key, default, |text| check::duration(text, range)).unwrap_or_default()
    }

    /// A path that must be written.
    pub fn path(&mut self, s: &Section<'_>, key: &str) -> Option<PathBuf> {
        self.missing(s, key, "is required");
        self.optional_path(s, key)
    }

    /// A path that may be absent.
    pub fn optional_path(&mut self, s: &Section<'_>, key: &str) -> Option<PathBuf> {
        let Some(Node { value: Value::Text(text), .. }) = s.table.get(key) else { return None };
        self.expanded(s, key, text)
    }

    /// A path with its default.
    pub fn path_or(&mut self, s: &Section<'_>, key: &str, default: &str) -> Option<PathBuf> {
        if s.has(key) { self.optional_path(s, key) } else { self.expanded(s, key, default) }
    }

    fn expanded(&mut self, s: &Section<'_>, key: &str, text: &str) -> Option<PathBuf> {
        match expand_path(text, self.env) {
            Ok(path) => {
                self.show(s, key, Shown::Text(path.display().to_string()));
                Some(path)
            }
            Err(message) => {
                self.fault(s, key, BAD_VALUE, message);
                None
            }
        }
    }

    /// A boolean with its default.
    pub fn flag_or(&mut self, s: &Section<'_>, key: &str, default: bool) -> bool {
        let flag = match s.table.get(key) {
            Some(Node { value: Value::Flag(flag), .. }) => *flag,
            _ => default,
        };
        self.show(s, key, Shown::Flag(flag));
        flag
    }

    /// A whole number within bounds, with its default.
    pub fn number_or(&mut self, s: &Section<'_>, key: &str, default: u32, (least, most): (i64, i64)) -> u32 {
        let number = match s.table.get(key) {
            Some(Node { value: Value::Number(number), .. }) => *number,
            _ => i64::from(default),
        };
        match u32::try_from(number) {
            Ok(fitting) if (least..=most).contains(&number) => {
                self.show(s, key, Shown::Number(number));
                fitting
            }
            _ => {
                self.fault(s, key, BAD_VALUE, format!("must be between {least} and {most}"));
                default
            }
        }
    }

    /// A list of strings, unchecked and not shown yet.
    pub fn raw_list(&self, s: &Section<'_>, key: &str) -> Option<Vec<String>> {
        let Some(Node { value: Value::List(list), .. }) = s.table.get(key) else { return None };
        let texts = list.iter().filter_map(|node| match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        Some(texts.collect())
    }

    /// A list of strings that passes a check.
    pub fn list<T>(
        &mut self,
        s: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&[String]) -> Result<T, String>,
    ) -> Option<T> {
        let list = self.raw_list(s, key)?;
        match parse(&list) {
            Ok(value) => {
                self.show(s, key, Shown::List(list));
                Some(value)
            }
            Err(message) => {
                self.fault(s, key, BAD_VALUE, message);
                None
            }
        }
    }

    /// As [`Self::list`], with the default as it would be written.
    pub fn list_or<T>(
        &mut self,
        s: &Section<'_>,
        key: &str,
        default: &[&str],
        parse: impl FnOnce(&[String]) -> Result<T, String>,
    ) -> Option<T> {
        if s.has(key) {
            return self.list(s, key, parse);
        }
        let list: Vec<String> = default.iter().map(|item| (*item).to_owned()).collect();
        let value = parse(&list).ok();
        self.show(s, key, Shown::List(list));
        value
    }

    /// Program and arguments. A program with a slash is a path and expands; arguments never do.
    pub fn command(&mut self, s: &Section<'_>, key: &str) -> Option<Vec<String>> {
        let env = self.env;
        let list = self.raw_list(s, key)?;
        let expanded = match list.split_first() {
            None => Err("must name a program".to_owned()),
            Some((program, _)) if program.is_empty() => Err("must name a program".to_owned()),
            Some((program, rest)) => program_path(program, env).map(|program| {
                let mut command = vec![program];
                command.extend_from_slice(rest);
                command
            }),
        };
        match expanded {
            Ok(command) => {
                self.show(s, key, Shown::List(command.clone()));
                Some(command)
            }
            Err(message) => {
                self.fault(s, key, BAD_VALUE, message);
                None
            }
        }
    }

    /// Names to strings; shown one by one, with values that look like secrets hidden.
    pub fn variables(&mut self, s: &Section<'_>, key: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let Some(Node { value: Value::Table(table), .. }) = s.table.get(key) else { return found };
        for (name, node) in table {
            if !super::expand::is_variable(name) {
                let key_path = format!("{}.{key}.{}", s.path, super::error::bounded(name));
                let message = "must have the name of an environment variable";
                self.errors.push(fault(&node.place, &key_path, BAD_VALUE, message));
                continue;
            }
            let Value::Text(text) = &node.value else { continue };
            let hidden = !text.is_empty() && is_hidden(name);
            let shown = if hidden { "(hidden)".into() } else { Shown::Text(text.clone()) };
            let origin = Origin::File { file: node.place.file.as_ref().clone(), line: node.place.line };
            self.push_shown(s, &format!("{key}.{name}"), shown, origin);
            found.insert(name.clone(), text.clone());
        }
        found
    }
}

fn program_path(program: &str, env: &Environment) -> Result<String, String> {
    if !program.contains('/') && !program.starts_with(['~', '$']) {
        return Ok(program.to_owned());
    }
    let path = expand_path(program, env).map_err(|message| format!("the program {message}"))?;
    path.into_os_string().into_string().map_err(|_| "the program must be UTF-8".to_owned())
}

/// A parser of one of several words.
pub fn word<'w, T: Copy>(words: &'w [(&'w str, T)]) -> impl Fn(&str) -> Result<T, String> + 'w {
    move |text| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mut message = format!("must be one of {}", all.join(", "));
        if let Some(near) = nearest(text, all.iter().copied()) {
            message.push_str(&format!("; did you mean '{near}'?"));
        }
        Err(message)
    }
}
