//! `tokensink undo`: takes back what passes made outside our own directories. It asks nobody and
//! restarts nothing: a gateway that has read a token goes on with it until it is started anew.

use std::path::Path;

use super::exit::Exit;
use super::{load, output};
use crate::core::undo::Left;
use crate::daemon::apply;
use crate::daemon::store::StateDir;
use crate::daemon::undo::{self, Outcome, Undone};
use crate::daemon::world::World;
use crate::sys::paths::Surroundings;

/// Runs the command.
#[must_use]
pub fn run(surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let state = StateDir::of(&world.surroundings);
    if load::daemon(&state).running {
        let why = "the daemon runs and would make everything again; first: systemctl --user stop tokensink";
        return output::failure(why, Exit::Failed);
    }
    match output::block_on(take_back(&world, &state)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(why)) => output::failure(why, Exit::Failed),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

async fn take_back(world: &World, state: &StateDir) -> Result<Exit, String> {
    world.recall(&load::remembered(state).0);
    let mut exit = Exit::Done;
    let mut is_quiet = true;
    for (gateway, instance, reference) in &apply::references(world) {
        is_quiet = false;
        match undo::reference(state, gateway, instance, reference).await {
            Ok(lines) => lines.iter().for_each(|line| output::print(&format!("{line}\n"))),
            Err(why) => exit = output::failure(format_args!("{gateway}: {why}"), Exit::Failed),
        }
    }
    match undo::left(world) {
        Ok(lines) => lines.iter().for_each(|line| {
            is_quiet = false;
            output::print(&format!("{line}\n"));
        }),
        Err(why) => exit = output::failure(why, Exit::Failed),
    }
    // Without a key nothing was ever written.
    let Some(key) = state.key() else { return Ok(nothing(exit, is_quiet)) };
    let undone = undo::files(world, state, &key).await.map_err(|error| error.to_string())?;
    for one in &undone {
        is_quiet = false;
        if let Outcome::Failed(why) = &one.outcome {
            exit = output::failure(format_args!("{}: {why}", one.target), Exit::Failed);
        } else {
            output::print(&format!("{}\n", line(one)));
        }
    }
    for sink in undo::handed_over(world) {
        output::print(&format!("kept      {sink}  what its command was given is not ours to take back\n"));
    }
    let is_read = |gateway: &&crate::config::settings::GatewaySettings| {
        let changed = |o: &Undone| matches!(o.outcome, Outcome::Removed | Outcome::Restored);
        let reads = |o: &Undone| gateway.sinks.iter().any(|s| o.target.split('/').next() == Some(s.as_str()));
        undone.iter().any(|one| changed(one) && reads(one))
    };
    for gateway in world.settings.gateways.iter().filter(is_read) {
        output::print(&format!(
            "gateway {} goes on with what it has read until it starts anew\n",
            gateway.id
        ));
    }
    Ok(nothing(exit, is_quiet))
}

fn nothing(exit: Exit, is_quiet: bool) -> Exit {
    if is_quiet {
        output::print("nothing of ours is outside our own directories\n");
    }
    exit
}

fn line(one: &Undone) -> String {
    let (word, why) = match &one.outcome {
        Outcome::Removed => ("removed", ""),
        Outcome::Restored => ("restored", ""),
        Outcome::Left(Left::HeldToken) => ("kept", "  (it held a token before; none is put back)"),
        Outcome::Left(Left::Changed) => ("kept", "  (somebody else wrote there since)"),
        Outcome::Left(Left::Gone) => ("gone", "  (nothing of ours is there)"),
        Outcome::Failed(why) => ("failed", why.as_str()),
    };
    format!("{word:<9} {}  {}{why}", one.target, one.path.display())
}
