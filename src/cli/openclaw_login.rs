//! `tokensink login --openclaw`: OpenClaw's own login, for the providers of its plugins, on a terminal
//! that we hold; then a look whether it brought anything. That its command ended well is no proof.

use std::io::IsTerminal as _;
use std::path::Path;

use super::args::LoginArguments;
use super::exit::Exit;
use super::output;
use super::stops::Stops;
use crate::gateway::models_status::Known;
use crate::gateway::openclaw_cli::OpenClawCli;
use crate::gateway::profiles::Profiles;
use crate::login::{Failed, hand_over};
use crate::sys::paths::Surroundings;
use crate::sys::pty::PtySpec;
use crate::sys::search;
use crate::sys::tty::WindowSize;

const PROGRAM: &str = "openclaw";

/// Runs the command.
#[must_use]
pub fn run(arguments: &LoginArguments, surroundings: &Surroundings) -> Exit {
    if !std::io::stdin().is_terminal() {
        let why = "OpenClaw asks its questions on a terminal, and standard input is none";
        return output::failure(why, Exit::Usage);
    }
    let provider = arguments.provider.as_str();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !provider.starts_with(|c: char| c.is_ascii_alphanumeric()) || !provider.chars().all(is_name) {
        return output::failure("that is not the name of a provider", Exit::Usage);
    }
    let Some(program) = search::find_on(surroundings.search_path(), PROGRAM) else {
        return output::failure("openclaw is not on the search path", Exit::Failed);
    };
    match output::block_on(log_in(&program, provider, surroundings)) {
        Ok(Ok(known)) => {
            for profile in known {
                output::print(&format!("OpenClaw holds profile {} ({})\n", profile.id, profile.kind));
            }
            Exit::Done
        }
        Ok(Err(why)) => output::failure(why, Exit::Failed),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// Looks, hands over, and looks again. Returns the profiles that are new, or hold another login.
async fn log_in(program: &Path, provider: &str, surroundings: &Surroundings) -> Result<Vec<Known>, String> {
    let mut stops = Stops::take();
    let program = program.display().to_string();
    // The person's own program, in the person's own surroundings.
    let environment = &surroundings.variables;
    let command = PtySpec {
        argv: [&program, "models", "auth", "login", "--provider", provider].map(str::to_owned).to_vec(),
        env: environment.clone(),
        cwd: None,
        // Replaced by that of the person's window.
        size: WindowSize { rows: 24, columns: 80 },
    };
    let cli =
        OpenClawCli { program: vec![program], environment: environment.clone(), ..OpenClawCli::default() };
    // The default agent: it is what the login is for.
    let profiles = Profiles { cli, agent: String::new(), provider: provider.to_owned() };
    let work = async {
        let before = profiles.known().await?;
        let status = hand_over::run(&command).await.map_err(|why: Failed| why.to_string())?;
        if !status.success() {
            return Err(format!("openclaw models auth login ended with {status}"));
        }
        let after = profiles.known().await?;
        brought(&before, after, provider)
    };
    tokio::select! {
        brought = work => brought,
        () = stops.come() => Err("stopped".to_owned()),
    }
}

/// What the login brought: profiles of the provider that are new or changed, else new ones of any
/// name, because a plugin may call its provider otherwise.
fn brought(before: &[Known], after: Vec<Known>, provider: &str) -> Result<Vec<Known>, String> {
    let is_changed = |profile: &Known| !before.contains(profile);
    let is_new = |profile: &Known| !before.iter().any(|known| known.id == profile.id);
    let mut changed: Vec<Known> = after.into_iter().filter(is_changed).collect();
    if changed.iter().any(|profile| profile.provider == provider) {
        changed.retain(|profile| profile.provider == provider);
    } else {
        changed.retain(is_new);
    }
    if changed.is_empty() {
        return Err(format!("openclaw ended well, but none of its profiles of {provider} is new or another"));
    }
    match changed.iter().find(|profile| matches!(profile.status.as_str(), "expired" | "missing")) {
        Some(dead) => Err(format!("openclaw stored profile {}, which is {}", dead.id, dead.status)),
        None => Ok(changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: &str, mark: &str, status: &str) -> Known {
        Known {
            id: id.to_owned(),
            provider: id.split(':').next().unwrap().to_owned(),
            kind: "oauth".to_owned(),
            status: status.to_owned(),
            mark: mark.to_owned(),
        }
    }

    #[test]
    fn only_a_profile_that_is_new_or_another_is_a_login() {
        let before = [known("acme:a", "1", "ok"), known("other:x", "1", "ok")];
        let ids = |after: Vec<Known>| {
            brought(&before, after, "acme").map(|known| known.into_iter().map(|k| k.id).collect::<Vec<_>>())
        };
        let same = || before.to_vec();
        assert!(ids(same()).unwrap_err().contains("none of its profiles"));
        assert!(ids(vec![known("other:x", "2", "ok"), same()[0].clone()]).is_err(), "another's renewal");
        assert_eq!(ids(vec![known("acme:a", "2", "ok"), known("other:x", "2", "ok")]).unwrap(), ["acme:a"]);
        assert_eq!(ids([same(), vec![known("acme:b", "1", "static")]].concat()).unwrap(), ["acme:b"]);
        assert_eq!(ids([same(), vec![known("acme-plan:b", "1", "ok")]].concat()).unwrap(), ["acme-plan:b"]);
        assert!(ids(vec![known("acme:a", "2", "expired")]).unwrap_err().contains("expired"));
    }
}
