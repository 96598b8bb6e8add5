//! The validated configuration: every value present, every path expanded, every reference resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
pub use crate::core::schedule::Mode as RefreshMode;
use crate::format::mapped::Fields;

/// The whole configuration of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often contents are re-checked behind inotify.
    pub poll: Duration,
    /// The `--check` threshold: what ends within this time is expiring.
    pub warn: Duration,
    /// Where metrics are written for a textfile collector; absent: nowhere.
    pub textfile: Option<PathBuf>,
    /// The logins, in the order of the configuration.
    pub logins: Vec<LoginSettings>,
    /// The sinks, in the order of the configuration.
    pub sinks: Vec<SinkSettings>,
    /// The gateways, in the order of the configuration.
    pub gateways: Vec<GatewaySettings>,
    /// The alert channels, in the order of the configuration.
    pub alerts: Vec<AlertSettings>,
    /// What holds for every channel.
    pub alerting: AlertingSettings,
}

impl Settings {
    /// What is allowed and not wise: nothing but the gateway itself would tell that it is down.
    #[must_use]
    pub fn alert_warning(&self) -> Option<&'static str> {
        let mut sending = self.alerts.iter().filter(|alert| alert.kind != AlertKind::Journal).peekable();
        sending.peek()?;
        sending.all(|alert| alert.kind == AlertKind::OpenClaw).then_some(
            "openclaw is the only alert channel: a gateway that is down cannot tell you so; add another one",
        )
    }
}

/// One `[[login]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    /// Its id.
    pub id: LoginId,
    /// Whose CLI owns it.
    pub provider: Provider,
    /// The source file; `None` means the provider's own rule, for a generic one our own login store.
    pub path: Option<PathBuf>,
    /// The container that the source file is in; `None` for a file of this host.
    pub container: Option<String>,
    /// A label for people; empty when none was given.
    pub label: String,
    /// `[login.fields]`: where the parts of a generic login are.
    pub fields: Option<Fields>,
    /// `[login.authorize]`: how a person logs in to a generic provider.
    pub authorize: Option<AuthorizeSettings>,
    /// `[login.refresh]`.
    pub refresh: RefreshSettings,
}

impl LoginSettings {
    /// Whether the login is a file of our own login store, which no CLI knows: told by where it is,
    /// whatever the state directory of this process is.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match &self.path {
            Some(_) if self.container.is_some() => false,
            Some(path) => path.parent().is_some_and(|directory| directory.ends_with("tokensink/logins")),
            None => self.provider == Provider::Generic,
        }
    }

    /// The directory in our own login store that a CLI keeps the login in as in its own: a further
    /// login of a CLI that knows one in each directory.
    #[must_use]
    pub fn own_directory(&self) -> Option<&Path> {
        let directory = self.path.as_deref().and_then(Path::parent)?;
        directory.parent()?.ends_with("tokensink/logins").then_some(directory)
    }
}

/// How the Claude CLI is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshWay {
    /// A plain CLI run, inside its last five minutes.
    Prompt,
    /// The CLI trades the refresh token in a scratch directory.
    Exchange,
}

/// How the request of a generic login is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStyle {
    /// `application/x-www-form-urlencoded`, as RFC 6749 says.
    Form,
    /// A JSON object with the same names.
    Json,
}

/// `[login.authorize]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeSettings {
    /// The page where a person says yes.
    pub url: Option<String>,
    /// Where a code for another device is asked for (RFC 8628).
    pub device_url: Option<String>,
    /// What is asked for; empty: what the provider gives unasked.
    pub scopes: Vec<String>,
    /// Where the browser comes back to.
    pub redirect: String,
}

/// `[login.refresh]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshSettings {
    /// Who refreshes.
    pub mode: RefreshMode,
    /// How long before expiry; `None` means the default of provider and way.
    pub margin: Option<Duration>,
    /// The fallback tick.
    pub every: Duration,
    /// The command of cli mode; `None` means the provider's safest.
    pub command: Option<Vec<String>>,
    /// How the Claude CLI is driven.
    pub way: RefreshWay,
    /// The container to run the command in.
    pub container: Option<String>,
    /// Temporary environment of that run; an empty value unsets.
    pub env: BTreeMap<String, String>,
    /// An explicit token endpoint.
    pub token_url: Option<String>,
    /// The OAuth client of a generic login.
    pub client_id: Option<String>,
    /// The file with that client's secret, for a confidential client.
    pub client_secret_file: Option<PathBuf>,
    /// How a request of a generic login is written.
    pub style: RequestStyle,
    /// The budget of grants a day.
    pub grants_per_day: u32,
}

/// Which agents of an OpenClaw state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agents {
    /// Every agent that is found.
    All,
    /// These.
    Named(Vec<String>),
}

/// The form of an entry in `auth-profiles.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileForm {
    /// What is safe for the release.
    Auto,
    /// `type: token`: access token and expiry only.
    Token,
    /// `type: oauth`.
    OAuth,
}

/// Mode and owner that a sink asks for; `None` keeps what is there (0600 for a new file).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ownership {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User name or number.
    pub owner: Option<String>,
    /// Group name or number.
    pub group: Option<String>,
}

/// The kind of a sink, with the keys of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// An OpenClaw instance, supplied in the way its release supports.
    OpenClaw {
        /// The state directory.
        state_dir: PathBuf,
        /// Which agents.
        agents: Agents,
        /// The profile id.
        profile: String,
        /// Whether we may set up the instance's own configuration.
        manage: bool,
    },
    /// `auth-profiles.json` of the agents under a state directory.
    AuthProfiles {
        /// The state directory.
        state_dir: PathBuf,
        /// Which agents.
        agents: Agents,
        /// The profile id.
        profile: String,
        /// The form of the entry.
        form: ProfileForm,
    },
    /// OpenClaw's legacy `oauth.json`.
    OAuthJson {
        /// The file.
        path: PathBuf,
        /// Whether the refresh token is handed over.
        refresh: bool,
    },
    /// One key of an environment file.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The variable.
        key: String,
    },
    /// Access token and expiry, nothing else.
    SecretFile {
        /// The file.
        path: PathBuf,
    },
    /// An encrypted credential for `LoadCredentialEncrypted=`.
    SystemdCreds {
        /// The file.
        path: PathBuf,
        /// The credential's name.
        name: String,
    },
    /// A refresh-token-free view in Claude Code's own format.
    ClaudeCredentials {
        /// The file.
        path: PathBuf,
        /// Mode and owner.
        ownership: Ownership,
    },
    /// A refresh-token-free view in Codex's own format.
    CodexAuth {
        /// The file.
        path: PathBuf,
        /// Mode and owner.
        ownership: Ownership,
    },
    /// A file rendered from a template.
    Template {
        /// The file to write.
        path: PathBuf,
        /// The template.
        source: PathBuf,
        /// Mode and owner.
        ownership: Ownership,
    },
    /// A command that reads the credential as JSON on its standard input.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

impl SinkKind {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OpenClaw { .. } => "openclaw",
            Self::AuthProfiles { .. } => "auth-profiles",
            Self::OAuthJson { .. } => "oauth-json",
            Self::EnvFile { .. } => "env-file",
            Self::SecretFile { .. } => "secret-file",
            Self::SystemdCreds { .. } => "systemd-creds",
            Self::ClaudeCredentials { .. } => "claude-credentials",
            Self::CodexAuth { .. } => "codex-auth",
            Self::Template { .. } => "template",
            Self::Command { .. } => "command",
        }
    }
}

/// One `[[sink]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its id.
    pub id: SinkId,
    /// The login it holds a copy or a view of.
    pub login: LoginId,
    /// Its kind.
    pub kind: SinkKind,
}

/// Which service manager runs a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitScope {
    /// The user's own.
    User,
    /// The system's.
    System,
}

/// What a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayKind {
    /// A systemd unit.
    Unit {
        /// The unit's name, with its suffix.
        unit: String,
        /// Whose unit.
        scope: UnitScope,
    },
    /// One service of a compose project.
    Compose {
        /// The project directory.
        dir: PathBuf,
        /// The service.
        service: String,
    },
    /// A plain container.
    Container {
        /// Its name.
        name: String,
    },
    /// A command that makes the gateway use the new token.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

impl GatewayKind {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unit { .. } => "unit",
            Self::Compose { .. } => "compose",
            Self::Container { .. } => "container",
            Self::Command { .. } => "command",
        }
    }
}

/// How a change is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// The least force that works.
    Auto,
    /// Nothing.
    None,
    /// The documented reload.
    Reload,
    /// A restart.
    Restart,
}

/// One `[[gateway]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Its id.
    pub id: GatewayId,
    /// The sinks it reads.
    pub sinks: Vec<SinkId>,
    /// What it is.
    pub kind: GatewayKind,
    /// How a change is applied.
    pub apply: Apply,
    /// A URL that answers 200 when the gateway is ready.
    pub probe: Option<String>,
    /// A command or URL that says "busy".
    pub idle: Option<String>,
    /// The least time between two restarts.
    pub min_interval: Duration,
    /// A journal match of the unit that means "401".
    pub unauthorized: Option<String>,
}

/// What an alert channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the channel it names")]
pub enum AlertKind {
    Ntfy,
    Webhook,
    Command,
    Desktop,
    OpenClaw,
    Journal,
}

impl AlertKind {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ntfy => "ntfy",
            Self::Webhook => "webhook",
            Self::Command => "command",
            Self::Desktop => "desktop",
            Self::OpenClaw => "openclaw",
            Self::Journal => "journal",
        }
    }
}

/// One `[[alert]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// What it is.
    pub kind: AlertKind,
    /// Where to (ntfy, webhook).
    pub url: Option<String>,
    /// Program and arguments (command); the program `openclaw` (openclaw).
    pub command: Option<Vec<String>>,
    /// To whom (openclaw).
    pub target: Option<String>,
    /// OpenClaw's channel (openclaw); `None` where it has one only.
    pub channel: Option<String>,
    /// The name of a systemd credential with the channel's secret.
    pub credential: Option<String>,
    /// A file with the channel's secret.
    pub token_file: Option<PathBuf>,
}

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertingSettings {
    /// When to warn before a login's deadline, longest first.
    pub login_deadline: Vec<Duration>,
    /// How often an open finding is repeated.
    pub remind: Duration,
    /// A URL that is called while all is well.
    pub heartbeat_url: Option<String>,
}
