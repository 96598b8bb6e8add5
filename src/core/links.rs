//! Which of our files were reached by a link when they were last seen, so that a link that somebody's
//! `rename` turned into a file of its own is noticed: from then on two copies go their own ways.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;

/// How long it is told: after that it is how its owner wants it.
const TOLD_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links(Vec<Link>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    /// The file, as configured.
    path: String,
    /// Where it led.
    to: String,
    /// Since when it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_at: Option<Timestamp>,
}

impl Links {
    /// True when none was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what the configured files are now: each path with where it leads, if it is a link. What is
    /// not configured any more, or not there, is forgotten.
    pub fn note(&mut self, seen: &[(String, Option<String>)], now: Timestamp) {
        let mut links: Vec<Link> = Vec::new();
        for (path, to) in seen {
            let known = self.0.iter().find(|link| link.path == *path);
            let link = match (to, known) {
                (Some(to), _) => Link { path: path.clone(), to: to.clone(), gone_at: None },
                (None, Some(known)) => Link { gone_at: known.gone_at.or(Some(now)), ..known.clone() },
                (None, None) => continue,
            };
            if link.gone_at.is_none_or(|at| now.since(at) < TOLD_FOR) {
                links.push(link);
            }
        }
        self.0 = links;
    }

    /// Where a file led when it was last seen to be a link.
    #[must_use]
    pub fn led_to(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|link| link.path == path).map(|link| link.to.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_became_a_file_is_remembered_for_a_month() {
        let day = |n: u64| Timestamp::from_millis(1_700_000_000_000).after(Duration::from_secs(n * 86_400));
        let seen = |to: Option<&str>| [("/f".to_owned(), to.map(str::to_owned))];
        let mut links = Links::default();
        links.note(&seen(None), day(0));
        assert!(links.is_empty(), "what never was a link is none that is gone");
        links.note(&seen(Some("/g")), day(1));
        links.note(&seen(None), day(2));
        links.note(&seen(None), day(31));
        assert_eq!((links.led_to("/f"), links.is_empty()), (Some("/g"), false));
        let mut again = links.clone();
        again.note(&seen(Some("/h")), day(31));
        assert_eq!(again.led_to("/f"), Some("/h"));
        again.note(&[], day(32));
        assert!(again.is_empty(), "nobody configures it any more");
        links.note(&seen(None), day(33));
        assert!(links.is_empty());
    }
}
