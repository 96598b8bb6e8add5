//! Asking a gateway whether it is ready: an HTTP GET that answers 200, and where the answer says for
//! how long the gateway has been up (`uptimeMs`, OpenClaw 2026.5.28 to 2026.9.6), not for longer than
//! since its restart was ordered. The client lives for one probe only, so that an idle daemon carries
//! no TLS state.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::sys::clock;

/// How long a gateway may take to become ready: OpenClaw 2026.2.26 needed 198 s on two processors
/// with a load of 16, and who gives up too early restarts a gateway that is about to be ready.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// First pause between requests; doubles up to [`PAUSE_MOST`]. A gateway does not announce its
/// readiness, so it has to be asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between requests.
const PAUSE_MOST: Duration = Duration::from_secs(2);

/// How much of an answer is looked at, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

/// Asks until the answer is 200, from a process that was started after `ordered` (monotonic) where it
/// says so.
///
/// # Errors
/// The last answer, in words, when there was none like that before the deadline.
pub async fn until_ready(url: &str, ordered: Duration) -> Result<(), String> {
    let client = client()?;
    let deadline = now() + DEADLINE;
    let mut pause = PAUSE_FIRST;
    loop {
        let since = || clock::monotonic().saturating_sub(ordered);
        let asked = timeout_at(deadline, ask(&client, url, since)).await;
        let Err(last) = asked.unwrap_or_else(|_elapsed| Err("no answer".to_owned())) else { return Ok(()) };
        let next = now() + pause;
        if next >= deadline {
            return Err(last);
        }
        sleep_until(next).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Asks once whether it is ready, and a process that was started within `since` where it says so.
pub async fn is_ready(url: &str, since: Duration) -> bool {
    let Ok(client) = client() else { return false };
    ask(&client, url, || since).await.is_ok()
}

async fn ask(client: &reqwest::Client, url: &str, since: impl Fn() -> Duration) -> Result<(), String> {
    let response = client.get(url).send().await.map_err(|error| describe(&error))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("answers {}", response.status()));
    }
    if is_older(&body(response, BODY_LIMIT).await, since()) {
        return Err("answers 200, but has been up since before it was told to restart".to_owned());
    }
    Ok(())
}

/// True when an answer says that the gateway has been up for longer than `since`.
#[must_use]
pub fn is_older(body: &str, since: Duration) -> bool {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let up = answer.get("uptimeMs").and_then(serde_json::Value::as_u64);
    up.is_some_and(|up| Duration::from_millis(up) > since)
}

/// Asks once: the status and the beginning of the body.
///
/// # Errors
/// Why there was no answer, in words.
pub async fn get(url: &str, deadline: Duration, limit: usize) -> Result<(u16, String), String> {
    let client = client()?;
    let asked = async {
        let response = client.get(url).timeout(deadline).send().await.map_err(|error| describe(&error))?;
        let status = response.status().as_u16();
        Ok((status, body(response, limit).await))
    };
    asked.await
}

/// The beginning of a body; what could be read of it, if it breaks off.
async fn body(mut response: reqwest::Response, limit: usize) -> String {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() >= limit {
            read.truncate(limit);
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

fn now() -> Instant {
    Instant::now()
}

fn client() -> Result<reqwest::Client, String> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(REQUEST_DEADLINE)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|e| format!("no HTTP client: {e}"))
}

/// What went wrong, without the URL: it may carry a key.
fn describe(error: &reqwest::Error) -> String {
    let word = match () {
        () if error.is_connect() => "cannot be connected to",
        () if error.is_timeout() => "no answer in time",
        () => "no usable answer",
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_was_up_before_the_order_has_not_restarted() {
        let since = Duration::from_secs(10);
        assert!(is_older(r#"{"ready":true,"failing":[],"uptimeMs":10001}"#, since));
        assert!(!is_older(r#"{"ready":true,"failing":[],"uptimeMs":9000}"#, since));
        for silent in ["", "<!doctype html>", "{}", r#"{"uptimeMs":null}"#, r#"{"uptimeMs":-1}"#, "[1]"] {
            assert!(!is_older(silent, since), "{silent}");
        }
    }
}
