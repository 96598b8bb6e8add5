//! OpenClaw's calendar releases: `2026.2.26`, `2026.7.2-beta.4`, `2026.3.13-1`.
//! What a release may or may not do is not said here.

use std::cmp::Ordering;
use std::fmt;

/// A release, ordered by time: a beta comes before its release, a re-issue (`-1`) after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    date: [u16; 3],
    stage: Stage,
}

/// The order of the variants is the order of the releases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Before(String, Option<u16>),
    Final,
    Reissue(u16),
}

impl Release {
    /// Reads a release, with or without a leading `v`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let (date, suffix) = match text.split_once('-') {
            Some((date, suffix)) => (date, Some(suffix)),
            None => (text, None),
        };
        let mut parts = date.split('.').map(number);
        let date = [parts.next()??, parts.next()??, parts.next()??];
        let [year, month, _] = date;
        if parts.next().is_some() || !(2000..10_000).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let stage = match suffix {
            None => Stage::Final,
            Some(suffix) if suffix.starts_with(|c: char| c.is_ascii_digit()) => {
                Stage::Reissue(number(suffix)?)
            }
            Some(suffix) => {
                let (name, count) = match suffix.split_once('.') {
                    Some((name, count)) => (name, Some(number(count)?)),
                    None => (suffix, None),
                };
                let valid = (1..=16).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase());
                valid.then(|| Stage::Before(name.to_owned(), count))?
            }
        };
        Some(Self { date, stage })
    }

    /// A release of this date, not a beta or re-issue, for a boundary in a table.
    #[must_use]
    pub const fn new(year: u16, month: u16, day: u16) -> Self {
        Self { date: [year, month, day], stage: Stage::Final }
    }

    /// Year, month and the third number (a day, later a counter), whatever the stage.
    #[must_use]
    pub const fn date(&self) -> (u16, u16, u16) {
        let [year, month, day] = self.date;
        (year, month, day)
    }

    /// True for a release that precedes its date's final one, such as a beta.
    #[must_use]
    pub const fn is_prerelease(&self) -> bool {
        matches!(self.stage, Stage::Before(..))
    }
}

/// Plain digits only: `u16::from_str` would take a sign.
fn number(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        self.date.cmp(&other.date).then_with(|| self.stage.cmp(&other.stage))
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day] = self.date;
        write!(f, "{year}.{month}.{day}")?;
        match &self.stage {
            Stage::Final => Ok(()),
            Stage::Before(name, None) => write!(f, "-{name}"),
            Stage::Before(name, Some(count)) => write!(f, "-{name}.{count}"),
            Stage::Reissue(count) => write!(f, "-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap_or_else(|| panic!("{text} is a release"))
    }

    #[test]
    fn releases_are_ordered_by_number_and_stage() {
        let sorted = [
            "2026.1.29",
            "2026.2.9",
            "2026.2.26-alpha.2",
            "2026.2.26-beta",
            "2026.2.26-beta.4",
            "2026.2.26-beta.12",
            "2026.2.26",
            "2026.2.26-1",
            "2026.2.26-2",
            "2026.10.1",
        ];
        assert!(sorted.windows(2).all(|pair| release(pair[0]) < release(pair[1])), "{sorted:?}");
        assert_eq!(Release::new(2026, 2, 26), release("v2026.2.26"));
        assert_eq!(release("2026.2.26-beta").date(), (2026, 2, 26));
    }

    #[test]
    fn a_release_is_shown_as_it_was_written() {
        for text in ["2026.2.26", "2026.7.2-beta.4", "2026.3.13-1", "2026.3.13-rc"] {
            assert_eq!(release(text).to_string(), text);
        }
        assert_eq!(release(" v2026.2.26\n").to_string(), "2026.2.26");
        assert!(release("2026.7.2-beta.4").is_prerelease() && !release("2026.3.13-1").is_prerelease());
    }

    #[test]
    fn what_is_no_calendar_release_is_none() {
        for text in [
            "",
            "v",
            "2026",
            "2026.2",
            "2026.2.26.1",
            "2026.13.1",
            "2026.0.1",
            "1.2.3",
            "2026.+2.1",
            "2026.2.",
            "2026.2.26-",
            "2026.2.26-beta.",
            "2026.2.26-beta.x",
            "2026.2.26-Ünstable",
            "2026.2.99999",
            "latest",
            "2026.2.26 (bc50708)",
        ] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
    }
}
