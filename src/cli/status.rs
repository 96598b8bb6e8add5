//! `tokensink status`: one read of everything; offline, no network, nothing written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use super::args::{CheckKind, StatusArguments};
use super::exit::Exit;
use super::{live, load, opinion, output};
use crate::base::code::{Code, Severity};
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::LoginId;
use crate::base::time::{Timestamp, short_duration};
use crate::core::clock::Judgement;
use crate::core::health;
use crate::core::memory::Memory;
use crate::core::model::Observed;
use crate::core::plan;
use crate::core::report::{Facts, LoginReport, Report};
use crate::core::schedule::{Step, Way};
use crate::daemon::refresh;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;
use crate::sys::paths::Surroundings;

/// Runs the command.
#[must_use]
pub fn run(arguments: &StatusArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let state = StateDir::of(&surroundings);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let known = |id: &String| world.desired.logins.iter().any(|l| l.id.as_str() == id);
    if let Some(unknown) = arguments.logins.iter().find(|id| !known(id)) {
        return output::failure(format_args!("there is no login {unknown}"), Exit::Usage);
    }
    if arguments.watch && std::io::stdout().is_terminal() {
        let colours = world.surroundings.variable("NO_COLOR").is_none_or(str::is_empty);
        return live::run(colours, || report(&arguments.logins, &world, &state));
    }
    let report = report(&arguments.logins, &world, &state);
    match () {
        () if arguments.json => output::print_json(&report),
        () if arguments.simple => output::print(&format!("{}\n", report.simple)),
        () if arguments.prometheus => output::print(&prometheus(&report)),
        () => output::print(&full(&report)),
    }
    if arguments.probe {
        match output::block_on(opinion::opinions(&world, &state, &arguments.logins)) {
            Ok(opinions) => output::print(&opinions.iter().map(|o| format!("\n{o}\n")).collect::<String>()),
            Err(error) => return output::failure(error, Exit::Failed),
        }
    }
    match arguments.check {
        None => Exit::Done,
        Some(CheckKind::Login) => Exit::Check(report.check),
        Some(CheckKind::Access) => Exit::Check(report.check_access),
    }
}

/// What is to be seen now of those logins, or of all when none is named.
pub(super) fn report(wanted: &[String], world: &World, state: &StateDir) -> Report {
    let (memory, key) = load::remembered(state);
    world.recall(&memory);
    let seen = world.observe();
    let now = clock::now();
    // Without a key nothing is remembered by fingerprint either: any key compares as well.
    let compare = key.clone().unwrap_or_else(|| FingerprintKey::new([0; FingerprintKey::LEN]));
    let plan = plan::plan(&world.desired, &seen.observed, &memory, &compare, now);
    let clock = memory.clock.judge(&clock::reading());
    let mut findings = health::findings(&world.desired, &seen.observed, &memory, &plan, &compare, &clock);
    // What the daemon alone can know: directories it cannot watch.
    findings.extend(
        memory.findings.iter().filter(|o| o.finding.code == Code::WatchLost).map(|open| open.finding.clone()),
    );
    let facts = Facts {
        desired: &world.desired,
        observed: &seen.observed,
        plan: &plan,
        memory: &memory,
        findings: &findings,
        key: key.as_ref(),
        next_refresh: next_refreshes(world, state, &seen.observed, &memory, &compare, &clock),
        owners: owners(world, &memory),
        daemon: load::daemon(state),
        now,
    };
    Report::build(&facts, &|id| wanted.is_empty() || wanted.iter().any(|w| w == id))
}

/// Who renews the logins that are renewed from here.
fn owners(world: &World, memory: &Memory) -> BTreeMap<LoginId, &'static str> {
    let owned = world.settings.logins.iter().filter_map(|login| {
        let cli = refresh::cli_of(world, login);
        let way = refresh::way(login, memory.logins.get(&login.id), cli.as_ref(), None).ok()?;
        Some((login.id.clone(), if way == Way::Direct { "tokensink" } else { "cli" }))
    });
    owned.collect()
}

/// When the daemon would refresh each login, as the wall clock will show it.
fn next_refreshes(
    world: &World,
    state: &StateDir,
    observed: &Observed,
    memory: &Memory,
    key: &FingerprintKey,
    clock: &Judgement,
) -> BTreeMap<LoginId, Timestamp> {
    let next = world.settings.logins.iter().filter_map(|login| {
        let known = memory.logins.get(&login.id);
        let way = refresh::way(login, known, refresh::cli_of(world, login).as_ref(), None);
        let credential = refresh::credential(observed, &login.id);
        match refresh::step(state, login, credential, memory, way, key, clock) {
            Step::Refresh | Step::Resolve | Step::AskTime => Some((login.id.clone(), clock.wall)),
            Step::Wait(at) => Some((login.id.clone(), at.moved(clock.ahead()))),
            Step::Rest(_) => None,
        }
    });
    next.collect()
}

fn full(report: &Report) -> String {
    let mut text = String::new();
    let now = report.generated_at;
    let _ = match (report.daemon.running, report.daemon.pid, report.daemon.since) {
        (true, Some(pid), Some(since)) => {
            writeln!(text, "daemon   running, pid {pid}, for {}", short_duration(now.since(since)))
        }
        (true, ..) => writeln!(text, "daemon   running"),
        (false, ..) => writeln!(text, "daemon   not running"),
    };
    for login in &report.logins {
        let state = if login.renewing { "ok (renewing)" } else { login.state };
        let label = login.account.as_ref().map_or(String::new(), |l| format!(" ({l})"));
        let _ = writeln!(text, "\nlogin    {}{label}  {state}", login.id);
        let _ = writeln!(text, "         {}", login.path);
        if matches!(login.state, "ok" | "expiring" | "expired" | "login_needed") {
            let _ = writeln!(text, "         {}", login_line(login, now));
        }
    }
    for sink in &report.sinks {
        let code = sink.code.map_or(String::new(), |c| format!(" {c}"));
        let agent = sink.agent.as_ref().map_or(String::new(), |a| format!("/{a}"));
        let _ = writeln!(text, "\nsink     {}{agent}  {}{code}", sink.id, sink.state);
        let _ = writeln!(text, "         {} {}", sink.kind, sink.path);
        if let Some(at) = sink.written_at {
            let _ = writeln!(text, "         written {} ago", short_duration(now.since(at)));
        }
    }
    for gateway in &report.gateways {
        let applied = match gateway.due_at {
            _ if gateway.applied => "up to date".to_owned(),
            _ if gateway.busy_since.is_some() => "waiting until it is idle".to_owned(),
            Some(at) if at > now => format!("waiting to be applied in {}", short_duration(at.since(now))),
            _ => "waiting to be applied".to_owned(),
        };
        let version = gateway.version.as_ref().map_or(String::new(), |v| format!(" {v}"));
        let _ = writeln!(text, "\ngateway  {}{version}  {applied}", gateway.id);
        if let Some(at) = gateway.last_at {
            let ready = match gateway.ready {
                Some(true) => ", ready",
                Some(false) => ", not ready",
                None => "",
            };
            let ago = short_duration(now.since(at));
            let _ = writeln!(text, "         last {} {ago} ago{ready}", gateway.last_action);
        }
    }
    for finding in &report.findings {
        let _ = writeln!(text, "\n{:<8} {} {}", finding.severity.as_str(), finding.code, finding.subject);
        let _ = writeln!(text, "         {}", finding.summary);
        if !finding.next.is_empty() {
            let _ = writeln!(text, "         next: {}", finding.next);
        }
    }
    text
}

fn login_line(login: &LoginReport, now: Timestamp) -> String {
    let mut parts = Vec::new();
    match login.access_expires_at {
        Some(at) if at > now => parts.push(format!("access token {} left", short_duration(at.since(now)))),
        Some(at) => parts.push(format!("access token over since {}", short_duration(now.since(at)))),
        None => parts.push("access token without a known end".to_owned()),
    }
    parts.push(
        match login.refresh.owner {
            Some("tokensink") => "renewed by tokensink",
            Some("cli") => "renewed by its CLI, which tokensink runs",
            Some(_) => "renewed by its own program alone",
            None => "not refreshable",
        }
        .to_owned(),
    );
    if let Some(at) = login.login_deadline {
        parts.push(format!("log in again by {at}"));
    }
    parts.join(", ")
}

/// Metrics, for a textfile collector or a scrape through a wrapper.
fn prometheus(report: &Report) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: Vec<(String, i64)>| {
        let _ = writeln!(text, "# HELP tokensink_{name} {help}\n# TYPE tokensink_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "tokensink_{name}{labels} {value}");
        }
    };
    let up = i64::from(report.daemon.running);
    metric("daemon_running", "Whether the daemon runs.", vec![(String::new(), up)]);
    let of_logins = |value: &dyn Fn(&LoginReport) -> Option<i64>| {
        let samples =
            report.logins.iter().filter_map(|l| Some((format!("{{login=\"{}\"}}", l.id), value(l)?)));
        samples.collect::<Vec<_>>()
    };
    metric("login_ok", "Whether the login needs nobody.", of_logins(&|l| Some(i64::from(l.state == "ok"))));
    metric(
        "access_expires_timestamp_seconds",
        "When the access token ends.",
        of_logins(&|l| l.access_expires_at.map(|at| at.as_millis() / 1000)),
    );
    metric(
        "login_deadline_timestamp_seconds",
        "When the login ends, refreshes or not.",
        of_logins(&|l| l.login_deadline.map(|at| at.as_millis() / 1000)),
    );
    let sinks = report.sinks.iter().map(|s| {
        let agent = s.agent.as_deref().unwrap_or("");
        (format!("{{sink=\"{}\",agent=\"{agent}\"}}", s.id), i64::from(s.state == "current"))
    });
    metric("sink_current", "Whether the sink holds the current generation.", sinks.collect());
    let gateways =
        report.gateways.iter().map(|g| (format!("{{gateway=\"{}\"}}", g.id), i64::from(g.applied)));
    metric("gateway_applied", "Whether nothing waits to be applied.", gateways.collect());
    let findings = [Severity::Notice, Severity::Warning, Severity::Critical].map(|severity| {
        let count = report.findings.iter().filter(|f| f.severity == severity).count();
        (format!("{{severity=\"{}\"}}", severity.as_str()), i64::try_from(count).unwrap_or(i64::MAX))
    });
    metric("findings", "Open findings.", findings.to_vec());
    text
}
