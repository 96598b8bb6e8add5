//! The stand-in for a provider's servers as a program; see `tests/support/provider`.
//!
//! `provider-stand-in DIR` writes `DIR/ca.pem`, says its port in one line of JSON and obeys its standard input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    dead_code,
    unused_imports,
    reason = "a tool of the tests, which fails by panicking"
)]

#[path = "../provider/mod.rs"]
mod provider;

fn main() {
    let dir = std::env::args_os().nth(1).expect("usage: provider-stand-in DIR");
    provider::control::serve(std::path::Path::new(&dir));
}
