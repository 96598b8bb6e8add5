//! A login by a code that is typed on another device (RFC 8628): for a host without a browser. We ask
//! again and again whether the person is done, as often as the server lets us.

use std::time::Duration;

use super::exchange::Client;
use super::{Failed, Told};
use crate::base::secret::Secret;
use crate::core::device::{self, Granting, Heard, Polls};
use crate::core::token_answer::{self, Grant};
use crate::oauth::endpoint::{self, Reply, Request, SendError};
use crate::sys::clock;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Asks for a code, shows it, and waits for the person.
///
/// # Errors
/// See [`Failed`]; nothing was changed then.
pub async fn run(
    client: &Client,
    device_url: &str,
    scopes: &[String],
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Grant, Failed> {
    let mut request = client.request(Vec::new());
    device_url.clone_into(&mut request.url);
    if !scopes.is_empty() {
        request.fields.push(("scope", Secret::new(scopes.join(" "))));
    }
    let reply = first(request).await?;
    let given = Granting::parse(reply.body.expose())
        .ok_or_else(|| Failed::Endpoint("the device endpoint gave no code that can be shown".to_owned()))?;
    let lasts = given.lasts.min(patience);
    tell(Told::Code { url: &given.url, complete: given.complete.as_deref(), code: &given.user_code, lasts });
    let poll = || {
        client.request(vec![
            ("grant_type", Secret::new(GRANT_TYPE.to_owned())),
            ("device_code", given.device_code.clone()),
        ])
    };
    let judge = |reply: &Reply| match device::hear(reply.status, reply.body.expose()) {
        Heard::Granted(grant) => Ok(grant),
        other => Err(other),
    };
    wait(Polls::new(given.interval, lasts), poll, judge).await
}

/// The request that begins it.
///
/// # Errors
/// `Refused`, or `Endpoint`.
pub(super) async fn first(request: Request) -> Result<Reply, Failed> {
    let reply = endpoint::send(request).await;
    let reply = reply.map_err(|error| Failed::Endpoint(format!("the device endpoint: {error}")))?;
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    let body = reply.body.expose();
    Err(match token_answer::error_word(body) {
        Some(error) => Failed::Refused {
            error: token_answer::fit_to_show(&error),
            description: token_answer::description(body),
        },
        None => Failed::Endpoint(format!("the device endpoint answered with status {}", reply.status)),
    })
}

/// Polls until `judge` has what it looks for, or says that asking on is of no use.
pub(super) async fn wait<T>(
    mut polls: Polls,
    poll: impl Fn() -> Request,
    judge: impl Fn(&Reply) -> Result<T, Heard>,
) -> Result<T, Failed> {
    // The clock that goes on in suspend: the code gets older there too.
    let began = clock::boottime();
    loop {
        let elapsed = clock::boottime().saturating_sub(began);
        let Some(pause) = polls.next(elapsed) else { return Err(Failed::Late) };
        tokio::time::sleep(pause).await;
        let heard = match endpoint::send(poll()).await {
            Ok(reply) => match judge(&reply) {
                Ok(found) => return Ok(found),
                Err(heard) => heard,
            },
            Err(SendError::NotSent(_) | SendError::Unknown(_)) => Heard::Silence,
            Err(error @ SendError::Url(_)) => return Err(Failed::Endpoint(error.to_string())),
        };
        polls.note(&heard);
        if let Heard::Refused { error, description } = heard {
            return Err(Failed::Refused { error, description });
        }
    }
}
