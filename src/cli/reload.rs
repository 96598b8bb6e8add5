//! Telling the daemon of this user that the configuration has changed: by its service manager, as a
//! person would. A daemon that is no unit is left to the person.

use super::{load, output};
use crate::config::settings::UnitScope;
use crate::core::memory::LastAction;
use crate::daemon::apply;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::gateway::unit::{self, Managers};

/// The unit that runs the daemon.
pub(super) const UNIT: &str = "tokensink.service";

/// Makes a running daemon read its configuration again, or says what does.
pub async fn daemon(world: &World, state: &StateDir) {
    if !load::daemon(state).running {
        return;
    }
    let means = apply::means(world, &Managers::default());
    let (under_way, _nobody) = tokio::sync::oneshot::channel();
    match unit::act(LastAction::Reload, UNIT, UnitScope::User, &means, under_way).await {
        Ok(applied) if applied.action == LastAction::Reload => {
            output::print("and the daemon reads that now\n");
        }
        Ok(_) | Err(_) => output::print("the daemon reads that when it is sent SIGHUP\n"),
    }
}
