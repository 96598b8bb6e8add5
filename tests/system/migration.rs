//! A host on which a shell loop and a timer did this work: found with the files that they wrote, told, taken
//! over, switched off when the daemon runs, and switched on again by `setup --undo`.

use serde_json::Value;

use super::{RELEASE, SOON};
use crate::support::nspawn::BootedDebian;
use crate::support::world;

/// As people have it; where there is no inotifywait it sleeps.
const LOOP: &str = r#"#!/bin/sh
SOURCE="$HOME/.claude/.credentials.json"
OAUTH="$HOME/.openclaw/credentials/oauth.json"
ENV_FILE="$HOME/openclaw/.env"
copy() {
    token=$(sed -n 's/.*"accessToken":"\([^"]*\)".*/\1/p' "$SOURCE")
    printf '{"anthropic":{"access":"%s"}}' "$token" > "$OAUTH"
    sed -i "s|^ANTHROPIC_OAUTH_TOKEN=.*|ANTHROPIC_OAUTH_TOKEN=$token|" "$ENV_FILE"
}
while inotifywait -q -e close_write,moved_to "$HOME/.claude" 2>/dev/null || sleep 3600; do copy; done
"#;

const TRIGGER: &str = "#!/bin/sh\n# refresh before it expires\nexpires=$(cat ~/.claude/.credentials.json)\n\
    claude -p hi\n";

fn write(debian: &BootedDebian, name: &str, text: &str) {
    debian.write_user(&format!("/home/alice/{name}"), text);
}

fn state(debian: &BootedDebian, unit: &str) -> (String, String) {
    let ask = |what: &str| {
        debian.exec_user(&format!("systemctl --user {what} {unit} || true")).ok().trim().to_owned()
    };
    (ask("is-active"), ask("is-enabled"))
}

fn told(debian: &BootedDebian) -> Vec<String> {
    let report: Value = serde_json::from_str(debian.exec_user("tokensink doctor --json").ok()).unwrap();
    let found = report["findings"].as_array().unwrap().iter();
    let found = found.filter(|finding| finding["code"] == "SECOND_WRITER");
    found.map(|finding| finding["subject"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_shell_loop_and_a_timer_are_found_taken_over_switched_off_and_switched_on_again() {
    let debian = BootedDebian::start(RELEASE);
    world::install(&debian);
    let token = |n: u32| format!("sk-ant-oat01-migration-{n:04}-{}", "made-up-".repeat(9));
    let login = |n: u32| {
        let access = token(n);
        serde_json::json!({"claudeAiOauth": {"accessToken": access, "refreshToken": access.replace("oat01", "ort01"),
            "expiresAt": 4_100_000_000_000_u64 + u64::from(n), "scopes": ["user:inference"]}})
        .to_string()
    };
    debian
        .exec_user(
            "umask 077; mkdir -p .claude .openclaw/credentials .openclaw/agents/main/agent openclaw scripts",
        )
        .ok();
    write(&debian, ".claude/.credentials.json", &login(1));
    write(&debian, "openclaw/.env", "PORT=1\nANTHROPIC_OAUTH_TOKEN=\n");
    write(&debian, ".openclaw/credentials/oauth.json", "{}\n");
    write(&debian, ".openclaw/openclaw.json", r#"{"meta":{"lastTouchedVersion":"2026.2.9"}}"#);
    write(&debian, ".openclaw/agents/main/agent/auth-profiles.json", r#"{"version":1,"profiles":{}}"#);
    write(&debian, "scripts/sync-oauth-token.sh", LOOP);
    write(&debian, "scripts/trigger-claude-refresh.sh", TRIGGER);
    let unit = |script: &str| {
        format!("[Service]\nExecStart=/bin/sh %h/scripts/{script}\n[Install]\nWantedBy=default.target\n")
    };
    write(&debian, ".config/systemd/user/oauth-sync.service", &unit("sync-oauth-token.sh"));
    write(&debian, ".config/systemd/user/oauth-trigger.service", &unit("trigger-claude-refresh.sh"));
    let timer = "[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n";
    write(&debian, ".config/systemd/user/oauth-trigger.timer", timer);
    write(
        &debian,
        ".config/systemd/user/harmless.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=default.target\n",
    );
    debian
        .exec_user("systemctl --user daemon-reload && systemctl --user enable --now oauth-sync.service oauth-trigger.timer harmless.service")
        .ok();
    let on = ("active".to_owned(), "enabled".to_owned());
    let off = ("inactive".to_owned(), "disabled".to_owned());
    let units = ["oauth-sync.service", "oauth-trigger.timer"];
    assert_eq!(told(&debian), units);

    // Not without being told to; and what they wrote are sinks.
    let ran = debian.exec_user("tokensink setup --yes");
    for shown in [
        "before us oauth-sync.service (/home/alice/scripts/sync-oauth-token.sh)",
        "left      oauth-sync.service",
    ] {
        assert!(ran.ok().contains(shown), "{shown}: {ran}");
    }
    assert!(units.iter().all(|unit| state(&debian, unit) == on));
    let written = debian.read_user("/home/alice/.config/tokensink/tokensink.d/50-setup.toml").unwrap();
    for line in [
        "path = \"/home/alice/.openclaw/credentials/oauth.json\"\nrefresh = false",
        "path = \"/home/alice/openclaw/.env\"\nkey = \"ANTHROPIC_OAUTH_TOKEN\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }

    let ran = debian.exec_user("tokensink setup --yes --replace");
    assert!(ran.ok().contains("replaced  oauth-trigger.timer"), "{ran}");
    assert!(units.iter().all(|unit| state(&debian, unit) == off), "{ran}");
    assert_eq!(state(&debian, "harmless.service"), on);
    assert_eq!(told(&debian), [""; 0]);

    // The files go on being current, by the daemon now.
    world::rotate_by_rename(&debian, &login(2));
    let files = ["/home/alice/.openclaw/credentials/oauth.json", "/home/alice/openclaw/.env"];
    debian.wait_until("both files hold the token", SOON, || {
        files.iter().all(|file| debian.read_user(file).is_some_and(|text| text.contains(&token(2))))
    });

    let ran = debian.exec_user("tokensink setup --undo");
    assert!(ran.ok().contains("restored  oauth-sync.service"), "{ran}");
    assert!(units.iter().all(|unit| state(&debian, unit) == on), "{ran}");
    assert_eq!(state(&debian, "tokensink.service"), off);
    assert!(debian.read_user("/home/alice/.local/state/tokensink/setup.json").is_none());
}
