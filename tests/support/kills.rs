//! The real program, killed before every single call of a run that others can see the effect of.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use super::host::in_parallel;
use super::looks::tree;
use super::strace::{CALLS, Operation, Run, SENDS, aimed, is_long};

/// Calls whose number does not depend on how many processes, log lines or wake-ups there are.
pub const STEADY: [&str; 9] =
    ["fchmod", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "ftruncate"];

/// One operation for every state that a crash can leave: of those between two changes, the one that is hit best.
fn states(operations: Vec<Operation>) -> Vec<Operation> {
    let (mut states, mut since) = (Vec::new(), Vec::new());
    for operation in operations {
        since.push(operation);
        if since.last().is_some_and(Operation::changes) {
            let steady = since.iter().position(|one| STEADY.contains(&one.call.as_str()));
            states.push(since.swap_remove(steady.unwrap_or(since.len() - 1)));
            since.clear();
        }
    }
    states
}

/// What a scene is called, how many points it has, and how they are taken.
#[derive(Clone, Copy)]
pub struct Points<'a> {
    pub title: &'a str,
    /// How many there are, or a few less.
    pub at_least: usize,
    /// Of so many one is taken.
    pub one_of: usize,
    /// Another program writes to it when it likes: the number of a write is a matter of luck.
    pub is_on_terminal: bool,
    /// What it sends is seen by others as well: it asks a service manager.
    pub is_on_bus: bool,
}

/// The same as `kill`, of a scene that nobody writes to.
pub fn everywhere<S>(
    title: &str,
    at_least: usize,
    one_of: usize,
    prepare: impl Fn() -> S + Sync,
    run: impl for<'a> Fn(&'a S) -> Run<'a> + Sync,
    judge: impl Fn(&S, &Operation) -> String + Sync,
) {
    kill(Points { title, at_least, one_of, is_on_terminal: false, is_on_bus: false }, prepare, run, judge);
}

/// Kills the command of a fresh scene before each of its operations, one scene each, and counts what `judge` says.
pub fn kill<S>(
    points: Points<'_>,
    prepare: impl Fn() -> S + Sync,
    run: impl for<'a> Fn(&'a S) -> Run<'a> + Sync,
    judge: impl Fn(&S, &Operation) -> String + Sync,
) {
    let Points { title, at_least, one_of, is_on_terminal, is_on_bus } = points;
    let calls = if is_on_bus { format!("{CALLS},{SENDS}") } else { CALLS.to_owned() };
    let operations = run(&prepare()).operations(&calls);
    let mut operations = if is_long() { operations } else { states(operations) };
    operations.retain(|one| is_long() || !is_on_terminal || STEADY.contains(&one.call.as_str()));
    assert!(operations.len() >= at_least, "{title}: {} points: {operations:#?}", operations.len());
    let operations: Vec<_> = operations.into_iter().step_by(if is_long() { 1 } else { one_of }).collect();
    let one = |operation: &Operation| {
        let hit = aimed(|off| {
            let scene = prepare();
            let run = run(&scene);
            let ended = run.end(run.killed_at(operation, off));
            let aim = run.aim(operation, off);
            drop(run);
            (aim, (ended, scene))
        });
        if let Some((ended, scene)) = hit {
            assert_eq!(ended.status.signal(), Some(9), "{title}: {operation:?}: {ended:?}");
            return judge(&scene, operation);
        }
        // How many files are opened before depends on the other processes that there are, how many writes there are
        // on wake-ups, how many messages on how often a manager is asked.
        let is_unsteady = ["openat", "write", "sendto", "sendmsg"].contains(&operation.call.as_str())
            || !operation.changes();
        assert!(is_unsteady, "{title}: {operation:?} is not hit");
        "not hit".to_owned()
    };
    // A manager and a bus each, and many of them start slowly.
    let outcomes = in_parallel(&operations, if is_on_bus { 2 } else { 4 }, |operation| {
        // One that fails does not hide the others.
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(operation)));
        judged.map_err(|_| operation.clone())
    });
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{title}: {} of {}: {failed:#?}", failed.len(), operations.len());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes.into_iter().flatten() {
        *counts.entry(outcome).or_default() += 1;
    }
    let line: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    println!("{title}: {} points: {}", operations.len(), line.join(", "));
    let part = if is_long() && is_on_terminal { 2 } else { 3 };
    // Of the few points of a scene with a manager three may be a matter of luck.
    let is_enough = |missed: &usize| (is_on_bus && *missed <= 3) || missed * part < operations.len();
    assert!(counts.get("not hit").is_none_or(is_enough), "{title}: {line:?}");
}

/// Nothing of ours that is not complete.
#[track_caller]
pub fn assert_tidy(root: &Path, what: &dyn std::fmt::Debug) {
    let is_ours = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".tokensink.");
    let left: Vec<_> = tree(root).into_iter().filter(is_ours).collect();
    assert!(left.is_empty(), "{what:?}: {left:?}");
}
