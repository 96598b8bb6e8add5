//! What a person most likely has, when nothing is configured: the settings that `status`,
//! `sync --dry-run` and the set-up start from.

use std::time::Duration;

use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::config::settings::{
    Agents, AlertingSettings, Apply, GatewayKind, GatewaySettings, LoginSettings, RefreshMode,
    RefreshSettings, RefreshWay, RequestStyle, Settings, SinkKind, SinkSettings, UnitScope,
};
use crate::providers;
use crate::sys::paths::Surroundings;

const DAY: Duration = Duration::from_secs(86_400);

/// The detected settings: the Claude login by the CLI's own rule, a Codex login where there is one,
/// and an OpenClaw instance in its default place with its user unit.
#[must_use]
pub fn settings(surroundings: &Surroundings) -> Settings {
    let mut settings = Settings {
        poll: Duration::from_secs(60),
        warn: DAY,
        logins: Vec::new(),
        sinks: Vec::new(),
        gateways: Vec::new(),
        alerts: Vec::new(),
        alerting: AlertingSettings { login_deadline: Vec::new(), remind: DAY, heartbeat_url: None },
    };
    let ids = (LoginId::try_new("claude"), SinkId::try_new("openclaw"), GatewayId::try_new("openclaw"));
    let (Ok(login), Ok(sink), Ok(gateway)) = ids else { return settings };
    settings.logins.push(default_login(login.clone(), Provider::Claude));
    let codex = providers::default_path(Provider::Codex, &surroundings.home, &surroundings.variables);
    if let (Ok(id), true) = (LoginId::try_new("codex"), codex.is_some_and(|path| path.exists())) {
        settings.logins.push(default_login(id, Provider::Codex));
    }
    let state_dir = surroundings
        .variable("OPENCLAW_STATE_DIR")
        .map_or_else(|| surroundings.home.join(".openclaw"), |dir| surroundings.home.join(dir));
    if !state_dir.is_dir() {
        return settings;
    }
    settings.sinks.push(SinkSettings {
        id: sink.clone(),
        login,
        kind: SinkKind::OpenClaw {
            state_dir,
            agents: Agents::All,
            profile: "anthropic:default".to_owned(),
            manage: false,
        },
    });
    let unit = "openclaw-gateway.service";
    if surroundings.home.join(".config/systemd/user").join(unit).exists() {
        settings.gateways.push(GatewaySettings {
            id: gateway,
            sinks: vec![sink],
            kind: GatewayKind::Unit { unit: unit.to_owned(), scope: UnitScope::User },
            apply: Apply::Auto,
            probe: None,
            idle: None,
            min_interval: Duration::from_secs(600),
            unauthorized: None,
        });
    }
    settings
}

/// A login with nothing said about it but whose it is.
fn default_login(id: LoginId, provider: Provider) -> LoginSettings {
    LoginSettings {
        id,
        provider,
        path: None,
        label: String::new(),
        fields: None,
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
