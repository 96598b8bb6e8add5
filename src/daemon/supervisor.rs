//! What the service manager is told. A message that cannot be handed over is no reason to stop:
//! the manager's own timeouts say what follows.

use std::ffi::OsStr;
use std::time::Duration;

use crate::sys::paths::Surroundings;
use crate::systemd::notify::{self, Notifier};

/// The service manager that started us, if one did.
#[derive(Debug)]
pub struct Supervisor {
    notifier: Option<Notifier>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// From the variables that a service manager sets.
    #[must_use]
    pub fn new(surroundings: &Surroundings) -> Self {
        let socket = surroundings.variable("NOTIFY_SOCKET").map(OsStr::new);
        let notifier = Notifier::from_env_value(socket)
            .inspect_err(|error| tracing::warn!("the service manager cannot be notified: {error}"))
            .ok();
        let (usec, pid) = (surroundings.variable("WATCHDOG_USEC"), surroundings.variable("WATCHDOG_PID"));
        Self { notifier, watchdog: notify::ping_interval(usec, pid, std::process::id()) }
    }

    /// How often [`watchdog`](Self::watchdog) has to be called; `None` without a watchdog.
    #[must_use]
    pub const fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Start-up, or a reload, is finished.
    pub fn ready(&self, status: &str) {
        self.tell(|n| n.ready(status));
    }

    /// What `systemctl status` shows.
    pub fn status(&self, text: &str) {
        self.tell(|n| n.status(text));
    }

    /// A reload begins.
    pub fn reloading(&self) {
        self.tell(Notifier::reloading);
    }

    /// A turn of the loop was completed.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.tell(Notifier::watchdog);
        }
    }

    /// The end begins.
    pub fn stopping(&self, status: &str) {
        self.tell(|n| n.stopping(status));
    }

    fn tell(&self, message: impl FnOnce(&Notifier) -> std::io::Result<()>) {
        let Some(notifier) = &self.notifier else { return };
        if let Err(error) = message(notifier) {
            tracing::debug!("the service manager could not be notified: {error}");
        }
    }
}
