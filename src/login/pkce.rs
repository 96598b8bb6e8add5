//! A login by the browser: the authorization code grant with PKCE (RFC 7636, S256). The answer comes
//! to the loopback, or is pasted, whichever is first; the port is closed before the code is traded.

use std::time::Duration;

use super::callback::{Callback, Redirect};
use super::exchange::{self, Client};
use super::paste::Lines;
use super::{Comes, Failed, Told};
use crate::base::secret::Secret;
use crate::core::authorize::{self, Attempt, Returned};
use crate::core::token_answer::Grant;
use crate::sys::random;

/// Where and as what a person is asked.
#[derive(Debug, Clone)]
pub struct Authorization {
    /// Where the browser is sent to.
    pub url: String,
    /// Who asks.
    pub client: Client,
    /// What for; empty: what the server gives unasked.
    pub scopes: Vec<String>,
    /// Parameters of this provider's own.
    pub extra: Vec<(&'static str, String)>,
    /// Where the browser comes back to.
    pub redirect: Redirect,
}

/// Asks, waits and trades. `tell` is called for what a person has to know.
///
/// # Errors
/// See [`Failed`]; nothing was changed then.
pub async fn run(
    asked: &Authorization,
    lines: &mut Lines,
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Grant, Failed> {
    let random = random::bytes::<{ authorize::RANDOM }>();
    let attempt = Attempt::from_random(&*random.map_err(|error| Failed::System(error.to_string()))?);
    let callback = Callback::listen(&asked.redirect).await;
    let redirect = asked.redirect.url(callback.as_ref().map(Callback::port));
    let comes = match (&callback, &asked.redirect) {
        (Some(_), _) => Comes::Heard,
        (None, Redirect::Loopback { .. }) => Comes::Unheard,
        (None, Redirect::Page(_)) => Comes::Shown,
    };
    tell(Told::Visit { url: &asked.url(&attempt, &redirect), comes });
    let waiting = answer(callback.as_ref(), lines, &attempt.state, tell);
    let returned = tokio::time::timeout(patience, waiting).await.map_err(|_late| Failed::Late)??;
    drop(callback);
    match returned {
        Returned::Code(code) => exchange::code(&asked.client, code, attempt.verifier, &redirect).await,
        Returned::Refused { error, description } => Err(Failed::Refused { error, description }),
    }
}

impl Authorization {
    fn url(&self, attempt: &Attempt, redirect: &str) -> String {
        let scopes = self.scopes.join(" ");
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.client.id.as_str()),
            ("redirect_uri", redirect),
            ("code_challenge", attempt.challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("state", attempt.state.as_str()),
        ];
        if !scopes.is_empty() {
            parameters.push(("scope", scopes.as_str()));
        }
        parameters.extend(self.extra.iter().map(|(name, value)| (*name, value.as_str())));
        authorize::url(&self.url, &parameters)
    }
}

/// The first answer, from wherever it comes.
async fn answer(
    callback: Option<&Callback>,
    lines: &mut Lines,
    state: &str,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Returned, Failed> {
    let heard = async {
        match callback {
            Some(callback) => callback.answer(state).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(heard);
    let mut is_open = true;
    loop {
        let line: Option<Secret> = tokio::select! {
            biased;
            returned = &mut heard => return Ok(returned),
            line = lines.next(), if is_open => line,
        };
        match line.map(|line| authorize::from_paste(line.expose(), state)) {
            Some(Ok(returned)) => return Ok(returned),
            Some(Err(unfit)) => tell(Told::Unfit(unfit)),
            None if callback.is_none() => return Err(Failed::Unreachable),
            None => is_open = false,
        }
    }
}
