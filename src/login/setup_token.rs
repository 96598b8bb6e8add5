//! A token that `claude setup-token` printed, from standard input: never an argument, and on a
//! terminal never shown. A paste that a narrow window has broken comes as several lines at once.

use std::time::Duration;

use zeroize::Zeroizing;

use super::Failed;
use super::paste::Lines;
use crate::base::credential::NewLogin;
use crate::core::setup_token::{self, LIFETIME};
use crate::sys::clock;
use crate::sys::tty::{Change, Tty};

/// Nothing came for so long after a line, so that the paste is over.
const PAUSE: Duration = Duration::from_millis(400);
/// Lines of one paste; more are something else.
const LINES: usize = 32;

/// Reads one token. `prompt` is called where a person sits at a terminal, once nothing is shown there
/// any more. `ends`: the lines end with standard input, and all of them are one paste.
///
/// # Errors
/// [`Failed::Token`], [`Failed::Late`], or [`Failed::System`] when the terminal cannot be kept from
/// showing what is typed.
pub async fn run(
    lines: &mut Lines,
    ends: bool,
    patience: Duration,
    prompt: impl FnOnce(),
) -> Result<NewLogin, Failed> {
    let silent = Tty::open(Change::NoEcho);
    let silent =
        silent.map_err(|error| Failed::System(format!("the terminal would show the token: {error}")))?;
    if silent.is_some() {
        prompt();
    }
    let reading = read(lines, silent.is_some() || !ends);
    let text = tokio::time::timeout(patience, reading).await.map_err(|_late| Failed::Late)?;
    let token = setup_token::from_paste(&text).map_err(Failed::Token)?;
    let now = clock::now();
    Ok(NewLogin {
        access: token,
        refresh: None,
        id_token: None,
        expires_at: Some(now.after(LIFETIME)),
        scopes: Vec::new(),
        account: None,
        granted_at: now,
        document: None,
    })
}

/// The lines of one paste where more may come, of all the input else.
async fn read(lines: &mut Lines, pauses: bool) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for number in 0..LINES {
        let line = if pauses && number > 0 {
            tokio::time::timeout(PAUSE, lines.next()).await.unwrap_or(None)
        } else {
            lines.next().await
        };
        let Some(line) = line else { break };
        // Room at once: a growing text would leave unwiped copies behind.
        let mut longer = Zeroizing::new(String::with_capacity(text.len() + line.expose().len() + 1));
        longer.push_str(&text);
        longer.push_str(line.expose());
        longer.push('\n');
        text = longer;
    }
    text
}
