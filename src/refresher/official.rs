//! `cli` mode: the provider's own CLI refreshes its login, and we look whether it did. Success is a
//! new generation on disk, never an exit code.
//!
//! How it is run, so that nobody breaks it off in mid-refresh, is `cli_run`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::claude;
use super::cli_run::{CliRun, GRACE, RunEnd};
use crate::base::id::{LoginId, Provider};
use crate::base::secret::Document;
use crate::sys::atomic_file::{self, Expected, FileState, Policy};
use crate::sys::process::{self, CommandSpec};
use crate::sys::search;
use crate::systemd::bus::BusAddresses;

/// A run with a slow model and a slow endpoint; the CLI's own request ends after 30 s.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long `--help` may take.
const HELP_DEADLINE: Duration = Duration::from_secs(20);
/// Output that is kept of a run, in bytes: for `--help`; a run's own output is thrown away.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// The prompt that makes a run: the shortest there is. Only a run with a prompt refreshed in every
/// version and at every delay that was tried (Claude Code 2.1.50 to 2.1.329).
const PROMPT: [&str; 2] = ["-p", "hi"];
/// Codex renews early only when its app server is asked to (0.165, 0.169): three lines on its
/// standard input. At the end of that it finishes a request that is on its way and ends; before it
/// has begun one it only ends, so the input is kept open for longer than it needs to begin.
const CODEX_ASKED: &str = concat!(
    r#"{ printf '%s\n' '{"id":1,"method":"initialize","params":{"clientInfo":{"name":"tokensink","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}' '{"method":"initialized"}' '{"id":2,"method":"account/read","params":{"refreshToken":true}}'; "#,
    r#"sleep 20; } | exec "$0" app-server"#,
);
/// The number of the last of them.
const ASKED_AS: u32 = 2;
/// Options that keep a run from leaving traces or starting the owner's tools, with their values;
/// each is used when the version at hand knows it.
const TIDY: [&[&str]; 4] =
    [&["--no-session-persistence"], &["--strict-mcp-config"], &["--tools", ""], &["--safe-mode"]];

/// What a CLI would use instead of the login in its file, and leave that as it is. A service manager that has
/// one of them gives it to every unit.
const HIDING: [&str; 6] = [
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
];

/// How to reach the CLI.
#[derive(Debug, Clone)]
pub struct Official {
    /// Whose CLI it is.
    pub provider: Provider,
    /// The command of the configuration; `None` means the safest one for the version at hand.
    pub command: Option<Vec<String>>,
    /// The CLI that was found.
    pub program: Option<PathBuf>,
    /// The container to run it in.
    pub container: Option<String>,
    /// Temporary environment; an empty value unsets.
    pub overrides: BTreeMap<String, String>,
    /// The environment of the run.
    pub environment: BTreeMap<String, String>,
    /// Where the buses are.
    pub buses: BusAddresses,
    /// A file of ours for what an app server answers; it is removed after the run.
    pub answers: PathBuf,
}

/// What is known of a run, beside what it left on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: RunEnd,
    /// The CLI said that the provider refused the token for good. Only Codex's app server says that.
    pub was_refused: bool,
}

impl Official {
    /// Runs the CLI once. `source` is the credential file that it keeps.
    ///
    /// # Errors
    /// When it could not be run at all; what it brought is not looked at.
    pub async fn run(&self, login: &LoginId, source: &Path) -> Result<Ran, String> {
        let environment = self.full_environment();
        let emptied =
            self.overrides.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.as_str());
        let hiding = HIDING.into_iter().filter(|name| !environment.contains_key(*name));
        let is_asked = self.provider == Provider::Codex && self.command.is_none();
        let output = if is_asked { Some(self.blank_answers()?) } else { None };
        let run = CliRun {
            unit: format!("tokensink-refresh-{login}.service"),
            description: format!("refresh of login {login} by its own CLI"),
            argv: self.argv().await?,
            unset: emptied.chain(hiding).map(str::to_owned).collect(),
            environment,
            secrets: None,
            directory: None,
            output,
            joins: true,
            deadline: DEADLINE,
            grace: GRACE,
        };
        let is_at_work = || self.provider == Provider::Claude && claude::is_refreshing(source);
        let end = run.run(&self.buses, &is_at_work).await;
        let was_refused = is_asked && self.was_refused();
        self.remove_answers();
        end.map(|end| Ran { end, was_refused })
    }

    fn blank_answers(&self) -> Result<PathBuf, String> {
        self.remove_answers();
        let blank = Document::new(b"\n".to_vec());
        atomic_file::stage(&self.answers, &blank, Expected::Absent, Policy::default())
            .and_then(atomic_file::Staged::commit)
            .map_err(|error| error.to_string())?;
        Ok(self.answers.clone())
    }

    fn remove_answers(&self) {
        // What cannot be removed now is in the way of the next run, which says so.
        let _ = std::fs::remove_file(&self.answers);
    }

    fn was_refused(&self) -> bool {
        match atomic_file::observe(&self.answers) {
            FileState::Present(file) => says_refused(file.document.expose()),
            _ => false,
        }
    }

    async fn argv(&self) -> Result<Vec<String>, String> {
        let prefix = self.container_prefix()?;
        let name = if self.provider == Provider::Codex { "codex" } else { "claude" };
        let program = match (&self.program, &self.container) {
            _ if self.command.is_some() => String::new(),
            (_, Some(_)) => name.to_owned(),
            (Some(program), None) => program.display().to_string(),
            (None, None) => return Err("the official CLI is not found".into()),
        };
        let command = match &self.command {
            Some(command) => command.clone(),
            None if self.provider == Provider::Codex => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), CODEX_ASKED.to_owned(), program]
            }
            None => self.safest(&prefix, program).await,
        };
        Ok([prefix, command].concat())
    }

    /// What makes a command one of the container, with the overrides; nothing without a container.
    fn container_prefix(&self) -> Result<Vec<String>, String> {
        let Some(container) = &self.container else { return Ok(Vec::new()) };
        let path = self.environment.get("PATH").map_or("", String::as_str);
        let engine = search::container_engine(path)?;
        let engine = search::find_on(path, engine).map_or_else(|| engine.into(), |p| p.display().to_string());
        let mut prefix = vec![engine, "exec".to_owned()];
        let (unset, set): (Vec<_>, Vec<_>) = self.overrides.iter().partition(|(_, value)| value.is_empty());
        for (name, value) in set {
            prefix.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        prefix.push(container.clone());
        if !unset.is_empty() {
            // An engine can empty a variable, not unset it.
            prefix.push("env".to_owned());
            prefix.extend(unset.into_iter().flat_map(|(name, _)| ["-u".to_owned(), name.clone()]));
        }
        Ok(prefix)
    }

    /// The prompt with every tidy option that this version's help knows.
    async fn safest(&self, prefix: &[String], program: String) -> Vec<String> {
        let help = [prefix, &[program.clone(), "--help".to_owned()]].concat();
        let help = process::run(self.spec(help, HELP_DEADLINE)).await;
        let help = help.map(|done| String::from_utf8_lossy(done.stdout.bytes.expose()).into_owned());
        let help = help.unwrap_or_default();
        let mut argv = vec![program];
        argv.extend(PROMPT.map(str::to_owned));
        for option in TIDY {
            if option.first().is_some_and(|name| help.contains(name)) {
                argv.extend(option.iter().map(|word| (*word).to_owned()));
            }
        }
        argv
    }

    fn spec(&self, argv: Vec<String>, deadline: Duration) -> CommandSpec {
        CommandSpec {
            argv: argv.into_iter().map(Into::into).collect(),
            env: self.full_environment().into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            stdin: None,
            cwd: None,
            deadline,
            output_limit: OUTPUT_LIMIT,
        }
    }

    fn full_environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        environment.insert("DISABLE_AUTOUPDATER".to_owned(), "1".to_owned());
        environment.insert("TERM".to_owned(), "dumb".to_owned());
        for (name, value) in &self.overrides {
            if value.is_empty() {
                environment.remove(name);
            } else {
                environment.insert(name.clone(), value.clone());
            }
        }
        environment
    }
}

/// Whether the app server, in its answers, knows no account any more after it was told to refresh (0.165,
/// 0.169: after a refusal for good; after any other failure it still names the account).
#[must_use]
pub fn says_refused(answers: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answers).into_owned();
    let mut messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answer = messages.find(|message| message.get("id") == Some(&Value::from(ASKED_AS)));
    answer.is_some_and(|answer| answer.pointer("/result/account") == Some(&Value::Null))
}

/// Where people's installers put CLIs that a service's search path does not name: Claude Code's own
/// place, npm prefixes, and the newest Node of nvm.
#[must_use]
pub fn usual_places(home: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        [".local/bin", ".claude/local", ".npm-global/bin", ".asdf/shims", ".volta/bin", ".bun/bin"]
            .iter()
            .map(|place| home.join(place))
            .collect();
    let nodes = std::fs::read_dir(home.join(".nvm/versions/node")).into_iter().flatten().flatten();
    let mut nodes: Vec<PathBuf> = nodes.map(|entry| entry.path().join("bin")).collect();
    nodes.sort();
    places.extend(nodes.into_iter().rev());
    places
}
