//! Services: the user's service manager, our unit in it, and units or daemons that are there twice.

use super::facts::{Facts, TwinFacts, Twins};
use super::{Examined, Subject};
use crate::base::code::Code;

const OUR_UNIT: &str = "tokensink.service";

/// One instance that two units run, and two daemons of one user.
pub fn duels(facts: &Facts) -> Option<Vec<Examined>> {
    let mut found: Vec<Examined> = facts.twins.iter().filter_map(twins).collect();
    let others: Vec<_> = facts.daemons.iter().filter(|daemon| !daemon.is_ours).collect();
    if let (Some(other), true) = (others.first(), facts.daemons.len() > 1) {
        let what = "two daemons of this user run, each with a state of its own: both refresh the same logins";
        let evidence: Vec<String> = facts
            .daemons
            .iter()
            .map(|daemon| format!("process {}: {}", daemon.pid, daemon.program))
            .collect();
        found.push(
            Examined::warning(Code::DuplicateService, Subject::Host("daemon"), what)
                .seen(evidence.join("; "))
                .next(format!("systemctl --user status {}", other.pid)),
        );
    }
    Some(found)
}

fn twins(twins: &Twins) -> Option<Examined> {
    let alive: Vec<&TwinFacts> =
        twins.units.iter().filter(|unit| unit.is_active || unit.is_enabled).collect();
    let [first, second, ..] = alive.as_slice() else { return None };
    let word = |unit: &TwinFacts| {
        let runs = if unit.is_active { "runs" } else { "does not run" };
        let enabled = if unit.is_enabled { "enabled" } else { "not enabled" };
        format!("{} of the {} manager: {runs}, {enabled}", unit.unit, unit.scope)
    };
    let evidence: Vec<String> = alive.iter().copied().map(word).collect();
    let what = format!("{} is run by two units: they restart each other, or fight for its port", twins.what);
    // The one that a person added later is rarely the system's.
    let (prefix, loser) =
        if second.scope == "user" { ("systemctl --user", second) } else { ("sudo systemctl", second) };
    let finding = Examined::warning(Code::DuplicateService, Subject::Unit(first.unit.clone()), what);
    Some(finding.seen(evidence.join("; ")).next(format!("{prefix} disable --now {}", loser.unit)))
}

/// Others that do our work: what a shell loop, a timer or a cron job was there for.
pub fn syncers(facts: &Facts) -> Option<Vec<Examined>> {
    let told = facts.syncers.iter().map(|syncer| {
        let subject = syncer.unit.clone().map_or_else(|| Subject::Other(syncer.by.clone()), Subject::Unit);
        let what = format!(
            "it {}, as tokensink does: the two overwrite each other, or log each other out",
            syncer.does
        );
        let script = syncer.script.as_ref().map_or_else(String::new, |script| format!(" runs {script}"));
        let next = format!("tokensink setup --replace, or: {}", syncer.remedy);
        Examined::warning(Code::SecondWriter, subject, what).seen(format!("{}{script}", syncer.by)).next(next)
    });
    Some(told.collect())
}

/// The user's service manager.
pub fn manager(facts: &Facts) -> Option<Vec<Examined>> {
    let why = &facts.manager.unreachable;
    let finding = why.as_ref().map(|why| {
        let what = "the user's service manager cannot be asked: units are not restarted, and the daemon has nobody \
                    to start it";
        let next = if facts.manager.is_booted {
            format!("loginctl enable-linger {}, then log in anew (not by su)", facts.user)
        } else {
            "this host was not started by systemd: let what supervises it run `tokensink daemon`".to_owned()
        };
        Examined::notice(Code::BusUnavailable, Subject::Host("user manager"), what).seen(why.clone()).next(next)
    });
    Some(finding.into_iter().collect())
}

/// Our own unit: there, enabled, running.
pub fn enabled(facts: &Facts) -> Option<Vec<Examined>> {
    let unit = facts.manager.unit.as_ref()?;
    let runs = !facts.daemons.is_empty();
    let (what, next) = match () {
        () if !unit.is_loaded => {
            ("there is no such unit: the daemon does not start by itself", "make install, or the package")
        }
        () if unit.active == "failed" => (
            "the unit has failed: nothing follows a rotation",
            "journalctl --user --unit tokensink --lines 30",
        ),
        () if !unit.file_state.starts_with("enabled") && !unit.file_state.starts_with("linked") => (
            "the unit is not enabled: the daemon is not there after the next start",
            "systemctl --user enable --now tokensink",
        ),
        () if !unit.is_active && !runs => {
            ("the unit does not run: nothing follows a rotation", "systemctl --user start tokensink")
        }
        () => return Some(Vec::new()),
    };
    let evidence =
        format!("{}, {}", unit.active, if unit.file_state.is_empty() { "no file" } else { &unit.file_state });
    let finding = Examined::notice(Code::UnitNotEnabled, Subject::Unit(OUR_UNIT.to_owned()), what);
    Some(vec![finding.seen(evidence).next(next)])
}

/// Whether the user's services go on while the user is logged out.
pub fn linger(facts: &Facts) -> Option<Vec<Examined>> {
    let lingers = facts.lingers?;
    let finding = (!lingers).then(|| {
        let what =
            "the user does not linger: the daemon ends when the last session does, and no login is renewed";
        Examined::notice(Code::NoLinger, Subject::Host("linger"), what)
            .seen(format!("there is no /var/lib/systemd/linger/{}", facts.user))
            .next(format!("loginctl enable-linger {}", facts.user))
    });
    Some(finding.into_iter().collect())
}

/// The daemon that runs is another version than this program.
pub fn version(facts: &Facts) -> Option<Vec<Examined>> {
    let daemon = facts.daemons.iter().find(|daemon| daemon.is_ours)?;
    let version = facts.manager.version;
    let (what, evidence) = match &daemon.version {
        Some(running) if running != version => (
            format!("the daemon that runs is version {running}, this program is {version}"),
            format!("process {}: {}", daemon.pid, daemon.program),
        ),
        _ if daemon.is_replaced => (
            "the daemon runs a program that was replaced since: it has the old behaviour".to_owned(),
            format!("process {}: {}, replaced", daemon.pid, daemon.program),
        ),
        _ => return Some(Vec::new()),
    };
    let finding = Examined::notice(Code::VersionDiffers, Subject::Host("daemon"), what).seen(evidence);
    Some(vec![finding.next("systemctl --user restart tokensink")])
}
