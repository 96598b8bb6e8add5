//! Stable codes of findings: added to, never renamed. Each is explained in `tokensink(1)`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal),+ $(,)?) => {
        /// What is wrong, as a word that scripts may match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// The login is dead; only a person can renew it.
    LoginNeeded = "LOGIN_NEEDED",
    /// The login's own deadline is near; refreshing does not move it.
    LoginExpiring = "LOGIN_EXPIRING",
    /// The source holds blank tokens.
    Husk = "HUSK",
    /// The source or a sink cannot be read or parsed.
    Unreadable = "UNREADABLE",
    /// The source or a sink is not there.
    Missing = "MISSING",
    /// Two copies belong to different accounts.
    AccountMismatch = "ACCOUNT_MISMATCH",
    /// The source holds an older generation than one we have already seen, or than a sink.
    StaleSource = "STALE_SOURCE",
    /// Somebody overwrote a sink with an older generation; it was put right again.
    Clobbered = "CLOBBERED",
    /// Somebody keeps overwriting a sink: another syncer or refresher of the same family.
    SecondWriter = "SECOND_WRITER",
    /// The login was moved to another host, which refreshes it now.
    Moved = "MOVED",
    /// One refresh token lives in two stores.
    DuplicateFamily = "DUPLICATE_FAMILY",
    /// The provider's official CLI was there and is gone.
    CliMissing = "CLI_MISSING",
    /// The provider refused the refresh token.
    RefreshRefused = "REFRESH_REFUSED",
    /// It is not known whether a refresh was spent.
    RefreshUnknown = "REFRESH_UNKNOWN",
    /// Refreshing is blocked by budget, backoff or a held lock.
    RefreshBlocked = "REFRESH_BLOCKED",
    /// The gateway keeps credentials in SQLite; the JSON store must not be written any more.
    StoreRetired = "STORE_RETIRED",
    /// The gateway's release is unknown, or not one whose store may be written.
    VersionUnsupported = "VERSION_UNSUPPORTED",
    /// The gateway does not use the profile that the sink writes: its order, or its configuration,
    /// says otherwise.
    ProfileUnused = "PROFILE_UNUSED",
    /// A profile of the gateway's own is used instead of what the sink supplies.
    ProfileShadows = "PROFILE_SHADOWS",
    /// A static token is not one that the sink's OpenClaw could use.
    TokenUnfit = "TOKEN_UNFIT",
    /// The gateway's store does not exist yet and creating it would block an import of its own.
    ImportPending = "IMPORT_PENDING",
    /// OpenClaw's own health check says something else than we do.
    HealthDiffers = "HEALTH_DIFFERS",
    /// A gateway does not provably use the current generation.
    NotConverged = "NOT_CONVERGED",
    /// A gateway's log says that it is answered 401, although it has the current generation.
    Unauthorized = "UNAUTHORIZED",
    /// A consumer sees an old inode of a file that was replaced.
    StaleInode = "STALE_INODE",
    /// A sink does not hold the current generation, and no daemon runs that would see to it.
    SinkStale = "SINK_STALE",
    /// A sink could not be written.
    SinkFailed = "SINK_FAILED",
    /// A gateway's unit could not be restarted.
    UnitFailed = "UNIT_FAILED",
    /// The container engine, or its Compose, is not there or cannot be reached.
    EngineUnavailable = "ENGINE_UNAVAILABLE",
    /// A container is not allowed to read a file that is mounted into it.
    ConsumerDenied = "CONSUMER_DENIED",
    /// The D-Bus of the service manager cannot be reached.
    BusUnavailable = "BUS_UNAVAILABLE",
    /// Somebody else has our name on the user's bus.
    BusNameTaken = "BUS_NAME_TAKEN",
    /// The metrics cannot be written.
    MetricsFailed = "METRICS_FAILED",
    /// A directory cannot be watched; its files are polled instead.
    WatchLost = "WATCH_LOST",
    /// The clock jumped, or disagrees with a provider's.
    ClockSuspect = "CLOCK_SUSPECT",
    /// An expiry is written in the wrong unit (seconds where milliseconds belong).
    ExpiryUnits = "EXPIRY_UNITS",
    /// What was given as a token is none of that kind.
    TokenMalformed = "TOKEN_MALFORMED",
    /// An alert could not be delivered.
    AlertFailed = "ALERT_FAILED",
    /// A file with tokens may be read by others.
    ModeTooWide = "MODE_TOO_WIDE",
    /// An environment variable of the consumer hides the file.
    EnvShadowsFile = "ENV_SHADOWS_FILE",
    /// A gateway, or the daemon, runs as another user or looks in other directories than configured.
    ConsumerElsewhere = "CONSUMER_ELSEWHERE",
    /// The daemon does not find the official CLI that a shell finds.
    CliOffPath = "CLI_OFF_PATH",
    /// A source or sink is on a mount that cannot be written.
    ReadOnlyMount = "READ_ONLY_MOUNT",
    /// A login is in a container's own layer, or in memory only.
    CopiedLogin = "COPIED_LOGIN",
    /// A single file is a mount point, which cannot be renamed over.
    MountedFile = "MOUNTED_FILE",
    /// A link became a file of its own, or leads nowhere.
    LinkDrift = "LINK_DRIFT",
    /// A file or its directory belongs to another user.
    OwnerDiffers = "OWNER_DIFFERS",
    /// A file system does not tell of changes by inotify.
    NoInotify = "NO_INOTIFY",
    /// Locks are taken on a file system where they may not keep other hosts out.
    LocksUnsafe = "LOCKS_UNSAFE",
    /// One instance is run by two units, or two daemons of one user run.
    DuplicateService = "DUPLICATE_SERVICE",
    /// The daemon's unit is missing, not enabled or does not run.
    UnitNotEnabled = "UNIT_NOT_ENABLED",
    /// The user's services end with the last session.
    NoLinger = "NO_LINGER",
    /// The daemon that runs is not this program.
    VersionDiffers = "VERSION_DIFFERS",
    /// A limit of inotify is nearly used up.
    InotifyLimit = "INOTIFY_LIMIT",
    /// A log that is to be heard cannot be read.
    JournalUnreadable = "JOURNAL_UNREADABLE",
    /// A token endpoint is not reached.
    EndpointUnreachable = "ENDPOINT_UNREACHABLE",
    /// A token endpoint shows a certificate that is not trusted.
    TlsUntrusted = "TLS_UNTRUSTED",
    /// Proxy and certificate variables of shell and daemon differ.
    ProxyDiffers = "PROXY_DIFFERS",
}

impl Code {
    /// Whether only a running daemon can know of it.
    #[must_use]
    pub const fn is_daemons_own(self) -> bool {
        matches!(self, Self::WatchLost | Self::BusNameTaken | Self::MetricsFailed)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a finding matters. Only warning and up are sent anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Someone should look.
    Warning,
    /// Something is down or a login is lost.
    Critical,
}

impl Severity {
    /// The word used in JSON and in text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A stable code, its weight and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The id of the login, sink or gateway, or the unit or path it is about.
    pub subject: String,
    /// One sentence for people; contains no secret.
    pub summary: String,
    /// The finding that causes this one, as `CODE:subject`; such a finding is not sent by itself.
    #[serde(default)]
    pub caused_by: Option<String>,
    /// The next command a person should run, or an empty text.
    #[serde(default)]
    pub next: String,
}

impl Finding {
    /// A finding without cause and next command.
    #[must_use]
    pub fn new(
        code: Code,
        severity: Severity,
        subject: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            subject: subject.into(),
            summary: summary.into(),
            caused_by: None,
            next: String::new(),
        }
    }

    /// The same finding, naming the command that helps.
    #[must_use]
    pub fn with_next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// The same finding, naming the one that causes it.
    #[must_use]
    pub fn with_cause(mut self, code: Code, subject: &str) -> Self {
        self.caused_by = Some(format!("{code}:{subject}"));
        self
    }

    /// What makes two findings the same one over time.
    #[must_use]
    pub fn key(&self) -> (Code, &str) {
        (self.code, &self.subject)
    }
}
