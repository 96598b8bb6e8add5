//! Whether a re-authentication has mended what was broken: not that a login was stored, but that it is a
//! new one, of the same account, with a future, and that everybody who needs it uses it.

use std::time::Duration;

use crate::base::code::Severity;
use crate::base::fingerprint::Fingerprint;
use crate::base::time::{Timestamp, short_duration};
use crate::cli::sync;
use crate::core::report::{LoginReport, Report};
use crate::daemon::look;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;

/// Between two looks at those who have to follow.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What was there before.
#[derive(Debug, Clone)]
pub(super) struct Before {
    /// The login's access token, where there was one.
    pub fingerprint: Option<Fingerprint>,
    /// Its account, where it was known.
    pub account: Option<String>,
}

impl Before {
    pub fn of(report: &Report, login: &str) -> Self {
        let known = report.logins.iter().find(|known| known.id == login);
        Self {
            fingerprint: known.and_then(|known| known.fingerprint.clone()),
            account: known.and_then(|known| known.account_id.clone()),
        }
    }
}

/// Has everybody follow, by the same pass as `sync` makes and beside a daemon that does the same, and
/// waits for it. `accepted`: another account was wanted.
///
/// # Errors
/// Which conditions do not hold, in words.
pub(super) async fn followed(
    login: &str,
    before: &Before,
    accepted: bool,
    world: &World,
    state: &StateDir,
    deadline: Duration,
) -> Result<String, String> {
    let until = clock::monotonic().saturating_add(deadline);
    let mut accepts = accepted.then_some(login);
    loop {
        let left = until.saturating_sub(clock::monotonic());
        let pass = tokio::time::timeout(left, sync::carry_out(accepts.take(), world, state)).await;
        let failed = match pass {
            Ok(Err(why)) => Some(why),
            Ok(Ok(_)) | Err(_) => None,
        };
        let report = look::report(&[login.to_owned()], world, state);
        let open: Vec<String> =
            failed.into_iter().chain(conditions(&report, login, before, accepted)).collect();
        if open.is_empty() {
            return Ok(summary(&report, login));
        }
        if clock::monotonic().saturating_add(LOOK_AGAIN) >= until {
            return Err(open.join("; "));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The conditions that do not hold.
fn conditions(report: &Report, login: &str, before: &Before, accepted: bool) -> Vec<String> {
    let mut open = Vec::new();
    let Some(now) = report.logins.iter().find(|known| known.id == login) else {
        return vec![format!("login {login} is no longer configured")];
    };
    open.extend(
        of_login(now, before, accepted, report.generated_at).map(|why| format!("login {login} {why}")),
    );
    for sink in report.sinks.iter().filter(|sink| sink.state != "current") {
        let agent = sink.agent.as_ref().map_or(String::new(), |agent| format!("/{agent}"));
        let code = sink.code.map_or(String::new(), |code| format!(" ({code})"));
        open.push(format!("sink {}{agent} is {}{code}", sink.id, sink.state));
    }
    for gateway in report.gateways.iter().filter(|gateway| !gateway.applied) {
        let told = report.findings.iter().find(|f| f.subject == gateway.id && f.severity > Severity::Notice);
        let why = match (told, gateway.busy_since, gateway.due_at) {
            (Some(finding), ..) => finding.summary.clone(),
            (None, Some(_), _) => "it is busy, and its restart waits for that".to_owned(),
            (None, None, Some(at)) if at > report.generated_at => {
                format!("it was restarted lately; due in {}", short_duration(at.since(report.generated_at)))
            }
            _ => "that takes longer than was waited for".to_owned(),
        };
        open.push(format!("gateway {} does not use it yet: {why}", gateway.id));
    }
    open
}

fn of_login(now: &LoginReport, before: &Before, accepted: bool, at: Timestamp) -> Option<String> {
    if !matches!(now.state, "ok" | "expiring") {
        return Some(format!("is {}", now.state));
    }
    if now.fingerprint == before.fingerprint {
        return Some("is the same as before".to_owned());
    }
    if now.access_expires_at.is_some_and(|ends| ends <= at) {
        return Some("has a new access token that is over already".to_owned());
    }
    let accounts = before.account.as_ref().zip(now.account_id.as_ref());
    if !accepted && accounts.is_some_and(|(before, now)| before != now) {
        return Some("belongs to another account than before".to_owned());
    }
    None
}

fn summary(report: &Report, login: &str) -> String {
    let ends = report.logins.iter().find(|known| known.id == login).and_then(|known| known.access_expires_at);
    let ends = ends.map_or(String::new(), |at| format!(", its access token is good until {at}"));
    let count = |number: usize, what: &str| match number {
        0 => String::new(),
        1 => format!("; 1 {what} has it"),
        _ => format!("; {number} {what}s have it"),
    };
    format!(
        "login {login} is mended{ends}{}{}",
        count(report.sinks.len(), "sink"),
        count(report.gateways.len(), "gateway")
    )
}
