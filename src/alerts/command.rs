//! A command of the owner: its arguments exactly as written, the JSON document on its standard input, a
//! small environment, and an end for its whole process group. What it prints is not repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Around, Undelivered, document};
use crate::base::secret::Document;
use crate::config::settings::AlertSettings;
use crate::core::alert::Message;
use crate::sys::process::{self, CommandSpec};

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Output that is read; nothing is done with it.
const OUTPUT_LIMIT: usize = 1024;

/// Runs the command; exit status 0 means delivered.
pub(super) async fn send(
    settings: &AlertSettings,
    around: &Around,
    message: &Message,
) -> Result<(), Undelivered> {
    let mut env = around.environment.clone();
    let code = message.code.map_or("", |code| code.as_str());
    let told = [
        ("TOKENSINK_EVENT", message.event.as_str()),
        ("TOKENSINK_SEVERITY", message.severity.as_str()),
        ("TOKENSINK_CODE", code),
        ("TOKENSINK_SUBJECT", &message.subject),
    ];
    env.extend(told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let argv = settings.command.clone().unwrap_or_default();
    let document = Document::new(document::of(message, &around.host).into_bytes());
    run("the command", argv, env, Some(document), DEADLINE).await
}

/// Runs `argv`, called `name` in words; exit status 0 means delivered.
pub(super) async fn run(
    name: &str,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    stdin: Option<Document>,
    deadline: Duration,
) -> Result<(), Undelivered> {
    let finished = process::run(CommandSpec {
        argv: argv.into_iter().map(Into::into).collect(),
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        stdin,
        cwd: None,
        deadline,
        output_limit: OUTPUT_LIMIT,
    })
    .await
    .map_err(|error| Undelivered::lasting(error.to_string()))?;
    match () {
        () if finished.timed_out => {
            Err(Undelivered::passing(format!("{name} took longer than {} s", deadline.as_secs())))
        }
        () if finished.status.success() => Ok(()),
        () => Err(Undelivered::passing(format!("{name} ended with {}", finished.status))),
    }
}
