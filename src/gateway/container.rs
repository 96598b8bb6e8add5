//! Gateways in containers, through the engine's own command line: it knows contexts, rootless
//! sockets and both compose generations, and needs no second HTTP client here.

use std::path::Path;
use std::time::Duration;

use super::{Applied, Means, command};
use crate::base::code::Code;
use crate::config::settings::GatewayKind;
use crate::core::memory::{Failure, LastAction};
use crate::format::container::{Inside, release_in};
use crate::sys::process::{self, CommandSpec};
use crate::sys::search;

/// How long a question to the engine may take, and one to the CLI in a container.
const DEADLINE: Duration = Duration::from_secs(30);
/// Output of a question that is kept, in bytes.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// What engines say when there is nothing to run a command in (Docker 20.10; Podman's manual).
pub const NOT_RUNNING: [&str; 4] =
    ["is not running", "No such container", "no such container", "can only create exec sessions on running"];

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

/// What a gateway's container is now. What is known of one with the same id and image is not asked
/// again; else the CLI in it is asked once for its release.
///
/// # Errors
/// A sentence when the engine cannot be asked or knows no such container.
pub async fn look(kind: &GatewayKind, known: Option<&Inside>, means: &Means) -> Result<Inside, String> {
    let (mut inside, is_running) = inspect(kind, means).await?;
    let known = known.filter(|known| known.id == inside.id && known.image == inside.image);
    if let Some(known) = known.filter(|known| known.release.is_some() || !is_running) {
        inside.release.clone_from(&known.release);
        return Ok(inside);
    }
    if is_running {
        let words = ["exec", &inside.id].into_iter().chain(inside.cli.iter().map(String::as_str));
        let words: Vec<&str> = words.chain(["--version"]).collect();
        // One that has no such command says nothing of itself.
        let said = ask(&words, means).await.unwrap_or_default();
        inside.release = release_in(&String::from_utf8_lossy(&said)).map(|release| release.to_string());
    }
    Ok(inside)
}

/// True when the engine says that the gateway does not run.
pub async fn is_stopped(kind: &GatewayKind, means: &Means) -> bool {
    inspect(kind, means).await.is_ok_and(|(_, is_running)| !is_running)
}

async fn inspect(kind: &GatewayKind, means: &Means) -> Result<(Inside, bool), String> {
    let name = match kind {
        GatewayKind::Container { name } => name.clone(),
        GatewayKind::Compose { dir, service } => {
            // Compose notes both on what it makes, whichever of its generations it is.
            let service = format!("label=com.docker.compose.service={service}");
            let dir = format!("label=com.docker.compose.project.working_dir={}", dir.display());
            let words = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &service, "--filter", &dir];
            let listed = ask(&words, means).await?;
            let listed = String::from_utf8_lossy(&listed).into_owned();
            listed.lines().next().ok_or("there is no container of that service")?.to_owned()
        }
        GatewayKind::Unit { .. } | GatewayKind::Command { .. } => return Err("not in a container".to_owned()),
    };
    let answer = ask(&["inspect", "--type", "container", &name], means).await?;
    Inside::parse(&answer).ok_or_else(|| "the engine's answer is not understood".to_owned())
}

/// What the engine prints.
async fn ask(words: &[&str], means: &Means) -> Result<Vec<u8>, String> {
    let engine = search::container_engine(path_of(means))?;
    let finished = process::run(CommandSpec {
        argv: std::iter::once(&engine).chain(words).map(Into::into).collect(),
        env: means.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        stdin: None,
        cwd: None,
        deadline: DEADLINE,
        output_limit: OUTPUT_LIMIT,
    })
    .await
    .map_err(|error| error.to_string())?;
    if !finished.succeeded() {
        return Err(format!("{engine} {} ended with {}", words.first().unwrap_or(&""), finished.status));
    }
    Ok(finished.stdout.bytes.expose().to_vec())
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
