//! What a set-up would do, decided from what was found: no I/O here. The order of the steps is the
//! order in which they are carried out.

use std::path::PathBuf;

pub(super) use crate::cli::reload::UNIT;

/// Whose directory `XDG_RUNTIME_DIR` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runtime {
    /// Ours.
    Named,
    /// None, or another's: the account's own is used.
    Filled,
    /// None, and the account has none: its service manager does not run.
    Absent,
}

/// A unit as its manager knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UnitNow {
    /// There is a unit file that can be used.
    pub is_installed: bool,
    /// It is started with its manager.
    pub is_enabled: bool,
    /// It runs.
    pub is_running: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The account's name; its number, where it has none.
    pub user: String,
    /// Its number.
    pub uid: u32,
    /// Who became root by `sudo`.
    pub sudo_user: Option<String>,
    /// What `HOME` said, where that is not ours.
    pub disowned_home: Option<PathBuf>,
    /// The home directory that is used.
    pub home: PathBuf,
    /// See [`Runtime`].
    pub runtime: Runtime,
    /// systemd is the system's service manager.
    pub has_systemd: bool,
    /// The user's own manager answers.
    pub manages: bool,
    /// Whether that is by a bus, where it answers; else by its private socket.
    pub has_bus: bool,
    /// The user's manager is started with the system.
    pub lingers: bool,
    /// `tokensink.service` in the user's manager; unknown (nothing) where that does not answer.
    pub unit: UnitNow,
    /// `tokensink@USER.service` in the system's.
    pub template: UnitNow,
    /// Where our configuration is.
    pub config_dir: PathBuf,
    /// Where the user's unit looks for it.
    pub unit_config_dir: Option<PathBuf>,
    /// The files that configure us already.
    pub configured: Vec<PathBuf>,
    /// A login or a consumer of one was found here.
    pub has_anything: bool,
    /// Something else copies or refreshes these logins.
    pub has_syncers: bool,
}

/// Who runs the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runner {
    /// The user's own service manager.
    User,
    /// The system's, as an instance of `tokensink@.service`.
    System {
        /// The name of the unit.
        unit: String,
    },
    /// A person, or whatever else runs programs here; with the reason.
    Foreground(String),
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the drop-in.
    Write,
    /// Have the user's manager run without a session. Risky: everything that this user has enabled
    /// runs from then on.
    Linger,
    /// Enable the unit.
    Enable,
    /// Start it.
    Start,
    /// Make the running one read the drop-in.
    Reload,
    /// Switch off what did this work before, when the proof shows that ours does it. Risky: it is
    /// somebody's own.
    Replace,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Who runs the daemon.
    pub runner: Runner,
    /// In this order.
    pub steps: Vec<Step>,
    /// Why nothing is done, whatever is answered.
    pub refused: Option<String>,
}

impl Facts {
    /// The instance of the system's unit for this user.
    pub fn template_unit(&self) -> String {
        format!("tokensink@{}.service", self.user)
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// Decides.
pub(super) fn plan(facts: &Facts) -> Plan {
    let runner = runner(facts);
    let refused = refused(facts);
    let mut steps = Vec::new();
    if refused.is_none() {
        let is_new = facts.configured.is_empty();
        let unit = match &runner {
            Runner::User => Some(facts.unit),
            Runner::System { .. } => Some(facts.template),
            Runner::Foreground(_) => None,
        };
        steps.extend(is_new.then_some(Step::Write));
        // One that lingers and does not answer is started by the same call.
        let is_asleep = !facts.lingers || !facts.manages;
        steps.extend((runner == Runner::User && is_asleep).then_some(Step::Linger));
        if let Some(unit) = unit {
            steps.extend((!unit.is_enabled).then_some(Step::Enable));
            steps.extend((!unit.is_running).then_some(Step::Start));
            steps.extend((unit.is_running && is_new).then_some(Step::Reload));
            steps.extend(facts.has_syncers.then_some(Step::Replace));
        }
    }
    Plan { runner, steps, refused }
}

fn runner(facts: &Facts) -> Runner {
    let foreground = |why: &str| Runner::Foreground(why.to_owned());
    let template = facts.template;
    if template.is_running || template.is_enabled {
        return Runner::System { unit: facts.template_unit() };
    }
    if !facts.has_systemd && !facts.manages {
        return foreground("there is no systemd here");
    }
    if let Some(elsewhere) = facts.unit_config_dir.as_ref().filter(|dir| **dir != facts.config_dir) {
        let why = format!("a unit of this user would look for its configuration in {}", elsewhere.display());
        return Runner::Foreground(why);
    }
    if facts.manages {
        return if facts.unit.is_installed {
            Runner::User
        } else {
            Runner::Foreground(format!("{UNIT} is not installed, or masked"))
        };
    }
    match (facts.is_root(), template.is_installed) {
        (true, true) => Runner::System { unit: facts.template_unit() },
        (true, false) => {
            foreground("root has no service manager of its own, and tokensink@.service is not installed")
        }
        (false, _) => Runner::User,
    }
}

fn refused(facts: &Facts) -> Option<String> {
    let by = facts.sudo_user.as_ref().filter(|_| facts.is_root())?;
    (!facts.has_anything && facts.configured.is_empty()).then(|| {
        format!(
            "this runs as root, for whom there is nothing to set up; the logins of {by} are theirs: \
             run `tokensink setup` as {by}, without sudo"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTALLED: UnitNow = UnitNow { is_installed: true, is_enabled: false, is_running: false };
    const RUNNING: UnitNow = UnitNow { is_installed: true, is_enabled: true, is_running: true };

    /// A user with a session and nothing set up.
    fn facts() -> Facts {
        let config_dir = PathBuf::from("/home/alice/.config/tokensink");
        Facts {
            user: "alice".to_owned(),
            uid: 1000,
            sudo_user: None,
            disowned_home: None,
            home: PathBuf::from("/home/alice"),
            runtime: Runtime::Named,
            has_systemd: true,
            manages: true,
            has_bus: true,
            lingers: false,
            unit: INSTALLED,
            template: INSTALLED,
            unit_config_dir: Some(config_dir.clone()),
            config_dir,
            configured: Vec::new(),
            has_anything: true,
            has_syncers: false,
        }
    }

    fn configured() -> Vec<PathBuf> {
        vec![PathBuf::from("/home/alice/.config/tokensink/tokensink.toml")]
    }

    fn root() -> Facts {
        let config_dir = PathBuf::from("/root/.config/tokensink");
        Facts {
            user: "root".to_owned(),
            uid: 0,
            manages: false,
            has_bus: false,
            unit: UnitNow::default(),
            unit_config_dir: Some(config_dir.clone()),
            config_dir,
            ..facts()
        }
    }

    #[test]
    fn everything_that_is_missing_is_a_step_and_nothing_else() {
        use Step::{Enable, Linger, Reload, Start, Write};
        let enabled = UnitNow { is_enabled: true, ..INSTALLED };
        let by_hand = UnitNow { is_enabled: false, ..RUNNING };
        for (what, facts, steps) in [
            ("a first time", facts(), &[Write, Linger, Enable, Start][..]),
            ("lingering", Facts { lingers: true, ..facts() }, &[Write, Enable, Start]),
            (
                "no manager",
                Facts { manages: false, unit: UnitNow::default(), ..facts() },
                &[Write, Linger, Enable, Start],
            ),
            (
                "its manager died",
                Facts { manages: false, lingers: true, unit: UnitNow::default(), ..facts() },
                &[Write, Linger, Enable, Start],
            ),
            ("enabled and stopped", Facts { lingers: true, unit: enabled, ..facts() }, &[Write, Start]),
            ("started by hand", Facts { lingers: true, unit: by_hand, ..facts() }, &[Write, Enable, Reload]),
            (
                "a second time",
                Facts { lingers: true, unit: RUNNING, configured: configured(), ..facts() },
                &[],
            ),
            (
                "configured by hand",
                Facts { lingers: true, configured: configured(), ..facts() },
                &[Enable, Start],
            ),
            ("root", root(), &[Write, Enable, Start]),
            ("root, again", Facts { template: RUNNING, configured: configured(), ..root() }, &[]),
        ] {
            let plan = plan(&facts);
            assert_eq!((plan.steps.as_slice(), plan.refused), (steps, None), "{what}");
        }
    }

    #[test]
    fn the_daemon_is_run_by_who_can_and_by_one_only() {
        let system = |user: &str| Runner::System { unit: format!("tokensink@{user}.service") };
        for (what, facts, runner) in [
            ("a user", facts(), Runner::User),
            ("a user whose manager sleeps", Facts { manages: false, ..facts() }, Runner::User),
            ("root without a manager", root(), system("root")),
            ("root with one", Facts { manages: true, unit: INSTALLED, ..root() }, Runner::User),
            ("who is looked after by the system", Facts { template: RUNNING, ..facts() }, system("alice")),
        ] {
            assert_eq!(plan(&facts).runner, runner, "{what}");
        }
    }

    #[test]
    fn where_no_unit_would_work_only_the_drop_in_is_written() {
        let elsewhere = Some(PathBuf::from("/root/.config/tokensink"));
        for (what, facts) in [
            ("no systemd", Facts { has_systemd: false, manages: false, ..facts() }),
            ("no unit", Facts { unit: UnitNow::default(), ..facts() }),
            ("no template", Facts { template: UnitNow::default(), ..root() }),
            ("another configuration", Facts { unit_config_dir: elsewhere, ..facts() }),
        ] {
            let plan = plan(&facts);
            assert!(matches!(plan.runner, Runner::Foreground(_)), "{what}: {plan:?}");
            assert_eq!(plan.steps, [Step::Write], "{what}");
        }
    }

    #[test]
    fn root_by_sudo_is_sent_back_unless_root_has_something_of_its_own() {
        let by_sudo = Facts { sudo_user: Some("alice".to_owned()), ..root() };
        let nothing = plan(&Facts { has_anything: false, ..by_sudo.clone() });
        assert!(nothing.refused.is_some_and(|why| why.contains("as alice")));
        assert_eq!(nothing.steps, []);
        assert_eq!(plan(&by_sudo).refused, None);
        // `sudo -u alice` is alice.
        let as_alice = Facts { sudo_user: Some("root".to_owned()), has_anything: false, ..facts() };
        assert_eq!(plan(&as_alice).refused, None);
    }
}
