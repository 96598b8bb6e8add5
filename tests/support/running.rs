//! The program while it runs, and after.

use std::fs;
use std::io::Read as _;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CANARY, Home, holds};

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon<'a> {
    pub(super) home: &'a Home,
    pub pid: u32,
    pub(super) child: Mutex<Child>,
    /// The mark at its start.
    pub from: usize,
}

impl Daemon<'_> {
    pub fn until_ready(&self) {
        self.home.until("the daemon is ready", || {
            assert!(self.ended().is_none(), "the daemon has ended\n{}", self.home.story());
            self.is_ready()
        });
        self.keeps_quiet();
    }

    pub fn is_ready(&self) -> bool {
        !self.home.said(self.from, "READY=1").is_empty()
    }

    /// No token in its arguments or environment.
    fn keeps_quiet(&self) {
        for name in ["cmdline", "environ"] {
            let mut bytes = Vec::new();
            if let Ok(mut file) = fs::File::open(format!("/proc/{}/{name}", self.pid)) {
                let _ = file.read_to_end(&mut bytes);
            }
            assert!(!holds(&bytes, CANARY), "a token is in {name}");
        }
    }

    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn until_ended(&self) -> ExitStatus {
        let mut status = None;
        self.home.until("the daemon ends", || {
            status = self.ended();
            status.is_some()
        });
        status.unwrap()
    }

    /// Asks it to stop and tells how it ended.
    pub fn terminate(&self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.until_ended()
    }

    /// Asks it to stop; it must, and without complaint.
    pub fn stop(self) {
        self.keeps_quiet();
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.home.story());
        // Sent before its end, and perhaps read by us after it.
        self.home.until("its last word arrives", || !self.home.said(self.from, "STOPPING=1").is_empty());
    }

    /// Ends it as a crash would.
    pub fn crash(self) {
        self.signal(Signal::SIGKILL);
        self.until_ended();
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        *self.home.running.lock().unwrap() = None;
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
