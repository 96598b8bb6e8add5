//! Environments: variables that hide a login from who should use it, directories that lead elsewhere, and
//! CLIs that a shell finds and the daemon does not.
//!
//! Facts: Claude Code 2.1.329 (`CLAUDE_CODE_OAUTH_TOKEN` is used as it is, and the stored login is never
//! refreshed beside it; with an API key it is), OpenClaw 2026.9.6 (`models status`: the environment comes
//! before the configuration's key, `ANTHROPIC_OAUTH_TOKEN` first) and 2026.2.26 (a profile comes before the
//! environment), Codex 0.169 (`CODEX_API_KEY`, `CODEX_ACCESS_TOKEN`, then the store), Copilot CLI 1.0.102.

use super::facts::{Consumer, Facts, LoginFacts, Origin, Reads};
use super::{Examined, Subject, joined};
use crate::base::code::Code;
use crate::base::id::Provider;

/// What OpenClaw takes for Anthropic from its environment, the first one first.
const OPENCLAW: [&str; 2] = ["ANTHROPIC_OAUTH_TOKEN", "ANTHROPIC_API_KEY"];
/// What Claude Code uses instead of its login.
const CLAUDE: [&str; 4] = [
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
];
const CODEX: [&str; 2] = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN"];
const COPILOT: [&str; 3] = ["COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"];

/// What a CLI uses instead of the login in its file.
const fn hides(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Claude => &CLAUDE,
        Provider::Codex => &CODEX,
        Provider::Copilot => &COPILOT,
        _ => &[],
    }
}

/// The variables that are looked for in environments.
pub fn hiding() -> impl Iterator<Item = &'static str> {
    // The last of Claude Code's is OpenClaw's as well.
    let claude = CLAUDE.into_iter().filter(|name| !OPENCLAW.contains(name));
    OPENCLAW.into_iter().chain(claude).chain(CODEX).chain(COPILOT)
}

/// Variables of gateways that hide what their sinks supply.
pub fn shadows(facts: &Facts) -> Option<Vec<Examined>> {
    (!facts.consumers.is_empty()).then(|| facts.consumers.iter().filter_map(of_consumer).collect())
}

/// Variables of this shell that hide a login from the CLI that a person starts in it. The CLI that we run is
/// given none of them.
pub fn of_the_shell(facts: &Facts) -> Option<Vec<Examined>> {
    (!facts.logins.is_empty())
        .then(|| facts.logins.iter().filter_map(|login| in_the_shell(login, facts)).collect())
}

/// The variables that come before a sink in the eyes of its reader.
fn before(reads: &Reads) -> &'static [&'static str] {
    match reads {
        Reads::Reference | Reads::Native => &OPENCLAW,
        Reads::ClaudeFile => &CLAUDE,
        Reads::CodexFile => &CODEX,
        Reads::Variable { key, .. } => {
            let rank = OPENCLAW.iter().position(|name| name == key).unwrap_or_default();
            OPENCLAW.get(..rank).unwrap_or_default()
        }
        Reads::Otherwise => &[],
    }
}

/// Whether that variable is one that we keep current: systemd's files come after its other lines, and
/// where only the process shows it, it may well come from our file.
fn is_kept(consumer: &Consumer, name: &str, origins: &[Origin]) -> bool {
    consumer.reads.iter().any(|(_, _, reads)| {
        let Reads::Variable { key, path } = reads else { return false };
        let mut files = origins.iter().filter_map(|origin| match origin {
            Origin::File(file) => Some(file),
            _ => None,
        });
        let only_process =
            origins.iter().all(|origin| matches!(origin, Origin::Process(_) | Origin::Container(_)));
        key == name && (only_process || files.next_back() == Some(path))
    })
}

fn of_consumer(consumer: &Consumer) -> Option<Examined> {
    let hidden: Vec<(&str, &str, &[Origin])> = consumer
        .reads
        .iter()
        .flat_map(|(sink, _, reads)| before(reads).iter().map(move |name| (sink.as_str(), *name)))
        .filter_map(|(sink, name)| {
            let (_, origins) = consumer.variables.iter().find(|(known, _)| known == name)?;
            (!is_kept(consumer, name, origins)).then_some((sink, name, origins.as_slice()))
        })
        .collect();
    let (sink, name, origins) = *hidden.first()?;
    let mut names: Vec<&str> = hidden.iter().map(|(_, name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let summary = format!(
        "{} in the environment of {} hides what sink {sink} supplies: a rotation does not reach it",
        joined(names),
        consumer.unit
    );
    let evidence = hidden.iter().map(|(_, name, origins)| format!("{name}: {}", origins_of(origins)));
    Some(
        Examined::warning(Code::EnvShadowsFile, Subject::Gateway(consumer.gateway.clone()), summary)
            .seen(evidence.collect::<Vec<_>>().join("; "))
            .next(remedy(consumer, name, origins)),
    )
}

fn origins_of(origins: &[Origin]) -> String {
    let words = origins.iter().map(|origin| match origin {
        Origin::Unit(files) => format!("Environment= of the unit ({})", joined(files)),
        Origin::File(path) => path.clone(),
        Origin::Manager => "the service manager's own environment".to_owned(),
        Origin::Process(pid) => format!("process {pid}"),
        Origin::Container(name) => format!("variables that container {name} was created with"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn remedy(consumer: &Consumer, name: &str, origins: &[Origin]) -> String {
    let Consumer { unit, systemctl, .. } = consumer;
    match origins.first() {
        Some(Origin::File(path)) => format!("remove {name} from {path}, then {systemctl} restart {unit}"),
        Some(Origin::Manager) => {
            format!("{systemctl} unset-environment {name}, then {systemctl} restart {unit}")
        }
        Some(Origin::Container(_)) => {
            format!(
                "take {name} out of what creates the container (Compose file, env file), then create it anew"
            )
        }
        _ => format!("{systemctl} edit {unit}, with UnsetEnvironment={name} in [Service], then restart it"),
    }
}

/// What a person starts from this shell uses the variable.
fn in_the_shell(login: &LoginFacts, facts: &Facts) -> Option<Examined> {
    let name = hides(login.provider).iter().find(|name| facts.shell.contains(**name))?;
    let summary =
        format!("{name} is set in this shell: the CLI, started from here, uses that and not the login");
    Some(
        Examined::notice(Code::EnvShadowsFile, Subject::Login(login.id.clone()), summary)
            .seen(format!("{name}: this shell; {} is the login", login.path))
            .next(format!("unset {name}")),
    )
}

/// Gateways that run as another user, or look in other directories, than the configuration says; and a
/// daemon that does.
pub fn elsewhere(facts: &Facts) -> Option<Vec<Examined>> {
    let mut found = Vec::new();
    for consumer in &facts.consumers {
        let subject = || Subject::Gateway(consumer.gateway.clone());
        if let Some((path, owner)) = other_users(consumer) {
            let uid = consumer.uid.unwrap_or_default();
            let summary = format!(
                "{} runs as user {uid}, who may not read what user {owner} owns: it does not get the token",
                consumer.unit
            );
            found.push(
                Examined::warning(Code::ConsumerElsewhere, subject(), summary)
                    .seen(format!("{path}: owner {owner}, not readable for others"))
                    .next("give the sink `mode`, `owner` and `group` of that user, or run both as one user"),
            );
        }
        for lead in &consumer.leads {
            let summary = format!(
                "{} looks in {} and not in {}, which {} is for: it does not see the token",
                consumer.unit, lead.found, lead.wanted, lead.what
            );
            found.push(
                Examined::warning(Code::ConsumerElsewhere, subject(), summary)
                    .seen(lead.variables.clone())
                    .next(format!(
                        "set the path of {} to {}, or {} edit {}",
                        lead.what, lead.found, consumer.systemctl, consumer.unit
                    )),
            );
        }
    }
    for login in &facts.logins {
        let Some(path) = login.daemons_path.as_ref().filter(|path| **path != login.path) else { continue };
        let summary = format!(
            "the daemon keeps {path}, and from here the login is {}: the variables that lead there differ",
            login.path
        );
        found.push(
            Examined::warning(Code::ConsumerElsewhere, Subject::Login(login.id.clone()), summary)
                .seen("HOME, CLAUDE_CONFIG_DIR, CODEX_HOME and the like of the daemon and of this shell")
                .next(format!("name the file in the configuration: path = {:?}", login.path)),
        );
    }
    let is_made =
        !facts.consumers.is_empty() || facts.logins.iter().any(|login| login.daemons_path.is_some());
    is_made.then_some(found)
}

/// A file of another owner that the gateway may not read. Root may read everything.
fn other_users(consumer: &Consumer) -> Option<(&str, u32)> {
    let uid = consumer.uid.filter(|uid| *uid != 0)?;
    let other = consumer.private.iter().find(|(_, owner)| *owner != uid)?;
    Some((other.0.as_str(), other.1))
}

/// CLIs that the daemon does not find.
pub fn off_path(facts: &Facts) -> Option<Vec<Examined>> {
    let mut found = Vec::new();
    let mut is_made = false;
    for login in facts.logins.iter().filter(|login| login.is_driven) {
        let Some(cli) = &login.cli else { continue };
        let (Some(here), Some(by_daemon)) = (&cli.here, &cli.by_daemon) else { continue };
        is_made = true;
        if by_daemon.is_some() {
            continue;
        }
        let directory = here.rsplit_once('/').map_or("", |(directory, _)| directory);
        let summary = format!(
            "the daemon does not find {}, which this shell does: it cannot renew the login by it",
            cli.name
        );
        found.push(
            Examined::warning(Code::CliOffPath, Subject::Login(login.id.clone()), summary)
                .seen(format!("{here}; not on the daemon's PATH and not in the usual places of its user"))
                .next(format!(
                    "systemctl --user edit tokensink, with Environment=PATH={directory}:/usr/local/bin:/usr/bin:/bin \
                     in [Service], then restart it"
                )),
        );
    }
    is_made.then_some(found)
}
