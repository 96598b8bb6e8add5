//! What the stand-in can be told to do differently, while it runs.

use serde::{Deserialize, Serialize};

/// A way for the token endpoint to fail. The *grant* is the moment the server rotates the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It works.
    #[default]
    None,
    /// The connection is closed before TLS: the request was certainly not sent.
    RefuseConnection,
    /// The request is read and the connection closed; nothing was granted.
    CutBeforeGrant,
    /// The token is rotated and the connection closed without an answer.
    CutAfterGrant,
    /// The request is read and never answered; nothing was granted.
    HangBeforeGrant,
    /// The token is rotated and the request never answered.
    HangAfterGrant,
    /// The token is rotated; the answer is 200 with an HTML page.
    GarbageBody,
    /// The token is rotated; the connection ends in the middle of the body.
    TruncatedBody,
}

/// Which bearer tokens the API accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiAuth {
    /// The live access token of a family.
    #[default]
    Live,
    /// Any.
    Any,
    /// None: every request gets 401.
    Nobody,
}

/// All switches; the default is a provider that works, with strict single-use rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Answer the token endpoint with this status and `body`, granting nothing.
    pub status: Option<u16>,
    /// The body that goes with `status`.
    pub body: String,
    /// A `Retry-After` header on every answer of the token endpoint.
    pub retry_after: Option<String>,
    /// How the token endpoint fails.
    pub fault: Fault,
    /// After this many token requests `status` and `fault` are over; `None`: never.
    pub times: Option<u32>,
    /// Time between grant and answer, milliseconds.
    pub delay_ms: u64,
    /// Time between the pieces (16 bytes) of the token endpoint's body, milliseconds.
    pub slow_body_ms: u64,
    /// Whether a grant replaces the refresh token.
    pub rotate: bool,
    /// Whether a reused refresh token ends its family, as reported of the real server.
    pub reuse_revokes: bool,
    /// Lifetime of an access token, seconds.
    pub expires_in: u64,
    /// `refresh_token_expires_in` of the answer, seconds; `None` leaves it out.
    pub refresh_token_expires_in: Option<u64>,
    /// The scope of the answer; `None`: what was asked for.
    pub scope: Option<String>,
    /// The account that new logins belong to; `None`: always the same one.
    pub account: Option<String>,
    /// What each poll of a device login is answered with, the first one first; after that, with a login.
    pub device: Vec<String>,
    /// How far the server's clock, as its `Date` tells it, is ahead of ours, seconds; `None`: it does
    /// not tell.
    pub clock_ahead: Option<i64>,
    /// Which bearer tokens the API accepts.
    pub api_auth: ApiAuth,
    /// Time before the profile is answered, milliseconds.
    pub profile_delay_ms: u64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            status: None,
            body: String::new(),
            retry_after: None,
            fault: Fault::None,
            times: None,
            delay_ms: 0,
            slow_body_ms: 0,
            rotate: true,
            reuse_revokes: false,
            expires_in: 28_800,
            refresh_token_expires_in: None,
            scope: None,
            account: None,
            device: Vec::new(),
            clock_ahead: Some(0),
            api_auth: ApiAuth::Live,
            profile_delay_ms: 0,
        }
    }
}
