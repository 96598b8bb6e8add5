//! The answers of the endpoints: Claude's, as the CLI 2.1.329 uses them, a bare OAuth token endpoint, and the way to
//! OpenAI's.

use serde_json::{Value, json};

use super::authorize;
use super::ledger::{Ledger, Pair, Request, Verdict};
use super::openai;
use super::switches::{ApiAuth, Switches};
use super::wire::Answer;

const SCOPE: &str = "user:inference user:profile user:sessions:claude_code";

/// The answer to a grant of the token endpoint, and what became of it.
pub fn token(ledger: &mut Ledger, request: &Request, switches: &Switches) -> (Verdict, Answer) {
    let verdict = match request.field("grant_type").as_deref() {
        Some("authorization_code") if authorize::is_code(&request.field("code").unwrap_or_default()) => {
            return authorize::token(ledger, request, switches);
        }
        Some(authorize::DEVICE_GRANT) => return authorize::device_token(ledger, request, switches),
        Some("authorization_code") => {
            let pair = Pair::invent("login");
            ledger.adopt("login", pair.clone());
            Verdict::Rotated { family: "login".to_owned(), pair }
        }
        _ => {
            let refresh = request.field("refresh_token").unwrap_or_default();
            ledger.trade(&refresh, switches.rotate, switches.reuse_revokes, switches.expires_in)
        }
    };
    if openai::is_refresh_token(&request.field("refresh_token").unwrap_or_default()) {
        let answer = openai::token(&verdict, switches);
        return (verdict, answer);
    }
    let Some(pair) = verdict.granted() else {
        let body =
            json!({"error": "invalid_grant", "error_description": "Refresh token not found or invalid"});
        return (verdict, Answer::json(400, &body));
    };
    let scope = switches.scope.clone().or_else(|| request.field("scope")).unwrap_or_else(|| SCOPE.to_owned());
    let mut body = json!({
        "token_type": "Bearer",
        "access_token": pair.access,
        "expires_in": switches.expires_in,
        "scope": scope,
        "account": {"uuid": account_of(switches), "email_address": "alice@example.invalid"},
        "organization": {"uuid": ORGANIZATION, "name": "Example"},
    });
    if switches.rotate || request.field("grant_type").as_deref() == Some("authorization_code") {
        body["refresh_token"] = json!(pair.refresh);
    }
    if let Some(seconds) = switches.refresh_token_expires_in {
        body["refresh_token_expires_in"] = json!(seconds);
    }
    (verdict, Answer::json(200, &body))
}

/// The account that a login of the stand-in belongs to, unless it is told otherwise.
pub const ACCOUNT: &str = "5f0c6f0e-0000-4000-8000-00000000a11c";
const ORGANIZATION: &str = "5f0c6f0e-0000-4000-8000-0000000000b0";

/// The answer to anything else.
pub fn other(ledger: &mut Ledger, request: &Request, switches: &Switches) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    if path.ends_with("/oauth/token/revoke") {
        ledger.revoke(&request.field("token").unwrap_or_default());
        return Answer::json(200, &json!({}));
    }
    if let Some(answer) = authorize::other(ledger, request, path, switches) {
        return answer;
    }
    if let Some(answer) = openai::other(ledger, request, path, switches) {
        return answer;
    }
    let api = matches!(
        path,
        "/v1/messages" | "/v1/messages/count_tokens" | "/api/oauth/profile" | "/api/oauth/usage"
    );
    if !api {
        let error = json!({"type": "error", "error": {"type": "not_found_error", "message": "Not found"}});
        return Answer::json(404, &error);
    }
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let welcome = match switches.api_auth {
        ApiAuth::Live => bearer.is_some_and(|token| ledger.accepts(token)),
        ApiAuth::Any => true,
        ApiAuth::Nobody => false,
    };
    if !welcome {
        let error =
            json!({"type": "authentication_error", "message": "OAuth authentication is not accepted."});
        return Answer::json(401, &json!({"type": "error", "error": error}));
    }
    match path {
        "/v1/messages" => message(request),
        "/v1/messages/count_tokens" => Answer::json(200, &json!({"input_tokens": 1})),
        "/api/oauth/usage" => {
            Answer::json(200, &json!({"five_hour": {"utilization": 1.0, "resets_at": null}}))
        }
        _ => Answer::json(200, &profile(switches)),
    }
}

fn account_of(switches: &Switches) -> &str {
    switches.account.as_deref().unwrap_or(ACCOUNT)
}

fn profile(switches: &Switches) -> Value {
    json!({
        "account": {
            "uuid": account_of(switches), "full_name": "Alice Example", "display_name": "Alice",
            "email": "alice@example.invalid", "has_claude_max": true, "has_claude_pro": false,
            "created_at": "2026-01-01T00:00:00Z"
        },
        "organization": {
            "uuid": ORGANIZATION, "name": "Example", "organization_type": "claude_max",
            "rate_limit_tier": "default_claude_max_5x", "has_extra_usage_enabled": false,
            "billing_type": "stripe_subscription", "subscription_created_at": "2026-01-01T00:00:00Z"
        }
    })
}

/// "ok", whole or as a stream, as the request wants it.
fn message(request: &Request) -> Answer {
    let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let model = asked.get("model").cloned().unwrap_or_else(|| json!("stand-in"));
    let whole = |content: Value, stop: Value| {
        json!({"id": "msg_standin", "type": "message", "role": "assistant", "model": model, "content": content,
            "stop_reason": stop, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}})
    };
    if asked.get("stream") != Some(&Value::Bool(true)) {
        return Answer::json(200, &whole(json!([{"type": "text", "text": "ok"}]), json!("end_turn")));
    }
    let events = [
        json!({"type": "message_start", "message": whole(json!([]), Value::Null)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    let body = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()));
    Answer::text(200, "text/event-stream", body.collect())
}
