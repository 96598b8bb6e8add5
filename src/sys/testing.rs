//! What the tests of this layer share: running one test of this binary again as another process,
//! in mounts of its own or to be killed on the way. Compiled for tests only.

#![expect(clippy::disallowed_methods, reason = "tests hand each other the environment")]

use std::path::Path;
use std::process::{Command, ExitStatus};

/// Set in the second process.
const INNER: &str = "TOKENSINK_TEST_INNER";

/// Argument that the outer test handed to the inner one; `None` in the outer one.
pub fn inner() -> Option<String> {
    std::env::var(INNER).ok()
}

/// Runs the test `name` (its full path) again in another process, killed at `failpoint`.
pub fn run_until(name: &str, argument: &Path, failpoint: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(INNER, argument).env("TOKENSINK_FAILPOINT", failpoint);
    command.output().unwrap().status
}

/// Runs the test `name` again in a mount namespace of its own and asserts that it passes.
pub fn run_in_own_mounts(name: &str, argument: &Path) {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = command.env(INNER, argument).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
}

/// Runs the test `name` again as root of a user namespace of its own and asserts that it passes.
pub fn run_in_own_user_namespace(name: &str) {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = command.env(INNER, "").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
}
