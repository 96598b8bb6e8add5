//! The first credential of a login: how a person's yes becomes tokens. One file for each way; where
//! they are kept is not decided here (`daemon/login.rs`), what is printed is not either (`cli/login.rs`).
//! To add a way: its file here, its arm where the command chooses.
//!
//! L1: nothing of an old login is touched, revoked or even looked at here: until new tokens are there,
//!     everything is as it was, in whatever way an attempt ends.

pub mod browser;
pub mod callback;
pub mod claude;
pub mod codex;
pub mod device;
pub mod exchange;
pub mod generic;
pub mod hand_over;
pub mod inlet;
pub mod official;
pub mod paste;
pub mod pkce;
pub mod setup_token;

use std::fmt;
use std::time::Duration;

use crate::base::code::Code;
use crate::core::authorize::Unfit;
use crate::core::setup_token::NoToken;

/// What a person has to know on the way.
#[derive(Debug)]
pub enum Told<'a> {
    /// To be visited.
    Visit {
        /// Holds state and challenge, and no secret.
        url: &'a str,
        /// In which way the answer comes.
        comes: Comes,
    },
    /// A code to be typed at a page, on whatever device.
    Code {
        /// The page.
        url: &'a str,
        /// The same with the code in it, where there is one.
        complete: Option<&'a str>,
        /// The code.
        code: &'a str,
        /// How long it lasts.
        lasts: Duration,
    },
    /// To be visited: an address of the provider's own CLI, which trades the code itself.
    VisitFor {
        /// Holds state and challenge, and no secret.
        url: &'a str,
        /// Whether a code can be given to the CLI; else it only hears a browser on this machine.
        takes_code: bool,
    },
    /// What was pasted is not the answer; the attempt goes on.
    Unfit(Unfit),
}

/// In which way an answer comes, beside being pasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// The loopback listens for it.
    Heard,
    /// The loopback should, and every port was taken.
    Unheard,
    /// The provider's page shows it.
    Shown,
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
    /// The provider's own CLI ended without a login; its last words, fit to be shown.
    Cli(String),
    /// The provider's own CLI takes no code, and there is no browser that it could hear.
    TakesNoCode,
    /// Standard input ended before an answer.
    NoAnswer,
    /// What was given is no setup-token.
    Token(NoToken),
    /// What needs a terminal has none.
    NoTerminal,
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
            Self::Cli(words) if words.is_empty() => f.write_str("the CLI ended without a login"),
            Self::Cli(words) => write!(f, "the CLI ended without a login: {words}"),
            Self::TakesNoCode => f.write_str(
                "this version of the CLI takes no code by hand, and there is no browser on this host: update it",
            ),
            Self::NoAnswer => f.write_str("standard input ended before a code was given"),
            Self::Token(why) => write!(f, "{}: {why}", Code::TokenMalformed),
            Self::NoTerminal => f.write_str("standard input is no terminal"),
            Self::Endpoint(why) | Self::System(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failed {}
