//! What is said in the journal: one function for each kind of event, with its `MESSAGE_ID` and
//! fields. Never a secret: ids, paths, fingerprints, times.
//!
//! Events say what was done or tried, as notices. What somebody must look at is a finding, raised
//! once with its own severity: a filter on `FINDING_RAISED` misses nothing and counts nothing twice.

use crate::base::code::{Code, Finding, Severity};
use crate::base::id::{GatewayId, LoginId};
use crate::base::message_id;
use crate::base::time::{Timestamp, short_duration};
use crate::core::alert::Message;
use crate::core::memory::{LastAction, Then};
use crate::core::model::{Delivery, WriteReason};
use crate::core::refresh::{Ended, Outcome};
use crate::core::unauthorized::Step;
use crate::daemon::apply::Attempt;
use crate::daemon::pass::PassReport;

/// Everything that a pass changed; silent above debug when it changed nothing.
pub fn report(report: &PassReport) {
    for rotation in &report.rotations {
        tracing::info!(
            message_id = message_id::ROTATION,
            tokensink_login = %rotation.login,
            tokensink_generation = %rotation.to,
            "login {} has a new generation", rotation.login
        );
    }
    for written in &report.written {
        if written.reason == WriteReason::Clobbered {
            let by = written.overwritten_by.as_deref().unwrap_or("an unknown program");
            tracing::info!(
                message_id = message_id::SINK_WRITTEN,
                tokensink_sink = %written.target.sink,
                tokensink_login = %written.login,
                tokensink_target = %written.target,
                tokensink_code = "CLOBBERED",
                tokensink_generation = %written.generation,
                "sink {} was overwritten with an older generation by {by}, put right again", written.target
            );
        } else {
            tracing::info!(
                message_id = message_id::SINK_WRITTEN,
                tokensink_sink = %written.target.sink,
                tokensink_login = %written.login,
                tokensink_target = %written.target,
                tokensink_generation = %written.generation,
                reason = written.reason.as_str(),
                "sink {} written", written.target
            );
        }
    }
    for failed in report.failed.iter().filter(|f| !f.is_known) {
        tracing::info!(
            message_id = message_id::SINK_FAILED,
            tokensink_sink = %failed.target.sink,
            tokensink_target = %failed.target,
            tokensink_code = "SINK_FAILED",
            "failed to write sink {}: {}", failed.target, failed.why
        );
    }
    for (gateway, step) in &report.unauthorized {
        let then = match step {
            Step::Apply => "it is made to use the current generation once more",
            Step::Refresh => "its login is refreshed, once",
            Step::Look | Step::Tell => "nothing more is done about it",
        };
        tracing::info!(
            message_id = message_id::GATEWAY_UNAUTHORIZED,
            tokensink_gateway = %gateway,
            "the log of gateway {gateway} says 401 again and again; {then}"
        );
    }
    findings(&report.changes.raised, &report.changes.cleared);
}

/// Findings that were raised and cleared.
fn findings(raised: &[Finding], cleared: &[Finding]) {
    for finding in raised {
        let cause = finding.caused_by.as_deref().unwrap_or("");
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    message_id = message_id::FINDING_RAISED,
                    tokensink_code = finding.code.as_str(),
                    tokensink_subject = %finding.subject,
                    tokensink_next = %finding.next,
                    tokensink_cause = cause,
                    "{} {}: {}", finding.code, finding.subject, finding.summary
                )
            };
        }
        match finding.severity {
            Severity::Critical => say!(error),
            Severity::Warning => say!(warn),
            Severity::Notice => say!(info),
        }
    }
    for finding in cleared {
        tracing::info!(
            message_id = message_id::FINDING_CLEARED,
            tokensink_code = finding.code.as_str(),
            tokensink_subject = %finding.subject,
            "{} {} is resolved", finding.code, finding.subject
        );
    }
}

/// A gateway uses the current generation, or could not be made to.
pub fn attempt(attempt: &Attempt) {
    let took = u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX);
    let again = match &attempt.recorded {
        Ok(wait) => wait.unwrap_or_default().as_secs(),
        Err(error) => {
            tracing::error!("the outcome of a restart could not be recorded: {error}");
            0
        }
    };
    match &attempt.outcome {
        Ok(applied) if applied.action == LastAction::None => tracing::info!(
            message_id = message_id::GATEWAY_APPLIED,
            tokensink_gateway = %attempt.gateway,
            tokensink_action = applied.action.as_str(),
            tokensink_invocation = "",
            "gateway {} does not run, it reads the new generation when it starts", attempt.gateway
        ),
        Ok(applied) => tracing::info!(
            message_id = message_id::GATEWAY_APPLIED,
            tokensink_gateway = %attempt.gateway,
            tokensink_action = applied.action.as_str(),
            tokensink_invocation = applied.invocation.as_deref().unwrap_or(""),
            took_ms = took,
            "gateway {} {}, took {took} ms", attempt.gateway, applied.outcome
        ),
        Err(failure) if failure.then == Then::Busy => tracing::info!(
            message_id = message_id::GATEWAY_BUSY,
            tokensink_gateway = %attempt.gateway,
            "gateway {}, its restart waits; asked again in {again} s", failure.summary
        ),
        Err(failure) => {
            let then = match failure.then {
                Then::Again | Then::Unresolved | Then::Down | Then::Unproven | Then::Busy => {
                    format!("trying again in {again} s")
                }
                Then::MoreForce => "it is to be restarted".to_owned(),
                Then::Unfit => "not tried again with this release".to_owned(),
                Then::OldProcess => "nothing is to be done".to_owned(),
            };
            tracing::info!(
                message_id = message_id::GATEWAY_FAILED,
                tokensink_gateway = %attempt.gateway,
                tokensink_code = failure.code.as_str(),
                "gateway {} does not use the new generation: {}; {then}", attempt.gateway, failure.summary
            );
        }
    }
}

/// A gateway that was busy until now is restarted all the same.
pub fn waits_no_longer(gateway: &GatewayId) {
    tracing::info!(
        message_id = message_id::GATEWAY_BUSY,
        tokensink_gateway = %gateway,
        "gateway {gateway} is restarted whether it is busy or not: the token that it uses ends"
    );
}

/// A restart has to wait.
pub fn waiting(gateway: &GatewayId, until: Timestamp, wait: std::time::Duration) {
    tracing::info!(
        tokensink_gateway = %gateway,
        "gateway {gateway} was restarted lately, its next restart waits until {until} ({})",
        short_duration(wait)
    );
}

/// A command sink was handed the credential, or not.
pub fn delivered(delivery: &Delivery, outcome: &Result<(), String>) {
    match outcome {
        Ok(()) => tracing::info!(
            message_id = message_id::SINK_WRITTEN,
            tokensink_sink = %delivery.target.sink,
            tokensink_login = %delivery.login,
            tokensink_target = %delivery.target,
            tokensink_generation = %delivery.generation,
            "sink {} delivered", delivery.target
        ),
        Err(why) => tracing::info!(
            message_id = message_id::SINK_FAILED,
            tokensink_sink = %delivery.target.sink,
            tokensink_target = %delivery.target,
            tokensink_code = "SINK_FAILED",
            "failed to deliver to sink {}: {why}", delivery.target
        ),
    }
}

/// A refresh ended.
pub fn refreshed(login: &LoginId, outcome: &Outcome) {
    let word = outcome.ended.as_str();
    match outcome.ended {
        Ended::Rotated | Ended::Kept | Ended::Adopted => tracing::info!(
            message_id = message_id::REFRESHED,
            tokensink_login = %login,
            tokensink_outcome = word,
            "login {login} refreshed: {word}, {}", outcome.detail
        ),
        Ended::Rejected | Ended::NotSent | Ended::Failed | Ended::Unknown => tracing::warn!(
            message_id = message_id::REFRESH_FAILED,
            tokensink_login = %login,
            tokensink_outcome = word,
            "login {login} not refreshed: {word}, {}", outcome.detail
        ),
    }
}

/// A channel took an alert.
pub fn alert_sent(channel: &str, message: &Message) {
    tracing::info!(
        message_id = message_id::ALERT_SENT,
        tokensink_channel = channel,
        tokensink_event = message.event.as_str(),
        tokensink_code = message.code.map_or("", Code::as_str),
        tokensink_subject = %message.subject,
        "alert sent by {channel}: {}", message.title
    );
}

/// A channel did not take an alert.
pub fn alert_not_sent(channel: &str, message: &Message, why: &str) {
    tracing::info!(
        message_id = message_id::ALERT_NOT_SENT,
        tokensink_channel = channel,
        tokensink_event = message.event.as_str(),
        tokensink_code = message.code.map_or("", Code::as_str),
        tokensink_subject = %message.subject,
        "alert not sent by {channel} ({}): {why}", message.title
    );
}

/// A finding lasts; its own severity.
pub fn reminder(message: &Message) {
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                message_id = message_id::ALERT_REMINDER,
                tokensink_code = message.code.map_or("", Code::as_str),
                tokensink_subject = %message.subject,
                tokensink_next = %message.next,
                "{}: {}", message.title, message.summary
            )
        };
    }
    match message.severity {
        Severity::Critical => say!(error),
        Severity::Warning | Severity::Notice => say!(warn),
    }
}

/// The daemon is ready.
pub fn started(version: &str, logins: usize, sinks: usize, gateways: usize) {
    tracing::info!(
        message_id = message_id::DAEMON_STARTED,
        "tokensink {version} is ready: {logins} logins, {sinks} sinks, {gateways} gateways"
    );
}

/// The daemon ends.
pub fn stopped(why: &str) {
    tracing::info!(message_id = message_id::DAEMON_STOPPED, "tokensink stops: {why}");
}

/// The configuration was read again.
pub fn reloaded(logins: usize, sinks: usize, gateways: usize) {
    tracing::info!(
        message_id = message_id::CONFIG_RELOADED,
        "configuration read again: {logins} logins, {sinks} sinks, {gateways} gateways"
    );
}
