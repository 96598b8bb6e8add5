//! A command that outlives us: a process group of its own, nothing of ours in its hands, and nobody
//! kills it because we end or no longer wait. For a CLI that must not be broken off in mid-refresh.
//!
//! Its output goes to a file or nowhere, never to a pipe, whose reader it would lose with us.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// A command without limits.
#[derive(Debug, Clone)]
pub struct DetachedSpec {
    /// Program and arguments. A program without slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing of ours is inherited. It may hold a secret: the environment
    /// of a process is readable by its own user only.
    pub env: BTreeMap<String, String>,
    /// Where it runs; absent: in our working directory.
    pub cwd: Option<PathBuf>,
    /// The file, which exists, that gets both output streams; absent: `/dev/null`.
    pub output: Option<PathBuf>,
}

/// A command that was started. Dropping this leaves it running.
#[derive(Debug)]
pub struct Detached(Child);

impl Detached {
    /// Starts it. Must be called within a tokio runtime that has I/O enabled.
    ///
    /// # Errors
    /// When there is no such program, or the system refused to start it.
    pub fn start(spec: &DetachedSpec) -> io::Result<Self> {
        let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "no command is given");
        let (program, arguments) = spec.argv.split_first().ok_or_else(nothing)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&spec.env).process_group(0).kill_on_drop(false);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(path) = &spec.output {
            let file = OpenOptions::new().append(true).open(path)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.spawn().map(Self)
    }

    /// Waits for its end, at most so long; `None` when it still runs then.
    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        match tokio::time::timeout(within, self.0.wait()).await {
            Ok(Ok(status)) => Some(status),
            // Somebody else has collected it: it has ended, and nobody can tell how.
            Ok(Err(_)) => Some(ExitStatus::from_raw(0)),
            Err(_elapsed) => None,
        }
    }

    /// Sends a signal to its process group. Nothing happens once it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // ESRCH: gone in this moment.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(script: &str) -> DetachedSpec {
        DetachedSpec {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("WORD".to_owned(), "w".to_owned())]),
            cwd: None,
            output: None,
        }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn it_is_waited_for_with_patience_and_ends_by_a_signal_or_itself() {
        run(async {
            let mut child = Detached::start(&spec("exit 3")).unwrap();
            assert_eq!(child.ended(Duration::from_secs(20)).await.unwrap().code(), Some(3));
            let mut child = Detached::start(&spec("exec sleep 1h")).unwrap();
            assert!(child.ended(Duration::from_millis(20)).await.is_none());
            child.signal(Signal::SIGTERM);
            assert_eq!(child.ended(Duration::from_secs(20)).await.unwrap().signal(), Some(15));
            child.signal(Signal::SIGKILL);
            let missing = DetachedSpec { argv: vec!["/nonexistent/program".to_owned()], ..spec("") };
            assert_eq!(Detached::start(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    fn it_goes_on_when_nobody_waits_and_its_output_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (output, gate) = (dir.path().join("output"), dir.path().join("gate"));
        for path in [&output, &gate] {
            drop(OpenOptions::new().create(true).append(true).open(path).unwrap());
        }
        std::fs::remove_file(&gate).unwrap();
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = format!("read -r line <'{}'; echo \"$WORD $line\"; echo err >&2", gate.display());
        let started =
            run(async { Detached::start(&DetachedSpec { output: Some(output.clone()), ..spec(&script) }) });
        drop(started.unwrap());
        // It waits for us, and ends only now.
        use std::io::Write as _;
        OpenOptions::new().write(true).open(&gate).unwrap().write_all(b"goes on\n").unwrap();
        let said = || std::fs::read_to_string(&output).unwrap();
        while said() != "w goes on\nerr\n" {
            std::thread::yield_now();
        }
    }
}
