//! What an OpenClaw instance is, without running it (a run costs seconds and hundreds of megabytes):
//! its release, its program, its agents, where its credentials are. Read anew at each look; only the
//! package's manifest, 140 KB in OpenClaw 2026.9.6, is kept while the file stays the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::units;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::format::container::Inside;
use crate::format::openclaw_config;
use crate::format::release::Release;
use crate::format::unit_file::Service;
use crate::sinks::Around;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::search;

/// Package names: `clawdbot` until 2026.1.24, `openclaw` since.
const PACKAGES: [&str; 2] = ["openclaw", "clawdbot"];
/// The store of an agent in the JSON era.
pub const STORE: &str = "auth-profiles.json";
/// The agent that is there without being configured.
pub const MAIN: &str = "main";
/// What of a unit's environment its CLI needs to reach the same instance.
const PASSED_ON: [&str; 4] = ["PATH", PORT, "OPENCLAW_HOME", "OPENCLAW_PROFILE"];
/// The port of a gateway, before its configuration's.
const PORT: &str = "OPENCLAW_GATEWAY_PORT";
/// The configuration in a state directory; the other names are from before 2026.1.29 and still read.
const CONFIGS: [&str; 4] = ["openclaw.json", "clawdbot.json", "moldbot.json", "moltbot.json"];

/// What is known of an instance.
#[derive(Debug)]
pub struct Instance {
    /// Its release: of the package its unit runs, else of the one on the search path, else what its
    /// configuration notes.
    pub release: Option<Release>,
    /// The release of the package has a SQLite store (`openclaw.schemaVersions` in its manifest).
    pub has_schema: bool,
    /// There is a SQLite store.
    pub has_database: bool,
    /// The package's manifest.
    pub manifest: Option<PathBuf>,
    /// When that was put there.
    pub installed_at: Option<Timestamp>,
    /// The command that is its CLI; `None` where there is no package.
    pub program: Option<Vec<String>>,
    /// What its CLI needs beside the user's own environment.
    pub environment: BTreeMap<String, String>,
    /// What of that is secret.
    pub secrets: BTreeMap<String, Secret>,
    /// Its configuration.
    pub config_path: PathBuf,
    /// What that holds, if it can be read.
    pub config: Option<Document>,
    /// Agent ids with their directories.
    pub agents: Vec<(String, PathBuf)>,
}

impl Instance {
    /// The directory of an agent, which need not be there.
    #[must_use]
    pub fn directory(&self, state_dir: &Path, agent: &str) -> PathBuf {
        let known = self.agents.iter().find(|(id, _)| id == agent).map(|(_, directory)| directory.clone());
        known.unwrap_or_else(|| default_directory(state_dir, agent))
    }

    /// The JSON store of an agent, which need not be there.
    #[must_use]
    pub fn store(&self, state_dir: &Path, agent: &str) -> PathBuf {
        self.directory(state_dir, agent).join(STORE)
    }
}

/// A package that was found.
#[derive(Debug, Clone)]
struct Package {
    release: Release,
    has_schema: bool,
    manifest: PathBuf,
}

/// Identity of a file: device, inode, size, times of content and of inode.
type FileIdentity = (u64, u64, u64, (i64, i64), (i64, i64));

/// The manifests that were read.
#[derive(Debug, Default)]
pub struct Manifests(RefCell<BTreeMap<PathBuf, (FileIdentity, Option<Package>)>>);

impl Manifests {
    fn read(&self, manifest: &Path) -> Option<Package> {
        let meta = std::fs::metadata(manifest).ok()?;
        let identity = (
            meta.dev(),
            meta.ino(),
            meta.size(),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        );
        if let Some((known, package)) = self.0.borrow().get(manifest)
            && *known == identity
        {
            return package.clone();
        }
        let package = package_in(manifest);
        self.0.borrow_mut().insert(manifest.to_owned(), (identity, package.clone()));
        package
    }

    /// The package that a program, or the script it runs, belongs to.
    fn package_of(&self, program: &Path) -> Option<Package> {
        let real = std::fs::canonicalize(program).ok()?;
        real.ancestors().skip(1).take(4).find_map(|directory| self.read(&directory.join("package.json")))
    }
}

fn package_in(manifest: &Path) -> Option<Package> {
    let (release, has_schema) = release_of(read(manifest)?.expose())?;
    Some(Package { release, has_schema, manifest: manifest.to_owned() })
}

/// The release that a package's manifest names, and whether that has a SQLite store; `None` for a package
/// that is no OpenClaw.
#[must_use]
pub fn release_of(manifest: &[u8]) -> Option<(Release, bool)> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        name: String,
        version: String,
        openclaw: Option<serde_json::Value>,
    }
    let parsed: Manifest = serde_json::from_slice(manifest).ok()?;
    let is_ours = PACKAGES.contains(&parsed.name.as_str());
    let has_schema = parsed.openclaw.is_some_and(|own| own.get("schemaVersions").is_some());
    Some((Release::parse(&parsed.version)?, has_schema)).filter(|_| is_ours)
}

/// What is known of the instance in `state_dir`.
pub fn probe(state_dir: &Path, around: &Around<'_>) -> Instance {
    if let Some(inside) = &around.container {
        return contained(state_dir, inside.as_deref(), around.search_path);
    }
    let service = around.unit.and_then(|(unit, scope)| units::service_of(unit, scope, around.home));
    let service = service.filter(|service| units::state_dir(service, around.home) == state_dir);
    let service = service.unwrap_or_default();
    let config_path = config_path(state_dir, &service);
    let config = read(&config_path);
    let bytes = config.as_ref().map(Document::expose);
    let touched = bytes.and_then(openclaw_config::last_touched_version);
    let found = program_of(&service, around).or_else(|| program_on(around));
    let agents = agents_of(state_dir, bytes);
    let agent_database = agents.iter().any(|(_, d)| d.join("openclaw-agent.sqlite").exists());
    let (program, package) = found.unzip();
    Instance {
        release: package.as_ref().map(|p| p.release.clone()).or_else(|| Release::parse(&touched?)),
        has_schema: package.as_ref().is_some_and(|p| p.has_schema),
        has_database: agent_database || state_dir.join("state/openclaw.sqlite").exists(),
        installed_at: package.as_ref().and_then(|p| changed_at(&p.manifest)),
        manifest: package.map(|p| p.manifest),
        program,
        environment: environment_of(&service, state_dir, &config_path),
        secrets: service.secrets.into_iter().filter(|(name, _)| name.starts_with("OPENCLAW_")).collect(),
        config_path,
        config,
        agents,
    }
}

/// When a file was put there: npm dates the contents of every package back to 1985.
fn changed_at(file: &Path) -> Option<Timestamp> {
    let meta = std::fs::metadata(file).ok()?;
    Some(Timestamp::from_millis(meta.ctime() * 1000 + meta.ctime_nsec() / 1_000_000))
}

/// The same for an instance in a container whose state directory is mounted from here: no package
/// of this host is its own, and its configuration names places inside.
fn contained(state_dir: &Path, inside: Option<&Inside>, search_path: &str) -> Instance {
    let config_path = config_path(state_dir, &Service::default());
    let config = read(&config_path);
    let bytes = config.as_ref().map(Document::expose);
    let touched = || Release::parse(&bytes.and_then(openclaw_config::last_touched_version)?);
    let on_host = |directory: PathBuf| {
        let found = inside.and_then(|inside| inside.on_host(&directory));
        found.or_else(|| directory.starts_with(state_dir).then_some(directory))
    };
    let agents: Vec<(String, PathBuf)> = agents_of(state_dir, bytes)
        .into_iter()
        .filter_map(|(id, directory)| Some((id, on_host(directory)?)))
        .collect();
    let agent_database = agents.iter().any(|(_, d)| d.join("openclaw-agent.sqlite").exists());
    let engine = |inside: &Inside| match inside.engine.as_str() {
        "" => search::container_engine(search_path).ok().map(str::to_owned),
        noted => Some(noted.to_owned()),
    };
    let program = inside.and_then(|inside| Some((inside, engine(inside)?))).map(|(inside, engine)| {
        let before = [&engine, "exec", &inside.id].map(str::to_owned);
        before.into_iter().chain(inside.cli.iter().cloned()).collect()
    });
    Instance {
        release: inside.and_then(|i| Release::parse(i.release.as_ref()?)).or_else(touched),
        has_schema: false,
        has_database: agent_database || state_dir.join("state/openclaw.sqlite").exists(),
        manifest: None,
        installed_at: None,
        program,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
        config_path,
        agents,
        config,
    }
}

fn config_path(state_dir: &Path, service: &Service) -> PathBuf {
    let named = ["OPENCLAW_CONFIG_PATH", "CLAWDBOT_CONFIG_PATH"];
    let named = named.iter().find_map(|name| service.environment.get(*name)).map(PathBuf::from);
    let there = || CONFIGS.iter().map(|name| state_dir.join(name)).find(|path| path.exists());
    named.or_else(there).unwrap_or_else(|| state_dir.join("openclaw.json"))
}

/// What makes a CLI the instance's own, as `--profile` and `--dev` would.
fn environment_of(service: &Service, state_dir: &Path, config_path: &Path) -> BTreeMap<String, String> {
    let mut environment = service.environment.clone();
    environment.retain(|name, _| PASSED_ON.contains(&name.as_str()));
    environment.insert("OPENCLAW_STATE_DIR".to_owned(), state_dir.display().to_string());
    environment.insert("OPENCLAW_CONFIG_PATH".to_owned(), config_path.display().to_string());
    // `--dev` alone has a port of its own, which its configuration need not name (2026.2.26, 2026.9.6).
    if state_dir.file_name().is_some_and(|name| name == ".openclaw-dev") {
        environment.entry(PORT.to_owned()).or_insert_with(|| "19001".to_owned());
    }
    environment
}

/// A file that is there and can be read.
pub fn read(path: &Path) -> Option<Document> {
    match atomic_file::observe(path) {
        FileState::Present(file) => Some(file.document),
        _ => None,
    }
}

/// The package that the unit runs, with its CLI: what is before the script (Node and its options)
/// and the script, or a program that is one.
fn program_of(service: &Service, around: &Around<'_>) -> Option<(Vec<String>, Package)> {
    service.exec.iter().enumerate().find_map(|(index, word)| {
        let package = Some(word).filter(|w| w.starts_with('/')).map(Path::new)?;
        let package = around.manifests.package_of(package)?;
        Some((service.exec.get(..=index)?.to_vec(), package))
    })
}

/// The package whose program is first on the search path.
fn program_on(around: &Around<'_>) -> Option<(Vec<String>, Package)> {
    let program = PACKAGES.iter().find_map(|name| search::find_on(around.search_path, name))?;
    let package = around.manifests.package_of(&program)?;
    Some((vec![program.display().to_string()], package))
}

/// Agents: the directories under `agents/`, and those that the configuration puts elsewhere.
pub fn agents_of(state_dir: &Path, config: Option<&[u8]>) -> Vec<(String, PathBuf)> {
    let configured = config.map(openclaw_config::agent_dirs).unwrap_or_default();
    let mut ids: BTreeSet<String> = configured.iter().map(|(id, _)| id.clone()).collect();
    let listed = std::fs::read_dir(state_dir.join("agents")).into_iter().flatten().flatten();
    ids.extend(
        listed
            .filter(|e| e.path().join("agent").is_dir())
            .filter_map(|e| e.file_name().to_str().map(str::to_owned)),
    );
    let directory_of = |id: &String| {
        let elsewhere = configured.iter().find(|(agent, _)| agent == id).map(|(_, dir)| PathBuf::from(dir));
        elsewhere.filter(|d| d.is_absolute()).unwrap_or_else(|| default_directory(state_dir, id))
    };
    ids.iter().map(|id| (id.clone(), directory_of(id))).collect()
}

/// Where an agent is unless the configuration says otherwise.
fn default_directory(state_dir: &Path, agent: &str) -> PathBuf {
    state_dir.join("agents").join(agent).join("agent")
}
