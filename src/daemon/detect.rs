//! What a person most likely has, when nothing is configured: the settings that `status`,
//! `sync --dry-run` and the set-up start from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::credential::SourceReading;
use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::config::settings::{
    Agents, AlertingSettings, Apply, GatewayKind, GatewaySettings, LoginSettings, RefreshMode,
    RefreshSettings, RefreshWay, RequestStyle, Settings, SinkKind, SinkSettings, UnitScope,
};
use crate::providers;
use crate::sinks::openclaw::units;
use crate::sys::paths::Surroundings;

const DAY: Duration = Duration::from_secs(86_400);

/// The detected settings: the login of every CLI that has one, by its own rule, and every OpenClaw
/// instance with its gateway. Claude Code's is there also without a file yet, where an OpenClaw waits
/// for it or nothing else was found.
#[must_use]
pub fn settings(surroundings: &Surroundings) -> Settings {
    let mut settings = Settings {
        poll: Duration::from_secs(60),
        warn: DAY,
        textfile: None,
        logins: Vec::new(),
        sinks: Vec::new(),
        gateways: Vec::new(),
        alerts: Vec::new(),
        alerting: AlertingSettings { login_deadline: Vec::new(), remind: DAY, heartbeat_url: None },
    };
    let Ok(login) = LoginId::try_new(Provider::Claude.as_str()) else { return settings };
    let candidates = candidates(surroundings);
    let found = Provider::ALL.into_iter().filter_map(|provider| {
        let login = default_login(LoginId::try_new(provider.as_str()).ok()?, provider);
        let path = providers::default_path(provider, &surroundings.home, &surroundings.variables)?;
        // The others keep more than logins in their files, and none once they are logged out.
        let is_there = match provider {
            Provider::Claude | Provider::Codex => path.exists(),
            _ => {
                let read = providers::read(provider, providers::layout(&login).as_ref(), &path);
                matches!(read.reading, SourceReading::Ok(_))
            }
        };
        is_there.then_some(login)
    });
    settings.logins = found.collect();
    let is_known = settings.logins.iter().any(|known| known.id == login);
    if !is_known && (settings.logins.is_empty() || !candidates.is_empty()) {
        settings.logins.insert(0, default_login(login.clone(), Provider::Claude));
    }
    for Candidate { name, state_dir, gateway: kind } in candidates {
        let (Ok(sink), Ok(gateway)) = (SinkId::try_new(name.clone()), GatewayId::try_new(name)) else {
            continue;
        };
        settings.sinks.push(SinkSettings {
            id: sink.clone(),
            login: login.clone(),
            kind: SinkKind::OpenClaw {
                state_dir,
                agents: Agents::All,
                profile: "anthropic:default".to_owned(),
                manage: false,
            },
        });
        settings.gateways.extend(kind.map(|kind| GatewaySettings {
            id: gateway,
            sinks: vec![sink],
            kind,
            apply: Apply::Auto,
            probe: None,
            idle: None,
            min_interval: Duration::from_secs(600),
            unauthorized: None,
        }));
    }
    settings
}

/// An OpenClaw instance that was found.
struct Candidate {
    /// What its sink and its gateway are called.
    name: String,
    state_dir: PathBuf,
    /// What runs it, where that is known.
    gateway: Option<GatewayKind>,
}

/// The instance without a profile, those with one (`~/.openclaw-NAME`), and what further units run.
fn candidates(surroundings: &Surroundings) -> Vec<Candidate> {
    let home = &surroundings.home;
    let named = ["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"].iter().find_map(|v| surroundings.variable(v));
    let usual = named.map_or_else(|| units::default_state_dir(home), |directory| home.join(directory));
    let mut found = Vec::new();
    if usual.is_dir() {
        found.push(Candidate { name: "openclaw".to_owned(), state_dir: usual, gateway: None });
    }
    for name in profiles(home) {
        let state_dir = home.join(format!(".openclaw-{name}"));
        if found.iter().all(|known| known.state_dir != state_dir) {
            found.push(Candidate { name: format!("openclaw-{name}"), state_dir, gateway: None });
        }
    }
    for (unit, scope) in units::named_like_gateways(home) {
        let Some(service) = units::service_of(&unit, scope, home) else { continue };
        // Whose a unit of the system is that says neither is not known from its files.
        if scope == UnitScope::System && !units::is_placed(&service) {
            continue;
        }
        let state_dir = units::state_dir(&service, home);
        if let Some(known) = found.iter_mut().find(|known| known.state_dir == state_dir) {
            known.gateway.get_or_insert(GatewayKind::Unit { unit, scope });
        } else if state_dir.is_dir() {
            let stem = unit.strip_suffix(".service").unwrap_or(&unit).replacen("-gateway", "", 1);
            let is_taken = found.iter().any(|known| known.name == stem);
            let name = if is_taken { format!("{stem}-{}", found.len()) } else { stem };
            found.push(Candidate { name, state_dir, gateway: Some(GatewayKind::Unit { unit, scope }) });
        }
    }
    found
}

/// The profiles that have a state directory with a configuration, sorted. Copies that somebody put
/// aside are none.
fn profiles(home: &Path) -> Vec<String> {
    const ASIDE: [&str; 5] = ["backup", "bak", "old", "orig", "copy"];
    let listed = std::fs::read_dir(home).into_iter().flatten().flatten();
    let names =
        listed.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(".openclaw-")?.to_owned()));
    let is_aside =
        |name: &str| name.split(|c: char| !c.is_ascii_alphabetic()).any(|word| ASIDE.contains(&word));
    let mut names: Vec<String> = names
        .filter(|name| !is_aside(name) && home.join(format!(".openclaw-{name}/openclaw.json")).is_file())
        .collect();
    names.sort();
    names
}

/// A login with nothing said about it but whose it is.
#[must_use]
pub fn default_login(id: LoginId, provider: Provider) -> LoginSettings {
    LoginSettings {
        id,
        provider,
        path: None,
        container: None,
        label: String::new(),
        fields: None,
        authorize: None,
        refresh: RefreshSettings {
            mode: RefreshMode::Auto,
            margin: None,
            every: DAY / 4,
            command: None,
            way: RefreshWay::Prompt,
            container: None,
            env: std::collections::BTreeMap::new(),
            token_url: None,
            client_id: None,
            client_secret_file: None,
            style: RequestStyle::Form,
            grants_per_day: 12,
        },
    }
}
