//! A command on a terminal of its own that we hold: for CLIs that draw, or that refuse to speak to a pipe.
//!
//! The command leads a new session with that terminal. Whatever is left of the session is killed when
//! the command has ended or is no longer wanted, a dropped future included; deadlines are the
//! caller's, who drops it. Nothing is kept here: what comes out of the terminal may be a token.
//! The terminal and the fork are `pty-process`'s: between fork and exec nothing is safe code.

use std::cell::Cell;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use super::char_device::CharDevice;
use super::process::{Group, Leads, ProcessError};
use super::tty::WindowSize;

/// How long the terminal may still deliver after the whole session is dead: only what lies in it.
const DRAIN: Duration = Duration::from_millis(500);

/// A command and its terminal.
#[derive(Debug, Clone)]
pub struct PtySpec {
    /// Program and arguments. A program without slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing of ours is inherited. `TERM` is the caller's to set.
    pub env: std::collections::BTreeMap<String, String>,
    /// Working directory; absent: ours.
    pub cwd: Option<std::path::PathBuf>,
    /// What the command is told of the size of its window.
    pub size: WindowSize,
}

/// A started command and our end of its terminal.
pub struct Session {
    // Before the terminal: the processes are killed first, then it is closed.
    group: Group,
    terminal: CharDevice<Pty>,
    /// The command has ended, and the rest of its session is killed.
    is_over: Cell<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.group.fmt(f)
    }
}

impl Session {
    /// Starts the command. Must be called within a tokio runtime that has I/O enabled.
    ///
    /// # Errors
    /// When there is no such program, or the system refused a terminal or a process.
    pub fn start(spec: &PtySpec) -> Result<Self, ProcessError> {
        let (program, arguments) = spec.argv.split_first().ok_or(ProcessError::NoCommand)?;
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ProcessError::NotFound { program: program.into() },
            _ => ProcessError::Io { program: program.into(), source },
        };
        let (pty, inner) = open().map_err(|error| fail(system(error)))?;
        pty.resize(size(spec.size)).map_err(|error| fail(system(error)))?;
        let mut command = Command::new(program).args(arguments).env_clear().envs(&spec.env);
        if let Some(cwd) = &spec.cwd {
            command = command.current_dir(cwd);
        }
        let child = command.spawn(inner).map_err(|error| fail(system(error)))?;
        let group = Group::new(child, Leads::Session);
        let terminal = CharDevice::new(pty).map_err(fail)?;
        Ok(Self { group, terminal, is_over: Cell::new(false) })
    }

    /// The next bytes that were written to the terminal; 0 at the end: when the command itself has
    /// ended (the rest of its session is killed then) and what it had written is read.
    ///
    /// # Errors
    /// What the system says of the terminal, or when it does not tell of the command's end.
    pub async fn read(&self, chunk: &mut [u8]) -> io::Result<usize> {
        if !self.is_over.get() {
            tokio::select! {
                biased;
                read = self.terminal.read(chunk) => return read,
                ended = self.group.leader_ended() => ended?,
            }
            self.group.signal(Signal::SIGKILL);
            self.is_over.set(true);
        }
        // A process that left the session may hold the terminal open for ever.
        tokio::time::timeout(DRAIN, self.terminal.read(chunk)).await.unwrap_or(Ok(0))
    }

    /// Types as many of these bytes as are taken now.
    ///
    /// # Errors
    /// What the system says of the terminal; also when nobody has it open any more.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.terminal.write(bytes).await
    }

    /// Types these bytes, all of them.
    ///
    /// # Errors
    /// What the system says of the terminal; also when nobody has it open any more.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.terminal.write_all(bytes).await
    }

    /// Tells the command that its window has another size now.
    pub fn resize(&self, to: WindowSize) {
        // A terminal that is open takes any size.
        let _ = self.terminal.inner().resize(size(to));
    }

    /// Ends the command if it still runs: politely, five seconds later not so; whatever is left of its session is
    /// killed. Returns how the command ended, by itself or by this.
    ///
    /// # Errors
    /// When the system does not tell of its end.
    pub async fn end(mut self) -> io::Result<ExitStatus> {
        self.group.end(Duration::ZERO).await?;
        self.group.reap()
    }
}

fn size(size: WindowSize) -> Size {
    Size::new(size.rows, size.columns)
}

fn system(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
    }
}

#[cfg(test)]
mod tests;
