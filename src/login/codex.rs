//! Logging in to ChatGPT as Codex does. Facts: codex 0.169.0 (its authorize URL and its ports, seen on
//! the running CLI), and the same flow in OpenClaw 2026.9.6.
//!
//! `codex login` itself revokes the old login before the person has said yes to a new one; this does
//! not. Its second exchange, for an API key, is not made: nobody here has a use for the key.

use super::callback::Redirect;
use super::exchange::Client;
use super::pkce::Authorization;
use crate::config::settings::LoginSettings;
use crate::format::codex::{CLIENT_ID, TOKEN_URL};
use crate::oauth::endpoint::Encoding;

const AUTHORIZE_URL: &str = "https://auth.openai.com/oauth/authorize";
/// What Codex asks for: a login that is written into its own file has to serve it.
const SCOPES: [&str; 6] =
    ["openid", "profile", "email", "offline_access", "api.connectors.read", "api.connectors.invoke"];
/// The two ports that are registered for this client.
const PORTS: [u16; 2] = [1455, 1457];

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
        redirect: Redirect {
            host: "127.0.0.1".to_owned(),
            ports: PORTS.to_vec(),
            path: "/auth/callback".to_owned(),
        },
    }
}
