//! The stage of the test: its temporary home, the daemon on it, and the ways to see what happens.
//! Everything is waited for by its event: notify messages of the daemon, inotify on the sinks.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{own_program, shown, standin};
use crate::base::fingerprint::FingerprintKey;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::clock;
use crate::sys::paths::Surroundings;
use crate::sys::watch::{Hint, Watcher};
use crate::systemd::bus::{BusAddresses, Scope};
use crate::systemd::job::ServiceManager;
use crate::systemd::transient::{TransientKind, TransientService};

const LIFETIME_MS: i64 = 8 * 3600 * 1000;

/// The stage.
pub struct Stage {
    root: PathBuf,
    environment: BTreeMap<String, String>,
    notify: UnixDatagram,
    watcher: Watcher,
    daemon: Option<Child>,
    manager: Option<ServiceManager>,
    unit: String,
    invocation: Option<String>,
    token: String,
    round: u32,
}

impl Stage {
    /// Builds it: directories, configuration, stand-in gateway.
    pub async fn build(surroundings: &Surroundings) -> Result<Self, String> {
        let mut bytes = [0_u8; FingerprintKey::LEN];
        getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
        let name = FingerprintKey::new(bytes).of_parts(&[b"selftest"]);
        let base = surroundings.variable("TMPDIR").unwrap_or("/tmp");
        let root = Path::new(base).join(format!("tokensink-selftest-{name}"));
        for directory in ["", ".claude", "sinks", ".config", ".config/tokensink"] {
            let directory = root.join(directory);
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&directory)
                .map_err(|e| format!("{}: {e}", directory.display()))?;
        }
        let notify = UnixDatagram::bind(root.join("notify")).map_err(|e| format!("notify socket: {e}"))?;
        let unit = format!("tokensink-selftest-{name}.service");
        let buses = BusAddresses {
            session: surroundings.variable("DBUS_SESSION_BUS_ADDRESS").map(str::to_owned),
            runtime_dir: surroundings.runtime_dir(),
            system: None,
        };
        let mut stage = Self {
            environment: environment(surroundings, &root),
            watcher: Watcher::new().map_err(|e| format!("inotify: {e}"))?,
            manager: ServiceManager::connect(Scope::User, &buses).await.ok(),
            daemon: None,
            invocation: None,
            token: String::new(),
            round: 0,
            notify,
            unit,
            root,
        };
        stage.watcher.set(&stage.watched());
        stage.next_token();
        standin::replace(&stage.credentials(), stage.document())?;
        stage.start_gateway().await?;
        let config = stage.configuration()?;
        standin::replace(&stage.root.join(".config/tokensink/tokensink.toml"), config.into_bytes())?;
        Ok(stage)
    }

    /// What the gateway is.
    pub fn gateway_kind(&self) -> String {
        if self.manager.is_some() {
            format!("transient user unit {}", self.unit)
        } else {
            "a command (no user manager can be reached)".to_owned()
        }
    }

    fn credentials(&self) -> PathBuf {
        self.root.join(".claude/.credentials.json")
    }

    fn sinks(&self) -> [PathBuf; 3] {
        ["oauth.json", "gateway.env", "token.json"].map(|name| self.root.join("sinks").join(name))
    }

    fn seen(&self) -> PathBuf {
        self.root.join("gateway-read")
    }

    /// Where the stand-in of the alert channel notes the last message.
    fn told(&self) -> PathBuf {
        self.root.join("told")
    }

    fn watched(&self) -> Vec<PathBuf> {
        self.sinks().into_iter().chain([self.seen(), self.told()]).collect()
    }

    fn gateway_command(&self) -> Result<Vec<String>, String> {
        let [.., token] = self.sinks();
        let program = own_program()?;
        let words = [program.as_path(), Path::new("selftest-gateway"), &token, &self.seen()];
        Ok(words.iter().map(|w| w.display().to_string()).collect())
    }

    fn configuration(&self) -> Result<String, String> {
        let [oauth, env, token] = self.sinks().map(|p| format!("{p:?}"));
        let gateway = if self.manager.is_some() {
            format!("unit = {:?}", self.unit)
        } else {
            let mut command = self.gateway_command()?;
            command.push("--once".to_owned());
            format!("command = {command:?}")
        };
        let alert = [own_program()?.as_path(), Path::new("selftest-alert"), &self.told()]
            .map(|word| word.display().to_string());
        Ok(format!(
            "[[alert]]\nkind = \"command\"\ncommand = {alert:?}\n\n\
             [[login]]\nid = \"claude\"\nprovider = \"claude\"\n\n\
             [[sink]]\nid = \"oauth-json\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = {oauth}\nrefresh = false\n\n\
             [[sink]]\nid = \"env-file\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = {env}\n\
             key = \"ANTHROPIC_OAUTH_TOKEN\"\n\n\
             [[sink]]\nid = \"secret-file\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = {token}\n\n\
             [[gateway]]\nid = \"gateway\"\nsinks = [\"oauth-json\", \"env-file\", \"secret-file\"]\n{gateway}\n\
             min_interval = \"0s\"\n"
        ))
    }

    async fn start_gateway(&mut self) -> Result<(), String> {
        let Some(manager) = &self.manager else { return Ok(()) };
        let service = TransientService {
            kind: TransientKind::Exec,
            ..TransientService::oneshot("stand-in gateway of tokensink selftest", self.gateway_command()?)
        };
        let mut job = manager.start_transient(&self.unit, &service).await.map_err(|e| e.to_string())?;
        let outcome = job.wait(super::STEP_DEADLINE).await;
        let facts = manager.unit_facts(&self.unit).await.map_err(|e| e.to_string())?;
        self.invocation.clone_from(&facts.invocation);
        if facts.invocation.is_some() { Ok(()) } else { Err(format!("the stand-in gateway: {outcome}")) }
    }

    /// Makes up the next token.
    pub fn next_token(&mut self) {
        self.round += 1;
        self.token = format!("sk-ant-oat01-selftest-{:04}-{}", self.round, "made-up-".repeat(9));
    }

    fn document(&self) -> Vec<u8> {
        // Lifetimes grow a little, so that no two generations end at the same time.
        let expires_at = clock::now().as_millis() + LIFETIME_MS + i64::from(self.round);
        standin::credentials(&self.token, expires_at)
    }

    /// Rotates as newer CLIs do.
    pub fn rotate_by_rename(&self) -> Result<(), String> {
        standin::replace(&self.credentials(), self.document())
    }

    /// The first half of a rotation in place.
    pub fn tear(&self) -> Result<(), String> {
        let document = self.document();
        let (half, _) = document.split_at(document.len() / 2);
        standin::overwrite(&self.credentials(), half)
    }

    /// A rotation in place.
    pub fn rotate_in_place(&self) -> Result<(), String> {
        standin::overwrite(&self.credentials(), &self.document())
    }

    /// A logout.
    pub fn log_out(&self) -> Result<(), String> {
        standin::replace(&self.credentials(), standin::husk())
    }

    /// Starts the daemon as its service manager would.
    pub fn start_daemon(&mut self) -> Result<(), String> {
        let mut command = Command::new(own_program()?);
        command.arg("daemon").env_clear().envs(&self.environment).kill_on_drop(true);
        command.env("NOTIFY_SOCKET", self.root.join("notify"));
        // What it says on standard error is no part of the timeline; its notify messages are.
        command.stderr(std::process::Stdio::null());
        self.daemon = Some(command.spawn().map_err(|e| format!("the daemon does not start: {e}"))?);
        Ok(())
    }

    /// Waits for a notify message that contains `text`.
    pub async fn until_status(&mut self, text: &str, deadline: Duration) -> Result<(), String> {
        let mut buffer = vec![0_u8; 4096];
        let wait = async {
            loop {
                let received = tokio::select! {
                    received = self.notify.recv(&mut buffer) => received,
                    ended = ended(&mut self.daemon) => return Err(ended),
                };
                let length = received.map_err(|e| e.to_string())?;
                let message = buffer.get(..length).map(String::from_utf8_lossy);
                if message.is_some_and(|m| m.contains(text)) {
                    return Ok(());
                }
            }
        };
        timeout(deadline, wait).await.map_err(|_| format!("the daemon did not say {text} in time"))?
    }

    /// Waits until every sink holds the token; names them in the order in which they did, with the
    /// monotonic time.
    pub async fn until_sinks(&mut self, deadline: Duration) -> Result<Vec<(String, Duration)>, String> {
        let mut order: Vec<(String, Duration)> = Vec::new();
        let wait = async {
            loop {
                for sink in self.sinks() {
                    let name = shown(&sink);
                    if !order.iter().any(|(known, _)| known == &name) && holds(&sink, &self.token) {
                        order.push((name, clock::monotonic()));
                    }
                }
                if order.len() == self.sinks().len() {
                    return Ok(std::mem::take(&mut order));
                }
                self.next_hint().await?;
            }
        };
        timeout(deadline, wait).await.map_err(|_| "a sink did not get the new token in time".to_owned())?
    }

    /// True when every sink holds the token.
    pub fn sinks_hold_token(&self) -> bool {
        self.sinks().iter().all(|sink| holds(sink, &self.token))
    }

    /// Waits until the gateway has read the token; the proof of its restart.
    pub async fn until_gateway(&mut self, deadline: Duration) -> Result<String, String> {
        let wait = async {
            while !holds(&self.seen(), &self.token) {
                self.next_hint().await?;
            }
            Ok::<(), String>(())
        };
        timeout(deadline, wait)
            .await
            .map_err(|_| "the gateway did not read the new token in time".to_owned())??;
        let Some(manager) = &self.manager else { return Ok(String::new()) };
        let facts = manager.unit_facts(&self.unit).await.map_err(|e| e.to_string())?;
        let before = std::mem::replace(&mut self.invocation, facts.invocation.clone());
        match (before, facts.invocation) {
            (Some(before), Some(after)) if before != after => {
                Ok(format!(", invocation {} replaced {}", head(&after), head(&before)))
            }
            _ => Err("the gateway unit was not restarted".into()),
        }
    }

    /// Waits until the alert channel was given a message of that kind about the login.
    pub async fn until_told(&mut self, event: &str, code: &str, deadline: Duration) -> Result<(), String> {
        let is_told = |told: &Path| {
            let FileState::Present(file) = atomic_file::observe(told) else { return false };
            let message = serde_json::from_slice::<serde_json::Value>(file.document.expose());
            let wanted = [("event", event), ("code", code), ("subject", "claude")];
            let is = |key, value: &str| {
                message.as_ref().is_ok_and(|m| m.get(key).and_then(serde_json::Value::as_str) == Some(value))
            };
            wanted.into_iter().all(|(key, value)| is(key, value))
        };
        let wait = async {
            while !is_told(&self.told()) {
                self.next_hint().await?;
            }
            Ok(())
        };
        let late = || format!("the alert channel was not given {event} {code} in time");
        timeout(deadline, wait).await.map_err(|_| late())?
    }

    async fn next_hint(&mut self) -> Result<(), String> {
        tokio::select! {
            hint = self.watcher.next() => match hint {
                Hint::Lost { reason, .. } => Err(format!("the stage cannot be watched: {reason}")),
                Hint::Dirty(_) | Hint::RescanAll => Ok(()),
            },
            ended = ended(&mut self.daemon) => Err(ended),
        }
    }

    /// Asks the daemon to stop and waits for it.
    pub async fn stop_daemon(&mut self) -> Result<(), String> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        if let Some(pid) = daemon.id().and_then(|pid| i32::try_from(pid).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|e| e.to_string())?;
        }
        let status = timeout(super::STEP_DEADLINE, daemon.wait()).await;
        let status = status.map_err(|_| "the daemon did not stop".to_owned())?.map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}")) }
    }

    /// Removes everything that was made.
    pub async fn clear(&mut self) {
        drop(self.daemon.take());
        if let Some(manager) = &self.manager
            && let Ok(mut job) = manager.stop(&self.unit).await
        {
            job.wait(super::STEP_DEADLINE).await;
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Resolves when the daemon has ended, which no step wants.
async fn ended(daemon: &mut Option<Child>) -> String {
    match daemon {
        Some(child) => match child.wait().await {
            Ok(status) => format!("the daemon ended with {status}"),
            Err(error) => format!("the daemon cannot be waited for: {error}"),
        },
        None => std::future::pending().await,
    }
}

/// The test's own home and directories; the real user's buses, where the gateway unit lives.
fn environment(surroundings: &Surroundings, root: &Path) -> BTreeMap<String, String> {
    let mut environment = surroundings.child_environment();
    environment.insert("HOME".into(), root.display().to_string());
    environment.remove("XDG_CONFIG_HOME");
    if let Some(runtime) = surroundings.runtime_dir() {
        environment.insert("XDG_RUNTIME_DIR".into(), runtime.display().to_string());
    }
    environment
}

fn holds(path: &Path, token: &str) -> bool {
    match atomic_file::observe(path) {
        FileState::Present(file) => {
            file.document.expose().windows(token.len()).any(|window| window == token.as_bytes())
        }
        _ => false,
    }
}

fn head(id: &str) -> String {
    id.chars().take(8).collect()
}
