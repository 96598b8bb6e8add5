//! One pass: observe, plan, execute, verify. The same code serves the daemon and `sync`.
//!
//! Order, and what a crash between two steps leaves:
//! 1. every file is staged: temporary files, removed by the next start;
//! 2. pending restarts and new generations are recorded: the next start finds the sinks old, writes
//!    them, and restarts once;
//! 3. the files are renamed one after the other, the directories synced: the next start writes the
//!    rest, and the restart is on record;
//! 4. everything is observed again, pending restarts begin, what was written is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crate::base::code::Finding;
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{GatewayId, LoginId};
use crate::base::time::Timestamp;
use crate::core::clock::Judgement;
use crate::core::health;
use crate::core::memory::{FindingChanges, Memory};
use crate::core::model::{Delivery, Observed, Plan, Rotation, TargetId, TargetState, Write, WriteReason};
use crate::core::plan;
use crate::core::unauthorized::{self, Step};
use crate::core::windows::StoreLockKind;
use crate::daemon::containers;
use crate::daemon::doctor;
use crate::daemon::history;
use crate::daemon::refresh;
use crate::daemon::store::{StateDir, StoreError, private_directory};
use crate::daemon::undo;
use crate::daemon::world::{Observation, World};
use crate::sinks::Place;
use crate::sys::atomic_file::{self, Committed, Digest, Expected, Policy, Staged, WriteErrorKind};
use crate::sys::lock::{self, LockError, Patience, ProcessLock, StoreLock, StoreLockOptions};
use crate::sys::{clock, failpoint, random, witness};

/// How often a pass is repeated when somebody writes in between.
const ROUNDS: usize = 3;
/// How long to wait for another process's pass.
const PASS_LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait for a gateway that holds the lock of its store. Its own writers hold it for
/// milliseconds, a refresh for seconds; what is longer is tried again at the next pass.
pub const STORE_LOCK_DEADLINE: Duration = Duration::from_secs(3);

/// Why a pass could not be made.
#[derive(Debug)]
pub enum PassError {
    /// Another process holds the pass lock.
    Busy,
    /// The lock cannot be used.
    Lock(LockError),
    /// Our own state cannot be read or written.
    Store(StoreError),
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another pass is still running"),
            Self::Lock(error) => write!(f, "pass lock: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PassError {}

impl From<StoreError> for PassError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A target that was written.
#[derive(Debug)]
pub struct Written {
    /// Which.
    pub target: TargetId,
    /// The login.
    pub login: LoginId,
    /// The file.
    pub path: String,
    /// Why.
    pub reason: WriteReason,
    /// What it holds now.
    pub generation: Fingerprint,
    /// Who had overwritten it, where that could be seen.
    pub overwritten_by: Option<String>,
}

/// A target that could not be written.
#[derive(Debug)]
pub struct NotWritten {
    /// Which.
    pub target: TargetId,
    /// Why.
    pub why: String,
    /// The same failure was already on record.
    pub is_known: bool,
}

/// What a pass did and left.
#[derive(Debug)]
pub struct PassReport {
    /// New generations.
    pub rotations: Vec<Rotation>,
    /// What was written.
    pub written: Vec<Written>,
    /// What could not be written.
    pub failed: Vec<NotWritten>,
    /// Commands that are to be run now.
    pub deliveries: Vec<Delivery>,
    /// The world after the pass.
    pub observed: Observed,
    /// The plan over the world after the pass: its targets are the verdicts to show.
    pub plan: Plan,
    /// What is remembered now.
    pub memory: Memory,
    /// Everything that is wrong now.
    pub findings: Vec<Finding>,
    /// The official CLIs that are there.
    pub clis: BTreeMap<LoginId, PathBuf>,
    /// What changed among the findings.
    pub changes: FindingChanges,
    /// What was done because the logs of gateways say 401.
    pub unauthorized: Vec<(GatewayId, Step)>,
    /// When the pass ended, by the wall clock.
    pub at: Timestamp,
    /// What time it was then.
    pub clock: Judgement,
}

/// Starts what is pending in the memory that it is given, and does not wait for one of the deliveries.
pub type Begin<'a> = &'a mut dyn FnMut(&Memory, &[Delivery], Timestamp) -> Pin<Box<dyn Future<Output = ()>>>;

/// What a pass needs.
#[derive(Debug)]
pub struct Passes<'a> {
    /// The configuration.
    pub world: &'a World,
    /// Our state.
    pub state: &'a StateDir,
    /// The fingerprint key.
    pub key: &'a FingerprintKey,
}

impl Passes<'_> {
    /// Makes one pass. `look` observes the world (the daemon adds what it knows of watches and of
    /// readings that are not to be believed yet).
    ///
    /// # Errors
    /// When the pass lock is not to be had, or our own state cannot be read or written.
    pub async fn pass(&self, look: &mut dyn FnMut() -> Observation) -> Result<PassReport, PassError> {
        self.pass_and_begin(look, &mut |_, _, _| Box::pin(std::future::ready(()))).await
    }

    /// The same, and `begin` starts what is pending in the memory before that is recorded once
    /// more: a restart does not wait for a disk that has nothing to tell it (see step 2). What it
    /// returns is awaited under the pass lock and must be short.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub async fn pass_and_begin(
        &self,
        look: &mut dyn FnMut() -> Observation,
        begin: Begin<'_>,
    ) -> Result<PassReport, PassError> {
        let _lock = hold_pass(self.state, PASS_LOCK_DEADLINE).await?;
        let before = self.state.load()?;
        let mut memory = before.clone();
        memory.clock.note(&clock::reading());
        self.world.recall(&memory);
        let mut asked = BTreeSet::new();
        let mut done = Done::default();
        let mut seen = look();
        for _ in 0..ROUNDS + most_in_one_file(&seen).saturating_sub(1) {
            let now = clock::now();
            let mut plan = plan::plan(&self.world.desired, &seen.observed, &memory, self.key, now);
            if containers::ask(self.world, &mut memory, &plan, &mut asked).await {
                seen = look();
                plan = plan::plan(&self.world.desired, &seen.observed, &memory, self.key, now);
            }
            let is_quiet = plan.writes.is_empty() && plan.rotations.is_empty();
            one_write_each(&mut plan.writes, &seen);
            if !self.execute(plan, &seen, &mut memory, &mut done, now).await? || is_quiet {
                break;
            }
            seen = look();
        }
        let now = clock::now();
        let mut plan = plan::plan(&self.world.desired, &seen.observed, &memory, self.key, now);
        let deliveries = std::mem::take(&mut plan.deliveries);
        self.note_current(&plan, &seen, &mut memory);
        let clis = refresh::note_clis(self.world, &mut memory);
        containers::forget(self.world, &mut memory);
        memory.links.note(&doctor::links(self.world, &seen), now);
        let unauthorized = unauthorized::follow(&mut memory, &self.world.desired, &seen.observed, &plan, now);
        begin(&memory, &deliveries, now).await;
        // An engine that takes its time keeps no gateway waiting.
        containers::verify(self.world, &mut memory, &done.written).await;
        let clock = memory.clock.judge(&clock::reading());
        let findings =
            health::findings(&self.world.desired, &seen.observed, &memory, &plan, self.key, &clock);
        let changes = memory.replace_findings(&findings, now);
        // What was read in part only is written anew, or every pass would tell it.
        if memory != before || before.format_version != Memory::VERSION {
            self.state.save(&mut memory)?;
        }
        let Done { rotations, written, mut failed, .. } = done;
        // What failed in one round and was made good in the next has not failed.
        failed.retain(|failed| {
            let state =
                plan.targets.iter().find(|target| target.id == failed.target).map(|target| &target.state);
            state != Some(&TargetState::Current)
        });
        let observed = seen.observed;
        let report = PassReport {
            rotations,
            written,
            failed,
            deliveries,
            observed,
            plan,
            memory,
            findings,
            clis,
            changes,
            unauthorized,
            at: now,
            clock,
        };
        history::pass(self.state, &report);
        Ok(report)
    }

    /// Executes one plan. Returns whether the world has to be looked at again.
    async fn execute(
        &self,
        plan: Plan,
        seen: &Observation,
        memory: &mut Memory,
        done: &mut Done,
        now: Timestamp,
    ) -> Result<bool, PassError> {
        let clock = memory.clock.judge(&clock::reading());
        plan::remember(memory, &seen.observed, &plan, self.key, &clock);
        done.rotations.extend(plan.rotations);
        if plan.writes.is_empty() && plan.applies.is_empty() {
            return Ok(false);
        }
        let _locks = self.lock_stores(&plan.writes, seen, done).await;
        let staged = self.stage(plan.writes, seen, memory, done);
        let mut is_noted = false;
        // What is delivered is followed when that has been done.
        for apply in &plan.applies {
            let is_staged = staged.iter().any(|(w, _)| apply.sinks.contains(&w.target.sink));
            let handed = plan.handed.iter().filter(|h| apply.sinks.contains(&h.target.sink));
            let handed: Vec<&Delivery> = handed.collect();
            if is_staged || !handed.is_empty() || apply.is_set_up {
                is_noted = true;
                let gateway = memory.gateways.entry(apply.gateway.clone()).or_default();
                gateway.note_change(now, apply.token_ends, apply.force);
            }
            // From here on it is the pending change that owes the gateway its token.
            for handed in handed {
                let target = memory.targets.entry(handed.target.to_string()).or_default();
                target.generation = Some(handed.generation.clone());
                target.written_at = Some(now);
            }
        }
        // Without a gateway there is nothing that the next start would not find out by itself.
        if is_noted {
            self.state.save(memory)?;
        }
        failpoint::hit("pass-recorded");
        Ok(self.commit(staged, seen, memory, done, now))
    }

    /// Takes the locks of the stores that a gateway writes too. A store whose lock is not to be
    /// had is noted as failed and left for the next pass.
    async fn lock_stores(&self, writes: &[Write], seen: &Observation, done: &mut Done) -> Vec<StoreLock> {
        let mut locks = Vec::new();
        for write in writes {
            let Some(place) = seen.places.get(&write.target) else { continue };
            match lock_store(place).await {
                Ok(lock) => locks.extend(lock),
                Err(why) => {
                    done.unlocked.insert(write.target.clone(), why);
                }
            }
        }
        locks
    }

    fn stage(
        &self,
        writes: Vec<Write>,
        seen: &Observation,
        memory: &mut Memory,
        done: &mut Done,
    ) -> Vec<(Write, Staged)> {
        let mut staged = Vec::new();
        for write in writes {
            let Some(place) = seen.places.get(&write.target) else { continue };
            let outcome = match done.unlocked.remove(&write.target) {
                Some(why) => Err(why),
                None => self.stage_one(&write, place),
            };
            match outcome {
                Ok(file) => staged.push((write, file)),
                Err(why) => done.fail(&write.target, why, memory),
            }
        }
        staged
    }

    fn stage_one(&self, write: &Write, place: &Place) -> Result<Staged, String> {
        if write.keeps_displaced
            && let Some(old) = &write.planned_against
        {
            self.state.keep_displaced(&write.target, old, self.key).map_err(|e| e.to_string())?;
        }
        if let (true, Some(directory)) = (place.is_mirror, place.path.parent()) {
            private_directory(directory).map_err(|e| e.to_string())?;
        }
        let expected =
            write.planned_against.as_ref().map_or(Expected::Absent, |d| Expected::Content(Digest::of(d)));
        let policy = policy_of(place)?;
        atomic_file::stage(&place.path, &write.document, expected, policy).map_err(|e| e.to_string())
    }

    /// Renames what was staged. Returns whether the world has to be looked at again.
    fn commit(
        &self,
        staged: Vec<(Write, Staged)>,
        seen: &Observation,
        memory: &mut Memory,
        done: &mut Done,
        now: Timestamp,
    ) -> bool {
        let mut committed: Vec<(Write, Committed)> = Vec::new();
        let mut changed = false;
        for (write, file) in staged {
            failpoint::hit("pass-between-renames");
            match file.commit() {
                Ok(file) => committed.push((write, file)),
                // Somebody wrote in between: look again, nothing is lost.
                Err(error) if error.kind == WriteErrorKind::Changed => changed = true,
                Err(error) => done.fail(&write.target, error.to_string(), memory),
            }
        }
        let (writes, files): (Vec<Write>, Vec<Committed>) = committed.into_iter().unzip();
        if let Err(error) = atomic_file::sync_directories(&files) {
            tracing::warn!("failed to sync a directory, the new files are in place: {error}");
        }
        changed |= !writes.is_empty();
        for (write, file) in writes.into_iter().zip(&files) {
            let key = write.target.to_string();
            let place = seen.places.get(&write.target);
            let path = place.map_or_else(|| key.clone(), |p| p.observed.path.clone());
            let target = memory.targets.entry(key).or_default();
            if place.is_some_and(|place| !place.is_mirror) {
                undo::note(target, &write, &file.resolved, self.key);
            }
            target.generation = Some(write.generation.clone());
            target.written_at = Some(now);
            target.writes = target.writes.saturating_add(1);
            target.failure = None;
            let mut overwritten_by = None;
            if write.reason == WriteReason::Clobbered {
                overwritten_by = witness::suspect(std::path::Path::new(&path));
                target.note_clobber(now);
                target.clobbered_by.clone_from(&overwritten_by);
            }
            done.written.push(Written {
                target: write.target,
                login: write.login,
                path,
                reason: write.reason,
                generation: write.generation,
                overwritten_by,
            });
        }
        changed
    }

    /// Notes which targets hold the current generation, so that a later overwrite is recognised.
    fn note_current(&self, plan: &Plan, seen: &Observation, memory: &mut Memory) {
        use crate::core::model::TargetContent;
        for verdict in plan.targets.iter().filter(|t| t.state == TargetState::Current) {
            let is_file = seen.places.get(&verdict.id).is_some_and(|place| {
                !matches!(place.observed.content, TargetContent::Delivery | TargetContent::Handed)
            });
            let login = self.world.desired.sink(&verdict.id.sink).map(|s| &s.login);
            let newest = login.and_then(|l| memory.logins.get(l)?.newest()).map(|r| r.generation.clone());
            if let Some(generation) = newest.filter(|_| is_file) {
                plan::remember_target(memory, &verdict.id.to_string(), &generation);
            }
        }
    }
}

/// What a pass has done so far.
#[derive(Default)]
struct Done {
    rotations: Vec<Rotation>,
    written: Vec<Written>,
    failed: Vec<NotWritten>,
    unlocked: BTreeMap<TargetId, String>,
}

impl Done {
    fn fail(&mut self, target: &TargetId, why: String, memory: &mut Memory) {
        let entry = memory.targets.entry(target.to_string()).or_default();
        let is_known = entry.failure.as_ref() == Some(&why);
        entry.failure = Some(why.clone());
        self.failed.retain(|f| &f.target != target);
        self.failed.push(NotWritten { target: target.clone(), why, is_known });
    }
}

/// Leaves the first of several writes to one file: each is planned against the file as it is, so the
/// next one is planned again when the first is there.
fn one_write_each(writes: &mut Vec<Write>, seen: &Observation) {
    let mut files = BTreeSet::new();
    writes.retain(|write| seen.places.get(&write.target).is_none_or(|place| files.insert(&place.path)));
}

/// How many targets share one file, at most.
fn most_in_one_file(seen: &Observation) -> usize {
    let mut files: BTreeMap<&Path, usize> = BTreeMap::new();
    for place in seen.places.values() {
        *files.entry(&place.path).or_default() += 1;
    }
    files.into_values().max().unwrap_or_default()
}

/// Takes the lock of a store that a gateway writes too; `None` for a file that has none.
///
/// # Errors
/// When it is not to be had in time, as a sentence.
pub async fn lock_store(place: &Place) -> Result<Option<StoreLock>, String> {
    let Some(kind) = place.lock else { return Ok(None) };
    let options = lock_options(kind, place.file.map(|file| file.uid), place.is_contained);
    let lock =
        StoreLock::acquire(&place.path, options, patience(STORE_LOCK_DEADLINE), &mut random::unit).await;
    lock.map(Some).map_err(|error| format!("{}: {error}", place.path.display()))
}

/// How we take part in the lock of a store; `owner` is whose file it is, `is_contained` says that its
/// other writers are in a container.
#[must_use]
pub fn lock_options(kind: StoreLockKind, owner: Option<u32>, is_contained: bool) -> StoreLockOptions {
    let kind = match kind {
        StoreLockKind::Directory => lock::StoreLockKind::Directory,
        StoreLockKind::File => lock::StoreLockKind::File,
    };
    // OpenClaw takes a lock whose holder it cannot signal for a dead one's (2026.2.26).
    let ours = nix::unistd::geteuid().as_raw();
    StoreLockOptions { kind, foreign_namespace: is_contained || owner.is_some_and(|owner| owner != ours) }
}

/// How a lock is waited for.
#[must_use]
pub const fn patience(total: Duration) -> Patience {
    Patience { total, first: Duration::from_millis(20), longest: Duration::from_millis(500) }
}

/// Holds the lock under which our state is read and written.
///
/// # Errors
/// `Busy` when another process holds it all the time; `Lock` when it cannot be used.
pub async fn hold_pass(state: &StateDir, deadline: Duration) -> Result<ProcessLock, PassError> {
    hold(&state.pass_lock(), deadline).await
}

/// Holds one of our own locks.
///
/// # Errors
/// As [`hold_pass`].
pub async fn hold(path: &Path, deadline: Duration) -> Result<ProcessLock, PassError> {
    let lock = ProcessLock::acquire(path, None, patience(deadline), &mut random::unit).await;
    lock.map_err(|error| match error {
        LockError::Busy { .. } => PassError::Busy,
        other => PassError::Lock(other),
    })
}

fn policy_of(place: &Place) -> Result<Policy, String> {
    let owner = place.ownership.owner.as_deref().map(user_id).transpose()?;
    let group = place.ownership.group.as_deref().map(group_id).transpose()?;
    Ok(Policy { mode: place.ownership.mode, owner, group, ..Policy::default() })
}

fn user_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let user = nix::unistd::User::from_name(name).map_err(|e| e.to_string())?;
    user.map(|u| u.uid.as_raw()).ok_or_else(|| format!("there is no user {name}"))
}

fn group_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let group = nix::unistd::Group::from_name(name).map_err(|e| e.to_string())?;
    group.map(|g| g.gid.as_raw()).ok_or_else(|| format!("there is no group {name}"))
}
