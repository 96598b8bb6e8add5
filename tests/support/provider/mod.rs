//! A stand-in for a provider's servers, on loopback, with a ledger of every token.
//!
//! One port is an HTTP proxy (CONNECT to any host ends in our own TLS), a TLS server and a plain HTTP server at
//! once. What it says about the real server is nothing; it is strict where the real one is reported to be.

mod authorize;
pub mod control;
mod endpoints;
mod ledger;
mod openai;
mod switches;
mod wire;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use endpoints::ACCOUNT;
pub use ledger::{Ledger, Pair, Request, Verdict};
pub use openai::{OPENAI_ACCOUNT, jwt_until};
pub use switches::{ApiAuth, Fault, Switches};
use wire::{Answer, Authority, Incoming, Stream};

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    switches: Switches,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told after every change of the state.
    changed: Condvar,
    tls: Arc<ServerConfig>,
}

/// A running stand-in; dropping it closes its port and every hanging connection.
#[derive(Debug)]
pub struct Provider {
    /// The loopback port it listens on.
    pub port: u16,
    ca: PathBuf,
    shared: Arc<Shared>,
}

impl Provider {
    /// Starts one; the certificate of its authority is written to `dir/ca.pem`.
    pub fn start(dir: &Path) -> Self {
        let (authority, pem) = Authority::new();
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, pem).expect("the certificate can be written");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            tls: authority.server_config(),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if server.lock().stopping {
                    break;
                }
                let shared = Arc::clone(&server);
                // A client that goes away in mid-sentence is no failure of ours.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { port, ca, shared }
    }

    /// The certificate to trust, for `NODE_EXTRA_CA_CERTS` and the like.
    pub fn ca_pem(&self) -> &Path {
        &self.ca
    }

    /// For `HTTPS_PROXY`, or as the base of a plain-HTTP token URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a family known with an invented pair.
    pub fn seed(&self, family: &str) -> Pair {
        let pair = Pair::invent(family);
        self.adopt(family, pair.clone());
        pair
    }

    /// Makes a family known with that pair, or gives a known one a new login.
    pub fn adopt(&self, family: &str, pair: Pair) {
        self.shared.lock().ledger.adopt(family, pair);
    }

    /// Turns switches; what hangs looks at them again.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.lock().switches);
        self.shared.changed.notify_all();
    }

    /// Makes every code too old.
    pub fn expire_codes(&self) {
        self.shared.lock().ledger.codes.iter_mut().for_each(|code| code.is_over = true);
    }

    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        self.shared.lock().switches.clone()
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.shared.lock().ledger.clone()
    }

    /// Waits until the ledger is as wanted; `false` when the deadline passed first.
    pub fn wait_for(&self, deadline: Duration, wanted: impl Fn(&Ledger) -> bool) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, deadline, |state| !wanted(&state.ledger));
        !waited.expect("nobody panics here").1.timed_out()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut first = [0];
        if stream.peek(&mut first)? == 0 {
            return Ok(());
        }
        // A TLS record of the type handshake.
        if first[0] == 0x16 {
            return self.serve_tls(stream, "");
        }
        let Some(request) = Incoming::read(&mut stream)? else { return Ok(()) };
        if request.method != "CONNECT" {
            return self.answer(&mut stream, request, "");
        }
        let host = request.target.split(':').next().unwrap_or_default().to_owned();
        if self.lock().switches.fault == Fault::RefuseConnection {
            self.count_down();
            return Ok(());
        }
        io::Write::write_all(&mut stream, b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        self.serve_tls(stream, &host)
    }

    fn serve_tls(&self, stream: TcpStream, host: &str) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        match Incoming::read(&mut stream)? {
            Some(request) => self.answer(&mut stream, request, host),
            None => Ok(()),
        }
    }

    fn answer(&self, stream: &mut impl Stream, incoming: Incoming, connected_to: &str) -> io::Result<()> {
        let named = incoming.header("host").unwrap_or_default().to_owned();
        let path = match incoming.target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
            None => incoming.target,
        };
        let request = Request {
            at_ms: now_ms(),
            host: if connected_to.is_empty() { named } else { connected_to.to_owned() },
            method: incoming.method,
            path,
            headers: incoming.headers,
            body: incoming.body,
            verdict: None,
            answered: None,
        };
        let (number, answer) =
            if request.is_token_request() { self.token(request) } else { self.other(request) };
        if let Some(mut answer) = answer {
            if let Some(ahead) = self.lock().switches.clock_ahead {
                let seconds = now_ms() as i64 / 1000 + ahead;
                let time = UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
                answer.headers.push(("Date", httpdate::fmt_http_date(time)));
            }
            answer.write(stream)?;
            self.lock().ledger.requests[number].answered = Some(answer.status);
            self.changed.notify_all();
            stream.finish();
        }
        Ok(())
    }

    /// Enters the request with its verdict in one step, then waits as the switches say.
    fn token(&self, request: Request) -> (usize, Option<Answer>) {
        let mut state = self.lock();
        let switches = state.switches.clone();
        let before = matches!(switches.fault, Fault::CutBeforeGrant | Fault::HangBeforeGrant);
        let (verdict, mut answer) = match switches.status {
            _ if before => (Verdict::NotJudged, None),
            Some(status) => {
                (Verdict::NotJudged, Some(Answer::text(status, "application/json", switches.body.clone())))
            }
            None => {
                let (verdict, answer) = endpoints::token(&mut state.ledger, &request, &switches);
                (verdict, Some(answer))
            }
        };
        let number = state.ledger.requests.len();
        state.ledger.requests.push(Request { verdict: Some(verdict), ..request });
        drop(state);
        self.changed.notify_all();

        match switches.fault {
            Fault::CutBeforeGrant | Fault::CutAfterGrant => answer = None,
            Fault::HangBeforeGrant | Fault::HangAfterGrant => {
                answer = None;
                self.hang(|state| state.switches.fault != switches.fault);
            }
            Fault::GarbageBody => {
                answer =
                    Some(Answer::text(200, "text/html", "<html><body>Just a moment...</body></html>".into()));
            }
            Fault::TruncatedBody => answer = answer.map(|whole| Answer { truncated: true, ..whole }),
            Fault::None | Fault::RefuseConnection => {}
        }
        self.count_down();
        self.pause(switches.delay_ms);
        let answer = answer.map(|mut answer| {
            answer.headers.extend(switches.retry_after.map(|value| ("Retry-After", value)));
            answer.pause = Duration::from_millis(switches.slow_body_ms);
            answer
        });
        (number, answer)
    }

    fn other(&self, request: Request) -> (usize, Option<Answer>) {
        let mut state = self.lock();
        let switches = state.switches.clone();
        let answer = endpoints::other(&mut state.ledger, &request, &switches);
        let number = state.ledger.requests.len();
        let profile = request.path.starts_with("/api/oauth/profile");
        state.ledger.requests.push(request);
        drop(state);
        self.changed.notify_all();
        if profile {
            self.pause(switches.profile_delay_ms);
        }
        (number, Some(answer))
    }

    /// One of the `times` is over.
    fn count_down(&self) {
        let mut state = self.lock();
        if let Some(left) = state.switches.times {
            state.switches.times = Some(left.saturating_sub(1));
            if left <= 1 {
                state.switches.times = None;
                state.switches.fault = Fault::None;
                state.switches.status = None;
            }
        }
    }

    /// Waits until the end of the stand-in, or until the condition holds.
    fn hang(&self, over: impl Fn(&State) -> bool) {
        drop(self.changed.wait_while(self.lock(), |state| !state.stopping && !over(state)));
    }

    fn pause(&self, milliseconds: u64) {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        let mut state = self.lock();
        while !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).expect("nobody panics here").0;
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}
