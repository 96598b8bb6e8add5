//! tokensink keeps the OAuth logins of AI CLIs alive and every consumer of them supplied.
//!
//! The tree is the architecture: layer 0 `base` (leaf types), 1 `format` (bytes and documents),
//! 2 `core` (decisions), 3 `sys`, `systemd`, `dbus` and `oauth` (thin wrappers of the system), 4 `config`,
//! `providers`, `sinks`, `refresher`, `login`, `gateway`, `alerts` (adapters that do not know each other), 5 `daemon`
//! (the shell that joins them), 6 `cli`. A file uses lower layers only; `tests/architecture.rs` proves it,
//! and `docs/architecture.md` says what each layer may use.

pub mod alerts;
pub mod base;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod dbus;
pub mod format;
pub mod gateway;
pub mod login;
pub mod oauth;
pub mod providers;
pub mod refresher;
pub mod sinks;
pub mod sys;
pub mod systemd;
