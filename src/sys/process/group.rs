//! A started command with all that belongs to it: its process group, or its whole session. Killed and
//! waited for on every way out, a dropped future included.
//!
//! The leader is reaped only after the others were killed: as long as it is a zombie its number,
//! which is the group's and the session's number, cannot be given to anybody else. A process that left
//! on purpose (a daemon of its own session) is not followed.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// Between the polite and the hard signal.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Looks at the processes of a session while it is killed: each finds fewer, unless it forks on.
const ROUNDS: usize = 8;

/// What the leader leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// A process group.
    Group,
    /// A session: a shell with job control makes a group of each of its commands.
    Session,
}

/// The processes of a started command; killed and waited for when dropped.
#[derive(Debug)]
pub struct Group {
    child: Option<Child>,
    leader: Pid,
    leads: Leads,
}

impl Group {
    /// Takes over a child that was started as a leader.
    pub fn new(child: Child, leads: Leads) -> Self {
        // A process number is positive and fits.
        let leader = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Self { child: Some(child), leader, leads }
    }

    /// Takes the ends of the pipes that the child was given.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let Some(child) = &mut self.child else { return (None, None, None) };
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    /// Waits until the leader has ended, helping it after `deadline`, then kills the rest. Returns
    /// whether the deadline passed.
    pub async fn end(&self, deadline: Duration) -> io::Result<bool> {
        let mut timed_out = false;
        if tokio::time::timeout(deadline, self.leader_ended()).await.is_err() {
            timed_out = true;
            self.signal(Signal::SIGTERM);
            if tokio::time::timeout(GRACE, self.leader_ended()).await.is_err() {
                self.signal(Signal::SIGKILL);
                self.leader_ended().await?;
            }
        }
        self.signal(Signal::SIGKILL);
        Ok(timed_out)
    }

    /// Waits until the leader has ended; it stays a zombie.
    pub async fn leader_ended(&self) -> io::Result<()> {
        // Before the first look, or an end right after it would be missed.
        let mut children = signal(SignalKind::child())?;
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(self.leader), flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
            children.recv().await;
        }
    }

    /// Sends a signal to all of it. Once the leader is reaped, nothing happens.
    pub fn signal(&self, signal: Signal) {
        if self.child.is_none() {
            return;
        }
        // ESRCH: all gone. EPERM: a set-user-id program, which is out of our reach.
        let _ = killpg(self.leader, signal);
        if self.leads == Leads::Group {
            return;
        }
        let mut told = vec![self.leader];
        for _ in 0..ROUNDS {
            let new: Vec<Pid> = members(self.leader).into_iter().filter(|pid| !told.contains(pid)).collect();
            if new.is_empty() {
                return;
            }
            for pid in &new {
                let _ = kill(*pid, signal);
            }
            told.extend(new);
        }
    }

    /// Collects the leader, which has ended.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Ok(ExitStatus::from_raw(0)),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let Some(mut child) = self.child.take() else { return };
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

/// The processes of a session, as far as `/proc` shows them.
fn members(session: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| session_of(*pid) == Some(session.as_raw())).map(Pid::from_raw).collect()
}

/// `PID (NAME) STATE PARENT GROUP SESSION …`; a name may hold blanks and parentheses.
fn session_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}
