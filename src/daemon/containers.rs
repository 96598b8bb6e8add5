//! What gateways in containers are and see, asked of the container engine only when something is to be
//! done for one: the package on this host says nothing about the one inside. Kept in the state by the
//! container's and the image's id, so that a look at the world runs no command.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::id::GatewayId;
use crate::config::settings::{GatewayKind, GatewaySettings, SinkKind, SinkSettings};
use crate::core::memory::Memory;
use crate::core::model::Plan;
use crate::daemon::apply;
use crate::daemon::pass::Written;
use crate::daemon::world::World;
use crate::gateway::container;
use crate::gateway::unit::Managers;
use crate::gateway::view::{self, Witness};
use crate::sinks;
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

/// What shows whether a gateway has what its sinks hold; nothing for one that is in no container.
pub fn witnesses(world: &World, gateway: &GatewaySettings) -> Vec<Witness> {
    if !is_container(gateway) {
        return Vec::new();
    }
    let sinks = world.settings.sinks.iter().filter(|sink| gateway.sinks.contains(&sink.id));
    let of_sink = |sink: &SinkSettings| {
        let variable = match &sink.kind {
            SinkKind::EnvFile { key, .. } => Some(key.clone()),
            _ => None,
        };
        let has_owner = matches!(
            sink.kind,
            SinkKind::ClaudeCredentials { .. } | SinkKind::CodexAuth { .. } | SinkKind::Template { .. }
        );
        let places = sinks::observe(sink, &world.around(&sink.id)).into_iter();
        let present = places.filter(|place| place.file.is_some());
        let witness = present.map(|place| Witness {
            target: place.observed.id.to_string(),
            path: place.path,
            variable: variable.clone(),
            has_owner,
        });
        witness.collect::<Vec<_>>()
    };
    sinks.flat_map(of_sink).collect()
}

/// Looks from inside the containers that something was `written` for and that need not follow it, and
/// again from those that did not see everything before. One that is made to follow is looked at then.
pub async fn verify(world: &World, memory: &mut Memory, written: &[Written]) {
    for gateway in world.settings.gateways.iter().filter(|gateway| is_container(gateway)) {
        let known = memory.gateways.get(&gateway.id);
        if known.is_some_and(|known| known.pending.is_some()) {
            continue;
        }
        let is_new = written.iter().any(|written| gateway.sinks.contains(&written.target.sink));
        let was_unseen = known.is_some_and(|known| !known.unseen.is_empty());
        let is_again = was_unseen && world.may_ask(&gateway.id, PAUSE);
        if !is_new && !is_again {
            continue;
        }
        world.note_asked(&gateway.id, clock::monotonic());
        let means = apply::means(world, &Managers::default());
        match view::check(&gateway.kind, &witnesses(world, gateway), &means).await {
            Ok(unseen) => {
                if was_unseen || !unseen.is_empty() {
                    memory.gateways.entry(gateway.id.clone()).or_default().unseen = unseen;
                }
            }
            Err(trouble) => tracing::debug!(gateway = %gateway.id, "its view is not known: {trouble:?}"),
        }
    }
}

/// Forgets what was noted of containers that are configured no more.
pub fn forget(world: &World, memory: &mut Memory) {
    for login in world.settings.logins.iter().filter(|login| login.container.is_none()) {
        if let Some(known) = memory.logins.get_mut(&login.id) {
            known.unfetched = None;
        }
    }
    for gateway in world.settings.gateways.iter().filter(|gateway| !is_container(gateway)) {
        if let Some(known) = memory.gateways.get_mut(&gateway.id) {
            known.unseen.clear();
        }
    }
}

const fn is_container(gateway: &GatewaySettings) -> bool {
    matches!(gateway.kind, GatewayKind::Container { .. } | GatewayKind::Compose { .. })
}

fn is_container_of_openclaw(world: &World, gateway: &GatewaySettings) -> bool {
    is_container(gateway)
        && world.settings.sinks.iter().any(|s| gateway.sinks.contains(&s.id) && Wanted::of(s).is_some())
}

fn concerns(plan: &Plan, gateway: &GatewaySettings) -> bool {
    plan.writes.iter().any(|write| gateway.sinks.contains(&write.target.sink))
        || plan.applies.iter().any(|apply| apply.gateway == gateway.id)
}
