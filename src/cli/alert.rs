//! `tokensink alert`: try the channels, or show what is open and who was told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::args::AlertCommand;
use super::exit::Exit;
use super::{load, output};
use crate::alerts;
use crate::base::code::{Code, Severity};
use crate::base::time::Timestamp;
use crate::core::alert::decide::{self, Rules};
use crate::core::alert::memory::{AlertMemory, Told};
use crate::core::alert::words;
use crate::core::report::{FindingReport, Report};
use crate::daemon::alerting;
use crate::daemon::look;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::paths::Surroundings;

/// Runs the command.
#[must_use]
pub fn run(command: &AlertCommand, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    match command {
        AlertCommand::Test => test(&world),
        AlertCommand::List { json } => list(&world, &state, *json),
    }
}

/// Sends a test through every channel, whether a daemon runs or not.
fn test(world: &World) -> Exit {
    let channels = alerting::channels(world, None);
    if channels.is_empty() {
        let why = "no [[alert]] is configured: findings are told in the journal only";
        return output::failure(why, Exit::Failed);
    }
    let message = words::test(&world.surroundings.host_name());
    let attempts = match output::block_on(alerts::send_to_all(&channels, &message)) {
        Ok(attempts) => attempts,
        Err(error) => return output::failure(error, Exit::Failed),
    };
    let mut exit = Exit::Done;
    for attempt in attempts {
        match attempt.outcome {
            Ok(_) => output::print(&format!("{}: delivered\n", attempt.channel)),
            Err(why) => {
                exit = Exit::Failed;
                output::print(&format!("{}: not delivered: {why}\n", attempt.channel));
            }
        }
    }
    exit
}

/// What `alert list --json` prints.
#[derive(Debug, Serialize)]
struct Listing {
    format_version: u32,
    generated_at: Timestamp,
    findings: Vec<Listed>,
}

/// One open finding, and who was told of it.
#[derive(Debug, Serialize)]
struct Listed {
    code: Code,
    severity: Severity,
    subject: String,
    since: Timestamp,
    summary: String,
    caused_by: Option<String>,
    next: String,
    /// By the name of the channel: when it took the last message about this.
    sent: BTreeMap<String, Timestamp>,
    /// When it is told again; `null` where that is not by time alone.
    next_reminder: Option<Timestamp>,
}

fn list(world: &World, state: &StateDir, is_json: bool) -> Exit {
    let report = look::report(&[], world, state);
    let memory = state.alerts();
    let channels = alerting::channels(world, state.key().as_ref());
    let rules = alerting::rules(world, &channels);
    let listing = Listing {
        format_version: Report::VERSION,
        generated_at: report.generated_at,
        findings: report.findings.iter().map(|finding| listed(finding, &memory, &rules)).collect(),
    };
    if is_json {
        output::print_json(&listing);
    } else {
        output::print(&text(&listing));
    }
    Exit::Done
}

fn listed(finding: &FindingReport, memory: &AlertMemory, rules: &Rules) -> Listed {
    let told = memory.entry((finding.code, &finding.subject));
    Listed {
        code: finding.code,
        severity: finding.severity,
        subject: finding.subject.clone(),
        since: finding.since,
        summary: finding.summary.clone(),
        caused_by: finding.caused_by.clone(),
        next: finding.next.clone(),
        sent: told.map(|told| sent(told, rules)).unwrap_or_default(),
        next_reminder: told.and_then(|told| decide::next_reminder(told, rules)),
    }
}

fn sent(told: &Told, rules: &Rules) -> BTreeMap<String, Timestamp> {
    let open = told.channels.iter().filter(|(_, delivered)| delivered.is_open);
    let named = open.filter_map(|(key, delivered)| {
        let is_it = |ear: &&decide::Ear| &ear.key == key;
        let name = rules.channels.iter().find(is_it).map(|ear| ear.name.clone());
        Some((name.or_else(|| (key == decide::JOURNAL).then(|| key.clone()))?, delivered.at))
    });
    named.collect()
}

fn text(listing: &Listing) -> String {
    if listing.findings.is_empty() {
        return "nothing is open\n".to_owned();
    }
    let mut text = String::new();
    for finding in &listing.findings {
        let _ = writeln!(text, "{:<8} {} {}", finding.severity.as_str(), finding.code, finding.subject);
        let _ = writeln!(text, "         {}", finding.summary);
        let _ = writeln!(text, "         since {}", finding.since);
        for (channel, at) in &finding.sent {
            let _ = writeln!(text, "         told by {channel} {at}");
        }
        match (&finding.caused_by, finding.next_reminder) {
            (Some(cause), _) => drop(writeln!(text, "         told with {cause}")),
            (None, Some(at)) => drop(writeln!(text, "         told again {at}")),
            (None, None) => {}
        }
        if !finding.next.is_empty() {
            let _ = writeln!(text, "         next: {}", finding.next);
        }
    }
    text
}
