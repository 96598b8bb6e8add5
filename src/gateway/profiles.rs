//! The profiles of an OpenClaw with a database and their order, through its own CLI. Only commands
//! that send nothing to a provider: the text form of `models status`, `--probe` and `channels list`
//! refresh what is over.
//! Facts: OpenClaw 2026.7.1, 2026.8.2 (the commands are there), 2026.9.6 (by running).

use serde_json::Value;

use super::openclaw_cli::{OpenClawCli, ended};
use crate::format::auth_profiles::Listed;
use crate::sys::process::Finished;

/// The profiles of one agent and one provider.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// The CLI of the instance.
    pub cli: OpenClawCli,
    /// The agent.
    pub agent: String,
    /// The provider.
    pub provider: String,
}

impl Profiles {
    /// The profiles of the provider.
    ///
    /// # Errors
    /// When the CLI cannot be run, fails, or answers something else.
    pub async fn listed(&self) -> Result<Vec<Listed>, String> {
        listed_in(&self.ask(&["list"]).await?)
    }

    /// The agent's own order; `None` where it has none.
    ///
    /// # Errors
    /// As [`listed`](Self::listed).
    pub async fn order(&self) -> Result<Option<Vec<String>>, String> {
        order_in(&self.ask(&["order", "get"]).await?)
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

    async fn ask(&self, verb: &[&str]) -> Result<Vec<u8>, String> {
        self.run(verb, &["--json"], true).await
    }

    async fn run(&self, verb: &[&str], rest: &[&str], is_question: bool) -> Result<Vec<u8>, String> {
        let own = ["--agent", &self.agent, "--provider", &self.provider];
        let words = [&["models", "auth"], verb, &own, rest].concat();
        let (finished, what) = self.call(&words, is_question).await?;
        if !finished.succeeded() {
            return Err(format!("{what} {}", ended(&finished)));
        }
        Ok(finished.stdout.bytes.expose().to_vec())
    }

    /// How one call ended, and what to name it.
    pub(super) async fn call(&self, words: &[&str], is_question: bool) -> Result<(Finished, String), String> {
        // Nothing is imported on the way.
        let own: &[_] = if is_question { &[("OPENCLAW_AUTH_STORE_READONLY", "1")] } else { &[] };
        let finished = self.cli.run(words, own, None).await?;
        let what = format!("openclaw {}", words.iter().take(4).copied().collect::<Vec<_>>().join(" "));
        if finished.timed_out {
            return Err(format!("{what} {}", ended(&finished)));
        }
        Ok((finished, what))
    }
}

/// The profiles in an answer. An id is what it is; what else is said of them is bounded.
///
/// # Errors
/// What the answer is not.
pub fn listed_in(answer: &[u8]) -> Result<Vec<Listed>, String> {
    let answer = json(answer)?;
    let profiles = answer.get("profiles").and_then(Value::as_array).ok_or("its answer has no profiles")?;
    let text = |profile: &Value, key| profile.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let word =
        |profile: &Value, key| text(profile, key).chars().filter(|c| !c.is_control()).take(64).collect();
    let listed = profiles.iter().map(|profile| Listed {
        id: text(profile, "id"),
        provider: word(profile, "provider"),
        kind: word(profile, "type"),
    });
    Ok(listed.collect())
}

/// The order in an answer; `None` where there is none.
///
/// # Errors
/// As [`listed_in`].
pub fn order_in(answer: &[u8]) -> Result<Option<Vec<String>>, String> {
    let answer = json(answer)?;
    let order = answer.get("order").ok_or("its answer has no order")?;
    let ids = order.as_array().map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned));
    Ok(ids.map(Iterator::collect).filter(|ids: &Vec<String>| !ids.is_empty()))
}

fn json(answer: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(answer).map_err(|_| "its answer is not JSON".to_owned())
}
