//! Asking whether a gateway is idle, before a restart: a command of the owner's, or a URL. What
//! cannot be told is not waited for. Nothing here decides how long a busy gateway is waited for.

use std::time::Duration;

use super::{Means, probe};
use crate::sys::process::{self, CommandSpec};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Output of the command that is kept, and of the answer that is looked at, in bytes.
const OUTPUT_LIMIT: usize = 4096;
/// The answer, as exit status or as HTTP status, that means busy.
const EXIT_BUSY: i32 = 1;
const HTTP_BUSY: [u16; 4] = [409, 423, 429, 503];

/// What a gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A restart interrupts nothing.
    Idle,
    /// It is at work.
    Busy,
    /// Neither, for this reason.
    Unknown(String),
}

/// Asks a command (run by `sh -c`) or, where the text begins like one, a URL.
pub async fn ask(question: &str, means: &Means) -> Answer {
    if question.starts_with("http:") || question.starts_with("https:") {
        match probe::get(question, DEADLINE, OUTPUT_LIMIT).await {
            Ok((status, body)) => of_page(status, &body),
            Err(why) => Answer::Unknown(why),
        }
    } else {
        of_command(question, means).await
    }
}

/// What an answer says, by its status or its first word.
#[must_use]
pub fn of_page(status: u16, body: &str) -> Answer {
    match status {
        _ if HTTP_BUSY.contains(&status) => Answer::Busy,
        200..=299 if says_busy(body) => Answer::Busy,
        200..=299 => Answer::Idle,
        _ => Answer::Unknown(format!("answers {status}")),
    }
}

async fn of_command(command: &str, means: &Means) -> Answer {
    let finished = process::run(CommandSpec {
        argv: ["/bin/sh", "-c", command].map(Into::into).into(),
        env: means.environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        stdin: None,
        cwd: None,
        deadline: DEADLINE,
        output_limit: OUTPUT_LIMIT,
    })
    .await;
    match finished {
        Err(error) => Answer::Unknown(error.to_string()),
        Ok(finished) if finished.timed_out => Answer::Unknown("took too long".to_owned()),
        Ok(finished) if finished.status.code() == Some(EXIT_BUSY) => Answer::Busy,
        Ok(finished) if finished.succeeded() => {
            let said = String::from_utf8_lossy(finished.stdout.bytes.expose()).into_owned();
            if says_busy(&said) { Answer::Busy } else { Answer::Idle }
        }
        Ok(finished) => Answer::Unknown(format!("ended with {}", finished.status)),
    }
}

/// True when the first word is `busy`.
fn says_busy(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty());
    word.is_some_and(|word| word.eq_ignore_ascii_case("busy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_busy_by_its_status_or_its_first_word() {
        for (status, body, answer) in [
            (200, "", Answer::Idle),
            (204, "", Answer::Idle),
            (200, "idle, was busy until now", Answer::Idle),
            (200, " \"Busy\": 3 turns", Answer::Busy),
            (503, "", Answer::Busy),
            (423, "idle", Answer::Busy),
            (404, "busy", Answer::Unknown("answers 404".to_owned())),
            (500, "", Answer::Unknown("answers 500".to_owned())),
        ] {
            assert_eq!(of_page(status, body), answer, "{status} {body}");
        }
    }
}
