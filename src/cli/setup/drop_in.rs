//! The detected settings as a file of configuration would say them: the one text that a set-up writes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::base::id::Provider;
use crate::config::settings::{GatewayKind, LoginSettings, Settings, SinkKind, UnitScope};

/// The file that is written, in our configuration directory.
pub(super) const NAME: &str = "tokensink.d/50-setup.toml";

/// Renders the settings.
pub(super) fn render(settings: &Settings) -> String {
    let mut text =
        String::from("# Written by `tokensink setup`. Yours to change: it is not written again.\n");
    for login in &settings.logins {
        of_login(login, &mut text);
    }
    for sink in &settings.sinks {
        let _ = writeln!(
            text,
            "\n[[sink]]\nid = \"{}\"\nlogin = \"{}\"\nkind = \"{}\"",
            sink.id,
            sink.login,
            sink.kind.as_str()
        );
        match &sink.kind {
            SinkKind::OpenClaw { state_dir, manage, .. } => {
                let _ = writeln!(text, "state_dir = {}", path(state_dir));
                text.push_str(if *manage { "manage = true\n" } else { "" });
            }
            SinkKind::OAuthJson { path: file, refresh } => {
                let _ = writeln!(text, "path = {}\nrefresh = {refresh}", path(file));
            }
            SinkKind::EnvFile { path: file, key } => {
                let _ = writeln!(text, "path = {}\nkey = {}", path(file), quoted(key));
            }
            // Nothing else is ever detected.
            _ => {}
        }
    }
    for gateway in &settings.gateways {
        let sinks: Vec<String> = gateway.sinks.iter().map(|s| format!("\"{s}\"")).collect();
        let _ = writeln!(text, "\n[[gateway]]\nid = \"{}\"\nsinks = [{}]", gateway.id, sinks.join(", "));
        match &gateway.kind {
            GatewayKind::Unit { unit, scope } => {
                let scope = if *scope == UnitScope::User { "user" } else { "system" };
                let _ = writeln!(text, "unit = {}\nscope = \"{scope}\"", quoted(unit));
                text.push_str(
                    "# A 401 in its journal, as OpenClaw 2026.9.6 writes it, is a reason to look again:\n",
                );
                text.push_str("# unauthorized = \"response provider=anthropic .*status=401\"\n");
            }
            GatewayKind::Compose { dir, service } => {
                let _ = writeln!(text, "compose = {{ dir = {}, service = {} }}", path(dir), quoted(service));
            }
            GatewayKind::Container { name } => {
                let _ = writeln!(text, "container = {}", quoted(name));
            }
            // None is ever detected.
            GatewayKind::Command { .. } => {}
        }
    }
    text
}

fn of_login(login: &LoginSettings, text: &mut String) {
    let _ = writeln!(text, "\n[[login]]\nid = \"{}\"\nprovider = \"{}\"", login.id, login.provider);
    if let Some(file) = &login.path {
        let _ = writeln!(text, "path = {}", path(file));
    }
    if let Some(container) = &login.container {
        let _ = writeln!(text, "container = {}", quoted(container));
    }
    if let Some(container) = &login.refresh.container {
        let _ = writeln!(text, "[login.refresh]\ncontainer = {}", quoted(container));
        let variables = login.refresh.env.iter();
        let pairs: Vec<String> =
            variables.map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
        if !pairs.is_empty() {
            let _ = writeln!(text, "env = {{ {} }}", pairs.join(", "));
        }
    }
}

/// Says where a login is whenever a unit, which has other variables than this shell, would look for it
/// elsewhere.
pub(super) fn pin(settings: &mut Settings, place: impl Fn(Provider, bool) -> Option<PathBuf>) {
    for login in settings.logins.iter_mut().filter(|login| login.path.is_none()) {
        let here = place(login.provider, true);
        if here != place(login.provider, false) {
            login.path = here;
        }
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{GatewayId, LoginId, SinkId};
    use crate::config::settings::{Apply, GatewaySettings, SinkSettings};
    use crate::daemon::detect;
    use crate::sys::paths::Surroundings;

    fn settings(home: &Path) -> Settings {
        detect::settings(&Surroundings { home: home.to_owned(), variables: [].into() })
    }

    #[test]
    fn every_kind_of_sink_and_gateway_is_written_as_it_is_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".openclaw")).unwrap();
        let mut wanted = settings(home.path());
        wanted.logins[0].refresh.container = Some("claude-proxy".to_owned());
        wanted.logins[0].path = Some(home.path().join("a \"b\"/x.json"));
        let kinds = [
            GatewayKind::Unit { unit: "a.service".to_owned(), scope: UnitScope::System },
            GatewayKind::Compose { dir: home.path().join("claw"), service: "gateway".to_owned() },
            GatewayKind::Container { name: "claw".to_owned() },
        ];
        let more = [
            ("oauth", SinkKind::OAuthJson { path: home.path().join("o.json"), refresh: false }),
            ("env", SinkKind::EnvFile { path: home.path().join(".env"), key: "TOKEN".to_owned() }),
        ];
        let login = wanted.logins[0].id.clone();
        wanted.sinks.extend(more.map(|(id, kind)| SinkSettings {
            id: SinkId::try_new(id).unwrap(),
            login: login.clone(),
            kind,
        }));
        let sinks = vec![wanted.sinks[0].id.clone()];
        wanted.gateways = kinds
            .into_iter()
            .enumerate()
            .map(|(i, kind)| GatewaySettings {
                id: GatewayId::try_new(format!("g{i}")).unwrap(),
                sinks: sinks.clone(),
                kind,
                apply: Apply::Auto,
                probe: None,
                idle: None,
                min_interval: std::time::Duration::from_secs(600),
                unauthorized: None,
            })
            .collect();
        let file = home.path().join("c.toml");
        let mut out =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&file).unwrap();
        std::io::Write::write_all(&mut out, render(&wanted).as_bytes()).unwrap();
        let nowhere = home.path().join("none");
        let dirs =
            crate::config::ConfigDirs { vendor: nowhere.clone(), system: nowhere.clone(), user: nowhere };
        let environment = crate::config::Environment {
            home: home.path().to_owned(),
            vars: std::collections::BTreeMap::new(),
        };
        let read = crate::config::load(&dirs, Some(&file), &environment).unwrap().settings;
        let kinds = |s: &Settings| s.gateways.iter().map(|g| g.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&read), kinds(&wanted));
        assert_eq!(read.logins[0].path, wanted.logins[0].path);
        assert_eq!(read.logins[0].refresh.container, wanted.logins[0].refresh.container);
        assert_eq!(read.sinks, wanted.sinks);
    }

    #[test]
    fn a_place_that_only_this_shell_knows_is_written_down() {
        let home = tempfile::tempdir().unwrap();
        let mut found = settings(home.path());
        found.logins = [("claude", Provider::Claude), ("codex", Provider::Codex)]
            .map(|(id, provider)| detect::default_login(LoginId::try_new(id).unwrap(), provider))
            .to_vec();
        pin(&mut found, |provider, is_here| {
            let place = if is_here && provider == Provider::Codex { "/x" } else { "/usual" };
            Some(PathBuf::from(place))
        });
        assert_eq!(found.logins[0].path, None);
        assert_eq!(found.logins[1].path, Some(PathBuf::from("/x")));
    }
}
