//! The loopback listener of one login in progress. It is there while somebody waits for the browser,
//! and not a moment longer. Whoever can reach the loopback can talk to it, so that it believes nobody:
//! one path, one method, its own names as `Host`, bounded requests, the state of this attempt. What is
//! not the answer is refused and waited on. Its pages are fixed texts: nothing of a request is in them.
//! Facts: Codex 0.169.0 listens on 127.0.0.1:1455, else on 1457, and answers a wrong state with 400.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::core::authorize::{self, Returned};

/// The longest head of a request; the URLs of real answers are below 2 KiB.
const LONGEST_HEAD: usize = 16 * 1024;
/// How long one connection may take: browsers open some before they need them.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many connections at a time; a newer one takes the place of all others.
const CROWD: usize = 32;

/// Where an authorization server sends the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To us.
    Loopback {
        /// `127.0.0.1`, `localhost` or `[::1]`, as it stands in the URL.
        host: String,
        /// The ports that the provider knows, the first choice first; 0: any.
        ports: Vec<u16>,
        /// The path, with its slash, and a query where the provider knows one.
        path: String,
    },
    /// To a page of its own that shows the code.
    Page(String),
}

impl Redirect {
    /// The URL, with the port that listens, else the first one that the provider knows.
    #[must_use]
    pub fn url(&self, port: Option<u16>) -> String {
        match self {
            Self::Loopback { host, ports, path } => {
                let port = port.or_else(|| ports.first().copied()).unwrap_or_default();
                format!("http://{host}:{port}{path}")
            }
            Self::Page(url) => url.clone(),
        }
    }
}

/// The addresses that a browser may try for a host.
fn addresses(host: &str) -> &'static [IpAddr] {
    const BOTH: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match host {
        "localhost" => &BOTH,
        "[::1]" => &BOTH[1..],
        _ => &BOTH[..1],
    }
}

/// A listener, closed when it is dropped.
#[derive(Debug)]
pub struct Callback {
    listeners: Vec<TcpListener>,
    port: u16,
    path: String,
}

impl Callback {
    /// Listens on the first port that is free on every address that the browser may try; `None` when
    /// all are taken, or the browser is not sent to us.
    pub async fn listen(redirect: &Redirect) -> Option<Self> {
        let Redirect::Loopback { host, ports, path } = redirect else { return None };
        let path = path.split('?').next().unwrap_or_default();
        for port in ports {
            if let Ok(listeners) = bind(addresses(host), *port).await
                && let Some(port) = listeners.first().and_then(|first| first.local_addr().ok())
            {
                return Some(Self { listeners, port: port.port(), path: path.to_owned() });
            }
        }
        None
    }

    /// The port that was free.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the answer to the attempt with that state. Never ends without one.
    pub async fn answer(&self, state: &str) -> Returned {
        let mut talks: JoinSet<Option<Returned>> = JoinSet::new();
        loop {
            tokio::select! {
                stream = accept(&self.listeners) => {
                    if talks.len() >= CROWD {
                        talks.abort_all();
                    }
                    let talk = talk(stream, self.port, self.path.clone(), state.to_owned());
                    talks.spawn(async move { tokio::time::timeout(PATIENCE, talk).await.ok().flatten() });
                }
                Some(ended) = talks.join_next() => {
                    if let Ok(Some(returned)) = ended {
                        return returned;
                    }
                }
            }
        }
    }
}

/// All of them or none; an address family that the host does not have is none to listen on.
async fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for address in addresses {
        match TcpListener::bind(SocketAddr::new(*address, port)).await {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                listeners.push(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) if listeners.is_empty() && addresses.len() == 1 => return Err(error),
            Err(_) => {}
        }
    }
    Ok(listeners)
}

/// The next connection to any of them.
async fn accept(listeners: &[TcpListener]) -> TcpStream {
    std::future::poll_fn(|context| {
        for listener in listeners {
            match listener.poll_accept(context) {
                Poll::Ready(Ok((stream, _))) => return Poll::Ready(stream),
                // A connection that went away at once: ask again.
                Poll::Ready(Err(_)) => context.waker().wake_by_ref(),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// One request and its page.
async fn talk(mut stream: TcpStream, port: u16, path: String, state: String) -> Option<Returned> {
    let (page, returned) = match head(&mut stream).await {
        Some(head) => judge(&head, port, &path, &state),
        None => (Page::TooLarge, None),
    };
    // A browser that does not wait for its page has brought the answer all the same.
    let _ = stream.write_all(page.response().as_bytes()).await;
    let _ = stream.shutdown().await;
    returned
}

/// The head of a request, its end included; `None` when it is too long or never ends.
async fn head(stream: &mut TcpStream) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_HEAD));
    let mut piece = Zeroizing::new([0_u8; 1024]);
    loop {
        let read = stream.read(piece.as_mut_slice()).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(piece.get(..read)?);
        if bytes.len() > LONGEST_HEAD {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return std::str::from_utf8(bytes.get(..end)?).ok().map(|head| Zeroizing::new(head.to_owned()));
        }
    }
}

/// What a request is answered with, and the answer that it brought.
#[must_use]
pub fn judge(head: &str, port: u16, path: &str, state: &str) -> (Page, Option<Returned>) {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut hosts = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim());
    // A page elsewhere whose name leads here has another host.
    let is_own =
        |host: &str| ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host == format!("{name}:{port}"));
    if !(hosts.next().is_some_and(is_own) && hosts.next().is_none()) {
        return (Page::WrongHost, None);
    }
    let (asked, query) = target.split_once('?').unwrap_or((target, ""));
    if asked != path {
        return (Page::NotFound, None);
    }
    if method != "GET" {
        return (Page::WrongMethod, None);
    }
    match authorize::from_query(query, state) {
        Ok(returned @ Returned::Code(_)) => (Page::Heard, Some(returned)),
        Ok(returned @ Returned::Refused { .. }) => (Page::Refused, Some(returned)),
        Err(_) => (Page::NotTheAnswer, None),
    }
}

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The answer came.
    Heard,
    /// The answer came, and it is no.
    Refused,
    /// It is not the answer to this attempt.
    NotTheAnswer,
    /// Another path.
    NotFound,
    /// Anything but GET.
    WrongMethod,
    /// Another name, several or none.
    WrongHost,
    /// Too long, or without an end.
    TooLarge,
}

impl Page {
    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Heard => (
                "200 OK",
                "tokensink has received the answer. The terminal says whether the login worked; this page can be closed.",
            ),
            Self::Refused => {
                ("200 OK", "The login was refused. The terminal says why; this page can be closed.")
            }
            Self::NotTheAnswer => {
                ("400 Bad Request", "This is not the answer to the login that is in progress.")
            }
            Self::NotFound => ("404 Not Found", "There is nothing here."),
            Self::WrongMethod => ("405 Method Not Allowed", "Only GET is answered."),
            Self::WrongHost => ("421 Misdirected Request", "This address is not answered under that name."),
            Self::TooLarge => ("431 Request Header Fields Too Large", "That is no request of a browser."),
        }
    }

    fn response(self) -> String {
        let (status, text) = self.text();
        let body = format!("<!doctype html><meta charset=\"utf-8\"><title>tokensink</title><p>{text}</p>\n");
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn judged(head: &str) -> (Page, bool) {
        let (page, returned) = judge(head, 1455, "/auth/callback", "s1");
        (page, returned.is_some())
    }

    #[test]
    fn only_the_answer_to_this_attempt_is_believed() {
        let good = "GET /auth/callback?code=ac_1&state=s1 HTTP/1.1\r\nHost: 127.0.0.1:1455";
        let (page, returned) = judge(good, 1455, "/auth/callback", "s1");
        assert_eq!((page, returned), (Page::Heard, Some(Returned::Code(Secret::new("ac_1".into())))));
        assert_eq!(judged(&good.replace("127.0.0.1", "localhost")), (Page::Heard, true));
        assert_eq!(judged(&good.replace("127.0.0.1", "[::1]").replace("Host", "hOST")), (Page::Heard, true));
        for (from, to, page) in [
            ("state=s1", "state=s2", Page::NotTheAnswer),
            ("&state=s1", "", Page::NotTheAnswer),
            ("code=ac_1&", "", Page::NotTheAnswer),
            ("/auth/callback", "/cancel", Page::NotFound),
            ("/auth/callback", "//auth/callback", Page::NotFound),
            ("/auth/callback", "http://evil.example/auth/callback", Page::NotFound),
            ("GET", "POST", Page::WrongMethod),
            ("GET", "HEAD", Page::WrongMethod),
            ("127.0.0.1:1455", "evil.example:1455", Page::WrongHost),
            ("127.0.0.1:1455", "127.0.0.1:1456", Page::WrongHost),
            ("127.0.0.1:1455", "127.0.0.1:1455\r\nHost: evil.example", Page::WrongHost),
            ("\r\nHost: 127.0.0.1:1455", "", Page::WrongHost),
        ] {
            assert_eq!(judged(&good.replace(from, to)), (page, false), "{from} -> {to}");
        }
        assert_eq!(judged(""), (Page::WrongHost, false));
        assert_eq!(
            judged("GET /auth/callback?error=access_denied&state=s1 HTTP/1.1\r\nHost: localhost:1455"),
            (Page::Refused, true)
        );
    }

    #[test]
    fn a_page_is_as_long_as_it_says() {
        let response = Page::Heard.response();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
