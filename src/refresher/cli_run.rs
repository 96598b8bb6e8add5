//! One run of a provider's official CLI, where neither our sandbox nor our end reaches it: as a
//! transient unit of the user's manager, or as a detached child where there is no manager. What the
//! run brought is for the caller to see; here is only how it ended.
//!
//! C1: a CLI that is at work on a login is not disturbed: no signal while the caller's guard says
//!     so, SIGTERM a minute before SIGKILL, and what will not end is left alone.
//! C2: one run of a name at a time: a unit that an earlier process started is waited for instead.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::base::secret::{Document, Secret};
use crate::sys::atomic_file::{self, Expected, Policy};
use crate::sys::clock;
use crate::sys::detached::{Detached, DetachedSpec};
use crate::systemd::bus::{BusAddresses, Scope};
use crate::systemd::job::{PendingJob, ServiceManager};
use crate::systemd::outcome::{ActiveState, LoadState, RestartOutcome, UnitFacts};
use crate::systemd::transient::TransientService;

/// What a CLI needs between SIGTERM and SIGKILL: its own request ends within 30 s.
pub const GRACE: Duration = Duration::from_secs(75);
/// How long a CLI that is late may still be at work on the login before it is left alone.
const MOST_WORK: Duration = Duration::from_secs(300);
/// How often the guard is asked, and a unit that is not ours looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a unit may take until its program runs, and how often that is looked at.
const START: Duration = Duration::from_secs(10);
const STARTING: Duration = Duration::from_millis(20);
/// The manager's own deadline, for a run whose tokensink has died.
const BACKSTOP: Duration = Duration::from_secs(3600);
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A run to be made.
#[derive(Debug)]
pub struct CliRun {
    /// The name of the transient unit, with `.service`.
    pub unit: String,
    /// Shown by `systemctl status`.
    pub description: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment, as far as we decide it: a manager adds its own.
    pub environment: BTreeMap<String, String>,
    /// What the manager's own environment must not add.
    pub unset: Vec<String>,
    /// What must reach the CLI and nobody else.
    pub secrets: Option<Secrets>,
    /// Where it runs; `None` means wherever the manager starts its services.
    pub directory: Option<PathBuf>,
    /// A file, which exists, that gets all output; `None` means the journal, or nowhere.
    pub output: Option<PathBuf>,
    /// Whether a unit of this name that is there already is waited for instead; else it is an error.
    pub joins: bool,
    /// The time after which it is late.
    pub deadline: Duration,
    /// Between SIGTERM and SIGKILL, once it is late; see [`GRACE`].
    pub grace: Duration,
}

/// Variables that hold secrets. A child gets them by its environment; a manager,
/// whose units are open to every client of its bus, by a file that is removed once it was read.
#[derive(Debug)]
pub struct Secrets {
    /// Where that file is; nothing is there yet.
    pub file: PathBuf,
    /// Names and values.
    pub variables: BTreeMap<String, Secret>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// By itself, with this exit code if anybody saw it.
    Exited(Option<i32>),
    /// By a signal.
    Killed,
    /// Not yet; it was left alone.
    StillRunning,
}

impl CliRun {
    /// Makes the run and stays with it. `is_at_work` says whether the CLI must not be disturbed.
    ///
    /// # Errors
    /// When it could not be started: nothing has run then.
    pub async fn run(&self, buses: &BusAddresses, is_at_work: &dyn Fn() -> bool) -> Result<RunEnd, String> {
        let mut running = self.start(buses).await?;
        if let Some(secrets) = &self.secrets {
            running.has_read(secrets).await;
        }
        if let Some(end) = running.ended(self.deadline).await {
            return Ok(end);
        }
        if let Some(end) = running.ended_while(is_at_work).await {
            return Ok(end);
        }
        for (signal, patience) in [(Signal::SIGTERM, self.grace), (Signal::SIGKILL, TICK)] {
            if is_at_work() {
                break;
            }
            running.signal(signal).await;
            if let Some(end) = running.ended(patience).await {
                return Ok(end);
            }
        }
        Ok(RunEnd::StillRunning)
    }

    async fn start<'a>(&'a self, buses: &'a BusAddresses) -> Result<Running<'a>, String> {
        let Ok(manager) = ServiceManager::connect(Scope::User, buses).await else {
            let mut env = self.environment.clone();
            let secrets = self.secrets.iter().flat_map(|secrets| &secrets.variables);
            env.extend(secrets.map(|(name, value)| (name.clone(), value.expose().to_owned())));
            let spec = DetachedSpec {
                argv: self.argv.clone(),
                env,
                cwd: self.directory.clone(),
                output: self.output.clone(),
            };
            return Detached::start(&spec).map(Running::Child).map_err(|error| {
                let program = self.argv.first().map_or("", String::as_str);
                format!("cannot run '{program}': {error}")
            });
        };
        let mut service = TransientService::oneshot(&self.description, self.argv.clone());
        service.environment = self.environment.clone().into_iter().collect();
        service.unset.clone_from(&self.unset);
        service.working_directory.clone_from(&self.directory);
        service.output.clone_from(&self.output);
        service.timeout_start = Some(BACKSTOP);
        service.timeout_stop = Some(self.grace);
        if let Some(secrets) = &self.secrets {
            secrets.write()?;
            service.environment_file = Some(secrets.file.clone());
        }
        let job = match manager.start_transient(&self.unit, &service).await {
            Ok(job) => Some(Box::new(job)),
            // An earlier process of ours started it.
            Err(RestartOutcome::Refused { error_name }) if self.joins && error_name == UNIT_EXISTS => None,
            Err(error) => {
                if let Some(secrets) = &self.secrets {
                    secrets.remove();
                }
                return Err(error.to_string());
            }
        };
        Ok(Running::Unit { name: &self.unit, buses, manager, job })
    }
}

impl Secrets {
    fn write(&self) -> Result<(), String> {
        self.remove();
        let mut text = zeroize::Zeroizing::new(String::new());
        for (name, value) in &self.variables {
            if !can_be_handed_over(value) {
                return Err(format!("{name} cannot be written into an environment file"));
            }
            text.extend([name, "='", value.expose(), "'\n"]);
        }
        let document = Document::new(text.as_bytes().to_vec());
        let written = atomic_file::stage(&self.file, &document, Expected::Absent, Policy::default());
        written.and_then(atomic_file::Staged::commit).map(drop).map_err(|error| error.to_string())
    }

    fn remove(&self) {
        // What cannot be removed now is removed with its directory.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Whether a secret can stand in an environment and in a file of it (systemd.exec(5): within single
/// quotes nothing is special but their end).
#[must_use]
pub fn can_be_handed_over(secret: &Secret) -> bool {
    !secret.expose().contains(|c: char| c == '\'' || c.is_control())
}

/// A run under way.
enum Running<'a> {
    Unit {
        name: &'a str,
        buses: &'a BusAddresses,
        manager: ServiceManager,
        /// The start job, whose end is the run's; `None` when it is not ours, or the bus was lost.
        job: Option<Box<PendingJob>>,
    },
    Child(Detached),
}

impl Running<'_> {
    /// Waits for its end, at most so long.
    async fn ended(&mut self, within: Duration) -> Option<RunEnd> {
        let (name, buses, manager, job) = match self {
            Self::Child(child) => {
                let status = child.ended(within).await?;
                return Some(status.signal().map_or(RunEnd::Exited(status.code()), |_| RunEnd::Killed));
            }
            Self::Unit { name, buses, manager, job } => (*name, *buses, manager, job),
        };
        let end = clock::monotonic().saturating_add(within);
        loop {
            let left = end.saturating_sub(clock::monotonic());
            if let Some(pending) = job {
                match pending.wait_facts(left).await {
                    Ok((_, facts)) => return Some(end_of(&facts)),
                    Err(RestartOutcome::TimedOut) => return None,
                    // The bus is gone, the run is not.
                    Err(_) => *job = None,
                }
            }
            match manager.unit_facts(name).await {
                Ok(facts) if is_over(&facts) => return Some(end_of(&facts)),
                Ok(_) => {}
                Err(_) => {
                    if let Ok(anew) = ServiceManager::connect(Scope::User, buses).await {
                        *manager = anew;
                    }
                }
            }
            if left.is_zero() {
                return None;
            }
            tokio::time::sleep(TICK.min(left)).await;
        }
    }

    /// Waits for its end as long as it must not be disturbed.
    async fn ended_while(&mut self, is_at_work: &dyn Fn() -> bool) -> Option<RunEnd> {
        let end = clock::monotonic().saturating_add(MOST_WORK);
        while is_at_work() && clock::monotonic() < end {
            if let Some(ended) = self.ended(TICK).await {
                return Some(ended);
            }
        }
        None
    }

    /// Removes the file of the secrets once it was read, which the manager does before it forks.
    async fn has_read(&self, secrets: &Secrets) {
        let Self::Unit { name, manager, .. } = self else { return };
        let end = clock::monotonic().saturating_add(START);
        while clock::monotonic() < end {
            let Ok(facts) = manager.unit_facts(name).await else { break };
            let pid = facts.service.as_ref().map_or(0, |service| service.main_pid);
            if is_over(&facts) || pid != 0 {
                break;
            }
            tokio::time::sleep(STARTING).await;
        }
        secrets.remove();
    }

    async fn signal(&self, signal: Signal) {
        match self {
            Self::Child(child) => child.signal(signal),
            Self::Unit { name, manager, .. } => {
                // A unit that has just ended is what was wanted; the next look tells.
                let _ = manager.kill(name, signal as i32).await;
            }
        }
    }
}

/// Whether a unit of that name runs.
pub async fn is_running(unit: &str, buses: &BusAddresses) -> bool {
    let Ok(manager) = ServiceManager::connect(Scope::User, buses).await else { return false };
    manager.unit_facts(unit).await.is_ok_and(|facts| !is_over(&facts))
}

/// A start job that waits leaves its unit inactive for a moment.
fn is_over(facts: &UnitFacts) -> bool {
    matches!(facts.active_state, ActiveState::Inactive | ActiveState::Failed) && facts.job.is_none()
}

fn end_of(facts: &UnitFacts) -> RunEnd {
    match &facts.service {
        // Collected before it was looked at: nobody can tell.
        _ if facts.load_state != LoadState::Loaded => RunEnd::Exited(None),
        Some(service) if service.result == "success" => RunEnd::Exited(Some(0)),
        Some(service) if service.result == "exit-code" => RunEnd::Exited(Some(service.exec_main_status)),
        Some(service)
            if ["signal", "core-dump", "timeout", "oom-kill"].contains(&service.result.as_str()) =>
        {
            RunEnd::Killed
        }
        _ => RunEnd::Exited(None),
    }
}
