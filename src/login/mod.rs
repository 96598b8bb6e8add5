//! The first credential of a login: how a person's yes becomes tokens. One file for each way; where
//! they are kept is not decided here (`daemon/login.rs`), what is printed is not either (`cli/login.rs`).
//! To add a way: its file here, its arm where the command chooses.
//!
//! L1: nothing of an old login is touched, revoked or even looked at here: until new tokens are there,
//!     everything is as it was, in whatever way an attempt ends.

pub mod browser;
pub mod callback;
pub mod codex;
pub mod exchange;
pub mod paste;
pub mod pkce;

use std::fmt;

use crate::core::authorize::Unfit;

/// What a person has to know on the way.
#[derive(Debug)]
pub enum Told<'a> {
    /// To be visited. The answer is heard on the loopback, or has to be pasted.
    Visit {
        /// Holds state and challenge, and no secret.
        url: &'a str,
        /// Whether the loopback listens; else every port was taken.
        is_heard: bool,
    },
    /// What was pasted is not the answer; the attempt goes on.
    Unfit(Unfit),
}

/// Why there is no login. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The answer could come in no way: no port to listen on, and nobody who could paste.
    Unreachable,
    /// Nobody came back in time.
    Late,
    /// The provider, or the person there, said no.
    Refused {
        /// The error word, fit to be shown.
        error: String,
        /// The sentence beside it, fit to be shown.
        description: Option<String>,
    },
    /// The provider could not be asked, or its answer is of no use.
    Endpoint(String),
    /// The system refused something that is needed.
    System(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("every callback port is taken, and there is no standard input"),
            Self::Late => f.write_str("nobody came back in time"),
            Self::Refused { error, description: Some(text) } => {
                write!(f, "the provider refused: {error} ({text})")
            }
            Self::Refused { error, description: None } => write!(f, "the provider refused: {error}"),
            Self::Endpoint(why) | Self::System(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failed {}
