//! Jobs of the service manager: read the unit, submit, wait for that job, read the unit again.
//!
//! The order is the design. I1: the match for `JobRemoved` is installed before the job is
//! submitted, so no result can be lost, however fast the job is. I2: a job is recognised by its
//! object path; the unit's name only narrows what the bus delivers. I3: a result is believed only
//! from the manager itself, because on the system bus anyone may send us a signal. I4: every job
//! result ends the wait, and what it means is decided by `outcome` from the unit's new state.
//! I5: nothing waits without a deadline.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

// NOTE: zbus re-exports the trait for its own macros; it spares us a dependency for one method.
use zbus::export::futures_core::Stream;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::bus::{self, BusAddresses, BusError, Scope, call, from_zbus};
use super::outcome::{
    ActiveState, JobResult, LoadState, RestartOutcome, ServiceFacts, UnitFacts, infer, infer_reload,
    infer_stop, without_a_job,
};
use super::proxy::{MANAGER_INTERFACE, MANAGER_PATH, ManagerProxy, Properties, SERVICE, ServiceProxy};
use super::transient::TransientService;

/// How long the last look at a unit may take after the caller's deadline has passed.
const LAST_LOOK: Duration = Duration::from_secs(1);

const JOB_INTERFACE: &str = "org.freedesktop.systemd1.Job";
const SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";

/// A connection to a service manager. Cheap to clone; idle it causes no wake-ups on a bus.
///
/// NOTE: on the private socket the manager sends every signal it has, asked for or not; a
/// connection that [`is_private`](Self::is_private) should not be kept while nothing is pending.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    pub(super) connection: zbus::Connection,
    pub(super) manager: ManagerProxy<'static>,
    owner: Option<String>,
    address: String,
}

impl ServiceManager {
    /// Connects by the first way at whose end a service manager answers.
    ///
    /// Must be called within a tokio runtime that has I/O and time enabled.
    ///
    /// # Errors
    /// [`BusError::NoAddress`] and [`BusError::Unreachable`].
    pub async fn connect(scope: Scope, addresses: &BusAddresses) -> Result<Self, BusError> {
        let link = bus::connect(scope, addresses).await?;
        let manager = ManagerProxy::builder(&link.connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(|error| from_zbus(&error))?;
        Ok(Self { connection: link.connection, manager, owner: link.owner, address: link.address })
    }

    /// Whether the connection is still open. The manager is asked nothing.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.connection.is_closed()
    }

    /// Returns once the connection has ended; for a loop that reconnects.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// The D-Bus address that led to the manager.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the manager itself is the peer, without a bus daemon between.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.owner.is_none()
    }

    /// The connection, for a name of our own on the same bus.
    pub const fn connection(&self) -> &zbus::Connection {
        &self.connection
    }

    /// Loads the unit, if it is not, and reads its state.
    ///
    /// # Errors
    /// [`BusError`]; a unit that does not exist is no error but [`LoadState::NotFound`].
    pub async fn unit_facts(&self, name: &str) -> Result<UnitFacts, BusError> {
        let path = call("LoadUnit", self.manager.load_unit(name)).await?;
        self.facts_at(&path).await
    }

    /// Submits a restart of a unit that runs or has failed.
    ///
    /// # Errors
    /// The outcome, when it is decided without a job: the unit does not exist, is masked, is not
    /// running; the manager refused or cannot be reached.
    pub async fn submit_restart(&self, unit: &str) -> Result<PendingJob, RestartOutcome> {
        self.submit(unit, Kind::Restart).await
    }

    /// Submits a reload of a running unit. A unit that cannot reload is refused by the manager
    /// with `JobTypeNotApplicable`; see [`UnitFacts::can_reload`].
    ///
    /// # Errors
    /// As [`submit_restart`](Self::submit_restart).
    pub async fn submit_reload(&self, unit: &str) -> Result<PendingJob, RestartOutcome> {
        self.submit(unit, Kind::Reload).await
    }

    /// Submits the start of a unit that does not run.
    ///
    /// # Errors
    /// The outcome, when it is decided without a job: the unit does not exist, is masked; the
    /// manager refused or cannot be reached.
    pub async fn submit_start(&self, unit: &str) -> Result<PendingJob, RestartOutcome> {
        self.submit(unit, Kind::Start).await
    }

    /// Submits the stop of a unit. Its outcome is [`RestartOutcome::Stopped`] when it is not
    /// running after it.
    ///
    /// # Errors
    /// As [`submit_restart`](Self::submit_restart).
    pub async fn stop(&self, unit: &str) -> Result<PendingJob, RestartOutcome> {
        self.submit(unit, Kind::Stop).await
    }

    /// Submits the start of a transient service under `name`, which ends in `.service` and must
    /// not exist yet.
    ///
    /// # Errors
    /// The outcome, when the manager refused (`UnitExists`, bad properties) or cannot be reached.
    pub async fn start_transient(
        &self,
        name: &str,
        service: &TransientService,
    ) -> Result<PendingJob, RestartOutcome> {
        let (unit_path, stream) = self.prepare(name).await?;
        let before = self.facts_at(&unit_path).await?;
        // The manager tracks references by bus name, so there are none on its private socket.
        let referenced = !self.is_private();
        let properties = service.properties(referenced);
        let job =
            call("StartTransientUnit", self.manager.start_transient_unit(name, "fail", &properties, &[]))
                .await?;
        Ok(PendingJob {
            service: self.clone(),
            kind: Kind::Start,
            job,
            unit_path,
            before,
            stream,
            referenced: referenced.then(|| name.to_owned()),
        })
    }

    /// Forgets that a unit failed and how often it was started.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        call("ResetFailedUnit", self.manager.reset_failed_unit(unit)).await
    }

    /// Sends a signal to every process of a unit.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn kill(&self, unit: &str, signal: i32) -> Result<(), BusError> {
        call("KillUnit", self.manager.kill_unit(unit, "all", signal)).await
    }

    async fn submit(&self, unit: &str, kind: Kind) -> Result<PendingJob, RestartOutcome> {
        let (unit_path, mut stream) = self.prepare(unit).await?;
        let before = self.facts_at(&unit_path).await?;
        let decided = without_a_job(&before);
        let is_start = kind == Kind::Start;
        if let Some(outcome) = decided.filter(|outcome| !(is_start && *outcome == RestartOutcome::Stopped)) {
            return Err(outcome);
        }
        if before.id != unit {
            // An alias: the manager speaks of the unit by its primary name only.
            stream = self.results_of(&before.id).await?;
        }
        let job = match kind {
            Kind::Reload => call("ReloadUnit", self.manager.reload_unit(unit, "replace")).await,
            Kind::Stop => call("StopUnit", self.manager.stop_unit(unit, "replace")).await,
            Kind::Start => call("StartUnit", self.manager.start_unit(unit, "replace")).await,
            Kind::Restart => call("RestartUnit", self.manager.restart_unit(unit, "replace")).await,
        }?;
        Ok(PendingJob { service: self.clone(), kind, job, unit_path, before, stream, referenced: None })
    }

    /// Subscribes to the manager's signals, installs the match for the unit's jobs and loads the
    /// unit, all in one round trip.
    pub(super) async fn prepare(&self, unit: &str) -> Result<(OwnedObjectPath, MessageStream), BusError> {
        // Each time: a manager that was replaced has forgotten its subscribers.
        let subscribe = async {
            match call("Subscribe", self.manager.subscribe()).await {
                Err(BusError::Refused { error_name }) if error_name == SUBSCRIBED => Ok(()),
                other => other,
            }
        };
        let load = call("LoadUnit", self.manager.load_unit(unit));
        let ((), path, stream) = tokio::try_join!(subscribe, load, self.results_of(unit))?;
        Ok((path, stream))
    }

    pub(super) async fn facts_at(&self, path: &OwnedObjectPath) -> Result<UnitFacts, BusError> {
        let reply = self.connection.call_method(
            Some(SERVICE),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "GetAll",
            &"org.freedesktop.systemd1.Unit",
        );
        let service = async {
            // Only services have it; the object path is the escaped name of the unit.
            if !path.as_str().ends_with("_2eservice") {
                return Ok(None);
            }
            let proxy = ServiceProxy::builder(&self.connection)
                .path(path)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await
                .map_err(|error| from_zbus(&error))?;
            let (result, n_restarts, main_pid, exec_main_status) = tokio::try_join!(
                call("Get Result", proxy.result()),
                call("Get NRestarts", proxy.n_restarts()),
                call("Get MainPID", proxy.main_pid()),
                call("Get ExecMainStatus", proxy.exec_main_status()),
            )?;
            Ok(Some(ServiceFacts { result, n_restarts, main_pid, exec_main_status }))
        };
        let (reply, service) = tokio::try_join!(call("GetAll", reply), service)?;
        let properties: Properties = reply.body().deserialize().map_err(|error| from_zbus(&error))?;
        let mut facts = facts(&properties, service);
        if let (Some(job), false) = (&facts.job, facts.active_state.is_running()) {
            facts.job_type = self.job_type(job).await?;
        }
        Ok(facts)
    }

    /// The type of a job; `None` when it is gone.
    async fn job_type(&self, job: &str) -> Result<Option<String>, BusError> {
        let reply = self.connection.call_method(
            Some(SERVICE),
            job,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(JOB_INTERFACE, "JobType"),
        );
        match call("Get JobType", reply).await {
            Ok(reply) => {
                let value: OwnedVariant = reply.body().deserialize().map_err(|error| from_zbus(&error))?;
                Ok(<&str>::try_from(&value).ok().map(str::to_owned))
            }
            Err(BusError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The results of jobs of one unit, by its primary name.
    async fn results_of(&self, id: &str) -> Result<MessageStream, BusError> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SERVICE)
            .path(MANAGER_PATH)
            .interface(MANAGER_INTERFACE)
            .member("JobRemoved")
            .arg(2, id)
            .build()
            .map_err(|error| from_zbus(&error))?;
        call("AddMatch", MessageStream::for_match_rule(rule, &self.connection, None)).await
    }

    /// Whether a signal comes from the service manager.
    async fn is_from_manager(&self, message: &Message) -> bool {
        let header = message.header();
        match (&self.owner, header.sender()) {
            // On the private socket there is nobody else.
            (None, _) => true,
            (Some(_), None) => false,
            (Some(owner), Some(sender)) if sender.as_str() == owner => true,
            // A manager that was executed anew has a new name.
            (Some(_), Some(sender)) => {
                bus::name_owner(&self.connection).await.is_ok_and(|owner| owner == sender.as_str())
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Restart,
    Reload,
    Stop,
    Start,
}

/// A job that was submitted and whose result is not known yet. Dropping it does not cancel it.
#[derive(Debug)]
#[must_use = "the outcome of the job is only known after waiting"]
pub struct PendingJob {
    service: ServiceManager,
    kind: Kind,
    job: OwnedObjectPath,
    unit_path: OwnedObjectPath,
    before: UnitFacts,
    stream: MessageStream,
    /// The unit that the manager keeps for us, to be given back after the last look.
    referenced: Option<String>,
}

impl PendingJob {
    /// The object path of the job.
    #[must_use]
    pub fn path(&self) -> &str {
        self.job.as_str()
    }

    /// The unit as it was before the job was submitted.
    #[must_use]
    pub const fn before(&self) -> &UnitFacts {
        &self.before
    }

    /// Waits until the job is gone, at most until `deadline` from now, and says what became of it.
    ///
    /// After [`RestartOutcome::TimedOut`] the job goes on and may be waited for again. After
    /// [`RestartOutcome::BusUnavailable`] a new connection can tell by comparing
    /// [`UnitFacts::invocation`] with that of [`before`](Self::before).
    pub async fn wait(&mut self, deadline: Duration) -> RestartOutcome {
        match self.wait_facts(deadline).await {
            Ok((result, after)) => match self.kind {
                Kind::Restart | Kind::Start => infer(&result, &self.before, &after),
                Kind::Reload => infer_reload(&result, &self.before, &after),
                Kind::Stop => infer_stop(&result, &after),
            },
            Err(outcome) => outcome,
        }
    }

    /// Like [`wait`](Self::wait), but returns the job's result and the unit after it; for a
    /// oneshot unit, whose exit status is what matters.
    ///
    /// # Errors
    /// [`RestartOutcome::TimedOut`] and [`RestartOutcome::BusUnavailable`].
    pub async fn wait_facts(&mut self, deadline: Duration) -> Result<(JobResult, UnitFacts), RestartOutcome> {
        let waited = tokio::time::timeout(deadline, self.result()).await;
        let Ok(result) = waited else {
            // A job that is gone without a signal (the manager was executed anew) is no timeout.
            let look = tokio::time::timeout(LAST_LOOK, self.service.facts_at(&self.unit_path)).await;
            return match look {
                Ok(Ok(after)) if after.job.as_deref() != Some(self.job.as_str()) => {
                    Ok((JobResult::Unknown("lost".to_owned()), after))
                }
                Ok(Ok(_)) => Err(RestartOutcome::TimedOut),
                Ok(Err(error)) => Err(error.into()),
                Err(_elapsed) => Err(RestartOutcome::TimedOut),
            };
        };
        let result = result?;
        let after = self.service.facts_at(&self.unit_path).await?;
        if let Some(unit) = self.referenced.take() {
            // The manager lets go by itself when the connection ends; failing here harms nobody.
            drop(call("UnrefUnit", self.service.manager.unref_unit(&unit)).await);
        }
        Ok((result, after))
    }

    async fn result(&mut self) -> Result<JobResult, BusError> {
        loop {
            let next = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await;
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(from_zbus(&error)),
                None => return Err(BusError::Lost { reason: "while waiting for a job".to_owned() }),
            };
            let body = message.body();
            let removed = body.deserialize::<(u32, OwnedObjectPath, &str, &str)>();
            let Ok((_id, job, _unit, result)) = removed else { continue };
            if job == self.job && self.service.is_from_manager(&message).await {
                return Ok(JobResult::from_word(result));
            }
        }
    }
}

/// The facts among the properties of a unit; a missing property counts as its empty value.
fn facts(properties: &Properties, service: Option<ServiceFacts>) -> UnitFacts {
    let text = |name: &str| {
        properties.get(name).and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default().to_owned()
    };
    let flag = |name: &str| properties.get(name).and_then(|value| bool::try_from(value).ok());
    UnitFacts {
        id: text("Id"),
        load_state: LoadState::from_word(&text("LoadState")),
        active_state: ActiveState::from_word(&text("ActiveState")),
        sub_state: text("SubState"),
        unit_file_state: text("UnitFileState"),
        invocation: properties.get("InvocationID").and_then(invocation),
        can_reload: flag("CanReload").unwrap_or(false),
        condition_result: flag("ConditionResult").unwrap_or(true),
        need_daemon_reload: flag("NeedDaemonReload").unwrap_or(false),
        job: properties.get("Job").and_then(job),
        job_type: None,
        active_enter_usec: properties
            .get("ActiveEnterTimestamp")
            .and_then(|value| u64::try_from(value).ok())
            .unwrap_or(0),
        service,
    }
}

/// The invocation id as text; `None` for the empty array of a unit that never ran.
fn invocation(value: &OwnedVariant) -> Option<String> {
    let bytes = Vec::<u8>::try_from(value.try_clone().ok()?).ok()?;
    let set = bytes.len() == 16 && bytes.iter().any(|byte| *byte != 0);
    set.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The path of the unit's job; the manager writes `(0, "/")` for none.
fn job(value: &OwnedVariant) -> Option<String> {
    let (id, path) = <(u32, OwnedObjectPath)>::try_from(value.try_clone().ok()?).ok()?;
    (id != 0).then(|| path.as_str().to_owned())
}
