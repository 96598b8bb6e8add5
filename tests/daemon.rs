//! The real daemon on a temporary home: what it makes of every state of a source and of a sink,
//! how it starts, reloads and ends, and how it carries a change to a gateway.
//!
//! Needs root for mounts, other users and the private service manager, and the Debian packages
//! util-linux, systemd, dbus and dbus-user-session. Nothing here waits for luck: see `stage`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/bus.rs"]
mod bus;
#[path = "support/private_manager.rs"]
mod private_manager;
#[path = "support/stage.rs"]
mod stage;

#[path = "daemon/gateways.rs"]
mod gateways;
#[path = "daemon/hearing.rs"]
mod hearing;
#[path = "daemon/hostile.rs"]
mod hostile;
#[path = "daemon/idle.rs"]
mod idle;
#[path = "daemon/life.rs"]
mod life;
#[path = "daemon/metrics.rs"]
mod metrics;
#[path = "daemon/bus.rs"]
mod on_bus;
#[path = "daemon/places.rs"]
mod places;
#[path = "daemon/sinks.rs"]
mod sinks;
#[path = "daemon/sources.rs"]
mod sources;
