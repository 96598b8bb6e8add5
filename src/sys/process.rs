//! Runs one command to its end: exact environment, own process group, deadline, bounded output.
//!
//! The group is the unit: when the command has ended, is late, or is no longer wanted (the future
//! was dropped), whatever is left of its group is killed. A process that left the group on
//! purpose (a daemon of its own session) is not followed. Nothing is ever written to a log here,
//! and the output is a `Document`: a CLI may print tokens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::base::secret::Document;

/// Between the polite and the hard signal.
const GRACE: Duration = Duration::from_secs(5);

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
    // Before the start, or the end of a quick command could be missed.
    let children = signal(SignalKind::child()).map_err(fail)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.env).process_group(0);
    command.stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    let mut group = Group::new(command.spawn().map_err(fail)?);
    let pipes = group.pipes().map_err(fail)?;

    let mut stdout = Sink::new(spec.output_limit);
    let mut stderr = Sink::new(spec.output_limit);
    let timed_out = {
        let io = async {
            tokio::join!(
                feed(pipes.stdin, spec.stdin.as_ref()),
                stdout.fill(pipes.stdout),
                stderr.fill(pipes.stderr)
            );
        };
        let ended = group.end(children, spec.deadline);
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

struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// The process group of a started command; killed and waited for when dropped.
///
/// The leader is only reaped after the group was killed: as long as it is a zombie its number,
/// which is the group's number, cannot be given to anybody else.
struct Group {
    child: Option<Child>,
    pgid: Pid,
}

impl Group {
    fn new(child: Child) -> Self {
        // A process number is positive and fits.
        let pgid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Self { child: Some(child), pgid }
    }

    fn pipes(&mut self) -> io::Result<Pipes> {
        let Some(child) = &mut self.child else {
            return Ok(Pipes { stdin: None, stdout: None, stderr: None });
        };
        Ok(Pipes {
            stdin: child.stdin.take().map(ChildStdin::from_std).transpose()?,
            stdout: child.stdout.take().map(ChildStdout::from_std).transpose()?,
            stderr: child.stderr.take().map(ChildStderr::from_std).transpose()?,
        })
    }

    /// Waits until the leader has ended, helping it after `deadline`, then kills the rest of the
    /// group. Returns whether the deadline passed.
    async fn end(&self, mut children: SignalStream, deadline: Duration) -> io::Result<bool> {
        let mut timed_out = false;
        if tokio::time::timeout(deadline, self.leader_ended(&mut children)).await.is_err() {
            timed_out = true;
            self.signal(Signal::SIGTERM);
            if tokio::time::timeout(GRACE, self.leader_ended(&mut children)).await.is_err() {
                self.signal(Signal::SIGKILL);
                self.leader_ended(&mut children).await?;
            }
        }
        self.signal(Signal::SIGKILL);
        Ok(timed_out)
    }

    async fn leader_ended(&self, children: &mut SignalStream) -> io::Result<()> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(self.pgid), flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
            children.recv().await;
        }
    }

    fn signal(&self, signal: Signal) {
        // ESRCH: all gone. EPERM: a set-user-id program, which is out of our reach.
        let _ = killpg(self.pgid, signal);
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Ok(ExitStatus::from_raw(0)),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.signal(Signal::SIGKILL);
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A killed process needs a moment to die; it is collected in the background.
        if let (Ok(runtime), Ok(mut children)) =
            (tokio::runtime::Handle::try_current(), signal(SignalKind::child()))
        {
            runtime.spawn(async move {
                while matches!(child.try_wait(), Ok(None)) {
                    children.recv().await;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
