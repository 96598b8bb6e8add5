//! The loopback port of an OpenClaw gateway, played: challenge, hello, answers, and everything a
//! hostile one might say instead. The good exchange is that of 2026.9.6, shortened.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_websockets::{Message, ServerBuilder};

/// The gateway's own token.
pub const TOKEN: &str = "made-up-gateway-token";

/// What a gateway says.
#[derive(Clone)]
pub struct Play {
    /// Sent instead of the upgrade.
    pub raw: Option<Vec<u8>>,
    /// Sent after the upgrade.
    pub opening: Vec<Message>,
    /// Sent for the request `connect`.
    pub hello: Vec<Message>,
    /// Sent for the request after it, in the first connections one for each.
    pub first: Vec<Message>,
    /// Sent for the request after it.
    pub answer: Vec<Message>,
    /// Takes connections as another user.
    pub is_foreign: bool,
}

/// An answer to the request of that id.
pub fn result(id: &str, payload: Value) -> Message {
    Message::text(json!({"type": "res", "id": id, "ok": true, "payload": payload}).to_string())
}

/// A refusal of the request of that id.
pub fn refusal(id: &str, code: &str, text: &str) -> Message {
    let error = json!({"code": code, "message": text});
    Message::text(json!({"type": "res", "id": id, "ok": false, "error": error}).to_string())
}

/// Something that happens in the gateway meanwhile.
pub fn event(name: &str, payload: Value) -> Message {
    Message::text(json!({"type": "event", "event": name, "payload": payload, "seq": 1}).to_string())
}

/// The hello of 2026.9.6, shortened.
pub fn hello() -> Value {
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": {"version": "2026.9.6", "bootId": "17144060-41ab-460a-94bf-40c9c74ea601"},
        "features": {"methods": ["health", "secrets.reload", "secrets.store.set", "secrets.store.delete"]},
        "auth": {"method": "token", "role": "operator", "scopes": ["operator.admin"]},
        "policy": {"maxPayload": 26_214_400, "tickIntervalMs": 30_000},
    })
}

impl Play {
    /// A gateway that does what it is asked, and answers with `payload`.
    pub fn good(payload: Value) -> Self {
        let nonce = json!({"nonce": "64bcb2be-c841-40f8-a2c2-7d1ef32b82e3", "ts": 1_795_267_558_138_u64});
        Self {
            raw: None,
            opening: vec![event("connect.challenge", nonce)],
            hello: vec![result("1", hello())],
            first: Vec::new(),
            answer: vec![event("health", json!({"ok": true})), result("2", payload)],
            is_foreign: false,
        }
    }
}

/// A gateway that is played until it is dropped.
pub struct ClawDoor {
    /// Where it listens.
    pub port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ClawDoor {
    /// Begins to play.
    pub fn open(play: Play) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = oneshot::channel();
        let noted = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            if play.is_foreign {
                // Of this thread only.
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, &play, &noted) => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, heard, end: Some(end), thread: Some(thread) }
    }

    /// The requests that came, oldest first.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// The methods that were asked for, oldest first.
    pub fn methods(&self) -> Vec<String> {
        self.heard().iter().map(|request| request["method"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for ClawDoor {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, play: &Play, heard: &Mutex<Vec<Value>>) {
    let mut first = play.first.iter();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = first.next().map_or(play.answer.as_slice(), std::slice::from_ref);
        // A caller that hangs up in the middle ends the conversation.
        let _ = talk(stream, play, answer, heard).await;
    }
}

async fn talk(
    mut stream: TcpStream,
    play: &Play,
    answer: &[Message],
    heard: &Mutex<Vec<Value>>,
) -> Option<()> {
    if let Some(raw) = &play.raw {
        stream.write_all(raw).await.ok()?;
        return stream.shutdown().await.ok();
    }
    let (_, mut ws) = ServerBuilder::new().accept(stream).await.ok()?;
    for message in &play.opening {
        ws.send(message.clone()).await.ok()?;
    }
    while let Some(Ok(message)) = ws.next().await {
        let request: Value = serde_json::from_str(message.as_text()?).ok()?;
        let replies = if request["method"] == "connect" { &play.hello } else { answer };
        heard.lock().unwrap().push(request);
        for message in replies {
            ws.send(message.clone()).await.ok()?;
        }
    }
    Some(())
}
