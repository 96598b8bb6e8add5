//! `tokensink doctor`: everything that is wrong or looks so, with evidence and remedy: the findings of `status`,
//! OpenClaw's own opinion, and the checks of `core::doctor`. It changes nothing and sends no login to a provider.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::exit::Exit;
use super::opinion::{self, Opinion};
use super::{load, output};
use crate::base::code::{Code, Severity};
use crate::base::time::Timestamp;
use crate::core::agreement::Agreement;
use crate::core::doctor::{self, Examined, Outcome, Subject};
use crate::core::report::{FindingReport, GatewayReport, LoginReport, Report, SinkReport};
use crate::daemon::store::StateDir;
use crate::daemon::{doctor as facts, look};
use crate::sys::paths::Surroundings;

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct Examination<'a> {
    format_version: u32,
    generated_at: Timestamp,
    findings: Vec<Row<'a>>,
    checks: Vec<Made>,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Row<'a> {
    code: Code,
    severity: Severity,
    #[serde(serialize_with = "shown")]
    subject: &'a Subject,
    subject_kind: &'static str,
    summary: &'a str,
    evidence: &'a str,
    caused_by: Option<&'a str>,
    next: &'a str,
}

fn shown<S: Serializer>(subject: &Subject, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(subject)
}

/// One check and how many findings it made; `null` where there was nothing to look at.
#[derive(Debug, Serialize)]
struct Made {
    check: &'static str,
    found: Option<usize>,
}

/// Runs the command.
#[must_use]
pub fn run(surroundings: Surroundings, only: Option<&Path>, is_json: bool, asks: bool) -> Exit {
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let look = look::at(&world, &state);
    let report = look.report(&[], &world);
    let gathered = output::block_on(async {
        let facts = facts::gather(env!("CARGO_PKG_VERSION"), &world, &state, &look, asks).await;
        (facts, opinion::opinions(&world, &look, &[]).await)
    });
    let (facts, opinions) = match gathered {
        Ok(gathered) => gathered,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let outcomes = doctor::examine(&facts);
    let findings = together(&report, &opinions, &outcomes);
    if is_json {
        let rows = findings.iter().map(row).collect();
        let checks = outcomes.iter().map(|o| Made { check: o.check, found: o.found.as_ref().map(Vec::len) });
        output::print_json(&Examination {
            format_version: Report::VERSION,
            generated_at: report.generated_at,
            findings: rows,
            checks: checks.collect(),
        });
    } else {
        output::print(&text(&findings, &outcomes));
    }
    Exit::Done
}

/// All findings, each once: what `status` says comes first.
fn together(report: &Report, opinions: &[Opinion], outcomes: &[Outcome]) -> Vec<Examined> {
    let known: Vec<Examined> = report.findings.iter().map(|finding| examined(finding, report)).collect();
    let is_told = |one: &Examined| {
        known.iter().any(|told| told.code == one.code && told.subject.to_string() == one.subject.to_string())
    };
    let mut more: Vec<Examined> = opinions.iter().filter_map(of_opinion).collect();
    more.extend(outcomes.iter().filter_map(|outcome| outcome.found.as_ref()).flatten().cloned());
    more.retain(|one| !is_told(one));
    [known, more].concat()
}

fn row(one: &Examined) -> Row<'_> {
    Row {
        code: one.code,
        severity: one.severity,
        subject: &one.subject,
        subject_kind: one.subject.kind(),
        summary: &one.summary,
        evidence: &one.evidence,
        caused_by: one.caused_by.as_deref(),
        next: &one.next,
    }
}

fn examined(finding: &FindingReport, report: &Report) -> Examined {
    let (subject, evidence) = match seen(finding, report) {
        Seen::Login(login) => (Subject::Login(finding.subject.clone()), of_login(login)),
        Seen::Sink(sink) => (Subject::Sink(finding.subject.clone()), of_sink(sink)),
        Seen::Gateway(gateway) => (Subject::Gateway(finding.subject.clone()), of_gateway(gateway)),
        Seen::Other if finding.subject.starts_with('/') => {
            (Subject::Path(finding.subject.clone()), String::new())
        }
        Seen::Other if finding.code == Code::ClockSuspect => (Subject::Host("clock"), String::new()),
        Seen::Other => (Subject::Other(finding.subject.clone()), String::new()),
    };
    Examined {
        code: finding.code,
        severity: finding.severity,
        subject,
        summary: finding.summary.clone(),
        evidence,
        next: finding.next.clone(),
        caused_by: finding.caused_by.clone(),
    }
}

/// What of the report a finding is about.
enum Seen<'a> {
    Login(&'a LoginReport),
    Sink(&'a SinkReport),
    Gateway(&'a GatewayReport),
    Other,
}

/// A login, a sink and a gateway may have the same id: the code says which of them is meant, and where
/// it may be either, the file that the sentence names.
fn seen<'a>(finding: &FindingReport, report: &'a Report) -> Seen<'a> {
    let login = report.logins.iter().find(|login| login.id == finding.subject).map(Seen::Login);
    let is_target = |sink: &&SinkReport| {
        let part = |agent: &String| format!("{}/{agent}", sink.id) == finding.subject;
        sink.id == finding.subject || sink.agent.as_ref().is_some_and(part)
    };
    let target = report.sinks.iter().find(is_target);
    let is_named = target.is_some_and(|sink| finding.summary.contains(&sink.path));
    let sink = target.map(Seen::Sink);
    let gateway = report.gateways.iter().find(|gateway| gateway.id == finding.subject).map(Seen::Gateway);
    let found = match finding.code {
        Code::NotConverged | Code::Unauthorized | Code::UnitFailed | Code::BusUnavailable => {
            gateway.or(sink).or(login)
        }
        Code::SinkFailed
        | Code::SinkStale
        | Code::Clobbered
        | Code::SecondWriter
        | Code::ProfileUnused
        | Code::ProfileShadows
        | Code::StoreRetired
        | Code::VersionUnsupported
        | Code::ImportPending => sink.or(gateway).or(login),
        _ if is_named => sink.or(login).or(gateway),
        _ => login.or(sink).or(gateway),
    };
    found.unwrap_or(Seen::Other)
}

fn of_login(login: &LoginReport) -> String {
    let end = login.access_expires_at.map_or_else(String::new, |at| format!(", access token until {at}"));
    let generation = login.fingerprint.as_ref().map_or_else(String::new, |f| format!(", generation {f}"));
    format!("{}: {}{end}{generation}", login.path, login.state)
}

fn of_sink(sink: &SinkReport) -> String {
    let written = sink.written_at.map_or_else(String::new, |at| format!(", written {at}"));
    format!("{}: {}{written}", sink.path, sink.state)
}

fn of_gateway(gateway: &GatewayReport) -> String {
    let version = gateway.version.as_ref().map_or_else(String::new, |v| format!(" {v}"));
    let last = gateway.last_at.map_or_else(String::new, |at| format!(", last {} {at}", gateway.last_action));
    format!("{}{version}: {}{last}", gateway.kind, if gateway.applied { "applied" } else { "waiting" })
}

fn of_opinion(opinion: &Opinion) -> Option<Examined> {
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
    let subject = Subject::Sink(format!("{}/{}", opinion.sink, opinion.agent));
    let (next, caused_by) = (String::new(), None);
    Some(Examined { code: Code::HealthDiffers, severity, subject, summary, evidence, next, caused_by })
}

fn text(findings: &[Examined], outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for found in findings {
        let _ = writeln!(text, "{:<8} {} {}", found.severity.as_str(), found.code, found.subject);
        let _ = writeln!(text, "         {}", found.summary);
        let cause = found.caused_by.clone().unwrap_or_default();
        for (lead, more) in [("seen", &found.evidence), ("cause", &cause), ("next", &found.next)] {
            if !more.is_empty() {
                let _ = writeln!(text, "         {lead}: {more}");
            }
        }
    }
    if findings.is_empty() {
        text.push_str("nothing is wrong\n");
    }
    let names = |wanted: fn(&Outcome) -> bool| {
        let names: Vec<&str> = outcomes.iter().filter(|o| wanted(o)).map(|o| o.check).collect();
        names.join(", ")
    };
    let well = names(|outcome| outcome.found.as_ref().is_some_and(Vec::is_empty));
    let unmade = names(|outcome| outcome.found.is_none());
    let _ = writeln!(text, "checked, and well: {well}");
    if !unmade.is_empty() {
        let _ = writeln!(text, "not checked, for lack of anything to look at: {unmade}");
    }
    text
}
