//! Our other files: records of refreshes, of what happened and of a set-up, and bundles from another host.

use std::sync::OnceLock;

use serde_json::Value;
use tokensink::base::secret::{Document, Secret};
use tokensink::base::time::Timestamp;
use tokensink::cli::history::{since, text, timeline};
use tokensink::cli::reauth::event::Event as Step;
use tokensink::cli::setup::record::Record;
use tokensink::core::event::Event;
use tokensink::daemon::history;
use tokensink::refresher::intent;
use tokensink::sys::sealed::{self, SealError};

use super::planted::{both, hides};

const NOW: Timestamp = Timestamp::from_millis(1_795_176_000_000);

/// A record of a refresh: what says which token was spent, and what that brought, is never taken for none.
pub fn intent(bytes: &[u8]) {
    both(bytes, |bytes| {
        let found = intent::read(bytes);
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            assert_eq!(found, None);
            return;
        };
        let is_ours = value["format_version"] == 1 && value["spent"].is_string() && value["at"].is_i64();
        let answer = value.get("answer");
        let is_readable = is_ours && answer.is_none_or(|answer| answer["spent"].is_string());
        assert_eq!(found.is_some(), is_readable);
        let Some(found) = found else { return };
        assert_eq!(found.answer.is_some(), answer.is_some());
        let (Some((spent, renewed)), Some(answer)) = (&found.answer, answer) else { return };
        for (name, token) in
            [("access", &renewed.access), ("refresh", &renewed.refresh), ("id_token", &renewed.id_token)]
        {
            assert_eq!(token.as_ref().map(Secret::expose), answer[name].as_str(), "{name}");
        }
        let tokens =
            [Some(spent), renewed.access.as_ref(), renewed.refresh.as_ref(), renewed.id_token.as_ref()];
        let scopes: Vec<&str> = renewed.scopes.iter().flatten().map(String::as_str).collect();
        let plain: Vec<&str> = scopes.into_iter().chain([found.spent.as_str()]).collect();
        let locks = format!("{:?}", found.locks);
        for token in tokens.into_iter().flatten().filter(|token| !locks.contains(token.expose())) {
            hides(&found, token, &plain);
        }
        let again = intent::read(intent::answered(&found.spent, spent, renewed, found.at).expose()).unwrap();
        assert_eq!((again.spent, again.at, &again.answer), (found.spent, found.at, &found.answer));
    });
}

/// The record of what happened, in any lines, as text and as drawing; and `--since`.
pub fn history(bytes: &[u8]) {
    let record = history::of_lines(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(record.events.len() + record.unreadable, lines, "each line counts");
    assert!(record.events.is_sorted_by_key(|event| event.at));
    for event in &record.events {
        let again: Event = serde_json::from_slice(&serde_json::to_vec(event).unwrap()).unwrap();
        assert_eq!(&again, event);
        let clipped = event.what.clone().clipped();
        assert_eq!(clipped.clone().clipped(), clipped);
    }
    let shown = text::by_day(&record.events);
    assert!(shown.lines().all(|line| !line.contains(char::is_control)), "{shown:?}");
    if !record.events.is_empty() {
        let day = NOW.before(std::time::Duration::from_secs(86_400));
        let drawing = timeline::draw(&record.events, bytes.len().is_multiple_of(2).then_some(day), NOW);
        assert!(drawing.trim_end().ends_with("</svg>"));
        assert!(drawing.len() <= 64 * 1024 + 4096 * lines + 16 * bytes.len(), "{} bytes", drawing.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        match since::parse(text, NOW) {
            Ok(at) => drop(at.to_string()),
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

/// The record of a set-up, and a step of a re-authentication that another process of ours tells.
pub fn records(bytes: &[u8]) {
    match Record::read(bytes) {
        Ok(record) => {
            let _ = record.is_empty();
            assert!(serde_json::from_slice::<Value>(bytes).is_ok());
        }
        Err(why) => assert!(why.len() < 200, "{why}"),
    }
    let text = String::from_utf8_lossy(bytes);
    for step in text.lines().filter_map(Step::read) {
        let line = step.line();
        assert!(!line.contains('\n'));
        assert_eq!(Step::read(&line), Some(step.clone()));
        let _ = step.text();
        if let Some(message) = step.message("host") {
            assert!(!message.title.contains(char::is_control));
            assert!(message.click.is_none_or(|click| click.starts_with("http")));
        }
    }
}

/// A bundle as it lies on a disk: nobody opens what was not sealed for this host.
pub fn sealed(bytes: &[u8]) {
    static KEY: OnceLock<Document> = OnceLock::new();
    let key = KEY.get_or_init(sealed::new_key);
    let document = Document::new(bytes.to_vec());
    let opened = sealed::open(&document, key);
    assert!(matches!(opened, Err(SealError::Damaged | SealError::OtherKey)), "{opened:?}");
    let _ = sealed::recipient_of(&document);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(sealed) = sealed::seal(&Document::new(b"made-up".to_vec()), text)
    {
        assert!(text.trim().starts_with("age1") && !sealed.is_empty());
    }
}
