//! The text of messages: what, which login, since when, what it breaks, the next command. Nothing here
//! can hold a secret, because findings do not.

use super::{Event, Message};
use crate::base::code::{Code, Finding, Severity};
use crate::base::id::SinkId;
use crate::base::time::{Timestamp, short_duration};
use crate::core::model::Desired;

/// The longest line, in characters.
const LINE_LIMIT: usize = 400;
/// The most lines.
const LINES_LIMIT: usize = 24;

/// One line without control characters.
#[must_use]
pub fn line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LINE_LIMIT).collect::<String>().trim().to_owned()
}

/// Some such lines.
#[must_use]
pub fn lines(text: &str) -> String {
    text.lines().take(LINES_LIMIT).map(line).collect::<Vec<_>>().join("\n")
}

/// The beginning of a text, in at most `limit` bytes.
#[must_use]
pub fn clipped(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let fits = |at: &usize| *at + '…'.len_utf8() <= limit;
    let end = text.char_indices().map(|(at, _)| at).take_while(fits).last().unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Where a person logs in again, and what to do with what the page shows.
#[must_use]
pub fn reauth(login: &str, url: &str, user_code: Option<&str>, host: &str) -> Message {
    let then = match user_code {
        Some(code) => format!("Type the code {code} there."),
        None => {
            format!("Hand the code that the page shows to `tokensink reauth --code - {login}` on {host}.")
        }
    };
    let title = format!("log in again: {login} on {host}");
    let message = Message::new(Event::Reauth, Severity::Warning, title, then);
    Message { subject: login.to_owned(), ..message }.with_click(url)
}

/// What a message about a finding is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What it is.
    pub event: Event,
    /// The finding; for one that is over, as it was told last.
    pub finding: &'a Finding,
    /// Since when it was open.
    pub since: Timestamp,
    /// How often it was resolved and came back lately.
    pub returns: usize,
    /// Findings that it causes.
    pub caused: Vec<&'a Finding>,
    /// Whose sinks and gateways it breaks.
    pub desired: &'a Desired,
    /// The name of this host.
    pub host: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// The message.
#[must_use]
pub fn message(facts: &Facts<'_>) -> Message {
    let Facts { event, finding, since, now, .. } = *facts;
    let lasted = short_duration(now.since(since));
    let lead = match event {
        Event::Resolved => "resolved: ",
        Event::Reminder => "still ",
        Event::Raised if facts.returns > 0 => "again ",
        _ => "",
    };
    let title = format!("{lead}{} {} on {}", finding.code, finding.subject, facts.host);
    let subject = subject(facts.desired, &finding.subject);
    let breaks = breaks(facts.desired, finding);
    let mut body = Vec::new();
    if event == Event::Resolved {
        body.push(format!("{subject}: over, after {lasted}"));
    } else {
        body.push(format!("{subject}: {}", finding.summary));
        body.push(format!("since {since} ({lasted})"));
        match facts.returns {
            0 => {}
            1 => body.push("it was resolved and has come back".to_owned()),
            n => body.push(format!("it was resolved and has come back {n} times")),
        }
        if !breaks.is_empty() {
            body.push(format!("{}: {}", breaking(finding.code), breaks.join(", ")));
        }
        body.extend(facts.caused.iter().map(|f| format!("with it: {} {}: {}", f.code, f.subject, f.summary)));
        if !finding.next.is_empty() {
            body.push(format!("next: {}", finding.next));
        }
    }
    Message {
        event,
        severity: finding.severity,
        title: line(&title),
        body: body.iter().map(|part| line(part)).collect::<Vec<_>>().join("\n"),
        click: None,
        code: Some(finding.code),
        subject: finding.subject.clone(),
        since: Some(since),
        summary: line(&finding.summary),
        breaks: if event == Event::Resolved { Vec::new() } else { breaks },
        next: finding.next.clone(),
    }
}

/// The message of `alert test`.
#[must_use]
pub fn test(host: &str) -> Message {
    let title = format!("tokensink test on {host}");
    Message::new(Event::Test, Severity::Notice, title, "alerts of this host arrive here; nothing is wrong")
}

fn subject(desired: &Desired, id: &str) -> String {
    match desired.logins.iter().find(|login| login.id.as_str() == id) {
        Some(login) if login.label.is_empty() => format!("login {id}"),
        Some(login) => format!("login {id} ({})", login.label),
        None => id.to_owned(),
    }
}

/// What is wrong with a login as a whole: each of these takes the place of another one.
pub(super) const LIFE: [Code; 5] =
    [Code::LoginExpiring, Code::LoginNeeded, Code::Husk, Code::Missing, Code::Unreadable];

const fn breaking(code: Code) -> &'static str {
    if matches!(code, Code::LoginExpiring) { "will break" } else { "breaks" }
}

/// Sinks and gateways that go without a token because of a finding.
#[must_use]
pub fn breaks(desired: &Desired, finding: &Finding) -> Vec<String> {
    let id = finding.subject.as_str();
    let is_login = desired.logins.iter().any(|login| login.id.as_str() == id);
    let mut broken = Vec::new();
    if is_login && (LIFE.contains(&finding.code) || finding.code == Code::AccountMismatch) {
        let sinks = || desired.sinks.iter().filter(|sink| sink.login.as_str() == id);
        broken.extend(sinks().map(|sink| format!("sink {}", sink.id)));
        let reads = |ids: &[SinkId]| sinks().any(|sink| ids.contains(&sink.id));
        let gateways = desired.gateways.iter().filter(|gateway| reads(&gateway.sinks));
        broken.extend(gateways.map(|gateway| format!("gateway {}", gateway.id)));
    } else if !is_login {
        let sink = id.split('/').next().unwrap_or(id);
        let reads = |ids: &[SinkId]| ids.iter().any(|known| known.as_str() == sink);
        let gateways = desired.gateways.iter().filter(|gateway| reads(&gateway.sinks));
        broken.extend(gateways.map(|gateway| format!("gateway {}", gateway.id)));
    }
    broken
}
