//! Facts of the way to the providers. Nothing is spent: a request without body and credential to the root of
//! each token endpoint.

use super::{Environment, Managers, WAYS};
use crate::config::settings::RefreshMode;
use crate::core::doctor::facts::{NetworkFacts, ServerFacts, Unreached};
use crate::daemon::world::World;
use crate::refresher::server_time;
use crate::refresher::side::Side;
use crate::systemd::look;

/// Asks every token endpoint once.
pub async fn ask(world: &World, managers: &Managers, daemon: Option<&Environment>) -> NetworkFacts {
    let mut servers: Vec<ServerFacts> = Vec::new();
    for login in world.settings.logins.iter().filter(|login| login.refresh.mode != RefreshMode::Off) {
        let Some((_, url)) = Side::of(login) else { continue };
        let Some(host) = server_time::host_of(&url) else { continue };
        if let Some(known) = servers.iter_mut().find(|server| server.host == host) {
            known.logins.push(login.id.to_string());
            continue;
        }
        let answer = server_time::reach(&url).await.map_err(|why| match why {
            server_time::Unreached::UntrustedIssuer => Unreached::UntrustedIssuer,
            server_time::Unreached::Certificate(what) => Unreached::Certificate(what),
            server_time::Unreached::NoConnection(what) => Unreached::NoConnection(what),
        });
        servers.push(ServerFacts { host, logins: vec![login.id.to_string()], answer });
    }
    let here = |name: &str| world.surroundings.variable(name);
    let differ = |daemon: &Environment| {
        let differing =
            WAYS.iter().filter(|name| here(name) != daemon.values.get(**name).map(String::as_str));
        differing.map(|name| (*name).to_owned()).collect()
    };
    NetworkFacts {
        servers,
        ways_here: WAYS.iter().filter(|name| here(name).is_some()).map(|name| (*name).to_owned()).collect(),
        ways_differ: daemon.map(differ),
        is_synchronized: look::is_clock_synchronized(&managers.addresses).await,
    }
}
