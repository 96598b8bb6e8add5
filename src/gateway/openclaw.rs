//! An OpenClaw gateway through its loopback port (`rpc`) where that is plainly open, and its own CLI
//! otherwise: its documented reload, which re-reads everything that its configuration refers to
//! without interrupting a turn, and, where the owner agreed, the set-up of that reference by the CLI. Never `doctor --fix`, never a signal: SIGUSR1 opens an inspector in 2026.9.6.
//! Facts: OpenClaw 2026.2.26 (first with a reload), 2026.7.1, 2026.8.2 and 2026.9.6 by running.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::openclaw_cli::{OpenClawCli, ended};
use super::rpc::{self, CallError, Door};
use super::{container, models_status};
use crate::base::code::Code;
use crate::base::id::GatewayId;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::core::memory::{Failure, Then};
use crate::format::openclaw_config;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::process::Finished;

/// Our name among the secret providers of the configuration.
pub const ALIAS: &str = "tokensink";
/// Where that is set.
const ALIAS_KEY: &str = "secrets.providers.tokensink";
/// Pauses before further reloads after a change of the configuration: 2026.9.6 follows it within 8 s.
const SETTLING: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];

/// How to reach one instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its CLI.
    pub cli: OpenClawCli,
    /// Its release, where it is known.
    pub release: Option<String>,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Its configuration.
    pub config_path: PathBuf,
    /// A state directory of ours, for a CLI with an identity of its own; made by that CLI.
    pub identity: PathBuf,
    /// When its package was put there, where that is known.
    pub installed_at: Option<Timestamp>,
    /// Its loopback port, where it can be called there.
    pub door: Option<Door>,
    /// What its own secret store is to hold, where it is supplied that way.
    pub entry: Option<Entry>,
    /// What its configuration shall refer to, where the owner agreed and it does not yet.
    pub set_up: Option<Reference>,
}

/// What a configuration shall refer to.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The provider whose key it is.
    pub provider: String,
    /// Where the key is.
    pub place: KeyPlace,
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum KeyPlace {
    /// In a file of ours.
    File {
        /// The file.
        path: PathBuf,
        /// The place in it, a JSON pointer.
        pointer: String,
    },
    /// In the instance's own secret store.
    Entry {
        /// The name of the entry.
        name: String,
    },
}

/// An entry of an instance's own secret store, as it shall be.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The access token, read for this attempt; `None` while the login is not what a pass saw last.
    pub token: Option<Secret>,
    /// An attempt on the same change failed before.
    pub is_retry: bool,
}

impl Reference {
    /// Where the provider's key is set.
    fn key(&self) -> String {
        format!("models.providers.{}.apiKey", self.provider)
    }

    /// What is set there.
    fn value(&self) -> Value {
        match &self.place {
            KeyPlace::File { pointer, .. } => json!({"source": "file", "provider": ALIAS, "id": pointer}),
            KeyPlace::Entry { name } => json!({"source": "store", "provider": "default", "id": name}),
        }
    }
}

/// Hands the gateway the token that its own secret store is to hold, if that is the way, and makes it
/// read everything anew, after setting up what is to be set up. Success is the
/// gateway's own word that nothing is left of the old: no warnings.
///
/// A set-up begins only when a reload works as things are, and is taken back when none does after it.
///
/// # Errors
/// A failure that says what it means for the change; the gateway goes on with what it had. `Down` and
/// `MoreForce` say that what was to be handed over is there for its next start.
pub async fn converge(gateway: &GatewayId, instance: &Instance) -> Result<(), Failure> {
    let call = Call { gateway, instance };
    let Some(reference) = &instance.set_up else { return call.judge(call.renew().await?) };
    call.judge(call.reload().await?)?;
    let outcome = match call.set_up(reference).await {
        Ok(()) => call.renew_settled().await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = outcome else { return Ok(()) };
    let taken_back = call.take_back(reference).await;
    let summary = match taken_back {
        Ok(()) => format!("{}; its configuration is as it was", failure.summary),
        Err(error) => {
            format!("{}; and what was set could not be taken back: {}", failure.summary, error.summary)
        }
    };
    // A gateway that went away meanwhile has said nothing about its release.
    let then = if failure.then == Then::Down { Then::Again } else { Then::Unfit };
    Err(Failure { summary, ..failure }.meaning(then))
}

/// Where the default model is set.
pub const PRIMARY_MODEL_KEY: &str = "agents.defaults.model.primary";
const MODEL_KEY: &str = "agents.defaults.model";

/// Whether the model that the instance would take by itself has no credential, so that no turn can be
/// made. One of Anthropic's is never that.
///
/// # Errors
/// When its CLI does not say.
pub async fn lacks_model(gateway: &GatewayId, instance: &Instance) -> Result<bool, Failure> {
    let call = Call { gateway, instance };
    let finished = call.run(&["models", "status", "--json"], Identity::Owner, None).await?;
    let default = models_status::default_provider(finished.stdout.bytes.expose());
    let (provider, is_missing) = default
        .ok_or_else(|| call.failure(format!("the CLI of {gateway} does not say which model it takes")))?;
    Ok(is_missing && provider != "anthropic")
}

/// Sets the default model.
///
/// # Errors
/// When OpenClaw's own CLI does not do it.
pub async fn set_model(gateway: &GatewayId, instance: &Instance, model: &str) -> Result<(), Failure> {
    let value = serde_json::Value::from(model).to_string();
    Call { gateway, instance }.configure("set", PRIMARY_MODEL_KEY, &[&value, "--json"]).await
}

/// Unsets it; with `is_alone` the table that it would leave empty as well.
///
/// # Errors
/// As [`set_model`].
pub async fn unset_model(gateway: &GatewayId, instance: &Instance, is_alone: bool) -> Result<(), Failure> {
    Call { gateway, instance }.unset(if is_alone { MODEL_KEY } else { PRIMARY_MODEL_KEY }).await
}

/// Takes back what a set-up has set: the gateway gets its key from its store again.
///
/// # Errors
/// When OpenClaw's own CLI does not do it.
pub async fn take_back(
    gateway: &GatewayId,
    instance: &Instance,
    reference: &Reference,
) -> Result<(), Failure> {
    Call { gateway, instance }.take_back(reference).await
}

/// Whether its configuration speaks of a file, or may.
#[must_use]
pub fn may_mention(gateway: &GatewayId, instance: &Instance, path: &Path) -> bool {
    Call { gateway, instance }.may(|config| openclaw_config::mentions(config, path))
}

/// Whether the gateway has work in hand that a restart would interrupt; `None` where it does not say
/// (it does from 2026.5.28 on).
pub async fn is_busy(gateway: &GatewayId, instance: &Instance) -> Option<bool> {
    let question = ["gateway", "call", "gateway.restart.preflight", "--json"];
    let finished = Call { gateway, instance }.run(&question, Identity::Owner, None).await.ok()?;
    says_busy(finished.stdout.bytes.expose())
}

/// What the answer to that question says.
#[must_use]
pub fn says_busy(answer: &[u8]) -> Option<bool> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer.get("safe")?.as_bool().map(|is_safe| !is_safe)
}

/// What a reload by the CLI came to: how many warnings it counts, or what its words mean for the change.
/// The words are those of 2026.2.26 to 2026.9.6.
///
/// # Errors
/// What the failure means.
pub fn reloaded(succeeded: bool, stdout: &str, stderr: &str) -> Result<Option<u64>, Then> {
    let answer: Value = serde_json::from_str(stdout).unwrap_or_default();
    if succeeded && is_ok(&answer) {
        let Reloaded(warnings) = Reloaded::of(&answer);
        return Ok(warnings);
    }
    let has = |words: &[&str]| words.iter().any(|word| stdout.contains(word) || stderr.contains(word));
    Err(match () {
        () if has(&["ECONNREFUSED", "1006", "not reachable"]) || has(&container::NOT_RUNNING) => Then::Down,
        () if has(&["pairing required", "scope upgrade", "unknown command", "missing scope"]) => {
            Then::MoreForce
        }
        // What a gateway up to 2026.2.25 says to the CLI of a later package.
        () if has(&["device signature invalid", "unknown method"]) => Then::OldProcess,
        // An empty value somewhere: the next start would fail on it (2026.9.6).
        () if has(&["UNAVAILABLE", "secrets.reload failed"]) => Then::Unresolved,
        () => Then::Again,
    })
}

struct Call<'a> {
    gateway: &'a GatewayId,
    instance: &'a Instance,
}

/// A reload that was answered: the warnings that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reloaded(Option<u64>);

impl Reloaded {
    /// What an answer says; one that is not `ok` counts nothing.
    fn of(answer: &Value) -> Self {
        Self(answer.get("warningCount").and_then(Value::as_u64).filter(|_| is_ok(answer)))
    }
}

fn is_ok(answer: &Value) -> bool {
    answer.get("ok").and_then(Value::as_bool) == Some(true)
}

/// No parameters: `{}`.
#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct StoreSet<'a> {
    name: &'a str,
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct StoreDelete<'a> {
    name: &'a str,
}

/// Where a token that was handed over is.
enum Stored {
    /// With the gateway, which answered this.
    ByGateway(Value),
    /// In its store, of which it has not been told.
    ByCli,
}

/// As whom the CLI comes to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// As the owner's own CLI.
    Owner,
    /// As a CLI of ours with an identity of its own.
    Ours,
}

impl Call<'_> {
    /// Both steps are repeatable: they set what is set already. The values are given as JSON, which
    /// every release takes (2026.2.26 has no options for references).
    async fn set_up(&self, reference: &Reference) -> Result<(), Failure> {
        match &reference.place {
            KeyPlace::File { path, .. } => {
                let path = path.display().to_string();
                let source = json!({"source": "file", "path": path, "mode": "json"}).to_string();
                self.configure("set", ALIAS_KEY, &[&source, "--json"]).await?;
            }
            // A reference to nothing would be a warning at its next reload.
            KeyPlace::Entry { .. } => {
                if let Some(entry) = &self.instance.entry {
                    self.store(entry).await?;
                }
            }
        }
        self.configure("set", &reference.key(), &[&reference.value().to_string(), "--json"]).await
    }

    /// A name by which something else takes a secret from our file stays.
    async fn take_back(&self, reference: &Reference) -> Result<(), Failure> {
        self.unset(&reference.key()).await?;
        match &reference.place {
            KeyPlace::File { .. } if self.may(|config| openclaw_config::may_take_from(config, ALIAS)) => {
                Ok(())
            }
            KeyPlace::File { .. } => self.unset(ALIAS_KEY).await,
            KeyPlace::Entry { name } => self.forget(name).await,
        }
    }

    /// Removes an entry from the secret store.
    async fn forget(&self, name: &str) -> Result<(), Failure> {
        match self.ask("secrets.store.delete", StoreDelete { name }).await {
            Ok(Some(answer)) if is_ok(&answer) => return Ok(()),
            // Down, or busy with its changed configuration: its CLI removes it all the same.
            Ok(_) | Err(_) => {}
        }
        let finished = self.run(&["secrets", "store", "rm", "--yes", name], Identity::Owner, None).await?;
        let why =
            || format!("removing {name} from the secret store of {} {}", self.gateway, ended(&finished));
        if finished.succeeded() { Ok(()) } else { Err(self.failure(why())) }
    }

    /// Puts the token into the gateway's own secret store: by the gateway, which then reads it, or by
    /// the CLI, which writes the store itself, whether the gateway runs or not.
    async fn store(&self, entry: &Entry) -> Result<Stored, Failure> {
        let Some(token) = &entry.token else {
            let why = "the login is not what was seen last; nothing is handed to";
            return Err(self.failure(format!("{why} {}", self.gateway)));
        };
        let request = StoreSet { name: &entry.name, kind: "secret", value: token.expose() };
        match self.ask("secrets.store.set", request).await {
            Ok(Some(answer)) if is_ok(&answer) => return Ok(Stored::ByGateway(answer)),
            // Once: a gateway that is starting has no use for others in its store.
            Err(failure) if failure.then == Then::Down && entry.is_retry => return Err(failure),
            Ok(_) | Err(Failure { then: Then::Down, .. }) => {}
            Err(failure) => return Err(failure),
        }
        let words = ["secrets", "store", "set", &entry.name, "--kind", "secret"];
        let token = Document::new(token.expose().as_bytes().to_vec());
        let finished = self.run(&words, Identity::Owner, Some(token)).await?;
        if finished.succeeded() {
            return Ok(Stored::ByCli);
        }
        Err(self.failure(format!(
            "handing the token to the secret store of {} {}",
            self.gateway,
            ended(&finished)
        )))
    }

    /// Makes the gateway use what it is supplied with now.
    async fn renew(&self) -> Result<Reloaded, Failure> {
        let Some(entry) = &self.instance.entry else { return self.reload().await };
        match self.store(entry).await? {
            Stored::ByCli => self.reload().await,
            // It reloads by itself where something refers to the entry.
            Stored::ByGateway(answer) if answer.get("reloaded").and_then(Value::as_bool) == Some(true) => {
                Ok(Reloaded::of(&answer))
            }
            Stored::ByGateway(_) => {
                Err(self.failure(format!("{} took the token, and does not use it", self.gateway)))
            }
        }
    }

    /// Unsets what may be set: the CLI refuses a key that is not there (2026.5.28, 2026.9.6), and one that
    /// was killed between two keys has left one.
    async fn unset(&self, key: &str) -> Result<(), Failure> {
        if self.may(|config| openclaw_config::may_have(config, key)) {
            self.configure("unset", key, &[]).await
        } else {
            Ok(())
        }
    }

    /// What holds of the configuration as it is now, and may hold of one that cannot be read.
    fn may(&self, holds: impl Fn(&[u8]) -> bool) -> bool {
        match atomic_file::observe(&self.instance.config_path) {
            FileState::Present(file) => holds(file.document.expose()),
            _ => true,
        }
    }

    async fn configure(&self, verb: &str, key: &str, value: &[&str]) -> Result<(), Failure> {
        let finished = self.run(&[&["config", verb, key], value].concat(), Identity::Owner, None).await?;
        if finished.succeeded() {
            return Ok(());
        }
        let why = format!("the configuration of {}: {verb} {key} {}", self.gateway, ended(&finished));
        Err(self.failure(why).meaning(if finished.timed_out { Then::Down } else { Then::Again }))
    }

    /// Renews after a change of the configuration, which the gateway follows by itself meanwhile: a
    /// reload that comes into that is refused, and one that came before it is no proof. Over the port
    /// it does come before (2026.7.1: no warnings, and a turn without the reference), so it is left to
    /// the CLI; a hand-over says itself whether it is used.
    async fn renew_settled(&self) -> Result<(), Failure> {
        let mut outcome = self.renew_slowly().await;
        for pause in SETTLING {
            if matches!(outcome, Ok(_) | Err(Failure { then: Then::MoreForce, .. })) {
                break;
            }
            tokio::time::sleep(pause).await;
            outcome = self.renew_slowly().await;
        }
        self.judge(outcome?)
    }

    async fn renew_slowly(&self) -> Result<Reloaded, Failure> {
        if self.instance.entry.is_some() { self.renew().await } else { self.reload_by_cli().await }
    }

    /// Success is the gateway's own word that nothing is left of the old.
    fn judge(&self, reloaded: Reloaded) -> Result<(), Failure> {
        match reloaded {
            Reloaded(Some(0)) => Ok(()),
            Reloaded(Some(count)) => {
                let why = format!(
                    "{} was reloaded with {count} warnings and may go on with what it had",
                    self.gateway
                );
                Err(self.failure(why).meaning(Then::Unresolved))
            }
            Reloaded(None) => {
                Err(self.failure(format!("{} did not say whether its reload was whole", self.gateway)))
            }
        }
    }

    async fn reload(&self) -> Result<Reloaded, Failure> {
        if let Some(answer) = self.ask("secrets.reload", Empty {}).await? {
            return Ok(Reloaded::of(&answer));
        }
        self.reload_by_cli().await
    }

    async fn reload_by_cli(&self) -> Result<Reloaded, Failure> {
        match self.reload_as(Identity::Owner).await {
            // From 2026.5 on a CLI has the rights of its first use; without that of a reload somebody
            // would have to approve more. One that comes for the first time gets what it asks for.
            Err(failure) if failure.then == Then::MoreForce && !self.instance.cli.is_contained => {
                self.reload_as(Identity::Ours).await
            }
            outcome => outcome,
        }
    }

    /// Asks the gateway itself; `None` where the CLI has to be asked instead.
    async fn ask<P: Serialize>(&self, method: &str, params: P) -> Result<Option<Value>, Failure> {
        let Some(door) = &self.instance.door else { return Ok(None) };
        match rpc::call(door, method, params).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CallError::Down) => {
                Err(self.failure(format!("{} does not answer", self.gateway)).meaning(Then::Down))
            }
            Err(CallError::Unavailable) => {
                Err(self.failure(format!("{} could not do {method} now", self.gateway)))
            }
            Err(CallError::Unclear(why)) => {
                tracing::debug!(gateway = %self.gateway, method, why, "the CLI is asked instead");
                Ok(None)
            }
        }
    }

    async fn reload_as(&self, identity: Identity) -> Result<Reloaded, Failure> {
        let finished = self.run(&["secrets", "reload", "--json"], identity, None).await?;
        let text = |output: &Document| String::from_utf8_lossy(output.expose()).into_owned();
        let (stdout, stderr) = (text(&finished.stdout.bytes), text(&finished.stderr.bytes));
        let then = match reloaded(finished.succeeded(), &stdout, &stderr) {
            Ok(warnings) => return Ok(Reloaded(warnings)),
            Err(then) => then,
        };
        let why = match then {
            Then::Down => format!("{} does not answer", self.gateway),
            Then::MoreForce => format!("{} does not take a reload from its own CLI here", self.gateway),
            Then::OldProcess => {
                let release = self.instance.release.as_deref().unwrap_or("another release");
                format!(
                    "{} was upgraded to {release} and its old process still runs: that one reads its store at \
                     each turn, nothing has to be reloaded; it is the new release after a restart",
                    self.gateway
                )
            }
            _ => format!("the reload of {} {}", self.gateway, ended(&finished)),
        };
        Err(self.failure(why).meaning(then))
    }

    fn failure(&self, why: String) -> Failure {
        let program = match self.instance.cli.program.join(" ") {
            none if none.is_empty() => "openclaw".to_owned(),
            program => program,
        };
        Failure::new(Code::NotConverged, why, format!("{program} secrets reload --json"))
    }

    async fn run(
        &self,
        arguments: &[&str],
        identity: Identity,
        stdin: Option<Document>,
    ) -> Result<Finished, Failure> {
        let place = |path: &std::path::Path| path.display().to_string();
        let config_path = place(&self.instance.config_path);
        let state_dir = place(match identity {
            Identity::Owner => &self.instance.state_dir,
            Identity::Ours => &self.instance.identity,
        });
        let own = [("OPENCLAW_CONFIG_PATH", &*config_path), ("OPENCLAW_STATE_DIR", &*state_dir)];
        let ran = self.instance.cli.run(arguments, &own, stdin).await;
        ran.map_err(|error| self.failure(format!("{}: {error}", self.gateway)))
    }
}
