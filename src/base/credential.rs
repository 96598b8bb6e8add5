//! What every foreign format converts to and from.

use super::secret::{Document, Secret};
use super::time::Timestamp;

/// A whole credential, as its source holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access token; never blank.
    pub access: Secret,
    /// The refresh token; `None` when the source has none or a blank one (not refreshable).
    pub refresh: Option<Secret>,
    /// When the access token ends; `None` when the source does not say.
    pub expires_at: Option<Timestamp>,
    /// When the login itself ends, refreshes or not (Claude: `refreshTokenExpiresAt`).
    pub login_deadline: Option<Timestamp>,
    /// Scopes, in the order of the source.
    pub scopes: Vec<String>,
    /// The account's stable identity where the source names one (Claude: `accountUuid`).
    pub account: Option<String>,
    /// The source's expiry was written in seconds where milliseconds belong.
    pub expiry_in_seconds: bool,
    /// What else the source says of it.
    pub identity: Identity,
}

/// What a view of a login for its own CLI needs beside the tokens. Not part of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The id token, which says who and opens nothing (Codex, where its CLI reads no file without).
    pub id_token: Option<Secret>,
    /// When the access token was granted (Codex: `last_refresh`).
    pub granted_at: Option<Timestamp>,
    /// What the account pays for (Claude: `subscriptionType`).
    pub subscription: Option<String>,
    /// How much that allows (Claude: `rateLimitTier`).
    pub rate_limit_tier: Option<String>,
}

/// What a refresh brought, ready to be stored. A field that is `None` keeps what the source has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewed {
    /// The new access token.
    pub access: Option<Secret>,
    /// The new refresh token.
    pub refresh: Option<Secret>,
    /// The new id token (Codex).
    pub id_token: Option<Secret>,
    /// When the new access token ends.
    pub expires_at: Option<Timestamp>,
    /// When the login itself ends, as the server says now; it can only shorten what is known.
    pub login_deadline: Option<Timestamp>,
    /// The scopes that were granted.
    pub scopes: Option<Vec<String>>,
    /// When it was granted.
    pub granted_at: Option<Timestamp>,
}

/// A login that was made just now, ready to be stored over whatever was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogin {
    /// The access token; never blank.
    pub access: Secret,
    /// The refresh token; `None` for a login that cannot be refreshed.
    pub refresh: Option<Secret>,
    /// The id token (OpenID Connect).
    pub id_token: Option<Secret>,
    /// When the access token ends; `None` when nobody says.
    pub expires_at: Option<Timestamp>,
    /// The scopes that were granted; empty when nobody says.
    pub scopes: Vec<String>,
    /// The account's stable identity, where the tokens name one.
    pub account: Option<String>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// The document in which the provider's own CLI left it, where that made it.
    pub document: Option<Document>,
}

/// The copy that a sink holds: any part may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// The access token (in whichever field the format keeps it); `None` when absent or blank.
    pub access: Option<Secret>,
    /// The refresh token; `None` when absent or blank.
    pub refresh: Option<Secret>,
    /// The expiry noted beside it.
    pub expires_at: Option<Timestamp>,
    /// The account identity noted beside it.
    pub account: Option<String>,
}

/// What one read of a source showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceReading {
    /// A usable credential.
    Ok(Credential),
    /// Valid document, blank tokens: the CLI was logged out, or gave up after a refused refresh.
    Husk {
        /// The CLI's own note why the login ended (Claude: `loginEnded`), if any.
        login_ended: Option<String>,
    },
    /// Valid document: the CLI works with an API key, and there is no login to look after.
    ApiKey,
    /// Valid document, but what makes a login is not all there, or has the wrong type.
    Partial {
        /// The field that is missing or has the wrong type.
        field: &'static str,
    },
    /// Not a valid document: torn, empty, or something else.
    Unparseable {
        /// Where and why, without quoting the document.
        reason: String,
    },
    /// No file.
    Missing,
    /// The file is there and cannot be read.
    Unreadable {
        /// The system's reason.
        reason: String,
    },
}
