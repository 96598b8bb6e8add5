//! A gateway that is a systemd unit: restarted over the D-Bus API of its manager, with the proof
//! that it really was.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Applied, Means, UnderWay};
use crate::base::code::Code;
use crate::base::time::Timestamp;
use crate::config::settings::UnitScope;
use crate::core::memory::{Failure, LastAction};
use crate::systemd::bus::{BusAddresses, BusError, Scope};
use crate::systemd::job::ServiceManager;
use crate::systemd::outcome::{ActiveState, RestartOutcome};

/// How long a job may take: OpenClaw's own unit allows itself 330 s to drain its turns before it
/// stops (2026.9.6), and then it has to start.
const JOB_DEADLINE: Duration = Duration::from_secs(400);

/// The outcome of a unit that was not running: there is nothing to restart.
pub const STOPPED: &str = "stopped";

/// Restarts a unit, or reloads it. `under_way` is dropped once the job is submitted or refused.
///
/// # Errors
/// `UNIT_FAILED` or `BUS_UNAVAILABLE`, with the outcome in words.
pub async fn act(
    action: LastAction,
    unit: &str,
    scope: UnitScope,
    means: &Means,
    under_way: UnderWay,
) -> Result<Applied, Failure> {
    let manager = connect(unit, scope, means).await?;
    let submitted = match action {
        LastAction::Reload => manager.submit_reload(unit).await,
        _ => manager.submit_restart(unit).await,
    };
    let outcome = match submitted {
        Ok(mut job) => {
            drop(under_way);
            tracing::debug!(unit, job = job.path(), action = action.as_str(), "job submitted");
            job.wait(JOB_DEADLINE).await
        }
        Err(outcome) => outcome,
    };
    applied(unit, scope, action, outcome)
}

/// True when the manager says that nothing of the unit runs.
pub async fn is_stopped(unit: &str, scope: UnitScope, means: &Means) -> bool {
    let Ok(manager) = connect(unit, scope, means).await else { return false };
    let facts = manager.unit_facts(unit).await;
    facts.is_ok_and(|facts| matches!(facts.active_state, ActiveState::Inactive | ActiveState::Failed))
}

/// When a unit last became active; `None` when it never did, or the manager does not say.
pub async fn started_at(unit: &str, scope: UnitScope, means: &Means) -> Option<Timestamp> {
    let facts = connect(unit, scope, means).await.ok()?.unit_facts(unit).await.ok()?;
    let started = i64::try_from(facts.active_enter_usec / 1000).ok()?;
    (started > 0).then(|| Timestamp::from_millis(started))
}

/// Connections to service managers, kept between restarts: making one costs a few milliseconds of
/// the way from a new token to its use, and an idle one costs nothing. One that was lost (a bus
/// that went away) is made anew.
#[derive(Debug, Clone, Default)]
pub struct Managers(Rc<RefCell<Vec<(Scope, ServiceManager)>>>);

impl Managers {
    /// A connection to that manager.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn of(&self, scope: Scope, buses: &BusAddresses) -> Result<ServiceManager, BusError> {
        self.0.borrow_mut().retain(|(_, manager)| manager.is_alive());
        let known = self.0.borrow().iter().find(|(s, _)| *s == scope).map(|(_, manager)| manager.clone());
        if let Some(manager) = known {
            return Ok(manager);
        }
        let manager = ServiceManager::connect(scope, buses).await?;
        // Signals arrive unasked on the manager's private socket: that one is not kept.
        if !manager.is_private() {
            self.0.borrow_mut().push((scope, manager.clone()));
        }
        Ok(manager)
    }
}

async fn connect(unit: &str, scope: UnitScope, means: &Means) -> Result<ServiceManager, Failure> {
    let manager = match scope {
        UnitScope::User => Scope::User,
        UnitScope::System => Scope::System,
    };
    means.managers.of(manager, &means.buses).await.map_err(|error| {
        let next = format!("{} is-system-running", systemctl(scope));
        Failure::new(Code::BusUnavailable, format!("{unit} could not be restarted: {error}"), next)
    })
}

const fn systemctl(scope: UnitScope) -> &'static str {
    match scope {
        UnitScope::User => "systemctl --user",
        UnitScope::System => "systemctl",
    }
}

fn applied(
    unit: &str,
    scope: UnitScope,
    action: LastAction,
    outcome: RestartOutcome,
) -> Result<Applied, Failure> {
    let word = outcome.as_str().to_owned();
    let next = format!("{} status {unit}", systemctl(scope));
    match outcome {
        RestartOutcome::Restarted { invocation, previous } => {
            Ok(Applied { action, previous, invocation: Some(invocation), ready: None, outcome: word })
        }
        RestartOutcome::Reloaded { invocation } => {
            Ok(Applied { action, previous: None, invocation: Some(invocation), ready: None, outcome: word })
        }
        RestartOutcome::Stopped => Ok(Applied {
            action: LastAction::None,
            previous: None,
            invocation: None,
            ready: None,
            outcome: STOPPED.to_owned(),
        }),
        RestartOutcome::BusUnavailable { .. } => {
            Err(Failure::new(Code::BusUnavailable, format!("{unit}: {outcome}"), next))
        }
        other => Err(Failure::new(Code::UnitFailed, format!("{unit}: {other}"), next)),
    }
}
