//! What an OpenClaw user of early 2026 has at home: a state directory, a gateway unit, a tokensink configuration.
//!
//! The gateway is a stand-in: a user unit that records, at every start, its invocation and the token it found.

use std::path::Path;
use std::process::Command;

use super::nspawn::BootedDebian;
use super::run::{Ran, run};

/// The CLI's credential file.
pub const SOURCE: &str = "/home/alice/.claude/.credentials.json";
/// Every file that must hold the current access token, with the id of its sink.
pub const SINKS: [(&str, &str); 3] = [
    ("legacy", "/home/alice/.openclaw/credentials/oauth.json"),
    ("env", "/home/alice/openclaw/.env"),
    ("profiles", "/home/alice/.openclaw/agents/main/agent/auth-profiles.json"),
];
const STARTS: &str = "/home/alice/gateway-starts";

const CONFIGURATION: &str = r#"
[[login]]
id = "claude"
provider = "claude"
path = "~/.claude/.credentials.json"
[login.refresh]
mode = "off"

[[sink]]
id = "legacy"
login = "claude"
kind = "oauth-json"
path = "~/.openclaw/credentials/oauth.json"
refresh = true

[[sink]]
id = "env"
login = "claude"
kind = "env-file"
path = "~/openclaw/.env"
key = "ANTHROPIC_OAUTH_TOKEN"

[[sink]]
id = "profiles"
login = "claude"
kind = "auth-profiles"
state_dir = "~/.openclaw"
agents = "all"
profile = "anthropic:default"

[[gateway]]
id = "openclaw"
sinks = ["legacy", "env", "profiles"]
unit = "openclaw-gateway.service"
scope = "user"
apply = "restart"
min_interval = "1s"
"#;

const GATEWAY_UNIT: &str = "[Unit]
Description=Stand-in for the OpenClaw gateway
[Service]
ExecStartPre=/bin/sh %h/gateway-start
ExecStart=/bin/sleep infinity
[Install]
WantedBy=default.target
";

/// The token itself goes to the file only.
const GATEWAY_START: &str = r#"
token=$(sed -n 's/^\(export \)\{0,1\}ANTHROPIC_OAUTH_TOKEN=//p' ~/openclaw/.env | tr -d "\"'")
echo "$INVOCATION_ID ${token:-none}" >> ~/gateway-starts
"#;

/// One start of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// systemd's INVOCATION_ID.
    pub invocation: String,
    /// The token it read.
    pub token: String,
}

/// Puts everything in place, the source included, and starts the gateway.
pub fn furnish(debian: &BootedDebian, source: &str) {
    debian.exec_user("umask 077; mkdir -p .openclaw/credentials .openclaw/agents/main/agent openclaw").ok();
    debian.write_user(
        "/home/alice/.openclaw/openclaw.json",
        r#"{"meta":{"lastTouchedVersion":"2026.2.9","lastTouchedAt":"2026-02-10T08:00:00.000Z"},"gateway":{"port":18789}}"#,
    );
    debian.write_user(
        SINKS[2].1,
        r#"{"version":1,"profiles":{"anthropic:default":{"type":"token","provider":"anthropic","token":"sk-ant-oat01-before"},"openai:default":{"type":"api_key","provider":"openai","key":"sk-other"}},"lastGood":{"anthropic":"anthropic:default"}}"#,
    );
    debian.write_user(SINKS[1].1, "# the gateway's environment\nOPENCLAW_PORT=18789\n");
    debian.write_user(SOURCE, source);
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", CONFIGURATION);
    debian.write_user("/home/alice/gateway-start", GATEWAY_START);
    debian.write_user("/home/alice/.config/systemd/user/openclaw-gateway.service", GATEWAY_UNIT);
    debian.exec_user("systemctl --user daemon-reload && systemctl --user enable --now openclaw-gateway").ok();
}

/// Every start of the gateway, oldest first.
pub fn gateway_starts(debian: &BootedDebian) -> Vec<Start> {
    let text = debian.read_user(STARTS).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(invocation, token)| Start { invocation: invocation.to_owned(), token: token.to_owned() })
        .collect()
}

/// The gateway's invocation as systemd tells it.
pub fn gateway_invocation(debian: &BootedDebian) -> String {
    debian.exec_user("systemctl --user show -P InvocationID openclaw-gateway").ok().to_owned()
}

/// Rotates as a CLI of the year before did: truncate, then write.
pub fn rotate_in_place(debian: &BootedDebian, text: &str) {
    debian.exec_user_with(&format!("cat > {SOURCE}"), text.as_bytes()).ok();
}

/// Rotates as the present CLI does: temporary file beside it, then rename.
pub fn rotate_by_rename(debian: &BootedDebian, text: &str) {
    let script = format!("umask 077; cat > {SOURCE}.tmp.0a1b2c3d && mv {SOURCE}.tmp.0a1b2c3d {SOURCE}");
    debian.exec_user_with(&script, text.as_bytes()).ok();
}

/// `make install` of this package into the running instance.
pub fn install(debian: &BootedDebian) {
    let mut make = Command::new("make");
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(name);
    }
    make.current_dir(env!("CARGO_MANIFEST_DIR")).args(["--no-print-directory", "install", "PREFIX=/usr"]);
    make.arg(format!("DESTDIR={}", debian.root().display()));
    make.arg(format!("BINARY={}", env!("CARGO_BIN_EXE_tokensink")));
    run(&mut make, b"").ok();
    debian.exec_root("journalctl --update-catalog").ok();
}

/// The stand-in's program, put where `alice` can run it.
pub fn install_stand_in(debian: &BootedDebian, program: &Path) {
    debian.copy_in(program, "/opt/stand-in/provider-stand-in", 0o755);
    debian.exec_user("mkdir -p stand-in").ok();
}

/// Runs the real CLI, mounted at /opt/claude, against a stand-in inside.
pub fn run_claude(debian: &BootedDebian, proxy: &str, ca: &str) -> Ran {
    let mut script = "timeout 90 env -i".to_owned();
    for (name, value) in super::claude::environment("/home/alice", proxy, ca) {
        script.push_str(&format!(" {name}='{value}'"));
    }
    script.push_str(" /opt/claude/claude");
    for argument in super::claude::PROMPT {
        script.push_str(&format!(" '{argument}'"));
    }
    debian.exec_user(&script)
}
