//! Whether a set-up works: the daemon runs, its first pass is done, every sink holds the current token
//! and every gateway was made to use it, or somebody says why not.

use std::future::pending;
use std::time::Duration;

use crate::base::code::Severity;
use crate::core::report::{GatewayReport, Report};
use crate::daemon::look;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;
use crate::sys::watch::Watcher;

/// How long gateways may take to follow.
const PATIENCE: Duration = Duration::from_secs(90);
/// What makes no event (a new reading of the time) is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits until everything has come to an end, good or bad, and says how.
pub(super) async fn settled(world: &World, state: &StateDir) -> Report {
    let until = clock::monotonic().saturating_add(PATIENCE);
    // Whatever the daemon does ends in that file.
    let mut watcher = Watcher::new().ok();
    if let Some(watcher) = &mut watcher {
        watcher.set(&[state.memory_file()]);
    }
    loop {
        let report = look::report(&[], world, state);
        let left = until.saturating_sub(clock::monotonic());
        if !is_under_way(&report) || left.is_zero() {
            return report;
        }
        let woken = async {
            match &mut watcher {
                Some(watcher) => drop(watcher.next().await),
                None => pending().await,
            }
        };
        // Woken or not, the next look tells.
        drop(tokio::time::timeout(LOOK_AGAIN.min(left), woken).await);
    }
}

/// What is not as it should be, in words; empty when the set-up is proved.
pub(super) fn open(report: &Report) -> Vec<String> {
    let mut open = Vec::new();
    if !report.daemon.running {
        open.push("the daemon does not run".to_owned());
    }
    for finding in report.findings.iter().filter(|finding| finding.severity > Severity::Notice) {
        let next = if finding.next.is_empty() { String::new() } else { format!("; next: {}", finding.next) };
        open.push(format!("{} {}: {}{next}", finding.code, finding.subject, finding.summary));
    }
    let is_told = |subject: &str| report.findings.iter().any(|finding| finding.subject == subject);
    for sink in report.sinks.iter().filter(|sink| sink.state != "current") {
        let target = sink.agent.as_ref().map_or(sink.id.clone(), |agent| format!("{}/{agent}", sink.id));
        if !is_told(&target) && !is_told(&sink.id) && !is_told(&sink.login) {
            open.push(format!("sink {target} is {}", sink.state));
        }
    }
    for gateway in report.gateways.iter().filter(|gateway| is_due(gateway, report)) {
        if !is_told(&gateway.id) {
            open.push(format!("gateway {} does not use the current token yet", gateway.id));
        }
    }
    open
}

/// Something is still on its way.
fn is_under_way(report: &Report) -> bool {
    let is_good = |login: &str| {
        report.logins.iter().any(|known| known.id == login && matches!(known.state, "ok" | "expiring"))
    };
    let is_told = |gateway: &GatewayReport| report.findings.iter().any(|f| f.subject == gateway.id);
    let is_behind = |state: &str| matches!(state, "stale" | "missing");
    !report.daemon.running
        || report.sinks.iter().any(|sink| is_behind(sink.state) && is_good(&sink.login))
        || report.gateways.iter().any(|gateway| is_due(gateway, report) && !is_told(gateway))
}

/// A change that should have reached the gateway by now.
fn is_due(gateway: &GatewayReport, report: &Report) -> bool {
    let is_later = gateway.due_at.is_some_and(|at| at > report.generated_at);
    !gateway.applied && !is_later && gateway.busy_since.is_none()
}
