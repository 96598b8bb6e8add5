//! How a source is laid out: one dispatch for its reader and for storing a refresh, used by whoever
//! observes sources and by whoever refreshes them. To add a layout: its module here, its row below.

use super::mapped::Fields;
use super::{FormatError, FormatErrorKind, claude, codex, copilot, own_login, static_token};
use crate::base::credential::{NewLogin, Renewed, SourceReading};
use crate::base::secret::{Document, Secret};

/// The format of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Claude Code's `.credentials.json`.
    Claude,
    /// Codex's `auth.json`.
    Codex,
    /// Copilot CLI's `config.json`, which is read only.
    Copilot,
    /// One that is described: by the configuration, or for a provider whose file has a plain shape.
    Mapped(Fields),
    /// One token that nobody refreshes, on one line.
    Static,
    /// A file of our own login store.
    Own,
}

impl Layout {
    /// Reads the document. Never `Missing` or `Unreadable`: those are about the file.
    #[must_use]
    pub fn parse(&self, bytes: &[u8]) -> SourceReading {
        match self {
            Self::Claude => claude::parse(bytes),
            Self::Codex => codex::parse(bytes),
            Self::Copilot => copilot::parse(bytes),
            Self::Mapped(fields) => fields.parse(bytes),
            Self::Static => static_token::parse(bytes),
            Self::Own => own_login::parse(bytes),
        }
    }

    /// Stores `renewed` over the login whose refresh token `spent` was traded for it.
    ///
    /// # Errors
    /// When the document cannot be parsed, or a new token is blank.
    pub fn store(&self, bytes: &[u8], spent: &Secret, renewed: &Renewed) -> Result<Store, FormatError> {
        match self {
            Self::Claude => claude::store(bytes, spent, renewed),
            Self::Codex => codex::store(bytes, spent, renewed),
            Self::Copilot => {
                Err(FormatError::new(FormatErrorKind::WrongType, "a Copilot token is never refreshed"))
            }
            Self::Mapped(fields) => fields.store(bytes, spent, renewed),
            // It holds no refresh token that could have been spent.
            Self::Static => Ok(Store::Superseded),
            Self::Own => own_login::store(bytes, spent, renewed),
        }
    }

    /// Writes a new login over whatever the document, if there is one, holds.
    ///
    /// # Errors
    /// When the document cannot be parsed, the login lacks what the layout needs, or logins of this
    /// layout are made by their own CLI only.
    pub fn enter(&self, existing: Option<&[u8]>, login: &NewLogin) -> Result<Document, FormatError> {
        match self {
            Self::Codex => codex::enter(existing, login),
            Self::Mapped(fields) => fields.enter(existing, login),
            Self::Own => own_login::enter(existing, login),
            Self::Claude if login.document.is_some() => {
                claude::enter(existing, login.document.as_ref().map_or(&[], Document::expose))
            }
            Self::Static => static_token::enter(existing, login),
            Self::Claude | Self::Copilot => {
                Err(FormatError::new(FormatErrorKind::WrongType, "such a file is written by its own CLI"))
            }
        }
    }

    /// The word for it in a bundle that moves to another host.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Mapped(_) => "described",
            Self::Static => "static",
            Self::Own => "own",
        }
    }

    /// The login alone, without what else its file holds.
    ///
    /// # Errors
    /// When the document cannot be parsed.
    pub fn lone(&self, bytes: &[u8]) -> Result<Document, FormatError> {
        match self {
            Self::Claude => claude::enter(None, bytes),
            _ => Ok(Document::new(bytes.to_vec())),
        }
    }

    /// What `lone` gave, put into the file of another host.
    ///
    /// # Errors
    /// When one of the two cannot be parsed.
    pub fn settle(&self, existing: Option<&[u8]>, lone: &[u8]) -> Result<Document, FormatError> {
        match self {
            Self::Claude => claude::enter(existing, lone),
            _ => Ok(Document::new(lone.to_vec())),
        }
    }

    /// The document without that refresh token: the login's CLI uses its access token to the end and
    /// asks for nothing.
    ///
    /// # Errors
    /// When the document cannot be parsed, or such logins cannot be refreshed anyway.
    pub fn disarm(&self, bytes: &[u8], refresh: &Secret) -> Result<Store, FormatError> {
        match self {
            Self::Claude => claude::disarm(bytes, refresh),
            Self::Codex => codex::disarm(bytes, refresh),
            Self::Mapped(fields) => fields.disarm(bytes, refresh),
            Self::Own => own_login::disarm(bytes, refresh),
            Self::Copilot | Self::Static => {
                Err(FormatError::new(FormatErrorKind::WrongType, "such a login has no refresh token"))
            }
        }
    }
}

/// What came of storing a refresh.
#[derive(Debug, PartialEq, Eq)]
pub enum Store {
    /// The document with the new tokens.
    Patched(Document),
    /// The document holds neither the refresh token that was spent nor a blank one: somebody stored
    /// a newer login, which stays.
    Superseded,
}
