//! OpenClaw instances of the JSON era: release, agents and stores under a state directory. Other
//! instances are seen and refused. Facts: OpenClaw 2026.2.26 (JSON era), 2026.9.6 (SQLite era).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Place, file_place};
use crate::base::code::Code;
use crate::base::id::SinkId;
use crate::config::settings::{Agents, ProfileForm};
use crate::core::model::TargetContent;
use crate::core::windows::{self, Window};
use crate::format::auth_profiles::EntryForm;
use crate::format::openclaw_config;
use crate::format::release::Release;
use crate::sys::atomic_file::{self, FileState};

const STORE: &str = "auth-profiles.json";
const MAIN: &str = "main";
/// Package names: `clawdbot` until 2026.1.24, `openclaw` since.
const PACKAGES: [&str; 2] = ["openclaw", "clawdbot"];

/// What is known of an instance.
struct Instance {
    release: Option<Release>,
    /// The release of the package has a SQLite store (`openclaw.schemaVersions` in its manifest).
    has_schema: bool,
    /// Agent ids with their directories.
    agents: Vec<(String, PathBuf)>,
    has_state_database: bool,
}

/// The targets of a sink over the agents of one instance.
pub fn observe(
    sink: &SinkId,
    state_dir: &Path,
    agents: &Agents,
    profile: &str,
    form: Option<ProfileForm>,
    search_path: &str,
) -> Vec<Place> {
    let instance = probe(state_dir, search_path);
    let refusal = refusal_of(&instance);
    let mut places = Vec::new();
    for (agent, directory) in wanted(&instance, state_dir, agents) {
        let mut place = file_place(sink, &agent, &directory.join(STORE));
        place.observed.release = instance.release.as_ref().map(ToString::to_string);
        match &refusal {
            Err((code, why)) => place.observed.content = TargetContent::Refused(*code, why.clone()),
            Ok(window) => {
                place.lock = Some(window.lock);
                place.observed.is_read_live = window.is_read_live;
                place.observed.form = Some(entry_form(form.unwrap_or(ProfileForm::Auto), window));
                judge_store(&mut place, state_dir, &directory, profile, &instance);
            }
        }
        places.push(place);
    }
    places
}

/// The files whose change concerns the stores of an instance.
pub fn watched(state_dir: &Path, agents: &Agents) -> Vec<PathBuf> {
    let config = config_of(state_dir);
    let mut files = vec![state_dir.join("openclaw.json")];
    let instance = Instance {
        release: None,
        has_schema: false,
        agents: agents_of(state_dir, config.as_deref()),
        has_state_database: false,
    };
    files
        .extend(wanted(&instance, state_dir, agents).into_iter().map(|(_, directory)| directory.join(STORE)));
    files
}

fn probe(state_dir: &Path, search_path: &str) -> Instance {
    let config = config_of(state_dir);
    let package = package_on(search_path);
    let touched = config.as_deref().and_then(openclaw_config::last_touched_version);
    let (packaged, has_schema) = package.map_or((None, false), |p| (Some(p.0), p.1));
    Instance {
        release: packaged.or_else(|| Release::parse(&touched?)),
        has_schema,
        agents: agents_of(state_dir, config.as_deref()),
        has_state_database: state_dir.join("state/openclaw.sqlite").exists(),
    }
}

fn config_of(state_dir: &Path) -> Option<Vec<u8>> {
    read(&state_dir.join("openclaw.json"))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    match atomic_file::observe(path) {
        FileState::Present(file) => Some(file.document.expose().to_vec()),
        _ => None,
    }
}

/// Release of the package whose program is first on the search path, and whether it has a SQLite
/// schema: from its manifest, without running it (a run costs seconds and hundreds of megabytes).
fn package_on(search_path: &str) -> Option<(Release, bool)> {
    let program = std::env::split_paths(search_path)
        .flat_map(|directory| PACKAGES.map(|name| directory.join(name)))
        .find(|candidate| candidate.is_file())?;
    let real = std::fs::canonicalize(program).ok()?;
    for directory in real.ancestors().skip(1).take(4) {
        let Some(manifest) = read(&directory.join("package.json")) else { continue };
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).ok()?;
        let is_ours = manifest.get("name").and_then(|n| n.as_str()).is_some_and(|n| PACKAGES.contains(&n));
        if is_ours {
            let release = Release::parse(manifest.get("version")?.as_str()?)?;
            return Some((release, manifest.pointer("/openclaw/schemaVersions").is_some()));
        }
    }
    None
}

/// Agents: the directories under `agents/`, and those that the configuration puts elsewhere.
fn agents_of(state_dir: &Path, config: Option<&[u8]>) -> Vec<(String, PathBuf)> {
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

fn default_directory(state_dir: &Path, agent: &str) -> PathBuf {
    state_dir.join("agents").join(agent).join("agent")
}

/// The agents that a sink is for. With `all`, an agent without a store of its own is left to
/// OpenClaw, which copies the main agent's on first use; only the main store may be made here.
fn wanted(instance: &Instance, state_dir: &Path, agents: &Agents) -> Vec<(String, PathBuf)> {
    let of = |id: &str| {
        let known = instance.agents.iter().find(|(agent, _)| agent == id).cloned();
        known.unwrap_or_else(|| (id.to_owned(), default_directory(state_dir, id)))
    };
    match agents {
        Agents::Named(ids) => ids.iter().map(|id| of(id)).collect(),
        Agents::All => {
            let mut found: Vec<_> = instance
                .agents
                .iter()
                .filter(|(id, directory)| id == MAIN || directory.join(STORE).exists())
                .cloned()
                .collect();
            if !found.iter().any(|(id, _)| id == MAIN) {
                found.insert(0, of(MAIN));
            }
            found
        }
    }
}

fn refusal_of(instance: &Instance) -> Result<Window, (Code, String)> {
    let agent_database = instance.agents.iter().any(|(_, d)| d.join("openclaw-agent.sqlite").exists());
    if instance.has_state_database || agent_database || instance.has_schema {
        return Err((
            Code::StoreRetired,
            "this OpenClaw keeps credentials in SQLite; its JSON store must not be written any more".into(),
        ));
    }
    let Some(release) = &instance.release else {
        return Err((
            Code::VersionUnsupported,
            "the release of this OpenClaw is not known; nothing is written".into(),
        ));
    };
    windows::window_of(release).ok_or_else(|| {
        let why = format!("the credential store of OpenClaw {release} is not known to be safe to write");
        (Code::VersionUnsupported, why)
    })
}

/// `auto` is access-only everywhere: the refresh token belongs to the CLI, and a second refresher
/// of one family logs the first one out.
fn entry_form(form: ProfileForm, window: &Window) -> EntryForm {
    match form {
        ProfileForm::Auto | ProfileForm::Token => EntryForm::Token,
        ProfileForm::OAuth => EntryForm::OAuth { with_refresh: window.may_hold_refresh },
    }
}

/// What else forbids writing this store.
fn judge_store(place: &mut Place, state_dir: &Path, directory: &Path, profile: &str, instance: &Instance) {
    if ["anthropic:claude-cli", "openai-codex:codex-cli"].contains(&profile) {
        let why = format!("profile id {profile} is OpenClaw's own and is deleted by it");
        place.observed.content = TargetContent::Refused(Code::VersionUnsupported, why);
        return;
    }
    // From 2026.3.22 OpenClaw itself fills this id from ~/.codex/auth.json.
    let imports_codex = instance.release >= Release::parse("2026.3.22");
    if imports_codex && profile == "openai-codex:default" {
        let why = "this release fills openai-codex:default from Codex's own login".to_owned();
        place.observed.content = TargetContent::Refused(Code::VersionUnsupported, why);
        return;
    }
    // OpenClaw imports these once, and only while there is no store: making one would lose what
    // else they hold.
    let imports = [state_dir.join("credentials/oauth.json"), directory.join("auth.json")];
    let provider = profile.split(':').next().unwrap_or_default();
    if place.observed.content == TargetContent::Absent
        && let Some(import) = imports.iter().find(|p| holds_other_entries(p, provider))
    {
        let why =
            format!("OpenClaw has yet to import {}; its store is not made before that", import.display());
        place.observed.content = TargetContent::Refused(Code::ImportPending, why);
    }
}

fn holds_other_entries(path: &Path, provider: &str) -> bool {
    let Some(bytes) = read(path) else { return false };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return true };
    value.as_object().is_none_or(|entries| entries.keys().any(|key| key != provider))
}
