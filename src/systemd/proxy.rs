//! The few methods and properties of `org.freedesktop.systemd1` that are used, by hand.
//!
//! No property is cached: a cached state is the state of some time ago, and keeping a cache up to
//! date costs a wake-up per change of any watched unit. Names, signatures and the list of job
//! results are those of org.freedesktop.systemd1(5), systemd 252.

#![expect(missing_docs, reason = "the macro writes items of its own; each method is the D-Bus one it names")]

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// The bus name of the service manager.
pub const SERVICE: &str = "org.freedesktop.systemd1";
/// The object path of the service manager.
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The interface of the service manager.
pub const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// An auxiliary unit of `StartTransientUnit`: its name and its properties. We never send one.
pub type AuxiliaryUnit<'a> = (&'a str, Vec<(&'a str, Variant<'a>)>);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn unref_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[AuxiliaryUnit<'_>],
    ) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1",
    assume_defaults = false
)]
pub trait Service {
    #[zbus(property(emits_changed_signal = "false"))]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"), name = "NRestarts")]
    fn n_restarts(&self) -> zbus::Result<u32>;
    #[zbus(property(emits_changed_signal = "false"), name = "MainPID")]
    fn main_pid(&self) -> zbus::Result<u32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn exec_main_status(&self) -> zbus::Result<i32>;
}

/// All properties of one interface of one unit, in one answer: a state and the invocation that
/// belongs to it, never the state of one moment with the invocation of the next.
pub type Properties = std::collections::HashMap<String, OwnedVariant>;
