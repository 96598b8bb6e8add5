//! How a golden folder is read; see `plan.rs` for its parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokensink::base::code::Code;
use tokensink::base::credential::SourceReading;
use tokensink::base::fingerprint::Fingerprint;
use tokensink::base::id::{GatewayId, LoginId, Provider, SinkId};
use tokensink::base::secret::Document;
use tokensink::base::time::Timestamp;
use tokensink::core::clock::Judgement;
use tokensink::core::memory::{Failure, GenerationRecord, Memory, Pending};
use tokensink::core::model::{
    ApplyRule, Desired, DesiredGateway, DesiredLogin, DesiredSink, Force, Observed, ObservedSource,
    ObservedTarget, Render, SupplyForm, TargetContent, TargetId,
};
use tokensink::format::auth_profiles::EntryForm;
use tokensink::format::claude;
use tokensink::format::template::Template;
use tokensink::format::view::View;

use super::sim::{NOW, World, credential_of, key};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    /// What the case is about, for people.
    about: String,
    logins: Vec<LoginFile>,
    #[serde(default)]
    sinks: Vec<SinkFile>,
    #[serde(default)]
    gateways: Vec<GatewayFile>,
    #[serde(default)]
    memory: MemoryFile,
    #[serde(default)]
    unwatched: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    id: String,
    /// A Claude Code document of this folder; none of the two means that there is no file.
    source: Option<String>,
    unreadable: Option<String>,
    mode: Option<String>,
    settled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SinkFile {
    id: String,
    login: Option<String>,
    kind: String,
    /// oauth-json, auth-profiles; default `anthropic`.
    provider: Option<String>,
    /// oauth-json; default false.
    refresh: Option<bool>,
    /// auth-profiles; default `anthropic:default`.
    profile: Option<String>,
    /// env-file; default `ANTHROPIC_OAUTH_TOKEN`.
    key: Option<String>,
    /// Default: one target, absent.
    targets: Option<Vec<TargetFile>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TargetFile {
    part: String,
    /// A document of this folder.
    file: Option<String>,
    no_directory: bool,
    unreadable: Option<String>,
    refused: Option<(Code, String)>,
    mode: Option<String>,
    /// token (default), oauth, oauth-refresh, mirror.
    form: Option<String>,
    /// A template of this folder.
    template: Option<String>,
    read_live: bool,
    /// The gateway reloads its store, and may write back what it has read.
    reloads: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayFile {
    id: String,
    sinks: Vec<String>,
    /// never, when needed (default), always.
    apply: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct MemoryFile {
    logins: BTreeMap<String, LoginMemoryFile>,
    targets: BTreeMap<String, TargetMemoryFile>,
    gateways: BTreeMap<String, GatewayMemoryFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LoginMemoryFile {
    account: Option<String>,
    /// Source documents of this folder, oldest first.
    lineage: Vec<String>,
    /// When they were seen first; default an hour ago.
    seen: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TargetMemoryFile {
    /// The source document whose generation was last written or found there.
    holds: Option<String>,
    written: Option<String>,
    clobbered: Vec<String>,
    clobbered_by: Option<String>,
    failure: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct GatewayMemoryFile {
    pending_since: Option<String>,
    failure: Option<(Code, String)>,
}

/// A case, ready to be planned.
pub struct Case {
    pub world: World,
    /// File stems of the folder's logins by generation, to name generations in `expected.json`.
    names: BTreeMap<Fingerprint, String>,
}

impl Case {
    pub fn name_of(&self, generation: &Fingerprint) -> &str {
        self.names.get(generation).expect("every generation is a document of the folder")
    }
}

/// A point in time: `now`, or `+8h`, `-5m 3s` from it.
fn when(text: &str) -> Timestamp {
    let span = |text: &str| humantime::parse_duration(text.trim()).unwrap();
    match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(later), _) => NOW.after(span(later)),
        (_, Some(earlier)) => NOW.before(span(earlier)),
        _ if text == "now" => NOW,
        _ => panic!("{text:?} is no time"),
    }
}

fn mode(text: &str) -> u32 {
    u32::from_str_radix(text, 8).unwrap()
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn record(&self, name: &str, seen_at: Timestamp) -> (GenerationRecord, Option<String>) {
        let credential = credential_of(claude::parse(&self.read(name)));
        let credential = credential.unwrap_or_else(|| panic!("{name} holds no login"));
        (GenerationRecord::of(&credential, &key(), &Judgement::steady(seen_at)), credential.account)
    }

    fn login(&self, login: &LoginFile) -> (DesiredLogin, ObservedSource) {
        let id = LoginId::try_new(login.id.as_str()).unwrap();
        let reading = match (&login.source, &login.unreadable) {
            (Some(file), None) => claude::parse(&self.read(file)),
            (None, Some(reason)) => SourceReading::Unreadable { reason: reason.clone() },
            (None, None) => SourceReading::Missing,
            _ => panic!("a source is either readable or not"),
        };
        let source = ObservedSource {
            login: id.clone(),
            path: format!("~/.{id}/.credentials.json"),
            mode: login.mode.as_deref().or(login.source.as_ref().map(|_| "0600")).map(mode),
            settled: login.settled.unwrap_or(true),
            reading,
        };
        let desired =
            DesiredLogin { id, provider: Provider::Claude, label: String::new(), refresh_mode: "auto" };
        (desired, source)
    }

    fn sink(&self, sink: &SinkFile) -> (DesiredSink, Vec<ObservedTarget>) {
        let or = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
        let provider = or(&sink.provider, "anthropic");
        let (kind, render) = match sink.kind.as_str() {
            "oauth-json" => {
                ("oauth-json", Render::OAuthJson { provider, refresh: sink.refresh.unwrap_or(false) })
            }
            "auth-profiles" => {
                let profile = or(&sink.profile, "anthropic:default");
                ("auth-profiles", Render::AuthProfiles { profile, provider })
            }
            "env-file" => ("env-file", Render::EnvFile { key: or(&sink.key, "ANTHROPIC_OAUTH_TOKEN") }),
            "secret-file" => ("secret-file", Render::SecretFile),
            "claude-credentials" => ("claude-credentials", Render::View(View::Claude)),
            "template" => ("template", Render::Template),
            "command" => ("command", Render::Command),
            other => panic!("no kind {other}"),
        };
        let id = SinkId::try_new(sink.id.as_str()).unwrap();
        let login = LoginId::try_new(sink.login.as_deref().unwrap_or("claude")).unwrap();
        let alone = [TargetFile::default()];
        let targets = sink.targets.as_deref().unwrap_or(&alone);
        let targets = targets.iter().map(|target| self.target(&id, &render, target)).collect();
        (DesiredSink { id, login, kind, render }, targets)
    }

    fn target(&self, sink: &SinkId, render: &Render, target: &TargetFile) -> ObservedTarget {
        let content = match target {
            _ if *render == Render::Command => TargetContent::Delivery,
            TargetFile { refused: Some((code, why)), .. } => TargetContent::Refused(*code, why.clone()),
            TargetFile { unreadable: Some(why), .. } => TargetContent::Unreadable(why.clone()),
            TargetFile { file: Some(file), .. } => TargetContent::Present(Document::new(self.read(file))),
            TargetFile { no_directory: true, .. } => TargetContent::NoDirectory,
            _ => TargetContent::Absent,
        };
        let form = match target.form.as_deref() {
            None | Some("token") => SupplyForm::Entry(EntryForm::Token),
            Some("oauth") => SupplyForm::Entry(EntryForm::OAuth { with_refresh: false }),
            Some("oauth-refresh") => SupplyForm::Entry(EntryForm::OAuth { with_refresh: true }),
            Some("mirror") => SupplyForm::Mirror,
            Some(other) => panic!("no form {other}"),
        };
        let template = target
            .template
            .as_ref()
            .map(|name| Template::parse(std::str::from_utf8(&self.read(name)).unwrap()).unwrap());
        let id = TargetId { sink: sink.clone(), part: target.part.clone() };
        ObservedTarget {
            path: format!("~/{id}"),
            mode: target.mode.as_deref().or(target.file.as_ref().map(|_| "0600")).map(mode),
            form: matches!(render, Render::AuthProfiles { .. }).then_some(form),
            beside: None,
            template,
            force: match (target.read_live, target.reloads) {
                (true, _) => Force::Nothing,
                (_, true) => Force::Reload,
                _ => Force::Restart,
            },
            needs_set_up: false,
            release: None,
            unused: None,
            shadows: Vec::new(),
            content,
            id,
        }
    }

    fn memory(&self, file: &MemoryFile) -> Memory {
        let mut memory = Memory { format_version: Memory::VERSION, ..Memory::default() };
        for (login, known) in &file.logins {
            let entry = memory.logins.entry(LoginId::try_new(login.as_str()).unwrap()).or_default();
            for name in &known.lineage {
                let (record, account) = self.record(name, known.seen.as_deref().map_or(when("-1h"), when));
                entry.remember(record, account.as_ref());
            }
            entry.account = known.account.clone().or(entry.account.take());
        }
        for (target, known) in &file.targets {
            let entry = memory.targets.entry(target.clone()).or_default();
            entry.generation = known.holds.as_ref().map(|name| self.record(name, NOW).0.generation);
            entry.written_at = known.written.as_deref().map(when);
            entry.clobbered_at = known.clobbered.iter().map(|at| when(at)).collect();
            entry.clobbered_by.clone_from(&known.clobbered_by);
            entry.failure.clone_from(&known.failure);
        }
        for (gateway, known) in &file.gateways {
            let entry = memory.gateways.entry(GatewayId::try_new(gateway.as_str()).unwrap()).or_default();
            entry.pending = known.pending_since.as_deref().map(|since| Pending {
                since: when(since),
                token_ends: None,
                attempts: 0,
                not_before: None,
                force: Force::Restart,
                busy: None,
            });
            entry.failure = known.failure.clone().map(|(code, summary)| Failure::new(code, summary, ""));
        }
        memory
    }

    fn names(&self) -> BTreeMap<Fingerprint, String> {
        let files = fs::read_dir(self.0).unwrap().map(|entry| entry.unwrap().path());
        let sources = files.filter(|path| path.is_file()).filter_map(|path| {
            let credential = credential_of(claude::parse(&fs::read(&path).unwrap()))?;
            Some((key().generation(&credential), path.file_stem()?.to_str()?.to_owned()))
        });
        sources.collect()
    }
}

/// Reads `<folder>/world.json` and what it refers to.
pub fn load(folder: &Path) -> Result<Case, String> {
    let text = fs::read(folder.join("world.json")).map_err(|error| error.to_string())?;
    let file: WorldFile = serde_json::from_slice(&text).map_err(|error| format!("world.json: {error}"))?;
    if file.about.is_empty() {
        return Err("world.json does not say what the case is about".into());
    }
    let folder = Folder(folder);
    let (logins, sources) = file.logins.iter().map(|l| folder.login(l)).unzip();
    let (sinks, targets): (Vec<_>, Vec<_>) = file.sinks.iter().map(|s| folder.sink(s)).unzip();
    let gateways = file.gateways.iter().map(|gateway| DesiredGateway {
        id: GatewayId::try_new(gateway.id.as_str()).unwrap(),
        sinks: gateway.sinks.iter().map(|s| SinkId::try_new(s.as_str()).unwrap()).collect(),
        kind: "unit",
        apply: match gateway.apply.as_deref() {
            None | Some("when needed") => ApplyRule::WhenNeeded,
            Some("never") => ApplyRule::Never,
            Some("always") => ApplyRule::Always(Force::Restart),
            Some(other) => panic!("no rule {other}"),
        },
        min_interval: Duration::from_secs(600),
        is_heard: false,
    });
    let world = World {
        desired: Desired {
            logins,
            sinks,
            gateways: gateways.collect(),
            warn: Duration::from_secs(24 * 3600),
            ahead: Duration::ZERO,
        },
        observed: Observed {
            sources,
            targets: targets.concat(),
            unwatched: file.unwatched,
            ..Observed::default()
        },
        memory: folder.memory(&file.memory),
        now: NOW,
    };
    Ok(Case { world, names: folder.names() })
}
