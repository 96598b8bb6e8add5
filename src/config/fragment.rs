//! Stage one: one file becomes a tree in which every value knows its line.
//!
//! Knows nothing about keys; that is `schema`. Reads regular files of at most 1 MiB (and
//! `/dev/null`, which is an empty one) and never blocks on a pipe. The parser is toml 1.2, whose
//! `DeTable` carries byte spans; its messages quote grammar only, never contents.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{CONFIG_SYNTAX, ConfigError, UNREADABLE};

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;
/// How many faults of the syntax are reported per file: what follows the first is often its echo.
const MAX_SYNTAX_ERRORS: usize = 20;
/// Linux: character device 1:3 (Documentation/admin-guide/devices.txt).
const NULL_DEVICE: u64 = 0x0103;

/// Where a value is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// A table: names to values.
pub type Table = BTreeMap<String, Node>;

/// A value and its place: that of its key, or its own inside a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written.
    pub place: Place,
    /// What is written.
    pub value: Value,
}

/// A TOML value, as far as the configuration knows them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer that fits.
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// An array, also one of tables.
    List(Vec<Node>),
    /// A table, also an inline one.
    Table(Table),
    /// A type that no key has (float, date, huge integer): its name.
    Foreign(&'static str),
    /// Already reported; whoever reads it says nothing more.
    Broken,
}

impl Value {
    /// The type's name in messages.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Foreign(name) => name,
            Self::Broken => "unreadable",
        }
    }
}

/// Whether a file is the null device, which masks others.
#[must_use]
pub fn is_null_device(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == NULL_DEVICE
}

/// Reads a file and turns it into a tree.
///
/// # Errors
/// What cannot be read, and every fault of the syntax.
pub fn load(path: &Path) -> Result<Table, Vec<ConfigError>> {
    let bytes = read(path).map_err(|error| vec![error])?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
            let mut fault = ConfigError::of_file(path, UNREADABLE, "is not UTF-8");
            fault.line = u32::try_from(before + 1).unwrap_or(u32::MAX);
            fault.column = 1;
            return Err(vec![fault]);
        }
    };
    parse(path, &text)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |message: &str| ConfigError::of_file(path, UNREADABLE, message);
    let io_fail = |error: io::Error| fail(&io_message(&error));
    // Looked at before it is opened, because opening a device can do something; and after,
    // because it may be another file by then.
    let null = check(path, &fs::metadata(path).map_err(io_fail)?)?;
    if null {
        return Ok(Vec::new());
    }
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io_fail)?;
    if check(path, &file.metadata().map_err(io_fail)?)? {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_fail)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fail(TOO_BIG));
    }
    Ok(bytes)
}

const TOO_BIG: &str = "is larger than 1 MiB";

fn check(path: &Path, meta: &Metadata) -> Result<bool, ConfigError> {
    let fail = |message| Err(ConfigError::of_file(path, UNREADABLE, message));
    if meta.is_dir() {
        return fail("is a directory, not a file");
    }
    if is_null_device(meta) {
        return Ok(true);
    }
    if !meta.is_file() {
        return fail("is not a regular file");
    }
    if meta.len() > MAX_BYTES {
        return fail(TOO_BIG);
    }
    Ok(false)
}

/// An error of the system in our own words.
#[must_use]
pub fn io_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist, or is a link to nothing".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        io::ErrorKind::NotADirectory => "is not a directory".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Turns text into a tree.
///
/// # Errors
/// Every fault of the syntax, at most 20.
pub fn parse(path: &Path, text: &str) -> Result<Table, Vec<ConfigError>> {
    let lines = Lines::new(path, text);
    let (table, faults) = DeTable::parse_recoverable(text);
    if faults.is_empty() {
        return Ok(lines.table(table.into_inner()));
    }
    let mut errors: Vec<ConfigError> = faults
        .iter()
        .map(|fault| {
            let place = lines.place(fault.span().map_or(text.len(), |span| span.start));
            ConfigError {
                file: path.to_path_buf(),
                line: place.line,
                column: place.column,
                key: String::new(),
                message: fault.message().to_owned(),
                code: CONFIG_SYNTAX,
            }
        })
        .collect();
    errors.sort();
    errors.dedup();
    errors.truncate(MAX_SYNTAX_ERRORS);
    Err(errors)
}

/// Byte offsets to lines and columns.
struct Lines<'a> {
    file: Arc<PathBuf>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(path: &Path, text: &'a str) -> Self {
        let starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { file: Arc::new(path.to_path_buf()), text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Place { file: Arc::clone(&self.file), line: narrow(line.max(1)), column: narrow(column) }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        table
            .into_iter()
            .map(|(key, value)| {
                let place = self.place(key.span().start);
                (key.into_inner().into_owned(), Node { place, value: self.value(value.into_inner()) })
            })
            .collect()
    }

    fn element(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        Node { place, value: self.value(value.into_inner()) }
    }

    fn value(&self, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Foreign("a number out of range"), Value::Number),
            DeValue::Float(_) => Value::Foreign("a fraction"),
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(_) => Value::Foreign("a date or time"),
            DeValue::Array(list) => Value::List(list.into_iter().map(|value| self.element(value)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}
