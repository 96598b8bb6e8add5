//! Other syncers and refreshers of this user's logins that are installed on this host: units, timers,
//! cron jobs and running scripts that this program replaces. They are looked at and never touched: what
//! they do is read out of their scripts (`format::syncer`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::{Provider, SinkId};
use crate::config::settings::{Agents, GatewayKind, Settings, SinkKind, SinkSettings, UnitScope};
use crate::format::syncer::{self, Syncer};
use crate::sinks::openclaw::probe::read;
use crate::sinks::openclaw::units;
use crate::sys::account::Account;
use crate::sys::paths::Surroundings;
use crate::sys::process::{self, CommandSpec};
use crate::sys::witness;

/// How long `crontab -l` may take.
const CRONTAB_DEADLINE: Duration = Duration::from_secs(5);
/// The tables of the system's cron.
const SYSTEM_TABLES: [&str; 2] = ["/etc/crontab", "/etc/cron.d"];

/// What starts a syncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartedBy {
    /// A unit of that manager: the service, or the timer or path unit that starts it.
    Unit {
        /// Its name.
        name: String,
        /// Whose.
        scope: UnitScope,
    },
    /// A line of a table of cron: where it stands.
    Cron {
        /// `crontab -e` for the user's own, else the file.
        table: String,
    },
    /// A process that runs, and nothing that is known starts it.
    Process {
        /// Its number.
        pid: u32,
    },
}

impl fmt::Display for StartedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit { name, scope: UnitScope::User } => f.write_str(name),
            Self::Unit { name, scope: UnitScope::System } => write!(f, "{name} (of the system)"),
            Self::Cron { table } => write!(f, "cron, {table}"),
            Self::Process { pid } => write!(f, "process {pid}"),
        }
    }
}

impl StartedBy {
    /// The unit and its manager, where it is one.
    #[must_use]
    pub fn unit(&self) -> Option<(&str, UnitScope)> {
        match self {
            Self::Unit { name, scope } => Some((name, *scope)),
            _ => None,
        }
    }

    /// The command that stops it for good.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Unit { name, scope: UnitScope::User } => format!("systemctl --user disable --now {name}"),
            Self::Unit { name, scope: UnitScope::System } => format!("sudo systemctl disable --now {name}"),
            Self::Cron { table } if table.starts_with('/') => format!("sudo -e {table}"),
            Self::Cron { .. } => "crontab -e".to_owned(),
            Self::Process { pid } => format!("kill {pid}"),
        }
    }
}

/// A syncer that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What starts it.
    pub by: StartedBy,
    /// Its script; `None` where the commands stand in the unit or the table itself.
    pub script: Option<PathBuf>,
    /// What it does.
    pub does: Syncer,
}

impl Found {
    /// What it does, in words.
    #[must_use]
    pub fn deed(&self) -> &'static str {
        match (&self.does, self.does.targets.is_empty()) {
            (Syncer { refreshes: true, .. }, _) => "spends the refresh token of a login itself",
            (Syncer { triggers: true, .. }, true) => "runs the CLI by the clock so that it refreshes",
            _ => "copies a login into the files of its consumers",
        }
    }
}

/// The sinks that take the place of what was found: for each file that one of them writes, unless it
/// is among `settings` already. They read the login of Claude Code, and the one gateway that there is reads
/// them; what hands on another login is left to its owner. The refresh token is left out, whatever the script
/// did: a copy of it would be spent by somebody else.
pub fn take_over(settings: &mut Settings, found: &[Found]) {
    let claudes = settings.logins.iter().find(|login| login.provider == Provider::Claude);
    let Some(login) = claudes.map(|login| login.id.clone()) else { return };
    let targets = found.iter().filter(|found| found.does.is_claudes()).flat_map(|found| &found.does.targets);
    let mut taken = Vec::new();
    for target in targets {
        let (name, kind) = match target {
            syncer::Target::OAuthJson(path) => {
                ("oauth-json", SinkKind::OAuthJson { path: path.clone(), refresh: false })
            }
            syncer::Target::EnvFile { path, key } => {
                ("env", SinkKind::EnvFile { path: path.clone(), key: key.clone() })
            }
            syncer::Target::Store(state_dir) => (
                "openclaw",
                SinkKind::OpenClaw {
                    state_dir: state_dir.clone(),
                    agents: Agents::All,
                    profile: "anthropic:default".to_owned(),
                    manage: false,
                },
            ),
        };
        let is_same = |sink: &SinkSettings| match (&sink.kind, &kind) {
            (SinkKind::OpenClaw { state_dir: one, .. }, SinkKind::OpenClaw { state_dir: other, .. }) => {
                one == other
            }
            (one, other) => one == other,
        };
        if settings.sinks.iter().any(is_same) {
            continue;
        }
        let is_taken = |id: &SinkId| settings.sinks.iter().any(|sink| &sink.id == id);
        let ids = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        let Some(id) = ids.filter_map(|id| SinkId::try_new(id).ok()).find(|id| !is_taken(id)) else {
            continue;
        };
        taken.push(id.clone());
        settings.sinks.push(SinkSettings { id, login: login.clone(), kind });
    }
    if let [gateway] = settings.gateways.as_mut_slice() {
        gateway.sinks.extend(taken);
    }
}

/// The sinks that hold what it writes; `None` where one of its files is no sink.
#[must_use]
pub fn covered_by<'a>(settings: &'a Settings, found: &Found) -> Option<Vec<&'a SinkSettings>> {
    let sink_of = |target: &syncer::Target| {
        settings.sinks.iter().find(|sink| match (&sink.kind, target) {
            (SinkKind::OAuthJson { path, .. }, syncer::Target::OAuthJson(file)) => path == file,
            (SinkKind::EnvFile { path, key }, syncer::Target::EnvFile { path: file, key: name }) => {
                path == file && key == name
            }
            (
                SinkKind::OpenClaw { state_dir, .. } | SinkKind::AuthProfiles { state_dir, .. },
                syncer::Target::Store(directory),
            ) => state_dir == directory,
            _ => false,
        })
    };
    found.does.targets.iter().map(sink_of).collect()
}

/// Every one that is installed or runs, each by the nearest thing that starts it. The units of gateways of
/// `settings` are none, whatever they do beside their work.
pub async fn found(surroundings: &Surroundings, settings: &Settings) -> Vec<Found> {
    let is_gateways = |found: &Found| {
        settings.gateways.iter().any(|gateway| match (&gateway.kind, found.by.unit()) {
            (GatewayKind::Unit { unit, scope }, Some((name, of))) => unit == name && *scope == of,
            _ => false,
        })
    };
    let mut found = installed_or_running(surroundings).await;
    found.retain(|found| !is_gateways(found));
    found
}

async fn installed_or_running(surroundings: &Surroundings) -> Vec<Found> {
    let mut found = units_of(surroundings, UnitScope::User);
    found.extend(units_of(surroundings, UnitScope::System));
    found.extend(cron(surroundings).await);
    let known: BTreeSet<PathBuf> = found.iter().filter_map(|f| f.script.clone()).collect();
    found.extend(
        processes(surroundings)
            .into_iter()
            .filter(|f| f.script.as_ref().is_none_or(|script| !known.contains(script))),
    );
    found
}

/// Services whose command is a syncer and that something starts: a link of theirs in a `.wants`
/// directory, or a timer or path unit that has one.
fn units_of(surroundings: &Surroundings, scope: UnitScope) -> Vec<Found> {
    let home = &surroundings.home;
    let wanted = units::wanted(scope, home);
    let own = Account::own();
    let mut found = Vec::new();
    for name in units::installed(scope, home) {
        let Some(stem) = name.strip_suffix(".service") else { continue };
        // What is not switched on does nothing.
        let starters = [name.clone(), format!("{stem}.timer"), format!("{stem}.path")];
        let mut starters = starters.into_iter().filter(|starter| wanted.contains(starter)).peekable();
        if starters.peek().is_none() {
            continue;
        }
        let Some(service) = units::service_of(&name, scope, home) else { continue };
        if scope == UnitScope::System && !own.is_meant_by(service.user.as_deref()) {
            continue;
        }
        let Some((script, does)) = command(&service.exec, &around(surroundings, service.environment)) else {
            continue;
        };
        found.extend(starters.map(|name| Found {
            by: StartedBy::Unit { name, scope },
            script: script.clone(),
            does: does.clone(),
        }));
    }
    found
}

/// The environment of a command: ours, and what is set for it.
fn around(surroundings: &Surroundings, more: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut environment = surroundings.variables.clone();
    environment.insert("HOME".to_owned(), surroundings.home.display().to_string());
    environment.extend(more);
    environment
}

/// What a command line runs, if that is a syncer: one of its words is its script, or it says it all.
fn command(words: &[String], environment: &BTreeMap<String, String>) -> Option<(Option<PathBuf>, Syncer)> {
    const WORDS: usize = 8;
    // Ours would be found by its own words.
    if words.iter().any(|word| Path::new(word).file_name().is_some_and(|name| name == "tokensink")) {
        return None;
    }
    let home = environment.get("HOME").map(String::as_str).unwrap_or_default();
    for word in words.iter().take(WORDS) {
        let word = word.replace("$HOME", home);
        let path =
            word.strip_prefix("~/").map_or_else(|| PathBuf::from(&word), |rest| Path::new(home).join(rest));
        let is_small = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= syncer::MAX_SCRIPT as u64)
        };
        if path.is_absolute()
            && is_small(&path)
            && let Some(text) = read(&path)
            && let Some(does) = syncer::read(&String::from_utf8_lossy(text.expose()), environment)
        {
            return Some((Some(path), does));
        }
    }
    syncer::read(&words.join(" "), environment).map(|does| (None, does))
}

/// Lines of the user's table, and of the system's where they may be read.
async fn cron(surroundings: &Surroundings) -> Vec<Found> {
    let environment = around(surroundings, BTreeMap::new());
    let own = Account::own();
    let mut tables = vec![("crontab -e".to_owned(), own_table(surroundings).await)];
    for path in SYSTEM_TABLES.map(PathBuf::from) {
        let listed = std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
        for file in listed.chain([path.clone()]) {
            let text = read(&file).map(|text| String::from_utf8_lossy(text.expose()).into_owned());
            tables.push((file.display().to_string(), text.unwrap_or_default()));
        }
    }
    let mut found = Vec::new();
    for (table, text) in tables {
        for (user, words) in text.lines().filter_map(|line| syncer::cron_line(line, table.starts_with('/'))) {
            if user.is_some_and(|user| !own.is_meant_by(Some(user))) {
                continue;
            }
            let Some((script, does)) = command(&words, &environment) else { continue };
            found.push(Found { by: StartedBy::Cron { table: table.clone() }, script, does });
        }
    }
    found
}

async fn own_table(surroundings: &Surroundings) -> String {
    let finished = process::run(CommandSpec {
        argv: vec!["crontab".into(), "-l".into()],
        env: surroundings.child_environment().into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        stdin: None,
        cwd: None,
        deadline: CRONTAB_DEADLINE,
        output_limit: syncer::MAX_SCRIPT,
    });
    match finished.await {
        Ok(finished) if finished.succeeded() => {
            String::from_utf8_lossy(finished.stdout.bytes.expose()).into_owned()
        }
        // No cron, or no table.
        _ => String::new(),
    }
}

/// Scripts of this user that run.
fn processes(surroundings: &Surroundings) -> Vec<Found> {
    const INTERPRETERS: [&str; 8] = ["sh", "bash", "dash", "zsh", "python", "python3", "node", "perl"];
    let environment = around(surroundings, BTreeMap::new());
    let mut found: Vec<Found> = Vec::new();
    for (pid, words) in witness::own_commands() {
        let program = words.first().map(Path::new).and_then(Path::file_name);
        let is_script = program.is_some_and(|program| INTERPRETERS.iter().any(|name| program == *name));
        if !is_script {
            continue;
        }
        if let Some((Some(script), does)) = command(&words, &environment)
            && found.iter().all(|known| known.script.as_ref() != Some(&script))
        {
            // Whatever runs in the unit of somebody else's program (cron, a terminal, a gateway) is not that unit.
            let unit = witness::unit_of(pid).and_then(|(name, is_users)| {
                let scope = if is_users { UnitScope::User } else { UnitScope::System };
                let service = units::service_of(&name, scope, &surroundings.home)?;
                let exec = around(surroundings, service.environment.clone());
                let (its, _) = command(&service.exec, &exec)?;
                (its.as_ref() == Some(&script)).then_some(StartedBy::Unit { name, scope })
            });
            let by = unit.unwrap_or(StartedBy::Process { pid });
            found.push(Found { by, script: Some(script), does });
        }
    }
    found
}
