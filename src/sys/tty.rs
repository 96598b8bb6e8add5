//! The terminal of the person who typed the command: its size, and changes of its ways that are undone
//! when they are over, whatever ends them.
//!
//! It is opened anew, so that `O_NONBLOCK` is ours alone and not also our parent shell's.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::char_device::CharDevice;

/// Rows and columns of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of the window that standard output is, where it is one and knows it.
#[must_use]
pub fn size_of_output() -> Option<WindowSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// What is changed of a terminal's ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// What is typed is not shown; lines and Ctrl-C stay.
    NoEcho,
    /// Every key comes as it is, Ctrl-C too.
    Raw,
}

/// The person's terminal with changed ways; dropping it puts the old ones back.
#[derive(Debug)]
pub struct Tty {
    terminal: CharDevice<File>,
    before: Termios,
}

impl Tty {
    /// Opens the terminal that standard input is, and changes its ways; `None` where standard input
    /// is no terminal. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says of the terminal.
    pub fn open(change: Change) -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
            .open("/proc/self/fd/0")?;
        let before = tcgetattr(&file)?;
        let mut changed = before.clone();
        match change {
            Change::NoEcho => {
                changed.local_modes.remove(LocalModes::ECHO);
                // The line end is shown, so that what comes next begins a line.
                changed.local_modes.insert(LocalModes::ECHONL);
            }
            Change::Raw => changed.make_raw(),
        }
        let tty = Self { terminal: CharDevice::new(file)?, before };
        tcsetattr(tty.terminal.inner(), OptionalActions::Now, &changed)?;
        Ok(Some(tty))
    }

    /// The size of its window, where it knows one.
    #[must_use]
    pub fn size(&self) -> Option<WindowSize> {
        let size = tcgetwinsize(self.terminal.inner()).ok()?;
        let known = size.ws_row > 0 && size.ws_col > 0;
        known.then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
    }

    /// The next bytes that were typed; 0 at the end, which is also when the window was closed.
    ///
    /// # Errors
    /// What the system says of the terminal.
    pub async fn read(&self, chunk: &mut [u8]) -> io::Result<usize> {
        self.terminal.read(chunk).await
    }

    /// Shows these bytes, all of them, as they are.
    ///
    /// # Errors
    /// What the system says of the terminal.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.terminal.write_all(bytes).await
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // A window that was closed has no ways to put back.
        let _ = tcsetattr(self.terminal.inner(), OptionalActions::Flush, &self.before);
    }
}
