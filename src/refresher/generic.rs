//! A refresh as RFC 6749 (section 6) describes it, for a provider that the configuration describes.
//! No CLI's lock is known: our own lock on the login and compare-and-swap at the source are all
//! there is, so nobody else may refresh such a login.

use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::config::settings::RequestStyle;
use crate::oauth::endpoint::{Encoding, Request};
use crate::sys::secret_line;

/// The OAuth client, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// The file with its secret, for a confidential client.
    pub secret: Option<PathBuf>,
    /// How a request is written.
    pub style: RequestStyle,
}

/// The request. No `scope`: without it the grant keeps its own (section 6).
///
/// # Errors
/// Why the client's secret cannot be had; nothing may be sent then.
pub fn request(url: &str, client: &Client, refresh: &Secret) -> Result<Request, String> {
    let mut fields = vec![
        ("grant_type", Secret::new("refresh_token".to_owned())),
        ("refresh_token", refresh.clone()),
        ("client_id", Secret::new(client.id.clone())),
    ];
    if let Some(path) = &client.secret {
        fields.push(("client_secret", secret_line::read(path, "the client's secret")?));
    }
    let encoding = match client.style {
        RequestStyle::Form => Encoding::Form,
        RequestStyle::Json => Encoding::Json,
    };
    Ok(Request { url: url.to_owned(), encoding, fields })
}
