//! What the unit promises of restarts, by the real service manager.

use super::support::claude;
use super::support::nspawn::BootedDebian;
use super::support::provider::Pair;
use super::support::world::{self, SOURCE};
use super::{RELEASE, SOON};

const CONFIGURATION: &str = "/home/alice/.config/tokensink/tokensink.toml";

fn shown(debian: &BootedDebian, property: &str) -> String {
    debian.exec_user(&format!("systemctl --user show -P {property} tokensink")).ok().trim().to_owned()
}

#[test]
fn an_invalid_configuration_is_not_started_again_and_a_crash_loop_ends() {
    let debian = BootedDebian::start(RELEASE);
    world::install(&debian);
    debian.write_user(CONFIGURATION, "[daemon]\npoll = \"soon\"\n");
    assert_ne!(debian.exec_user("systemctl --user start tokensink").code, Some(0));
    let end = ["ActiveState", "SubState", "ExecMainStatus", "NRestarts"].map(|name| shown(&debian, name));
    assert_eq!(end, ["failed", "failed", "78", "0"], "no restart is waited for");

    let login = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n";
    debian.write_user(CONFIGURATION, login);
    let document = claude::document(&Pair::invent("claude"), claude::in_seconds(3600)).to_string();
    debian.write_user(SOURCE, &document);
    // As shipped but for the pause before a restart.
    let quick = "[Service]\nRestartSec=100ms\n";
    debian.write_user("/home/alice/.config/systemd/user/tokensink.service.d/quick.conf", quick);
    debian.exec_user("systemctl --user daemon-reload; systemctl --user reset-failed tokensink").ok();
    debian.exec_user("systemctl --user start tokensink").ok();
    let mut killed = 0;
    let mut last = String::new();
    debian.wait_until("the limit of starts is hit", 3 * SOON, || {
        // Of one moment.
        let both = debian.exec_user("systemctl --user show -p ActiveState -p InvocationID tokensink");
        let value = |name: &str| {
            let mut lines = both.ok().lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let (state, invocation) = (value("ActiveState"), value("InvocationID"));
        if state == "active" && invocation != last {
            let kill = "systemctl --user kill --kill-who=main --signal=KILL tokensink";
            if debian.exec_user(kill).code == Some(0) {
                (killed, last) = (killed + 1, invocation.to_owned());
            }
        }
        assert!(killed <= 5, "five starts in ten minutes are the limit");
        state == "failed"
    });
    assert_eq!(killed, 5, "the first start and four more");
    // A person, or the next boot, starts it again.
    debian.exec_user("systemctl --user reset-failed tokensink; systemctl --user start tokensink").ok();
    assert_eq!(shown(&debian, "ActiveState"), "active");
}
