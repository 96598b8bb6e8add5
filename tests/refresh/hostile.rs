//! A token endpoint that is hostile, or another server altogether: whatever it says, the login stays, nothing goes
//! anywhere else, and the program ends soon and small.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokensink::refresher::proof::storable;

use crate::login;
use crate::support::claude::in_seconds;
use crate::support::host::{Host, age, document, in_parallel};

/// What a server writes after it has read the request; the second argument is where nobody should go.
type Manner = fn(&mut TcpStream, &str);

/// A server on the loopback that answers everybody in one manner, and how many came; with another one, to which
/// nobody should come.
struct Server {
    url: String,
    visits: Arc<AtomicUsize>,
    elsewhere: Arc<AtomicUsize>,
}

fn listen(manner: impl Fn(&mut TcpStream) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            // The request is in one segment, or it is no matter.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            let _ = stream.read(&mut [0; 65_536]);
            manner(&mut stream);
        }
    });
    (url, visits)
}

impl Server {
    fn start(manner: Manner) -> Self {
        let (other, elsewhere) = listen(|_| ());
        let (url, visits) = listen(move |stream| manner(stream, &other));
        Self { url, visits, elsewhere }
    }
}

fn send(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

fn body(stream: &mut TcpStream, headers: &str, body: &[u8]) {
    send(stream, &format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len()));
    let _ = stream.write_all(body);
}

fn grant(stream: &mut TcpStream, headers: &str, more: &serde_json::Value) {
    let mut answer = json!({"access_token": "sk-ant-oat01-hostile", "refresh_token": "sk-ant-ort01-hostile",
        "token_type": "Bearer", "expires_in": 28_800});
    for (key, value) in more.as_object().unwrap() {
        answer[key] = value.clone();
    }
    body(stream, headers, answer.to_string().as_bytes());
}

fn redirect(stream: &mut TcpStream, status: u16, to: &str) {
    send(stream, &format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
}

/// Without end, as long as somebody listens.
fn pour(stream: &mut TcpStream, chunk: &[u8]) {
    while stream.write_all(chunk).is_ok() {}
}

/// A manner, and the outcome of the refresh.
const MANNERS: &[(&str, Manner, &str)] = &[
    (
        "an endless body",
        |s, _| {
            send(s, "HTTP/1.1 200 OK\r\n\r\n");
            pour(s, &[b' '; 65_536]);
        },
        "unknown",
    ),
    (
        "endless chunks",
        |s, _| {
            send(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            pour(s, format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes());
        },
        "unknown",
    ),
    (
        "a promise of terabytes",
        |s, _| {
            send(s, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n");
            pour(s, &[b'['; 65_536]);
        },
        "unknown",
    ),
    (
        "endless headers",
        |s, _| {
            send(s, "HTTP/1.1 200 OK\r\n");
            pour(s, format!("X: {}\r\n", "y".repeat(4096)).as_bytes());
        },
        "unknown",
    ),
    ("another protocol", |s, _| send(s, "SSH-2.0-OpenSSH_9.2\r\n"), "unknown"),
    (
        "compressed, unasked",
        |s, _| body(s, "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0"),
        "unknown",
    ),
    (
        "no UTF-8",
        |s, _| body(s, "", b"{\"access_token\":\"\xff\xfe\",\"refresh_token\":\"\xff\"}"),
        "unknown",
    ),
    ("deep JSON", |s, _| body(s, "", "[".repeat(200_000).as_bytes()), "unknown"),
    (
        "a line end in a token",
        |s, _| grant(s, "", &json!({"access_token": "sk-ant-oat01-x\nNODE_OPTIONS=--require=/x"})),
        "only refresh",
    ),
    (
        "a return in a token",
        |s, _| grant(s, "", &json!({"refresh_token": "sk-ant-ort01-x\r\nX-Evil: 1"})),
        "unknown",
    ),
    ("NUL in a token", |s, _| grant(s, "", &json!({"access_token": "sk-ant-oat01-\u{0}x"})), "only refresh"),
    (
        "an escape in a token",
        |s, _| grant(s, "", &json!({"access_token": "sk-ant-oat01-\u{1b}[2J"})),
        "only refresh",
    ),
    (
        "a token that is no ASCII",
        |s, _| grant(s, "", &json!({"access_token": "sk-ant-oat01-\u{202e}x"})),
        "only refresh",
    ),
    ("a token of 100 KB", |s, _| grant(s, "", &json!({"access_token": "x".repeat(100_000)})), "only refresh"),
    ("another host", |s, to| redirect(s, 307, to), "failed"),
    ("another host for good", |s, to| redirect(s, 308, to), "failed"),
    ("another method", |s, to| redirect(s, 303, to), "failed"),
    ("another scheme", |s, _| redirect(s, 302, "file:///etc/passwd"), "failed"),
    ("a ring", |s, _| redirect(s, 307, "/token"), "failed"),
    ("no place at all", |s, _| redirect(s, 301, "http://["), "failed"),
    ("only interim answers", |s, _| send(s, &"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000)), "unknown"),
    // The refresh token was spent for what these brought: losing it would lose the login.
    ("the wrong type of content", |s, _| grant(s, "Content-Type: text/html\r\n", &json!({})), "rotated"),
    ("another type of token", |s, _| grant(s, "", &json!({"token_type": "mac"})), "rotated"),
    (
        "a key that stands twice",
        |s, _| {
            body(
                s,
                "",
                br#"{"access_token":"x","refresh_token":"x",
        "access_token":"sk-ant-oat01-hostile","refresh_token":"sk-ant-ort01-hostile"}"#,
            )
        },
        "rotated",
    ),
    ("an end in the past", |s, _| grant(s, "", &json!({"expires_in": -28_800})), "rotated"),
    ("an end that no clock reaches", |s, _| grant(s, "", &json!({"expires_in": 1e300})), "rotated"),
];

#[test]
fn whatever_a_server_answers_the_login_stays_and_nothing_goes_elsewhere() {
    in_parallel(MANNERS, 6, |(name, manner, outcome)| {
        let (host, server) = (Host::new(), Server::start(*manner));
        host.configure(&server.url, "");
        let (before, began) = (host.read(), Instant::now());
        // With no room for what a server might pour out.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 150000; exec \"$0\" refresh --json"]).arg(&host.program);
        let said = host.say(host.dress(&mut command));
        println!("{name}: {:?}, {}", began.elapsed(), said.detail);
        // An access token that cannot be one is none; the refresh token beside it is all that is left of the login.
        let (outcome, access) = match *outcome {
            "only refresh" => ("rotated", login(&host)["accessToken"].clone()),
            other => (other, json!("sk-ant-oat01-hostile")),
        };
        assert_eq!(said.outcome, outcome, "{name}: {said}");
        assert!(began.elapsed() < Duration::from_secs(25), "{name}: not by the deadline");
        let (visits, elsewhere) =
            (server.visits.load(Ordering::Relaxed), server.elsewhere.load(Ordering::Relaxed));
        assert_eq!((visits, elsewhere), (1, 0), "{name}: one request, and none elsewhere");
        if outcome == "rotated" {
            let now = login(&host);
            let kept: serde_json::Value = serde_json::from_str(&before).unwrap();
            assert!(
                access == "sk-ant-oat01-hostile" || access == kept["claudeAiOauth"]["accessToken"],
                "{name}"
            );
            assert_eq!(
                (&now["accessToken"], &now["refreshToken"]),
                (&access, &json!("sk-ant-ort01-hostile")),
                "{name}"
            );
            let ends_in = now["expiresAt"].as_i64().unwrap() - in_seconds(0);
            assert!(
                now["accessToken"] != "sk-ant-oat01-hostile" || (0..=28_800_000).contains(&ends_in),
                "{name}: {ends_in}"
            );
        } else {
            assert_eq!(host.read(), before, "{name}: the file stays");
        }
    });
}

/// Each piece is in time, the whole is not.
#[test]
fn an_answer_in_drops_ends_by_the_deadline_of_the_whole() {
    if std::env::var_os("TOKENSINK_LONG").is_none() {
        return;
    }
    let server = Server::start(|stream, _| {
        send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let host = Host::new();
    host.configure(&server.url, "");
    let began = Instant::now();
    assert_eq!(host.refresh(&[]).outcome, "unknown");
    assert!((28..45).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// The stand-in speaks TLS as whatever host it is asked for, by an authority that this program does not know.
#[test]
fn a_server_that_cannot_prove_its_name_is_sent_nothing() {
    let host = Host::new();
    host.configure("https://platform.claude.com/v1/oauth/token", "");
    let before = host.read();
    let mut command = host.command(&["refresh", "--json"]);
    let said = host.say(command.env("HTTPS_PROXY", host.provider.url()));
    assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{said}");
    host.assert_untouched(&before);
    // With that authority it would have been.
    let mut command = host.command(&["refresh", "--json", "--force"]);
    command.env("HTTPS_PROXY", host.provider.url()).env("SSL_CERT_FILE", host.provider.ca_pem());
    assert_eq!(host.say(&mut command).outcome, "rotated");
}

/// Who may make a directory beside the login's can hold it up, as long as they keep that up, and no more.
#[test]
fn a_lock_that_another_user_planted_holds_up_and_no_more() {
    let host = Host::new();
    let lock = &host.locks()[1];
    let plant = || {
        std::fs::create_dir(lock).unwrap();
        std::os::unix::fs::chown(lock, Some(64_201), Some(64_201)).unwrap();
    };
    plant();
    let before = host.read();
    let said = host.refresh(&[]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{said}");
    host.assert_untouched(&before);
    assert!(lock.is_dir(), "it is not ours to remove while it is fresh");
    age(lock, 600);
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
    // In its place something else, which nobody takes for a lock.
    for other in ["file", "link"] {
        match other {
            "file" => std::fs::write(lock, "").unwrap(),
            _ => std::os::unix::fs::symlink(host.home.join("nowhere"), lock).unwrap(),
        }
        let requests = host.requests();
        let said = host.refresh(&["--force"]);
        assert_eq!((said.outcome.as_str(), host.requests()), ("not-sent", requests), "{other}: {said}");
        std::fs::remove_file(lock).unwrap();
    }
}

/// What the write would refuse is seen before anything is spent.
#[test]
fn a_source_behind_another_users_link_is_refused_before_its_token_is_spent() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("auth.json"), directory.path().join("link.json"));
    std::fs::write(&file, "{}").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    storable(&link, true).unwrap();
    std::os::unix::fs::lchown(&link, Some(64_201), Some(64_201)).unwrap();
    let refused = storable(&link, true).unwrap_err().0;
    assert!(refused.contains("another user's link"), "{refused}");
}

/// An answer that no read brings back holds up its own token, and not the login that somebody made since.
#[test]
fn an_answer_that_can_never_be_read_blocks_no_new_login() {
    let host = Host::new();
    let said = host.say(host.command(&["refresh", "--json"]).env("TOKENSINK_FAILPOINT", "refresh-recorded"));
    assert_eq!(said.code, None, "{said}");
    for lock in host.locks() {
        let _ = std::fs::remove_dir_all(lock);
    }
    let answer = host.home.join(".local/state/tokensink/intents/claude.answer");
    std::fs::remove_file(&answer).unwrap();
    std::os::unix::fs::symlink(&answer, &answer).unwrap();
    let said = host.refresh(&["--force"]);
    assert!(said.outcome == "not-sent" && said.to_string().contains("cannot be read"), "{said}");
    assert_eq!(host.requests(), 1);
    // Somebody logs in.
    host.write(&document(&host.provider.seed("later"), in_seconds(60)));
    assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
}
