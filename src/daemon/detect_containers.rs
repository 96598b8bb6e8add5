//! What containers add to the detected settings: gateways of OpenClaw in them, and Claude Code in them.
//! Engines are asked and nothing is changed; only `setup` does that, because a status must not wait for
//! an engine. Facts: OpenClaw's compose file and its image (2026.2.26, 2026.9.6: service
//! `openclaw-gateway`, `/home/node/.openclaw`, `${ANTHROPIC_OAUTH_TOKEN}` from `.env`).

use std::path::{Path, PathBuf};

use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::config::settings::{
    Agents, Apply, GatewayKind, GatewaySettings, LoginSettings, Settings, SinkKind, SinkSettings,
};
use crate::daemon::apply;
use crate::daemon::world::World;
use crate::daemon::{detect, refresh};
use crate::format::dotenv;
use crate::format::standing::{Seen, Standing};
use crate::gateway::engine::{self, Engine};
use crate::gateway::unit::Managers;
use crate::gateway::{Means, engine::Trouble};
use crate::providers;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::paths::Surroundings;
use crate::sys::search;

/// The variable of an OpenClaw's environment file that held a token of Anthropic's (2026.2.26).
const VARIABLE: &str = "ANTHROPIC_OAUTH_TOKEN";
/// What overrides where Claude Code sends its requests.
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
/// State directories of OpenClaw inside an image, newest name first.
const STATE_DIRS: [&str; 2] = [".openclaw", ".clawdbot"];

/// A container that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contained {
    /// The engine's command line.
    pub engine: Engine,
    /// The container.
    pub seen: Seen,
    /// It looks like a gateway of OpenClaw.
    pub is_gateway: bool,
    /// Where Claude Code in it keeps its login, as a path inside; `None` without a Claude Code.
    pub claude: Option<PathBuf>,
}

/// What the engines of this host have, and why one could not be asked.
#[derive(Debug, Default)]
pub struct Listing {
    /// Containers that look like a gateway, or have a Claude Code.
    pub found: Vec<Contained>,
    /// Engines that are there and do not answer, in words.
    pub silent: Vec<String>,
}

/// Adds what the engines of this host have to detected settings. Answers which engines are there and do
/// not answer, in words.
pub async fn complete(settings: &mut Settings, surroundings: &Surroundings) -> Vec<String> {
    let world = World::new(settings.clone(), surroundings.clone());
    let listing = list(&apply::means(&world, &Managers::default())).await;
    let usual = providers::default_path(Provider::Claude, &surroundings.home, &surroundings.variables);
    let before = settings.logins.clone();
    add(settings, &listing.found, usual.as_deref());
    if refresh::cli_for(surroundings, Provider::Claude).is_some() {
        own_cli_first(settings, &before, usual.as_deref());
    }
    listing.silent
}

/// A login that this host has, with the CLI for it, is renewed by that CLI: a container that has the file
/// as well (one to develop in) comes and goes.
fn own_cli_first(settings: &mut Settings, before: &[LoginSettings], usual: Option<&Path>) {
    for login in &mut settings.logins {
        let was = before.iter().find(|known| known.id == login.id);
        let place = was.and_then(|was| was.path.as_deref().or(usual));
        if let (Some(was), true) = (was, place.is_some_and(Path::exists)) {
            login.clone_from(was);
        }
    }
}

/// Asks every engine that is there. What runs is asked whether it has a Claude Code and where its login
/// is, by a shell in it that changes nothing; one that has no shell has none.
pub async fn list(means: &Means) -> Listing {
    let mut listing = Listing::default();
    let path = means.environment.get("PATH").map_or("", String::as_str);
    for engine in search::container_engines(path) {
        let listed = match engine::listed(engine, None, means).await {
            Ok(listed) => listed,
            Err(Trouble::Unavailable(why) | Trouble::Unknown(why) | Trouble::Failed(why)) => {
                listing.silent.push(why);
                continue;
            }
        };
        for seen in listed.seen {
            let is_gateway = is_gateway(&seen);
            let claude = if may_have_claude(&seen) { claude_in(engine, &seen, means).await } else { None };
            if is_gateway || claude.is_some() {
                listing.found.push(Contained { engine, seen, is_gateway, claude });
            }
        }
    }
    listing
}

/// A container looks like a gateway when it runs one, by its command, its service or its name.
fn is_gateway(seen: &Seen) -> bool {
    let is_of_openclaw =
        |word: &str| ["openclaw", "clawdbot", "moltbot"].iter().any(|name| word.contains(name));
    let has_state = state_inside(seen).is_some();
    let names = [seen.name.as_str(), seen.project.as_ref().map_or("", |project| project.service.as_str())];
    let runs = seen.command.iter().any(|word| word == "gateway");
    let is_named = names.iter().any(|name| is_of_openclaw(name) && name.contains("gateway"));
    let is_ours = has_state || is_of_openclaw(&seen.image) || names.iter().any(|name| is_of_openclaw(name));
    let is_one_off = seen.project.as_ref().is_some_and(|project| project.is_one_off);
    !is_one_off && is_ours && (runs || is_named)
}

fn may_have_claude(seen: &Seen) -> bool {
    let is_named =
        [&seen.name, &seen.image].into_iter().chain(&seen.command).any(|word| word.contains("claude"));
    is_named || seen.mounts.iter().any(|mount| mount.inside.ends_with(".claude"))
}

async fn claude_in(engine: Engine, seen: &Seen, means: &Means) -> Option<PathBuf> {
    const ASK: &str =
        "command -v claude >/dev/null && echo \"${CLAUDE_CONFIG_DIR:-$HOME/.claude}/.credentials.json\"";
    let said = engine::ask(engine, &["exec", &seen.id, "sh", "-c", ASK], means).await.ok()?;
    let text = String::from_utf8_lossy(said.expose()).into_owned();
    Some(PathBuf::from(text.lines().next()?)).filter(|path| path.is_absolute())
}

/// The state directory of OpenClaw in a container, and where it is on this host.
fn state_inside(seen: &Seen) -> Option<PathBuf> {
    let state = seen.mounts.iter().find(|mount| STATE_DIRS.iter().any(|name| mount.inside.ends_with(name)));
    state.map(|mount| mount.host.clone())
}

/// Adds what was found: a gateway for each OpenClaw, with its state directory where this host has it and
/// the variable of its project where there is one; and for Claude Code's login the container it is
/// renewed in. What is known already is not added twice. `usual` is where this host's own Claude Code
/// keeps its login.
pub fn add(settings: &mut Settings, found: &[Contained], usual: Option<&Path>) {
    for contained in found {
        if let Some(inside) = &contained.claude {
            add_login(settings, &contained.seen, inside, usual);
        }
    }
    // What is stopped may be what a unit has taken the place of.
    let runs = |contained: &&Contained| contained.is_gateway && contained.seen.standing != Standing::Stopped;
    for contained in found.iter().filter(runs) {
        add_gateway(settings, &contained.seen);
    }
}

fn add_login(settings: &mut Settings, seen: &Seen, inside: &Path, usual: Option<&Path>) {
    let on_host = seen.on_host(inside);
    let is_claude = |login: &LoginSettings| login.provider == Provider::Claude;
    let place = |login: &LoginSettings| login.path.clone().or_else(|| usual.map(Path::to_owned));
    let has_this = |login: &LoginSettings| login.container.is_none() && place(login) == on_host;
    // One that has no file stands for whatever is found.
    let is_blank =
        |login: &LoginSettings| login.container.is_none() && place(login).is_none_or(|path| !path.exists());
    let here =
        settings.logins.iter().position(|login| is_claude(login) && (has_this(login) || is_blank(login)));
    let is_taken = |id: &LoginId| settings.logins.iter().any(|login| &login.id == id);
    let id = match here.and_then(|at| settings.logins.get(at)) {
        Some(login) => Some(login.id.clone()),
        None => free(&format!("claude-{}", seen.name), is_taken, LoginId::try_new),
    };
    let Some(id) = id else { return };
    let mut login = detect::default_login(id, Provider::Claude);
    login.refresh.container = Some(seen.name.clone());
    if seen.variables.iter().any(|name| name == BASE_URL) {
        login.refresh.env.insert(BASE_URL.to_owned(), String::new());
    }
    match on_host {
        Some(path) => login.path = Some(path),
        None => {
            login.path = Some(inside.to_owned());
            login.container = Some(seen.name.clone());
        }
    }
    match here.and_then(|at| settings.logins.get_mut(at)) {
        Some(known) => *known = login,
        None => settings.logins.push(login),
    }
}

fn add_gateway(settings: &mut Settings, seen: &Seen) {
    let kind = match &seen.project {
        Some(project) => GatewayKind::Compose { dir: project.dir.clone(), service: project.service.clone() },
        None => GatewayKind::Container { name: seen.name.clone() },
    };
    if settings.gateways.iter().any(|gateway| gateway.kind == kind) {
        return;
    }
    let Some(login) = settings.logins.iter().find(|login| login.provider == Provider::Claude) else { return };
    let login = login.id.clone();
    let stem = seen.project.as_ref().map_or(&seen.name, |project| &project.name).clone();
    let mut sinks = Vec::new();
    if let Some(state_dir) = state_inside(seen) {
        let known = settings.sinks.iter().find(
            |sink| matches!(&sink.kind, SinkKind::OpenClaw { state_dir: known, .. } if known == &state_dir),
        );
        let kind = SinkKind::OpenClaw {
            state_dir,
            agents: Agents::All,
            profile: "anthropic:default".to_owned(),
            manage: false,
        };
        match known.map(|sink| sink.id.clone()) {
            Some(id) => sinks.push(id),
            None => sinks.extend(added(settings, &stem, &login, kind)),
        }
    }
    if let Some(path) = variable_file(seen) {
        let kind = SinkKind::EnvFile { path, key: VARIABLE.to_owned() };
        sinks.extend(added(settings, &format!("{stem}-env"), &login, kind));
    }
    let is_taken = |id: &GatewayId| settings.gateways.iter().any(|gateway| &gateway.id == id);
    let Some(id) = free(&stem, is_taken, GatewayId::try_new) else { return };
    // A unit that a state directory has beside its container is not the one that reads it.
    for gateway in &mut settings.gateways {
        gateway.sinks.retain(|sink| !sinks.contains(sink));
    }
    settings.gateways.retain(|gateway| !gateway.sinks.is_empty());
    if !sinks.is_empty() {
        settings.gateways.push(GatewaySettings {
            id,
            sinks,
            kind,
            apply: Apply::Auto,
            probe: None,
            idle: None,
            min_interval: std::time::Duration::from_secs(600),
            unauthorized: None,
        });
    }
}

fn added(settings: &mut Settings, name: &str, login: &LoginId, kind: SinkKind) -> Option<SinkId> {
    let is_taken = |id: &SinkId| settings.sinks.iter().any(|sink| &sink.id == id);
    let id = free(name, is_taken, SinkId::try_new)?;
    settings.sinks.push(SinkSettings { id: id.clone(), login: login.clone(), kind });
    Some(id)
}

/// An id like `name` that nobody has.
fn free<T, E>(name: &str, is_taken: impl Fn(&T) -> bool, make: impl Fn(String) -> Result<T, E>) -> Option<T> {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    let numbered = (2..100).map(|number| format!("{plain}-{number}"));
    let mut names = std::iter::once(plain.to_owned()).chain(numbered).filter_map(|name| make(name).ok());
    names.find(|id| !is_taken(id))
}

/// The `.env` of the project, where that has the variable.
fn variable_file(seen: &Seen) -> Option<PathBuf> {
    let path = seen.project.as_ref()?.dir.join(".env");
    let FileState::Present(file) = atomic_file::observe(&path) else { return None };
    dotenv::held(file.document.expose(), VARIABLE).ok()?.map(|_| path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests make files of their own")]
    use super::*;
    use serde_json::{Value, json};

    fn seen(name: &str, container: Value) -> Seen {
        let mut whole = json!({"Id": "c0", "Name": name, "State": {"Running": true}, "Config": {}});
        if let (Some(whole), Value::Object(container)) = (whole.as_object_mut(), container) {
            whole.extend(container);
        }
        Seen::all(json!([whole]).to_string().as_bytes()).unwrap().remove(0)
    }

    fn labels(dir: &Path, service: &str) -> Value {
        json!({
            "com.docker.compose.project": "openclaw", "com.docker.compose.service": service,
            "com.docker.compose.project.working_dir": dir, "com.docker.compose.oneoff": "False",
        })
    }

    fn bind(host: &str, inside: &str) -> Value {
        json!({"Type": "bind", "Source": host, "Destination": inside, "RW": true})
    }

    fn empty() -> Settings {
        let home = tempfile::tempdir().unwrap();
        let surroundings = crate::sys::paths::Surroundings {
            home: home.path().to_owned(),
            variables: std::collections::BTreeMap::new(),
        };
        let mut settings = detect::settings(&surroundings);
        settings.logins.clear();
        settings.logins.push(detect::default_login(LoginId::try_new("claude").unwrap(), Provider::Claude));
        settings
    }

    #[test]
    fn the_gateway_of_a_compose_project_is_told_from_its_cli() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "ANTHROPIC_OAUTH_TOKEN=sk-ant-oat01-made-up\n").unwrap();
        let mounts = json!([bind("/home/a/.openclaw", "/home/node/.openclaw")]);
        let gateway = seen(
            "/openclaw-openclaw-gateway-1",
            json!({"Path": "docker-entrypoint.sh", "Args": ["node", "dist/index.js", "gateway", "--bind", "lan"], "Mounts": mounts,
                   "Config": {"Image": "openclaw:local", "Labels": labels(dir.path(), "openclaw-gateway")}}),
        );
        let cli = seen(
            "/openclaw-openclaw-cli-1",
            json!({"Path": "node", "Args": ["dist/index.js"], "Mounts": mounts,
                   "Config": {"Image": "openclaw:local", "Labels": labels(dir.path(), "openclaw-cli")}}),
        );
        assert!(is_gateway(&gateway) && !is_gateway(&cli));
        let mut settings = empty();
        let found = [Contained { engine: "docker", seen: gateway, is_gateway: true, claude: None }];
        add(&mut settings, &found, None);
        add(&mut settings, &found, None);
        let [gateway] = settings.gateways.as_slice() else { panic!("{:?}", settings.gateways) };
        let kind =
            GatewayKind::Compose { dir: dir.path().to_owned(), service: "openclaw-gateway".to_owned() };
        assert_eq!((gateway.id.as_str(), &gateway.kind), ("openclaw", &kind));
        let ids: Vec<&str> = gateway.sinks.iter().map(SinkId::as_str).collect();
        assert_eq!(ids, ["openclaw", "openclaw-env"]);
        assert!(
            matches!(&settings.sinks[0].kind, SinkKind::OpenClaw { state_dir, .. } if state_dir == Path::new("/home/a/.openclaw"))
        );
        assert!(matches!(&settings.sinks[1].kind, SinkKind::EnvFile { key, .. } if key == VARIABLE));
    }

    #[test]
    fn a_claude_in_a_container_is_renewed_there_and_read_where_its_file_is() {
        let proxy = json!({"Mounts": [bind("/srv/claude", "/root/.claude")], "Config": {"Env": ["ANTHROPIC_BASE_URL=http://x"]}});
        let proxy = seen("/claude-proxy", proxy);
        assert!(may_have_claude(&proxy) && !is_gateway(&proxy));
        let mut settings = empty();
        let inside = || Some(PathBuf::from("/root/.claude/.credentials.json"));
        add(
            &mut settings,
            &[Contained { engine: "docker", seen: proxy, is_gateway: false, claude: inside() }],
            None,
        );
        let login = &settings.logins[0];
        assert_eq!((login.id.as_str(), settings.logins.len()), ("claude", 1));
        assert_eq!(login.path.as_deref(), Some(Path::new("/srv/claude/.credentials.json")));
        assert_eq!(
            (login.container.as_ref(), login.refresh.container.as_deref()),
            (None, Some("claude-proxy"))
        );
        assert_eq!(login.refresh.env.get(BASE_URL).map(String::as_str), Some(""));

        let alone = seen("/claude-alone", json!({}));
        let mut settings = empty();
        add(
            &mut settings,
            &[Contained { engine: "docker", seen: alone, is_gateway: false, claude: inside() }],
            None,
        );
        let login = &settings.logins[0];
        assert_eq!((login.path.clone(), login.container.as_deref()), (inside(), Some("claude-alone")));
        assert!(login.refresh.env.is_empty());

        // Beside a login of this host it is another one.
        let here = tempfile::NamedTempFile::new().unwrap();
        let mut settings = empty();
        let alone = seen("/claude-alone", json!({}));
        let found = [Contained { engine: "docker", seen: alone, is_gateway: false, claude: inside() }];
        add(&mut settings, &found, Some(here.path()));
        let ids: Vec<&str> = settings.logins.iter().map(|login| login.id.as_str()).collect();
        assert_eq!(ids, ["claude", "claude-claude-alone"]);
    }

    #[test]
    fn a_plain_container_is_named_by_itself() {
        let claw = json!({"Path": "openclaw", "Args": ["gateway", "run"], "Mounts": [bind("/srv/claw", "/data/.openclaw")]});
        let claw = seen("/My_Claw", claw);
        assert!(is_gateway(&claw));
        let mut settings = empty();
        add(
            &mut settings,
            &[Contained { engine: "podman", seen: claw, is_gateway: true, claude: None }],
            None,
        );
        assert_eq!(settings.gateways[0].id.as_str(), "my-claw");
        assert_eq!(settings.gateways[0].kind, GatewayKind::Container { name: "My_Claw".to_owned() });
    }
}
