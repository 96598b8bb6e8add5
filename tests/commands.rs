//! The commands that a person types, as processes: `sync`, `status`, `config`, and what they make
//! of every kind of sink, with and without a running daemon.
//!
//! Needs root, for files of other users, and strace. Nothing here waits for luck: see `stage`.

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
#![allow(clippy::duplicate_mod, reason = "the stage looks with eyes of its own")]

#[path = "support/stage.rs"]
mod stage;

#[path = "support/on_terminal.rs"]
mod on_terminal;

mod support;

#[path = "support/claw_door.rs"]
mod claw_door;

#[path = "commands/accounts.rs"]
mod accounts;
#[path = "commands/bad_input.rs"]
mod bad_input;
#[path = "commands/codex_profiles.rs"]
mod codex_profiles;
#[path = "commands/config.rs"]
mod config;
#[path = "commands/history.rs"]
mod history;
#[path = "commands/instances.rs"]
mod instances;
#[path = "commands/killed.rs"]
mod killed;
#[path = "commands/layouts.rs"]
mod layouts;
#[path = "commands/nvm.rs"]
mod nvm;
#[path = "commands/openclaw.rs"]
mod openclaw;
#[path = "commands/openclaw_rpc.rs"]
mod openclaw_rpc;
#[path = "commands/openclaw_store.rs"]
mod openclaw_store;
#[path = "commands/order.rs"]
mod order;
#[path = "commands/providers.rs"]
mod providers;
#[path = "commands/setup.rs"]
mod setup;
#[path = "commands/shapes.rs"]
mod shapes;
#[path = "commands/sinks.rs"]
mod sinks;
#[path = "commands/states.rs"]
mod states;
#[path = "commands/status.rs"]
mod status;
#[path = "commands/stores.rs"]
mod stores;
#[path = "commands/sync.rs"]
mod sync;
#[path = "commands/undo.rs"]
mod undo;
