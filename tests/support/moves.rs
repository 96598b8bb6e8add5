//! A login that goes from one made-up home to another: the host that it goes to, and the bundle on its way.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::host::{Cli, Host};
use super::looks::tree;
use super::run::{Ran, dress, run};

/// The host that a login goes to.
pub struct New {
    dir: tempfile::TempDir,
    pub home: PathBuf,
}

impl New {
    /// A home in which the CLI was started once, and nothing is configured.
    pub fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        for made in ["home/.claude", "home/.codex", "runtime"] {
            std::fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        Self { dir, home }
    }

    /// The same, configured to refresh at the old host's stand-in.
    pub fn of(old: &Host, cli: Cli) -> Self {
        let new = Self::bare();
        new.configure(&old.token_url(), cli);
        new
    }

    pub fn configure(&self, token_url: &str, cli: Cli) {
        let file = self.home.join(".config/tokensink/tokensink.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text = format!(
            "[[login]]\nid = \"{0}\"\nprovider = \"{0}\"\n[login.refresh]\nmode = \"direct\"\ntoken_url = \"{token_url}\"\n",
            cli.name()
        );
        std::fs::write(file, text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokensink"));
        dress(&mut command, &self.home, self.dir.path()).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run(&mut self.command(arguments), input)
    }

    /// The recipient for this host.
    pub fn recipient(&self) -> String {
        self.run(&["import", "--key"], b"").ok().to_owned()
    }

    pub fn import(&self, bundle: &[u8]) -> Ran {
        self.run(&["import"], bundle)
    }

    pub fn read(&self) -> String {
        std::fs::read_to_string(self.home.join(".claude/.credentials.json")).unwrap_or_default()
    }

    /// Every file that is not a lock, with its content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let is_lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
        let files = tree(&self.home).into_iter().filter(|path| path.is_file() && !is_lock(path));
        files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }
}

/// `tokensink export` into a file; what it said, and what is in the file.
pub fn export(old: &Host, recipient: &str, failpoint: &str) -> (Output, Vec<u8>) {
    let file = old.home.join("bundle");
    let mut command = old.command(&["export", "--yes", "--to", recipient, old_id(old)]);
    let child = command
        .env("TOKENSINK_FAILPOINT", failpoint)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&file).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    old.assert_no_token_in(&String::from_utf8_lossy(&output.stderr));
    (output, std::fs::read(file).unwrap())
}

fn old_id(old: &Host) -> &'static str {
    if old.source().ends_with("auth.json") { "codex" } else { "claude" }
}

/// `tokensink export` that succeeds.
#[track_caller]
pub fn exported(old: &Host, recipient: &str) -> Vec<u8> {
    let (output, bundle) = export(old, recipient, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for canary in old.pair.canaries() {
        assert!(!String::from_utf8_lossy(&bundle).contains(&canary), "the bundle is sealed");
    }
    bundle
}
