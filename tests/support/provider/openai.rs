//! The answers of OpenAI's endpoints, as codex 0.169.0 uses them. Its tokens are told by their looks: `rt_…`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::ledger::{Ledger, Pair, Request, Verdict};
use super::switches::{ApiAuth, Switches};
use super::wire::Answer;

/// The account every such login belongs to.
pub const OPENAI_ACCOUNT: &str = "acct-0f1e2d3c-invented";

/// Whether a refresh token is one of these.
pub fn is_refresh_token(token: &str) -> bool {
    token.starts_with("rt_")
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("a clock")
}

/// An unsigned token which ends at that Unix second; `tail` is where its signature would be.
pub fn jwt_until(exp: i64, tail: &str) -> String {
    jwt_of(OPENAI_ACCOUNT, exp, tail)
}

/// The same of any account.
fn jwt_of(account: &str, exp: i64, tail: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = json!({
        "exp": exp,
        "scp": ["openid", "offline_access"],
        "email": "alice@example.invalid",
        "https://api.openai.com/auth": {
            "chatgpt_account_id": account, "chatgpt_plan_type": "plus", "chatgpt_user_id": "user-invented"
        }
    });
    format!("{}.{}.{tail}", part(json!({"alg": "none"})), part(payload))
}

/// The answer to a refresh.
pub fn token(verdict: &Verdict, switches: &Switches) -> Answer {
    let Some(pair) = verdict.granted() else {
        let code = if matches!(verdict, Verdict::Reused { .. }) {
            "refresh_token_reused"
        } else {
            "refresh_token_invalidated"
        };
        return Answer::json(
            401,
            &json!({"error": {"message": "refused", "type": "invalid_request_error", "code": code}}),
        );
    };
    let lifetime = i64::try_from(switches.expires_in).expect("sane");
    let account = switches.account.as_deref().unwrap_or(OPENAI_ACCOUNT);
    let id_token = jwt_of(account, now() + lifetime, "aWQ");
    let mut body = json!({"access_token": pair.access, "id_token": id_token, "expires_in": 1});
    if switches.rotate {
        body["refresh_token"] = json!(pair.refresh);
    }
    Answer::json(200, &body)
}

/// The answer to anything else there; `None` for a path that is not of these servers.
pub fn other(ledger: &mut Ledger, request: &Request, path: &str, switches: &Switches) -> Option<Answer> {
    if path == "/oauth/revoke" {
        ledger.revoke(&request.field("token").unwrap_or_default());
        return Some(Answer::json(200, &json!({})));
    }
    let answer = match path {
        "/v1/responses" => Answer::text(200, "text/event-stream", turn()),
        "/v1/models" => Answer::json(200, &json!({"models": []})),
        "/backend-api/wham/accounts/check" => Answer::json(200, &accounts()),
        "/backend-api/wham/usage" => Answer::json(200, &json!({"plan_type": "plus"})),
        _ => return None,
    };
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let is_welcome = match switches.api_auth {
        ApiAuth::Live => bearer.is_some_and(|token| ledger.accepts(token)),
        ApiAuth::Any => bearer.is_some(),
        ApiAuth::Nobody => false,
    };
    let refused = || Answer::json(401, &json!({"error": {"code": "token_expired", "message": "refused"}}));
    Some(if is_welcome { answer } else { refused() })
}

fn accounts() -> Value {
    let account = json!({
        "id": OPENAI_ACCOUNT, "workspace_backend_origin": "https://chatgpt.com",
        "account_routing_override": "NO_CONSTRAINT"
    });
    json!({"accounts": [account], "default_account_id": OPENAI_ACCOUNT})
}

/// "ok", as a stream.
fn turn() -> String {
    let content = json!([{"type": "output_text", "text": "ok"}]);
    let usage = json!({"input_tokens": 1, "input_tokens_details": null, "output_tokens": 1,
        "output_tokens_details": null, "total_tokens": 2});
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.done",
            "item": {"type": "message", "role": "assistant", "id": "msg_1", "content": content}}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}),
    ];
    let lines = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()));
    lines.collect()
}

impl Pair {
    /// An invented pair of Codex's kind, never issued before, that ends in so many seconds.
    pub fn codex(family: &str, seconds: i64) -> Self {
        Self::codex_of(OPENAI_ACCOUNT, family, seconds)
    }

    /// The same of any account.
    pub fn codex_of(account: &str, family: &str, seconds: i64) -> Self {
        let tail = || {
            let mut bytes = [0; 40];
            getrandom::fill(&mut bytes).expect("the system has random numbers");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}AA")
        };
        Self { access: jwt_of(account, now() + seconds, &tail()), refresh: format!("rt_{family}-{}", tail()) }
    }
}
