//! Our name on the user's bus: `org.tokensink.Daemon1`. The task here speaks D-Bus and decides nothing;
//! what is asked goes to the daemon's loop, what the loop publishes goes to whoever listens. The interface
//! is `packaging/dbus/org.tokensink.Daemon1.xml`, which is also what introspection answers.
//!
//! Calls are dispatched by hand: zbus's object server would be a second table of what that file says.
//! A bus is for one user; others cannot connect to it. Its callers are not trusted all the same.

pub mod calls;
mod session;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::base::code::Finding;
use crate::base::fingerprint::Fingerprint;
use crate::base::id::LoginId;
use crate::systemd::bus::{self, BusAddresses};

/// The name on the bus.
pub const NAME: &str = "org.tokensink.Daemon1";
/// The one object.
pub const PATH: &str = "/org/tokensink/Daemon1";
/// The interface, as it is installed.
pub const INTERFACE_XML: &str = include_str!("../../packaging/dbus/org.tokensink.Daemon1.xml");

/// The least time between two attempts to connect.
const AGAIN: Duration = Duration::from_secs(2);

/// What the daemon's loop is asked, or told.
#[derive(Debug)]
pub enum Asked {
    /// Make a pass.
    Sync(oneshot::Sender<Answer<Synced>>),
    /// Refresh a login.
    Refresh {
        /// Which.
        login: String,
        /// Although it is not due.
        is_forced: bool,
        /// Who asked.
        reply: oneshot::Sender<Answer<Refreshed>>,
    },
    /// The report of `status --json`.
    Status(oneshot::Sender<Answer<String>>),
    /// Somebody else has our name, or has no longer.
    NameTaken(bool),
}

/// What a call came to.
pub type Answer<T> = Result<T, Refusal>;

/// How a refresh ended: the outcome as a stable word, and a sentence.
pub type Refreshed = (String, String);

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Targets that were written.
    pub written: u32,
    /// Targets that could not be written.
    pub failed: u32,
    /// Open findings, notices left out.
    pub findings: u32,
}

/// Why a call was refused, as a stable name and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no login of that id.
    UnknownLogin,
    /// Too much is asked already.
    Busy,
    /// The pass, or our own state, failed; the journal says why.
    Failed,
    /// The daemon stops.
    Stopping,
    /// The arguments are not those of the method.
    InvalidArgs,
    /// There is no such method.
    UnknownMethod,
    /// There is no such object.
    UnknownObject,
    /// There is no such interface.
    UnknownInterface,
    /// There is no such property.
    UnknownProperty,
    /// Nothing can be set.
    ReadOnly,
}

impl Refusal {
    /// The name of the D-Bus error.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownLogin => "org.tokensink.Error.UnknownLogin",
            Self::Busy => "org.tokensink.Error.Busy",
            Self::Failed => "org.tokensink.Error.Failed",
            Self::Stopping => "org.tokensink.Error.Stopping",
            Self::InvalidArgs => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::UnknownMethod => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::UnknownObject => "org.freedesktop.DBus.Error.UnknownObject",
            Self::UnknownInterface => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::UnknownProperty => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::ReadOnly => "org.freedesktop.DBus.Error.PropertyReadOnly",
        }
    }

    /// A sentence that repeats nothing of the caller's.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::UnknownLogin => "there is no login of that id",
            Self::Busy => "too many calls wait for their answer",
            Self::Failed => "it could not be done; the journal of tokensink.service says why",
            Self::Stopping => "the daemon stops",
            Self::InvalidArgs => "the arguments are not those of the method",
            Self::UnknownMethod => "there is no such method",
            Self::UnknownObject => "there is no such object",
            Self::UnknownInterface => "there is no such interface",
            Self::UnknownProperty => "there is no such property",
            Self::ReadOnly => "no property can be set",
        }
    }
}

/// What can be read at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The version of the program.
    pub version: &'static str,
    /// The worst state of all logins.
    pub overall: &'static str,
    /// One line, as in `systemctl status`.
    pub headline: String,
    /// Open findings, notices left out.
    pub findings: u32,
}

/// What a turn of the loop brought.
#[derive(Debug, Default)]
pub struct News {
    /// How things are now.
    pub properties: Properties,
    /// New generations.
    pub rotated: Vec<(LoginId, Fingerprint)>,
    /// Findings that are new.
    pub raised: Vec<Finding>,
    /// Findings that are gone.
    pub cleared: Vec<Finding>,
}

/// Serves whoever calls, until the loop drops its end of `news`. Without a bus, and after one ended,
/// another attempt is made when a turn brings news: there is no event for the coming of a bus.
pub async fn serve(addresses: BusAddresses, asked: mpsc::Sender<Asked>, mut news: mpsc::Receiver<News>) {
    // Before the first turn there is nothing to be asked about.
    let Some(News { mut properties, .. }) = news.recv().await else { return };
    loop {
        let began = Instant::now();
        match bus::user_bus(&addresses).await {
            Ok(connection) => {
                match session::hold(&connection, &mut properties, &asked, &mut news).await {
                    session::Ended::Told => {
                        // Lets go of the name at once, and not when the last task ends.
                        let _ = connection.close().await;
                        return;
                    }
                    session::Ended::Lost(why) => {
                        tracing::debug!("the bus is gone: {why}");
                        // Where there is no bus, nobody has the name. The loop may be gone, see below.
                        let _ = asked.send(Asked::NameTaken(false)).await;
                    }
                }
            }
            Err(error) => tracing::debug!("no bus to be called on: {error}"),
        }
        loop {
            match news.recv().await {
                None => return,
                Some(latest) => properties = latest.properties,
            }
            if began.elapsed() >= AGAIN {
                break;
            }
        }
    }
}
