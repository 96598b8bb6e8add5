//! Handing a credential to what is no document to edit: the command of a `command` sink, and
//! `systemd-creds`, which encrypts it. Every call runs in a task of its own, never inside a pass; the
//! gateways that read the sink follow when it was taken. What an owner's command printed is never
//! repeated: it may quote its input.

use std::time::Duration;

use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::FingerprintKey;
use crate::base::secret::Document;
use crate::base::time::Timestamp;
use crate::config::settings::SinkKind;
use crate::core::apply;
use crate::core::model::{Delivery, Force, Observed, TargetContent};
use crate::core::undo::Made;
use crate::daemon::history;
use crate::daemon::pass::{self, PassError};
use crate::daemon::seal::{self, Order};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;
use crate::sys::process::{self, CommandSpec};

/// How long to wait for a pass of another process before recording an outcome.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the command of a `command` sink with the credential as JSON on its standard input, or writes
/// the encrypted credential of a `systemd-creds` sink, and records the result.
///
/// # Errors
/// When our own state cannot be read or written.
pub async fn deliver(
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
    delivery: &Delivery,
    observed: &Observed,
) -> Result<Result<(), String>, PassError> {
    let Some(sink) = world.settings.sinks.iter().find(|sink| sink.id == delivery.target.sink) else {
        return Ok(Ok(()));
    };
    let Some(SourceReading::Ok(credential)) = observed.source(&delivery.login).map(|s| &s.reading) else {
        return Ok(Ok(()));
    };
    if key.generation(credential) != delivery.generation {
        return Ok(Ok(()));
    }
    let seen = observed.targets.iter().find(|target| target.id == delivery.target);
    let outcome = match &sink.kind {
        SinkKind::Command { command, timeout } => {
            run_command(world, command, *timeout, delivery, credential).await.map(|()| None)
        }
        SinkKind::SystemdCreds { path, name } => {
            let order = Order { path, name, target: &delivery.target, there: seen.map(|s| &s.content) };
            seal::seal(world, state, key, &order, &credential.access).await.map(Some)
        }
        _ => return Ok(Ok(())),
    };
    let _lock = pass::hold_pass(state, RECORD_DEADLINE).await?;
    let mut memory = state.load()?;
    let now = clock::now();
    match &outcome {
        Ok(sealed) => {
            let need = seen.map_or(Force::Restart, |target| target.force);
            let target = memory.targets.entry(delivery.target.to_string()).or_default();
            let had_it = target.sealed.is_some() && target.generation.as_ref() == Some(&delivery.generation);
            if had_it && seen.is_some_and(|target| matches!(target.content, TargetContent::Present(_))) {
                target.note_clobber(now);
            }
            target.sealed.clone_from(sealed);
            if let (Some(sealed), SinkKind::SystemdCreds { path, .. }) = (sealed, &sink.kind) {
                let was_there = seen.is_some_and(|s| matches!(s.content, TargetContent::Present(_)));
                let path = path.display().to_string();
                let known = target.made.take();
                target.made = Some(Made::note_whole(path, sealed.clone(), was_there, known.as_ref()));
            }
            apply::note_delivered(&mut memory, &world.desired, delivery, need, now);
        }
        Err(why) => {
            let target = memory.targets.entry(delivery.target.to_string()).or_default();
            target.failure = Some(why.clone());
            apply::note_undelivered(target, &delivery.generation, now);
        }
    }
    state.save(&mut memory)?;
    history::delivered(state, delivery, outcome.as_ref().map(|_| ()));
    Ok(outcome.map(|_| ()))
}

async fn run_command(
    world: &World,
    command: &[String],
    deadline: Duration,
    delivery: &Delivery,
    credential: &Credential,
) -> Result<(), String> {
    const OUTPUT_LIMIT: usize = 16 * 1024;
    let mut env = world.surroundings.child_environment();
    env.insert("TOKENSINK_LOGIN".into(), delivery.login.to_string());
    env.insert("TOKENSINK_SINK".into(), delivery.target.sink.to_string());
    env.insert("TOKENSINK_GENERATION".into(), delivery.generation.to_string());
    let finished = process::run(CommandSpec {
        argv: command.iter().map(Into::into).collect(),
        env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        stdin: Some(delivered(delivery, credential)),
        cwd: None,
        deadline,
        output_limit: OUTPUT_LIMIT,
    })
    .await
    .map_err(|e| e.to_string())?;
    match () {
        () if finished.timed_out => Err(format!("the command took longer than {} s", deadline.as_secs())),
        () if finished.status.success() => Ok(()),
        // What it printed may quote its input: it is not repeated.
        () => Err(format!("the command ended with {}", finished.status)),
    }
}

/// The JSON that a command reads: no refresh token.
fn delivered(delivery: &Delivery, credential: &Credential) -> Document {
    let value = serde_json::json!({
        "format_version": 1,
        "login": delivery.login.as_str(),
        "sink": delivery.target.sink.as_str(),
        "generation": delivery.generation.as_str(),
        "access_token": credential.access.expose(),
        "expires_at": credential.expires_at.map(Timestamp::as_millis),
        "scopes": credential.scopes,
    });
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    Document::new(bytes)
}
