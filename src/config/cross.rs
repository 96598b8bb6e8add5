//! Faults between entries: two writers of one place, a sink on top of a source.
//!
//! Compares the paths that are written; links and the providers' own paths are for the daemon,
//! which sees the files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::id::{LoginId, Provider};

use super::entries::Placed;
use super::error::{CONFLICT, ConfigError};
use super::schema::fault;
use super::settings::{Agents, LoginSettings, SinkKind, SinkSettings};

/// Notes every entry that cannot stand beside an earlier one.
pub fn check(
    errors: &mut Vec<ConfigError>,
    logins: &[Placed<LoginSettings>],
    sinks: &[Placed<SinkSettings>],
) {
    let mut sources: BTreeMap<Source<'_>, &LoginId> = BTreeMap::new();
    let mut providers: BTreeMap<&LoginId, Provider> = BTreeMap::new();
    for Placed { value: login, place, key } in logins {
        providers.insert(&login.id, login.provider);
        let Some(source) = source(login) else { continue };
        if let Some(twin) = sources.get(&source) {
            errors.push(fault(place, key, CONFLICT, format!("reads the same source as login '{twin}'")));
        } else {
            sources.insert(source, &login.id);
        }
    }
    // Only sinks with the same path, or the same instance and profile, are compared.
    let mut rivals: BTreeMap<(&Path, &str), Vec<&SinkSettings>> = BTreeMap::new();
    for Placed { value: sink, place, key } in sinks {
        let Some(territory) = territory(&sink.kind) else { continue };
        if let Some(login) = sources.get(&Source::File(territory.0)) {
            errors.push(fault(place, key, CONFLICT, format!("is the source of login '{login}'")));
        }
        if let SinkKind::Template { path, source, .. } = &sink.kind
            && path == source
        {
            errors.push(fault(place, key, CONFLICT, "is the template itself"));
        }
        let earlier = rivals.entry(territory).or_default();
        if let Some(twin) = earlier.iter().find(|other| collide(other, sink, &providers)) {
            let message = format!("writes the same place as sink '{}'", twin.id);
            errors.push(fault(place, key, CONFLICT, message));
        }
        earlier.push(sink);
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source<'a> {
    File(&'a Path),
    Own(Provider),
}

fn source(login: &LoginSettings) -> Option<Source<'_>> {
    match (&login.path, login.provider) {
        (Some(path), _) => Some(Source::File(path)),
        // A static token has no file of a CLI's own, and in our own store each login has one.
        (None, Provider::Static | Provider::Generic) => None,
        (None, provider) => Some(Source::Own(provider)),
    }
}

/// The file of a sink, or the state directory and profile.
fn territory(kind: &SinkKind) -> Option<(&Path, &str)> {
    match kind {
        SinkKind::OAuthJson { path, .. }
        | SinkKind::EnvFile { path, .. }
        | SinkKind::SecretFile { path }
        | SinkKind::SystemdCreds { path, .. }
        | SinkKind::ClaudeCredentials { path, .. }
        | SinkKind::CodexAuth { path, .. }
        | SinkKind::Template { path, .. } => Some((path, "")),
        SinkKind::OpenClaw { state_dir, profile, .. } | SinkKind::AuthProfiles { state_dir, profile, .. } => {
            Some((state_dir, profile))
        }
        SinkKind::Command { .. } => None,
    }
}

/// Whether two sinks of one territory write the same place in it.
fn collide(left: &SinkSettings, right: &SinkSettings, providers: &BTreeMap<&LoginId, Provider>) -> bool {
    use SinkKind::{AuthProfiles, EnvFile, OAuthJson, OpenClaw};
    match (&left.kind, &right.kind) {
        // Files with one place per variable, or per provider, may have several writers.
        (EnvFile { key: left, .. }, EnvFile { key: right, .. }) => left == right,
        (OAuthJson { .. }, OAuthJson { .. }) => providers.get(&left.login) == providers.get(&right.login),
        (
            OpenClaw { agents: left, .. } | AuthProfiles { agents: left, .. },
            OpenClaw { agents: right, .. } | AuthProfiles { agents: right, .. },
        ) => overlap(left, right),
        _ => true,
    }
}

fn overlap(left: &Agents, right: &Agents) -> bool {
    match (left, right) {
        (Agents::Named(left), Agents::Named(right)) => left.iter().any(|name| right.contains(name)),
        _ => true,
    }
}
