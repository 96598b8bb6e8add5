//! What a person types or pastes: lines of standard input, while something else may answer first.

use std::io::{BufRead as _, Read as _};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::base::secret::Secret;

/// The longest line that is kept; the reader of a pasted answer refuses it as too long.
pub(super) const LONGEST: u64 = 32 * 1024;

/// Lines of standard input as they come. Nothing is read before the first is asked for.
#[derive(Debug)]
pub struct Lines {
    come: UnboundedReceiver<Secret>,
    /// Until standard input is read.
    unread: Option<UnboundedSender<Secret>>,
}

impl Lines {
    /// Those of standard input.
    #[must_use]
    pub fn of_stdin() -> Self {
        Self::of_stdin_and_others().0
    }

    /// The same, and lines that come in another way: as long as the sender is there, the end of
    /// standard input is not the end of them.
    #[must_use]
    pub fn of_stdin_and_others() -> (Self, UnboundedSender<Secret>) {
        let (sender, come) = mpsc::unbounded_channel();
        (Self { come, unread: Some(sender.clone()) }, sender)
    }

    /// The next line that is not blank; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Secret> {
        if let Some(sender) = self.unread.take() {
            std::thread::spawn(move || read(&sender));
        }
        loop {
            let line = self.come.recv().await?;
            if !line.is_blank() {
                return Some(line);
            }
        }
    }
}

/// Reads to the end of standard input, waiting for lines that may never come; the thread that does so
/// ends with the process.
fn read(sender: &UnboundedSender<Secret>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        let line = Secret::new(String::from_utf8(line).unwrap_or_default());
        if !matches!(read, Ok(1..)) || sender.send(line).is_err() {
            break;
        }
    }
}
