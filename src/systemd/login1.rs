//! The login manager: whether a user's own service manager runs without a session. Its state is read
//! from its file, its change is asked for over D-Bus; polkit may refuse that, and nobody is made to
//! answer it (no interactive authorisation).
//!
//! Facts: org.freedesktop.login1(5) and loginctl(1) of systemd 252 and 257.

use std::path::Path;

use super::bus::{self, BusAddresses, BusError, Scope, call};

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
/// A file for each user who lingers.
const LINGERING: &str = "/var/lib/systemd/linger";

/// Whether a user's manager is started with the system and outlives the last session.
#[must_use]
pub fn lingers(user: &str) -> bool {
    !user.is_empty() && Path::new(LINGERING).join(user).exists()
}

/// Makes a user linger, or no longer. Their manager is started by the one, and ends with their last
/// session after the other.
///
/// # Errors
/// [`BusError`]; a refusal by polkit, or the lack of one to ask, is [`BusError::Refused`].
pub async fn set_linger(addresses: &BusAddresses, uid: u32, lingers: bool) -> Result<(), BusError> {
    let connection = bus::public_bus(Scope::System, addresses).await?;
    let body = (uid, lingers, false);
    let asked = connection.call_method(Some(SERVICE), PATH, Some(MANAGER), "SetUserLinger", &body);
    call("SetUserLinger", asked).await.map(drop)
}
