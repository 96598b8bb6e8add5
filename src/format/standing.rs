//! How containers stand: what an engine's `inspect` says of their life, of who made them, and of the
//! variables they were created with. Facts: Docker Engine 20.10.24, Podman 4.3.1, Compose 1.29.2 and
//! 2.26.1 (its labels).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::container::across;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;

/// What it takes to look at a container from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The container's id.
    pub id: String,
    /// Its name, without the slash that Docker puts before it.
    pub name: String,
    /// The id of its image.
    pub image_id: String,
    /// The image as it was asked for.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it last started, as the engine writes it: another text is another start.
    pub started: String,
    /// How it stands.
    pub standing: Standing,
    /// The number of its first process on the engine's host; 0 while there is none.
    pub pid: u32,
    /// The SELinux label of its processes; empty where there is none.
    pub label: String,
    /// What of the host it sees.
    pub mounts: Vec<Mounted>,
    /// The names of the variables it was created with; their values may be secrets.
    pub variables: Vec<String>,
    /// The project it belongs to.
    pub project: Option<Project>,
}

/// A directory or file of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// On the host.
    pub host: PathBuf,
    /// In the container.
    pub inside: PathBuf,
    /// It can be written there.
    pub is_writable: bool,
    /// It was labelled for the container (`:z`, `:Z`).
    pub is_labelled: bool,
}

/// What Compose notes on what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name of the project.
    pub name: String,
    /// The service.
    pub service: String,
    /// The project directory.
    pub dir: PathBuf,
    /// Its files, as Compose noted them: absolute since 2.0, before that as they were given.
    pub files: Vec<PathBuf>,
    /// The environment files that it was told of, for what its files refer to.
    pub env_files: Vec<PathBuf>,
    /// It was made by the first generation, which names containers otherwise.
    pub is_first_generation: bool,
    /// It was made by `run` for one command and is none of the service's own.
    pub is_one_off: bool,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of it runs.
    Stopped,
    /// It runs, and its health check has not said anything yet.
    Starting,
    /// It runs, and has no health check.
    Up,
    /// It runs, and its health check is content.
    Healthy,
    /// It runs, and its health check fails.
    Unhealthy,
    /// It ends again and again, at last with this exit code.
    Restarting(i64),
}

impl Seen {
    /// Reads the answer to `inspect` about any number of containers; `None` when it is not understood.
    #[must_use]
    pub fn all(answer: &[u8]) -> Option<Vec<Self>> {
        let containers: Vec<Inspected> = serde_json::from_slice(answer).ok()?;
        Some(containers.into_iter().map(Self::of).collect())
    }

    fn of(container: Inspected) -> Self {
        let Inspected { id, name, image, state, config, path, args, mounts, process_label } = container;
        let standing = state.standing();
        Self {
            name: name.trim_start_matches('/').to_owned(),
            image_id: image,
            image: config.image,
            command: std::iter::once(path).chain(args).filter(|word| !word.is_empty()).collect(),
            standing,
            pid: state.pid,
            started: state.started_at,
            label: process_label,
            mounts: mounts.into_iter().map(Mounted::of).filter(Mounted::is_of_host).collect(),
            variables: config.env.unwrap_or_default().into_iter().map(|Name(name)| name).collect(),
            project: Project::of(&config.labels.unwrap_or_default()),
            id,
        }
    }

    /// When it last started; `None` when the engine's way of writing that is not understood.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        let since = humantime::parse_rfc3339(&self.started).ok()?.duration_since(SystemTime::UNIX_EPOCH);
        Some(Timestamp::from_millis(i64::try_from(since.ok()?.as_millis()).ok()?))
    }

    /// Where a path of the host is in the container, and by which mount.
    #[must_use]
    pub fn place_of(&self, path: &Path) -> Option<(PathBuf, &Mounted)> {
        across(&self.mounts, path, |mount| (&mount.host, &mount.inside))
    }

    /// Where a path of the container is on the host; `None` for what is the container's own.
    #[must_use]
    pub fn on_host(&self, path: &Path) -> Option<PathBuf> {
        across(&self.mounts, path, |mount| (&mount.inside, &mount.host)).map(|(path, _)| path)
    }
}

/// Whether a container holds a token in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// In the variable of that name, or, where there is none, in another one.
    Current,
    /// The variable holds something else.
    Other,
    /// There is no such variable, and no other holds it.
    Nowhere,
}

/// Whether the containers of an answer to `inspect` were created with `token` in `variable`; the worst
/// of them counts. `None` when the answer is not understood.
#[must_use]
pub fn held(answer: &[u8], variable: &str, token: &Secret) -> Option<Held> {
    let containers: Vec<Created<'_>> = serde_json::from_slice(answer).ok()?;
    let verdicts = containers.iter().map(|container| {
        let variables = container.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
        let mut is_there = false;
        for (name, value) in variables {
            if value == token.expose() {
                return Held::Current;
            }
            is_there |= name == variable;
        }
        if is_there { Held::Other } else { Held::Nowhere }
    });
    verdicts.max_by_key(|held| *held as u8)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created<'a> {
    #[serde(borrow)]
    config: Environment<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment<'a> {
    #[serde(borrow, default)]
    env: Option<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    path: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    mounts: Vec<Mount>,
    #[serde(default)]
    process_label: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    #[serde(default)]
    restarting: bool,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    health: Option<Health>,
}

impl State {
    fn standing(&self) -> Standing {
        let health = self.health.as_ref().map_or("", |health| health.status.as_str());
        match (self.running, health) {
            // Docker says of one that ends again and again that it runs as well.
            _ if self.restarting => Standing::Restarting(self.exit_code),
            (false, _) => Standing::Stopped,
            (true, "starting") => Standing::Starting,
            (true, "unhealthy") => Standing::Unhealthy,
            (true, "healthy") => Standing::Healthy,
            (true, _) => Standing::Up,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    env: Option<Vec<Name>>,
}

/// The name in `NAME=VALUE`.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entry = Zeroizing::new(String::deserialize(deserializer)?);
        Ok(Self(entry.split('=').next().unwrap_or_default().to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
    destination: PathBuf,
    #[serde(default)]
    mode: String,
    #[serde(default, rename = "RW")]
    is_writable: bool,
}

impl Mounted {
    fn of(mount: Mount) -> Self {
        Self {
            is_labelled: mount.mode.split(',').any(|option| option.eq_ignore_ascii_case("z")),
            host: mount.source,
            inside: mount.destination,
            is_writable: mount.is_writable,
        }
    }

    fn is_of_host(&self) -> bool {
        self.host.is_absolute() && self.inside.is_absolute()
    }
}

impl Project {
    fn of(labels: &std::collections::BTreeMap<String, String>) -> Option<Self> {
        let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).map(String::as_str);
        let paths = |name: &str| {
            let listed = label(name).unwrap_or_default().split(',').filter(|path| !path.is_empty());
            listed.map(PathBuf::from).collect()
        };
        Some(Self {
            name: label("project")?.to_owned(),
            service: label("service")?.to_owned(),
            dir: PathBuf::from(label("project.working_dir")?),
            files: paths("project.config_files"),
            env_files: paths("project.environment_file"),
            is_first_generation: label("version").is_some_and(|version| version.starts_with("1.")),
            is_one_off: label("oneoff").is_some_and(|word| word.eq_ignore_ascii_case("true")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn inspected(state: Value, labels: Value) -> Vec<u8> {
        json!([{
            "Id": "c0", "Name": "/claw_gw_1", "State": state, "Path": "docker-entrypoint.sh",
            "Args": ["node", "dist/index.js", "gateway"], "ProcessLabel": "",
            "Config": {"Image": "openclaw:local", "Labels": labels, "Env": ["A=1", "TOK=sk-ant-oat01-one", "B=x=y"]},
            "Mounts": [
                {"Type": "bind", "Source": "/home/a/claw", "Destination": "/home/node/.openclaw", "Mode": "rw,z", "RW": true},
                {"Type": "bind", "Source": "/home/a/one.json", "Destination": "/one.json", "Mode": "", "RW": false},
                {"Type": "tmpfs", "Source": "", "Destination": "/tmp"},
            ],
        }])
        .to_string()
        .into_bytes()
    }

    fn standing(state: Value) -> Standing {
        Seen::all(&inspected(state, Value::Null)).unwrap().remove(0).standing
    }

    #[test]
    fn a_container_stands_as_its_health_check_says_where_it_has_one() {
        for (state, wanted) in [
            (json!({"Running": false, "ExitCode": 137}), Standing::Stopped),
            (json!({"Running": true}), Standing::Up),
            (json!({"Running": true, "Health": {"Status": "", "Log": null}}), Standing::Up),
            (json!({"Running": true, "Health": {"Status": "healthy"}}), Standing::Healthy),
            (json!({"Running": true, "Health": {"Status": "starting"}}), Standing::Starting),
            (json!({"Running": true, "Health": {"Status": "unhealthy"}}), Standing::Unhealthy),
            (json!({"Running": true, "Restarting": true, "ExitCode": 3}), Standing::Restarting(3)),
        ] {
            assert_eq!(standing(state.clone()), wanted, "{state}");
        }
    }

    #[test]
    fn composes_labels_say_whose_it_is_in_both_generations() {
        let running = json!({"Running": true, "StartedAt": "2026-11-21T20:01:14.716521532Z"});
        let labels = json!({
            "com.docker.compose.project": "claw", "com.docker.compose.service": "gw", "com.docker.compose.version": "1.29.2",
            "com.docker.compose.project.working_dir": "/home/a/claw", "com.docker.compose.oneoff": "False",
            "com.docker.compose.project.config_files": "docker-compose.yml,extra.yml",
        });
        let seen = Seen::all(&inspected(running.clone(), labels)).unwrap().remove(0);
        let project = seen.project.clone().unwrap();
        assert_eq!((project.name.as_str(), project.service.as_str()), ("claw", "gw"));
        assert!(project.is_first_generation && !project.is_one_off && project.env_files.is_empty());
        assert_eq!(project.files, [PathBuf::from("docker-compose.yml"), PathBuf::from("extra.yml")]);
        assert_eq!(seen.name, "claw_gw_1");
        assert_eq!(seen.started_at(), Some(Timestamp::from_millis(1_795_291_274_716)));
        assert_eq!(Seen::all(&inspected(running, json!({"a": "b"}))).unwrap()[0].project, None);
    }

    #[test]
    fn paths_are_found_on_both_sides_of_a_mount() {
        let seen = Seen::all(&inspected(json!({"Running": true}), Value::Null)).unwrap().remove(0);
        let inside =
            |path: &str| seen.place_of(Path::new(path)).map(|(inside, mount)| (inside, mount.is_writable));
        assert_eq!(inside("/home/a/claw/x.json"), Some(("/home/node/.openclaw/x.json".into(), true)));
        assert_eq!(inside("/home/a/one.json"), Some(("/one.json".into(), false)));
        assert_eq!(inside("/home/a/two.json"), None);
        assert_eq!(seen.on_host(Path::new("/one.json")), Some("/home/a/one.json".into()));
        assert_eq!(seen.on_host(Path::new("/tmp/x")), None);
        assert!(seen.mounts[0].is_labelled && !seen.mounts[1].is_labelled);
    }

    #[test]
    fn a_token_is_looked_for_in_the_variable_and_else_in_any() {
        let answer = inspected(json!({"Running": true}), Value::Null);
        let token = |text: &str| Secret::new(text.to_owned());
        assert_eq!(held(&answer, "TOK", &token("sk-ant-oat01-one")), Some(Held::Current));
        assert_eq!(held(&answer, "RENAMED", &token("sk-ant-oat01-one")), Some(Held::Current));
        assert_eq!(held(&answer, "TOK", &token("sk-ant-oat01-two")), Some(Held::Other));
        assert_eq!(held(&answer, "NEW", &token("sk-ant-oat01-two")), Some(Held::Nowhere));
        assert_eq!(held(&answer, "B", &token("x=y")), Some(Held::Current));
        assert_eq!(held(b"{}", "B", &token("x")), None);
    }

    #[test]
    fn an_odd_answer_is_no_container() {
        for odd in ["", "{}", "[{\"Id\":\"c\"}]", "[7]"] {
            assert_eq!(Seen::all(odd.as_bytes()), None, "{odd}");
        }
        assert_eq!(Seen::all(b"[]"), Some(Vec::new()));
    }
}
