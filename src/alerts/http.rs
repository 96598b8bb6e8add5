//! One POST to a receiver of alerts: no redirect, no retry, a short deadline, a bounded answer. Errors
//! name scheme, host and port of the receiver, never the rest of its URL.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{StatusCode, Url};
use zeroize::Zeroizing;

use super::Undelivered;
use crate::base::secret::Secret;
use crate::oauth::endpoint;

/// How long the whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is looked at, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;
/// What a receiver may ask to wait at most.
const WAIT_MOST: Duration = Duration::from_secs(3600);

/// Scheme, host and port: what may be told of a URL.
pub(super) fn origin(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Posts a text, and returns the beginning of the answer to it.
pub(super) async fn post(
    url: Url,
    content_type: &'static str,
    body: String,
    token: Option<&Secret>,
) -> Result<Vec<u8>, Undelivered> {
    let origin = origin(&url);
    let failed = |why: &str| Undelivered::passing(format!("{origin}: {why}"));
    let client = endpoint::client().map_err(|error| failed(&error.to_string()))?;
    let mut posting = client
        .post(url)
        .timeout(DEADLINE)
        .header(CONTENT_TYPE, content_type)
        .header(USER_AGENT, concat!("tokensink/", env!("CARGO_PKG_VERSION")))
        .body(body);
    if let Some(token) = token {
        posting = posting.header(AUTHORIZATION, bearer(token)?);
    }
    let response = posting.send().await.map_err(|error| failed(of_error(&error)))?;
    judge(response.status(), response.headers(), &origin)?;
    let mut response = response;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
            Ok(None) => return Ok(answer),
            Err(_) => return Err(failed("the connection broke off in the answer")),
        }
    }
    Ok(answer)
}

fn bearer(token: &Secret) -> Result<HeaderValue, Undelivered> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Undelivered::lasting("the channel's token is not one that a header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the status says.
fn judge(status: StatusCode, headers: &HeaderMap, origin: &str) -> Result<(), Undelivered> {
    let number = status.as_u16();
    let lasting = |why: &str| Err(Undelivered::lasting(format!("{origin}: answers {number}{why}")));
    match number {
        200..=299 => Ok(()),
        300..=399 => lasting(", a redirect; those are not followed"),
        401 | 403 => lasting(": the channel's token is missing or not accepted"),
        408 | 425 | 429 | 500.. => {
            let retry_after =
                headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(WAIT_MOST));
            Err(Undelivered { retry_after, ..Undelivered::passing(format!("{origin}: answers {number}")) })
        }
        _ => lasting(""),
    }
}

/// Errors are told apart by where they arose. Their texts are not repeated: they quote URLs.
fn of_error(error: &reqwest::Error) -> &'static str {
    match () {
        () if error.is_connect() && error.is_timeout() => "no connection in time",
        () if error.is_connect() => "no connection",
        () if error.is_timeout() => "no answer in time",
        () => "the connection broke off",
    }
}

/// The URL of a channel, which the configuration has checked.
pub(super) fn url(text: Option<&str>) -> Result<Url, Undelivered> {
    let url = text.and_then(|text| Url::parse(text).ok());
    url.ok_or_else(|| Undelivered::lasting("the channel has no URL"))
}
