//! Leaves the tables for unwinding out of a program that aborts at a panic: nothing ever reads them, and
//! they are an eighth of it. A panic still says what and where. Debuggers unwind without them only where
//! there are frame pointers: build with `CARGO_PROFILE_RELEASE_PANIC=unwind` for that.
//!
//! The compiler's own switch (`-C force-unwind-tables=no`) cannot stand in a profile and leaves those of
//! the standard library. GNU ld and LLVM's lld both take the script.

#![expect(clippy::disallowed_methods, reason = "a build script is asked by its environment")]

use std::path::Path;

/// Added to the linker's own script.
const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;\n";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // `cfg(panic)` here is not that of the profile: the profile that aborts is known by its name.
    let aborts = variable("PROFILE") == "release" && variable("CARGO_PROFILE_RELEASE_PANIC") != "unwind";
    if !aborts || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return Ok(());
    }
    let path = Path::new(&variable("OUT_DIR")).join("no-unwind-tables.ld");
    std::fs::write(&path, SCRIPT)?;
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    Ok(())
}
