//! Takes back what passes made outside our own directories: files and entries that were not there
//! before, and what OpenClaw's own configuration was made to refer to. A token that was replaced stays
//! as it is. Nobody may make a pass meanwhile, and a daemon that runs would put everything there again:
//! that is the caller's to see to.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::fingerprint::FingerprintKey;
use crate::base::id::{GatewayId, SinkId};
use crate::core::memory::{Memory, TargetMemory};
use crate::core::model::{Render, Write, WriteReason};
use crate::core::undo::{self, Left, Made, TakeBack};
use crate::daemon::apply;
use crate::daemon::model;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::StateDir;
use crate::daemon::world::{Observation, World};
use crate::gateway::openclaw::{self, Instance, KeyPlace, Reference};
use crate::sys::atomic_file::{self, Digest, Expected, FileState, Policy};

/// How long to wait for a pass that is being made.
const PASS_DEADLINE: Duration = Duration::from_secs(30);

/// Notes what a write made of a file; `resolved` is the file, links resolved.
pub fn note(target: &mut TargetMemory, write: &Write, resolved: &Path, key: &FingerprintKey) {
    let was_there = write.reason != WriteReason::Missing;
    let known = target.made.take();
    target.made = Some(Made::note(
        resolved.display().to_string(),
        write.planned_against.as_ref(),
        &write.document,
        was_there,
        known.as_ref(),
        key,
    ));
}

/// Removes every file of ours to which no OpenClaw refers any more: what an undo that died has left. Returns a line for each.
///
/// # Errors
/// When one cannot be removed.
pub fn left(world: &World) -> Result<Vec<String>, String> {
    let remove = |path: PathBuf| match std::fs::remove_file(&path) {
        Ok(()) => Ok(format!("removed   {}: no OpenClaw refers to it any more", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    apply::left(world).into_iter().map(remove).collect()
}

/// What became of one file.
#[derive(Debug)]
pub struct Undone {
    /// Whose.
    pub target: String,
    /// The file.
    pub path: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// Our entry is gone.
    Restored,
    /// It is as it was, for this reason.
    Left(Left),
    /// It could not be taken back.
    Failed(String),
}

/// Takes back every file and entry that passes have made. What is left or fails stays on record.
///
/// # Errors
/// When the pass lock is not to be had, or our own state cannot be read or written.
pub async fn files(world: &World, state: &StateDir, key: &FingerprintKey) -> Result<Vec<Undone>, PassError> {
    let _lock = pass::hold_pass(state, PASS_DEADLINE).await?;
    let mut memory = state.load()?;
    world.recall(&memory);
    let seen = world.observe();
    let mut waiting: Vec<(String, Made)> =
        memory.targets.iter().filter_map(|(id, target)| Some((id.clone(), target.made.clone()?))).collect();
    let mut undone = Vec::new();
    // Of two entries in one file, the one that was written last is taken back first: its bytes are known.
    while !waiting.is_empty() {
        let is_as_left = |(_, made): &(String, Made)| {
            matches!(atomic_file::observe(Path::new(&made.path)),
                     FileState::Present(file) if key.document(&file.document) == made.left)
        };
        let next = waiting.iter().position(is_as_left).unwrap_or_default();
        let (target, made) = waiting.remove(next);
        let outcome = one(&target, &made, world, &seen, &memory, key).await.unwrap_or_else(Outcome::Failed);
        if matches!(outcome, Outcome::Removed | Outcome::Restored) {
            memory.targets.remove(&target);
        }
        undone.push(Undone { target, path: PathBuf::from(made.path), outcome });
    }
    state.save(&mut memory)?;
    Ok(undone)
}

async fn one(
    id: &str,
    made: &Made,
    world: &World,
    seen: &Observation,
    memory: &Memory,
    key: &FingerprintKey,
) -> Result<Outcome, String> {
    let path = Path::new(&made.path);
    let place = seen.places.iter().find(|(target, _)| target.to_string() == id);
    // Held until the file has been written.
    let _lock = match place {
        Some((_, place)) => pass::lock_store(place).await?,
        None => None,
    };
    let file = match atomic_file::observe(path) {
        FileState::Present(file) => file,
        FileState::Absent { .. } => return Ok(Outcome::Left(Left::Gone)),
        FileState::Unreadable { reason, .. } => return Err(reason.to_string()),
    };
    let sink = place.and_then(|(target, _)| world.desired.sink(&target.sink));
    let login = sink.and_then(|sink| memory.logins.get(&sink.login));
    let verdict = undo::judge(made, &file.document, sink.map(|s| &s.render), login, key);
    let now = Digest::of(&file.document);
    match verdict.map_err(|error| error.to_string())? {
        TakeBack::Leave(why) => Ok(Outcome::Left(why)),
        TakeBack::Remove => {
            atomic_file::remove(path, now).map(|()| Outcome::Removed).map_err(|error| error.to_string())
        }
        TakeBack::Replace(document) => {
            let policy = Policy { may_be_empty: true, ..Policy::default() };
            atomic_file::replace(path, &document, Expected::Content(now), policy)
                .map(|()| Outcome::Restored)
                .map_err(|error| error.to_string())
        }
    }
}

/// The sinks whose consumers have what cannot be taken back: commands that were run.
#[must_use]
pub fn handed_over(world: &World) -> Vec<SinkId> {
    let is_command = |render: &Render| matches!(render, Render::Command);
    world.desired.sinks.iter().filter(|s| is_command(&s.render)).map(|s| s.id.clone()).collect()
}

/// Makes an OpenClaw that refers to what we supply forget it, and removes that. Says what was done.
///
/// # Errors
/// When OpenClaw's own CLI does not do it, or the file cannot be removed.
pub async fn reference(
    state: &StateDir,
    gateway: &GatewayId,
    instance: &Instance,
    reference: &Reference,
) -> Result<Vec<String>, String> {
    let mut said = Vec::new();
    if let Some(model) = model::take_back(state, gateway, instance).await? {
        said.push(format!("{gateway} has no default model {model} any more"));
    }
    openclaw::take_back(gateway, instance, reference).await.map_err(|failure| failure.summary)?;
    let what = match &reference.place {
        KeyPlace::File { path, .. } => {
            if openclaw::may_mention(gateway, instance, path) {
                said.push(format!(
                    "left      {}: the configuration of {gateway} speaks of it",
                    path.display()
                ));
                return Ok(said);
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", path.display()));
                }
                _ => path.display().to_string(),
            }
        }
        KeyPlace::Entry { name } => name.clone(),
    };
    said.push(format!("{gateway} does not refer to {what} any more"));
    Ok(said)
}
