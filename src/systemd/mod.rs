//! The service manager, as a client (restart a unit over D-Bus) and as the one who supervises us
//! (sd-notify).
//!
//! Nothing here decides *whether* a unit is restarted, retries, logs, or reads the environment or
//! the clock: callers pass addresses and deadlines in and get an outcome back. Seen to work with
//! systemd 252 (Debian 12), D-Bus interface `org.freedesktop.systemd1`.

pub mod bus;
pub mod enable;
pub mod job;
pub mod login1;
pub mod look;
pub mod notify;
pub mod outcome;
mod private;
pub mod proxy;
pub mod transient;
