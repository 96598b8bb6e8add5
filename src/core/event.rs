//! What happened, as our own record keeps it: one [`Event`] is one line of `history.jsonl`. A new kind
//! of event is a variant here, a sentence in `cli/history/text.rs`, and a call of
//! `daemon::history::note` where it happens. Ids, fingerprints, times and bounded sentences; never a secret.

use serde::{Deserialize, Serialize};

use super::memory::LastAction;
use super::refresh::Ended;
use crate::base::code::{Code, Severity};
use crate::base::fingerprint::Fingerprint;
use crate::base::id::{GatewayId, LoginId, SinkId};
use crate::base::time::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. The word `event` in the record is the variant; fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The daemon was ready.
    Started {
        /// Its version.
        version: String,
    },
    /// The daemon ended because it was told to.
    Stopped {
        /// By what.
        why: String,
    },
    /// A login had a new generation.
    Rotated {
        /// The login.
        login: LoginId,
        /// The new generation.
        generation: Fingerprint,
        /// When its access token ends; absent when that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// A refresh of ours ended.
    Refreshed {
        /// The login.
        login: LoginId,
        /// How.
        outcome: Ended,
        /// One sentence.
        detail: String,
    },
    /// A sink was brought to the current generation.
    Written {
        /// The login.
        login: LoginId,
        /// The sink.
        sink: SinkId,
        /// Which of its targets.
        target: String,
        /// Why, as one stable word.
        reason: String,
        /// What it holds now.
        generation: Fingerprint,
    },
    /// A sink could not be written.
    NotWritten {
        /// The sink.
        sink: SinkId,
        /// Which of its targets.
        target: String,
        /// One sentence.
        why: String,
    },
    /// A gateway was made to use the current generation.
    Applied {
        /// The gateway.
        gateway: GatewayId,
        /// How.
        action: LastAction,
        /// What happened, as one stable word.
        outcome: String,
        /// From the order until the proof, in milliseconds: a restart was down no longer than that.
        took_ms: u64,
    },
    /// A gateway could not be made to use the current generation.
    NotApplied {
        /// The gateway.
        gateway: GatewayId,
        /// The finding it is.
        code: Code,
        /// One sentence.
        why: String,
    },
    /// A finding was raised.
    Raised {
        /// Its code.
        code: Code,
        /// Its weight.
        severity: Severity,
        /// What it is about.
        subject: String,
        /// One sentence.
        summary: String,
    },
    /// A finding was gone.
    Cleared {
        /// Its code.
        code: Code,
        /// What it was about.
        subject: String,
    },
    /// Somebody was told.
    Alerted {
        /// The channel.
        channel: String,
        /// Which message, as one stable word: `raised`, `worse`, `reminder`, `resolved`, `failed`.
        stage: String,
        /// The finding it was about.
        code: Code,
        /// Its subject.
        subject: String,
    },
    /// A login was made, or renewed, by a person.
    LoggedIn {
        /// The login.
        login: LoginId,
        /// How.
        how: How,
    },
    /// A login was let go of: another host keeps it.
    Exported {
        /// The login.
        login: LoginId,
    },
    /// Something that a later version records.
    #[serde(other)]
    Unknown,
}

/// How a person made a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By `tokensink login`.
    Login,
    /// By `tokensink import`.
    Import,
}

impl What {
    /// The longest sentence or name that is kept.
    const LONGEST: usize = 300;

    /// The login it is about, where it is about one.
    #[must_use]
    pub const fn login(&self) -> Option<&LoginId> {
        match self {
            Self::Rotated { login, .. }
            | Self::Refreshed { login, .. }
            | Self::Written { login, .. }
            | Self::LoggedIn { login, .. }
            | Self::Exported { login } => Some(login),
            _ => None,
        }
    }

    /// The finding it is about, where it is about one.
    #[must_use]
    pub fn finding(&self) -> Option<(Code, &str)> {
        match self {
            Self::Raised { code, subject, .. }
            | Self::Cleared { code, subject }
            | Self::Alerted { code, subject, .. } => Some((*code, subject)),
            _ => None,
        }
    }

    /// The same with sentences of a length that fits a line.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        let texts: [Option<&mut String>; 2] = match &mut self {
            Self::Started { version: text }
            | Self::Stopped { why: text }
            | Self::Refreshed { detail: text, .. }
            | Self::NotApplied { why: text, .. }
            | Self::Applied { outcome: text, .. }
            | Self::Cleared { subject: text, .. } => [Some(text), None],
            Self::Written { target, reason: text, .. } | Self::NotWritten { target, why: text, .. } => {
                [Some(target), Some(text)]
            }
            Self::Raised { subject, summary, .. } => [Some(subject), Some(summary)],
            Self::Alerted { channel, subject, .. } => [Some(channel), Some(subject)],
            Self::Rotated { .. } | Self::LoggedIn { .. } | Self::Exported { .. } | Self::Unknown => {
                [None, None]
            }
        };
        for text in texts.into_iter().flatten() {
            if let Some((end, _)) = text.char_indices().nth(Self::LONGEST) {
                text.truncate(end);
                text.push('…');
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object_and_comes_back() {
        let login = LoginId::try_new("work").unwrap();
        let event = Event {
            at: Timestamp::from_millis(1_795_199_075_831),
            what: What::Refreshed { login, outcome: Ended::NotSent, detail: "why\nnot".into() },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"at":1795199075831,"event":"refreshed","login":"work","outcome":"not-sent","detail":"why\nnot"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn an_event_of_a_later_version_and_fields_of_one_are_read() {
        let later: Event = serde_json::from_str(r#"{"at":1,"event":"sang","song":[1]}"#).unwrap();
        assert_eq!(later.what, What::Unknown);
        let wider: Event = serde_json::from_str(r#"{"at":1,"event":"stopped","why":"x","new":{}}"#).unwrap();
        assert_eq!(wider.what, What::Stopped { why: "x".into() });
    }

    #[test]
    fn sentences_are_cut_between_characters() {
        let cut = What::Stopped { why: "é".repeat(1000) }.clipped();
        assert_eq!(cut, What::Stopped { why: format!("{}…", "é".repeat(300)) });
    }
}
