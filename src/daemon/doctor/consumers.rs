//! Facts of gateways that are units or containers: the variables that they are given and from where, the user they run
//! as, the directories they go to, and whether their logs can be read.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Group, getgroups};
use zeroize::Zeroizing;

use super::{Environment, Managers, is_wanted, surroundings_of};
use crate::base::id::Provider;
use crate::base::secret::Document;
use crate::config::settings::{GatewayKind, GatewaySettings, SinkKind, SinkSettings, UnitScope};
use crate::core::doctor::facts::{Consumer, Lead, LogFacts, Origin, Reads};
use crate::core::doctor::hiding;
use crate::core::model::{SupplyForm, TargetContent};
use crate::daemon::apply;
use crate::daemon::look::Look;
use crate::daemon::world::World;
use crate::format::unit_file::Service;
use crate::format::{dotenv, standing};
use crate::gateway::{engine, log, unit};
use crate::providers;
use crate::sinks::openclaw::{probe, units};
use crate::sys::process::{self, CommandSpec};
use crate::sys::processes;
use crate::systemd::bus::Scope;
use crate::systemd::look::ServiceLook;

/// Groups that may read everybody's journal.
const READERS: [&str; 3] = ["systemd-journal", "adm", "wheel"];
const LOG_DEADLINE: Duration = Duration::from_secs(10);

/// Every gateway that is a unit and whose manager can be asked, and every container of one whose engine can.
pub async fn consumers(
    world: &World,
    look: &Look,
    managers: &Managers,
    managed: Option<&Environment>,
) -> Vec<Consumer> {
    let mut found = Vec::new();
    for gateway in &world.settings.gateways {
        let GatewayKind::Unit { unit, scope } = &gateway.kind else {
            found.extend(contained(world, look, gateway).await);
            continue;
        };
        let (kind, systemctl) = match scope {
            UnitScope::User => (Scope::User, "systemctl --user"),
            UnitScope::System => (Scope::System, "sudo systemctl"),
        };
        let Ok(manager) = managers.of(kind).await else { continue };
        let Ok(given) = manager.service_look(unit).await else { continue };
        let process = given.main_pid.and_then(|pid| processes::environment(pid, &is_wanted));
        let own = Environment::of(given.assignments.iter().map(String::as_bytes), &is_wanted);
        let managed = managed.filter(|_| *scope == UnitScope::User);
        let sinks: Vec<&SinkSettings> =
            world.settings.sinks.iter().filter(|sink| gateway.sinks.contains(&sink.id)).collect();
        let seen = Seen { given: &given, process: process.as_ref(), own: &own, managed };
        found.push(Consumer {
            gateway: gateway.id.to_string(),
            unit: unit.clone(),
            systemctl,
            variables: seen.variables(&sinks),
            reads: sinks.iter().map(|sink| reads(world, look, sink)).collect(),
            uid: given.main_pid.and_then(processes::user),
            private: private(look, gateway),
            leads: leads(world, unit, *scope, &seen, &sinks, look),
        });
    }
    found
}

/// The containers of a gateway, by the names of what they were created with. Who may read there is said by
/// a look from inside, when a sink is written.
async fn contained(world: &World, look: &Look, gateway: &GatewaySettings) -> Vec<Consumer> {
    if !matches!(gateway.kind, GatewayKind::Compose { .. } | GatewayKind::Container { .. }) {
        return Vec::new();
    }
    let means = apply::means(world, &unit::Managers::default());
    let Ok(found) = engine::find(&gateway.kind, &means).await else { return Vec::new() };
    let sinks: Vec<&SinkSettings> =
        world.settings.sinks.iter().filter(|sink| gateway.sinks.contains(&sink.id)).collect();
    let of = |seen: standing::Seen| {
        let given = hiding().filter(|name| seen.variables.iter().any(|given| given == name));
        let origin = || vec![Origin::Container(seen.name.clone())];
        Consumer {
            gateway: gateway.id.to_string(),
            unit: format!("container {}", seen.name),
            systemctl: "",
            variables: given.map(|name| (name.to_owned(), origin())).collect(),
            reads: sinks.iter().map(|sink| reads(world, look, sink)).collect(),
            uid: None,
            private: Vec::new(),
            leads: Vec::new(),
        }
    };
    found.seen.into_iter().map(of).collect()
}

/// What was seen of a unit.
struct Seen<'a> {
    given: &'a ServiceLook,
    process: Option<&'a Environment>,
    own: &'a Environment,
    managed: Option<&'a Environment>,
}

impl Seen<'_> {
    /// Each variable that may hide a login, with every place where it is set.
    fn variables(&self, sinks: &[&SinkSettings]) -> Vec<(String, Vec<Origin>)> {
        let is_unset = |name: &str| self.given.unset.iter().any(|unset| unset == name);
        // OpenClaw reads a file of its own beside what it is given.
        let dotenvs = sinks.iter().filter_map(|sink| match &sink.kind {
            SinkKind::OpenClaw { state_dir, .. } => Some(state_dir.join(".env").display().to_string()),
            _ => None,
        });
        let given = self.given.files.iter().cloned();
        let files: Vec<(String, _)> = dotenvs
            .chain(given)
            .filter_map(|path| Some((real(&path), probe::read(Path::new(&path))?)))
            .collect();
        let held = |document: &Document, name: &str| {
            dotenv::held(document.expose(), name).is_ok_and(|value| value.is_some())
        };
        let found = hiding().filter(|name| !is_unset(name)).filter_map(|name| {
            let mut origins: Vec<Origin> = files
                .iter()
                .filter(|(_, document)| held(document, name))
                .map(|(path, _)| Origin::File(path.clone()))
                .collect();
            if self.own.names.contains(name) {
                origins.push(Origin::Unit(mentioning(&self.given.sources, name)));
            }
            if self.managed.is_some_and(|managed| managed.names.contains(name)) {
                origins.push(Origin::Manager);
            }
            if let (Some(process), Some(pid)) = (self.process, self.given.main_pid)
                && process.names.contains(name)
            {
                origins.push(Origin::Process(pid));
            }
            (!origins.is_empty()).then(|| (name.to_owned(), origins))
        });
        found.collect()
    }

    /// Where it goes: by its process, else by its unit and its manager.
    fn places(&self) -> Option<Environment> {
        if let Some(process) = self.process {
            return Some(process.clone());
        }
        let mut places = self.managed.cloned()?;
        places.values.extend(self.own.values.clone());
        Some(places)
    }
}

/// The unit's files that name a variable.
fn mentioning(sources: &[String], name: &str) -> Vec<String> {
    let names = |path: &&String| {
        let text = Zeroizing::new(std::fs::read_to_string(path).unwrap_or_default());
        text.contains(&format!("{name}="))
    };
    let found: Vec<String> = sources.iter().filter(names).cloned().collect();
    if found.is_empty() { sources.first().cloned().into_iter().collect() } else { found }
}

fn real(path: &str) -> String {
    std::fs::canonicalize(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn provider_of(world: &World, sink: &SinkSettings) -> Provider {
    let login = world.settings.logins.iter().find(|login| login.id == sink.login);
    login.map_or(Provider::Generic, |login| login.provider)
}

fn reads(world: &World, look: &Look, sink: &SinkSettings) -> (String, Provider, Reads) {
    let mut targets = look.seen.observed.targets.iter().filter(|target| target.id.sink == sink.id);
    let reads = match &sink.kind {
        SinkKind::OpenClaw { .. } => match targets.next() {
            Some(target) if target.content == TargetContent::NotNeeded => Reads::Native,
            Some(target) if target.form == Some(SupplyForm::Mirror) => Reads::Reference,
            Some(target) if target.content == TargetContent::Handed => Reads::Reference,
            _ => Reads::Otherwise,
        },
        SinkKind::EnvFile { path, key } => {
            Reads::Variable { key: key.clone(), path: real(&path.display().to_string()) }
        }
        SinkKind::ClaudeCredentials { .. } => Reads::ClaudeFile,
        SinkKind::CodexAuth { .. } => Reads::CodexFile,
        _ => Reads::Otherwise,
    };
    (sink.id.to_string(), provider_of(world, sink), reads)
}

/// The gateway's files that only their owner may read.
fn private(look: &Look, gateway: &GatewaySettings) -> Vec<(String, u32)> {
    let places = look.seen.places.iter().filter(|(id, _)| gateway.sinks.contains(&id.sink));
    let private = places.filter_map(|(_, place)| {
        let file = place.file.filter(|file| file.mode & 0o044 == 0)?;
        Some((place.path.display().to_string(), file.uid))
    });
    private.collect()
}

/// Where the unit goes, beside where its sinks are.
fn leads(
    world: &World,
    unit: &str,
    scope: UnitScope,
    seen: &Seen<'_>,
    sinks: &[&SinkSettings],
    look: &Look,
) -> Vec<Lead> {
    let Some(environment) = seen.places() else { return Vec::new() };
    let Some(around) = surroundings_of(&environment) else { return Vec::new() };
    let mut service = units::service_of(unit, scope, &around.home).unwrap_or_default();
    let values = environment.values.clone();
    service = Service { environment: values, ..service };
    let usual = |provider| providers::default_path(provider, &around.home, &around.variables);
    let leads = sinks.iter().filter_map(|sink| {
        let (_, provider, reads) = reads(world, look, sink);
        let (wanted, found) = match (&sink.kind, &reads) {
            (SinkKind::OpenClaw { state_dir, .. } | SinkKind::AuthProfiles { state_dir, .. }, reads) => {
                let found = units::state_dir(&service, &around.home);
                if same(state_dir, &found) && *reads == Reads::Native {
                    (world.source(&sink.login)?.path.clone(), usual(provider)?)
                } else {
                    (state_dir.clone(), found)
                }
            }
            (SinkKind::ClaudeCredentials { path, .. }, _) => (path.clone(), usual(Provider::Claude)?),
            (SinkKind::CodexAuth { path, .. }, _) => (path.clone(), usual(Provider::Codex)?),
            _ => return None,
        };
        (!same(&wanted, &found)).then(|| Lead {
            what: format!("sink {}", sink.id),
            wanted: wanted.display().to_string(),
            found: found.display().to_string(),
            variables: deciding(&environment.values),
        })
    });
    leads.collect()
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

/// The variables that decide where a CLI or an OpenClaw looks.
fn deciding(values: &BTreeMap<String, String>) -> String {
    const NAMES: [&str; 7] = [
        "HOME",
        "OPENCLAW_HOME",
        "OPENCLAW_STATE_DIR",
        "CLAWDBOT_STATE_DIR",
        "CLAUDE_CONFIG_DIR",
        "CLAUDE_SECURESTORAGE_CONFIG_DIR",
        "CODEX_HOME",
    ];
    let set = NAMES.iter().filter_map(|name| Some(format!("{name}={}", values.get(*name)?)));
    set.collect::<Vec<_>>().join(" ")
}

/// Gateways whose log is to be heard, and whether it can be read.
pub async fn logs(world: &World, uid: u32) -> Vec<LogFacts> {
    let mut found = Vec::new();
    for gateway in &world.settings.gateways {
        let Some(argv) = log::look(gateway) else { continue };
        let unreadable = match &gateway.kind {
            GatewayKind::Unit { scope: UnitScope::System, .. } if uid != 0 && !is_reader() => {
                Some(format!("this user is in none of the groups {}", READERS.join(", ")))
            }
            _ => refused(world, argv).await,
        };
        found.push(LogFacts { gateway: gateway.id.to_string(), unreadable });
    }
    found
}

fn is_reader() -> bool {
    let groups = getgroups().unwrap_or_default();
    let allowed = READERS.iter().filter_map(|name| Group::from_name(name).ok().flatten());
    allowed.into_iter().any(|group| groups.contains(&group.gid) || nix::unistd::getegid() == group.gid)
}

/// What journalctl says when it cannot look.
async fn refused(world: &World, argv: Vec<String>) -> Option<String> {
    let env = world.surroundings.child_environment();
    let spec = CommandSpec {
        argv: argv.into_iter().map(Into::into).collect(),
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        stdin: None,
        cwd: None,
        deadline: LOG_DEADLINE,
        output_limit: 1024,
    };
    match process::run(spec).await {
        Ok(finished) if finished.succeeded() => None,
        Ok(finished) => Some(format!("journalctl ended with {}", finished.status)),
        Err(error) => Some(error.to_string()),
    }
}
