//! The words of a pass: what is desired, what was observed, what shall be done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::code::{Code, Finding};
use crate::base::credential::SourceReading;
use crate::base::fingerprint::Fingerprint;
use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::base::secret::Document;
use crate::base::time::Timestamp;
use crate::format::auth_profiles::EntryForm;
use crate::format::template::Template;
use crate::format::view::View;

/// What the configuration asks for, without paths, units or other handles.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The logins, in the order of the configuration.
    pub logins: Vec<DesiredLogin>,
    /// The sinks, in the order of the configuration.
    pub sinks: Vec<DesiredSink>,
    /// The gateways, in the order of the configuration.
    pub gateways: Vec<DesiredGateway>,
    /// What ends within this time is expiring.
    pub warn: Duration,
    /// A login's end is a finding from this time before it on, or from `warn`.
    pub ahead: Duration,
}

impl Desired {
    /// The sink with that id.
    #[must_use]
    pub fn sink(&self, id: &SinkId) -> Option<&DesiredSink> {
        self.sinks.iter().find(|s| &s.id == id)
    }
}

/// One login.
#[derive(Debug, Clone)]
pub struct DesiredLogin {
    /// Its id.
    pub id: LoginId,
    /// Whose CLI owns it.
    pub provider: Provider,
    /// A label for people; may be empty.
    pub label: String,
    /// The word of the configuration for who refreshes it.
    pub refresh_mode: &'static str,
}

/// One sink.
#[derive(Debug, Clone)]
pub struct DesiredSink {
    /// Its id.
    pub id: SinkId,
    /// The login it holds a copy or a view of.
    pub login: LoginId,
    /// The word of the configuration for its kind.
    pub kind: &'static str,
    /// What its targets look like.
    pub render: Render,
}

/// How a credential becomes a sink's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Render {
    /// OpenClaw's legacy `oauth.json`, entry `provider`.
    OAuthJson {
        /// The key of the entry.
        provider: String,
        /// Whether the refresh token is handed over.
        refresh: bool,
    },
    /// One profile of OpenClaw's `auth-profiles.json`; the form is decided per target.
    AuthProfiles {
        /// The profile id.
        profile: String,
        /// The provider noted in the entry.
        provider: String,
    },
    /// One variable of an environment file.
    EnvFile {
        /// The variable.
        key: String,
    },
    /// Access token and expiry.
    SecretFile,
    /// A view without a refresh token, in the format of the login's own CLI.
    View(View),
    /// A template, observed with the target.
    Template,
    /// A command that is handed the credential.
    Command,
    /// A file of ours that another program encrypts, never twice to the same bytes.
    Sealed,
}

/// One gateway.
#[derive(Debug, Clone)]
pub struct DesiredGateway {
    /// Its id.
    pub id: GatewayId,
    /// The sinks it reads.
    pub sinks: Vec<SinkId>,
    /// The word for what it is.
    pub kind: &'static str,
    /// When a change of its sinks is applied.
    pub apply: ApplyRule,
    /// The least time between two restarts.
    pub min_interval: Duration,
    /// Its log is listened to.
    pub is_heard: bool,
}

/// One place of a sink: a sink over several agents has one target for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId {
    /// The sink.
    pub sink: SinkId,
    /// The agent, where the sink has several targets; else empty.
    pub part: String,
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part.is_empty() {
            write!(f, "{}", self.sink)
        } else {
            write!(f, "{}/{}", self.sink, self.part)
        }
    }
}

/// What it takes that a gateway uses what a target of it holds; ordered by what it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Force {
    /// Nothing: the gateway reads the target anew at each use.
    Nothing,
    /// The gateway's own reload, which interrupts nothing.
    Reload,
    /// A restart.
    #[default]
    Restart,
}

/// When a change of a gateway's sinks is applied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyRule {
    /// Never.
    Never,
    /// When the gateway does not re-read what changed by itself, with the least force that works.
    WhenNeeded,
    /// At every change, with this force at least.
    Always(Force),
}

impl ApplyRule {
    /// The force for a change that takes `need`.
    #[must_use]
    pub fn force(self, need: Force) -> Force {
        match self {
            Self::Never => Force::Nothing,
            Self::WhenNeeded => need,
            Self::Always(least) => need.max(least),
        }
    }
}

/// What the world looked like at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// One entry for each login.
    pub sources: Vec<ObservedSource>,
    /// One entry for each target.
    pub targets: Vec<ObservedTarget>,
    /// Directories that cannot be watched, with the reason.
    pub unwatched: Vec<(String, String)>,
    /// Findings that only a running daemon can know of.
    pub own: Vec<Finding>,
    /// How often gateways have said in their logs, since the last look, that they were answered 401.
    pub refused: BTreeMap<GatewayId, u64>,
}

impl Observed {
    /// The source of that login.
    #[must_use]
    pub fn source(&self, login: &LoginId) -> Option<&ObservedSource> {
        self.sources.iter().find(|s| &s.login == login)
    }
}

/// One source.
#[derive(Debug, Clone)]
pub struct ObservedSource {
    /// The login.
    pub login: LoginId,
    /// The file, for people.
    pub path: String,
    /// What it showed.
    pub reading: SourceReading,
    /// Permission bits, when there is a file.
    pub mode: Option<u32>,
    /// False while a husk or torn file has not been read often enough to be believed.
    pub settled: bool,
}

/// One target.
#[derive(Debug, Clone)]
pub struct ObservedTarget {
    /// Which.
    pub id: TargetId,
    /// The file, for people.
    pub path: String,
    /// What is there.
    pub content: TargetContent,
    /// A store that is there and is not written, whatever it holds.
    pub beside: Option<Document>,
    /// Permission bits, when there is a file.
    pub mode: Option<u32>,
    /// What the release of the instance takes (openclaw and auth-profiles targets only).
    pub form: Option<SupplyForm>,
    /// The parsed template (template targets only).
    pub template: Option<Template>,
    /// What a change of this target takes.
    pub force: Force,
    /// The gateway's configuration does not name this target yet, and it may be made to.
    pub needs_set_up: bool,
    /// The release of the instance it belongs to, where there is one.
    pub release: Option<String>,
    /// Why the gateway does not use what this target holds, where that can be seen.
    pub unused: Option<String>,
    /// Profiles that stand beside what this target supplies, which parts of the gateway use instead.
    pub shadows: Vec<Shadow>,
}

/// A profile of OpenClaw's that is used instead of what a target supplies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its id.
    pub profile: String,
    /// The command that removes it, or shows it where there is none.
    pub next: String,
}

/// How the release of an OpenClaw takes a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupplyForm {
    /// As an entry of its JSON store.
    Entry(EntryForm),
    /// By a reference of its configuration to a file of ours that holds the access token alone.
    Mirror,
}

/// What is at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetContent {
    /// Nothing, and it may be created.
    Absent,
    /// Nothing, and the directory is not there either.
    NoDirectory,
    /// This document.
    Present(Document),
    /// Something that cannot be read.
    Unreadable(String),
    /// Writing is refused by a rule, whatever is there.
    Refused(Code, String),
    /// Not a file: a command that is handed the credential.
    Delivery,
    /// Not a file: the gateway is handed the token when the change is applied to it.
    Handed,
    /// A document that somebody may be writing at this moment; to be looked at again.
    Torn,
    /// The gateway uses the source itself; there is nothing to hand over.
    NotNeeded,
}

/// What a pass shall do. Empty means: nothing to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files to write; staged together, then renamed in this order.
    pub writes: Vec<Write>,
    /// What to hand over after the files.
    pub deliveries: Vec<Delivery>,
    /// Targets that get the generation when their gateways' change is applied.
    pub handed: Vec<Delivery>,
    /// Gateways whose sinks change.
    pub applies: Vec<Apply>,
    /// Generations seen for the first time.
    pub rotations: Vec<Rotation>,
    /// Every target's state before the pass.
    pub targets: Vec<TargetVerdict>,
    /// What is wrong (sources, targets); gateways are judged by `health`.
    pub findings: Vec<Finding>,
    /// When to look again although nothing happens.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// True when the pass would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.deliveries.is_empty()
            && self.handed.is_empty()
            && self.applies.is_empty()
    }
}

/// Why a target is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteReason {
    /// There was nothing.
    Missing,
    /// It held an older generation.
    Stale,
    /// We had written the current generation and somebody replaced it.
    Clobbered,
    /// Right token, wrong form: another field or type.
    Repair,
    /// Right token, right form, another expiry: nothing that a gateway has to be restarted for.
    Expiry,
}

impl WriteReason {
    /// The word used in plans and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Clobbered => "clobbered",
            Self::Repair => "repair",
            Self::Expiry => "expiry",
        }
    }
}

/// One file to write.
#[derive(Debug)]
pub struct Write {
    /// Which target.
    pub target: TargetId,
    /// The login whose credential it gets.
    pub login: LoginId,
    /// The new content.
    pub document: Document,
    /// What was there when this was planned; anything else there later stops the write.
    pub planned_against: Option<Document>,
    /// Why.
    pub reason: WriteReason,
    /// The generation it carries.
    pub generation: Fingerprint,
    /// The content that is displaced holds a refresh token of no generation we know: keep a copy.
    pub keeps_displaced: bool,
}

/// A generation for a target that cannot be edited: a command, an encrypted file, or an entry of a
/// gateway's own store.
#[derive(Debug)]
pub struct Delivery {
    /// The target.
    pub target: TargetId,
    /// The login.
    pub login: LoginId,
    /// The generation.
    pub generation: Fingerprint,
}

/// One gateway to bring to the current generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// Which.
    pub gateway: GatewayId,
    /// The sinks that change.
    pub sinks: Vec<SinkId>,
    /// When the token it uses now ends; no rate limit may delay a restart past it.
    pub token_ends: Option<Timestamp>,
    /// What it takes.
    pub force: Force,
    /// Its configuration has to be set up, whether a sink changes or not.
    pub is_set_up: bool,
}

/// A generation seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The login.
    pub login: LoginId,
    /// The newest generation known before, if any.
    pub from: Option<Fingerprint>,
    /// The new generation.
    pub to: Fingerprint,
}

/// The state of a sink's target, as `status` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// Holds the current generation.
    Current,
    /// Holds an older one.
    Stale,
    /// Holds nothing.
    Missing,
    /// Must not be written.
    Refused,
    /// Cannot be read or written.
    Error,
}

impl TargetState {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// One target's state and, where it is not simply current, the code that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetVerdict {
    /// Which.
    pub id: TargetId,
    /// The file, for people.
    pub path: String,
    /// Its state before the pass.
    pub state: TargetState,
    /// Why it is refused or in error.
    pub code: Option<Code>,
}
