//! A person who logs in: the real program, a browser that is played, and the stand-in behind a proxy for every host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::codex;
use super::host::until;
use super::looks::tree;
use super::provider::{Pair, Provider};
use super::run::{Ran, dress, run};

/// An answer of HTTP.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One home without anything in it, and every server there is.
pub struct LoginBench {
    dir: tempfile::TempDir,
    pub home: PathBuf,
    pub provider: Provider,
}

impl LoginBench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        for made in ["home", "runtime"] {
            std::fs::create_dir(dir.path().join(made)).unwrap();
        }
        let provider = Provider::start(dir.path());
        provider.set(|s| s.expires_in = 864_000);
        Self { dir, home, provider }
    }

    /// `tokensink` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokensink"));
        dress(&mut command, &self.home, self.dir.path())
            .env("HTTPS_PROXY", self.provider.url())
            .env("SSL_CERT_FILE", self.provider.ca_pem())
            .args(arguments);
        command
    }

    /// `tokensink`, run to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let ran = run(&mut self.command(arguments), b"");
        self.assert_no_secret_in(&ran.both());
        ran
    }

    /// `tokensink login` with these arguments, begun.
    pub fn login(&self, arguments: &[&str]) -> Login {
        self.start(&mut self.command(&[&["login"][..], arguments].concat()))
    }

    /// A command that logs in, begun.
    pub fn start(&self, command: &mut Command) -> Login {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said: Arc<Mutex<String>> = Arc::default();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = streams.map(|stream| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    said.lock().unwrap().push_str(&format!("{line}\n"));
                }
            })
        });
        Login { child, said, readers: readers.into() }
    }

    /// What the authorization page answers to that URL, as the browser gets it.
    pub fn visit(&self, url: &str) -> Page {
        let rest = url.split_once("://").unwrap().1;
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        get(self.provider.port, host, path)
    }

    /// Where the authorization page sends the browser.
    #[track_caller]
    pub fn sent_to(&self, url: &str) -> String {
        let page = self.visit(url);
        assert_eq!(page.status, 302, "{page:?}");
        page.head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned()
    }

    /// The stored login.
    pub fn stored(&self, id: &str) -> Value {
        let path = self.home.join(format!(".local/state/tokensink/logins/{id}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// The pair of the login that works.
    pub fn live(&self) -> Pair {
        self.provider.ledger().live("login").clone()
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        let file = self.home.join(".config/tokensink/tokensink.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// A login of Codex's own that is there already, and configured.
    pub fn hold_codex_login(&self) {
        let pair = Pair::codex("held", 86_400);
        self.provider.adopt("held", pair.clone());
        std::fs::create_dir(self.home.join(".codex")).unwrap();
        std::fs::write(self.home.join(".codex/auth.json"), codex::document(&pair)).unwrap();
        self.configure("[[login]]\nid = \"codex\"\nprovider = \"codex\"\n");
    }

    /// The names of the drop-ins.
    pub fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.join(".config/tokensink/tokensink.d"));
        let names =
            entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Every file below the home with its content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = tree(&self.home).into_iter().filter(|path| path.is_file());
        files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    /// No token, code or verifier that the servers have seen is in the text.
    #[track_caller]
    pub fn assert_no_secret_in(&self, text: &str) {
        let ledger = self.provider.ledger();
        for pair in ledger.token_requests().filter_map(|request| request.verdict.as_ref()?.granted()) {
            for canary in pair.canaries() {
                assert!(!text.contains(&canary), "a token in the output: {text}");
            }
        }
        for request in ledger.token_requests() {
            for secret in
                ["code", "code_verifier", "device_code"].iter().filter_map(|name| request.field(name))
            {
                assert!(!text.contains(&secret), "a secret of the request in the output: {text}");
            }
        }
    }
}

/// A login in progress; killed when it is dropped.
pub struct Login {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Login {
    /// What it has printed so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has printed that.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        until(&format!("it says {text}"), 30, || self.said().contains(text));
    }

    /// The URL that it asks to visit.
    #[track_caller]
    pub fn url(&self) -> String {
        self.wait_for("paste that page's");
        self.said().lines().find(|line| line.starts_with("http")).unwrap().to_owned()
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, for at most half a minute.
    #[track_caller]
    pub fn end(&mut self) -> Ran {
        let mut status = None;
        until(&format!("the login ends: {}", self.said()), 30, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Ran {
            what: "tokensink login".into(),
            code: status.unwrap().code(),
            stdout: self.said(),
            stderr: String::new(),
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET of a path on a loopback port.
pub fn get(port: u16, host: &str, path: &str) -> Page {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// GET of a URL of the loopback.
pub fn get_url(url: &str) -> Page {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    get(host.rsplit_once(':').unwrap().1.parse().unwrap(), host, path)
}

/// Sends those bytes to a loopback port and reads to the end.
pub fn send(port: u16, request: &str) -> Page {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Who refuses a request need not read all of it.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Page { status, head: head.replace('\r', ""), body: body.to_owned() }
}
