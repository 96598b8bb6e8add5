//! What a set-up says: what was found, what would be done, and what to expect afterwards.

use std::fmt::Write as _;
use std::path::Path;

use super::ground::Reach;
use super::plan::{Facts, Plan, Runner, Runtime, Step, UNIT};
use crate::base::time::short_duration;
use crate::config::settings::{GatewayKind, SinkKind, UnitScope};
use crate::core::report::Report;
use crate::daemon::syncers::Found;
use crate::daemon::world::World;

/// What was found.
pub(super) fn found(
    facts: &Facts,
    world: &World,
    clis: &[(&'static str, Reach)],
    syncers: &[Found],
) -> String {
    let mut text =
        format!("found\n  you       {} (uid {}), home {}\n", facts.user, facts.uid, facts.home.display());
    if let Some(foreign) = &facts.disowned_home {
        let _ = writeln!(text, "            HOME said {}, which is not yours", foreign.display());
    }
    if let (Some(by), 0) = (&facts.sudo_user, facts.uid) {
        let _ = writeln!(text, "            by sudo: the logins of {by} are not looked at");
    }
    for source in &world.sources {
        let state = if source.path.exists() { "found" } else { "not there yet" };
        let _ = writeln!(text, "  login     {}: {} ({state})", source.login, source.path.display());
    }
    for (name, reach) in clis {
        let _ = match reach {
            Reach::Daemon(program) => writeln!(text, "  cli       {name}: {}", program.display()),
            Reach::Nobody => {
                writeln!(
                    text,
                    "  cli       {name}: not found; tokensink asks the provider itself when a login is due"
                )
            }
            Reach::Shell(program) => {
                let directory = program.parent().unwrap_or(Path::new("/")).display();
                writeln!(
                    text,
                    "  cli       {name}: {}, where a unit does not look. It does with a line\n            \
                     PATH={directory}:$PATH\n            in ~/.config/environment.d/50-path.conf, read by \
                     `systemctl --user daemon-reload` and a restart",
                    program.display()
                )
            }
        };
    }
    for sink in &world.settings.sinks {
        if let SinkKind::OpenClaw { state_dir, .. } = &sink.kind {
            let _ = writeln!(text, "  sink      {}: OpenClaw in {}", sink.id, state_dir.display());
        }
    }
    if world.settings.sinks.is_empty() {
        text.push_str("  sink      no OpenClaw state directory: add your own [[sink]] entries\n");
    }
    for gateway in &world.settings.gateways {
        let _ = writeln!(text, "  gateway   {}: {}", gateway.id, named(&gateway.kind));
    }
    for found in syncers {
        let script =
            found.script.as_ref().map_or_else(String::new, |script| format!(" ({})", script.display()));
        let _ = writeln!(text, "  before us {}{script}: {}", found.by, found.deed());
    }
    let _ = writeln!(text, "  manager   {}", manager(facts));
    text
}

fn named(kind: &GatewayKind) -> String {
    match kind {
        GatewayKind::Unit { unit, scope: UnitScope::User } => format!("user unit {unit}"),
        GatewayKind::Unit { unit, scope: UnitScope::System } => format!("system unit {unit}"),
        GatewayKind::Compose { dir, service } => format!("compose service {service} in {}", dir.display()),
        GatewayKind::Container { name } => format!("container {name}"),
        GatewayKind::Command { .. } => "a command".to_owned(),
    }
}

fn manager(facts: &Facts) -> String {
    let lingers = if facts.lingers { "on" } else { "off" };
    if !facts.manages {
        return match (facts.has_systemd, facts.runtime) {
            (false, _) => "there is no systemd here".to_owned(),
            (true, Runtime::Absent) => {
                format!("yours does not run: no session was opened by a login (lingering is {lingers})")
            }
            (true, _) => format!("yours does not answer (lingering is {lingers})"),
        };
    }
    let by = if facts.has_bus { "" } else { ", without a bus" };
    let filled = if facts.runtime == Runtime::Filled {
        ", found although XDG_RUNTIME_DIR does not name it"
    } else {
        ""
    };
    format!("yours runs{by}{filled} (lingering is {lingers})")
}

/// What would be done. `text` is that of the drop-in.
pub(super) fn planned(facts: &Facts, plan: &Plan, file: &Path, text: &str, syncers: &[Found]) -> String {
    let mut told = String::from("\nto do\n");
    for step in &plan.steps {
        let _ = match (step, &plan.runner) {
            (Step::Write, _) => writeln!(told, "  write     {}:\n\n{text}", file.display()),
            (Step::Linger, _) => {
                let now = if facts.manages { "" } else { ", and start it now" };
                writeln!(
                    told,
                    "  linger    have your service manager run from boot, without a session{now} (asked, or --linger)"
                )
            }
            (Step::Enable, runner) => writeln!(told, "  enable    {}", unit_of(runner)),
            (Step::Start, runner) => {
                writeln!(told, "  start     {}, and wait for its first pass", unit_of(runner))
            }
            (Step::Reload, runner) => writeln!(told, "  reload    {}", unit_of(runner)),
            (Step::Replace, _) => {
                let names: Vec<String> = syncers.iter().map(|found| found.by.to_string()).collect();
                writeln!(told, "  replace   {} (asked, or --replace)", names.join(", "))
            }
        };
    }
    if let Runner::Foreground(why) = &plan.runner {
        let _ = writeln!(told, "  no unit   {why}; `tokensink daemon` runs in the foreground");
    }
    if plan.steps.is_empty() {
        told.push_str("  nothing\n");
    }
    told
}

/// The unit, in words.
pub(super) fn unit_of(runner: &Runner) -> String {
    match runner {
        Runner::User => format!("{UNIT} of your service manager"),
        Runner::System { unit } => format!("{unit} of the system's service manager"),
        Runner::Foreground(_) => String::new(),
    }
}

/// What to expect of a daemon that runs.
pub(super) fn expect(report: &Report, runner: &Runner, has_record: bool) -> String {
    let mut text = String::from("\nwhat to expect\n");
    for login in &report.logins {
        let due = login.refresh.next_at.map(|at| match at.since(report.generated_at) {
            left if at > report.generated_at => format!("is refreshed in {}", short_duration(left)),
            _ => "is refreshed now".to_owned(),
        });
        let due = due.unwrap_or_else(|| "is followed; its own program renews it".to_owned());
        let _ = writeln!(text, "  {:<9} {due}", login.id);
    }
    let log = match runner {
        Runner::System { unit } => format!("journalctl -u {unit}"),
        Runner::User | Runner::Foreground(_) => "journalctl --user -u tokensink".to_owned(),
    };
    let mut lines = vec![
        ("its log", log),
        ("how it is", "tokensink status".to_owned()),
        ("trouble", "tokensink doctor".to_owned()),
        ("log in", "tokensink reauth, when a login is dead".to_owned()),
    ];
    if has_record {
        lines.push(("take back", "tokensink setup --undo".to_owned()));
    }
    for (what, command) in lines {
        let _ = writeln!(text, "  {what:<9} {command}");
    }
    text
}
