//! `cli` mode: the provider's own CLI refreshes its login, and we look whether it did. Success is a
//! new generation on disk, never an exit code.
//!
//! The CLI is a just-in-time compiler that must not be killed in mid-refresh: it runs as a transient
//! unit of the user's manager, where neither our sandbox nor our stop reaches it, and as a child in
//! a process group of its own only where there is no manager.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::{LoginId, Provider};
use crate::sys::process::{self, CommandSpec};
use crate::sys::search;
use crate::systemd::bus::{BusAddresses, Scope};
use crate::systemd::job::ServiceManager;
use crate::systemd::transient::TransientService;

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
/// Options that keep a run from leaving traces or starting the owner's tools, with their values;
/// each is used when the version at hand knows it.
const TIDY: [&[&str]; 4] =
    [&["--no-session-persistence"], &["--strict-mcp-config"], &["--tools", ""], &["--safe-mode"]];

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
}

impl Official {
    /// Runs the CLI once.
    ///
    /// # Errors
    /// When it could not be run at all; how it ended is not looked at.
    pub async fn run(&self, login: &LoginId) -> Result<(), String> {
        let argv = self.argv().await?;
        match ServiceManager::connect(Scope::User, &self.buses).await {
            Ok(manager) => self.run_as_unit(&manager, login, argv).await,
            Err(_) => self.run_as_child(argv).await,
        }
    }

    async fn argv(&self) -> Result<Vec<String>, String> {
        let command = match (&self.command, &self.program, &self.container) {
            (Some(command), ..) => command.clone(),
            (None, None, None) => return Err("the official CLI is not found".into()),
            (None, program, container) if self.provider == Provider::Codex => {
                let program = program.as_ref().filter(|_| container.is_none());
                let program = program.map_or("codex".to_owned(), |program| program.display().to_string());
                vec!["/bin/sh".to_owned(), "-c".to_owned(), CODEX_ASKED.to_owned(), program]
            }
            (None, Some(program), None) => self.safest(program).await,
            (None, _, Some(_)) => {
                [&["claude"][..], &PROMPT[..]].concat().into_iter().map(str::to_owned).collect()
            }
        };
        let Some(container) = &self.container else { return Ok(command) };
        let path = self.environment.get("PATH").map_or("", String::as_str);
        let mut argv = vec![search::container_engine(path)?.to_owned(), "exec".to_owned()];
        for (name, value) in &self.overrides {
            argv.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        argv.push(container.clone());
        argv.extend(command);
        Ok(argv)
    }

    /// The prompt with every tidy option that this version's help knows.
    async fn safest(&self, program: &Path) -> Vec<String> {
        let program = program.display().to_string();
        let help = process::run(self.spec(vec![program.clone(), "--help".to_owned()], HELP_DEADLINE)).await;
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

    async fn run_as_unit(
        &self,
        manager: &ServiceManager,
        login: &LoginId,
        argv: Vec<String>,
    ) -> Result<(), String> {
        let mut service = TransientService::oneshot(format!("refresh of login {login} by its own CLI"), argv);
        service.environment = self.full_environment().into_iter().collect();
        // The manager's environment is added to; what is to be unset is emptied, which the CLIs
        // take for unset.
        service
            .environment
            .extend(self.overrides.iter().filter(|(_, v)| v.is_empty()).map(|(k, v)| (k.clone(), v.clone())));
        service.timeout_start = Some(DEADLINE);
        service.timeout_stop = Some(Duration::from_secs(90));
        let unit = format!("tokensink-refresh-{login}.service");
        let mut job = manager.start_transient(&unit, &service).await.map_err(|e| e.to_string())?;
        job.wait_facts(DEADLINE + Duration::from_secs(100)).await.map(drop).map_err(|e| e.to_string())
    }

    async fn run_as_child(&self, argv: Vec<String>) -> Result<(), String> {
        process::run(self.spec(argv, DEADLINE)).await.map(drop).map_err(|e| e.to_string())
    }
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
