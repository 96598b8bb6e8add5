//! Codex's side of a refresh: its locks, its request. Facts: codex 0.169.0.
//!
//! Its locks cover the commit only, and no lock makes it wait with its request: what keeps it from
//! spending the token too is that we are far earlier than it (it renews 300 s before the end).
//! Holding the outer lock across our request delays its commits, and keeps every other tokensink out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::secret::{Document, Secret};
use crate::format;
use crate::oauth::endpoint::{Encoding, Request};
use crate::sys::lock::{Flock, LockError, Patience};
use crate::sys::random;

/// The token endpoint.
pub const TOKEN_URL: &str = "https://auth.openai.com/oauth/token";
/// The public client of Codex.
const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
/// Why the token is renewed, in the words of the endpoint: by a timer, long before the end.
const REASON: &str = "scheduled";
/// Codex holds it while it writes a file; another of ours while it waits for an answer.
const OUTER_PATIENCE: Patience = Patience {
    total: Duration::from_secs(10),
    first: Duration::from_millis(20),
    longest: Duration::from_millis(500),
};
/// Codex looks every 10 ms and gives up after 5 s, losing its tokens. We hold new tokens by then and
/// wait longer; and our own writes are as short as its.
const INNER_PATIENCE: Patience = Patience {
    total: Duration::from_secs(25),
    first: Duration::from_millis(10),
    longest: Duration::from_millis(50),
};
/// The modes Codex gives to its locks, less the umask.
const OUTER_MODE: u32 = 0o666;
const INNER_MODE: u32 = 0o600;
/// After a refusal: a Codex that spent the token first may wait for its answer, and for the lock
/// that we have released. More than ten seconds together.
pub const DOUBTS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
];

/// Takes the lock of Codex's writers.
///
/// # Errors
/// `Busy` after ten seconds; anything else as the system says it.
pub async fn outer_lock(source: &Path) -> Result<Flock, LockError> {
    let path = source.with_file_name("auth.lock");
    Flock::acquire(&path, OUTER_MODE, OUTER_PATIENCE, &mut random::unit).await
}

/// Takes the lock of one commit. Held for a write only, never across a request.
///
/// # Errors
/// `Busy` after 25 s; anything else as the system says it.
pub async fn inner_lock(source: &Path) -> Result<Flock, LockError> {
    Flock::acquire(&inner_path(source), INNER_MODE, INNER_PATIENCE, &mut random::unit).await
}

/// Why the inner lock could not be had later, however long we waited.
#[must_use]
pub fn inner_lock_blocked(source: &Path) -> Option<&'static str> {
    let there = std::fs::metadata(inner_path(source)).ok()?;
    (!there.is_file()).then_some("what is in the place of the lock auth.json.lock is no file")
}

/// Beside the real file, where the outer one is beside the name.
fn inner_path(source: &Path) -> PathBuf {
    let real = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let mut path = real.into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}

/// The request of an ordinary refresh, to where the login came from and by the client it was made
/// with, as far as `document` says so; `url` unless `is_configured`.
#[must_use]
pub fn request(url: &str, is_configured: bool, document: &Document, refresh: &Secret) -> Request {
    let origin = format::codex::provenance(document.expose());
    // A token is sent to a host that only the file names over TLS or not at all.
    let issuer = origin.issuer.filter(|issuer| !is_configured && issuer.starts_with("https://"));
    let own = issuer.map(|issuer| format!("{}/oauth/token", issuer.trim_end_matches('/')));
    Request {
        url: own.unwrap_or_else(|| url.to_owned()),
        encoding: Encoding::Json,
        fields: vec![
            ("client_id", Secret::new(origin.client_id.unwrap_or_else(|| CLIENT_ID.to_owned()))),
            ("grant_type", Secret::new("refresh_token".to_owned())),
            ("refresh_reason", Secret::new(REASON.to_owned())),
            ("refresh_token", refresh.clone()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(issuer: &str, is_configured: bool) -> (String, String) {
        let text = format!(
            "{{\"tokens\":{{\"oauth_provenance\":{{\"issuer\":{issuer},\"client_id\":\"app_other\"}}}}}}"
        );
        let document = Document::new(text.into_bytes());
        let request = request(TOKEN_URL, is_configured, &document, &Secret::new("rt_a".into()));
        let client = request.fields.iter().find(|(name, _)| *name == "client_id").unwrap();
        (request.url, client.1.expose().to_owned())
    }

    #[test]
    fn a_login_is_refreshed_where_it_came_from() {
        let other = |url: &str| (url.to_owned(), "app_other".to_owned());
        assert_eq!(sent("\"https://login.example/\"", false), other("https://login.example/oauth/token"));
        assert_eq!(sent("\"https://login.example\"", true), other(TOKEN_URL), "the configuration wins");
        for issuer in ["\"http://login.example\"", "\"file:///x\"", "\"\"", "null", "5"] {
            assert_eq!(sent(issuer, false), other(TOKEN_URL), "{issuer}");
        }
        let plain = request(TOKEN_URL, false, &Document::new(b"{}".to_vec()), &Secret::new("rt_a".into()));
        assert_eq!(plain.fields.first().unwrap().1.expose(), CLIENT_ID);
    }
}
