//! OpenClaw instances: their targets in whichever way their release is supplied (`core::windows`
//! decides): the JSON stores of their agents, or one file of ours that their configuration refers to.
//! Facts: OpenClaw 2026.2.26 (JSON era), 2026.9.6 (SQLite era).

pub mod probe;
pub mod units;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use self::probe::{Instance, MAIN, STORE, read};
use super::{Around, Place, file_place};
use crate::base::code::Code;
use crate::base::id::SinkId;
use crate::base::secret::Document;
use crate::config::settings::{Agents, ProfileForm, SinkKind, SinkSettings};
use crate::core::model::{Force, Shadow, SupplyForm, TargetContent};
use crate::core::order::{self, Orders};
use crate::core::windows::{self, KeySource, Seen, Supply, Window};
use crate::format::auth_profiles::{self, EntryForm};
use crate::format::mirror;
use crate::format::openclaw_config::{self, ApiKey};
use crate::format::release::Release;

/// The one provider for which a reference was seen to work (2026.2.26 to 2026.9.6).
const REFERABLE: &str = "anthropic";
/// The runtime of OpenClaw that is Claude Code itself.
const CLI_RUNTIME: &str = "claude-cli";

/// The first release seen with `models auth logout`; 2026.7.1 has none.
const LOG_OUT: Release = Release::new(2026, 8, 2);

/// What a configured sink asks of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The sink.
    pub sink: &'a SinkId,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Which agents.
    pub agents: &'a Agents,
    /// The profile id.
    pub profile: &'a str,
    /// The form of an entry; `None` leaves the way to the release.
    form: Option<ProfileForm>,
    /// The owner lets us set up the instance's configuration.
    pub manage: bool,
}

impl<'a> Wanted<'a> {
    /// What that sink asks for; `None` for one of another kind.
    #[must_use]
    pub fn of(sink: &'a SinkSettings) -> Option<Self> {
        match &sink.kind {
            SinkKind::OpenClaw { state_dir, agents, profile, manage } => {
                Some(Self { sink: &sink.id, state_dir, agents, profile, form: None, manage: *manage })
            }
            SinkKind::AuthProfiles { state_dir, agents, profile, form } => {
                Some(Self { sink: &sink.id, state_dir, agents, profile, form: Some(*form), manage: false })
            }
            _ => None,
        }
    }

    /// OpenClaw's name of the provider.
    #[must_use]
    pub fn provider(&self) -> &'a str {
        self.profile.split(':').next().unwrap_or_default()
    }

    /// Our file for this sink.
    #[must_use]
    pub fn mirror(&self, around: &Around<'_>) -> PathBuf {
        around.mirrors.join(format!("{}.json", self.sink))
    }

    /// The name of our entry in the instance's own secret store, by OpenClaw's rule for names.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("TOKENSINK_{}_ACCESS_TOKEN", self.provider().to_uppercase().replace('-', "_"))
    }

    /// In which way the instance is supplied.
    #[must_use]
    pub fn supply(&self, instance: &Instance, around: &Around<'_>) -> Supply {
        let config = instance.config.as_ref().map(Document::expose);
        let is_open = self.form.is_none() && self.provider() == REFERABLE;
        windows::supply(Seen {
            release: instance.release.as_ref(),
            is_sqlite: instance.has_database || instance.has_schema,
            key: if is_open { self.key_source(config, around) } else { KeySource::Store },
            is_referable: is_open || self.form.is_some(),
            runs_in_cli: is_open
                && config.is_some_and(|c| openclaw_config::runs_in_cli(c, REFERABLE, CLI_RUNTIME)),
            may_set_up: is_open && self.manage,
            is_apart: !self.is_seen(around) || !is_ours(self.state_dir),
        })
    }

    /// Our file, where it is there although the configuration says plainly that no key comes from it.
    #[must_use]
    pub fn left(&self, instance: &Instance, around: &Around<'_>) -> Option<PathBuf> {
        let config = instance.config.as_ref()?.expose();
        let mirror = self.mirror(around);
        let is_left = openclaw_config::api_key(config, self.provider()) == ApiKey::Absent
            && !openclaw_config::mentions(config, &mirror);
        (is_left && mirror.is_file()).then_some(mirror)
    }

    /// Whether the instance knows our file as `alias` although the provider has no key and nothing is taken
    /// from there: an undo or a set-up that was killed between the two left it so.
    #[must_use]
    pub fn is_half_referred(&self, instance: &Instance, alias: &str, around: &Around<'_>) -> bool {
        instance.config.as_ref().map(Document::expose).is_some_and(|config| {
            let path = openclaw_config::json_file(config, alias);
            openclaw_config::api_key(config, self.provider()) == ApiKey::Absent
                && !openclaw_config::may_take_from(config, alias)
                && path.is_some_and(|path| expanded(&path, around.home) == self.mirror(around))
        })
    }

    /// Whether the gateway can read our file: one in a container sees what is mounted there.
    fn is_seen(&self, around: &Around<'_>) -> bool {
        around
            .container
            .as_ref()
            .is_none_or(|inside| inside.as_ref().is_some_and(|inside| inside.sees(&self.mirror(around))))
    }

    fn key_source(&self, config: Option<&[u8]>, around: &Around<'_>) -> KeySource {
        let Some(config) = config else { return KeySource::Elsewhere };
        match openclaw_config::api_key(config, self.provider()) {
            ApiKey::Absent => KeySource::Store,
            ApiKey::File { path, pointer }
                if expanded(&path, around.home) == self.mirror(around)
                    && pointer == mirror::pointer(self.provider()) =>
            {
                KeySource::Mirror
            }
            ApiKey::Entry { name } if name == self.entry() => KeySource::Entry,
            ApiKey::File { .. } | ApiKey::Entry { .. } | ApiKey::Other => KeySource::Elsewhere,
        }
    }
}

/// Whether a directory is of the user that we run as; one that cannot be looked at counts as such.
fn is_ours(directory: &Path) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    std::fs::metadata(directory).map_or(true, |directory| directory.uid() == us)
}

fn expanded(path: &str, home: &Path) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest))
}

/// The profiles of the provider that an instance has beside a reference, or beside the login of the CLI:
/// those that its own commands noted in its configuration, and those of its JSON stores. What is in a
/// database is seen by those notes alone (2026.9.6: they come with a profile and go with it).
fn shadows(wanted: &Wanted<'_>, instance: &Instance, around: &Around<'_>) -> Vec<Shadow> {
    let provider = wanted.provider();
    let noted = instance.config.as_ref().map(|c| openclaw_config::configured_profiles(c.expose(), provider));
    let noted = noted.into_iter().flatten().map(|profile| (profile.id, MAIN.to_owned()));
    let mut found: Vec<(String, String)> = noted.collect();
    // A store beside a database is read by nobody.
    let agents = instance.agents.iter().filter(|_| !instance.has_database && !instance.has_schema);
    for (agent, directory) in agents {
        let listed = read(&directory.join(STORE)).and_then(|s| auth_profiles::listed(s.expose()).ok());
        let own = listed.into_iter().flatten().filter(|profile| profile.provider == provider);
        found.extend(own.map(|profile| (profile.id, agent.clone())));
    }
    let is_default = wanted.state_dir == units::default_state_dir(around.home);
    let whose = if is_default {
        String::new()
    } else {
        format!("OPENCLAW_STATE_DIR={} ", wanted.state_dir.display())
    };
    let mut known = std::collections::BTreeSet::new();
    found.retain(|(id, _)| known.insert(id.clone()));
    // The first of the releases seen that has the command; before it a profile is removed by hand.
    let can_log_out = instance.release.as_ref().is_some_and(|release| *release >= LOG_OUT);
    let shadow = |(profile, agent): (String, String)| Shadow {
        next: if can_log_out {
            format!("{whose}openclaw models auth logout {profile} --agent {agent} --yes")
        } else {
            format!("{whose}openclaw models auth list --agent {agent}")
        },
        profile,
    };
    found.into_iter().map(shadow).collect()
}

/// The targets of a sink.
pub fn observe(wanted: &Wanted<'_>, around: &Around<'_>) -> Vec<Place> {
    let instance = probe::probe(wanted.state_dir, around);
    // Nothing but a package of the instance can be asked to reload.
    let reload = if instance.program.is_some() { Force::Reload } else { Force::Restart };
    let mut places = match wanted.supply(&instance, around) {
        Supply::Reference { needs_set_up } => {
            let mut place = mirror_place(wanted, around);
            place.observed.force = reload;
            place.observed.needs_set_up = needs_set_up && instance.program.is_some();
            place.observed.shadows = shadows(wanted, &instance, around);
            vec![place]
        }
        Supply::Entry { needs_set_up } => vec![entry_place(wanted, needs_set_up, &instance)],
        Supply::Native => {
            let mut place = file_place(wanted.sink, "", wanted.state_dir);
            place.observed.content = TargetContent::NotNeeded;
            place.observed.shadows = shadows(wanted, &instance, around);
            vec![place]
        }
        Supply::Store(window) => stores(wanted, &instance, |place, directory| {
            place.lock = Some(window.lock);
            place.observed.force = if window.is_read_live { Force::Nothing } else { reload };
            let form = entry_form(wanted.form.unwrap_or(ProfileForm::Auto), &window);
            place.observed.form = Some(SupplyForm::Entry(form));
            place.observed.unused = unused(place, wanted, form, &instance);
            judge_store(place, wanted, directory, &instance);
        }),
        Supply::Refused(code, why) => stores(wanted, &instance, |place, _| {
            refuse(place, code, why.clone());
        }),
    };
    for place in &mut places {
        place.is_contained = around.container.is_some();
        place.observed.release = instance.release.as_ref().map(ToString::to_string);
    }
    places
}

/// The files whose change concerns the targets of a sink.
pub fn watched(wanted: &Wanted<'_>, around: &Around<'_>) -> Vec<PathBuf> {
    let instance = probe::probe(wanted.state_dir, around);
    let mut files = vec![instance.config_path.clone()];
    if let Supply::Reference { .. } = wanted.supply(&instance, around) {
        files.push(wanted.mirror(around));
    }
    files.extend(agents_for(wanted, &instance).into_iter().map(|(_, directory)| directory.join(STORE)));
    files.extend(instance.manifest);
    files
}

fn mirror_place(wanted: &Wanted<'_>, around: &Around<'_>) -> Place {
    let mut place = file_place(wanted.sink, "", &wanted.mirror(around));
    if place.observed.content == TargetContent::NoDirectory {
        place.observed.content = TargetContent::Absent;
    }
    place.is_mirror = true;
    // OpenClaw refuses a file that others may read.
    place.ownership.mode = Some(0o600);
    place.observed.form = Some(SupplyForm::Mirror);
    place
}

/// An entry of the instance's own secret store. What it holds is not read.
fn entry_place(wanted: &Wanted<'_>, needs_set_up: bool, instance: &Instance) -> Place {
    let mut place = file_place(wanted.sink, "secret", wanted.state_dir);
    place.observed.content = if needs_set_up && instance.program.is_none() {
        let why = "no CLI of this OpenClaw was found that its configuration could be set up with";
        TargetContent::Refused(Code::VersionUnsupported, why.to_owned())
    } else {
        TargetContent::Handed
    };
    place.observed.force = Force::Reload;
    place.observed.needs_set_up = needs_set_up;
    place
}

fn stores(wanted: &Wanted<'_>, instance: &Instance, finish: impl Fn(&mut Place, &Path)) -> Vec<Place> {
    let agents = agents_for(wanted, instance).into_iter();
    let places = agents.map(|(agent, directory)| {
        let mut place = file_place(wanted.sink, &agent, &directory.join(STORE));
        finish(&mut place, &directory);
        place
    });
    places.collect()
}

/// The agents that a sink is for. With `all`, an agent without a store of its own is left to
/// OpenClaw, which copies the main agent's on first use; only the main store may be made here.
fn agents_for(wanted: &Wanted<'_>, instance: &Instance) -> Vec<(String, PathBuf)> {
    let of = |id: &str| (id.to_owned(), instance.directory(wanted.state_dir, id));
    match wanted.agents {
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

/// `auto` is access-only everywhere: the refresh token belongs to the CLI, and a second refresher
/// of one family logs the first one out.
fn entry_form(form: ProfileForm, window: &Window) -> EntryForm {
    match form {
        ProfileForm::Auto | ProfileForm::Token => EntryForm::Token,
        ProfileForm::OAuth => EntryForm::OAuth { with_refresh: window.may_hold_refresh },
    }
}

/// Why the agent does not use our profile, as far as its store and the configuration tell.
fn unused(place: &Place, wanted: &Wanted<'_>, form: EntryForm, instance: &Instance) -> Option<String> {
    let config = instance.config.as_ref().map(Document::expose)?;
    let configured = openclaw_config::configured_profiles(config, wanted.provider());
    let store = match &place.observed.content {
        TargetContent::Present(document) => Some(document.expose()),
        _ => None,
    };
    let orders = Orders {
        agent: store.and_then(|store| auth_profiles::order(store, wanted.provider()).ok()?),
        global: openclaw_config::global_order(config, wanted.provider()),
    };
    let kind = if form == EntryForm::Token { "token" } else { "oauth" };
    let is_stored =
        |id: &str| store.is_some_and(|store| auth_profiles::has_profile(store, id).unwrap_or_default());
    order::why_unused(wanted.profile, kind, &orders, &configured, &is_stored)
}

/// What else forbids writing this store.
fn judge_store(place: &mut Place, wanted: &Wanted<'_>, directory: &Path, instance: &Instance) {
    let profile = wanted.profile;
    if ["anthropic:claude-cli", "openai-codex:codex-cli"].contains(&profile) {
        let why = format!("profile id {profile} is OpenClaw's own and is deleted by it");
        refuse(place, Code::VersionUnsupported, why);
        return;
    }
    // From 2026.3.22 OpenClaw itself fills this id from ~/.codex/auth.json.
    let imports_codex = instance.release >= Release::parse("2026.3.22");
    if imports_codex && profile == "openai-codex:default" {
        let why = "this release fills openai-codex:default from Codex's own login".to_owned();
        refuse(place, Code::VersionUnsupported, why);
        return;
    }
    // OpenClaw imports these once, and only while there is no store: making one would lose what
    // else they hold.
    let imports = [wanted.state_dir.join("credentials/oauth.json"), directory.join("auth.json")];
    if place.observed.content == TargetContent::Absent
        && let Some(import) = imports.iter().find(|p| holds_other_entries(p, wanted.provider()))
    {
        let why =
            format!("OpenClaw has yet to import {}; its store is not made before that", import.display());
        refuse(place, Code::ImportPending, why);
    }
}

/// Refuses to write a store; what it holds is still looked at for copies of a login.
fn refuse(place: &mut Place, code: Code, why: String) {
    let refused = TargetContent::Refused(code, why);
    if let TargetContent::Present(document) = std::mem::replace(&mut place.observed.content, refused) {
        place.observed.beside = Some(document);
    }
}

fn holds_other_entries(path: &Path, provider: &str) -> bool {
    let Some(document) = read(path) else { return false };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(document.expose()) else { return true };
    value.as_object().is_none_or(|entries| entries.keys().any(|key| key != provider))
}
