//! One call to an OpenClaw gateway over the WebSocket on its loopback port: challenge, connect,
//! hello, one request, one answer. Whatever is not plainly that is no answer, and the CLI is asked
//! instead; nothing is sent to a peer of another user, and nothing ever beyond loopback.
//! Facts: OpenClaw 2026.5.28, 2026.6.11, 2026.7.1, 2026.8.2 and 2026.9.6 by running: protocol 4, and a
//! caller from loopback with the gateway's token gets the rights it asks for without being paired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use crate::base::secret::Secret;
use crate::core::windows;
use crate::format::openclaw_config;
use crate::format::release::Release;
use crate::sys::peer;

/// How long a call may take: 0.1 to 2 s, and a reference that hangs holds a reload for 6 s.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the good-bye may take; nothing depends on it.
const CLOSING: Duration = Duration::from_millis(200);
/// The largest message, in bytes: the hello of 2026.9.6 has 16 KB.
const MESSAGE_LIMIT: usize = 1024 * 1024;
/// What is read of one connection, in bytes: a gateway also tells what happens in it meanwhile.
const CONNECTION_LIMIT: u64 = 8 * 1024 * 1024;
/// The right that every call of ours needs.
const RIGHT: &str = "operator.admin";

/// Where a gateway is called, and with what.
#[derive(Debug, Clone)]
pub struct Door {
    port: u16,
    token: Secret,
    protocol: u32,
    /// Users that may be at the other end.
    trusted: BTreeSet<u32>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Nothing listens there.
    Down,
    /// The gateway understood the request and could not do it now.
    Unavailable,
    /// Anything else; the CLI may know better.
    Unclear(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("nothing listens on its port"),
            Self::Unavailable => f.write_str("it could not do that now"),
            Self::Unclear(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

fn unclear(why: impl Into<String>) -> CallError {
    CallError::Unclear(why.into())
}

impl Door {
    /// The door of an instance; `None` where its release or what is said about it makes its CLI the
    /// only way. `environment` and `secrets` are its unit's, `owner` is whose its files are.
    #[must_use]
    pub fn of(
        release: &Release,
        config: &[u8],
        environment: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Secret>,
        owner: Option<u32>,
    ) -> Option<Self> {
        let protocol = windows::protocol_of(release)?;
        let said = openclaw_config::listener(config)?;
        let port = environment.get("OPENCLAW_GATEWAY_PORT").map(|port| port.parse().ok());
        // Which of two has the last word changed between releases.
        let port = agreed(port, said.port.map(Some))??;
        let token = agreed(secrets.get("OPENCLAW_GATEWAY_TOKEN").cloned(), said.token)?;
        let trusted = [0, nix::unistd::geteuid().as_raw()].into_iter().chain(owner).collect();
        Some(Self { port, token, protocol, trusted })
    }
}

/// What both say, or the only one that says anything.
fn agreed<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(one),
        (one, other) => one.or(other),
    }
}

/// A message from the gateway: an event, or the answer to a request.
#[derive(Deserialize)]
pub struct Frame {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    error: Value,
}

impl Frame {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self, CallError> {
        serde_json::from_str(text).map_err(|_| unclear("its message is not what was expected"))
    }
}

/// A message to the gateway.
#[derive(Serialize)]
struct Request<'a, P> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    method: &'a str,
    params: P,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connect<'a> {
    min_protocol: u32,
    max_protocol: u32,
    client: Client,
    role: &'static str,
    scopes: [&'static str; 1],
    caps: [&'static str; 0],
    auth: Auth<'a>,
}

/// The name under which OpenClaw lets programs of the same host in; any other one is refused, and
/// a CLI without a device has no rights up to 2026.6.11.
#[derive(Serialize)]
struct Client {
    id: &'static str,
    version: &'static str,
    platform: &'static str,
    mode: &'static str,
}

#[derive(Serialize)]
struct Auth<'a> {
    token: &'a str,
}

/// Asks one thing and returns what the gateway answered.
///
/// # Errors
/// When there is no plain answer.
pub async fn call<P: Serialize>(door: &Door, method: &str, params: P) -> Result<Value, CallError> {
    let outcome = timeout(DEADLINE, exchange(door, method, params)).await;
    outcome.unwrap_or_else(|_elapsed| Err(unclear(format!("no answer within {} s", DEADLINE.as_secs()))))
}

async fn exchange<P: Serialize>(door: &Door, method: &str, params: P) -> Result<Value, CallError> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, door.port)).await.map_err(|error| {
        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        if is_refused { CallError::Down } else { unclear(error.to_string()) }
    })?;
    let ends = (tcp.local_addr(), tcp.peer_addr());
    let (Ok(ours), Ok(theirs)) = ends else { return Err(unclear("the connection has no addresses")) };
    let uri = format!("ws://127.0.0.1:{}/", door.port).parse();
    let uri = uri.map_err(|_| unclear("its address is no URI"))?;
    let (read, write) = tcp.into_split();
    let (mut ws, _response) = ClientBuilder::from_uri(uri)
        .limits(Limits::default().max_payload_len(Some(MESSAGE_LIMIT)))
        .connect_on(io::join(read.take(CONNECTION_LIMIT), write))
        .await
        .map_err(|_| unclear("it does not speak WebSocket"))?;
    let challenge = next(&mut ws).await?;
    if challenge.kind != "event" || challenge.event != "connect.challenge" {
        return Err(unclear("it does not begin like an OpenClaw gateway"));
    }
    // By now somebody has taken the connection.
    known(door, ours, theirs)?;
    let client = Client {
        id: "gateway-client",
        version: env!("CARGO_PKG_VERSION"),
        platform: "linux",
        mode: "backend",
    };
    let connect = Connect {
        min_protocol: door.protocol,
        max_protocol: door.protocol,
        client,
        role: "operator",
        scopes: [RIGHT],
        caps: [],
        auth: Auth { token: door.token.expose() },
    };
    send(&mut ws, "1", "connect", connect).await?;
    let hello = answer(&mut ws, "1").await?.map_err(|code| unclear(format!("it refuses us: {code}")))?;
    is_welcome(&hello, door.protocol, method)?;
    send(&mut ws, "2", method, params).await?;
    let answer = answer(&mut ws, "2").await?;
    let _ = timeout(CLOSING, ws.close()).await;
    answer.map_err(|code| match code.as_str() {
        "UNAVAILABLE" => CallError::Unavailable,
        _ => unclear(format!("it refuses {method}: {code}")),
    })
}

/// Whether the other end of the connection is a process of somebody who may have our secrets.
fn known(door: &Door, ours: SocketAddr, theirs: SocketAddr) -> Result<(), CallError> {
    match peer::owner(ours, theirs) {
        Ok(Some(owner)) if door.trusted.contains(&owner) => Ok(()),
        Ok(Some(owner)) => Err(unclear(format!("user {owner} listens on its port"))),
        Ok(None) => Err(unclear("who listens on its port is not known")),
        Err(error) => Err(unclear(format!("the table of sockets: {error}"))),
    }
}

/// A hello that speaks our protocol, gives the right that was asked for, and knows the method.
///
/// # Errors
/// What of it is missing.
pub fn is_welcome(hello: &Value, protocol: u32, method: &str) -> Result<(), CallError> {
    let lists = |list: Option<&Value>, word: &str| {
        list.and_then(Value::as_array).is_some_and(|list| list.iter().any(|entry| entry == word))
    };
    let at = |place: &str| hello.pointer(place);
    if at("/type").and_then(Value::as_str) != Some("hello-ok")
        || at("/protocol").and_then(Value::as_u64) != Some(protocol.into())
    {
        return Err(unclear("it speaks another protocol"));
    }
    if !lists(at("/auth/scopes"), RIGHT) {
        return Err(unclear(format!("it does not give the right {RIGHT}")));
    }
    if !lists(at("/features/methods"), method) {
        return Err(unclear(format!("it does not know {method}")));
    }
    Ok(())
}

async fn send<S, P>(ws: &mut WebSocketStream<S>, id: &str, method: &str, params: P) -> Result<(), CallError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Serialize,
{
    let request = Request { kind: "req", id, method, params };
    let text = serde_json::to_string(&request).map_err(|_| unclear("the request is no JSON"))?;
    ws.send(Message::text(text)).await.map_err(|_| unclear("it closed the connection"))
}

/// The answer to a request, past whatever events come first; an error is told by its code.
async fn answer<S>(ws: &mut WebSocketStream<S>, id: &str) -> Result<Result<Value, String>, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        if let Some(answer) = answer_in(next(ws).await?, id)? {
            return Ok(answer);
        }
    }
}

/// The answer to the request in a frame; `None` for an event.
///
/// # Errors
/// When it is neither.
pub fn answer_in(frame: Frame, id: &str) -> Result<Option<Result<Value, String>>, CallError> {
    match frame.kind.as_str() {
        "event" => Ok(None),
        "res" if frame.id == id && frame.ok => Ok(Some(Ok(frame.payload))),
        "res" if frame.id == id => {
            let code = frame.error.get("code").and_then(Value::as_str).unwrap_or("no code");
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
            Ok(Some(Err(code.chars().filter(is_plain).take(64).collect())))
        }
        _ => Err(unclear("it answers something that was not asked")),
    }
}

async fn next<S>(ws: &mut WebSocketStream<S>) -> Result<Frame, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = match ws.next().await {
            Some(Ok(message)) => message,
            Some(Err(_)) => return Err(unclear("its messages cannot be read")),
            None => return Err(unclear("it closed the connection")),
        };
        if message.is_ping() || message.is_pong() {
            continue;
        }
        let Some(text) = message.as_text() else {
            return Err(unclear("it closed the connection or sent bytes"));
        };
        return Frame::parse(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(port: &str, config: &str, token: &str) -> Option<u16> {
        let environment = [("OPENCLAW_GATEWAY_PORT", port)].into_iter().filter(|(_, port)| !port.is_empty());
        let environment = environment.map(|(name, port)| (name.to_owned(), port.to_owned())).collect();
        let secrets = [("OPENCLAW_GATEWAY_TOKEN", token)].into_iter().filter(|(_, token)| !token.is_empty());
        let secrets = secrets.map(|(name, token)| (name.to_owned(), Secret::new(token.to_owned()))).collect();
        let release = Release::new(2026, 9, 6);
        Door::of(&release, config.as_bytes(), &environment, &secrets, None).map(|door| door.port)
    }

    #[test]
    fn a_door_is_where_the_unit_and_the_configuration_agree() {
        let both = r#"{"gateway":{"port":1234,"auth":{"token":"t"}}}"#;
        assert_eq!(door("", both, ""), Some(1234));
        assert_eq!(door("1234", both, "t"), Some(1234));
        assert_eq!(door("1234", "{}", "t"), Some(1234));
        for (port, config, token) in [
            ("4321", both, ""),
            ("", both, "other"),
            ("x", "{}", "t"),
            ("x", both, ""),
            ("", "{}", "t"),
            ("1234", "{}", ""),
            ("1234", r#"{"gateway":{"bind":"lan"}}"#, "t"),
        ] {
            assert_eq!(door(port, config, token), None, "{port} {config} {token}");
        }
        let old = Release::new(2026, 3, 13);
        assert!(Door::of(&old, both.as_bytes(), &BTreeMap::new(), &BTreeMap::new(), None).is_none());
    }
}
