//! What a person types or pastes: lines of standard input, while something else may answer first.

use std::io::{BufRead as _, Read as _};

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::base::secret::Secret;

/// The longest line that is kept; the reader of a pasted answer refuses it as too long.
const LONGEST: u64 = 32 * 1024;

/// Lines of standard input as they come.
#[derive(Debug)]
pub struct Lines(UnboundedReceiver<Secret>);

impl Lines {
    /// Begins to read. The thread that does so waits for a line that may never come; it ends with the
    /// process.
    #[must_use]
    pub fn of_stdin() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            loop {
                let mut line = Vec::new();
                let read = input.by_ref().take(LONGEST).read_until(b'\n', &mut line);
                let line = Secret::new(String::from_utf8(line).unwrap_or_default());
                if !matches!(read, Ok(1..)) || sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line that is not blank; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Secret> {
        loop {
            let line = self.0.recv().await?;
            if !line.is_blank() {
                return Some(line);
            }
        }
    }
}
