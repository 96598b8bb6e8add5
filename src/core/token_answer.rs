//! What a token endpoint's answer means (RFC 6749 sections 5.1 and 5.2, and what Claude's and
//! Codex's endpoints really send). Three outcomes matter: a grant, a refusal, and everything that
//! leaves it open whether the refresh token was spent.

use std::time::Duration;

use serde_json::Value;

use crate::base::secret::Secret;

/// The longest lifetime of an access token that is believed; one year and some days of grace.
const LONGEST_LIFETIME: Duration = Duration::from_secs(400 * 86_400);
/// Texts of errors that are shown are cut to this length.
const SHOWN: usize = 60;
/// And sentences to this one.
const SENTENCE: usize = 200;
/// The longest token that is believed, in bytes: beyond, no header and no variable could carry it.
const LONGEST_TOKEN: usize = 32 * 1024;
/// Without a usable `Retry-After`.
const THROTTLE: Duration = Duration::from_secs(15 * 60);
/// The longest pause that a server can ask for.
const THROTTLE_MOST: Duration = Duration::from_secs(24 * 3600);

/// What a grant brought. A field that is absent keeps what was there before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// The new access token.
    pub access: Option<Secret>,
    /// The new refresh token; absent where the provider does not rotate.
    pub refresh: Option<Secret>,
    /// The id token (OpenID Connect).
    pub id_token: Option<Secret>,
    /// Lifetime of the access token; absent also for an absurd one.
    pub expires_in: Option<Duration>,
    /// Lifetime of the login itself (Claude: `refresh_token_expires_in`).
    pub login_ends_in: Option<Duration>,
    /// The scopes granted.
    pub scopes: Option<Vec<String>>,
}

/// What an answer means for the refresh token that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was traded.
    Granted(Grant),
    /// It is dead, says the server: to be believed only after the source was read again.
    Rejected {
        /// The error word.
        error: String,
    },
    /// The request itself was wrong: our bug, or the endpoint has changed. Not the token's fault.
    BadRequest {
        /// The error word.
        error: String,
    },
    /// Too many requests.
    Throttled {
        /// How long to wait.
        wait: Duration,
    },
    /// An edge or policy refused us: wait for hours.
    Blocked {
        /// The status.
        status: u16,
    },
    /// The server failed; it says nothing about the token.
    ServerFailed {
        /// The status.
        status: u16,
    },
    /// Success that cannot be read: the token may have been spent.
    Unreadable {
        /// Why, without quoting the answer.
        why: &'static str,
    },
}

/// Judges an answer. `retry_after` is the header's text.
#[must_use]
pub fn judge(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
    match status {
        200..=299 => granted(body),
        400 | 401 | 404 => refused(status, body),
        // An `invalid_grant` inside a 403 is not believed either: Claude Code 2.1.329 keeps the login.
        403 | 407 | 451 => Answer::Blocked { status },
        429 => Answer::Throttled { wait: wait_of(retry_after) },
        // No redirect is followed with a refresh token in hand.
        300..=399 => Answer::Blocked { status },
        503 if retry_after.is_some() => Answer::Throttled { wait: wait_of(retry_after) },
        500..=599 | 408 => Answer::ServerFailed { status },
        _ => Answer::BadRequest { error: format!("status {status}") },
    }
}

fn granted(body: &[u8]) -> Answer {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Answer::Unreadable { why: "the answer is not JSON" };
    };
    let Some(fields) = value.as_object() else {
        return Answer::Unreadable { why: "the answer is not an object" };
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    if text("refresh_token").is_some_and(|text| !is_token(text)) {
        return Answer::Unreadable { why: "the answer holds a token that cannot be one" };
    }
    // One that cannot be a token is none: the refresh token beside it may be all that is left of the login.
    let secret =
        |name: &str| text(name).filter(|text| is_token(text)).map(|text| Secret::new(text.to_owned()));
    let seconds = |name: &str| {
        let number = fields.get(name)?;
        let seconds = number.as_f64().or_else(|| number.as_str()?.parse().ok())?;
        let lifetime = Duration::try_from_secs_f64(seconds).ok()?;
        (lifetime >= Duration::from_secs(1) && lifetime <= LONGEST_LIFETIME).then_some(lifetime)
    };
    let scopes = fields
        .get("scope")
        .and_then(Value::as_str)
        .map(|s| s.split_whitespace().map(str::to_owned).collect());
    let grant = Grant {
        access: secret("access_token"),
        refresh: secret("refresh_token"),
        id_token: secret("id_token"),
        expires_in: seconds("expires_in"),
        login_ends_in: seconds("refresh_token_expires_in"),
        scopes: scopes.filter(|s: &Vec<String>| !s.is_empty()),
    };
    if grant.access.is_none() && grant.refresh.is_none() {
        return Answer::Unreadable { why: "the answer holds no token" };
    }
    Answer::Granted(grant)
}

/// RFC 6749 appendix A: visible characters and spaces. With any other, a line could be added to a file of
/// variables, or a header to a request, by whoever answers.
fn is_token(text: &str) -> bool {
    text.len() <= LONGEST_TOKEN && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Words that say the refresh token is dead. The Codex ones are what its endpoint answers to a
/// refresh (codex 0.169.0); `not_found_error` with 404 is Claude's.
const DEAD: [&str; 8] = [
    "invalid_grant",
    "refresh_token_reused",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "token_expired",
    "token_revoked",
    "app_session_terminated",
    "not_found_error",
];

fn refused(status: u16, body: &[u8]) -> Answer {
    let error = error_word(body);
    match error.as_deref() {
        Some(word) if DEAD.contains(&word) => Answer::Rejected { error: shown(word) },
        Some(word) => Answer::BadRequest { error: shown(word) },
        None if status == 404 => Answer::BadRequest { error: "not found".into() },
        // An HTML page, or nothing: some edge speaks, not the token endpoint.
        None => Answer::Blocked { status },
    }
}

/// The error word of an answer: `error` as a text, `error.code`, `error.type`, or `code`; in lower case,
/// and not yet fit to be shown.
#[must_use]
pub fn error_word(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let candidates = ["/error/code", "/error/type", "/error", "/code"];
    let word = candidates.iter().find_map(|pointer| value.pointer(pointer).and_then(Value::as_str))?;
    Some(word.trim().to_ascii_lowercase()).filter(|w| !w.is_empty())
}

fn shown(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_graphic()).take(SHOWN).collect()
}

/// The sentence that an endpoint gives beside its error word, made fit to be shown.
#[must_use]
pub fn description(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let candidates = ["/error_description", "/error/message", "/message"];
    let text = candidates.iter().find_map(|pointer| value.pointer(pointer).and_then(Value::as_str))?;
    Some(fit_to_show(text)).filter(|text| !text.is_empty())
}

/// A text of a server in one line of at most 200 characters, without any that would steer a terminal
/// or turn the direction of what is read.
#[must_use]
pub fn fit_to_show(text: &str) -> String {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_hidden(*c));
    shown.take(SENTENCE).collect::<String>().trim().to_owned()
}

/// `Retry-After` in seconds or as a date; a date is left to the default, because only a trusted
/// clock could turn it into a span.
fn wait_of(retry_after: Option<&str>) -> Duration {
    let seconds = retry_after.and_then(|text| text.trim().parse::<u64>().ok());
    seconds.map_or(THROTTLE, |s| Duration::from_secs(s).clamp(Duration::from_secs(1), THROTTLE_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_word_is_an_edge_speaking_unless_there_is_nothing_at_all() {
        for status in [400, 401] {
            assert_eq!(judge(status, None, b"<html>"), Answer::Blocked { status });
        }
        // A wrong address is the owner's to put right; a dead token it is not.
        assert_eq!(judge(404, None, b""), Answer::BadRequest { error: "not found".into() });
        let word = br#"{"error":"invalid_grant"}"#;
        assert_eq!(judge(404, None, word), Answer::Rejected { error: "invalid_grant".into() });
    }
}
