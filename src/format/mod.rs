//! Layer 1: bytes to documents and back. Pure and total: no file, clock, randomness or logging,
//! and no input, however torn or hostile, may panic.
//!
//! Documents of other programs are *edited*: what we do not own stays byte for byte. An edit that
//! changes nothing says so ([`Edit::Unchanged`]), so that planning twice plans nothing, and a
//! document that is not understood is refused, never replaced.
//! Errors name keys and positions and never quote contents.

use std::fmt;

use crate::base::secret::Document;

pub mod auth_profiles;
pub mod bundle;
pub mod claude;
pub mod codex;
pub mod container;
pub mod copilot;
pub mod dotenv;
pub mod json_doc;
mod json_text;
mod json_tree;
mod jwt;
pub mod layout;
pub mod mapped;
pub mod mirror;
pub mod oauth_json;
pub mod openclaw_config;
pub mod own_login;
pub mod refreshes;
pub mod release;
pub mod secret_file;
pub mod standing;
pub mod static_token;
pub mod syncer;
pub mod template;
pub mod terminal;
pub mod unit_file;
pub mod view;

/// The largest document read, in bytes (16 MiB): a store of 10,000 profiles is 2 to 3 MiB.
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// What an edit makes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The document already says it; nothing is to be written.
    Unchanged,
    /// The whole document as it shall be.
    Changed(Document),
}

impl Edit {
    /// `Unchanged` when `new` is exactly what is there already.
    #[must_use]
    pub fn between(existing: Option<&[u8]>, new: Document) -> Self {
        if existing == Some(new.expose()) { Self::Unchanged } else { Self::Changed(new) }
    }
}

/// Why a document was refused, as a kind that callers may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FormatErrorKind {
    /// Longer than [`MAX_DOCUMENT`].
    TooLarge,
    /// Not UTF-8 where text is needed.
    NotUtf8,
    /// Not a document of this format: empty, torn, with a byte order mark, or something else.
    Unparseable,
    /// A value on the path of the edit has another type than the format says.
    WrongType,
    /// A key on the path of the edit occurs twice; readers differ in which one counts.
    DuplicateKey,
    /// The document's own version is not one that is known.
    UnsupportedVersion,
    /// The edit would write a blank where a value belongs.
    WouldEmpty,
    /// The value cannot be written in this format so that every reader gets it back.
    Unquotable,
    /// The entry belongs to another provider than the credential.
    ProviderMismatch,
    /// The profile holds an API key, which is not ours to replace.
    HoldsApiKey,
}

impl FormatErrorKind {
    /// The kind as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "TooLarge",
            Self::NotUtf8 => "NotUtf8",
            Self::Unparseable => "Unparseable",
            Self::WrongType => "WrongType",
            Self::DuplicateKey => "DuplicateKey",
            Self::UnsupportedVersion => "UnsupportedVersion",
            Self::WouldEmpty => "WouldEmpty",
            Self::Unquotable => "Unquotable",
            Self::ProviderMismatch => "ProviderMismatch",
            Self::HoldsApiKey => "HoldsApiKey",
        }
    }
}

/// A refused document or edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// What kind of refusal.
    pub kind: FormatErrorKind,
    /// Where and why, for people; never a quotation of the document's values.
    pub detail: String,
}

impl FormatError {
    /// Makes an error of a kind with its detail.
    #[must_use]
    pub fn new(kind: FormatErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for FormatError {}

/// The bytes as text, if they are text of a permitted size without a byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, FormatError> {
    within_limit(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|e| {
        FormatError::new(FormatErrorKind::NotUtf8, format!("not UTF-8 at byte {}", e.valid_up_to()))
    })?;
    if text.starts_with('\u{feff}') {
        // Claude Code 2.1.329 and every strict JSON reader count such a file as unparsable.
        return Err(FormatError::new(FormatErrorKind::Unparseable, "begins with a byte order mark"));
    }
    Ok(text)
}

/// Refuses what is longer than [`MAX_DOCUMENT`].
fn within_limit(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() <= MAX_DOCUMENT {
        return Ok(());
    }
    let detail = format!("{} bytes, more than the {MAX_DOCUMENT} that are read", bytes.len());
    Err(FormatError::new(FormatErrorKind::TooLarge, detail))
}

/// A foreign text made fit to be shown: one line, at most 64 characters.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(64).collect()
}
