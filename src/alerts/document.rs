//! The JSON document that a webhook and a command are given; its format is in `tokensink.toml(5)`.
//! Fields are added, never renamed or removed.

use crate::base::time::Timestamp;
use crate::core::alert::Message;
use crate::sys::clock;

/// The document, in one line.
pub(super) fn of(message: &Message, host: &str) -> String {
    let value = serde_json::json!({
        "format_version": 1,
        "event": message.event.as_str(),
        "severity": message.severity.as_str(),
        "code": message.code,
        "subject": message.subject,
        "since": message.since.map(Timestamp::as_millis),
        "summary": message.summary,
        "breaks": message.breaks,
        "next": message.next,
        "title": message.title,
        "body": message.body,
        "click": message.click,
        "host": host,
        "sent_at": clock::now().as_millis(),
    });
    let mut text = value.to_string();
    text.push('\n');
    text
}
