//! Which login needs a person, and what that breaks.

use super::event::Event;
use crate::base::code::Code;
use crate::core::report::{FindingReport, Report};
use crate::daemon::world::World;

/// Findings about a login that a new one mends, the worst first.
const MENDED: [Code; 5] =
    [Code::LoginNeeded, Code::Husk, Code::Missing, Code::Unreadable, Code::LoginExpiring];

/// The login that needs a person most: the worst finding, then the most sinks, then the longest time.
pub(super) fn worst(report: &Report) -> Option<String> {
    let wanting = report.logins.iter().filter_map(|login| {
        let finding = finding(report, &login.id)?;
        let rank = MENDED.iter().position(|code| *code == finding.code)?;
        let is_dead = usize::from(finding.code == Code::LoginExpiring);
        let sinks = report.sinks.iter().filter(|sink| sink.login == login.id).count();
        Some(((is_dead, std::cmp::Reverse(sinks), finding.since, rank), login.id.clone()))
    });
    wanting.min().map(|(_, id)| id)
}

/// What is to be said about a login before it is mended.
pub(super) fn needed(report: &Report, world: &World, login: &str) -> Event {
    let found = finding(report, login);
    let sinks = world.settings.sinks.iter().filter(|sink| sink.login.as_str() == login);
    let sinks: Vec<_> = sinks.map(|sink| sink.id.clone()).collect();
    let gateways = world.settings.gateways.iter().filter(|g| g.sinks.iter().any(|sink| sinks.contains(sink)));
    Event::Needed {
        login: login.to_owned(),
        code: found.map(|finding| finding.code.as_str().to_owned()),
        since: found.map(|finding| finding.since),
        summary: found
            .map_or_else(|| "nothing is wrong with it".to_owned(), |finding| finding.summary.clone()),
        gateways: gateways.map(|gateway| gateway.id.to_string()).collect(),
        sinks: sinks.iter().map(ToString::to_string).collect(),
    }
}

fn finding<'a>(report: &'a Report, login: &str) -> Option<&'a FindingReport> {
    let about = report.findings.iter().filter(|finding| finding.subject == login);
    about
        .filter(|finding| MENDED.contains(&finding.code))
        .min_by_key(|finding| MENDED.iter().position(|code| *code == finding.code))
}
