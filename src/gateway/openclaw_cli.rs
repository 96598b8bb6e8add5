//! Running OpenClaw's own CLI: bounded in time and output, its secrets in its environment only
//! (it takes the gateway's token by configuration or environment, OpenClaw 2026.2.26 to 2026.9.6).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::secret::{Document, Secret};
use crate::sys::process::{self, CommandSpec, Finished};

/// How long one call may take: 2 to 7 s, and once 30 s on two processors with other work.
const DEADLINE: Duration = Duration::from_secs(120);
/// Output that is kept of a call, in bytes: a list of profiles is the longest.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// The CLI of one instance.
#[derive(Debug, Clone, Default)]
pub struct OpenClawCli {
    /// The command, with its first arguments; empty where there is none.
    pub program: Vec<String>,
    /// Its whole environment but the secrets.
    pub environment: BTreeMap<String, String>,
    /// What of its environment is secret.
    pub secrets: BTreeMap<String, Secret>,
    /// It is run in the gateway's container by the engine.
    pub is_contained: bool,
}

impl OpenClawCli {
    /// Runs it with `words` and, in its environment, `own` beside the rest.
    ///
    /// # Errors
    /// When there is no CLI, or it could not be run; in words without what it said.
    pub async fn run(
        &self,
        words: &[&str],
        own: &[(&str, &str)],
        stdin: Option<Document>,
    ) -> Result<Finished, String> {
        if self.program.is_empty() {
            return Err("there is no CLI here that could be asked".to_owned());
        }
        let mut env: BTreeMap<_, _> =
            self.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        env.extend(self.secrets.iter().map(|(name, value)| (name.into(), value.expose().into())));
        env.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
        env.insert("NO_COLOR".into(), "1".into());
        let mut program: Vec<&str> = self.program.iter().map(String::as_str).collect();
        if stdin.is_some() && self.is_contained {
            // The engine's `exec` hands standard input on only when it is told so.
            program.insert(program.len().min(2), "-i");
        }
        let argv = program.into_iter().chain(words.iter().copied()).map(Into::into).collect();
        let spec =
            CommandSpec { argv, env, stdin, cwd: None, deadline: DEADLINE, output_limit: OUTPUT_LIMIT };
        process::run(spec).await.map_err(|error| error.to_string())
    }
}

/// How a call ended, without what it said: that may quote its configuration.
#[must_use]
pub fn ended(finished: &Finished) -> String {
    if finished.timed_out {
        format!("took longer than {} s", DEADLINE.as_secs())
    } else {
        format!("ended with {}", finished.status)
    }
}
