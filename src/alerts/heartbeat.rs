//! The dead-man's signal: a POST to a URL of a service that misses it when it stays away. The text says
//! how things are; the service needs only to hear it.

use super::{Undelivered, http};

/// Sends one.
///
/// # Errors
/// Why it was not taken.
pub async fn beat(url: &str, text: String) -> Result<(), Undelivered> {
    http::post(http::url(Some(url))?, "text/plain; charset=utf-8", text, None).await.map(drop)
}
