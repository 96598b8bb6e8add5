//! Gateways: made to use the current generation by the least force that works, and asked whether
//! they do. One file per kind. Nothing here decides when; `core::apply` does.

pub mod command;
pub mod container;
pub mod models_status;
pub mod openclaw;
pub mod probe;
pub mod profiles;
pub mod unit;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::code::Code;
use crate::config::settings::{Apply, GatewayKind, GatewaySettings};
use crate::core::memory::{Failure, LastAction, Then};
use crate::core::model::Force;
use crate::systemd::bus::BusAddresses;
use openclaw::Instance;

/// What a gateway was made to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The action.
    pub action: LastAction,
    /// The unit's invocation before, where it has one.
    pub previous: Option<String>,
    /// The unit's invocation after, where it has one.
    pub invocation: Option<String>,
    /// What the probe said; `None` without a probe.
    pub ready: Option<bool>,
    /// What happened, as one stable word (`restarted`, `stopped`, …).
    pub outcome: String,
}

/// What the gateways need of the surroundings.
#[derive(Debug, Clone)]
pub struct Means {
    /// Where the buses are.
    pub buses: BusAddresses,
    /// Connections that are kept.
    pub managers: unit::Managers,
    /// The environment of commands.
    pub environment: BTreeMap<String, String>,
    /// How long a command may take.
    pub command_deadline: Duration,
}

/// Held until an action is under way: its job submitted, its command about to start, or failed.
/// Whoever has the other end may do slower things from then on.
pub type UnderWay = tokio::sync::oneshot::Sender<std::convert::Infallible>;

/// Makes a gateway use what its sinks hold, and asks its probe.
///
/// # Errors
/// A failure names its finding; the change stays pending.
pub async fn apply(
    gateway: &GatewaySettings,
    force: Force,
    instances: &[Instance],
    means: &Means,
    under_way: UnderWay,
) -> Result<Applied, Failure> {
    if force < Force::Restart && !instances.is_empty() {
        drop(under_way);
        return reload(gateway, instances, means).await;
    }
    let is_reloadable = gateway.apply == Apply::Reload && matches!(gateway.kind, GatewayKind::Unit { .. });
    if force < Force::Restart && !is_reloadable {
        let why = format!("{} has nothing that could be asked for a reload", gateway.id);
        return Err(Failure::new(Code::NotConverged, why, "").meaning(Then::MoreForce));
    }
    let mut applied = match &gateway.kind {
        GatewayKind::Unit { unit, scope } => {
            let action =
                if gateway.apply == Apply::Reload { LastAction::Reload } else { LastAction::Restart };
            unit::act(action, unit, *scope, means, under_way).await?
        }
        GatewayKind::Command { command } => {
            drop(under_way);
            command::run(command, means).await?
        }
        GatewayKind::Compose { dir, service } => {
            drop(under_way);
            container::recreate(dir, service, means).await?
        }
        GatewayKind::Container { name } => {
            drop(under_way);
            container::restart(name, means).await?
        }
    };
    if let Some(url) = &gateway.probe
        && applied.outcome != unit::STOPPED
    {
        let answer = probe::until_ready(url).await;
        applied.ready = Some(answer.is_ok());
        if let Err(why) = answer {
            let summary = format!("{} was restarted and does not answer its probe: {why}", gateway.id);
            return Err(Failure::new(Code::NotConverged, summary, format!("curl -i {url}")));
        }
    }
    Ok(applied)
}

/// Makes a gateway read anew what the configurations of its instances refer to.
async fn reload(
    gateway: &GatewaySettings,
    instances: &[Instance],
    means: &Means,
) -> Result<Applied, Failure> {
    for instance in instances {
        match openclaw::converge(&gateway.id, instance, means).await {
            Ok(()) => {}
            // A unit that is known to be stopped reads everything when it starts.
            Err(failure) if failure.then == Then::Down && is_stopped(gateway, means).await => {
                return Ok(Applied {
                    action: LastAction::None,
                    previous: None,
                    invocation: None,
                    ready: None,
                    outcome: unit::STOPPED.to_owned(),
                });
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Applied {
        action: LastAction::Reload,
        previous: None,
        invocation: None,
        ready: None,
        outcome: "reloaded".to_owned(),
    })
}

async fn is_stopped(gateway: &GatewaySettings, means: &Means) -> bool {
    match &gateway.kind {
        GatewayKind::Unit { unit, scope } => unit::is_stopped(unit, *scope, means).await,
        _ => false,
    }
}
