//! What the hot path costs in instructions: a figure without noise, compared with the one on record.
//!
//! The release program under `valgrind --tool=callgrind`; wall time is for `make bench`. The record,
//! `tests/instructions.txt`, names the compiler that made the program: another one is held to a wider range. A program
//! that got cheaper fails as well, so that the record stays true.
//! `make build && UPDATE_GOLDEN=1 cargo test --test instructions` writes it anew.
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

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RECORD: &str = "tests/instructions.txt";
/// How far a figure may be from the record, as a share of it.
const TOLERANCE: f64 = 0.05;
/// The same for another compiler.
const OTHER_COMPILER: f64 = 0.25;

/// A made-up home that is worked on by the release program.
struct Home {
    dir: tempfile::TempDir,
    rotations: u32,
}

impl Home {
    /// With `count` secret files, or the store of `count` profiles, as sinks.
    fn new(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in [".claude", ".config/tokensink", ".openclaw/credentials", "stack", "secrets"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let text = format!("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n{configuration}");
        std::fs::write(dir.path().join(".config/tokensink/tokensink.toml"), text).unwrap();
        let mut home = Self { dir, rotations: 0 };
        home.rotate();
        home
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        // As many digits in every run: 2100 and a little.
        let document = serde_json::json!({"claudeAiOauth": {
            "accessToken": format!("sk-ant-oat01-count-{:06}-{}", self.rotations, "made-up-".repeat(9)),
            "refreshToken": format!("sk-ant-ort01-count-{:06}-{}", self.rotations, "made-up-".repeat(9)),
            "expiresAt": 4_102_444_800_000_u64 + u64::from(self.rotations),
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        }});
        std::fs::write(self.dir.path().join(".claude/.credentials.json"), document.to_string()).unwrap();
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn settle(&self) {
        let output = self.command(program()).arg("sync").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Instructions of one run.
    fn count(&self, arguments: &[&str]) -> u64 {
        let mut command = self.command("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program()).args(arguments);
        let output = command.output().expect("this test needs valgrind");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let total = said.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
        total.trim().parse().unwrap()
    }
}

fn program() -> PathBuf {
    // target/<profile>/deps/instructions-…
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().nth(3).unwrap().join("release/tokensink");
    assert!(program.exists(), "{} is missing: make build", program.display());
    program
}

fn secret_files(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let _ = write!(
            text,
            "[[sink]]\nid = \"s{n}\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/secrets/{n}.json\"\n"
        );
    }
    text
}

const THREE: &str = "[[sink]]\nid = \"oauth\"\nlogin = \"claude\"\nkind = \"oauth-json\"\n\
    path = \"~/.openclaw/credentials/oauth.json\"\n\
    [[sink]]\nid = \"env\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"~/stack/.env\"\nkey = \"TOKEN\"\n\
    [[sink]]\nid = \"secret\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/secrets/claude.json\"\n";

/// A store as OpenClaw writes it, with `count` entries, one of which is ours.
fn store_of(home: &Home, count: usize) {
    let agent = home.dir.path().join(".openclaw/agents/main/agent");
    std::fs::create_dir_all(&agent).unwrap();
    let meta = r#"{"meta": {"lastTouchedVersion": "2026.2.9"}}"#;
    std::fs::write(home.dir.path().join(".openclaw/openclaw.json"), meta).unwrap();
    let entries: serde_json::Map<String, serde_json::Value> = (1..count)
        .map(|n| {
            let entry = serde_json::json!({
                "type": "oauth", "provider": "anthropic", "access": format!("sk-ant-oat01-other-{n}"),
                "refresh": format!("sk-ant-ort01-other-{n}"), "expires": 1_900_000_000_000_u64,
            });
            (format!("anthropic:p{n}"), entry)
        })
        .collect();
    let document = serde_json::json!({"version": 1, "profiles": entries});
    std::fs::write(agent.join("auth-profiles.json"), serde_json::to_string_pretty(&document).unwrap())
        .unwrap();
}

fn measured() -> BTreeMap<&'static str, u64> {
    let mut found = BTreeMap::new();
    let mut three = Home::new(THREE);
    three.settle();
    found.insert("sync, nothing to do, 3 sinks", three.count(&["sync"]));
    found.insert("status --json, 3 sinks", three.count(&["status", "--json"]));
    three.rotate();
    found.insert("sync, a rotation to 3 sinks", three.count(&["sync"]));

    let mut many = Home::new(&secret_files(100));
    many.settle();
    many.rotate();
    found.insert("sync, a rotation to 100 secret files", many.count(&["sync"]));

    let profiles = "[[sink]]\nid = \"store\"\nlogin = \"claude\"\nkind = \"auth-profiles\"\n\
                    state_dir = \"~/.openclaw\"\nprofile = \"anthropic:default\"\n";
    let mut store = Home::new(profiles);
    store_of(&store, 1000);
    store.settle();
    store.rotate();
    found.insert("sync, a rotation to a store of 1,000 profiles", store.count(&["sync"]));
    found
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_hot_path_costs_as_many_instructions_as_are_on_record() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    let (measured, compiler) = (measured(), compiler());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut text = format!("# {compiler}\n");
        for (name, count) in &measured {
            let _ = writeln!(text, "{name} = {count}");
        }
        std::fs::write(&path, text).unwrap();
        return;
    }
    let record = std::fs::read_to_string(&path).unwrap();
    let made_by = record.lines().find_map(|line| line.strip_prefix("# ")).unwrap();
    let tolerance = if made_by == compiler { TOLERANCE } else { OTHER_COMPILER };
    let lines = record.lines().filter_map(|line| line.rsplit_once(" = "));
    let expected: BTreeMap<&str, u64> = lines.map(|(name, count)| (name, count.parse().unwrap())).collect();
    assert!(expected.keys().eq(measured.keys()), "{expected:?}\n{measured:?}");
    let mut wrong = String::new();
    for (name, count) in &measured {
        let ratio = *count as f64 / expected[name] as f64;
        println!("{name}: {count}, {ratio:.3} of the record");
        if (ratio - 1.0).abs() > tolerance {
            let _ = writeln!(wrong, "{name}: {count} is {ratio:.3} of {}", expected[name]);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}UPDATE_GOLDEN=1 puts it on record");
}
