//! `tokensink selftest`: the whole chain on this very host. In a temporary home a stand-in CLI
//! rotates a made-up login by rename and in place, the real daemon follows, and a stand-in gateway
//! (a transient unit where a user manager can be reached, else a command) is made to read it.

mod stage;
mod standin;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use self::stage::Stage;
pub use self::standin::{alert, gateway};
use super::exit::Exit;
use super::output;
use crate::sys::clock;
use crate::sys::paths::Surroundings;

/// How long any one step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(20);

/// One line of the timeline.
#[derive(Debug, Serialize)]
struct Step {
    /// Milliseconds since the test began.
    at_ms: u64,
    /// What happened.
    what: String,
    /// Milliseconds from the change that caused it.
    after_ms: Option<f64>,
}

/// The timeline so far.
#[derive(Debug)]
struct Timeline {
    began: Duration,
    is_quiet: bool,
    steps: Vec<Step>,
}

impl Timeline {
    fn note(&mut self, what: impl Into<String>, cause: Option<Duration>) {
        self.note_at(clock::monotonic(), what, cause);
    }

    fn note_at(&mut self, now: Duration, what: impl Into<String>, cause: Option<Duration>) {
        let at_ms = u64::try_from(now.saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX);
        let after_ms = cause.map(|c| now.saturating_sub(c).as_secs_f64() * 1000.0);
        let step = Step { at_ms, what: what.into(), after_ms };
        if !self.is_quiet {
            let after = after_ms.map_or(String::new(), |ms| format!("  (+{ms:.1} ms)"));
            output::print(&format!("{at_ms:>7} ms  {}{after}\n", step.what));
        }
        self.steps.push(step);
    }
}

/// Runs the test.
#[must_use]
pub fn run(surroundings: &Surroundings, is_json: bool) -> Exit {
    let mut timeline = Timeline { began: clock::monotonic(), is_quiet: is_json, steps: Vec::new() };
    let result = match output::block_on(play(surroundings, &mut timeline)) {
        Ok(result) => result,
        Err(error) => Err(error.to_string()),
    };
    if is_json {
        output::print_json(&serde_json::json!({
            "format_version": 1,
            "ok": result.is_ok(),
            "error": result.as_ref().err(),
            "steps": timeline.steps,
        }));
    }
    match result {
        Ok(()) => {
            if !is_json {
                output::print(
                    "passed: every rotation reached every sink and the gateway; a logout reached none, and was told\n",
                );
            }
            Exit::Done
        }
        Err(why) => output::failure(format_args!("selftest failed: {why}"), Exit::Failed),
    }
}

async fn play(surroundings: &Surroundings, timeline: &mut Timeline) -> Result<(), String> {
    let mut stage = Stage::build(surroundings).await?;
    timeline.note(
        format!("a home with a made-up login, three sinks and a gateway: {}", stage.gateway_kind()),
        None,
    );
    let outcome = acts(&mut stage, timeline).await;
    stage.clear().await;
    outcome
}

async fn acts(stage: &mut Stage, timeline: &mut Timeline) -> Result<(), String> {
    let started = clock::monotonic();
    stage.start_daemon()?;
    stage.until_status("READY=1", STEP_DEADLINE).await?;
    timeline.note("the daemon is ready: watches stand, the first pass is done", Some(started));
    follow(stage, timeline, started, "first supply").await?;

    stage.next_token();
    let changed = clock::monotonic();
    stage.rotate_by_rename()?;
    timeline
        .note("the CLI rotates the token: temporary file, rename (as Claude Code 2.1.119 and later)", None);
    follow(stage, timeline, changed, "rename").await?;

    stage.next_token();
    stage.tear()?;
    timeline.note("the CLI truncates its file and writes half of it (as Claude Code up to 2.1.113)", None);
    let changed = clock::monotonic();
    stage.rotate_in_place()?;
    timeline.note("... and the rest of it", None);
    follow(stage, timeline, changed, "in place").await?;

    let changed = clock::monotonic();
    stage.log_out()?;
    timeline.note("the CLI is logged out: blank tokens", None);
    stage.until_status("HUSK", STEP_DEADLINE).await?;
    timeline.note("the daemon says so (HUSK), after three looks over two seconds", Some(changed));
    if !stage.sinks_hold_token() {
        return Err("a blank token reached a sink".into());
    }
    timeline.note("every sink still holds the last good token", None);
    stage.until_told("raised", "HUSK", STEP_DEADLINE).await?;
    timeline.note("the alert channel was told, with the next command to type", Some(changed));

    stage.next_token();
    let changed = clock::monotonic();
    stage.rotate_by_rename()?;
    timeline.note("somebody logs in again", None);
    follow(stage, timeline, changed, "new login").await?;
    stage.until_told("resolved", "HUSK", STEP_DEADLINE).await?;
    timeline.note("the alert channel was told that it is over", Some(changed));

    let asked = clock::monotonic();
    stage.stop_daemon().await?;
    timeline.note("the daemon stopped when asked to", Some(asked));
    Ok(())
}

/// Waits until the sinks hold the current token and the gateway has read it.
async fn follow(
    stage: &mut Stage,
    timeline: &mut Timeline,
    since: Duration,
    what: &str,
) -> Result<(), String> {
    for (sink, at) in stage.until_sinks(STEP_DEADLINE).await? {
        timeline.note_at(at, format!("{what}: sink {sink} holds the new token"), Some(since));
    }
    let proof = stage.until_gateway(STEP_DEADLINE).await?;
    timeline.note(format!("{what}: the gateway has read it{proof}"), Some(since));
    Ok(())
}

/// The path of this program, for the children that the test starts.
fn own_program() -> Result<std::path::PathBuf, String> {
    std::env::current_exe().map_err(|e| format!("the path of this program is not known: {e}"))
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}
