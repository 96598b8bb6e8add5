//! What a unit's processes are given, for who wants to know why one of them uses something else than it
//! should. Reads only.
//!
//! The manager hands every client the values of `Environment=` lines; they are wiped here as soon as the
//! caller has picked what it asked for. Facts: systemd 252 and 257.

use zbus::{Connection, OwnedVariant, Variant};
use zeroize::Zeroizing;

use super::bus::{self, BusAddresses, BusError, Scope, call, from_zbus};
use super::job::ServiceManager;
use super::proxy::{MANAGER_INTERFACE, MANAGER_PATH, Properties, SERVICE};

const PROPERTIES: Option<&str> = Some("org.freedesktop.DBus.Properties");

/// What a service's processes are given.
#[derive(Debug, Clone, Default)]
pub struct ServiceLook {
    /// The assignments of `Environment=` lines, wiped on drop.
    pub assignments: Zeroizing<Vec<String>>,
    /// The files of `EnvironmentFile=` lines, in their order; patterns are not expanded.
    pub files: Vec<String>,
    /// What `UnsetEnvironment=` takes away at the end: names, or assignments.
    pub unset: Vec<String>,
    /// The unit file and its drop-ins.
    pub sources: Vec<String>,
    /// Its main process; `None` when it has none.
    pub main_pid: Option<u32>,
}

impl ServiceManager {
    /// What the processes of a service are given, whether it runs or not.
    ///
    /// # Errors
    /// [`BusError`]; a unit that does not exist is given nothing and is no error.
    pub async fn service_look(&self, name: &str) -> Result<ServiceLook, BusError> {
        let path = call("LoadUnit", self.manager.load_unit(name)).await?;
        let mut properties = Properties::new();
        for interface in ["org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"] {
            let reply = self.connection.call_method(Some(SERVICE), &path, PROPERTIES, "GetAll", &interface);
            let reply = call("GetAll", reply).await?;
            properties.extend(reply.body().deserialize::<Properties>().map_err(|error| from_zbus(&error))?);
        }
        let of = |name: &str| properties.get(name).map_or_else(Vec::new, |value| texts(value));
        Ok(ServiceLook {
            assignments: Zeroizing::new(of("Environment")),
            files: of("EnvironmentFiles"),
            unset: of("UnsetEnvironment"),
            sources: [of("FragmentPath"), of("DropInPaths")].concat(),
            main_pid: properties
                .get("MainPID")
                .and_then(|value| u32::try_from(value).ok())
                .filter(|pid| *pid != 0),
        })
    }

    /// The assignments that the manager gives every unit, wiped on drop.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn environment(&self) -> Result<Zeroizing<Vec<String>>, BusError> {
        let manager = (SERVICE, MANAGER_PATH, MANAGER_INTERFACE);
        let value = property(&self.connection, manager, "Environment").await?;
        Ok(Zeroizing::new(texts(&value)))
    }
}

/// The texts that are not empty in a text, in an array of them, or in the first places of an array of structures.
fn texts(value: &Variant<'_>) -> Vec<String> {
    match value {
        Variant::Str(text) if !text.is_empty() => vec![text.to_string()],
        Variant::Array(values) => values.iter().flat_map(texts).collect(),
        Variant::Structure(fields) => fields.fields().first().map_or_else(Vec::new, texts),
        _ => Vec::new(),
    }
}

/// Whether a time server keeps the system's clock right, as systemd-timedated says; `None` where nobody
/// can be asked.
pub async fn is_clock_synchronized(addresses: &BusAddresses) -> Option<bool> {
    const TIMEDATE: &str = "org.freedesktop.timedate1";
    let connection = bus::connect(Scope::System, addresses).await.ok()?.connection;
    let service = (TIMEDATE, "/org/freedesktop/timedate1", TIMEDATE);
    let value = property(&connection, service, "NTPSynchronized").await.ok()?;
    bool::try_from(&*value).ok()
}

/// The version that a daemon of ours on the user's bus says it is. The bus would start one that is not
/// there: to be asked only when it is known to run.
pub async fn version_of(addresses: &BusAddresses, name: &str, path: &str) -> Option<String> {
    let connection = bus::user_bus(addresses).await.ok()?;
    let value = property(&connection, (name, path, name), "Version").await.ok()?;
    texts(&value).pop()
}

/// One property of a service's object: bus name, path, interface.
async fn property(
    connection: &Connection,
    (name, path, interface): (&str, &str, &str),
    property: &str,
) -> Result<OwnedVariant, BusError> {
    let wanted = (interface, property);
    let reply = connection.call_method(Some(name), path, PROPERTIES, "Get", &wanted);
    let reply = call("Get", reply).await?;
    reply.body().deserialize().map_err(|error| from_zbus(&error))
}
