//! A gateway that says 401 in the real journal, heard by the sandboxed daemon of an ordinary user.

use super::support::claude;
use super::support::nspawn::BootedDebian;
use super::support::provider::Pair;
use super::support::world::{self, install};
use super::{RELEASE, SOON, assert_no_canary, wait_for_delivery};

/// A gateway that says what it is told through a pipe.
const UNIT: &str = "[Service]\nExecStartPre=/bin/sh %h/gateway-start\n\
    ExecStart=/bin/sh -c 'while read -r line; do echo \"$line\"; done 0<>%h/says'\n\
    [Install]\nWantedBy=default.target\n";

#[test]
fn a_401_in_the_journal_of_a_user_unit_is_heard_in_the_sandbox() {
    let debian = BootedDebian::start(RELEASE);
    install(&debian);
    let pair = Pair::invent("claude");
    debian.exec_user("mkfifo says").ok();
    world::furnish(&debian, &claude::document(&pair, claude::in_seconds(3600)).to_string());
    debian.write_user("/home/alice/.config/systemd/user/openclaw-gateway.service", UNIT);
    let configuration = "/home/alice/.config/tokensink/tokensink.toml";
    let text = debian.read_user(configuration).unwrap().replace(
        "unit = \"openclaw-gateway.service\"",
        "unit = \"openclaw-gateway.service\"\nunauthorized = \"HTTP 401|authentication_error\"",
    );
    debian.write_user(configuration, &text);
    debian.exec_user("systemctl --user daemon-reload; systemctl --user restart openclaw-gateway").ok();
    debian.exec_user("systemctl --user enable --now tokensink").ok();
    wait_for_delivery(&debian, &pair.access);
    let starts = world::gateway_starts(&debian).len();
    let heard = || {
        let state = debian.read_user("/home/alice/.local/state/tokensink/state.json").unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        state["gateways"]["openclaw"]["refusals"]["count"].as_u64().unwrap_or(0)
    };
    debian.wait_until("journalctl listens", SOON, || {
        debian.exec_user("pgrep -u alice -x journalctl").code == Some(0)
    });
    debian.exec_user("echo 'all is well: 200' > says").ok();
    assert_eq!(heard(), 0);
    debian.wait_until("it is heard", SOON, || {
        debian.exec_user("echo 'provider answered HTTP 401, authentication_error' > says").ok();
        heard() > 0
    });
    // It was made to follow by us: a restart would not change anything, and is not made.
    debian.wait_until("it is heard again", SOON, || {
        debian.exec_user("echo 'HTTP 401' > says").ok();
        heard() > 3
    });
    assert_eq!(world::gateway_starts(&debian).len(), starts);
    the_doctor_sees_a_host_that_is_well(&debian);
    debian.exec_user("systemctl --user stop tokensink").ok();
    assert_eq!(debian.exec_user("pgrep -u alice -x journalctl").code, Some(1), "it ends with the daemon");
    assert_eq!(debian.exec_user("systemctl --user show -P Result tokensink").ok(), "success");
    assert_no_canary(&debian, &[pair]);
}

/// What only a booted host shows of itself: its managers, lingering, the journal, the time.
fn the_doctor_sees_a_host_that_is_well(debian: &BootedDebian) {
    let examined = || -> serde_json::Value {
        serde_json::from_str(debian.exec_user("tokensink doctor --json --network").ok()).unwrap()
    };
    let report = examined();
    let has = |report: &serde_json::Value, code: &str, subject: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().any(|finding| finding["code"] == code && finding["subject"] == subject)
    };
    for check in [
        "the user's service manager",
        "the daemon's unit",
        "lingering",
        "the version that runs",
        "the gateways' logs",
    ] {
        let checks = report["checks"].as_array().unwrap();
        let made = checks.iter().find(|made| made["check"] == check).unwrap();
        assert_eq!(made["found"], 0, "{check}: {report:#}");
    }
    let is_kept = debian.exec_user("timedatectl show -p NTPSynchronized --value").ok() == "yes";
    assert_eq!(has(&report, "CLOCK_SUSPECT", "time server"), !is_kept, "{report:#}");
    debian.exec_user("systemctl --user disable tokensink").ok();
    assert!(has(&examined(), "UNIT_NOT_ENABLED", "tokensink.service"));
}
