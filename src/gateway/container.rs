//! Gateways in containers: one restarted, or one service made anew, with the proof that it was and
//! that it is up. What is stopped is not started; what holds the token already is left alone.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::engine::{self, Found, Trouble};
use super::view::{self, Witness};
use super::{Applied, Means, PROVEN, unit};
use crate::base::code::Code;
use crate::config::settings::GatewayKind;
use crate::core::memory::{Failure, LastAction, Then};
use crate::format::container::{Inside, release_in};
use crate::format::standing::{Seen, Standing};
use crate::sys::clock;

/// What engines say when there is nothing to run a command in (Docker 20.10; Podman's manual).
pub const NOT_RUNNING: [&str; 4] =
    ["is not running", "No such container", "no such container", "can only create exec sessions on running"];
/// The outcome of a service that was stopped: made anew, and not started.
pub const PREPARED: &str = "prepared";
/// How long a container may take to be up: as long as a gateway may to answer its probe.
const UP_WITHIN: Duration = Duration::from_secs(300);
/// How long one without a health check has to stay up to count as that.
const STEADY: Duration = Duration::from_secs(1);
/// First pause between two looks; doubles up to [`PAUSE_MOST`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two looks.
const PAUSE_MOST: Duration = Duration::from_secs(2);

/// Makes one compose service anew, and only that one: its variables are read when it is created. One
/// that is stopped is made anew and not started.
///
/// # Errors
/// `ENGINE_UNAVAILABLE`, `UNIT_FAILED`; `NOT_CONVERGED` when it was made anew and is not up.
pub async fn recreate(
    kind: &GatewayKind,
    (dir, service): (&Path, &str),
    witnesses: &[Witness],
    means: &Means,
) -> Result<Applied, Failure> {
    let subject = format!("service {service} of {}", dir.display());
    let before = engine::find(kind, means).await.map_err(|trouble| trouble.failure(&subject))?;
    if view::holds_all(&before, witnesses) {
        return Ok(done(LastAction::Recreate, PROVEN));
    }
    let project = before.seen.first().and_then(|seen| seen.project.as_ref());
    let is_first_generation = project.is_some_and(|project| project.is_first_generation);
    let mut command = engine::compose(before.engine, is_first_generation, means).await?;
    command.extend(engine::about(dir, project).map_err(|gone| {
        let why = format!("{} made the container and is gone: it would be made differently", gone.display());
        Failure::new(Code::UnitFailed, why, "put the file back, or create the service anew yourself")
    })?);
    if before.seen.is_empty() {
        command.extend(["config", "--services"].map(str::to_owned));
        let services = engine::run_compose(&command, dir, means).await?;
        // Nothing of it is there that could hold an old token.
        return if String::from_utf8_lossy(services.expose()).lines().any(|line| line.trim() == service) {
            Ok(done(LastAction::None, unit::STOPPED))
        } else {
            Err(Failure::new(Code::UnitFailed, format!("{subject}: there is no such service"), ""))
        };
    }
    let is_stopped = is_all_stopped(&before);
    let starts = if is_stopped { "--no-start" } else { "--detach" };
    command.extend(["up", starts, "--no-deps", "--no-build", "--force-recreate", service].map(str::to_owned));
    engine::run_compose(&command, dir, means).await?;
    if is_stopped {
        return Ok(done(LastAction::Recreate, PREPARED));
    }
    until_up(kind, &before.seen, &subject, means).await?;
    Ok(done(LastAction::Recreate, "recreated"))
}

/// Restarts a container that runs.
///
/// # Errors
/// `ENGINE_UNAVAILABLE`, `UNIT_FAILED`; `NOT_CONVERGED` when it was told to and is not up.
pub async fn restart(kind: &GatewayKind, name: &str, means: &Means) -> Result<Applied, Failure> {
    let subject = format!("container {name}");
    let failed = |trouble: Trouble| trouble.failure(&subject);
    let before = engine::find(kind, means).await.map_err(failed)?;
    if is_all_stopped(&before) {
        return Ok(done(LastAction::None, unit::STOPPED));
    }
    engine::told(before.engine, &["restart", name], means).await.map_err(failed)?;
    until_up(kind, &before.seen, &subject, means).await?;
    Ok(done(LastAction::Restart, "restarted"))
}

/// Waits until every container of a gateway has started since `before`, and is up.
async fn until_up(kind: &GatewayKind, before: &[Seen], subject: &str, means: &Means) -> Result<(), Failure> {
    let end = clock::monotonic().saturating_add(UP_WITHIN);
    let mut pause = PAUSE_FIRST;
    let mut steady: Option<Vec<Seen>> = None;
    loop {
        let found = engine::find(kind, means).await.map_err(|trouble| {
            // It was done; whether it is up is asked again before it is done once more.
            trouble.failure(subject).meaning(Then::Unproven)
        })?;
        let judged = judge(&found.seen, before);
        let is_late = clock::monotonic() >= end;
        match judged {
            Ok(true) => return Ok(()),
            Ok(false) if steady.as_deref().is_some_and(|seen| is_same_start(seen, &found.seen)) => {
                return Ok(());
            }
            Ok(false) => {
                steady = Some(found.seen);
                sleep(STEADY).await;
                continue;
            }
            Err(NotUp { is_final, why }) if is_final || is_late => {
                let next =
                    format!("{} logs --tail 50 {}", found.engine, found.seen.first().map_or("", |s| &s.name));
                let summary = format!("{subject} was made to follow and {why}");
                return Err(Failure::new(Code::NotConverged, summary, next).meaning(Then::Unproven));
            }
            Err(_) => steady = None,
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Why a gateway's containers are not up.
#[derive(Debug, PartialEq, Eq)]
struct NotUp {
    /// Waiting does not change it.
    is_final: bool,
    why: String,
}

/// Whether every container started since `before` and is up: true where each has a health check that
/// says so, false where one has none.
fn judge(now: &[Seen], before: &[Seen]) -> Result<bool, NotUp> {
    let not_yet = |why: &str| NotUp { is_final: false, why: why.to_owned() };
    let is_old = |seen: &Seen| before.iter().any(|old| old.id == seen.id && old.started == seen.started);
    if now.is_empty() {
        return Err(not_yet("is gone"));
    }
    let mut is_healthy = true;
    for seen in now {
        match seen.standing {
            _ if is_old(seen) => return Err(not_yet("still runs since before")),
            Standing::Healthy => {}
            Standing::Up => is_healthy = false,
            Standing::Starting => return Err(not_yet("has not become healthy")),
            Standing::Restarting(code) => {
                return Err(not_yet(&format!("ends again and again, at last with status {code}")));
            }
            Standing::Unhealthy => {
                return Err(NotUp { is_final: true, why: "its health check fails".to_owned() });
            }
            Standing::Stopped => return Err(NotUp { is_final: true, why: "has ended".to_owned() }),
        }
    }
    Ok(is_healthy)
}

fn is_same_start(before: &[Seen], now: &[Seen]) -> bool {
    let starts = |seen: &[Seen]| -> Vec<(String, String)> {
        seen.iter().map(|seen| (seen.id.clone(), seen.started.clone())).collect()
    };
    starts(before) == starts(now)
}

/// True when every container of the gateway is up and started within `since`: an earlier attempt, which
/// had no proof, has done what is to be done.
pub async fn is_proven(kind: &GatewayKind, since: Duration, means: &Means) -> bool {
    let Ok(found) = engine::find(kind, means).await else { return false };
    let earliest = clock::now().before(since);
    let is_up = |seen: &Seen| matches!(seen.standing, Standing::Up | Standing::Healthy);
    let is_new = |seen: &Seen| seen.started_at().is_some_and(|started| started >= earliest);
    !found.seen.is_empty() && found.seen.iter().all(|seen| is_up(seen) && is_new(seen))
}

/// What a gateway's container is now. What is known of one with the same id and image is not asked
/// again; else the CLI in it is asked once for its release.
///
/// # Errors
/// A sentence when the engine cannot be asked or knows no such container.
pub async fn look(kind: &GatewayKind, known: Option<&Inside>, means: &Means) -> Result<Inside, String> {
    let found = engine::find(kind, means).await.map_err(|trouble| trouble.failure("it").summary)?;
    let seen = found.seen.first().ok_or("there is no container of that service")?;
    let (mut inside, is_running) = (Inside::of(seen), seen.standing != Standing::Stopped);
    found.engine.clone_into(&mut inside.engine);
    let known = known.filter(|known| known.id == inside.id && known.image == inside.image);
    if let Some(known) = known.filter(|known| known.release.is_some() || !is_running) {
        inside.release.clone_from(&known.release);
        return Ok(inside);
    }
    if is_running {
        let words = ["exec", &inside.id].into_iter().chain(inside.cli.iter().map(String::as_str));
        let words: Vec<&str> = words.chain(["--version"]).collect();
        // One that has no such command says nothing of itself.
        if let Ok(said) = engine::ask(found.engine, &words, means).await {
            let release = release_in(&String::from_utf8_lossy(said.expose()));
            inside.release = release.map(|release| release.to_string());
        }
    }
    Ok(inside)
}

/// True when the engine says that nothing of the gateway runs.
pub async fn is_stopped(kind: &GatewayKind, means: &Means) -> bool {
    engine::find(kind, means).await.is_ok_and(|found| is_all_stopped(&found))
}

fn is_all_stopped(found: &Found) -> bool {
    found.seen.iter().all(|seen| seen.standing == Standing::Stopped)
}

fn done(action: LastAction, outcome: &str) -> Applied {
    Applied { action, previous: None, invocation: None, ready: None, outcome: outcome.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(started: &str, standing: Standing) -> Seen {
        Seen {
            id: "c0".to_owned(),
            name: "claw".to_owned(),
            image: String::new(),
            image_id: String::new(),
            command: Vec::new(),
            started: started.to_owned(),
            standing,
            pid: 7,
            label: String::new(),
            mounts: Vec::new(),
            variables: Vec::new(),
            project: None,
        }
    }

    #[test]
    fn up_is_a_new_start_whose_health_check_is_content_or_missing() {
        let before = [seen("1", Standing::Healthy)];
        let judged = |started: &str, standing: Standing| {
            judge(&[seen(started, standing)], &before).map_err(|not| (not.is_final, not.why))
        };
        assert_eq!(judged("2", Standing::Healthy), Ok(true));
        assert_eq!(judged("2", Standing::Up), Ok(false));
        assert_eq!(judged("1", Standing::Healthy).unwrap_err().1, "still runs since before");
        assert_eq!(
            judged("2", Standing::Starting).unwrap_err(),
            (false, "has not become healthy".to_owned())
        );
        assert!(!judged("2", Standing::Restarting(3)).unwrap_err().0);
        assert_eq!(
            judged("2", Standing::Unhealthy).unwrap_err(),
            (true, "its health check fails".to_owned())
        );
        assert_eq!(judged("2", Standing::Stopped).unwrap_err(), (true, "has ended".to_owned()));
        assert_eq!(judge(&[], &before).unwrap_err().why, "is gone");
    }
}
