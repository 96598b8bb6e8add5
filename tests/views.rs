//! Views of a login that its own CLI uses and cannot refresh: the real Claude Code and the real Codex, in a home that
//! has nothing but the view, on a mount that it cannot write.
//!
//! Needs root (namespaces for network and mounts) and npm (once). No real account, no network.
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

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::provider::{Pair, Request};
use support::remote::Remote;
use support::run::{Ran, run};
use support::{claude, codex};

const DAY: i64 = 86_400;

/// The home of the owner, where the login and tokensink are, and that of a consumer, which sees the views only.
struct Bench {
    provider: Remote,
    owner: PathBuf,
    consumer: PathBuf,
    views: PathBuf,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = Remote::isolated(dir.path());
        let [owner, consumer, views] = ["owner", "consumer", "views"].map(|name| dir.path().join(name));
        for made in [&owner.join(".config/tokensink"), &consumer, &views] {
            std::fs::create_dir_all(made).unwrap();
        }
        let text = configuration.replace("VIEWS", &views.display().to_string());
        std::fs::write(owner.join(".config/tokensink/tokensink.toml"), text).unwrap();
        Self { provider, owner, consumer, views, _dir: dir }
    }

    /// Writes the source and makes a pass.
    fn hand_on(&self, source: &str, document: &str) {
        let source = self.owner.join(source);
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::write(&source, document).unwrap();
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.sync();
    }

    fn sync(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokensink"));
        command.arg("sync").env_clear().env("HOME", &self.owner).env("PATH", "/usr/bin:/bin");
        run(&mut command, b"").ok().to_owned()
    }

    /// Runs a program of the consumer; it cannot write the views unless told so.
    fn consume(
        &self,
        program: &Path,
        arguments: &[&str],
        environment: Vec<(String, String)>,
        may_write: bool,
    ) -> Ran {
        let views = self.views.display();
        let mount = format!("mount --bind {views} {views} && mount -o remount,bind,ro {views}");
        let script = if may_write { "exec \"$@\"".to_owned() } else { format!("{mount} && exec \"$@\"") };
        let mut command = Command::new("nsenter");
        command.args([
            "-t",
            &self.provider.pid().to_string(),
            "--net",
            "unshare",
            "--mount",
            "sh",
            "-c",
            &script,
            "sh",
        ]);
        command.args(["timeout", "90"]).arg(program).args(arguments);
        command.current_dir(&self.consumer).env_clear().envs(environment);
        run(&mut command, b"")
    }

    /// The bearer tokens of the requests to that path, and how many asked for another token.
    fn seen(&mut self, path: &str) -> (Vec<String>, usize) {
        let ledger = self.provider.ledger();
        let bearer = |request: &Request| {
            request.header("authorization").map(|text| text.trim_start_matches("Bearer ").to_owned())
        };
        let turns = ledger.requests.iter().filter(|request| request.path.starts_with(path));
        (turns.filter_map(bearer).collect(), ledger.token_requests().count())
    }

    fn view(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.views.join(name)).unwrap()).unwrap()
    }

    /// No file of the views or of the consumer holds these bytes.
    fn is_nowhere(&self, refresh: &str) {
        for directory in [&self.views, &self.consumer] {
            let found = run(Command::new("grep").args(["-rlaF", refresh]).arg(directory), b"");
            assert_eq!(found.stdout, "", "{found}");
        }
    }
}

const CLAUDE: &str = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\n[[sink]]\nid = \"view\"\nlogin = \"claude\"\n\
                      kind = \"claude-credentials\"\npath = \"VIEWS/.credentials.json\"\n";

#[test]
fn claude_code_works_from_a_view_to_its_end_and_refreshes_nothing() {
    let mut bench = Bench::new(CLAUDE);
    let environment = |bench: &Bench| {
        let home = bench.consumer.display().to_string();
        let mut all = claude::environment(&home, &bench.provider.url(), &bench.provider.ca);
        all.push(("CLAUDE_SECURESTORAGE_CONFIG_DIR".to_owned(), bench.views.display().to_string()));
        all
    };
    let turn = |bench: &Bench, may_write: bool| {
        let program = support::npm::claude_code("latest");
        bench.consume(&program, &claude::PROMPT, environment(bench), may_write)
    };
    let source = ".claude/.credentials.json";
    let first = bench.provider.seed("claude");
    bench.hand_on(source, &claude::document(&first, claude::in_seconds(3600)).to_string());
    let view = bench.view(".credentials.json");
    assert_eq!(view["claudeAiOauth"]["refreshToken"], json!(""));
    assert_eq!(view["claudeAiOauth"]["subscriptionType"], json!("max"));
    assert_eq!(view["claudeAiOauth"]["scopes"].as_array().unwrap().len(), 3);
    assert_eq!(turn(&bench, false).ok(), "ok");

    // Another generation: the next run has it. One minute is within the margin of the CLI's own refresh.
    let second = Pair::invent("claude");
    bench.provider.adopt("claude", &second);
    bench.hand_on(source, &claude::document(&second, claude::in_seconds(60)).to_string());
    assert_eq!(turn(&bench, false).ok(), "ok");
    let (bearers, asked) = bench.seen("/v1/messages");
    assert_eq!((bearers.first(), bearers.last()), (Some(&first.access), Some(&second.access)));
    assert_eq!(asked, 0, "requests for a token");
    let status =
        bench.consume(&support::npm::claude_code("latest"), &["auth", "status"], environment(&bench), false);
    assert!(status.ok().contains("\"loggedIn\": true"), "{status}");

    // Over, in a directory that the CLI may write: it spends nothing, and what it leaves is put right.
    bench.hand_on(source, &claude::document(&second, claude::in_seconds(-60)).to_string());
    println!("over: {}", turn(&bench, true));
    println!("left: {}", bench.view(".credentials.json"));
    assert_eq!(bench.seen("/v1/messages").1, 0, "requests for a token");
    bench.sync();
    assert_eq!(bench.view(".credentials.json")["claudeAiOauth"]["accessToken"], json!(second.access));
    for pair in [&first, &second] {
        bench.is_nowhere(&pair.refresh);
    }
    let owned = std::fs::metadata(bench.views.join(".credentials.json")).unwrap();
    assert_eq!(owned.permissions().mode() & 0o7777, 0o600);
}

const CODEX: &str = "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n\n[[sink]]\nid = \"view\"\nlogin = \"codex\"\n\
                     kind = \"codex-auth\"\npath = \"VIEWS/auth.json\"\nmode = \"0640\"\n";

#[test]
fn codex_works_from_a_view_to_its_end_and_refreshes_nothing() {
    let mut bench = Bench::new(CODEX);
    let home = bench.consumer.join(".codex");
    codex::configure(&home, &bench.provider.url());
    std::os::unix::fs::symlink(bench.views.join("auth.json"), home.join("auth.json")).unwrap();
    let run_codex = |bench: &Bench, arguments: &[&str]| {
        let environment = codex::environment(&bench.consumer.display().to_string(), &bench.provider.url());
        bench.consume(&support::npm::codex(codex::VERSION), arguments, environment, false)
    };
    let first = Pair::codex("a", 10 * DAY);
    bench.provider.adopt("a", &first);
    bench.hand_on(".codex/auth.json", &codex::plain_document(&first));
    let status = run_codex(&bench, &["login", "status"]);
    assert!(status.code == Some(0) && status.stderr.contains("Logged in using ChatGPT"), "{status}");
    let ran = run_codex(&bench, &codex::EXEC);
    assert_eq!(ran.code, Some(0), "{ran}");

    // Another generation, and one that is over: the first is used, neither is refreshed.
    let second = Pair::codex("b", 10 * DAY);
    bench.provider.adopt("a", &second);
    bench.hand_on(".codex/auth.json", &codex::plain_document(&second));
    let ran = run_codex(&bench, &codex::EXEC);
    assert_eq!(ran.code, Some(0), "{ran}");
    let (bearers, asked) = bench.seen("/v1/responses");
    assert_eq!((bearers.first(), bearers.last()), (Some(&first.access), Some(&second.access)));
    assert_eq!(asked, 0, "requests for a token");
    let over = Pair::codex("c", -60);
    bench.hand_on(".codex/auth.json", &codex::plain_document(&over));
    println!("over: {}", run_codex(&bench, &codex::EXEC));
    assert_eq!(bench.seen("/v1/responses").1, 0, "requests for a token");
    for pair in [&first, &second, &over] {
        bench.is_nowhere(&pair.refresh);
    }
    let owned = std::fs::metadata(bench.views.join("auth.json")).unwrap();
    assert_eq!(owned.permissions().mode() & 0o7777, 0o640);
}
