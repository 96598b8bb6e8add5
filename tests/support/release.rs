//! The release program beside this test's own build, for tests that measure it.

use std::path::PathBuf;

/// Where `make build` puts it.
pub fn program() -> PathBuf {
    // target/<profile>/deps/TEST-…
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().nth(3).unwrap().join("release/tokensink");
    assert!(program.exists(), "{} is missing: make build", program.display());
    program
}
