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

/// The grant type of RFC 8628.
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What a device and the server know a login by.
const DEVICE_CODE: &str = "device-code-invented";

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

/// The answer to anything but a token request; `None` for a path that is none of these.
pub fn other(ledger: &mut Ledger, request: &Request, path: &str, switches: &Switches) -> Option<Answer> {
    let refused =
        |why: &str| Answer::json(400, &json!({"error": "invalid_request", "error_description": why}));
    Some(match path {
        "/oauth/authorize" => page(ledger, request),
        // An account that has not allowed such codes.
        "/api/accounts/deviceauth/usercode" if switches.device.iter().any(|word| word == "off") => {
            Answer::json(404, &json!({}))
        }
        "/api/accounts/deviceauth/usercode" if request.field("client_id").as_deref() == Some(CODEX) => {
            Answer::json(
                200,
                &json!({"device_auth_id": DEVICE_CODE, "user_code": "WDJB-MJHT", "interval": "1"}),
            )
        }
        "/api/accounts/deviceauth/token" => {
            let is_known = request.field("device_auth_id").as_deref() == Some(DEVICE_CODE)
                && request.field("user_code").as_deref() == Some("WDJB-MJHT");
            match switches.device.get(polls(ledger)) {
                _ if !is_known => refused("the code is not known"),
                Some(word) if word == "authorization_pending" => Answer::json(403, &json!({})),
                Some(word) => Answer::json(400, &json!({"error": word})),
                None => {
                    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
                    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
                    let code = Code {
                        code: "ac_of-a-device".into(),
                        client: CODEX.into(),
                        redirect: "https://auth.openai.com/deviceauth/callback".into(),
                        challenge: challenge.into(),
                        is_over: false,
                    };
                    let answer = json!({"authorization_code": code.code, "code_challenge": challenge,
                        "code_verifier": verifier});
                    ledger.codes.push(code);
                    Answer::json(200, &answer)
                }
            }
        }
        "/oauth/device" if request.header("content-type") != Some("application/x-www-form-urlencoded") => {
            refused("RFC 8628 wants a form")
        }
        "/oauth/device" => {
            let fields =
                [("client_id", DESCRIBED.0), ("client_secret", DESCRIBED.1), ("scope", "read write")];
            match fields.iter().find(|(name, value)| request.field(name).as_deref() != Some(*value)) {
                Some((name, _)) => refused(name),
                None => {
                    let answer = json!({"device_code": DEVICE_CODE, "user_code": "WDJB-MJHT",
                        "verification_uri": "https://acme.example/device", "interval": 1, "expires_in": 600});
                    Answer::json(200, &answer)
                }
            }
        }
        _ => return None,
    })
}

/// How often was asked whether the person is done.
fn polls(ledger: &Ledger) -> usize {
    let is_poll = |request: &&Request| {
        request.path == "/api/accounts/deviceauth/token"
            || request.field("grant_type").as_deref() == Some(DEVICE_GRANT)
    };
    ledger.requests.iter().filter(is_poll).count()
}

/// A poll of RFC 8628, which is a token request.
pub fn device_token(ledger: &mut Ledger, request: &Request, switches: &Switches) -> (Verdict, Answer) {
    if request.field("device_code").as_deref() != Some(DEVICE_CODE) {
        return (Verdict::Unknown, Answer::json(400, &json!({"error": "invalid_grant"})));
    }
    match switches.device.get(polls(ledger)) {
        Some(word) => (Verdict::NotJudged, Answer::json(400, &json!({"error": word}))),
        None => grant(ledger, request, switches),
    }
}

/// Answers with a redirect that carries a code, or with what is wrong.
fn page(ledger: &mut Ledger, request: &Request) -> Answer {
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
fn grant(ledger: &mut Ledger, request: &Request, switches: &Switches) -> (Verdict, Answer) {
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
