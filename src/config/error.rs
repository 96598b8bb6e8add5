//! What is wrong with a configuration, with the place of every fault.
//!
//! Messages never quote values: a person may have pasted a token where a word belongs. Names of
//! keys, ids and variables are quoted, bounded and escaped.

use std::fmt;
use std::path::{Path, PathBuf};

/// The file is not TOML.
pub const CONFIG_SYNTAX: &str = "CONFIG_SYNTAX";
/// No table has a key of that name.
pub const UNKNOWN_KEY: &str = "UNKNOWN_KEY";
/// The key exists, but not for this kind of sink, gateway, alert or login.
pub const UNFIT_KEY: &str = "UNFIT_KEY";
/// The value has another TOML type.
pub const WRONG_TYPE: &str = "WRONG_TYPE";
/// The value has the right type and cannot be used.
pub const BAD_VALUE: &str = "BAD_VALUE";
/// A key that has no default is absent.
pub const MISSING_KEY: &str = "MISSING_KEY";
/// Two entries of one file have the same id.
pub const DUPLICATE_ID: &str = "DUPLICATE_ID";
/// A login or sink is named that is not there.
pub const UNKNOWN_REFERENCE: &str = "UNKNOWN_REFERENCE";
/// Two settings cannot both hold.
pub const CONFLICT: &str = "CONFLICT";
/// A file or directory cannot be read.
pub const UNREADABLE: &str = "UNREADABLE";

/// Every code of this module, in the order of the documentation.
pub const CODES: [&str; 10] = [
    CONFIG_SYNTAX,
    UNKNOWN_KEY,
    UNFIT_KEY,
    WRONG_TYPE,
    BAD_VALUE,
    MISSING_KEY,
    DUPLICATE_ID,
    UNKNOWN_REFERENCE,
    CONFLICT,
    UNREADABLE,
];

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole file is meant.
    pub column: u32,
    /// The key with its tables and ids, as in `login.work.refresh.mode`; empty when there is none.
    pub key: String,
    /// One sentence for people; quotes no value.
    pub message: String,
    /// The stable code, one of [`CODES`].
    pub code: &'static str,
}

impl ConfigError {
    /// A fault of a whole file or directory.
    #[must_use]
    pub fn of_file(file: &Path, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            code,
        }
    }
}

impl fmt::Display for ConfigError {
    /// `file:line: key: message`; a fault of the syntax has a column in the place of a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.key.is_empty() && self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A foreign name, escaped and cut to 64 characters.
#[must_use]
pub fn bounded(name: &str) -> String {
    let mut text: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().nth(64).is_some() {
        text.push('…');
    }
    text
}
