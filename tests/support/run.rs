//! Running a command in a test and saying usefully what went wrong.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for messages.
    pub what: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily as text.
    pub stdout: String,
    /// Standard error, lossily as text.
    pub stderr: String,
}

impl Ran {
    /// What a process left that has ended.
    pub fn of(what: &str, output: &Output) -> Self {
        Self {
            what: what.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a command that must have succeeded, without the final line end.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.code == Some(0), "{self}");
        self.stdout.trim_end()
    }

    /// Both outputs.
    pub fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` ended with {:?}", self.what, self.code)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}

/// Dresses a command in the environment of a home below `root`, whose runtime directory is beside it, and nothing else.
pub fn dress<'a>(command: &'a mut Command, home: &Path, root: &Path) -> &'a mut Command {
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("XDG_RUNTIME_DIR", root.join("runtime"))
        .env("TOKENSINK_LOG", "trace")
        .current_dir(home)
}

/// Runs the command to its end with that standard input.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    let what = format!("{command:?}");
    Ran::of(&what, &output(command, input))
}

/// The same; what it left is not taken for text.
#[track_caller]
pub fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A child that answers before it has read everything must not block us.
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the child is ours");
    feeder.join().expect("the feeder does not panic");
    output
}
