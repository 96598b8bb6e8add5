//! `tokensink status`: one read of everything; offline, no network, nothing written.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use super::args::{CheckKind, StatusArguments};
use super::exit::Exit;
use super::{live, load, opinion, output};
use crate::base::time::{Timestamp, short_duration};
use crate::core::metrics;
use crate::core::report::{LoginReport, Report};
use crate::daemon::look;
use crate::daemon::store::StateDir;
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
        return live::run(colours, || look::report(&arguments.logins, &world, &state));
    }
    let look = look::at(&world, &state);
    let report = look.report(&arguments.logins, &world);
    match () {
        () if arguments.json => output::print_json(&report),
        () if arguments.simple => output::print(&format!("{}\n", report.simple)),
        () if arguments.prometheus => output::print(&metrics::render(&report)),
        () => output::print(&full(&report)),
    }
    if arguments.probe {
        match output::block_on(opinion::opinions(&world, &look, &arguments.logins)) {
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

/// The report in words.
pub(super) fn full(report: &Report) -> String {
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
