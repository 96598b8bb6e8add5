//! A test in a network of its own, in which every port is free and nothing is to be reached. Needs root.

use std::process::Command;

use super::run::run;

/// Set in the process that is in there.
const MARK: &str = "TOKENSINK_TEST_ALONE";

/// Runs the body of the test of that name in a process with nothing but a loopback of its own.
#[track_caller]
pub fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().expect("this program is there"));
    let ran = run(command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, "1"), b"");
    assert!(ran.code == Some(0) && ran.stdout.contains("1 passed"), "{ran}");
}
