//! Who must have a copy: from a configured sink to its targets, as they are now. Reads only; the
//! one writer is `sys::atomic_file`, driven by a pass.

pub mod credential;
pub mod openclaw;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::base::id::{Provider, SinkId};
use crate::config::settings::{Ownership, SinkKind, SinkSettings, UnitScope};
use crate::core::fit;
use crate::core::model::{Force, ObservedTarget, Render, TargetContent, TargetId};
use crate::core::windows::StoreLockKind;
use crate::format::container::Inside;
use crate::format::template::Template;
use crate::format::view::View;
use crate::sys::atomic_file::{self, FileState, ParentState};
use openclaw::Wanted;
use openclaw::probe::Manifests;

/// A target together with what is needed to write it.
#[derive(Debug)]
pub struct Place {
    /// What was seen.
    pub observed: ObservedTarget,
    /// The file.
    pub path: PathBuf,
    /// The lock that its other writers take.
    pub lock: Option<StoreLockKind>,
    /// Mode and owner that the configuration asks for.
    pub ownership: Ownership,
    /// What is known of the file that is there.
    pub file: Option<FileFacts>,
    /// Its gateway runs in a container, where our process numbers mean nothing.
    pub is_contained: bool,
    /// It is a file of our own, in a directory of our own, that a gateway refers to.
    pub is_mirror: bool,
}

/// What the sinks need of the surroundings.
#[derive(Debug, Clone)]
pub struct Around<'a> {
    /// Where programs are looked for.
    pub search_path: &'a str,
    /// The user's home directory.
    pub home: &'a Path,
    /// Where our mirrors are.
    pub mirrors: &'a Path,
    /// The unit of the gateway that reads the sink.
    pub unit: Option<(&'a str, UnitScope)>,
    /// The container in which that gateway runs, as far as it is known; `None` when it runs in none.
    pub container: Option<Option<Rc<Inside>>>,
    /// Manifests that were read before.
    pub manifests: &'a Manifests,
}

/// What is known of a file that is there.
#[derive(Debug, Clone, Copy)]
pub struct FileFacts {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// How the targets of a sink are rendered. `provider` is the provider of its login.
#[must_use]
pub fn render_of(kind: &SinkKind, provider: Provider) -> Render {
    let gateway_name = || {
        // OpenClaw's own names of the providers (2026.2.26).
        match provider {
            Provider::Claude => fit::ANTHROPIC,
            Provider::Codex => "openai-codex",
            other => other.as_str(),
        }
        .to_owned()
    };
    match kind {
        SinkKind::OpenClaw { profile, .. } | SinkKind::AuthProfiles { profile, .. } => {
            // Whose token a described or static login holds is said by the profile alone.
            let named = profile.split(':').next().map(str::to_owned);
            let named = named.filter(|_| matches!(provider, Provider::Static | Provider::Generic));
            let provider = named.unwrap_or_else(gateway_name);
            Render::AuthProfiles { profile: profile.clone(), provider }
        }
        SinkKind::OAuthJson { refresh, .. } => {
            // A static token has no provider of its own; only one of Anthropic's is handed on.
            let is_static = provider == Provider::Static;
            let provider = if is_static { fit::ANTHROPIC.to_owned() } else { gateway_name() };
            Render::OAuthJson { provider, refresh: *refresh }
        }
        SinkKind::EnvFile { key, .. } => Render::EnvFile { key: key.clone() },
        SinkKind::Template { .. } => Render::Template,
        SinkKind::Command { .. } => Render::Command,
        SinkKind::ClaudeCredentials { .. } => Render::View(View::Claude),
        SinkKind::CodexAuth { .. } => Render::View(View::Codex),
        SinkKind::SecretFile { .. } => Render::SecretFile,
        SinkKind::SystemdCreds { .. } => Render::Sealed,
    }
}

/// The targets of a sink as they are now.
#[must_use]
pub fn observe(sink: &SinkSettings, around: &Around<'_>) -> Vec<Place> {
    match &sink.kind {
        SinkKind::OpenClaw { .. } | SinkKind::AuthProfiles { .. } => {
            Wanted::of(sink).map(|wanted| openclaw::observe(&wanted, around)).unwrap_or_default()
        }
        SinkKind::OAuthJson { path, .. } | SinkKind::EnvFile { path, .. } | SinkKind::SecretFile { path } => {
            vec![file_place(&sink.id, "", path)]
        }
        SinkKind::Template { path, source, ownership } => {
            vec![template_place(&sink.id, path, source, ownership)]
        }
        SinkKind::Command { .. } => vec![delivery_place(&sink.id)],
        SinkKind::ClaudeCredentials { path, ownership } | SinkKind::CodexAuth { path, ownership } => {
            let mut place = file_place(&sink.id, "", path);
            place.ownership = ownership.clone();
            vec![place]
        }
        SinkKind::SystemdCreds { path, .. } => {
            vec![credential::place(&sink.id, path, around.search_path)]
        }
    }
}

/// The files whose change concerns a sink.
#[must_use]
pub fn watched(sink: &SinkSettings, around: &Around<'_>) -> Vec<PathBuf> {
    match &sink.kind {
        SinkKind::OpenClaw { .. } | SinkKind::AuthProfiles { .. } => {
            Wanted::of(sink).map(|wanted| openclaw::watched(&wanted, around)).unwrap_or_default()
        }
        SinkKind::OAuthJson { path, .. }
        | SinkKind::EnvFile { path, .. }
        | SinkKind::SecretFile { path }
        | SinkKind::SystemdCreds { path, .. }
        | SinkKind::ClaudeCredentials { path, .. }
        | SinkKind::CodexAuth { path, .. } => vec![path.clone()],
        SinkKind::Template { path, source, .. } => vec![path.clone(), source.clone()],
        SinkKind::Command { .. } => Vec::new(),
    }
}

fn file_place(sink: &SinkId, part: &str, path: &Path) -> Place {
    let mut file = None;
    let content = match atomic_file::observe(path) {
        FileState::Absent { parent: ParentState::Present, .. } => TargetContent::Absent,
        FileState::Absent { .. } => TargetContent::NoDirectory,
        FileState::Present(present) => {
            let kept = FileFacts { mode: present.mode, uid: present.uid, dev: present.dev, ino: present.ino };
            file = Some(kept);
            TargetContent::Present(present.document)
        }
        FileState::Unreadable { reason, .. } => TargetContent::Unreadable(reason.to_string()),
    };
    Place {
        observed: ObservedTarget {
            id: TargetId { sink: sink.clone(), part: part.to_owned() },
            path: path.display().to_string(),
            content,
            beside: None,
            mode: file.map(|f| f.mode),
            form: None,
            template: None,
            force: Force::Restart,
            needs_set_up: false,
            release: None,
            unused: None,
            shadows: Vec::new(),
        },
        path: path.to_owned(),
        lock: None,
        ownership: Ownership::default(),
        file,
        is_contained: false,
        is_mirror: false,
    }
}

fn template_place(sink: &SinkId, path: &Path, source: &Path, ownership: &Ownership) -> Place {
    let mut place = file_place(sink, "", path);
    place.ownership = ownership.clone();
    match read_template(source) {
        Ok(template) => place.observed.template = Some(template),
        Err(why) => {
            place.observed.content =
                TargetContent::Unreadable(format!("template {}: {why}", source.display()))
        }
    }
    place
}

fn read_template(source: &Path) -> Result<Template, String> {
    match atomic_file::observe(source) {
        FileState::Present(file) => {
            let text = std::str::from_utf8(file.document.expose()).map_err(|_| "not UTF-8".to_owned())?;
            Template::parse(text).map_err(|e| e.to_string())
        }
        FileState::Absent { .. } => Err("does not exist".to_owned()),
        FileState::Unreadable { reason, .. } => Err(reason.to_string()),
    }
}

fn delivery_place(sink: &SinkId) -> Place {
    let mut place = file_place(sink, "", Path::new(""));
    place.observed.content = TargetContent::Delivery;
    place.observed.path = "command".to_owned();
    place
}
