//! Codex's side of a refresh: its locks, its request. Facts: codex 0.169.0.
//!
//! Its locks cover the commit only, and no lock makes it wait with its request: what keeps it from
//! spending the token too is that we are far earlier than it (it renews 300 s before the end).
//! Holding the outer lock across our request delays its commits, and keeps every other tokensink out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proof::{self, NotStorable};
use crate::base::secret::{Document, Secret};
use crate::format::codex::{CLIENT_ID, ISSUER, provenance};
use crate::oauth::endpoint::{Encoding, Request};
use crate::sys::lock::{Flock, LockError, Patience};
use crate::sys::random;

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

/// Checks that Codex can save what it is asked to fetch: with a file that is read-only, has a second
/// name or is a mount, it spends the token all the same, again and again, and saves nothing (0.169.0).
///
/// # Errors
/// The reason in words.
pub fn can_save(source: &Path) -> Result<(), NotStorable> {
    proof::storable(source, true)?;
    let mode = std::fs::metadata(source).map_or(0, |file| file.mode());
    if mode & 0o200 == 0 {
        return Err(NotStorable(format!("{}: is read-only; Codex would save nothing", source.display())));
    }
    Ok(())
}

/// Beside the real file, where the outer one is beside the name.
fn inner_path(source: &Path) -> PathBuf {
    let real = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let mut path = real.into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}

/// The request of an ordinary refresh, by the client that the login was made with as far as
/// `document` says so.
///
/// # Errors
/// The login came from another issuer than OpenAI and `is_configured` does not hold for `url`: Codex
/// would follow the file, but a token leaves this host for an endpoint that is known, or that its
/// owner named.
pub fn request(
    url: &str,
    is_configured: bool,
    document: &Document,
    refresh: &Secret,
) -> Result<Request, String> {
    let origin = provenance(document.expose());
    let is_foreign = |issuer: &String| issuer.trim_end_matches('/') != ISSUER;
    if !is_configured && origin.issuer.as_ref().is_some_and(is_foreign) {
        return Err("the login came from another issuer; name its token endpoint as token_url".to_owned());
    }
    Ok(Request {
        url: url.to_owned(),
        encoding: Encoding::Json,
        fields: vec![
            ("client_id", Secret::new(origin.client_id.unwrap_or_else(|| CLIENT_ID.to_owned()))),
            ("grant_type", Secret::new("refresh_token".to_owned())),
            ("refresh_reason", Secret::new(REASON.to_owned())),
            ("refresh_token", refresh.clone()),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codex::TOKEN_URL;

    fn sent(issuer: &str, is_configured: bool) -> Result<String, String> {
        let text = format!(
            "{{\"tokens\":{{\"oauth_provenance\":{{\"issuer\":{issuer},\"client_id\":\"app_other\"}}}}}}"
        );
        let document = Document::new(text.into_bytes());
        let request = request(TOKEN_URL, is_configured, &document, &Secret::new("rt_a".into()))?;
        let client = request.fields.iter().find(|(name, _)| *name == "client_id").unwrap();
        Ok(client.1.expose().to_owned())
    }

    #[test]
    fn a_login_of_another_issuer_goes_only_where_its_owner_says() {
        for issuer in ["\"https://auth.openai.com\"", "\"https://auth.openai.com/\"", "\"\"", "null", "5"] {
            assert_eq!(sent(issuer, false).as_deref(), Ok("app_other"), "{issuer}");
        }
        for issuer in ["\"https://login.example\"", "\"http://auth.openai.com\"", "\"file:///x\""] {
            assert!(sent(issuer, false).is_err(), "{issuer}");
            assert_eq!(sent(issuer, true).as_deref(), Ok("app_other"), "the configuration wins");
        }
        let plain = request(TOKEN_URL, false, &Document::new(b"{}".to_vec()), &Secret::new("rt_a".into()));
        assert_eq!(plain.unwrap().fields.first().unwrap().1.expose(), CLIENT_ID);
    }
}
