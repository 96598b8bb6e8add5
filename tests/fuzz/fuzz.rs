//! The fuzzer's side of `tests/corpus`: one binary for all targets, each in a process of its own. libFuzzer
//! has the entry point; `FUZZ_TARGET` says which target, and `list` prints them with their folders of seeds.
#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a property that does not hold is a panic"
)]

use std::sync::OnceLock;

#[path = "../corpus/properties/mod.rs"]
mod properties;

use properties::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn choose() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if wanted == "list" {
        for target in &TARGETS {
            println!("{} {}", target.name, target.golden.join(" "));
        }
        std::process::exit(0);
    }
    let found = TARGETS.iter().find(|target| target.name == wanted);
    let _ = TARGET.set(found.unwrap_or_else(|| panic!("FUZZ_TARGET={wanted} is no target")));
}

libfuzzer_sys::fuzz_target!(init: choose(), |input: &[u8]| {
    (TARGET.get().unwrap().holds)(input);
});
