//! The profiles of an OpenClaw with a database and their order, through its own CLI. Only commands
//! that send nothing to a provider: the text form of `models status`, `--probe` and `channels list`
//! refresh what is over.
//! Facts: OpenClaw 2026.7.1, 2026.8.2 (the commands are there), 2026.9.6 (by running).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::base::secret::Secret;
use crate::format::auth_profiles::Listed;
use crate::sys::process::{self, CommandSpec, Finished};

/// How long one call may take: 2 to 18 s on two busy processors.
const DEADLINE: Duration = Duration::from_secs(120);
/// Output that is kept of a call, in bytes.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// The CLI of one instance, for one agent and one provider.
#[derive(Debug, Clone)]
pub struct Cli {
    /// The command.
    pub program: Vec<String>,
    /// Its whole environment but the secrets.
    pub environment: BTreeMap<String, String>,
    /// What of its environment is secret.
    pub secrets: BTreeMap<String, Secret>,
    /// The agent.
    pub agent: String,
    /// The provider.
    pub provider: String,
}

impl Cli {
    /// The profiles of the provider.
    ///
    /// # Errors
    /// When the CLI cannot be run, fails, or answers something else.
    pub async fn listed(&self) -> Result<Vec<Listed>, String> {
        let answer = self.ask(&["list"]).await?;
        let profiles =
            answer.get("profiles").and_then(Value::as_array).ok_or("its answer has no profiles")?;
        let text =
            |profile: &Value, key| profile.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let listed = profiles.iter().map(|profile| Listed {
            id: text(profile, "id"),
            provider: text(profile, "provider"),
            kind: text(profile, "type"),
        });
        Ok(listed.collect())
    }

    /// The agent's own order; `None` where it has none.
    ///
    /// # Errors
    /// As [`listed`](Self::listed).
    pub async fn order(&self) -> Result<Option<Vec<String>>, String> {
        let answer = self.ask(&["order", "get"]).await?;
        let order = answer.get("order").ok_or("its answer has no order")?;
        let ids = order.as_array().map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned));
        Ok(ids.map(Iterator::collect).filter(|ids: &Vec<String>| !ids.is_empty()))
    }

    /// Sets the agent's own order, or removes it.
    ///
    /// # Errors
    /// As [`listed`](Self::listed).
    pub async fn set_order(&self, ids: Option<&[String]>) -> Result<(), String> {
        let verb = if ids.is_some() { "set" } else { "clear" };
        let ids: Vec<&str> = ids.into_iter().flatten().map(String::as_str).collect();
        self.run(&["order", verb], &[&["--"], ids.as_slice()].concat(), false).await.map(|_| ())
    }

    async fn ask(&self, verb: &[&str]) -> Result<Value, String> {
        let stdout = self.run(verb, &["--json"], true).await?;
        serde_json::from_slice(&stdout).map_err(|_| "its answer is not JSON".to_owned())
    }

    async fn run(&self, verb: &[&str], rest: &[&str], is_question: bool) -> Result<Vec<u8>, String> {
        let own = ["--agent", &self.agent, "--provider", &self.provider];
        let words = [&["models", "auth"], verb, &own, rest].concat();
        let (finished, what) = self.call(&words, is_question).await?;
        if !finished.succeeded() {
            return Err(format!("{what} ended with {}", finished.status));
        }
        Ok(finished.stdout.bytes.expose().to_vec())
    }

    /// How one call ended, and what to name it.
    pub(super) async fn call(&self, words: &[&str], is_question: bool) -> Result<(Finished, String), String> {
        let mut env: BTreeMap<_, _> =
            self.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        env.extend(self.secrets.iter().map(|(name, value)| (name.into(), value.expose().into())));
        env.insert("NO_COLOR".into(), "1".into());
        if is_question {
            // Nothing is imported on the way.
            env.insert("OPENCLAW_AUTH_STORE_READONLY".into(), "1".into());
        }
        let argv = self.program.iter().map(Into::into).chain(words.iter().map(Into::into)).collect();
        let spec =
            CommandSpec { argv, env, stdin: None, cwd: None, deadline: DEADLINE, output_limit: OUTPUT_LIMIT };
        let finished = process::run(spec).await.map_err(|error| error.to_string())?;
        let what = format!("openclaw {}", words.iter().take(4).copied().collect::<Vec<_>>().join(" "));
        if finished.timed_out {
            return Err(format!("{what} took longer than {} s", DEADLINE.as_secs()));
        }
        Ok((finished, what))
    }
}
