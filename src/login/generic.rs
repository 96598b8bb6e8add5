//! Logging in to a provider that the configuration describes, by whichever way it describes: the
//! browser (RFC 6749 with RFC 7636) or a device code (RFC 8628).

use super::Failed;
use super::callback::Redirect;
use super::exchange::Client;
use super::pkce::Authorization;
use crate::config::settings::{AuthorizeSettings, LoginSettings, RequestStyle};
use crate::oauth::endpoint::{Encoding, check_url};
use crate::sys::secret_line;

/// The client as it is described.
///
/// # Errors
/// When it is not described whole, or its secret cannot be read.
pub fn client(login: &LoginSettings) -> Result<Client, Failed> {
    let refresh = &login.refresh;
    let lacks = |key: &str| Failed::System(format!("login {} has no {key} in [login.refresh]", login.id));
    let secret =
        refresh.client_secret_file.as_deref().map(|path| secret_line::read(path, "the client's secret"));
    Ok(Client {
        id: refresh.client_id.clone().ok_or_else(|| lacks("client_id"))?,
        secret: secret.transpose().map_err(Failed::System)?,
        token_url: refresh.token_url.clone().ok_or_else(|| lacks("token_url"))?,
        encoding: match refresh.style {
            RequestStyle::Form => Encoding::Form,
            RequestStyle::Json => Encoding::Json,
        },
    })
}

/// The way by the browser; `None` where no authorization page is described.
///
/// # Errors
/// As [`client`].
pub fn authorization(
    login: &LoginSettings,
    described: &AuthorizeSettings,
) -> Result<Option<Authorization>, Failed> {
    let Some(url) = described.url.clone() else { return Ok(None) };
    let client = client(login)?;
    let redirect = redirect(&described.redirect);
    let scopes = described.scopes.clone();
    Ok(Some(Authorization { url, client, scopes, extra: Vec::new(), redirect }))
}

/// Where the browser comes back to: the loopback, at any port where none is said, or a page of the
/// provider's that shows the code.
fn redirect(text: &str) -> Redirect {
    let page = || Redirect::Page(text.to_owned());
    let Some((scheme, rest)) = text.split_once("://") else { return page() };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let is_loopback = scheme.eq_ignore_ascii_case("http") && check_url(text).is_ok();
    if !is_loopback {
        return page();
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (authority, 0),
    };
    Redirect::Loopback { host: host.to_owned(), ports: vec![port], path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_a_port_of_ours_or_a_page_of_theirs() {
        let loopback = |host: &str, port, path: &str| Redirect::Loopback {
            host: host.into(),
            ports: vec![port],
            path: path.into(),
        };
        for (text, redirect_to) in [
            ("http://127.0.0.1/callback", loopback("127.0.0.1", 0, "/callback")),
            ("http://localhost:8976/back?from=acme", loopback("localhost", 8976, "/back?from=acme")),
            ("http://[::1]/", loopback("[::1]", 0, "/")),
            ("http://[::1]:9", loopback("[::1]", 9, "/")),
            ("https://acme.example/code", Redirect::Page("https://acme.example/code".into())),
        ] {
            assert_eq!(redirect(text), redirect_to, "{text}");
        }
    }
}
