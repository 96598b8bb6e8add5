//! Which of our files were reached by a link when they were last seen, so that a link that somebody's
//! `rename` turned into a file of its own is noticed: from then on two copies go their own ways.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;

/// How long it is told: after that it is how its owner wants it.
const TOLD_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The links, by the path of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links(BTreeMap<String, Link>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
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
    /// not configured any more is forgotten.
    pub fn note(&mut self, seen: &BTreeMap<String, Option<String>>, now: Timestamp) {
        self.0.retain(|path, link| {
            seen.contains_key(path) && link.gone_at.is_none_or(|at| now.since(at) < TOLD_FOR)
        });
        for (path, to) in seen {
            match to {
                Some(to) => {
                    self.0.insert(path.clone(), Link { to: to.clone(), gone_at: None });
                }
                None => {
                    if let Some(link) = self.0.get_mut(path) {
                        link.gone_at.get_or_insert(now);
                    }
                }
            }
        }
    }

    /// Where a file led when it was last seen to be a link.
    #[must_use]
    pub fn led_to(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(|link| link.to.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_became_a_file_is_remembered_for_a_month() {
        let day = |n: u64| Timestamp::from_millis(1_700_000_000_000).after(Duration::from_secs(n * 86_400));
        let seen = |to: Option<&str>| BTreeMap::from([("/f".to_owned(), to.map(str::to_owned))]);
        let mut links = Links::default();
        links.note(&seen(None), day(0));
        assert!(links.is_empty(), "what never was a link is none that is gone");
        links.note(&seen(Some("/g")), day(1));
        links.note(&seen(None), day(2));
        links.note(&seen(None), day(31));
        assert_eq!(links.led_to("/f"), Some("/g"));
        let mut again = links.clone();
        again.note(&seen(Some("/h")), day(31));
        assert_eq!(again.led_to("/f"), Some("/h"));
        again.note(&BTreeMap::new(), day(32));
        assert!(again.is_empty(), "nobody configures it any more");
        links.note(&seen(None), day(33));
        assert!(links.is_empty());
    }
}
