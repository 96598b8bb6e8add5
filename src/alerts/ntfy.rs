//! ntfy (docs.ntfy.sh, server 2.14): a message is published as JSON to the root of the server, so that
//! no text of ours is ever a header. The answer is checked: it is the message, with its id and topic.

use reqwest::Url;
use serde_json::{Value, json};

use super::{Around, Undelivered, http, secret};
use crate::base::code::Severity;
use crate::config::settings::AlertSettings;
use crate::core::alert::words::clipped;
use crate::core::alert::{Event, Message};

/// ntfy takes 4096 bytes of message.
const BODY_LIMIT: usize = 3900;
/// What ntfy shows of a title is far less.
const TITLE_LIMIT: usize = 250;

/// Publishes a message.
pub(super) async fn send(
    settings: &AlertSettings,
    around: &Around,
    message: &Message,
) -> Result<(), Undelivered> {
    let (root, topic) = split(http::url(settings.url.as_deref())?)?;
    let origin = http::origin(&root);
    let token = secret::of(settings, around)?;
    let answer = http::post(root, "application/json", document(message, &topic), token.as_ref()).await?;
    if is_taken(&answer, &topic) {
        return Ok(());
    }
    Err(Undelivered::passing(format!("{origin}: the answer is not that of an ntfy server")))
}

/// Whether an answer says that the message was published: a captive portal says 200 to everything.
#[must_use]
pub fn is_taken(answer: &[u8], topic: &str) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let word = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    word("event") == "message" && word("topic") == topic && !word("id").is_empty()
}

/// The server's root and the topic.
fn split(mut url: Url) -> Result<(Url, String), Undelivered> {
    let path = url.path().trim_end_matches('/').to_owned();
    let Some((parent, topic)) = path.rsplit_once('/').filter(|(_, topic)| !topic.is_empty()) else {
        return Err(Undelivered::lasting("the channel's URL does not end in a topic"));
    };
    url.set_path(&format!("{parent}/"));
    Ok((url, topic.to_owned()))
}

fn document(message: &Message, topic: &str) -> String {
    let (priority, tag) = loudness(message);
    let mut value = json!({
        "topic": topic,
        "title": clipped(&message.title, TITLE_LIMIT),
        "message": clipped(&message.body, BODY_LIMIT),
        "priority": priority,
        "tags": [tag, "tokensink"],
    });
    if let (Some(object), Some(click)) = (value.as_object_mut(), &message.click) {
        object.insert("click".to_owned(), click.as_str().into());
    }
    value.to_string()
}

/// Priority (1 to 5, 3 is the usual one) and emoji.
const fn loudness(message: &Message) -> (u8, &'static str) {
    match (message.event, message.severity) {
        (Event::Resolved, _) => (2, "white_check_mark"),
        (Event::Test, _) => (3, "bell"),
        (Event::Reauth, _) => (4, "key"),
        (Event::Reminder, Severity::Critical) => (4, "rotating_light"),
        (_, Severity::Critical) => (5, "rotating_light"),
        _ => (3, "warning"),
    }
}
