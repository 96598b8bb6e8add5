//! `tokensink setup --undo`: what a set-up did and nothing else, in the order that leaves no daemon
//! running on half a configuration: the unit, what OpenClaw was told, the drop-in, lingering.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::ground::{Ground, look};
use super::record::{Kept, Record, Unit, removed};
use crate::base::code::Code;
use crate::cli::exit::Exit;
use crate::cli::{load, output, reload};
use crate::config::settings::SinkKind;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::daemon::{apply, recovery, undo};
use crate::sys::paths::Surroundings;
use crate::systemd::bus::Scope;
use crate::systemd::job::ServiceManager;
use crate::systemd::login1;
use crate::systemd::outcome::RestartOutcome;

/// A stop may have to wait for a token request: see `TimeoutStopSec=` of our unit.
const STOP_DEADLINE: Duration = Duration::from_secs(100);

/// Takes everything back that can be, and says what was left.
pub(super) fn run(ground: &Ground, only: Option<&Path>) -> Exit {
    let state = StateDir::of(&ground.surroundings);
    let mut world = match load::world(ground.surroundings.clone(), only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let mut record = match Record::load(&state) {
        Ok(record) => record,
        Err(why) => {
            let remedy =
                "move it away and run this again: the drop-in and the unit are left as they are then";
            return output::failure(format!("{why}; {remedy}"), Exit::Failed);
        }
    };
    let ours = ours(&record, &ground.surroundings);
    let managed = |sink: &SinkKind| matches!(sink, SinkKind::OpenClaw { manage: true, .. });
    let others = world.settings.sinks.iter().find(|s| managed(&s.kind) && !ours.contains(s.id.as_str()));
    if let Some(sink) = others {
        let why =
            format!("sink {} has manage = true and would be set up again; make that false first", sink.id);
        return output::failure(why, Exit::Failed);
    }
    let is_managed = world.settings.sinks.iter().any(|sink| managed(&sink.kind));
    // What our own drop-in says goes with it.
    let mut settings = world.settings.clone();
    for sink in &mut settings.sinks {
        if let SinkKind::OpenClaw { manage, .. } = &mut sink.kind {
            *manage = false;
        }
    }
    world = World::new(settings, world.surroundings);
    world.recall(&load::remembered(&state).0);
    let had_record = !record.is_empty();
    // Nothing of ours may start any more that would look for what one that died left.
    recovery::tidy(&world, &state);
    match output::block_on(in_order(ground, &world, &state, &mut record, is_managed)) {
        Ok(Ok(count)) => {
            if count == 0 && !had_record {
                output::print(
                    "no set-up of ours, and no OpenClaw refers to anything of ours; nothing to do\n",
                );
            }
            Exit::Done
        }
        Ok(Err(why)) => output::failure(why, Exit::Failed),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// The sinks that our own drop-in has, where it is as we wrote it.
fn ours(record: &Record, surroundings: &Surroundings) -> BTreeSet<String> {
    let written = record.drop_in.as_ref().filter(|drop_in| drop_in.kept() == Kept::Ours);
    let loaded = written.and_then(|drop_in| load::configuration(surroundings, Some(&drop_in.path)).ok());
    loaded.into_iter().flat_map(|loaded| loaded.settings.sinks).map(|sink| sink.id.to_string()).collect()
}

/// In order; returns how many references and files were taken back.
async fn in_order(
    ground: &Ground,
    world: &World,
    state: &StateDir,
    record: &mut Record,
    is_managed: bool,
) -> Result<usize, String> {
    if let Some(unit) = record.unit.clone() {
        stop(ground, &unit).await?;
        record.unit = None;
        record.save(state)?;
    }
    if load::daemon(state).running && is_managed {
        let why = "a daemon that was not started by a set-up runs and would make OpenClaw's configuration again; stop it first";
        return Err(why.to_owned());
    }
    while let Some(unit) = record.replaced.last().cloned() {
        switch_on(ground, &unit).await?;
        record.replaced.pop();
        record.save(state)?;
    }
    let count = take_back(world, state).await?;
    if let Some(drop_in) = record.drop_in.clone() {
        let path = drop_in.path.display();
        match drop_in.kept() {
            Kept::Ours => {
                removed(&drop_in.path)?;
                output::print(&format!("removed   {path}\n"));
            }
            Kept::Changed => {
                output::print(&format!("left      {path}: it was changed since, and is yours\n"))
            }
            Kept::Gone => {}
        }
        record.drop_in = None;
        record.save(state)?;
        // One that was not started by a set-up.
        reload::daemon(world, state).await;
    }
    if record.linger {
        let user = ground.user();
        login1::set_linger(&ground.buses(), ground.account.uid, false).await.map_err(|why| {
            format!("lingering was not turned off ({why}). Type\n  sudo loginctl disable-linger {user}\nand run this again")
        })?;
        output::print(&format!("unlingers {user}: your service manager ends with your last session\n"));
        record.linger = false;
        record.save(state)?;
    }
    Ok(count)
}

/// Stops and disables a unit, as far as that was done here.
async fn stop(ground: &Ground, unit: &Unit) -> Result<(), String> {
    let scope = if unit.system { Scope::System } else { Scope::User };
    let name = &unit.name;
    let unreachable =
        |why: &dyn std::fmt::Display| format!("{}: {name} was not taken back: {why}", Code::BusUnavailable);
    let manager = ServiceManager::connect(scope, &ground.buses()).await.map_err(|e| unreachable(&e))?;
    if unit.started {
        let outcome = match manager.stop(name).await {
            Ok(mut job) => job.wait(STOP_DEADLINE).await,
            Err(outcome) => outcome,
        };
        match outcome {
            RestartOutcome::Stopped | RestartOutcome::NotLoaded => {
                output::print(&format!("stopped   {name}\n"))
            }
            other => return Err(format!("{}: {name} was not stopped: {other}", Code::UnitFailed)),
        }
    }
    if unit.enabled {
        manager.disable(name).await.map_err(|e| unreachable(&e))?;
        output::print(&format!("disabled  {name}\n"));
    }
    Ok(())
}

/// Switches on again what was switched off.
async fn switch_on(ground: &Ground, unit: &Unit) -> Result<(), String> {
    let scope = if unit.system { Scope::System } else { Scope::User };
    let name = &unit.name;
    let failed = |why: &dyn std::fmt::Display| {
        format!("{}: {name} was not switched on again: {why}", Code::UnitFailed)
    };
    let manager = ServiceManager::connect(scope, &ground.buses()).await.map_err(|e| failed(&e))?;
    let now = look(&manager, name).await.map_err(|e| failed(&e))?;
    if !now.is_installed {
        output::print(&format!("left      {name}: there is no such unit any more\n"));
        return Ok(());
    }
    if unit.enabled && !now.is_enabled {
        manager.enable(name).await.map_err(|e| failed(&e))?;
    }
    if unit.started && !now.is_running {
        let outcome = match manager.submit_start(name).await {
            Ok(mut job) => job.wait(STOP_DEADLINE).await,
            Err(outcome) => outcome,
        };
        if !matches!(outcome, RestartOutcome::Restarted { .. }) {
            return Err(failed(&outcome));
        }
    }
    output::print(&format!("restored  {name}\n"));
    Ok(())
}

/// Makes every OpenClaw that refers to what we supply forget it, and removes our file, also one that an undo that died left.
async fn take_back(world: &World, state: &StateDir) -> Result<usize, String> {
    let references = apply::references(world);
    for (gateway, instance, reference) in &references {
        for line in undo::reference(state, gateway, instance, reference).await? {
            output::print(&format!("{line}\n"));
        }
    }
    let left = undo::left(world)?;
    left.iter().for_each(|line| output::print(&format!("{line}\n")));
    Ok(references.len() + left.len())
}
