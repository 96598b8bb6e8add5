//! The steps of a set-up, carried out. Each one is entered in the record before it is made, says one
//! line, and asks the managers over D-Bus; what they refuse ends in the one command to type.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use super::ground::{Ground, Managers, look};
use super::plan::{Facts, Plan, Runner, Step, UNIT};
use super::record::{DropIn, Kept, Record, Unit};
use super::tell;
use crate::base::code::Code;
use crate::base::secret::Document;
use crate::cli::{load, output};
use crate::config::settings::{Settings, SinkSettings, UnitScope};
use crate::core::report::Report;
use crate::daemon::store::StateDir;
use crate::daemon::syncers::{self, Found};
use crate::sinks::openclaw::units;
use crate::sys::atomic_file::{self, Expected, Policy};
use crate::systemd::bus::{BusError, Scope};
use crate::systemd::job::ServiceManager;
use crate::systemd::login1;
use crate::systemd::outcome::{ActiveState, RestartOutcome};

/// How long a user's manager may take to come up.
const MANAGER_DEADLINE: Duration = Duration::from_secs(60);
/// How long the unit may take: systemd's own limit for a start, and a little.
const JOB_DEADLINE: Duration = Duration::from_secs(100);

/// A set-up in hand.
pub(super) struct Work<'a> {
    pub ground: &'a Ground,
    pub facts: &'a Facts,
    pub plan: &'a Plan,
    pub managers: Managers,
    pub state: &'a StateDir,
    pub record: Record,
    /// Lingering was agreed to.
    pub may_linger: bool,
}

/// What did this work before, and how ours stands after its first pass.
pub(super) struct Old<'a> {
    pub syncers: &'a [Found],
    pub settings: &'a Settings,
    /// `None` where no daemon of ours was seen at work.
    pub report: Option<&'a Report>,
}

impl Old<'_> {
    /// Why a consumer would go without, were this one switched off.
    fn needed_for(&self, found: &Found) -> Option<&'static str> {
        let Some(report) = self.report else { return Some("tokensink does not run") };
        let Some(sinks) = syncers::covered_by(self.settings, found) else {
            return Some("it writes a file that is no sink here");
        };
        let is_current = |sink: &&SinkSettings| {
            let id = sink.id.as_str();
            let mut targets = report.sinks.iter().filter(|target| target.id == id).peekable();
            targets.peek().is_some() && targets.all(|target| target.state == "current")
        };
        if !sinks.iter().all(is_current) {
            return Some("a sink for a file that it writes is not current");
        }
        let is_well = report.logins.iter().all(|login| login.state == "ok" || login.state == "expiring");
        (!is_well).then_some("a login is not in order")
    }
}

impl Work<'_> {
    /// Carries the steps out.
    ///
    /// # Errors
    /// What could not be done, and what to type; later steps that need it were left out.
    pub async fn carry_out(&mut self, file: &Path, text: &str) -> Result<(), Vec<String>> {
        let mut undone = Vec::new();
        for step in &self.plan.steps {
            let done = match step {
                Step::Write => self.write(file, text),
                Step::Linger => self.linger().await,
                Step::Enable => self.enable().await,
                Step::Start => self.start().await,
                Step::Reload => self.reload().await,
                // When the proof has been made; see `replace`.
                Step::Replace => Ok(()),
            };
            if let Err(why) = done {
                undone.push(why);
                let needs_next = match step {
                    Step::Linger => !self.facts.manages,
                    Step::Write | Step::Enable => true,
                    // Without our daemon the other one is not switched off.
                    Step::Start | Step::Reload => true,
                    Step::Replace => false,
                };
                if needs_next {
                    break;
                }
            }
        }
        if undone.is_empty() { Ok(()) } else { Err(undone) }
    }

    fn write(&mut self, file: &Path, text: &str) -> Result<(), String> {
        self.record.drop_in = Some(DropIn { path: file.to_owned(), text: text.to_owned() });
        self.record.save(self.state)?;
        if let Err(why) = write(file, text) {
            // One that is there all the same, on a disk that failed afterwards, is ours to take back.
            self.record.drop_in.take_if(|drop_in| drop_in.kept() != Kept::Ours);
            return self.record.save(self.state).and(Err(why));
        }
        output::print(&format!("wrote     {}\n", file.display()));
        Ok(())
    }

    async fn linger(&mut self) -> Result<(), String> {
        let user = &self.facts.user;
        let command = format!("sudo loginctl enable-linger {user}");
        if !self.may_linger {
            if self.facts.manages {
                output::print(&format!(
                    "left      lingering is off: the daemon ends with your last session; \
                     `tokensink setup --linger` or `{command}` changes that\n"
                ));
                return Ok(());
            }
            return Err(format!(
                "{}: your service manager does not run and lingering, which would start it, was not agreed \
                 to; nothing was enabled. `tokensink setup --yes --linger` does it",
                Code::BusUnavailable
            ));
        }
        let was_on = self.facts.lingers || self.record.linger;
        self.record.linger = self.record.linger || !self.facts.lingers;
        self.record.save(self.state)?;
        let (buses, uid) = (self.ground.buses(), self.ground.account.uid);
        let asked = login1::set_linger(&buses, uid, true);
        let set = match &self.managers.system {
            Some(system) if !self.facts.manages => {
                system.runs_after(&format!("user@{uid}.service"), MANAGER_DEADLINE, asked).await
            }
            _ => asked.await.map(|()| true),
        };
        match set {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!(
                    "{}: lingering is on, but your service manager did not come up; `journalctl -b -u user@{uid}` \
                     may say why",
                    Code::BusUnavailable
                ));
            }
            Err(why) => {
                self.record.linger = self.record.linger && was_on;
                self.record.save(self.state)?;
                return Err(format!(
                    "lingering was not turned on ({why}). Type\n  {command}\nand run `tokensink setup` again"
                ));
            }
        }
        output::print(&format!("lingers   {user}\n"));
        if !self.facts.manages {
            let came = ServiceManager::connect(Scope::User, &self.ground.buses()).await;
            self.managers.user = Some(came.map_err(|error| unreachable(&error))?);
        }
        Ok(())
    }

    /// The unit and its manager.
    fn runner(&self) -> Result<(&ServiceManager, &str, bool), String> {
        let (manager, unit, is_system) = match &self.plan.runner {
            Runner::User => (&self.managers.user, UNIT, false),
            Runner::System { unit } => (&self.managers.system, unit.as_str(), true),
            Runner::Foreground(why) => return Err(why.clone()),
        };
        let manager = manager.as_ref().ok_or_else(|| unreachable(&BusError::NoAddress))?;
        Ok((manager, unit, is_system))
    }

    /// Notes what is about to be done to the unit.
    fn note(&mut self, enabled: bool, started: bool) -> Result<(), String> {
        let (_, unit, system) = self.runner()?;
        let entry = Unit { name: unit.to_owned(), system, enabled: false, started: false };
        let known = self.record.unit.take().filter(|known| known.name == entry.name).unwrap_or(entry);
        self.record.unit =
            Some(Unit { enabled: known.enabled || enabled, started: known.started || started, ..known });
        self.record.save(self.state)
    }

    async fn enable(&mut self) -> Result<(), String> {
        let (manager, unit, _) = self.runner()?;
        let now = look(manager, unit).await.map_err(|error| unreachable(&error))?;
        if now.is_enabled {
            return Ok(());
        }
        if !now.is_installed {
            return Err(format!("{}: {unit} is not installed, or masked", Code::UnitFailed));
        }
        let before = self.record.clone();
        self.note(true, false)?;
        let (manager, unit, is_system) = self.runner()?;
        let enabled = manager.enable(unit).await;
        if let Err(error) = enabled {
            let why =
                format!("{}: {unit} was not enabled: {error}{}", Code::UnitFailed, instead(unit, is_system));
            self.record = before;
            return self.record.save(self.state).and(Err(why));
        }
        output::print(&format!("enabled   {}\n", tell::unit_of(&self.plan.runner)));
        Ok(())
    }

    async fn start(&mut self) -> Result<(), String> {
        let (manager, unit, _) = self.runner()?;
        let now = manager.unit_facts(unit).await.map_err(|error| unreachable(&error))?;
        if now.active_state.is_running() {
            return Ok(());
        }
        let other = load::daemon(self.state);
        if other.running {
            let pid = other.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let why = format!("another daemon of yours is running{pid}, in a terminal or by another unit");
            return Err(format!("{}: {unit} was not started: {why}; stop that one first", Code::UnitFailed));
        }
        if now.active_state == ActiveState::Failed {
            // Failures of before this set-up do not count against it.
            manager.reset_failed(unit).await.map_err(|error| unreachable(&error))?;
        }
        self.note(false, true)?;
        let (manager, unit, is_system) = self.runner()?;
        let outcome = match manager.submit_start(unit).await {
            Ok(mut job) => job.wait(JOB_DEADLINE).await,
            Err(outcome) => outcome,
        };
        match outcome {
            // Its proof of being ready is its first pass.
            RestartOutcome::Restarted { .. } => {
                output::print(&format!("started   {}\n", tell::unit_of(&self.plan.runner)));
                Ok(())
            }
            RestartOutcome::Refused { .. } if is_system => {
                Err(format!("{}: {outcome}{}", Code::UnitFailed, instead(unit, is_system)))
            }
            other => {
                let log = if is_system { "journalctl" } else { "journalctl --user" };
                Err(format!(
                    "{}: {unit} was not started: {other}; `{log} -u {unit}` says why",
                    Code::UnitFailed
                ))
            }
        }
    }

    /// Switches off what did this work before: units here, everything else by the command to type. What
    /// somebody still needs is left.
    ///
    /// # Errors
    /// When a unit cannot be stopped or disabled.
    pub async fn replace(&mut self, old: &Old<'_>, may: bool) -> Result<(), String> {
        for found in old.syncers {
            let manager = match found.by.unit() {
                Some((_, UnitScope::User)) => self.managers.user.as_ref(),
                Some((_, UnitScope::System)) if self.facts.uid == 0 => self.managers.system.as_ref(),
                _ => None,
            };
            if let Some(why) = old.needed_for(found) {
                output::print(&format!("left      {}: it {}, and {why}\n", found.by, found.deed()));
                continue;
            }
            // A link to a unit file elsewhere goes when it is disabled, and would not come back.
            let own =
                found.by.unit().filter(|(unit, scope)| !units::is_linked(unit, *scope, &self.facts.home));
            let (Some(manager), Some((unit, scope)), true) = (manager, own, may) else {
                let remedy = found.by.remedy();
                output::print(&format!("left      {}: it {}. Type\n  {remedy}\n", found.by, found.deed()));
                continue;
            };
            let now = look(manager, unit).await.map_err(|error| unreachable(&error))?;
            // Its files alone, by which it was found, decide whether it would come back.
            let is_enabled = manager.is_enabled(unit).await.map_err(|error| unreachable(&error))?;
            let (name, system) = (unit.to_owned(), scope == UnitScope::System);
            if self.record.replaced.iter().all(|known| (&known.name, known.system) != (&name, system)) {
                let replaced = Unit { name, system, enabled: is_enabled, started: now.is_running };
                self.record.replaced.push(replaced);
                self.record.save(self.state)?;
            }
            let stopped = match manager.stop(unit).await {
                Ok(mut job) => job.wait(JOB_DEADLINE).await,
                Err(outcome) => outcome,
            };
            if !matches!(stopped, RestartOutcome::Stopped | RestartOutcome::NotLoaded) {
                return Err(format!("{}: {unit} was not stopped: {stopped}", Code::UnitFailed));
            }
            if is_enabled {
                manager.disable(unit).await.map_err(|error| unreachable(&error))?;
            }
            output::print(&format!("replaced  {}\n", found.by));
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), String> {
        let (manager, unit, is_system) = self.runner()?;
        let outcome = match manager.submit_reload(unit).await {
            Ok(mut job) => job.wait(JOB_DEADLINE).await,
            Err(outcome) => outcome,
        };
        if !outcome.is_applied() {
            let why = format!("{}: {unit} was not reloaded: {outcome}", Code::UnitFailed);
            return Err(if is_system { why + &instead(unit, true) } else { why });
        }
        output::print(&format!("reloaded  {}\n", tell::unit_of(&self.plan.runner)));
        Ok(())
    }
}

/// What to type where a user may not.
fn instead(unit: &str, is_system: bool) -> String {
    if is_system { format!(". Type\n  sudo systemctl enable --now {unit}") } else { String::new() }
}

fn unreachable(error: &BusError) -> String {
    format!("{}: your service manager cannot be asked: {error}", Code::BusUnavailable)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    if let Some(directory) = file.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let policy = Policy { mode: Some(0o644), ..Policy::default() };
    let document = Document::new(text.as_bytes().to_vec());
    atomic_file::replace(file, &document, Expected::Absent, policy).map_err(|e| e.to_string())
}
