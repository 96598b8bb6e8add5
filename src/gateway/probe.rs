//! Asking a gateway whether it is ready: an HTTP GET that answers 200. The client lives for one
//! probe only, so that an idle daemon carries no TLS state.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a gateway may take to become ready: OpenClaw 2026.3.31 once needed 62 s.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// First pause between requests; doubles up to [`PAUSE_MOST`]. A gateway does not announce its
/// readiness, so it has to be asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between requests.
const PAUSE_MOST: Duration = Duration::from_secs(2);

/// Asks until the answer is 200.
///
/// # Errors
/// The last answer, in words, when there was no 200 before the deadline.
pub async fn until_ready(url: &str) -> Result<(), String> {
    let client = client()?;
    let deadline = now() + DEADLINE;
    let mut pause = PAUSE_FIRST;
    loop {
        let last = match timeout_at(deadline, client.get(url).send()).await {
            Ok(Ok(response)) if response.status() == reqwest::StatusCode::OK => return Ok(()),
            Ok(Ok(response)) => format!("answers {}", response.status()),
            Ok(Err(error)) => describe(&error),
            Err(_elapsed) => "no answer".to_owned(),
        };
        let next = now() + pause;
        if next >= deadline {
            return Err(last);
        }
        sleep_until(next).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
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
