//! Runs one command to its end: exact environment, own process group, deadline, bounded output.
//!
//! The group is the unit: when the command has ended, is late, or is no longer wanted (the future
//! was dropped), whatever is left of its group is killed. A process that left the group on
//! purpose (a daemon of its own session) is not followed. Nothing is ever written to a log here,
//! and the output is a `Document`: a CLI may print tokens.

mod group;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

pub(super) use self::group::{Group, Leads};
use crate::base::secret::Document;

/// How long the pipes may still deliver after the whole group is dead: only what lies in them.
const DRAIN: Duration = Duration::from_millis(500);

/// A command and its limits.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    /// Program and arguments. A program without slash is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment: nothing of ours is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// What the command reads; absent: `/dev/null`.
    pub stdin: Option<Document>,
    /// Working directory; absent: ours.
    pub cwd: Option<PathBuf>,
    /// Time to run before the group gets SIGTERM, and five seconds later SIGKILL.
    pub deadline: Duration,
    /// Bytes kept of each output stream; the rest is read, counted and thrown away.
    pub output_limit: usize,
}

/// A command that ran.
#[derive(Debug)]
pub struct Finished {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// True when the deadline passed before the command ended.
    pub timed_out: bool,
}

impl Finished {
    /// True when the command ended by itself, in time, with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status.success() && !self.timed_out
    }
}

/// The beginning of an output stream.
#[derive(Debug)]
pub struct Captured {
    /// The first bytes, up to the limit.
    pub bytes: Document,
    /// How many bytes there were.
    pub total: u64,
}

impl Captured {
    /// True when there was more than was kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// Why a command did not run.
#[derive(Debug)]
pub enum ProcessError {
    /// `argv` is empty.
    NoCommand,
    /// There is no such program, or no such working directory.
    NotFound {
        /// The program as given.
        program: OsString,
    },
    /// The system refused to start it, or to tell us of its end.
    Io {
        /// The program as given.
        program: OsString,
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("no command is given"),
            Self::NotFound { program } => write!(f, "command '{}' not found", program.display()),
            Self::Io { program, source } => write!(f, "cannot run '{}': {source}", program.display()),
        }
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Runs `spec` to its end. Dropping the future kills the group.
///
/// # Errors
/// Only when the command could not be started or waited for; a failing or late command is a
/// `Finished`.
pub async fn run(spec: CommandSpec) -> Result<Finished, ProcessError> {
    let (program, arguments) = spec.argv.split_first().ok_or(ProcessError::NoCommand)?;
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ProcessError::NotFound { program: program.clone() },
        _ => ProcessError::Io { program: program.clone(), source },
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.env).process_group(0);
    command.stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    let mut group = Group::new(command.spawn().map_err(fail)?, Leads::Group);
    let (stdin, out, err) = group.pipes();
    let stdin = stdin.map(ChildStdin::from_std).transpose().map_err(fail)?;
    let out = out.map(ChildStdout::from_std).transpose().map_err(fail)?;
    let err = err.map(ChildStderr::from_std).transpose().map_err(fail)?;

    let mut stdout = Sink::new(spec.output_limit);
    let mut stderr = Sink::new(spec.output_limit);
    let timed_out = {
        let io = async {
            tokio::join!(feed(stdin, spec.stdin.as_ref()), stdout.fill(out), stderr.fill(err));
        };
        let ended = group.end(spec.deadline);
        tokio::pin!(io, ended);
        tokio::select! {
            timed_out = &mut ended => {
                // The group is dead. A process outside it may hold the pipes open for ever.
                let _ = tokio::time::timeout(DRAIN, &mut io).await;
                timed_out
            }
            () = &mut io => ended.await,
        }
        .map_err(fail)?
    };
    let status = group.reap().map_err(fail)?;
    Ok(Finished { status, stdout: stdout.captured(), stderr: stderr.captured(), timed_out })
}

/// Writes the input. A command that does not read it, or only a part, is not an error.
async fn feed(pipe: Option<ChildStdin>, input: Option<&Document>) {
    if let (Some(mut pipe), Some(input)) = (pipe, input) {
        let _ = pipe.write_all(input.expose()).await;
    }
}

/// Keeps the beginning of a stream and counts all of it.
struct Sink {
    kept: zeroize::Zeroizing<Vec<u8>>,
    limit: usize,
    total: u64,
}

impl Sink {
    fn new(limit: usize) -> Self {
        Self { kept: zeroize::Zeroizing::new(Vec::new()), limit, total: 0 }
    }

    async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = zeroize::Zeroizing::new([0_u8; 4096]);
        loop {
            // A pipe that cannot be read has ended, as far as anybody can tell.
            let Ok(n @ 1..) = pipe.read(chunk.as_mut_slice()).await else { return };
            self.total += n as u64;
            let room = (self.limit - self.kept.len()).min(n);
            self.grow(room);
            self.kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
        }
    }

    /// Makes room without leaving an unwiped smaller buffer behind, as `Vec` alone would.
    fn grow(&mut self, more: usize) {
        let needed = self.kept.len() + more;
        if needed > self.kept.capacity() {
            let mut larger = Vec::with_capacity(needed.next_power_of_two());
            larger.extend_from_slice(&self.kept);
            self.kept = zeroize::Zeroizing::new(larger);
        }
    }

    fn captured(mut self) -> Captured {
        Captured { bytes: Document::new(std::mem::take(&mut *self.kept)), total: self.total }
    }
}

#[cfg(test)]
mod tests;
