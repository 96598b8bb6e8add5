//! The merged configuration as data and as text, with the origin of every value.
//!
//! Values of variables that look like secrets by their name are hidden, and the paths of the URLs that
//! alerts go to; everything else in a configuration is no secret by contract.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;

use super::Loaded;

/// A value as `config show` prints it, paths expanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// A list of strings.
    List(Vec<String>),
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Shown {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quote(f, text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, item) in list.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    quote(f, item)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A URL without what may be a secret in it.
pub(super) fn origin_of_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.split_once(['/', '?', '#']) {
        Some((host, _)) => format!("{scheme}://{host}/(hidden)"),
        None => text.to_owned(),
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            control if control.is_control() => write!(f, "\\u{:04X}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// Where an effective value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Origin {
    /// Nobody wrote it.
    Default,
    /// It is written there.
    File {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
        }
    }
}

/// One effective value. Keys whose default is "none" appear only when written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownValue {
    /// The table with its id or number, as in `login.work.refresh`, `alert.1` or `daemon`.
    pub table: String,
    /// The table's line in TOML, as in `[login.refresh]`.
    #[serde(skip)]
    pub header: &'static str,
    /// The key; dotted inside `compose` and `env`.
    pub key: String,
    /// The effective value.
    pub value: Shown,
    /// Where it comes from.
    pub origin: Origin,
}

/// Whether the value of a variable of that name is hidden.
#[must_use]
pub fn is_hidden(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    ["TOKEN", "KEY", "SECRET", "PASS", "AUTH", "CREDENTIAL", "COOKIE", "PROXY"]
        .iter()
        .any(|word| name.contains(word))
}

/// The merged configuration as TOML with the origin of each value as a comment.
#[must_use]
pub fn render_shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    if loaded.files.is_empty() {
        text.push_str("# no configuration file\n");
    }
    for file in &loaded.files {
        let _ = writeln!(text, "# {}", file.display());
    }
    let mut table = None;
    for shown in &loaded.shown {
        // An id may hold a dot, so the name of a table alone does not say where one ends.
        if table != Some((&shown.table, shown.header)) {
            table = Some((&shown.table, shown.header));
            let _ = writeln!(text, "\n{}", shown.header);
        }
        let _ = writeln!(text, "{} = {} # {}", shown.key, shown.value, shown.origin);
    }
    text
}
