//! An OpenClaw in a container of a real engine: its release is asked inside, its store is written through
//! the mount, its reload goes inside. The CLI in the container is a script that notes how it was called.
//!
//! Needs root (a network namespace with nothing but loopback) and Debian's packages of the engine (once).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use support::cli_host::CliHost;
use support::container::Engine;
use support::run::{Ran, run};

const CLI: &str = "#!/bin/sh\necho \"$*\" >>\"$HOME/calls\"\ncase \"$*\" in\n\
    --version) cat /opt/release ;;\n\"secrets reload --json\") echo '{\"ok\":true,\"warningCount\":0}' ;;\n*) exit 9 ;;\nesac\n";

struct Bench {
    engine: Engine,
    host: CliHost,
    cli: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let host = CliHost::new(false, 8 * 3600);
        let engine = Engine::start(&host);
        let cli = host.home().join("inside");
        fs::create_dir_all(&cli).unwrap();
        fs::write(cli.join("openclaw"), CLI).unwrap();
        fs::set_permissions(cli.join("openclaw"), fs::Permissions::from_mode(0o755)).unwrap();
        let agent = host.home().join(".openclaw/agents/main/agent");
        fs::create_dir_all(&agent).unwrap();
        fs::write(agent.join("auth-profiles.json"), "{\"version\":1,\"profiles\":{}}\n").unwrap();
        fs::write(host.home().join(".openclaw/openclaw.json"), "{}\n").unwrap();
        let text = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\npath = \"~/.claude/.credentials.json\"\n\
            [login.refresh]\nmode = \"off\"\n[[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n\
            [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\ncontainer = \"claw\"\n";
        fs::write(host.home().join(".config/tokensink/tokensink.toml"), text).unwrap();
        Self { engine, host, cli }
    }

    /// Runs the gateway's container, with that release in it.
    fn runs(&self, release: &str) {
        fs::write(self.cli.join("release"), format!("OpenClaw {release} (0a1b2c3)\n")).unwrap();
        self.engine.sleeper(&self.host, "claw", &self.cli, "EXTRA=1");
    }

    fn sync(&self) -> Value {
        let mut command = self.host.tokensink(&["sync", "--json"]);
        command.env("PATH", &self.engine.path).env("DOCKER_HOST", self.engine.socket());
        let ran: Ran = run(&mut command, b"");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"))
    }

    /// What the CLI inside was asked since the last time.
    fn asked(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.host.home().join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.host.home().join("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    fn store(&self) -> String {
        fs::read_to_string(self.host.home().join(".openclaw/agents/main/agent/auth-profiles.json")).unwrap()
    }
}

#[test]
fn an_openclaw_in_a_container_is_asked_supplied_and_reloaded_inside() {
    let mut bench = Bench::new();
    bench.runs("2026.2.26");
    let report = bench.sync();
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    assert_eq!(bench.asked(), ["--version", "secrets reload --json"]);
    assert!(bench.store().contains(&bench.host.pair.access));

    bench.sync();
    assert_eq!(bench.asked(), [""; 0], "nothing changed, nothing is asked");

    // The same container with another token; then one that was made anew, of another release.
    bench.rotate();
    bench.sync();
    assert_eq!(bench.asked(), ["secrets reload --json"]);
    bench.engine.remove(&bench.host, "claw");
    bench.runs("2026.9.6");
    let before = bench.store();
    bench.rotate();
    let report = bench.sync();
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert_eq!((bench.asked(), bench.store()), (vec!["--version".to_owned()], before));
    bench.engine.remove(&bench.host, "claw");
}

impl Bench {
    fn rotate(&mut self) {
        self.host.pair = support::provider::Pair::invent("next");
        let document = support::claude::document(&self.host.pair, support::claude::in_seconds(8 * 3600));
        self.host.write(&document.to_string());
    }
}
