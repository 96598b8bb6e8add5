//! Carrying out a refresh without ever losing a login. The order is the design:
//! 1. our own lock on the login, so that the daemon and a command never both spend;
//! 2. the provider CLI's own locks, with heartbeat; what an earlier run left is resolved under them;
//! 3. the source is read again: what changed is adopted, nothing is sent;
//! 4. the store is proven writable, and the intent is recorded, durably;
//! 5. the request is sent, once, by us or by the CLI in a scratch directory;
//! 6. the answer is recorded, durably, before anything else;
//! 7. the source is patched by compare-and-swap, durably; the intent and the locks go in reverse.
//!
//! I1: from the moment its answer is recorded, the newest refresh token is in the source or in the
//!     intent. I2: what is not known to be unsent is not sent again: a crash between 4 and 6 leaves
//!     "unknown", which a person may resolve by force. A crash after 6 is completed by the next run.

pub mod claude;
pub mod cli_run;
pub mod codex;
pub mod direct;
pub mod exchange;
pub mod generic;
pub mod intent;
pub mod official;
pub mod proof;
pub mod server_time;
pub mod side;
