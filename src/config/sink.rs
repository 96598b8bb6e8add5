//! `[[sink]]`: the keys of each kind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::id::{LoginId, Provider, SinkId};

use super::check;
use super::entries::{Placed, distinct, id, unfit};
use super::error::{CONFLICT, UNKNOWN_REFERENCE, bounded};
use super::expand::is_variable;
use super::fragment::Node;
use super::merge::id_of;
use super::schema::{SINK, SINK_KINDS, joined};
use super::section::{Reader, Section, word};
use super::settings::{Agents, Ownership, ProfileForm, SinkKind, SinkSettings};

const FORMS: [(&str, ProfileForm); 3] =
    [("auto", ProfileForm::Auto), ("token", ProfileForm::Token), ("oauth", ProfileForm::OAuth)];

/// Reads one `[[sink]]`. `logins` are the ids it may name.
pub fn sink(
    r: &mut Reader<'_>,
    node: &Node,
    logins: &BTreeMap<&str, Option<Provider>>,
) -> Option<Placed<SinkSettings>> {
    let s = Section::new(Some(node), &SINK, joined("sink", id_of(node)?));
    let id_ = r.required(&s, "id", id(SinkId::try_new));
    let login = r.required(&s, "login", id(LoginId::try_new));
    if let Some(login) = &login
        && !r.gaps.entries
        && !logins.contains_key(login.as_str())
    {
        let message = format!("there is no login '{}'", bounded(login.as_str()));
        r.fault(&s, "login", UNKNOWN_REFERENCE, message);
    }
    let words: Vec<(&str, (&str, &[&str]))> = SINK_KINDS.iter().map(|kind| (kind.0, *kind)).collect();
    let (name, fitting) = r.required(&s, "kind", word(&words))?;
    unfit(r, &s, name, fitting, &["id", "login", "kind"], &SINK_KINDS);
    let provider = login.as_ref().and_then(|login| logins.get(login.as_str()).copied()).flatten();
    let kind = kind(r, &s, name, provider)?;
    Placed::at(SinkSettings { id: id_?, login: login?, kind }, &s, "path")
}

fn kind(r: &mut Reader<'_>, s: &Section<'_>, name: &str, provider: Option<Provider>) -> Option<SinkKind> {
    Some(match name {
        "openclaw" => {
            let (state_dir, agents, profile) = instance(r, s, provider);
            let manage = r.flag_or(s, "manage", false);
            SinkKind::OpenClaw { state_dir: state_dir?, agents: agents?, profile: profile?, manage }
        }
        "auth-profiles" => {
            let (state_dir, agents, profile) = instance(r, s, provider);
            let form = r.parsed_or(s, "form", "auto", word(&FORMS));
            SinkKind::AuthProfiles { state_dir: state_dir?, agents: agents?, profile: profile?, form: form? }
        }
        "oauth-json" => {
            let path = r.path(s, "path");
            SinkKind::OAuthJson { refresh: r.flag_or(s, "refresh", true), path: path? }
        }
        "env-file" => {
            let path = r.path(s, "path");
            let key = r.required(s, "key", |text| {
                if is_variable(text) {
                    return Ok(text.to_owned());
                }
                Err("must be the name of an environment variable".to_owned())
            });
            SinkKind::EnvFile { path: path?, key: key? }
        }
        "secret-file" => SinkKind::SecretFile { path: r.path(s, "path")? },
        "systemd-creds" => {
            let path = r.path(s, "path");
            let name = r.required(s, "name", |text| check::credential_name(text).map(|()| text.to_owned()));
            SinkKind::SystemdCreds { path: path?, name: name? }
        }
        "claude-credentials" => {
            let path = r.path(s, "path");
            of_its_own(r, s, provider, &[Provider::Claude, Provider::Static]);
            SinkKind::ClaudeCredentials { ownership: ownership(r, s), path: path? }
        }
        "codex-auth" => {
            let path = r.path(s, "path");
            of_its_own(r, s, provider, &[Provider::Codex]);
            SinkKind::CodexAuth { ownership: ownership(r, s), path: path? }
        }
        "template" => {
            let path = r.path(s, "path");
            let source = r.path(s, "source");
            SinkKind::Template { ownership: ownership(r, s), path: path?, source: source? }
        }
        "command" => {
            r.missing(s, "command", "is required");
            let command = r.command(s, "command");
            let timeout = r.duration_or(s, "timeout", "30s", check::TIMEOUT);
            SinkKind::Command { command: command?, timeout }
        }
        // `name` comes from SINK_KINDS; a test reads every kind.
        _ => return None,
    })
}

/// A view is for the CLI of the login's own provider.
fn of_its_own(r: &mut Reader<'_>, s: &Section<'_>, provider: Option<Provider>, fitting: &[Provider]) {
    if let Some(provider) = provider.filter(|provider| !fitting.contains(provider)) {
        let names: Vec<&str> = fitting.iter().map(|fitting| fitting.as_str()).collect();
        let message = format!("cannot hold a login of {provider}, only of {}", names.join(" or "));
        r.fault(s, "kind", CONFLICT, message);
    }
}

type Instance = (Option<PathBuf>, Option<Agents>, Option<String>);

fn instance(r: &mut Reader<'_>, s: &Section<'_>, provider: Option<Provider>) -> Instance {
    let default =
        if r.env.var("OPENCLAW_STATE_DIR").is_some() { "$OPENCLAW_STATE_DIR" } else { "~/.openclaw" };
    let state_dir = r.path_or(s, "state_dir", default);
    let agents = agents(r, s);
    let profile = |text: &str| check::profile_id(text).map(|()| text.to_owned());
    let profile = match provider {
        Some(Provider::Claude) => r.parsed_or(s, "profile", "anthropic:default", profile),
        Some(Provider::Codex) => r.parsed_or(s, "profile", "openai-codex:default", profile),
        known => {
            if known.is_some() {
                r.missing(s, "profile", "is required: this provider has no usual profile");
            }
            r.parsed(s, "profile", profile)
        }
    };
    (state_dir, agents, profile)
}

fn agents(r: &mut Reader<'_>, s: &Section<'_>) -> Option<Agents> {
    let Some(names) = r.raw_list(s, "agents") else {
        return r.parsed_or(s, "agents", "all", |text| match text {
            "all" => Ok(Agents::All),
            _ => Err("must be \"all\" or a list of agents".to_owned()),
        });
    };
    distinct(r, s, "agents", &names);
    r.list(s, "agents", |names| {
        if names.is_empty() {
            return Err("must be \"all\" or a list of agents".to_owned());
        }
        for name in names {
            check::agent_name(name)?;
        }
        Ok(Agents::Named(names.to_vec()))
    })
}

fn ownership(r: &mut Reader<'_>, s: &Section<'_>) -> Ownership {
    let account = |text: &str| check::account(text).map(|()| text.to_owned());
    Ownership {
        mode: r.parsed(s, "mode", check::mode),
        owner: r.parsed(s, "owner", account),
        group: r.parsed(s, "group", account),
    }
}
