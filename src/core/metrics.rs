//! The report as metrics, in Prometheus' text format 0.0.4: for `status --prometheus` and for a textfile
//! collector. Times are Unix seconds that do not change while nothing does, so that a file is only written
//! when something happened. Metrics and labels are added, never renamed.

use std::fmt::{Display, Write as _};

use super::memory::LastAction;
use super::refresh::Ended;
use super::report::Report;
use super::verdict::LoginState;
use crate::base::code::Severity;
use crate::base::time::Timestamp;

/// The whole text.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut page = Page(String::new());
    about_daemon(&mut page, report);
    about_logins(&mut page, report);
    about_sinks(&mut page, report);
    about_gateways(&mut page, report);
    about_findings(&mut page, report);
    page.0
}

/// What is measured, in the words of the format.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// One sample: its labels and its value; `None` where there is nothing to say.
type Sample<'a> = (Labels<'a>, Option<i64>);

struct Page(String);

impl Page {
    fn gauge<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a>>) {
        self.family(Kind::Gauge, name, help, samples);
    }

    fn counter<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a>>) {
        self.family(Kind::Counter, name, help, samples);
    }

    fn family<'a>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.0, "# HELP tokensink_{name} {help}\n# TYPE tokensink_{name} {kind}");
        for (labels, value) in samples {
            let Some(value) = value else { continue };
            let labels: Vec<String> =
                labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "tokensink_{name}{labels} {value}");
        }
    }
}

/// A label's value as the format wants it; what would end a line, or steer a terminal, becomes a space.
fn escaped(text: impl Display) -> String {
    let mut safe = String::new();
    for c in text.to_string().chars() {
        match c {
            '\\' => safe.push_str("\\\\"),
            '"' => safe.push_str("\\\""),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

fn seconds(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.as_millis().div_euclid(1000))
}

fn truth(is: bool) -> Option<i64> {
    Some(i64::from(is))
}

fn count(number: u64) -> Option<i64> {
    Some(i64::try_from(number).unwrap_or(i64::MAX))
}

fn about_daemon(page: &mut Page, report: &Report) {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    page.gauge("build_info", "The version of tokensink.", [(version, Some(1))]);
    page.gauge("daemon_running", "Whether the daemon runs.", [(vec![], truth(report.daemon.running))]);
    let since = seconds(report.daemon.since);
    page.gauge("daemon_start_timestamp_seconds", "Since when the daemon runs.", [(vec![], since)]);
}

fn about_logins(page: &mut Page, report: &Report) {
    let logins = || report.logins.iter().map(|login| (vec![("login", login.id.as_str())], login));
    let is_ok = |state: &str| truth(state == LoginState::Ok.as_str());
    page.gauge(
        "login_ok",
        "Whether the login needs nobody.",
        logins().map(|(l, login)| (l, is_ok(login.state))),
    );
    let states = logins().flat_map(|(labels, login)| {
        LoginState::ALL.map(|state| {
            let mut labels = labels.clone();
            labels.push(("provider", login.provider));
            labels.push(("state", state.as_str()));
            (labels, truth(login.state == state.as_str()))
        })
    });
    page.gauge("login_state", "The state of the login: 1 for the one that it is in.", states);
    page.gauge(
        "access_expires_timestamp_seconds",
        "When the access token ends.",
        logins().map(|(l, login)| (l, seconds(login.access_expires_at))),
    );
    page.gauge(
        "login_deadline_timestamp_seconds",
        "When the login ends, refreshes or not.",
        logins().map(|(l, login)| (l, seconds(login.login_deadline))),
    );
    page.gauge(
        "login_refreshable",
        "Whether there is a refresh token to use.",
        logins().map(|(l, login)| (l, truth(login.refreshable))),
    );
    page.gauge(
        "refresh_blocked",
        "Whether no refresh is tried until somebody does something.",
        logins().map(|(l, login)| (l, truth(login.refresh.blocked.is_some()))),
    );
    page.gauge(
        "refresh_last_timestamp_seconds",
        "When the login was last refreshed from here.",
        logins().map(|(l, login)| (l, seconds(login.refresh.last_at))),
    );
    page.counter(
        "rotations_total",
        "New generations of the login, whoever made them.",
        logins().map(|(l, login)| (l, count(login.rotations))),
    );
    let outcomes = logins().flat_map(|(labels, login)| {
        Ended::ALL.map(|ended| {
            let mut labels = labels.clone();
            labels.push(("outcome", ended.as_str()));
            (labels, count(login.refresh.counts.get(&ended).copied().unwrap_or_default()))
        })
    });
    page.counter("refresh_outcomes_total", "How refreshes from here ended.", outcomes);
}

fn about_sinks(page: &mut Page, report: &Report) {
    let sinks = || {
        report.sinks.iter().map(|sink| {
            (vec![("sink", sink.id.as_str()), ("agent", sink.agent.as_deref().unwrap_or(""))], sink)
        })
    };
    page.gauge(
        "sink_current",
        "Whether the sink holds the current generation.",
        sinks().map(|(l, sink)| (l, truth(sink.state == "current"))),
    );
    page.gauge(
        "sink_written_timestamp_seconds",
        "When the sink was last written from here.",
        sinks().map(|(l, sink)| (l, seconds(sink.written_at))),
    );
    page.counter(
        "sink_writes_total",
        "How often the sink was written from here.",
        sinks().map(|(l, sink)| (l, count(sink.writes))),
    );
}

fn about_gateways(page: &mut Page, report: &Report) {
    const ACTIONS: [LastAction; 3] = [LastAction::Reload, LastAction::Restart, LastAction::Recreate];
    let gateways = || report.gateways.iter().map(|gateway| (vec![("gateway", gateway.id.as_str())], gateway));
    page.gauge(
        "gateway_applied",
        "Whether nothing waits to be applied.",
        gateways().map(|(l, gateway)| (l, truth(gateway.applied))),
    );
    page.gauge(
        "gateway_ready",
        "Whether the gateway answered its probe after the last action.",
        gateways().map(|(l, gateway)| (l, gateway.ready.map(i64::from))),
    );
    page.gauge(
        "gateway_last_action_timestamp_seconds",
        "When the gateway was last made to follow.",
        gateways().map(|(l, gateway)| (l, seconds(gateway.last_at))),
    );
    let actions = gateways().flat_map(|(labels, gateway)| {
        ACTIONS.map(|action| {
            let mut labels = labels.clone();
            labels.push(("action", action.as_str()));
            (labels, count(gateway.counts.get(&action).copied().unwrap_or_default()))
        })
    });
    page.counter("gateway_actions_total", "How often the gateway was made to follow.", actions);
}

fn about_findings(page: &mut Page, report: &Report) {
    let totals = [Severity::Notice, Severity::Warning, Severity::Critical].map(|severity| {
        let number = report.findings.iter().filter(|f| f.severity == severity).count();
        (vec![("severity", severity.as_str())], i64::try_from(number).ok())
    });
    page.gauge("findings", "Open findings.", totals);
    let open = report.findings.iter().map(|finding| {
        let labels = vec![
            ("code", finding.code.as_str()),
            ("severity", finding.severity.as_str()),
            ("subject", finding.subject.as_str()),
        ];
        (labels, seconds(Some(finding.since)))
    });
    page.gauge("finding_since_timestamp_seconds", "Since when each finding is open.", open);
}
