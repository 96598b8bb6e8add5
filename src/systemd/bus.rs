//! Finding a way to the service manager, and asking it with a deadline.
//!
//! Addresses come in as values; the environment is not read here. For a user's manager the ways
//! are, in this order: the session bus address that was passed in, `RUNTIME_DIR/bus`, and the
//! manager's own socket `RUNTIME_DIR/systemd/private`, which speaks D-Bus without a bus daemon.
//! A way counts only when a service manager answers at its end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use zbus::DBusError;
// NOTE: zbus re-exports the trait for its own macros; it spares us a dependency for one method.
use zbus::export::futures_core::Stream;

use super::outcome::{RestartOutcome, bounded};
use super::private;
use super::proxy::{MANAGER_PATH, SERVICE};

/// How long one call may take. A healthy manager answers in under a millisecond; the bus may have
/// to be started by its socket first.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// How long a bus without a service manager is given to get one. systemd 252 joins a bus it has
/// just started within milliseconds; on a bus of its own (`dbus-run-session`) it never does.
const MANAGER_JOINS: Duration = Duration::from_millis(500);

/// Messages that may wait to be looked at, on a connection on which anybody of the user may call.
const MOST_QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's own.
    User,
    /// The system's.
    System,
}

/// Where a bus may be, as the environment told the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BusAddresses {
    /// `$DBUS_SESSION_BUS_ADDRESS`.
    pub session: Option<String>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$DBUS_SYSTEM_BUS_ADDRESS`; `None` means the address systemd hosts use.
    pub system: Option<String>,
}

/// A way that was tried, and why it led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The D-Bus address.
    pub address: String,
    /// Why it led nowhere, bounded.
    pub reason: String,
}

/// Why the service manager could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusError {
    /// Neither an address nor a runtime directory was given.
    NoAddress,
    /// No way led to a service manager.
    Unreachable {
        /// Every way that was tried.
        attempts: Vec<Attempt>,
    },
    /// The connection ended, or an answer was no D-Bus.
    Lost {
        /// Why, bounded.
        reason: String,
    },
    /// No answer within [`CALL_DEADLINE`].
    Deadline {
        /// What was asked.
        call: &'static str,
    },
    /// The answer was a D-Bus error.
    Refused {
        /// The name of the error.
        error_name: String,
    },
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no bus address and no runtime directory is known"),
            Self::Unreachable { attempts } => {
                f.write_str("no service manager answers")?;
                for (i, attempt) in attempts.iter().enumerate() {
                    let lead = if i == 0 { ": " } else { "; " };
                    write!(f, "{lead}{}: {}", attempt.address, attempt.reason)?;
                }
                Ok(())
            }
            Self::Lost { reason } => write!(f, "connection lost: {reason}"),
            Self::Deadline { call } => write!(f, "no answer to {call} within {} s", CALL_DEADLINE.as_secs()),
            Self::Refused { error_name } => write!(f, "refused with {error_name}"),
        }
    }
}

impl std::error::Error for BusError {}

impl From<BusError> for RestartOutcome {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Refused { error_name } => super::outcome::from_error_name(&error_name),
            other => Self::BusUnavailable { reason: bounded(&other.to_string()) },
        }
    }
}

/// One way to a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    address: String,
    /// The socket on which the manager itself is the peer, without a bus daemon between.
    private: Option<PathBuf>,
}

/// A connection at whose end a service manager answers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: zbus::Connection,
    /// The manager's unique name on the bus; `None` on its private socket.
    pub(super) owner: Option<String>,
    pub(super) address: String,
}

/// Tries every way in order and returns the first at whose end a service manager answers.
pub(super) async fn connect(scope: Scope, addresses: &BusAddresses) -> Result<Link, BusError> {
    let ways = ways(scope, addresses);
    if ways.is_empty() {
        return Err(BusError::NoAddress);
    }
    let mut attempts = Vec::new();
    for way in ways {
        match reach(&way).await {
            Ok((connection, owner)) => return Ok(Link { connection, owner, address: way.address }),
            Err(error) => {
                attempts.push(Attempt { address: bounded(&way.address), reason: error.to_string() });
            }
        }
    }
    Err(BusError::Unreachable { attempts })
}

/// Connects to the bus of the user, whoever is on it.
///
/// # Errors
/// As the ways to it failed.
pub async fn user_bus(addresses: &BusAddresses) -> Result<zbus::Connection, BusError> {
    public_bus(Scope::User, addresses).await
}

/// Connects to the bus of the user or of the system, whoever is on it.
pub(super) async fn public_bus(scope: Scope, addresses: &BusAddresses) -> Result<zbus::Connection, BusError> {
    let mut failed = BusError::NoAddress;
    for way in ways(scope, addresses).into_iter().filter(|way| way.private.is_none()) {
        let builder = zbus::connection::Builder::address(way.address.as_str()).max_queued(MOST_QUEUED);
        match call("connect", builder.build()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn reach(way: &Way) -> Result<(zbus::Connection, Option<String>), BusError> {
    if let Some(path) = &way.private {
        let connection = call("connect", private::connect(path)).await?;
        let ping = connection.call_method(
            Some(SERVICE),
            MANAGER_PATH,
            Some("org.freedesktop.DBus.Peer"),
            "Ping",
            &(),
        );
        call("Ping", ping).await?;
        Ok((connection, None))
    } else {
        let builder = zbus::connection::Builder::address(way.address.as_str());
        let connection = call("connect", builder.build()).await?;
        let owner = match name_owner(&connection).await {
            Err(BusError::Refused { error_name }) if error_name == NO_OWNER => {
                awaited_owner(&connection).await?
            }
            other => other?,
        };
        Ok((connection, Some(owner)))
    }
}

/// Waits for the manager to come to a bus that was only just started by its socket, perhaps by us.
async fn awaited_owner(connection: &zbus::Connection) -> Result<String, BusError> {
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, SERVICE)
        .build()
        .map_err(|error| from_zbus(&error))?;
    let stream = zbus::MessageStream::for_match_rule(rule, connection, None);
    let mut stream = call("AddMatch", stream).await?;
    // It may have come before the match was there.
    match name_owner(connection).await {
        Err(BusError::Refused { error_name }) if error_name == NO_OWNER => {}
        other => return other,
    }
    let changed = poll_fn(|context| Pin::new(&mut stream).poll_next(context));
    // Whatever it was that came, or the lack of it: the answer of the bus counts.
    drop(tokio::time::timeout(MANAGER_JOINS, changed).await);
    name_owner(connection).await
}

/// The unique name of the service manager on a bus.
pub(super) async fn name_owner(connection: &zbus::Connection) -> Result<String, BusError> {
    let reply = connection.call_method(
        Some("org.freedesktop.DBus"),
        "/org/freedesktop/DBus",
        Some("org.freedesktop.DBus"),
        "GetNameOwner",
        &SERVICE,
    );
    let reply = call("GetNameOwner", reply).await?;
    reply.body().deserialize::<String>().map_err(|error| from_zbus(&error))
}

fn ways(scope: Scope, addresses: &BusAddresses) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut add = |address: String, private: Option<PathBuf>| {
        if !address.is_empty() && !ways.iter().any(|way: &Way| way.address == address) {
            ways.push(Way { address, private });
        }
    };
    let listed = |list: &Option<String>| {
        list.iter().flat_map(|list| list.split(';')).map(str::to_owned).collect::<Vec<_>>()
    };
    match scope {
        Scope::User => {
            listed(&addresses.session).into_iter().for_each(|address| add(address, None));
            if let Some(dir) = &addresses.runtime_dir {
                add(unix_address(&dir.join("bus")), None);
                let private = dir.join("systemd/private");
                add(unix_address(&private), Some(private));
            }
        }
        Scope::System => {
            let given = listed(&addresses.system);
            if given.is_empty() {
                add("unix:path=/run/dbus/system_bus_socket".to_owned(), None);
                // Only root gets through; the kernel refuses everyone else at once.
                let private = PathBuf::from("/run/systemd/private");
                add(unix_address(&private), Some(private));
            }
            given.into_iter().for_each(|address| add(address, None));
        }
    }
    ways
}

/// The addresses at which the user's session bus may be, in the order in which they are to be tried.
#[must_use]
pub fn session_addresses(addresses: &BusAddresses) -> Vec<String> {
    let public = ways(Scope::User, addresses).into_iter().filter(|way| way.private.is_none());
    public.map(|way| way.address).collect()
}

/// The D-Bus address of a socket file; bytes that an address may not hold are escaped.
fn unix_address(path: &Path) -> String {
    let mut address = String::from("unix:path=");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'.' | b'*') {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02x}"));
        }
    }
    address
}

/// Awaits one call with [`CALL_DEADLINE`].
pub(super) async fn call<T>(
    name: &'static str,
    future: impl Future<Output = zbus::Result<T>>,
) -> Result<T, BusError> {
    match tokio::time::timeout(CALL_DEADLINE, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(from_zbus(&error)),
        Err(_elapsed) => Err(BusError::Deadline { call: name }),
    }
}

/// What a zbus error means: an answer with an error name, or no usable answer.
pub(super) fn from_zbus(error: &zbus::Error) -> BusError {
    match error {
        zbus::Error::MethodError(name, _text, _message) => {
            BusError::Refused { error_name: bounded(name.as_str()) }
        }
        // This variant also carries zbus's own trouble, which has no name of the sender's.
        zbus::Error::FDO(inner) => match &**inner {
            zbus::fdo::Error::ZBus(inner) => from_zbus(inner),
            named => BusError::Refused { error_name: bounded(named.name().as_str()) },
        },
        other => BusError::Lost { reason: bounded(&other.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> BusAddresses {
        BusAddresses {
            session: Some("unix:path=/a;unix:abstract=b".to_owned()),
            runtime_dir: Some(PathBuf::from("/run/user/7")),
            system: None,
        }
    }

    #[test]
    fn the_ways_to_a_users_manager_are_tried_in_the_documented_order() {
        let found: Vec<_> =
            ways(Scope::User, &addresses()).into_iter().map(|w| (w.address, w.private.is_some())).collect();
        assert_eq!(
            found,
            [
                ("unix:path=/a".to_owned(), false),
                ("unix:abstract=b".to_owned(), false),
                ("unix:path=/run/user/7/bus".to_owned(), false),
                ("unix:path=/run/user/7/systemd/private".to_owned(), true),
            ]
        );
    }

    #[test]
    fn an_address_named_twice_is_tried_once() {
        let mut given = addresses();
        given.session = Some("unix:path=/run/user/7/bus".to_owned());
        assert_eq!(ways(Scope::User, &given).len(), 2);
    }

    #[test]
    fn a_given_system_address_is_the_only_way() {
        let mut given = addresses();
        assert_eq!(ways(Scope::System, &given).len(), 2);
        given.system = Some("unix:path=/x".to_owned());
        let found = ways(Scope::System, &given);
        assert_eq!(found, [Way { address: "unix:path=/x".to_owned(), private: None }]);
    }

    #[test]
    fn bytes_that_an_address_may_not_hold_are_escaped() {
        assert_eq!(unix_address(Path::new("/run/a b;c,d=é")), "unix:path=/run/a%20b%3bc%2cd%3d%c3%a9");
    }

    #[tokio::test]
    async fn without_any_address_the_reason_is_said() {
        let error = connect(Scope::User, &BusAddresses::default()).await.unwrap_err();
        assert_eq!(error, BusError::NoAddress);
    }

    #[tokio::test]
    async fn every_way_that_failed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let given = BusAddresses { runtime_dir: Some(dir.path().to_owned()), ..BusAddresses::default() };
        let error = connect(Scope::User, &given).await.unwrap_err();
        let BusError::Unreachable { attempts } = &error else { panic!("{error:?}") };
        assert_eq!(attempts.len(), 2);
        assert!(attempts[1].address.ends_with("/systemd/private"), "{error}");
        assert!(matches!(RestartOutcome::from(error), RestartOutcome::BusUnavailable { .. }));
    }

    #[test]
    fn an_error_reply_is_told_by_its_name_and_its_text_is_dropped() {
        let denied = zbus::Error::FDO(Box::new(zbus::fdo::Error::AccessDenied("secret words".to_owned())));
        let error = from_zbus(&denied);
        assert_eq!(
            error,
            BusError::Refused { error_name: "org.freedesktop.DBus.Error.AccessDenied".to_owned() }
        );
        assert!(!error.to_string().contains("secret"));
    }
}
