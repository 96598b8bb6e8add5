//! A command on a terminal that the test holds: what a person sees, types and resizes.

use std::process::Command;
use std::time::Duration;

use tokensink::sys::pty::{PtySpec, Session};
use tokensink::sys::tty::WindowSize;

/// A command on a terminal of 90 columns.
pub struct OnTerminal {
    session: Session,
    shown: String,
}

/// Runs a test that holds terminals.
pub fn holding<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

impl OnTerminal {
    /// Starts it, through a shell that says afterwards how it ended and what the terminal's ways are.
    pub fn start(command: &Command) -> Self {
        let text = |os: &std::ffi::OsStr| os.to_str().unwrap().to_owned();
        let script = "stty -onlcr; trap : INT; \"$@\"; echo \"<ended $?>\"; stty -a; echo '<ways>'";
        let mut argv = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        argv.push(text(command.get_program()));
        argv.extend(command.get_args().map(text));
        let env = command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
        let size = WindowSize { rows: 30, columns: 90 };
        let cwd = command.get_current_dir().map(Into::into);
        let session = Session::start(&PtySpec { argv, env: env.collect(), cwd, size }).unwrap();
        Self { session, shown: String::new() }
    }

    /// Waits until that was shown.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let mut chunk = [0; 4096];
            while !self.shown.contains(text) {
                let read =
                    tokio::time::timeout(Duration::from_secs(240), self.session.read(&mut chunk)).await;
                let read = read
                    .unwrap_or_else(|_| panic!("{place}: {text:?} is not shown: {}", self.shown))
                    .unwrap();
                assert!(read > 0, "{place}: it ended before {text:?}: {}", self.shown);
                self.shown.push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        }
    }

    pub async fn type_in(&self, text: &str) {
        self.session.write_all(text.as_bytes()).await.unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.session.resize(WindowSize { rows, columns });
    }

    /// Waits for its end, at which the terminal must be as it was; its exit code and all that was shown.
    #[track_caller]
    pub fn end(mut self) -> impl Future<Output = (i32, String)> {
        let place = std::panic::Location::caller();
        async move {
            self.until("<ways>").await;
            let ways = self.shown.split("<ended ").nth(1).unwrap().to_owned();
            let code = ways.split('>').next().unwrap().parse().unwrap();
            for way in ["echo", "icanon", "isig", "icrnl"] {
                assert!(ways.split_whitespace().any(|word| word == way), "{place}: {way} is lost: {ways}");
            }
            (code, self.shown)
        }
    }
}
