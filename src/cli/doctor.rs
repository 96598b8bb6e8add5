//! `tokensink doctor`: everything that is wrong or looks so, with evidence and remedy. It changes
//! nothing and sends nothing to a provider.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::exit::Exit;
use super::opinion::{self, Opinion};
use super::{load, output};
use crate::base::code::{Code, Severity};
use crate::base::time::Timestamp;
use crate::core::agreement::Agreement;
use crate::core::report::{FindingReport, Report, SinkReport};
use crate::daemon::look;
use crate::daemon::store::StateDir;
use crate::sys::paths::Surroundings;

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct Examination {
    format_version: u32,
    generated_at: Timestamp,
    findings: Vec<Examined>,
}

/// One finding with what it rests on.
#[derive(Debug, Serialize)]
struct Examined {
    code: Code,
    severity: Severity,
    subject: String,
    summary: String,
    evidence: String,
    next: String,
}

/// Runs the command.
#[must_use]
pub fn run(surroundings: Surroundings, only: Option<&Path>, is_json: bool) -> Exit {
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let report = look::report(&[], &world, &state);
    let opinions = match output::block_on(opinion::opinions(&world, &state, &[])) {
        Ok(opinions) => opinions,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let known = report.findings.iter().map(|finding| examined(finding, &report));
    let findings = known.chain(opinions.iter().filter_map(of_opinion)).collect();
    let examination =
        Examination { format_version: Report::VERSION, generated_at: report.generated_at, findings };
    if is_json {
        output::print_json(&examination);
    } else {
        output::print(&text(&examination));
    }
    Exit::Done
}

fn examined(finding: &FindingReport, report: &Report) -> Examined {
    Examined {
        code: finding.code,
        severity: finding.severity,
        subject: finding.subject.clone(),
        summary: finding.summary.clone(),
        evidence: evidence(&finding.subject, report),
        next: finding.next.clone(),
    }
}

/// What was seen of a finding's subject.
fn evidence(subject: &str, report: &Report) -> String {
    if let Some(login) = report.logins.iter().find(|login| login.id == subject) {
        let end = login.access_expires_at.map_or_else(String::new, |at| format!(", access token until {at}"));
        let generation = login.fingerprint.as_ref().map_or_else(String::new, |f| format!(", generation {f}"));
        return format!("{}: {}{end}{generation}", login.path, login.state);
    }
    let is_target = |sink: &&SinkReport| {
        sink.id == subject
            || sink.agent.as_ref().is_some_and(|agent| format!("{}/{agent}", sink.id) == subject)
    };
    if let Some(sink) = report.sinks.iter().find(is_target) {
        let written = sink.written_at.map_or_else(String::new, |at| format!(", written {at}"));
        return format!("{}: {}{written}", sink.path, sink.state);
    }
    if let Some(gateway) = report.gateways.iter().find(|gateway| gateway.id == subject) {
        let version = gateway.version.as_ref().map_or_else(String::new, |v| format!(" {v}"));
        let last =
            gateway.last_at.map_or_else(String::new, |at| format!(", last {} {at}", gateway.last_action));
        return format!(
            "{}{version}: {}{last}",
            gateway.kind,
            if gateway.applied { "applied" } else { "waiting" }
        );
    }
    String::new()
}

fn of_opinion(opinion: &Opinion) -> Option<Examined> {
    let subject = format!("{}/{}", opinion.sink, opinion.agent);
    let ended = |exit: i32| {
        format!("openclaw models status --json --check --agent {} ended with {exit}", opinion.agent)
    };
    let (severity, summary, evidence) = match &opinion.answer {
        Err(why) => (Severity::Notice, "OpenClaw's own health check gives no answer".to_owned(), why.clone()),
        Ok((_, Agreement::Agrees)) => return None,
        Ok((said, Agreement::Explained(why))) => {
            let summary = format!("OpenClaw's own health check differs and nothing is wrong: {why}");
            (Severity::Notice, summary, ended(said.exit))
        }
        Ok((said, Agreement::Contradicts(why))) => {
            let summary = format!("OpenClaw's own health check sees trouble: {why}");
            (Severity::Warning, summary, ended(said.exit))
        }
    };
    Some(Examined { code: Code::HealthDiffers, severity, subject, summary, evidence, next: String::new() })
}

fn text(examination: &Examination) -> String {
    if examination.findings.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let mut text = String::new();
    for found in &examination.findings {
        let _ = writeln!(text, "{:<8} {} {}", found.severity.as_str(), found.code, found.subject);
        let _ = writeln!(text, "         {}", found.summary);
        for (lead, more) in [("seen", &found.evidence), ("next", &found.next)] {
            if !more.is_empty() {
                let _ = writeln!(text, "         {lead}: {more}");
            }
        }
    }
    text
}
