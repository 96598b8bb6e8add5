//! A receiver of alerts on the loopback: it speaks as much HTTP as a server of ntfy or of webhooks has to,
//! keeps every request, and answers as it is told. No ntfy server can be had from a package registry;
//! this one answers a publication as ntfy 2.14 documents it, and refuses what ntfy would refuse.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::SOON;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub at: Instant,
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Manner {
    /// As an ntfy server; with a token, only to who has it.
    Ntfy(Option<&'static str>),
    /// This head, with this body.
    Says(&'static str, &'static str),
    /// The connection ends in the midst of the answer.
    Cuts,
    /// No answer.
    Hangs,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    more: Condvar,
    manner: Mutex<Manner>,
    held: Mutex<Vec<TcpStream>>,
}

/// A running receiver.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            more: Condvar::new(),
            manner: Mutex::new(manner),
            held: Mutex::default(),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let inner = Arc::clone(&inner);
                std::thread::spawn(move || drop(serve(stream, &inner)));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn answer(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits for the first request after the first `from` ones whose body has all of these.
    pub fn until(&self, from: usize, words: &[&str]) -> Request {
        let deadline = Instant::now() + SOON;
        let mut requests = self.shared.requests.lock().unwrap();
        loop {
            let is_it = |request: &&Request| words.iter().all(|word| request.body.contains(word));
            if let Some(found) = requests.iter().skip(from).find(is_it) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "no request with {words:?}: {requests:#?}");
            requests = self.shared.more.wait_timeout(requests, left).unwrap().0;
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Request { at: Instant::now(), line: line.trim_end().to_owned(), headers, body };
    let manner = shared.manner.lock().unwrap().clone();
    let answer = match &manner {
        Manner::Ntfy(token) => ntfy(&request, *token),
        Manner::Says(head, body) => {
            format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        }
        Manner::Cuts => "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":".to_owned(),
        Manner::Hangs => String::new(),
    };
    if matches!(manner, Manner::Hangs) {
        shared.held.lock().unwrap().push(stream.try_clone()?);
    }
    let mut stream = stream;
    // Whoever has the answer and looks at once finds the request.
    let mut requests = shared.requests.lock().unwrap();
    stream.write_all(answer.as_bytes())?;
    stream.flush()?;
    requests.push(request);
    drop(requests);
    shared.more.notify_all();
    Ok(())
}

/// Publishing as JSON: a POST to the root, `topic` and `message`, priority 1 to 5, tags, `click`.
fn ntfy(request: &Request, token: Option<&str>) -> String {
    let refuse = |status: &str, code: u32| {
        let body = format!("{{\"code\":{code},\"http\":{},\"error\":\"x\"}}", &status[..3]);
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let wanted = token.map(|token| format!("Bearer {token}"));
    if wanted.is_some() && request.header("authorization") != wanted.as_deref() {
        return refuse("401 Unauthorized", 40101);
    }
    let Ok(published) = serde_json::from_str::<Value>(&request.body) else {
        return refuse("400 Bad Request", 40024);
    };
    let topic = published["topic"].as_str().unwrap_or_default();
    let is_fit = request.line == "POST / HTTP/1.1"
        && !topic.is_empty()
        && published["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() <= 4096)
        && published["priority"].as_u64().is_some_and(|priority| (1..=5).contains(&priority))
        && published["tags"].as_array().is_some_and(|tags| tags.iter().all(Value::is_string));
    if !is_fit {
        return refuse("400 Bad Request", 40009);
    }
    let body =
        serde_json::json!({"id": "hwQ2YpKdmg", "time": 1_795_000_000, "event": "message", "topic": topic,
        "title": published["title"], "message": published["message"]})
        .to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
