//! The record for people: one line an event, grouped by day, in UTC.

use std::fmt::Write as _;
use std::time::Duration;

use super::day_and_time;
use crate::base::time::{Timestamp, short_duration};
use crate::core::event::{Event, How, What};
use crate::core::memory::LastAction;

/// Every event under the heading of its day.
pub fn by_day(events: &[Event]) -> String {
    let mut text = String::new();
    let mut current = String::new();
    for event in events {
        let (day, time) = day_and_time(event.at);
        if day != current {
            let lead = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{lead}{day} (UTC)");
            current = day;
        }
        let (about, sentence) = sentence(&event.what, event.at);
        let _ = writeln!(text, "  {time}  {about:<9}{}", printable(&sentence));
    }
    if text.is_empty() { "nothing is on record\n".to_owned() } else { text }
}

/// What it is about, and a sentence.
fn sentence(what: &What, at: Timestamp) -> (&'static str, String) {
    match what {
        What::Started { version } => ("daemon", format!("tokensink {version} was ready")),
        What::Stopped { why } => ("daemon", format!("stopped: {why}")),
        What::Rotated { login, expires_at, .. } => {
            let life = expires_at.map_or_else(String::new, |end| {
                format!(", whose access token ends in {}", short_duration(end.since(at)))
            });
            ("login", format!("{login} has a new generation{life}"))
        }
        What::Refreshed { login, outcome, detail } => {
            ("refresh", format!("{login}: {}, {detail}", outcome.as_str()))
        }
        What::Written { target, reason, .. } => ("sink", format!("{target} written ({reason})")),
        What::NotWritten { target, why, .. } => ("sink", format!("{target} not written: {why}")),
        What::Applied { gateway, action: LastAction::None, .. } => {
            ("gateway", format!("{gateway} does not run, nothing was done"))
        }
        What::Applied { gateway, outcome, took_ms, .. } => {
            ("gateway", format!("{gateway} {outcome} in {}", precise(*took_ms)))
        }
        What::NotApplied { gateway, code, why } => {
            ("gateway", format!("{gateway} not converged: {code}, {why}"))
        }
        What::Raised { code, severity, subject, summary } => {
            ("finding", format!("{} {code} {subject}: {summary}", severity.as_str()))
        }
        What::Cleared { code, subject } => ("finding", format!("resolved: {code} {subject}")),
        What::Alerted { channel, stage, code, subject } => {
            ("alert", format!("{stage} by {channel}: {code} {subject}"))
        }
        What::LoggedIn { login, how } => ("login", format!("{login}: {}", came(*how))),
        What::Exported { login } => ("login", format!("{login} went to another host")),
        What::Unknown => ("", "an event of a later version".to_owned()),
    }
}

/// Where a login came from.
pub const fn came(how: How) -> &'static str {
    match how {
        How::Login => "a person logged in",
        How::Import => "imported from another host",
    }
}

/// Milliseconds below ten seconds.
pub fn precise(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { short_duration(Duration::from_millis(ms)) }
}

/// Without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_line_by_line() {
        let told = by_day(&super::super::example());
        assert_eq!(told, include_str!("example.txt"), "{told}");
    }

    #[test]
    fn nothing_in_a_sentence_steers_the_terminal() {
        let event =
            Event { at: Timestamp::from_millis(0), what: What::Stopped { why: "a\x1b[2J\nb".into() } };
        assert_eq!(by_day(&[event]), "1970-01-01 (UTC)\n  00:00:00  daemon   stopped: a [2J b\n");
        assert_eq!(by_day(&[]), "nothing is on record\n");
    }
}
