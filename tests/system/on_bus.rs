//! The daemon on a real user's bus, asked by `busctl`, and started by a call.

use super::SOON;
use super::support::nspawn::BootedDebian;

const CALL: &str =
    "busctl --user --timeout=60 call org.tokensink.Daemon1 /org/tokensink/Daemon1 org.tokensink.Daemon1";

/// Records what is said on the bus by or to the daemon.
pub fn record(debian: &BootedDebian) {
    let monitor = "exec busctl --user monitor org.tokensink.Daemon1 >recording 2>&1";
    debian
        .exec_user(&format!(
            "systemd-run --user --unit=recorder --working-directory=/home/alice sh -c '{monitor}'"
        ))
        .ok();
    debian.wait_until("the recording begins", SOON, || {
        debian.read_user("recording").is_some_and(|text| text.contains("Monitoring"))
    });
}

/// Every part of the interface, in the words of `busctl`.
#[track_caller]
pub fn assert_it_answers(debian: &BootedDebian) {
    let shown = debian.exec_user(
        "busctl --user introspect org.tokensink.Daemon1 /org/tokensink/Daemon1 org.tokensink.Daemon1",
    );
    let lines: Vec<Vec<&str>> = shown.ok().lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        [".Refresh", "method", "sb", "ss"],
        [".Status", "method", "-", "s"],
        [".Sync", "method", "-", "uuu"],
        [".Findings", "property", "u", "0"],
        [".Overall", "property", "s", "\"ok\""],
        [".Version", "property", "s", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")],
        [".FindingCleared", "signal", "ss", "-"],
        [".FindingRaised", "signal", "sssss", "-"],
        [".Rotated", "signal", "ss", "-"],
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{expected:?}: {shown}");
    }
    assert!(
        debian.exec_user("busctl --user tree org.tokensink.Daemon1").ok().contains("/org/tokensink/Daemon1")
    );
    assert_eq!(debian.exec_user(&format!("{CALL} Sync")).ok().trim(), "uuu 0 0 0");
    let refused = debian.exec_user(&format!("{CALL} Refresh sb nobody true"));
    assert!(refused.code != Some(0) && refused.both().contains("there is no login of that id"), "{refused}");
    assert_eq!(
        debian.exec_user(&format!("{CALL} Refresh sb claude false")).ok().split('"').nth(1),
        Some("blocked")
    );
    debian.wait_until("the rotations were told", SOON, || {
        debian.read_user("recording").is_some_and(|text| text.matches("Member=Rotated").count() >= 2)
    });
    // Nobody else comes so far.
    let bus = "unix:path=/run/user/$(id -u alice)/bus";
    let other = debian.exec_root(&format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups busctl --address={bus} list"
    ));
    assert!(other.code != Some(0), "{other}");

    // A call starts the daemon.
    debian.exec_user("systemctl --user stop tokensink").ok();
    assert_eq!(debian.exec_user("systemctl --user is-active tokensink").stdout, "inactive\n");
    assert!(debian.exec_user(&format!("{CALL} Status")).ok().contains("format_version"));
    assert_eq!(debian.exec_user("systemctl --user is-active tokensink").ok(), "active");
    debian
        .exec_user(
            "systemctl --user stop recorder; test -s /usr/share/dbus-1/interfaces/org.tokensink.Daemon1.xml",
        )
        .ok();
}
