//! Alerts: what is told to whom, and when. Pure: findings, memory, settings and time go in; messages
//! and the next wake-up come out. `memory` is what was told, `decide` the rules, `words` the text.
//!
//! The rules in short: one alert for each finding and channel, when it is confirmed to be delivered;
//! again when it gets worse, at steps before a login's end, and as a reminder; resolved once.

pub mod decide;
pub mod memory;
pub mod words;

use crate::base::code::{Code, Severity};
use crate::base::time::Timestamp;

/// The name under which trouble of the dead-man's signal is noted.
pub const HEARTBEAT: &str = "heartbeat";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A finding is told for the first time, or has come back.
    Raised,
    /// It has become worse, or a login's end came nearer.
    Worse,
    /// It lasts.
    Reminder,
    /// It is over.
    Resolved,
    /// A person has to log in, and here is where.
    Reauth,
    /// A person tries the channels.
    Test,
}

impl Event {
    /// The word used in JSON and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Worse => "worse",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Reauth => "reauth",
            Self::Test => "test",
        }
    }
}

/// One message for every channel. Holds no secret; `click` may hold the address of a login in
/// progress, which is shown to a person and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub event: Event,
    /// How loud it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Some lines.
    pub body: String,
    /// Where a tap on it leads (`http` or `https`).
    pub click: Option<String>,
    /// The finding's code; `None` for a test.
    pub code: Option<Code>,
    /// What it is about: the id of a login, sink or gateway.
    pub subject: String,
    /// Since when the finding is open.
    pub since: Option<Timestamp>,
    /// The finding's sentence.
    pub summary: String,
    /// What cannot work because of it, as in `gateway openclaw`.
    pub breaks: Vec<String>,
    /// The next command; may be empty.
    pub next: String,
}

impl Message {
    /// A message that is about no finding.
    #[must_use]
    pub fn new(event: Event, severity: Severity, title: impl Into<String>, body: impl Into<String>) -> Self {
        let body = body.into();
        Self {
            event,
            severity,
            title: words::line(&title.into()),
            summary: words::line(&body),
            body: words::lines(&body),
            click: None,
            code: None,
            subject: String::new(),
            since: None,
            breaks: Vec::new(),
            next: String::new(),
        }
    }

    /// The same about a finding's code and subject.
    #[must_use]
    pub fn about(mut self, code: Code, subject: impl Into<String>) -> Self {
        self.code = Some(code);
        self.subject = subject.into();
        self
    }

    /// The same with an address to visit; one that is no web page is left out.
    #[must_use]
    pub fn with_click(mut self, url: impl Into<String>) -> Self {
        let is_page = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        self.click = Some(url.into()).filter(is_page);
        self
    }
}
