//! `tokensink sync`: one pass, with or without a running daemon, through the same code.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::args::SyncArguments;
use super::exit::Exit;
use super::{load, output};
use crate::base::code::Finding;
use crate::base::credential::SourceReading;
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::LoginId;
use crate::base::time::short_duration;
use crate::core::health;
use crate::core::memory::{Failure, GenerationRecord, Then};
use crate::core::model::{Plan, TargetState};
use crate::core::plan;
use crate::daemon::apply::{self, Attempt, Waiting};
use crate::daemon::delivery;
use crate::daemon::fetch;
use crate::daemon::pass::{self, PassError, PassReport, Passes, Written};
use crate::daemon::recovery;
use crate::daemon::settle::Settling;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::gateway::unit::Managers;
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// How often gateways and files are brought together before the command gives up: a gateway that
/// writes its old tokens back while it stops needs a second turn.
const TURNS: usize = 3;

/// How long the command waits for a daemon that applies a change just now.
const APPLY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// Runs the command.
#[must_use]
pub fn run(arguments: &SyncArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    let state = StateDir::of(&surroundings);
    let (world, is_configured) = match load::world(surroundings, only) {
        Ok(loaded) => loaded,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    if arguments.dry_run {
        return dry_run(&world, &state, arguments.json);
    }
    if !is_configured {
        return output::failure("there is no configuration; `tokensink setup` writes one", Exit::Failed);
    }
    let known = |id: &String| world.desired.logins.iter().any(|l| l.id.as_str() == id);
    if let Some(unknown) = arguments.accept.as_ref().filter(|id| !known(id)) {
        return output::failure(format_args!("there is no login {unknown}"), Exit::Usage);
    }
    match output::block_on(sync(arguments, &world, &state)) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

fn dry_run(world: &World, state: &StateDir, is_json: bool) -> Exit {
    let (memory, key) = load::remembered(state);
    let key = key.unwrap_or_else(|| FingerprintKey::new([0; FingerprintKey::LEN]));
    world.recall(&memory);
    let seen = world.observe();
    let now = clock::now();
    let plan = plan::plan(&world.desired, &seen.observed, &memory, &key, now);
    let findings = health::findings(
        &world.desired,
        &seen.observed,
        &memory,
        &plan,
        &key,
        &memory.clock.judge(&clock::reading()),
    );
    if is_json {
        output::print_json(&json!({
            "format_version": 1,
            "generated_at": now,
            "dry_run": true,
            "actions": planned(&plan),
            "sinks": states(&plan),
            "findings": findings,
        }));
        return Exit::Done;
    }
    let mut text = String::new();
    for write in &plan.writes {
        let place = seen.places.get(&write.target).map_or("", |p| &p.observed.path);
        let _ = writeln!(text, "write    {}  {} ({})", write.target, place, write.reason.as_str());
    }
    for delivery in plan.deliveries.iter().chain(&plan.handed) {
        let _ = writeln!(text, "deliver  {}", delivery.target);
    }
    for apply in &plan.applies {
        let _ = writeln!(text, "apply    {}", apply.gateway);
    }
    if plan.is_empty() {
        text.push_str("nothing to do\n");
    }
    for finding in &findings {
        let _ = writeln!(
            text,
            "{:<8} {} {}: {}",
            finding.severity.as_str(),
            finding.code,
            finding.subject,
            finding.summary
        );
    }
    output::print(&text);
    Exit::Done
}

fn planned(plan: &Plan) -> Vec<Value> {
    let writes = plan.writes.iter().map(|w| {
        json!({"action": "write", "sink": w.target.sink, "target": w.target.to_string(), "login": w.login,
               "reason": w.reason.as_str(), "generation": w.generation})
    });
    let deliveries = plan.deliveries.iter().chain(&plan.handed).map(|d| {
        json!({"action": "deliver", "sink": d.target.sink, "target": d.target.to_string(), "login": d.login,
               "generation": d.generation})
    });
    let applies =
        plan.applies.iter().map(|a| json!({"action": "apply", "gateway": a.gateway, "sinks": a.sinks}));
    writes.chain(deliveries).chain(applies).collect()
}

fn states(plan: &Plan) -> Vec<Value> {
    let states = plan.targets.iter().map(|t| {
        json!({"id": t.id.sink, "agent": Some(&t.id.part).filter(|p| !p.is_empty()), "path": t.path, "state": t.state.as_str(), "code": t.code})
    });
    states.collect()
}

/// What the command did, over all its turns.
#[derive(Debug, Default)]
pub(super) struct Done {
    written: Vec<Written>,
    delivered: Vec<(String, Result<(), String>)>,
    attempts: Vec<Attempt>,
}

/// Makes the pass, and says what it did.
pub(super) async fn sync(arguments: &SyncArguments, world: &World, state: &StateDir) -> Exit {
    match carry_out(arguments.accept.as_deref(), world, state).await {
        Ok((report, done)) => finish(arguments.json, world, &report, &done),
        Err(why) => output::failure(why, Exit::Failed),
    }
}

/// Makes the pass, with all that follows from it.
///
/// # Errors
/// When it could not be made, in words.
pub(super) async fn carry_out(
    accepted: Option<&str>,
    world: &World,
    state: &StateDir,
) -> Result<(PassReport, Done), String> {
    let key = state.create().and_then(|()| state.key_or_create()).map_err(|error| error.to_string())?;
    if let Some(login) = accepted {
        accept(login, world, state, &key).await?;
    }
    // A running daemon did it when it started; without one nobody else does.
    recovery::recover(world, state).await;
    for login in &world.settings.logins {
        fetch::fetch(world, state, login).await;
    }
    let mut done = Done::default();
    let mut turn = 1;
    loop {
        let report = settled_pass(world, state, &key).await.map_err(|error| error.to_string())?;
        let acted =
            follow(world, state, &key, &report, &mut done).await.map_err(|error| error.to_string())?;
        let report = PassReport { written: Vec::new(), ..take_written(report, &mut done) };
        if !acted || turn == TURNS {
            return Ok((report, done));
        }
        turn += 1;
    }
}

fn take_written(mut report: PassReport, done: &mut Done) -> PassReport {
    done.written.append(&mut report.written);
    report
}

/// A pass over sources that have been read often enough to be believed.
async fn settled_pass(
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
) -> Result<PassReport, PassError> {
    // What a running daemon alone can know is not over because a command cannot know it.
    let own: Vec<Finding> = if load::daemon(state).running {
        let open = load::remembered(state).0.findings.into_iter().map(|open| open.finding);
        open.filter(|finding| finding.code.is_daemons_own()).collect()
    } else {
        Vec::new()
    };
    let mut settling = Settling::default();
    loop {
        let mut look = || {
            let mut seen = world.observe();
            seen.observed.own.clone_from(&own);
            settling.observe(&mut seen.observed, clock::monotonic());
            seen
        };
        let report = Passes { world, state, key }.pass(&mut look).await?;
        let Some(pause) = settling.look_again(clock::monotonic()) else { return Ok(report) };
        tokio::time::sleep(pause).await;
    }
}

/// Runs commands and due restarts. Returns whether anything was done, so that the world has to be
/// looked at again.
async fn follow(
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
    report: &PassReport,
    done: &mut Done,
) -> Result<bool, PassError> {
    let mut acted = false;
    for order in &report.deliveries {
        let target = order.target.to_string();
        // One attempt for each command: a failing one is not run again by itself here.
        if done.delivered.iter().any(|(t, _)| t == &target) {
            continue;
        }
        let outcome = delivery::deliver(world, state, key, order, &report.observed).await?;
        done.delivered.push((target, outcome));
        acted = true;
    }
    // A delivery that was taken has a gateway to follow it.
    let memory = if acted { state.load()? } else { report.memory.clone() };
    for waiting in apply::waiting(world, &memory, clock::now()) {
        let id = &waiting.gateway.id;
        // A person who asks does not wait for the next attempt after a failed one.
        let is_due = waiting.at <= clock::now() || waiting.has_failed;
        let has_failed =
            |a: &Attempt| &a.gateway == id && a.outcome.as_ref().is_err_and(|f| f.then != Then::MoreForce);
        if !is_due || done.attempts.iter().any(has_failed) {
            continue;
        }
        // A daemon that is at it is waited for: the command ends when the change is settled.
        let means = apply::means(world, &Managers::default());
        let instances = apply::instances(world, &memory, &waiting.gateway);
        let attempt =
            apply::attempt(state.clone(), waiting, instances, means, APPLY_PATIENCE, oneshot::channel().0);
        done.attempts.extend(attempt.await);
        acted = true;
    }
    Ok(acted)
}

fn finish(is_json: bool, world: &World, report: &PassReport, done: &Done) -> Exit {
    let mut still_waiting = apply::waiting(world, &report.memory, report.at);
    still_waiting.retain(|w| w.at > report.at && !w.has_failed);
    let is_failed = |t: &&crate::core::model::TargetVerdict| {
        t.state == TargetState::Error || (t.state == TargetState::Missing && t.code.is_some())
    };
    let failed = report.failed.len()
        + report.plan.targets.iter().filter(is_failed).count()
        + done.delivered.iter().filter(|(_, outcome)| outcome.is_err()).count()
        + done.attempts.iter().filter(|a| a.outcome.as_ref().is_err_and(is_final)).count();
    if is_json {
        output::print_json(&json!({
            "format_version": 1,
            "generated_at": report.at,
            "dry_run": false,
            "actions": actions(done),
            "waiting": still_waiting.iter().map(|w| json!({"gateway": w.gateway.id, "at": w.at})).collect::<Vec<_>>(),
            "sinks": states(&report.plan),
            "findings": report.findings,
        }));
    } else {
        output::print(&text(report, done, &still_waiting));
    }
    if failed == 0 { Exit::Done } else { Exit::Failed }
}

/// True for a failure that leaves the gateway without what it needs: one that is down reads it when
/// it starts, and one that needs more force has got it or waits for it.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.then, Then::Again | Then::Unresolved | Then::Unfit | Then::Unproven)
}

/// True for an attempt that found the gateway busy and did nothing.
fn is_put_off(attempt: &Attempt) -> bool {
    attempt.outcome.as_ref().is_err_and(|failure| failure.then == Then::Busy)
}

fn actions(done: &Done) -> Vec<Value> {
    let written = done.written.iter().map(|w| {
        json!({"action": "write", "sink": w.target.sink, "target": w.target.to_string(), "login": w.login,
               "path": w.path, "reason": w.reason.as_str(), "generation": w.generation})
    });
    let delivered = done.delivered.iter().map(|(target, outcome)| {
        json!({"action": "deliver", "target": target, "ok": outcome.is_ok(), "error": outcome.as_ref().err()})
    });
    let applied = done.attempts.iter().filter(|a| !is_put_off(a)).map(|attempt| {
        let took = u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX);
        match &attempt.outcome {
            Ok(applied) => json!({"action": applied.action.as_str(), "gateway": attempt.gateway, "ok": true,
                                  "outcome": applied.outcome, "took_ms": took}),
            Err(failure) => json!({"action": "apply", "gateway": attempt.gateway, "ok": false,
                                   "code": failure.code, "error": failure.summary, "took_ms": took}),
        }
    });
    written.chain(delivered).chain(applied).collect()
}

fn text(report: &PassReport, done: &Done, still_waiting: &[Waiting]) -> String {
    let mut text = String::new();
    for written in &done.written {
        let _ =
            writeln!(text, "written   {}  {} ({})", written.target, written.path, written.reason.as_str());
    }
    for (target, outcome) in &done.delivered {
        let _ = match outcome {
            Ok(()) => writeln!(text, "delivered {target}"),
            Err(why) => writeln!(text, "failed    {target}: {why}"),
        };
    }
    for attempt in done.attempts.iter().filter(|a| !is_put_off(a)) {
        let _ = match &attempt.outcome {
            Ok(applied) => {
                writeln!(text, "{:<9} {}  {} ms", applied.outcome, attempt.gateway, attempt.took.as_millis())
            }
            Err(failure) => writeln!(text, "failed    {}: {}", attempt.gateway, failure.summary),
        };
    }
    for waiting in still_waiting {
        let left = short_duration(waiting.at.since(report.at));
        let why = if waiting.is_busy { "busy" } else { "restarted lately" };
        let _ = writeln!(text, "waiting   {}: {why}, due in {left}", waiting.gateway.id);
    }
    if text.is_empty() {
        text.push_str("nothing to do\n");
    }
    for finding in &report.findings {
        let _ = writeln!(
            text,
            "{:<9} {} {}: {}",
            finding.severity.as_str(),
            finding.code,
            finding.subject,
            finding.summary
        );
    }
    text
}

/// Takes the source's credential for the login's newest generation, whoever's account it is.
async fn accept(login: &str, world: &World, state: &StateDir, key: &FingerprintKey) -> Result<(), String> {
    const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
    let id = LoginId::try_new(login).map_err(|e| e.to_string())?;
    let seen = world.observe();
    let source = seen.observed.source(&id).ok_or_else(|| format!("there is no login {login}"))?;
    let SourceReading::Ok(credential) = &source.reading else {
        return Err(format!("{} holds no usable login", source.path));
    };
    let _lock = pass::hold_pass(state, DEADLINE).await.map_err(|e| e.to_string())?;
    let mut memory = state.load().map_err(|e| e.to_string())?;
    let record = GenerationRecord::of(credential, key, &memory.clock.judge(&clock::reading()));
    let entry = memory.logins.entry(id).or_default();
    entry.account.clone_from(&credential.account);
    entry.remember(record, credential.account.as_ref());
    state.save(&mut memory).map_err(|e| e.to_string())
}
