//! Logging in to ChatGPT as Codex does. Facts: codex 0.169.0 (its authorize URL and its ports, seen on
//! the running CLI), and the same flow in OpenClaw 2026.9.6.
//!
//! `codex login` itself revokes the old login before the person has said yes to a new one; this does
//! not. Its second exchange, for an API key, is not made: nobody here has a use for the key.

use std::time::Duration;

use serde_json::Value;

use super::callback::Redirect;
use super::exchange::{self, Client};
use super::pkce::Authorization;
use super::{Failed, Told, device};
use crate::base::secret::Secret;
use crate::config::settings::LoginSettings;
use crate::core::device::{self as core, Heard, Polls};
use crate::core::token_answer::Grant;
use crate::format::codex::{CLIENT_ID, ISSUER, TOKEN_URL};
use crate::oauth::endpoint::{Encoding, Request};

const AUTHORIZE_URL: &str = "https://auth.openai.com/oauth/authorize";
/// What Codex asks for: a login that is written into its own file has to serve it.
const SCOPES: [&str; 6] =
    ["openid", "profile", "email", "offline_access", "api.connectors.read", "api.connectors.invoke"];
/// Where a code for another device is typed.
const DEVICE_PAGE: &str = "https://auth.openai.com/codex/device";
/// What the exchange after that has to name.
const DEVICE_REDIRECT: &str = "https://auth.openai.com/deviceauth/callback";
/// How long Codex waits for the person, and how often it asks where the server does not say.
const DEVICE_LASTS: Duration = Duration::from_secs(15 * 60);
const DEVICE_INTERVAL: Duration = Duration::from_secs(5);
/// The two ports that are registered for this client.
const PORTS: [u16; 2] = [1455, 1457];

/// Codex's own protocol of a code for another device, seen on the running CLI: the server makes the
/// verifier too, and hands out both when the person is done.
///
/// # Errors
/// See [`Failed`]; nothing was changed then.
pub async fn by_device(
    login: &LoginSettings,
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Grant, Failed> {
    let ask = |path: &str, fields| Request {
        url: format!("{ISSUER}/api/accounts/deviceauth/{path}"),
        encoding: Encoding::Json,
        fields,
    };
    let client_id = ("client_id", Secret::new(CLIENT_ID.to_owned()));
    let reply = device::first(ask("usercode", vec![client_id])).await?;
    let given = Given::parse(reply.body.expose())
        .ok_or_else(|| Failed::Endpoint("the device endpoint gave no code that can be shown".to_owned()))?;
    let lasts = patience.min(DEVICE_LASTS);
    tell(Told::Code { url: DEVICE_PAGE, complete: None, code: &given.user_code, lasts });
    let poll = || {
        let user_code = Secret::new(given.user_code.clone());
        ask("token", vec![("device_auth_id", given.device.clone()), ("user_code", user_code)])
    };
    let (code, verifier) = device::wait(Polls::new(given.interval, lasts), poll, |reply| {
        judge(reply.status, reply.body.expose())
    })
    .await?;
    exchange::code(&client(login), code, verifier, DEVICE_REDIRECT).await
}

/// What the server gave out.
#[derive(Debug)]
pub struct Given {
    /// What is polled with.
    pub device: Secret,
    /// What a person types; fit to be shown.
    pub user_code: String,
    /// How long to wait between two questions.
    pub interval: Duration,
}

impl Given {
    /// Reads the answer; `None` for one without a code that can be shown.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        Some(Self {
            device: Secret::new(text("device_auth_id")?.to_owned()),
            user_code: text("user_code").or_else(|| text("usercode")).and_then(core::user_code)?,
            interval: core::seconds(value.get("interval")).unwrap_or(DEVICE_INTERVAL),
        })
    }
}

/// A code and its verifier, or what was heard instead. 403 and 404 say that the person is not done.
///
/// # Errors
/// What was heard.
pub fn judge(status: u16, body: &[u8]) -> Result<(Secret, Secret), Heard> {
    match status {
        200..=299 => {
            let value: Value = serde_json::from_slice(body).map_err(|_| Heard::Silence)?;
            let text =
                |name: &str| value.get(name).and_then(Value::as_str).map(|t| Secret::new(t.to_owned()));
            text("authorization_code").zip(text("code_verifier")).ok_or(Heard::Silence)
        }
        403 | 404 => Err(Heard::Pending),
        status => Err(core::hear(status, body)),
    }
}

/// The client of Codex, at the configured token endpoint where there is one.
#[must_use]
pub fn client(login: &LoginSettings) -> Client {
    let token_url = login.refresh.token_url.clone();
    Client {
        id: CLIENT_ID.to_owned(),
        secret: None,
        token_url: token_url.unwrap_or_else(|| TOKEN_URL.to_owned()),
        encoding: Encoding::Form,
    }
}

/// The way by the browser.
#[must_use]
pub fn authorization(login: &LoginSettings) -> Authorization {
    Authorization {
        url: AUTHORIZE_URL.to_owned(),
        client: client(login),
        scopes: SCOPES.map(str::to_owned).to_vec(),
        extra: vec![
            ("id_token_add_organizations", "true".to_owned()),
            ("codex_cli_simplified_flow", "true".to_owned()),
            // Who asks; other programs than Codex say their own name as well.
            ("originator", "tokensink".to_owned()),
        ],
        redirect: Redirect::Loopback {
            host: "127.0.0.1".to_owned(),
            ports: PORTS.to_vec(),
            path: "/auth/callback".to_owned(),
        },
    }
}
