//! What several test files share: a booted Debian, a stand-in for the provider's servers, the real CLIs.
//!
//! Nothing here reads or writes a real account. Each test file uses a part of it only.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]

pub mod alone;
pub mod bus;
pub mod cache;
pub mod claude;
pub mod cli_host;
pub mod codex;
pub mod container;
pub mod faults;
pub mod host;
pub mod kills;
pub mod login_bench;
pub mod looks;
pub mod moves;
pub mod npm;
pub mod nspawn;
pub mod on_terminal;
pub mod openclaw;
pub mod private_manager;
pub mod provider;
pub mod remote;
pub mod run;
pub mod screen;
pub mod strace;
pub mod world;
