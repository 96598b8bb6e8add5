//! Gateways in containers, through the engine's own command line: it knows contexts, rootless
//! sockets and both compose generations, and needs no second HTTP client here.

use std::path::Path;

use super::{Applied, Means, command};
use crate::base::code::Code;
use crate::core::memory::{Failure, LastAction};

/// Makes one compose service anew, and only that one: environment files are read at creation.
///
/// # Errors
/// `UNIT_FAILED` when no engine is found or it fails.
pub async fn recreate(dir: &Path, service: &str, means: &Means) -> Result<Applied, Failure> {
    let mut command = if on_path("docker-compose", means) && !has_compose_plugin(means) {
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
    let found = ["docker", "podman"].into_iter().find(|name| on_path(name, means));
    found.map(str::to_owned).ok_or_else(|| Failure {
        code: Code::UnitFailed,
        summary: "neither docker nor podman is on the search path".to_owned(),
        next: String::new(),
    })
}

fn on_path(name: &str, means: &Means) -> bool {
    let path = means.environment.get("PATH").map_or("", String::as_str);
    std::env::split_paths(path).any(|directory| directory.join(name).is_file())
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
