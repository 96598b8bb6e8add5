//! Thin, tested wrappers of the operating system. They use `base` only and know no provider,
//! sink or gateway: what a file means is for the callers to say.

pub mod account;
pub mod alarm;
pub mod append_log;
pub mod atomic_file;
mod char_device;
pub mod clock;
pub mod detached;
pub(crate) mod failpoint;
pub mod follow;
pub mod lock;
pub mod log;
pub mod mounts;
pub mod paths;
pub mod peer;
pub mod process;
pub mod processes;
pub mod pty;
pub mod random;
pub mod resident;
pub mod sealed;
pub mod search;
pub mod secret_line;
pub mod stdio;
pub mod tty;
pub mod watch;
pub mod witness;

#[cfg(test)]
mod testing;
