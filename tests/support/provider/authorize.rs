//! An authorization page that says yes at once, and the exchange of its codes; as strict as the RFCs allow (6749,
//! 7636). The clients: Codex, as 0.169.0 asks, and one that a configuration describes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::Digest as _;

use super::ledger::{Code, Ledger, Pair, Request, Verdict, percent_decoded};
use super::openai::{self, OPENAI_ACCOUNT};
use super::switches::Switches;
use super::wire::Answer;

/// The client of Codex.
const CODEX: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
/// A client that is described, and its secret.
pub const DESCRIBED: (&str, &str) = ("acme cli", "not-a-real-secret");

/// Whether a code is one of this page.
pub fn is_code(code: &str) -> bool {
    code.starts_with("ac_")
}

fn parameter(query: &str, name: &str) -> Result<String, String> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(percent_decoded(value)),
        (None, _) => Err(format!("{name} is missing")),
        (Some(_), Some(_)) => Err(format!("{name} is there twice")),
    }
}

/// Answers with a redirect that carries a code, or with what is wrong.
pub fn page(ledger: &mut Ledger, request: &Request) -> Answer {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    match asked(query) {
        Ok((code, state)) => {
            let joint = if code.redirect.contains('?') { '&' } else { '?' };
            let location = format!("{}{joint}code={}&state={state}", code.redirect, code.code);
            ledger.codes.push(code);
            let mut answer = Answer::text(302, "text/plain", String::new());
            answer.headers.push(("Location", location));
            answer
        }
        Err(why) => Answer::json(400, &json!({"error": "invalid_request", "error_description": why})),
    }
}

fn asked(query: &str) -> Result<(Code, String), String> {
    let one = |name: &str| parameter(query, name);
    let must = |name: &str, value: &str| {
        if one(name)? == value { Ok(()) } else { Err(format!("{name} is not {value}")) }
    };
    must("response_type", "code")?;
    must("code_challenge_method", "S256")?;
    let (client, redirect, state, challenge) =
        (one("client_id")?, one("redirect_uri")?, one("state")?, one("code_challenge")?);
    let digest = URL_SAFE_NO_PAD.decode(&challenge).map_err(|_| "the challenge is not base64url")?;
    if digest.len() != 32 || URL_SAFE_NO_PAD.decode(&state).map_or(0, |bytes| bytes.len()) < 32 {
        return Err("a challenge has 32 bytes, and a state that many at least".into());
    }
    match client.as_str() {
        CODEX => {
            let known = ["http://127.0.0.1:1455/auth/callback", "http://127.0.0.1:1457/auth/callback"];
            if !known.contains(&redirect.as_str()) {
                return Err("the redirect is not registered".into());
            }
            must("scope", "openid profile email offline_access api.connectors.read api.connectors.invoke")?;
            must("id_token_add_organizations", "true")?;
            must("codex_cli_simplified_flow", "true")?;
            one("originator")?;
        }
        id if id == DESCRIBED.0 => {
            let port =
                redirect.strip_prefix("http://localhost:").and_then(|r| r.strip_suffix("/back?from=acme"));
            if port.is_none_or(|port| port.parse::<u16>().is_err()) {
                return Err("the redirect is not registered".into());
            }
            must("scope", "read write")?;
        }
        _ => return Err("the client is not known".into()),
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    let code = format!("ac_{}", URL_SAFE_NO_PAD.encode(bytes));
    Ok((Code { code, client, redirect, challenge, is_over: false }, state))
}

/// Trades a code, once.
pub fn token(ledger: &mut Ledger, request: &Request, switches: &Switches) -> (Verdict, Answer) {
    let field = |name: &str| request.field(name).unwrap_or_default();
    let refused = |error: &str, why: &str| {
        let body = json!({"error": error, "error_description": format!("{why}\u{1b}[31m \u{202e}!")});
        (Verdict::Unknown, Answer::json(400, &body))
    };
    let code = field("code");
    let Some(known) = ledger.codes.iter_mut().find(|known| known.code == code && !known.is_over) else {
        return refused("invalid_grant", "the code is not known, was used, or is too old");
    };
    known.is_over = true;
    let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(field("code_verifier").as_bytes()));
    if !(43..=128).contains(&field("code_verifier").len()) || challenge != known.challenge {
        return refused("invalid_grant", "the verifier is not that of the challenge");
    }
    if field("redirect_uri") != known.redirect || field("client_id") != known.client {
        return refused("invalid_grant", "the code was given to another redirect or client");
    }
    grant(ledger, request, switches)
}

/// A new login of the client that asks.
pub fn grant(ledger: &mut Ledger, request: &Request, switches: &Switches) -> (Verdict, Answer) {
    let client = request.field("client_id").unwrap_or_default();
    if client == DESCRIBED.0 {
        if request.field("client_secret").as_deref() != Some(DESCRIBED.1) {
            return (Verdict::Unknown, Answer::json(401, &json!({"error": "invalid_client"})));
        }
        let pair = Pair::invent("login");
        ledger.adopt("login", pair.clone());
        let body = json!({"access_token": pair.access, "refresh_token": pair.refresh, "token_type": "Bearer",
            "expires_in": switches.expires_in, "scope": "read write"});
        return (Verdict::Rotated { family: "login".to_owned(), pair }, Answer::json(200, &body));
    }
    let account = switches.account.as_deref().unwrap_or(OPENAI_ACCOUNT);
    let pair = Pair::codex_of(account, "login", i64::try_from(switches.expires_in).expect("sane"));
    ledger.adopt("login", pair.clone());
    let verdict = Verdict::Rotated { family: "login".to_owned(), pair };
    let answer = openai::token(&verdict, switches);
    (verdict, answer)
}
