//! The stand-in as a process in another network namespace, driven through its pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::provider::control::{Command, Hello};
use super::provider::{Ledger, Pair};
use super::run::run;

/// A stand-in elsewhere; it ends when its standard input is closed, that is when this is dropped.
#[derive(Debug)]
pub struct Remote {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// The loopback port of its namespace.
    pub port: u16,
    /// Where it put its certificate, as seen from there.
    pub ca: String,
}

impl Remote {
    /// Starts one in a network namespace with nothing but loopback. Needs root.
    pub fn isolated(dir: &Path) -> Self {
        let child = Process::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$1\""])
            .arg(stand_in_program())
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        Self::attach(child)
    }

    /// Takes over a started `provider-stand-in` whose input and output are piped.
    pub fn attach(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("readable");
        let hello: Hello = serde_json::from_str(&line).expect("the stand-in says its port");
        Self { child, stdin, stdout, port: hello.port, ca: hello.ca }
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// For `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[track_caller]
    fn ask(&mut self, command: &Command) -> Value {
        let stdin = self.stdin.as_mut().expect("open until it is dropped");
        let text = serde_json::to_string(command).expect("a command is JSON");
        writeln!(stdin, "{text}").expect("the stand-in lives");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the stand-in lives");
        let answer: Value = serde_json::from_str(&line).expect("it answers in JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// See `Provider::seed`.
    #[track_caller]
    pub fn seed(&mut self, family: &str) -> Pair {
        let answer = self.ask(&Command::Seed { family: family.to_owned() });
        serde_json::from_value(answer).expect("a pair")
    }

    /// See `Provider::adopt`.
    #[track_caller]
    pub fn adopt(&mut self, family: &str, pair: &Pair) {
        self.ask(&Command::Adopt { family: family.to_owned(), pair: pair.clone() });
    }

    /// Turns the switches named in the object.
    #[track_caller]
    pub fn set(&mut self, switches: Value) {
        let Value::Object(set) = switches else { panic!("switches are an object") };
        self.ask(&Command::Switches { set });
    }

    /// A copy of the ledger.
    #[track_caller]
    pub fn ledger(&mut self) -> Ledger {
        serde_json::from_value(self.ask(&Command::Ledger)).expect("a ledger")
    }

    /// Waits for so many grants; `false` when the deadline passed first.
    #[track_caller]
    pub fn wait_for_grants(&mut self, grants: usize, deadline: Duration) -> bool {
        self.ask(&Command::Wait { grants, seconds: deadline.as_secs() }) == Value::Bool(true)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// The program, built when it is not up to date (a run of a single test file does not build it).
pub fn stand_in_program() -> PathBuf {
    built(&["--example", "provider-stand-in"]);
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tokensink"));
    beside.parent().expect("it is in a directory").join("examples/provider-stand-in")
}

/// Runs `cargo build` of this package with these arguments.
pub fn built(arguments: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Process::new(cargo);
    build.args(["build", "--quiet", "--locked", "--offline"]).args(arguments);
    // What cargo tells a test about its package would look to build scripts like another build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| name.starts_with(p))
        {
            build.env_remove(name);
        }
    }
    run(build.current_dir(env!("CARGO_MANIFEST_DIR")), b"").ok();
}
