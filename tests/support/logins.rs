//! Made-up Claude logins, generation after generation.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What every made-up token holds.
pub const CANARY: &str = "canary5f1e";

const HOUR_MS: i64 = 3_600_000;

/// The time at which this test program began, in milliseconds.
pub fn base_ms() -> i64 {
    static BASE: OnceLock<i64> = OnceLock::new();
    *BASE.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// A made-up Claude login.
#[derive(Clone, Debug)]
pub struct Login {
    pub access: String,
    pub refresh: String,
    pub expires_at: i64,
    pub deadline: Option<i64>,
    pub account: Option<&'static str>,
}

impl Login {
    /// The `n`-th generation of the same login; each ends a little later than the one before.
    pub fn nth(n: u32) -> Self {
        let token = |kind: &str| format!("sk-ant-{kind}01-{CANARY}-{n:04}-{}", "made-up-".repeat(9));
        Self {
            access: token("oat"),
            refresh: token("ort"),
            expires_at: base_ms() + 8 * HOUR_MS + i64::from(n) * 1000,
            deadline: None,
            account: None,
        }
    }

    pub fn ends_in_hours(mut self, hours: i64) -> Self {
        self.expires_at = base_ms() + hours * HOUR_MS;
        self
    }

    pub fn deadline_in_hours(mut self, hours: i64) -> Self {
        self.deadline = Some(base_ms() + hours * HOUR_MS);
        self
    }

    pub fn of(mut self, account: &'static str) -> Self {
        self.account = Some(account);
        self
    }

    pub fn without_refresh(mut self) -> Self {
        self.refresh.clear();
        self
    }

    /// The file as Claude Code keeps it, without a final newline: every part of it is torn.
    pub fn document(&self) -> String {
        let mut login = serde_json::json!({
            "accessToken": self.access,
            "refreshToken": self.refresh,
            "expiresAt": self.expires_at,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
            "rateLimitTier": "default_claude_max_5x",
        });
        if let Some(deadline) = self.deadline {
            login["refreshTokenExpiresAt"] = deadline.into();
        }
        if let Some(account) = self.account {
            login["accountUuid"] = account.into();
        }
        serde_json::json!({"claudeAiOauth": login, "mcpOAuth": {}}).to_string()
    }
}

/// What a logged-out CLI leaves.
pub fn husk() -> String {
    serde_json::json!({"claudeAiOauth":
        {"accessToken": "", "refreshToken": "", "expiresAt": 0, "scopes": ["user:inference"]}})
    .to_string()
}
