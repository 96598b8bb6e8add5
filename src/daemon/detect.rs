//! What a person most likely has, when nothing is configured: the settings that `status`,
//! `sync --dry-run` and the set-up start from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::config::settings::{
    Agents, AlertingSettings, Apply, GatewayKind, GatewaySettings, LoginSettings, RefreshMode,
    RefreshSettings, RefreshWay, RequestStyle, Settings, SinkKind, SinkSettings, UnitScope,
};
use crate::providers;
use crate::sinks::openclaw::units;
use crate::sys::paths::Surroundings;

const DAY: Duration = Duration::from_secs(86_400);

/// The detected settings: the Claude login by the CLI's own rule, a Codex login where there is one,
/// and every OpenClaw instance with the unit of its gateway.
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
    let Ok(login) = LoginId::try_new("claude") else { return settings };
    settings.logins.push(default_login(login.clone(), Provider::Claude));
    let codex = providers::default_path(Provider::Codex, &surroundings.home, &surroundings.variables);
    if let (Ok(id), true) = (LoginId::try_new("codex"), codex.is_some_and(|path| path.exists())) {
        settings.logins.push(default_login(id, Provider::Codex));
    }
    for Found { name, state_dir, unit } in instances(surroundings) {
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
        settings.gateways.extend(unit.map(|(unit, scope)| GatewaySettings {
            id: gateway,
            sinks: vec![sink],
            kind: GatewayKind::Unit { unit, scope },
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
struct Found {
    name: String,
    state_dir: PathBuf,
    unit: Option<(String, UnitScope)>,
}

/// The instance without a profile, those with one (`~/.openclaw-NAME`), and what further units run.
fn instances(surroundings: &Surroundings) -> Vec<Found> {
    let home = &surroundings.home;
    let named = ["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"].iter().find_map(|v| surroundings.variable(v));
    let usual = named.map_or_else(|| units::default_state_dir(home), |directory| home.join(directory));
    let mut found = Vec::new();
    if usual.is_dir() {
        found.push(Found { name: "openclaw".to_owned(), state_dir: usual, unit: None });
    }
    for name in profiles(home) {
        let state_dir = home.join(format!(".openclaw-{name}"));
        if found.iter().all(|known| known.state_dir != state_dir) {
            found.push(Found { name: format!("openclaw-{name}"), state_dir, unit: None });
        }
    }
    for (unit, scope) in units::named_like_gateways(home) {
        let Some(service) = units::service_of(&unit, scope, home) else { continue };
        // Whose a unit of the system is that says neither is not known from its files.
        let is_placed = ["HOME", "OPENCLAW_HOME", "OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"];
        if scope == UnitScope::System && !is_placed.iter().any(|v| service.environment.contains_key(*v)) {
            continue;
        }
        let state_dir = units::state_dir(&service, home);
        if let Some(known) = found.iter_mut().find(|known| known.state_dir == state_dir) {
            known.unit.get_or_insert((unit, scope));
        } else if state_dir.is_dir() {
            let stem = unit.strip_suffix(".service").unwrap_or(&unit).replacen("-gateway", "", 1);
            let is_taken = found.iter().any(|known| known.name == stem);
            let name = if is_taken { format!("{stem}-{}", found.len()) } else { stem };
            found.push(Found { name, state_dir, unit: Some((unit, scope)) });
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
