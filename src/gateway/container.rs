//! Gateways in containers, through the engine's own command line: it knows contexts, rootless
//! sockets and both compose generations, and needs no second HTTP client here.

use std::path::Path;

use super::{Applied, Means, command};
use crate::base::code::Code;
use crate::core::memory::{Failure, LastAction};
use crate::sys::search;

/// Makes one compose service anew, and only that one: environment files are read at creation.
///
/// # Errors
/// `UNIT_FAILED` when no engine is found or it fails.
pub async fn recreate(dir: &Path, service: &str, means: &Means) -> Result<Applied, Failure> {
    let mut command =
        if search::find_on(path_of(means), "docker-compose").is_some() && !has_compose_plugin(means) {
            vec!["docker-compose".to_owned()]
        } else {
            vec![engine(means)?, "compose".to_owned()]
        };
    command.extend(["up", "--detach", "--no-deps", "--force-recreate", service].map(str::to_owned));
    command::run_in(&command, Some(dir), means).await?;
    Ok(done(LastAction::Recreate, "recreated"))
}

/// Restarts a container.
///
/// # Errors
/// `UNIT_FAILED` when no engine is found or it fails.
pub async fn restart(name: &str, means: &Means) -> Result<Applied, Failure> {
    command::run_in(&[engine(means)?, "restart".to_owned(), name.to_owned()], None, means).await?;
    Ok(done(LastAction::Restart, "restarted"))
}

fn done(action: LastAction, outcome: &str) -> Applied {
    Applied { action, previous: None, invocation: None, ready: None, outcome: outcome.to_owned() }
}

fn engine(means: &Means) -> Result<String, Failure> {
    let found = search::container_engine(path_of(means)).map(str::to_owned);
    found.map_err(|why| Failure::new(Code::UnitFailed, why, ""))
}

fn path_of(means: &Means) -> &str {
    means.environment.get("PATH").map_or("", String::as_str)
}

/// Where distributions and Docker's own packages put the plugin that makes `docker compose` work.
fn has_compose_plugin(means: &Means) -> bool {
    let home = means.environment.get("HOME").map_or("", String::as_str);
    [
        "/usr/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/local/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
    ]
    .iter()
    .map(|directory| Path::new(directory).to_owned())
    .chain([Path::new(home).join(".docker/cli-plugins")])
    .any(|directory| directory.join("docker-compose").is_file())
}
