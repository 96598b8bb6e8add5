//! A gateway that is told by a command of the owner. The command gets no token: neither in its
//! arguments nor in its environment.

use super::{Applied, Means};
use crate::base::code::Code;
use crate::core::memory::{Failure, LastAction};
use crate::sys::process::{self, CommandSpec};

/// Output of a command that is kept for a message, in bytes.
const OUTPUT_LIMIT: usize = 16 * 1024;

/// Runs the command; exit status 0 is success.
///
/// # Errors
/// `UNIT_FAILED` when it cannot be run, fails, or takes too long.
pub async fn run(command: &[String], means: &Means) -> Result<Applied, Failure> {
    let name = command.first().cloned().unwrap_or_default();
    let failed = |why: String| Failure::new(Code::UnitFailed, format!("{name}: {why}"), "");
    let finished = process::run(CommandSpec {
        argv: command.iter().map(Into::into).collect(),
        env: means.environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        stdin: None,
        cwd: None,
        deadline: means.command_deadline,
        output_limit: OUTPUT_LIMIT,
    })
    .await
    .map_err(|e| failed(e.to_string()))?;
    if finished.timed_out {
        return Err(failed(format!("took longer than {} s", means.command_deadline.as_secs())));
    }
    if finished.status.success() {
        let outcome = "done".to_owned();
        return Ok(Applied {
            action: LastAction::Restart,
            previous: None,
            invocation: None,
            ready: None,
            outcome,
        });
    }
    Err(failed(format!("{}; {}", finished.status, last_line(finished.stderr.bytes.expose()))))
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no output");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
