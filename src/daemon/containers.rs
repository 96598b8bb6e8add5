//! What gateways in containers are, asked of the container engine only when something is to be done
//! for one: the package on this host says nothing about the one inside. Kept in the state by the
//! container's and the image's id, so that a look at the world runs no command.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::id::GatewayId;
use crate::config::settings::{GatewayKind, GatewaySettings};
use crate::core::memory::Memory;
use crate::core::model::Plan;
use crate::daemon::apply;
use crate::daemon::world::World;
use crate::gateway::container;
use crate::gateway::unit::Managers;
use crate::sinks::openclaw::Wanted;
use crate::sys::clock;

/// How long one that could not be asked is left alone while nothing is to be done for it.
const PAUSE: Duration = Duration::from_secs(60);

/// Asks about the containers that `plan` concerns, and those of which nothing is known. Each is asked
/// once for one `asked`. True when something else is known now than before.
pub async fn ask(world: &World, memory: &mut Memory, plan: &Plan, asked: &mut BTreeSet<GatewayId>) -> bool {
    let mut is_news = false;
    for gateway in world.settings.gateways.iter().filter(|gateway| is_container_of_openclaw(world, gateway)) {
        let known = memory.gateways.get(&gateway.id).and_then(|known| known.inside.clone());
        let is_pending = memory.gateways.get(&gateway.id).is_some_and(|known| known.pending.is_some());
        let is_due =
            is_pending || concerns(plan, gateway) || (known.is_none() && world.may_ask(&gateway.id, PAUSE));
        if !is_due || !asked.insert(gateway.id.clone()) {
            continue;
        }
        world.note_asked(&gateway.id, clock::monotonic());
        let means = apply::means(world, &Managers::default());
        let seen = match container::look(&gateway.kind, known.as_ref(), &means).await {
            Ok(seen) => Some(seen),
            Err(why) => {
                tracing::debug!(gateway = %gateway.id, "its container is not known: {why}");
                None
            }
        };
        if seen != known {
            memory.gateways.entry(gateway.id.clone()).or_default().inside = seen;
            is_news = true;
        }
    }
    if is_news {
        world.recall(memory);
    }
    is_news
}

fn is_container_of_openclaw(world: &World, gateway: &GatewaySettings) -> bool {
    matches!(gateway.kind, GatewayKind::Container { .. } | GatewayKind::Compose { .. })
        && world.settings.sinks.iter().any(|s| gateway.sinks.contains(&s.id) && Wanted::of(s).is_some())
}

fn concerns(plan: &Plan, gateway: &GatewaySettings) -> bool {
    plan.writes.iter().any(|write| gateway.sinks.contains(&write.target.sink))
        || plan.applies.iter().any(|apply| apply.gateway == gateway.id)
}
