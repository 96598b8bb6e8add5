//! A made-up Claude Code login, and the tidy way to make the CLI (seen: 2.1.329) refresh it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::provider::{ACCOUNT, Pair};

/// Arguments of the run that refreshes, saves and leaves no transcript.
pub const PROMPT: [&str; 7] =
    ["-p", "hi", "--no-session-persistence", "--strict-mcp-config", "--tools", "", "--safe-mode"];

/// Unix milliseconds, so many seconds from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    i64::try_from(now).expect("a clock") + seconds * 1000
}

/// The credential file with that pair: all the known keys, an MCP login, and unknown keys on both levels.
pub fn document(pair: &Pair, expires_at: i64) -> Value {
    json!({
        "claudeAiOauth": {
            "accessToken": pair.access,
            "refreshToken": pair.refresh,
            "expiresAt": expires_at,
            "refreshTokenExpiresAt": in_seconds(20 * 86_400),
            "scopes": ["user:inference", "user:profile", "user:sessions:claude_code"],
            "subscriptionType": "max",
            "rateLimitTier": "default_claude_max_5x",
            "accountUuid": ACCOUNT,
            "unknownInside": {"kept": false}
        },
        "mcpOAuth": {"example|0": {"serverName": "example", "accessToken": "invented", "expiresAt": 1}},
        "unknownBeside": [1, 2.50, null]
    })
}

/// The whole environment of a CLI run that can reach nothing but the stand-in.
pub fn environment(home: &str, proxy: &str, ca: &str) -> Vec<(String, String)> {
    [
        ("HOME", home),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HTTPS_PROXY", proxy),
        ("NODE_EXTRA_CA_CERTS", ca),
        ("DISABLE_AUTOUPDATER", "1"),
        ("TERM", "dumb"),
        ("LANG", "C.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
