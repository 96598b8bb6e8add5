//! Gateways: made to use the current generation by the least force that works, and asked whether
//! they do. One file per kind. Nothing here decides when; `core::apply` does.

pub mod command;
pub mod container;
pub mod engine;
pub mod idle;
pub mod log;
pub mod models_status;
pub mod openclaw;
pub mod openclaw_cli;
pub mod probe;
pub mod profiles;
pub mod rpc;
pub mod unit;
pub mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::code::Code;
use crate::config::settings::{Apply, GatewayKind, GatewaySettings};
use crate::core::memory::{Failure, LastAction, Then};
use crate::core::model::Force;
use crate::core::windows::window_of;
use crate::format::release::Release;
use crate::sys::clock;
use crate::systemd::bus::BusAddresses;
use idle::Answer;
use openclaw::Instance;
use view::Witness;

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

/// How a gateway is to be made to follow.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// With what force.
    pub force: Force,
    /// A restart waits until the gateway is idle.
    pub waits_for_idle: bool,
    /// How old the change is, where the last attempt was a restart without proof: that one may have
    /// done what this one is to do.
    pub unproven_for: Option<Duration>,
}

/// The outcome of a restart whose proof came later than it was waited for, and of one that somebody else
/// has made: nothing was done now.
pub const PROVEN: &str = "proven";

/// Makes a gateway use what its sinks hold, and asks its probe.
///
/// # Errors
/// A failure names its finding; the change stays pending.
pub async fn apply(
    gateway: &GatewaySettings,
    Order { force, waits_for_idle, unproven_for }: Order,
    instances: &[Instance],
    witnesses: &[Witness],
    means: &Means,
    under_way: UnderWay,
) -> Result<Applied, Failure> {
    if force < Force::Restart && !instances.is_empty() {
        drop(under_way);
        return reload(gateway, instances, means).await;
    }
    let reloads = gateway.apply == Apply::Reload;
    let is_reloadable = reloads && matches!(gateway.kind, GatewayKind::Unit { .. });
    if force < Force::Restart && !is_reloadable {
        let why = format!("{} has nothing that could be asked for a reload", gateway.id);
        return Err(Failure::new(Code::NotConverged, why, "").meaning(Then::MoreForce));
    }
    if let Some(since) = unproven_for
        && is_proven(gateway, if is_reloadable { Duration::MAX } else { since }, means).await
    {
        let action = if is_reloadable { LastAction::Reload } else { LastAction::Restart };
        let outcome = PROVEN.to_owned();
        return Ok(Applied { action, previous: None, invocation: None, ready: Some(true), outcome });
    }
    // A restart alone brings no token into a store of the gateway's own.
    for instance in instances.iter().filter(|instance| instance.entry.is_some()) {
        match openclaw::converge(&gateway.id, instance).await {
            Ok(()) | Err(Failure { then: Then::Down | Then::MoreForce, .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    if waits_for_idle && !is_reloadable && is_busy(gateway, instances, means).await {
        let why = format!("{} is busy", gateway.id);
        return Err(Failure::new(Code::NotConverged, why, "").meaning(Then::Busy));
    }
    let ordered = clock::monotonic();
    let mut applied = match &gateway.kind {
        GatewayKind::Unit { unit, scope } => {
            let action = if reloads { LastAction::Reload } else { LastAction::Restart };
            unit::act(action, unit, *scope, means, under_way).await?
        }
        GatewayKind::Command { command } => {
            drop(under_way);
            command::run(command, means).await?
        }
        GatewayKind::Compose { dir, service } => {
            drop(under_way);
            container::recreate(&gateway.kind, (dir, service), witnesses, means).await?
        }
        GatewayKind::Container { name } => {
            drop(under_way);
            container::restart(&gateway.kind, name, means).await?
        }
    };
    if let Some(url) = &gateway.probe
        && ![unit::STOPPED, PROVEN, container::PREPARED].contains(&applied.outcome.as_str())
    {
        // A reload leaves the process what it is.
        let ordered = if applied.action == LastAction::Reload { Duration::ZERO } else { ordered };
        let answer = probe::until_ready(url, ordered).await;
        applied.ready = Some(answer.is_ok());
        if let Err(why) = answer {
            let did = if applied.action == LastAction::Reload { "reloaded" } else { "told to restart" };
            let summary =
                format!("{} was {did} and does not prove by its probe that it did: {why}", gateway.id);
            let failure = Failure::new(Code::NotConverged, summary, format!("curl -i {url}"));
            return Err(failure.meaning(Then::Unproven));
        }
    }
    Ok(applied)
}

/// Whether an attempt that had no proof has done what it was to do: the probe answers, and the engine of
/// a gateway in a container says that it is up. Without either there is nothing that could say so.
async fn is_proven(gateway: &GatewaySettings, since: Duration, means: &Means) -> bool {
    let is_contained = matches!(gateway.kind, GatewayKind::Container { .. } | GatewayKind::Compose { .. });
    match &gateway.probe {
        Some(url) if !probe::is_ready(url, since).await => false,
        _ if is_contained => container::is_proven(&gateway.kind, since, means).await,
        probe => probe.is_some(),
    }
}

/// Whether the gateway says that it is at work: by the owner's `idle`, else by an OpenClaw's own word.
/// What cannot be told is not waited for.
async fn is_busy(gateway: &GatewaySettings, instances: &[Instance], means: &Means) -> bool {
    let Some(question) = &gateway.idle else {
        for instance in instances {
            if openclaw::is_busy(&gateway.id, instance).await == Some(true) {
                return true;
            }
        }
        return false;
    };
    match idle::ask(question, means).await {
        Answer::Busy => true,
        Answer::Idle => false,
        Answer::Unknown(why) => {
            tracing::warn!("whether gateway {} is busy cannot be told: its idle {why}", gateway.id);
            false
        }
    }
}

/// Makes a gateway read anew what the configurations of its instances refer to.
async fn reload(
    gateway: &GatewaySettings,
    instances: &[Instance],
    means: &Means,
) -> Result<Applied, Failure> {
    for instance in instances {
        match openclaw::converge(&gateway.id, instance).await {
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
            Err(failure)
                if failure.then == Then::OldProcess && !may_be_old(gateway, instance, means).await =>
            {
                let summary = format!("{} does not accept its own CLI", gateway.id);
                return Err(Failure { summary, ..failure }.meaning(Then::Again));
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

/// True when the process may be older than the package, and of a time in which a store was read at each
/// turn. Where there is no unit that is not known; the answer of its gateway counts.
async fn may_be_old(gateway: &GatewaySettings, instance: &Instance, means: &Means) -> bool {
    let release = instance.release.as_deref().and_then(Release::parse);
    let has_store = release.is_some_and(|release| window_of(&release).is_some());
    let GatewayKind::Unit { unit, scope } = &gateway.kind else { return has_store };
    let started = unit::started_at(unit, *scope, means).await;
    has_store && started.zip(instance.installed_at).is_some_and(|(started, installed)| started < installed)
}

async fn is_stopped(gateway: &GatewaySettings, means: &Means) -> bool {
    match &gateway.kind {
        GatewayKind::Unit { unit, scope } => unit::is_stopped(unit, *scope, means).await,
        kind @ (GatewayKind::Container { .. } | GatewayKind::Compose { .. }) => {
            container::is_stopped(kind, means).await
        }
        GatewayKind::Command { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::GatewayId;

    /// What the next attempt makes of a gateway that answers `body` 10 s after the change whose restart
    /// had no proof. Its command says whether it was run.
    fn next_attempt(body: &'static str) -> Result<Applied, Failure> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut caller, _) = listener.accept().unwrap();
            let _ = caller.read(&mut [0; 4096]).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            caller.write_all((head + body).as_bytes()).unwrap();
        });
        let gateway = GatewaySettings {
            id: GatewayId::try_new("claw").unwrap(),
            sinks: Vec::new(),
            kind: GatewayKind::Command { command: vec!["false".to_owned()] },
            apply: Apply::Restart,
            probe: Some(url),
            idle: None,
            min_interval: Duration::ZERO,
            unauthorized: None,
        };
        let means = Means {
            buses: BusAddresses { session: None, runtime_dir: None, system: None },
            managers: unit::Managers::default(),
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            command_deadline: Duration::from_secs(10),
        };
        let unproven_for = Some(Duration::from_secs(10));
        let order = Order { force: Force::Restart, waits_for_idle: false, unproven_for };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (under_way, _kept) = tokio::sync::oneshot::channel();
        let outcome = runtime.block_on(apply(&gateway, order, &[], &[], &means, under_way));
        server.join().unwrap();
        outcome
    }

    #[test]
    fn a_restart_whose_proof_comes_late_is_not_repeated_and_one_that_never_was_is() {
        let applied = next_attempt(r#"{"ready":true,"uptimeMs":9000}"#).unwrap();
        assert_eq!((applied.outcome.as_str(), applied.ready), (PROVEN, Some(true)));
        assert_eq!(applied.action, LastAction::Restart);
        let failure = next_attempt(r#"{"ready":true,"uptimeMs":11000}"#).unwrap_err();
        assert!(failure.summary.contains("false"), "its command was run: {}", failure.summary);
    }
}
