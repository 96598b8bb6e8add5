//! One request to a token endpoint. The client is made for it and dropped after it: an idle daemon
//! keeps no TLS state. No retry, no redirect, a bounded answer, and an honest word about whether
//! the request may have arrived.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;

/// How long the whole exchange may take: what Claude Code 2.1.329 allows itself.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a connection may take to be made; nothing is sent before that.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json` (Claude, Codex).
    Json,
    /// `application/x-www-form-urlencoded` (RFC 6749).
    Form,
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// The endpoint.
    pub url: String,
    /// How the body is written.
    pub encoding: Encoding,
    /// The parameters, in the order in which they are written.
    pub fields: Vec<(&'static str, Secret)>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The server's clock when it answered, to the second; `None` when it did not say.
    pub date: Option<Timestamp>,
    /// The body.
    pub body: Document,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// The URL is not one that a refresh token may be sent to.
    Url(&'static str),
    /// It is certain that nothing was sent.
    NotSent(String),
    /// It was sent, or may have been.
    Unknown(String),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => f.write_str(why),
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Unknown(why) => write!(f, "sent, and no answer that can be read: {why}"),
        }
    }
}

impl std::error::Error for SendError {}

/// Refuses every URL but `https`, and `http` to the loopback.
///
/// # Errors
/// Why the URL is refused.
pub fn check_url(url: &str) -> Result<Url, SendError> {
    let url = Url::parse(url).map_err(|_| SendError::Url("the token endpoint is not a URL"))?;
    let is_loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        _ => Err(SendError::Url("a refresh token is sent over https only, or to the loopback")),
    }
}

/// A client as every request of ours wants it.
///
/// # Errors
/// When the system's certificates cannot be used.
pub fn client() -> Result<reqwest::Client, SendError> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(DEADLINE)
        .connect_timeout(CONNECT_DEADLINE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|_| SendError::NotSent("no HTTP client can be made".into()))
}

/// The body. `text/plain` never: both encodings quote whatever a token holds.
fn encoded(request: &Request) -> Document {
    let fields = request.fields.iter().map(|(name, value)| (*name, value.expose()));
    let text = match request.encoding {
        Encoding::Json => {
            let object = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
            Value::Object(object.collect()).to_string()
        }
        Encoding::Form => form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish(),
    };
    Document::new(text.into_bytes())
}

/// Sends the request and reads the answer.
///
/// # Errors
/// See [`SendError`]: only `NotSent` and `Url` allow the same token to be sent again.
pub async fn send(request: Request) -> Result<Reply, SendError> {
    let url = check_url(&request.url)?;
    let content_type = match request.encoding {
        Encoding::Json => "application/json",
        Encoding::Form => "application/x-www-form-urlencoded",
    };
    let sending = client()?
        .post(url)
        .header(CONTENT_TYPE, content_type)
        .header(reqwest::header::ACCEPT, "application/json")
        .header(reqwest::header::USER_AGENT, concat!("tokensink/", env!("CARGO_PKG_VERSION")))
        .body(encoded(&request).expose().to_vec());
    let mut response = sending.send().await.map_err(|error| failure(&error))?;
    let retry_after = text(response.headers(), RETRY_AFTER).map(str::to_owned);
    let (status, date) = (response.status(), date(response.headers()));
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_LIMIT => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return unread(status, date, "the answer is too large"),
            Ok(None) => break,
            Err(_) => return unread(status, date, "the connection broke off in the answer"),
        }
    }
    Ok(Reply { status: status.as_u16(), retry_after, date, body: Document::new(body) })
}

/// Why a server does not answer, for who wants to mend the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// Its certificate is of an authority that is not trusted here.
    UntrustedIssuer,
    /// Its certificate is not accepted for another reason, in words.
    Certificate(String),
    /// There is no connection, or no answer; in words.
    NoConnection(String),
}

/// Asks the server of that endpoint for anything at all, as [`ask_time`] does, and returns its time where
/// it says so.
///
/// # Errors
/// What stands in the way.
pub async fn reach(url: &str) -> Result<Option<Timestamp>, Unreached> {
    let words = |error: SendError| Unreached::NoConnection(error.to_string());
    match head(url).map_err(words)?.send().await {
        Ok(response) => Ok(date(response.headers())),
        Err(error) => Err(tls_failure(&error).unwrap_or_else(|| words(failure(&error)))),
    }
}

/// What of a failure is TLS's. A certificate that is not accepted is never told by its text, which quotes it.
fn tls_failure(error: &reqwest::Error) -> Option<Unreached> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(mut at) = cause {
        // What an I/O error holds is not what it names as its source, and one may hold another.
        while let Some(inner) = at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            at = inner;
        }
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return Some(match tls {
                rustls::Error::InvalidCertificate(why) => certificate_failure(why),
                _ => Unreached::Certificate("no TLS connection could be made".to_owned()),
            });
        }
        cause = at.source();
    }
    None
}

fn certificate_failure(why: &rustls::CertificateError) -> Unreached {
    use rustls::CertificateError as Why;
    let words = match why {
        Why::UnknownIssuer => return Unreached::UntrustedIssuer,
        Why::Expired | Why::ExpiredContext { .. } => "it is over by the clock of this host",
        Why::NotValidYet | Why::NotValidYetContext { .. } => "it does not hold yet by the clock of this host",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "it is for another name",
        Why::Revoked => "it was revoked",
        _ => "it is not well formed, or not signed well",
    };
    Unreached::Certificate(words.to_owned())
}

/// The question: the root of the endpoint's origin, without body, credential or redirect.
fn head(url: &str) -> Result<reqwest::RequestBuilder, SendError> {
    let mut url = check_url(url)?;
    url.set_path("/");
    url.set_query(None);
    Ok(client()?
        .head(url)
        .timeout(CONNECT_DEADLINE)
        .header(CACHE_CONTROL, "no-cache")
        .header(reqwest::header::USER_AGENT, concat!("tokensink/", env!("CARGO_PKG_VERSION"))))
}

/// Asks the server of that endpoint for its time: the root of its origin, without body, credential
/// or redirect. Over TLS, so that nobody on the way can tell another; a clock that is off by more
/// than the certificate allows cannot be told right in this way.
///
/// # Errors
/// When it does not answer, or does not say.
pub async fn ask_time(url: &str) -> Result<Timestamp, SendError> {
    let response = head(url)?.send().await.map_err(|error| failure(&error))?;
    date(response.headers()).ok_or_else(|| SendError::Unknown("the answer has no date".into()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `Date`, and the `Age` that a cache adds to an answer that it kept.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    date_of(text(headers, DATE)?, text(headers, AGE))
}

/// The same of the two texts.
#[must_use]
pub fn date_of(date: &str, age: Option<&str>) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(date).ok()?;
    let age = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    Some(Timestamp::from(date).after(Duration::from_secs(age)))
}

/// An answer whose status came through and whose body did not. A failure is one without its body
/// too; a success may have brought the new tokens.
fn unread(status: StatusCode, date: Option<Timestamp>, why: &str) -> Result<Reply, SendError> {
    if status.is_success() {
        return Err(SendError::Unknown(why.to_owned()));
    }
    Ok(Reply { status: status.as_u16(), retry_after: None, date, body: Document::new(Vec::new()) })
}

/// Errors are told apart by where they arose. Their texts are not repeated: they quote URLs.
fn failure(error: &reqwest::Error) -> SendError {
    match () {
        () if error.is_builder() => SendError::NotSent("the request could not be made".into()),
        () if error.is_connect() && error.is_timeout() => SendError::NotSent("no connection in time".into()),
        () if error.is_connect() => SendError::NotSent("no connection".into()),
        () if error.is_timeout() => SendError::Unknown("no answer in time".into()),
        () => SendError::Unknown("the connection broke off".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_goes_over_https_or_to_the_loopback_and_nowhere_else() {
        for good in ["https://platform.claude.com/v1/oauth/token", "http://127.0.0.1:9/t", "http://[::1]:9/t"]
        {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in
            ["http://platform.claude.com/t", "http://127.0.0.1.evil.example/t", "ftp://x/", "file:///x", "x"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_date_is_read_in_every_spelling_with_the_age_that_a_cache_adds() {
        let at = |date: &str, age: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, date.parse().unwrap());
            age.and_then(|age| headers.insert(AGE, age.parse().unwrap()));
            super::date(&headers).map(Timestamp::as_millis)
        };
        let noon = Some(784_111_777_000);
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", None), noon);
        assert_eq!(at("Sunday, 06-Nov-94 08:49:37 GMT", None), noon);
        assert_eq!(at("Sun Nov  6 08:49:37 1994", Some("nonsense")), noon);
        assert_eq!(at("Sun, 06 Nov 1994 08:49:07 GMT", Some("30")), noon);
        assert_eq!(at("yesterday", None), None);
    }
}
