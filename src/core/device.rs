//! The device authorization grant as far as it is thinking (RFC 8628): what the server gives out, what
//! an answer to a poll means, and when the next one is due. Time is counted from the moment at which
//! the code was given out.

use std::time::Duration;

use serde_json::Value;

use super::token_answer::{self, Answer, Grant};
use crate::base::secret::Secret;

/// Between two polls, where the server says nothing (section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds for good (section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// No pause gets longer, whatever a server says or however often it is silent.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// A URL that is longer is not shown.
const LONGEST_URL: usize = 2048;
/// How long a code lasts where the server does not say.
const LASTS: Duration = Duration::from_secs(15 * 60);

/// What the server gave out.
#[derive(Debug, PartialEq, Eq)]
pub struct Granting {
    /// Known to us and the server.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub url: String,
    /// The same with the code in it.
    pub complete: Option<String>,
    /// Between two polls.
    pub interval: Duration,
    /// How long the code lasts.
    pub lasts: Duration,
}

impl Granting {
    /// Reads the server's answer to the first request; `None` when something is missing, or is not fit
    /// to be shown to a person.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Self {
            device_code: Secret::new(text("device_code")?.to_owned()),
            user_code: user_code(text("user_code")?)?,
            // Google's server says `verification_url`.
            url: url(text("verification_uri").or_else(|| text("verification_url"))?)?,
            complete: text("verification_uri_complete").and_then(url),
            interval: seconds(value.get("interval")).map_or(INTERVAL, bounded),
            lasts: seconds(value.get("expires_in")).unwrap_or(LASTS),
        })
    }
}

/// A code that a person can read and type; nothing that steers a terminal.
#[must_use]
pub fn user_code(text: &str) -> Option<String> {
    let is_typed = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    is_typed.then(|| text.to_owned())
}

/// A URL that may be shown, and opened in a browser: `https`, or `http` (the server is trusted with the
/// login; whether it may be plain is a matter of the endpoint itself).
fn url(text: &str) -> Option<String> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text.len() <= LONGEST_URL && text.bytes().all(|b| b.is_ascii_graphic());
    (is_web && is_plain).then(|| text.to_owned())
}

/// A number of seconds, also as a text, as Codex's endpoint writes it.
#[must_use]
pub fn seconds(value: Option<&Value>) -> Option<Duration> {
    let value = value?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}

/// An interval as it is kept: neither a flood nor an eternity.
#[must_use]
pub fn bounded(interval: Duration) -> Duration {
    interval.clamp(Duration::from_secs(1), LONGEST_INTERVAL)
}

/// What an answer to a poll says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The person is not done.
    Pending,
    /// Not done, and we ask too often.
    SlowDown,
    /// No answer, or one that says nothing about the login.
    Silence,
    /// The login.
    Granted(Grant),
    /// The person said no, or took too long, or the request is wrong: asking on is of no use.
    Refused {
        /// The error word, fit to be shown.
        error: String,
        /// The sentence beside it, fit to be shown.
        description: Option<String>,
    },
}

/// Reads an answer to a poll.
#[must_use]
pub fn hear(status: u16, body: &[u8]) -> Heard {
    match token_answer::judge(status, None, body) {
        Answer::Granted(grant) if grant.access.is_some() => Heard::Granted(grant),
        Answer::Rejected { error } | Answer::BadRequest { error } => match error.as_str() {
            "authorization_pending" => Heard::Pending,
            "slow_down" => Heard::SlowDown,
            _ => Heard::Refused { error, description: token_answer::description(body) },
        },
        // Some servers say with 403 or 429 what the standard says with 400.
        Answer::Blocked { .. } | Answer::Throttled { .. } => {
            match token_answer::error_word(body).as_deref() {
                Some("authorization_pending") => Heard::Pending,
                Some("slow_down") => Heard::SlowDown,
                Some("access_denied" | "expired_token") => Heard::Refused {
                    error: token_answer::error_word(body).unwrap_or_default(),
                    description: token_answer::description(body),
                },
                _ => Heard::Silence,
            }
        }
        Answer::Granted(_) | Answer::ServerFailed { .. } | Answer::Unreadable { .. } => Heard::Silence,
    }
}

/// When to poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polls {
    interval: Duration,
    /// The pause now: longer than the interval while the server is silent.
    pause: Duration,
    lasts: Duration,
}

impl Polls {
    /// Polls so far apart, until so long after the code was given out.
    #[must_use]
    pub fn new(interval: Duration, lasts: Duration) -> Self {
        let interval = bounded(interval);
        Self { interval, pause: interval, lasts }
    }

    /// The pause before the next poll, `elapsed` after the code was given out; `None` when it would
    /// come too late.
    #[must_use]
    pub fn next(&self, elapsed: Duration) -> Option<Duration> {
        (elapsed.saturating_add(self.pause) <= self.lasts).then_some(self.pause)
    }

    /// Notes what a poll said; the pauses after it follow from that.
    pub fn note(&mut self, heard: &Heard) {
        match heard {
            Heard::SlowDown => {
                self.interval = bounded(self.interval.saturating_add(SLOWER));
                self.pause = self.interval;
            }
            // Section 3.5: back off exponentially where there is no answer.
            Heard::Silence => self.pause = bounded(self.pause.saturating_mul(2)),
            Heard::Pending | Heard::Granted(_) | Heard::Refused { .. } => self.pause = self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_the_server_gives_out_is_read_with_its_defaults() {
        let given = Granting::parse(
            br#"{"device_code":"dc","user_code":"WDJB-MJHT","verification_uri":"https://x/device"}"#,
        );
        let expected = Granting {
            device_code: Secret::new("dc".into()),
            user_code: "WDJB-MJHT".into(),
            url: "https://x/device".into(),
            complete: None,
            interval: secs(5),
            lasts: secs(900),
        };
        assert_eq!(given, Some(expected));
        let more = Granting::parse(
            br#"{"device_code":"dc","user_code":"A B","verification_url":"https://x/d","interval":"7","expires_in":60,
                 "verification_uri_complete":"https://x/d?c=A"}"#,
        )
        .unwrap();
        assert_eq!((more.interval, more.lasts), (secs(7), secs(60)));
        assert_eq!(more.complete.as_deref(), Some("https://x/d?c=A"));
    }

    #[test]
    fn what_would_steer_a_terminal_or_open_no_page_is_not_shown() {
        let given = |code: &str, url: &str| {
            let body = serde_json::json!({"device_code": "dc", "user_code": code, "verification_uri": url});
            Granting::parse(body.to_string().as_bytes()).is_some()
        };
        assert!(given("AB", "https://x/d"));
        for (code, url) in [
            ("A\u{1b}[31mB", "https://x/d"),
            ("A\u{202e}B", "https://x/d"),
            ("", "https://x/d"),
            ("AB", "file:///etc/passwd"),
            ("AB", "javascript:alert(1)"),
            ("AB", "https://x/\u{1b}]8;;"),
            ("AB", "https://x/ y"),
        ] {
            assert!(!given(code, url), "{code:?} {url:?}");
        }
        for body in [&b"{}"[..], b"<html>", br#"{"device_code":5}"#] {
            assert_eq!(Granting::parse(body), None);
        }
    }

    #[test]
    fn every_answer_to_a_poll_is_told_apart() {
        let error = |word: &str| format!("{{\"error\":\"{word}\"}}");
        let refused = |word: &str| Heard::Refused { error: word.into(), description: None };
        for (status, body, heard) in [
            (400, error("authorization_pending"), Heard::Pending),
            (403, error("authorization_pending"), Heard::Pending),
            (400, error("slow_down"), Heard::SlowDown),
            (429, error("slow_down"), Heard::SlowDown),
            (400, error("access_denied"), refused("access_denied")),
            (403, error("access_denied"), refused("access_denied")),
            (400, error("expired_token"), refused("expired_token")),
            (400, error("invalid_grant"), refused("invalid_grant")),
            (401, error("invalid_client"), refused("invalid_client")),
            (500, String::new(), Heard::Silence),
            (200, "<html>".into(), Heard::Silence),
            (403, "<html>".into(), Heard::Silence),
            (302, String::new(), Heard::Silence),
        ] {
            assert_eq!(hear(status, body.as_bytes()), heard, "{status} {body}");
        }
        let granted = hear(200, br#"{"access_token":"a","refresh_token":"r"}"#);
        assert!(matches!(granted, Heard::Granted(_)), "{granted:?}");
    }

    #[test]
    fn a_server_that_asks_for_it_is_polled_more_slowly_for_good_and_a_silent_one_for_a_while() {
        let mut polls = Polls::new(secs(5), secs(900));
        assert_eq!(polls.next(secs(0)), Some(secs(5)));
        polls.note(&Heard::SlowDown);
        assert_eq!(polls.next(secs(5)), Some(secs(10)));
        polls.note(&Heard::Pending);
        assert_eq!(polls.next(secs(15)), Some(secs(10)));
        for pause in [20, 40, 60, 60] {
            polls.note(&Heard::Silence);
            assert_eq!(polls.next(secs(20)), Some(secs(pause)));
        }
        polls.note(&Heard::Pending);
        assert_eq!(polls.next(secs(890)), Some(secs(10)));
        assert_eq!(polls.next(secs(891)), None);
    }

    proptest! {
        #[test]
        fn polls_are_never_a_flood_and_never_later_than_the_code_lasts(
            interval in 0_u64..1000, lasts in 0_u64..2000, answers in prop::collection::vec(0_u8..3, 0..60)
        ) {
            let mut polls = Polls::new(secs(interval), secs(lasts));
            let (mut elapsed, mut before) = (Duration::ZERO, Duration::ZERO);
            for answer in answers {
                let Some(pause) = polls.next(elapsed) else { break };
                prop_assert!(pause >= secs(1) && pause <= secs(60));
                elapsed += pause;
                prop_assert!(elapsed <= secs(lasts));
                let heard = [Heard::Pending, Heard::SlowDown, Heard::Silence].into_iter().nth(answer.into()).unwrap();
                polls.note(&heard);
                let next = polls.next(Duration::ZERO).unwrap_or(secs(60));
                prop_assert!(heard == Heard::Pending || next >= before.min(next));
                before = next;
            }
        }

        #[test]
        fn no_bytes_make_the_readers_panic(body in prop::collection::vec(any::<u8>(), 0..200), status in 100_u16..600) {
            let _ = (Granting::parse(&body), hear(status, &body));
        }
    }
}
