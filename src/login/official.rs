//! A login by the provider's own CLI, which runs on a terminal that we hold: its address is shown to
//! the person, and what the person brings back is typed in. The CLI trades the code itself: only
//! the process that asked for a code can.
//!
//! O1: nothing is typed that does not belong to the address that was shown. The CLI does not look:
//!     Claude Code 2.1.329 throws away the state of what is typed and sends its own.
//! O2: the CLI and all that it started are dead when this returns or is dropped.

use std::time::Duration;

use zeroize::Zeroizing;

use super::paste::Lines;
use super::{Failed, Told};
use crate::base::secret::Secret;
use crate::core::authorize::{self, Returned};
use crate::core::token_answer::fit_to_show;
use crate::format::terminal::{Address, Transcript};
use crate::sys::process::ProcessError;
use crate::sys::pty::{PtySpec, Session};

/// A screen that was still for so long is drawn to its end: an address may come in pieces.
const STILL: Duration = Duration::from_millis(300);
/// So long, if the question for the code is not on it yet.
const STILL_WITHOUT_QUESTION: Duration = Duration::from_secs(3);

/// How the login of a CLI looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looks {
    /// Where a person may be sent.
    pub hosts: &'static [&'static str],
    /// The words of its question for the code.
    pub question: &'static str,
}

/// Runs the login to its end. That the CLI ended well proves nothing; the caller looks at what it left.
/// `has_browser`: the CLI may open one on this machine, so that the answer may come past us.
///
/// # Errors
/// See [`Failed`].
pub async fn run(
    command: &PtySpec,
    looks: Looks,
    has_browser: bool,
    lines: &mut Lines,
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<(), Failed> {
    let session = Session::start(command).map_err(|error: ProcessError| Failed::System(error.to_string()))?;
    let mut talk = Talk { looks, has_browser, ..Talk::default() };
    let ended = tokio::time::timeout(patience, talk.hold(&session, lines, tell)).await;
    let status = session.end().await.map_err(|error| Failed::System(error.to_string()))?;
    ended.map_err(|_late| Failed::Late)??;
    if status.success() { Ok(()) } else { Err(Failed::Cli(talk.last_words())) }
}

/// What was said so far.
#[derive(Debug, Default)]
struct Talk {
    looks: Looks,
    has_browser: bool,
    screen: Transcript,
    /// The address that the person was sent to.
    address: Option<Address>,
    typed: Option<Secret>,
    /// Something was drawn since the screen was looked at.
    is_fresh: bool,
}

impl Talk {
    /// Until the CLI has ended.
    async fn hold(
        &mut self,
        session: &Session,
        lines: &mut Lines,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), Failed> {
        let system = |error: std::io::Error| Failed::System(error.to_string());
        let mut chunk = Zeroizing::new([0_u8; 4096]);
        let mut has_lines = true;
        let mut asks = false;
        loop {
            let still = if asks { STILL } else { STILL_WITHOUT_QUESTION };
            tokio::select! {
                biased;
                read = session.read(chunk.as_mut_slice()) => {
                    let read = read.map_err(system)?;
                    if read == 0 {
                        return Ok(());
                    }
                    self.screen.feed(chunk.get(..read).unwrap_or_default());
                    self.is_fresh = true;
                    asks = asks || self.screen.shows(self.looks.question);
                }
                line = lines.next(), if has_lines && asks && self.address.is_some() => match line {
                    Some(line) => self.answer(session, &line, tell).await?,
                    None if self.typed.is_none() && !self.has_browser => return Err(Failed::NoAnswer),
                    None => has_lines = false,
                },
                () = tokio::time::sleep(still), if self.is_fresh => self.look(asks, tell)?,
            }
        }
    }

    /// Looks at a screen that is still.
    fn look(&mut self, asks: bool, tell: &mut dyn FnMut(Told<'_>)) -> Result<(), Failed> {
        self.is_fresh = false;
        let Some(address) = self.screen.authorize_address(self.looks.hosts) else { return Ok(()) };
        if self.address.as_ref() == Some(&address) {
            return Ok(());
        }
        if !asks && !self.has_browser {
            return Err(Failed::TakesNoCode);
        }
        tell(Told::VisitFor { url: address.as_str(), takes_code: asks });
        self.address = Some(address);
        Ok(())
    }

    /// Types what the person brought, if it belongs to the address.
    async fn answer(
        &mut self,
        session: &Session,
        line: &Secret,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), Failed> {
        let state = self.address.as_ref().and_then(|address| address.parameter("state"));
        let state = state.unwrap_or_default();
        match authorize::from_paste(line.expose(), state) {
            Ok(Returned::Code(code)) => {
                let typed = Zeroizing::new(format!("{}#{state}\r", code.expose()));
                // A CLI that has ended in this moment says so by itself.
                let _ = session.write_all(typed.as_bytes()).await;
                self.typed = Some(code);
                Ok(())
            }
            Ok(Returned::Refused { error, description }) => Err(Failed::Refused { error, description }),
            Err(unfit) => {
                tell(Told::Unfit(unfit));
                Ok(())
            }
        }
    }

    /// What the CLI said last, without the code.
    fn last_words(&self) -> String {
        let typed = self.typed.as_ref().map_or("", Secret::expose);
        fit_to_show(&self.screen.last_words(typed))
    }
}
