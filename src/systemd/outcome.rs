//! What became of a job, decided without I/O from the job's result and the unit before and after.
//!
//! The proof that a restart happened is a new InvocationID on an active unit; the job's result
//! only explains why that proof is missing. `done` alone proves nothing. Errors are told apart by
//! their D-Bus names, never by their texts. Words and error names: org.freedesktop.systemd1(5) and
//! bus-common-errors.h of systemd 252.

use std::fmt;

#[cfg(test)]
mod tests;

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $vdoc])+ $variant,)+
            /// A word that this program does not know; bounded, as received.
            Unknown(String),
        }

        impl $name {
            /// The variant with that word; total.
            #[must_use]
            pub fn from_word(word: &str) -> Self {
                match word { $($text => Self::$variant,)+ other => Self::Unknown(bounded(other)) }
            }

            /// The word as systemd writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Unknown(word) => word }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Whether the unit's configuration could be loaded.
    LoadState {
        /// Not looked at yet.
        Stub = "stub",
        /// Loaded.
        Loaded = "loaded",
        /// There is no such unit file.
        NotFound = "not-found",
        /// The unit file has a setting that makes the unit unusable.
        BadSetting = "bad-setting",
        /// The unit file could not be read.
        Error = "error",
        /// Another name of a loaded unit.
        Merged = "merged",
        /// Linked to `/dev/null`.
        Masked = "masked",
    }
}

words! {
    /// Whether the unit runs.
    ActiveState {
        /// Runs.
        Active = "active",
        /// Runs and reloads its configuration.
        Reloading = "reloading",
        /// Does not run.
        Inactive = "inactive",
        /// Does not run because it failed.
        Failed = "failed",
        /// Is being started.
        Activating = "activating",
        /// Is being stopped.
        Deactivating = "deactivating",
        /// Under maintenance.
        Maintenance = "maintenance",
        /// Runs and refreshes its mounts.
        Refreshing = "refreshing",
    }
}

impl ActiveState {
    /// Whether the unit's process runs and had the chance to read its files.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Refreshing)
    }
}

words! {
    /// The result of a job, as `JobRemoved` reports it.
    JobResult {
        /// Done; says nothing about the unit's health.
        Done = "done",
        /// Canceled by a contrary job.
        Canceled = "canceled",
        /// The job's own timeout.
        Timeout = "timeout",
        /// The unit failed.
        Failed = "failed",
        /// A unit it requires failed.
        Dependency = "dependency",
        /// Not applicable to the unit's state.
        Skipped = "skipped",
        /// The unit cannot be started or reloaded.
        Invalid = "invalid",
        /// An assertion of the unit failed.
        Assert = "assert",
        /// The system does not support the unit's type.
        Unsupported = "unsupported",
        /// The unit was collected.
        Collected = "collected",
        /// A unit that may only be started once.
        Once = "once",
        /// The unit's control group is frozen.
        Frozen = "frozen",
    }
}

/// What is known about a unit at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFacts {
    /// The unit's primary name; differs from the name asked for when that was an alias.
    pub id: String,
    /// Whether its configuration could be loaded.
    pub load_state: LoadState,
    /// Whether it runs.
    pub active_state: ActiveState,
    /// Its state in the words of its type, such as `running` or `auto-restart`.
    pub sub_state: String,
    /// `enabled`, `static`, `transient`, …; empty when there is no unit file.
    pub unit_file_state: String,
    /// The id of the current or last run, 32 hexadecimal digits; `None` when it never ran.
    pub invocation: Option<String>,
    /// Whether a reload would do anything.
    pub can_reload: bool,
    /// Whether the conditions held at the last start; `true` also when it was never tried.
    pub condition_result: bool,
    /// The unit's file on disk is newer than what the manager has loaded.
    pub need_daemon_reload: bool,
    /// The object path of the job that waits or runs for it, if there is one.
    pub job: Option<String>,
    /// The type of that job, such as `restart` or `stop`; `None` also when it was gone before it
    /// could be asked, or when the unit runs and nobody had to know.
    pub job_type: Option<String>,
    /// When it last became active, in microseconds since the epoch; 0 means never.
    pub active_enter_usec: u64,
    /// What only services have; `None` for every other type.
    pub service: Option<ServiceFacts>,
}

/// What is known about a service beyond [`UnitFacts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`, …
    pub result: String,
    /// How often `Restart=` restarted it since the last start by hand.
    pub n_restarts: u32,
    /// Its main process; 0 means none.
    pub main_pid: u32,
    /// The exit status, or signal number, of its last main process.
    pub exec_main_status: i32,
}

impl UnitFacts {
    /// Whether a job waits or runs that will start it.
    fn is_to_be_started(&self) -> bool {
        matches!(self.job_type.as_deref(), Some("start" | "restart" | "reload-or-start"))
    }

    /// The service's result; `success` where the unit is none.
    #[must_use]
    pub fn result(&self) -> &str {
        self.service.as_ref().map_or("success", |s| s.result.as_str())
    }
}

/// What became of a restart (or of a reload, or of the start of a transient unit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartOutcome {
    /// It runs, in an invocation that began after the request.
    Restarted {
        /// The new InvocationID.
        invocation: String,
        /// The one before; `None` when it had none.
        previous: Option<String>,
    },
    /// It runs and has carried out a reload, in the same invocation.
    Reloaded {
        /// The InvocationID.
        invocation: String,
    },
    /// There is no such unit.
    NotLoaded,
    /// The unit is masked.
    Masked,
    /// The unit file cannot be used.
    BadUnit {
        /// How systemd calls its state.
        load_state: String,
    },
    /// It does not run: there is nothing to restart, it reads its files at its next start.
    Stopped,
    /// It failed.
    Failed {
        /// The service's result, or the job's when the unit has none to tell.
        result: String,
        /// The sub state after the job.
        sub_state: String,
    },
    /// It was started too often; systemd refuses to start it for now.
    StartLimit,
    /// The manager, or the bus, refused the request.
    Refused {
        /// The name of the D-Bus error.
        error_name: String,
    },
    /// Someone queued a contrary job, or the job was replaced.
    Superseded,
    /// A condition of the unit does not hold, or the job did not apply to its state.
    Skipped,
    /// A unit it requires failed.
    DependencyFailed,
    /// No result by the deadline; the job may still be carried out.
    TimedOut,
    /// The job is done and the unit does not run.
    NotActive {
        /// The active state after the job.
        active_state: String,
        /// The sub state after the job.
        sub_state: String,
    },
    /// The job is done and the old invocation still runs.
    InvocationUnchanged,
    /// The service manager could not be reached, or was lost while waiting.
    BusUnavailable {
        /// Why, in a bounded text.
        reason: String,
    },
}

impl RestartOutcome {
    /// Whether the running process, if there is one, has read its files after the request.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        matches!(self, Self::Restarted { .. } | Self::Reloaded { .. } | Self::Stopped)
    }

    /// Whether the same request may succeed later without anyone doing something.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::StartLimit
            | Self::Superseded
            | Self::DependencyFailed
            | Self::TimedOut
            | Self::NotActive { .. }
            | Self::InvocationUnchanged
            | Self::BusUnavailable { .. } => true,
            Self::Refused { error_name } => is_passing(error_name),
            Self::Restarted { .. }
            | Self::Reloaded { .. }
            | Self::NotLoaded
            | Self::Masked
            | Self::BadUnit { .. }
            | Self::Stopped
            | Self::Failed { .. }
            | Self::Skipped => false,
        }
    }

    /// A stable word for logs and JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Restarted { .. } => "restarted",
            Self::Reloaded { .. } => "reloaded",
            Self::NotLoaded => "not-loaded",
            Self::Masked => "masked",
            Self::BadUnit { .. } => "bad-unit",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
            Self::StartLimit => "start-limit",
            Self::Refused { .. } => "refused",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
            Self::DependencyFailed => "dependency-failed",
            Self::TimedOut => "timed-out",
            Self::NotActive { .. } => "not-active",
            Self::InvocationUnchanged => "invocation-unchanged",
            Self::BusUnavailable { .. } => "bus-unavailable",
        }
    }
}

impl fmt::Display for RestartOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restarted { .. } => f.write_str("restarted"),
            Self::Reloaded { .. } => f.write_str("reloaded"),
            Self::NotLoaded => f.write_str("there is no such unit"),
            Self::Masked => f.write_str("the unit is masked"),
            Self::BadUnit { load_state } => write!(f, "the unit file cannot be used ({load_state})"),
            Self::Stopped => f.write_str("not running; it reads its files at its next start"),
            Self::Failed { result, sub_state } => write!(f, "the unit failed ({result}, {sub_state})"),
            Self::StartLimit => f.write_str("started too often, systemd refuses to start it for now"),
            Self::Refused { error_name } => write!(f, "the service manager refused ({error_name})"),
            Self::Superseded => f.write_str("another job took the place of the restart"),
            Self::Skipped => f.write_str("skipped, a condition of the unit does not hold"),
            Self::DependencyFailed => f.write_str("a unit it requires failed"),
            Self::TimedOut => f.write_str("not finished by the deadline"),
            Self::NotActive { active_state, sub_state } => {
                write!(f, "the job is done, but the unit is {active_state} ({sub_state})")
            }
            Self::InvocationUnchanged => f.write_str("the job is done, but the old process still runs"),
            Self::BusUnavailable { reason } => write!(f, "the service manager cannot be reached: {reason}"),
        }
    }
}

/// What the unit's state alone already decides, before any job is submitted. `None`: submit.
/// A *failed* unit is restarted, it may have died of the dead token.
#[must_use]
pub fn without_a_job(before: &UnitFacts) -> Option<RestartOutcome> {
    match &before.load_state {
        LoadState::NotFound => Some(RestartOutcome::NotLoaded),
        LoadState::Masked => Some(RestartOutcome::Masked),
        state @ (LoadState::BadSetting | LoadState::Error) => {
            Some(RestartOutcome::BadUnit { load_state: state.as_str().to_owned() })
        }
        LoadState::Stub | LoadState::Loaded | LoadState::Merged | LoadState::Unknown(_) => {
            match before.active_state {
                // In the midst of somebody's restart: join it, or its failure would go unseen.
                ActiveState::Inactive | ActiveState::Deactivating if before.is_to_be_started() => None,
                // A unit that is being stopped is not brought back against whoever stops it.
                ActiveState::Inactive | ActiveState::Deactivating => Some(RestartOutcome::Stopped),
                _ => None,
            }
        }
    }
}

/// What became of a restart, or of a start when nothing ran before.
#[must_use]
pub fn infer(job: &JobResult, before: &UnitFacts, after: &UnitFacts) -> RestartOutcome {
    if let (true, Some(invocation)) = (after.active_state.is_running(), &after.invocation)
        && before.invocation.as_ref() != Some(invocation)
    {
        return RestartOutcome::Restarted {
            invocation: invocation.clone(),
            previous: before.invocation.clone(),
        };
    }
    explain(job, after)
}

/// What became of a reload: the invocation stays, so the job's result is all there is to go by.
#[must_use]
pub fn infer_reload(job: &JobResult, before: &UnitFacts, after: &UnitFacts) -> RestartOutcome {
    match (job, &after.invocation) {
        (JobResult::Done, Some(invocation)) if after.active_state.is_running() => {
            if before.invocation.as_ref() == Some(invocation) {
                RestartOutcome::Reloaded { invocation: invocation.clone() }
            } else {
                infer(job, before, after)
            }
        }
        _ => explain(job, after),
    }
}

/// What became of a stop.
#[must_use]
pub fn infer_stop(job: &JobResult, after: &UnitFacts) -> RestartOutcome {
    match after.active_state {
        ActiveState::Inactive | ActiveState::Failed => RestartOutcome::Stopped,
        _ => explain(job, after),
    }
}

/// Why there is no new invocation.
fn explain(job: &JobResult, after: &UnitFacts) -> RestartOutcome {
    let failed = |result: &str| RestartOutcome::Failed {
        result: bounded(result),
        sub_state: bounded(&after.sub_state),
    };
    // Nothing was started, so whatever the unit says is about an earlier run.
    if *job == JobResult::Dependency {
        return RestartOutcome::DependencyFailed;
    }
    // The unit's own words first: they say more than the job's.
    match (after.result(), &after.active_state) {
        ("start-limit-hit", ActiveState::Failed | ActiveState::Inactive) => {
            return RestartOutcome::StartLimit;
        }
        (result, ActiveState::Failed) => {
            return failed(if result == "success" { job.as_str() } else { result });
        }
        (result, ActiveState::Activating) if after.sub_state.starts_with("auto-restart") => {
            return failed(result);
        }
        _ => {}
    }
    match job {
        JobResult::Done if !after.active_state.is_running() => {
            if !after.condition_result && after.active_state == ActiveState::Inactive {
                return RestartOutcome::Skipped;
            }
            RestartOutcome::NotActive {
                active_state: bounded(after.active_state.as_str()),
                sub_state: bounded(&after.sub_state),
            }
        }
        JobResult::Done => RestartOutcome::InvocationUnchanged,
        JobResult::Canceled | JobResult::Collected => RestartOutcome::Superseded,
        JobResult::Timeout => RestartOutcome::TimedOut,
        JobResult::Skipped => RestartOutcome::Skipped,
        JobResult::Failed if after.result() != "success" => failed(after.result()),
        JobResult::Failed
        | JobResult::Invalid
        | JobResult::Assert
        | JobResult::Unsupported
        | JobResult::Once
        | JobResult::Frozen
        | JobResult::Dependency
        | JobResult::Unknown(_) => failed(job.as_str()),
    }
}

/// What a D-Bus error in answer to a request means, by its name alone.
#[must_use]
pub fn from_error_name(name: &str) -> RestartOutcome {
    match name {
        "org.freedesktop.systemd1.NoSuchUnit" => RestartOutcome::NotLoaded,
        "org.freedesktop.systemd1.UnitMasked" => RestartOutcome::Masked,
        "org.freedesktop.systemd1.BadUnitSetting" => {
            RestartOutcome::BadUnit { load_state: "bad-setting".to_owned() }
        }
        "org.freedesktop.systemd1.LoadFailed" => RestartOutcome::BadUnit { load_state: "error".to_owned() },
        // The manager, or the bus, went away between question and answer.
        "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.Disconnected"
        | "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.NameHasNoOwner"
        | "org.freedesktop.DBus.Error.NoServer"
        | "org.freedesktop.DBus.Error.Timeout"
        | "org.freedesktop.DBus.Error.TimedOut" => RestartOutcome::BusUnavailable { reason: name.to_owned() },
        other => RestartOutcome::Refused { error_name: bounded(other) },
    }
}

/// Whether a refusal passes by itself: the manager is busy with something contrary, or is full.
fn is_passing(error_name: &str) -> bool {
    matches!(
        error_name,
        "org.freedesktop.systemd1.TransactionIsDestructive"
            | "org.freedesktop.systemd1.TransactionJobsConflicting"
            | "org.freedesktop.systemd1.ShuttingDown"
            | "org.freedesktop.DBus.Error.LimitsExceeded"
            | "org.freedesktop.DBus.Error.NoMemory"
    )
}

/// A foreign text in at most 200 bytes and without control characters.
pub(super) fn bounded(text: &str) -> String {
    let mut end = text.len().min(200);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
