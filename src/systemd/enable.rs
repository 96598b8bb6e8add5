//! Unit files: enabled and disabled as `systemctl` does it, and what units are started with. And the
//! wait for a unit that somebody else starts, which is how a user's manager comes up.
//!
//! Names and signatures: org.freedesktop.systemd1(5), systemd 252 and 257.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

// NOTE: zbus re-exports the trait for its own macros; it spares us a dependency for one method.
use zbus::export::futures_core::Stream;

use super::bus::{BusError, call};
use super::job::ServiceManager;

impl ServiceManager {
    /// Enables a unit: its links are made, and the manager reads its unit files again.
    ///
    /// # Errors
    /// [`BusError`]; a file in the way of a link is refused, not replaced.
    pub async fn enable(&self, unit: &str) -> Result<(), BusError> {
        call("EnableUnitFiles", self.manager.enable_unit_files(&[unit], false, false)).await?;
        self.read_unit_files().await
    }

    /// Disables a unit: its links are removed, and the manager reads its unit files again.
    ///
    /// # Errors
    /// [`BusError`]; a unit that was not enabled is none.
    pub async fn disable(&self, unit: &str) -> Result<(), BusError> {
        call("DisableUnitFiles", self.manager.disable_unit_files(&[unit], false)).await?;
        self.read_unit_files().await
    }

    /// Makes the manager read its unit files again.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn read_unit_files(&self) -> Result<(), BusError> {
        call("Reload", self.manager.reload()).await
    }

    /// The variables that the manager's units are started with.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn environment(&self) -> Result<BTreeMap<String, String>, BusError> {
        let assignments = call("Get Environment", self.manager.environment()).await?;
        let pairs = assignments.iter().filter_map(|assignment| assignment.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Does `first`, then waits until a unit runs that is started because of it; false when it does not
    /// by `deadline`, or its start failed.
    ///
    /// # Errors
    /// [`BusError`], also that of `first`.
    pub async fn runs_after(
        &self,
        unit: &str,
        deadline: Duration,
        first: impl Future<Output = Result<(), BusError>>,
    ) -> Result<bool, BusError> {
        // Before it is started: no end of its job can be missed.
        let (path, mut jobs) = self.prepare(unit).await?;
        first.await?;
        let waited = tokio::time::timeout(deadline, async {
            loop {
                if self.facts_at(&path).await?.active_state.is_running() {
                    return Ok(true);
                }
                if poll_fn(|context| Pin::new(&mut jobs).poll_next(context)).await.is_none() {
                    return Err(BusError::Lost { reason: "while waiting for a unit".to_owned() });
                }
                let facts = self.facts_at(&path).await?;
                if facts.job.is_none() {
                    return Ok(facts.active_state.is_running());
                }
            }
        });
        waited.await.unwrap_or(Ok(false))
    }
}
