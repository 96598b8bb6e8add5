//! A code for tokens: the one request that ends a login with a code (RFC 6749, section 4.1.3). It is
//! sent once: a code is good for one exchange, and a login that failed is begun anew.

use super::Failed;
use crate::base::secret::Secret;
use crate::core::token_answer::{self, Answer, Grant};
use crate::oauth::endpoint::{self, Encoding, Reply, Request};

/// The OAuth client that logs in.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret, for a confidential client.
    pub secret: Option<Secret>,
    /// The token endpoint.
    pub token_url: String,
    /// How a request there is written.
    pub encoding: Encoding,
}

impl Client {
    /// A request to the token endpoint with these fields and what says who asks.
    #[must_use]
    pub fn request(&self, fields: Vec<(&'static str, Secret)>) -> Request {
        let mut fields = fields;
        fields.push(("client_id", Secret::new(self.id.clone())));
        fields.extend(self.secret.clone().map(|secret| ("client_secret", secret)));
        Request { url: self.token_url.clone(), encoding: self.encoding, fields }
    }
}

/// Trades the code.
///
/// # Errors
/// `Refused`, or `Endpoint` when there was no answer, or none of use.
pub async fn code(client: &Client, code: Secret, verifier: Secret, redirect: &str) -> Result<Grant, Failed> {
    let request = client.request(vec![
        ("grant_type", Secret::new("authorization_code".to_owned())),
        ("code", code),
        ("redirect_uri", Secret::new(redirect.to_owned())),
        ("code_verifier", verifier),
    ]);
    let reply = endpoint::send(request).await;
    granted(&reply.map_err(|error| Failed::Endpoint(format!("the token endpoint: {error}")))?)
}

/// What a token endpoint's answer to a new login means.
///
/// # Errors
/// As [`code`].
pub fn granted(reply: &Reply) -> Result<Grant, Failed> {
    let body = reply.body.expose();
    let failed = |why: String| Err(Failed::Endpoint(format!("the token endpoint {why}")));
    match token_answer::judge(reply.status, reply.retry_after.as_deref(), body) {
        Answer::Granted(grant) if grant.access.is_some() => Ok(grant),
        Answer::Granted(_) => failed("gave no access token".to_owned()),
        Answer::Rejected { error } | Answer::BadRequest { error } => {
            Err(Failed::Refused { error, description: token_answer::description(body) })
        }
        Answer::Throttled { wait } => failed(format!("asks to wait for {} s", wait.as_secs())),
        Answer::Blocked { status } | Answer::ServerFailed { status } => {
            failed(format!("answered with status {status}"))
        }
        Answer::Unreadable { why } => failed(format!("gave an answer that cannot be read: {why}")),
    }
}
