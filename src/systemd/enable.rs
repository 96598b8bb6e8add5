//! Unit files: enabled and disabled as `systemctl` does it, and what units are started with. And the
//! wait for a unit that somebody else starts, which is how a user's manager comes up.
//!
//! Names and signatures: org.freedesktop.systemd1(5), systemd 252 and 257.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

// NOTE: zbus re-exports the trait for its own macros; it spares us a dependency for one method.
use zbus::Message;
use zbus::export::futures_core::Stream;

use super::bus::{BusError, call, from_zbus};
use super::job::ServiceManager;
use super::proxy::{MANAGER_INTERFACE, MANAGER_PATH, SERVICE};

/// What a manager says of a unit without a file (systemd 252 and 257).
const NO_FILE: [&str; 2] = ["org.freedesktop.DBus.Error.FileNotFound", "org.freedesktop.systemd1.NoSuchUnit"];

impl ServiceManager {
    /// Enables a unit: its links are made, and the manager reads its unit files again.
    ///
    /// # Errors
    /// [`BusError`]; a file in the way of a link is refused, not replaced.
    pub async fn enable(&self, unit: &str) -> Result<(), BusError> {
        self.ask("EnableUnitFiles", &(vec![unit], false, false)).await?;
        self.ask("Reload", &()).await.map(drop)
    }

    /// Disables a unit: its links are removed, and the manager reads its unit files again.
    ///
    /// # Errors
    /// [`BusError`]; a unit that was not enabled is none.
    pub async fn disable(&self, unit: &str) -> Result<(), BusError> {
        self.ask("DisableUnitFiles", &(vec![unit], false)).await?;
        self.ask("Reload", &()).await.map(drop)
    }

    /// Whether a unit is enabled by its files as they are now; one without a file is not. The manager's own
    /// word (`UnitFacts::unit_file_state`) is from when it last read them: somebody may have changed them
    /// since, and died before asking for a reload.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn is_enabled(&self, unit: &str) -> Result<bool, BusError> {
        let state = match self.ask("GetUnitFileState", &unit).await {
            Err(BusError::Refused { error_name }) if NO_FILE.contains(&error_name.as_str()) => {
                return Ok(false);
            }
            state => state?,
        };
        let state = state.body();
        let state = state.deserialize::<&str>().map_err(|error| from_zbus(&error))?;
        Ok(matches!(state, "enabled" | "enabled-runtime"))
    }

    /// Calls a method of the manager; which links it changed is nothing that anybody asks.
    async fn ask<B>(&self, method: &'static str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let asked =
            self.connection().call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER_INTERFACE), method, body);
        call(method, asked).await
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
