//! What `tokensink doctor` judges beyond the findings of `status`: known traps of the place where logins,
//! sinks and gateways live. The shell gathers [`Facts`]; here one small function for each check says what
//! they mean. One table lists the checks, so that those that found nothing can be named as well.
//!
//! No I/O, no clock. No fact holds a secret: of environment variables there are names alone.

mod environment;
pub mod facts;
mod host;
mod network;
mod places;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;

pub use self::environment::hiding;
pub use self::facts::Facts;
use crate::base::code::{Code, Severity};

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A login, by its id.
    Login(String),
    /// A sink or one target of it, by its id.
    Sink(String),
    /// A gateway, by its id.
    Gateway(String),
    /// A systemd unit, by its name.
    Unit(String),
    /// A file or directory.
    Path(String),
    /// A host on the network.
    Server(String),
    /// Something of this host, by a fixed word.
    Host(&'static str),
    /// What a finding of `status` names that is none of these: a channel, a bus name.
    Other(String),
}

impl Subject {
    /// The word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::Sink(_) => "sink",
            Self::Gateway(_) => "gateway",
            Self::Unit(_) => "unit",
            Self::Path(_) => "path",
            Self::Server(_) => "server",
            Self::Host(_) => "host",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(name)
            | Self::Sink(name)
            | Self::Gateway(name)
            | Self::Unit(name)
            | Self::Path(name)
            | Self::Server(name)
            | Self::Other(name) => f.write_str(name),
            Self::Host(word) => f.write_str(word),
        }
    }
}

/// One finding with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The stable code.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong and what it leads to, in one sentence.
    pub summary: String,
    /// What was seen; may be empty.
    pub evidence: String,
    /// The next command, or what is to be done; may be empty.
    pub next: String,
    /// The finding that causes it, as `CODE:subject`.
    pub caused_by: Option<String>,
}

impl Examined {
    fn new(code: Code, severity: Severity, subject: Subject, summary: impl Into<String>) -> Self {
        let summary = summary.into();
        Self {
            code,
            severity,
            subject,
            summary,
            evidence: String::new(),
            next: String::new(),
            caused_by: None,
        }
    }

    fn notice(code: Code, subject: Subject, summary: impl Into<String>) -> Self {
        Self::new(code, Severity::Notice, subject, summary)
    }

    fn warning(code: Code, subject: Subject, summary: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, subject, summary)
    }

    fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    fn because_of(mut self, code: Code, subject: &str) -> Self {
        self.caused_by = Some(format!("{code}:{subject}"));
        self
    }
}

/// One check: what it looks at, in words for people, and its judgement. `None`: it was not made, for
/// lack of anything to look at.
struct Check {
    name: &'static str,
    judge: fn(&Facts) -> Option<Vec<Examined>>,
}

/// What became of a check.
#[derive(Debug)]
pub struct Outcome {
    /// What it looked at.
    pub check: &'static str,
    /// What it found; `None` when it was not made.
    pub found: Option<Vec<Examined>>,
}

const CHECKS: [Check; 22] = [
    Check { name: "variables of gateways that hide what they are given", judge: environment::shadows },
    Check { name: "variables of this shell", judge: environment::of_the_shell },
    Check { name: "where gateways look for what they are given", judge: environment::elsewhere },
    Check { name: "the CLIs on the daemon's search path", judge: environment::off_path },
    Check { name: "read-only mounts", judge: places::read_only },
    Check { name: "logins that live in a container or in memory only", judge: places::copied },
    Check { name: "single files that are mounts", judge: places::mounted_files },
    Check { name: "links that became files, or lead nowhere", judge: places::links },
    Check { name: "owners", judge: places::owners },
    Check { name: "modes of our own directories and files", judge: places::modes },
    Check { name: "file systems without inotify", judge: places::without_inotify },
    Check { name: "locks on network file systems", judge: places::unsafe_locks },
    Check { name: "services that run twice", judge: units::duels },
    Check { name: "other syncers and refreshers", judge: units::syncers },
    Check { name: "the user's service manager", judge: units::manager },
    Check { name: "the daemon's unit", judge: units::enabled },
    Check { name: "lingering", judge: units::linger },
    Check { name: "the version that runs", judge: units::version },
    Check { name: "inotify limits", judge: host::inotify },
    Check { name: "the gateways' logs", judge: host::journals },
    Check { name: "retired stores of OpenClaw", judge: host::retired_stores },
    Check { name: "the way to the providers", judge: network::examine },
];

/// Makes every check.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Outcome> {
    CHECKS.iter().map(|check| Outcome { check: check.name, found: (check.judge)(facts) }).collect()
}

/// Names in a sentence.
fn joined(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    names.join(", ")
}
