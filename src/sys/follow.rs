//! A command that goes on until nobody wants it any more, and whose lines are counted as they come.
//! Nothing of them is kept: what others log is hostile, and may be a token. Memory is bounded whatever
//! it prints; what it prints faster than it can be counted waits in its pipe.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use super::process::{Group, Leads};

/// Runs a command in a process group of its own and calls `heard` with the number of lines of each
/// piece of its standard output; returns at its end. Dropping the future kills the group.
///
/// # Errors
/// When it cannot be started or waited for.
pub async fn count_lines(
    argv: &[String],
    env: &BTreeMap<String, String>,
    heard: &mut dyn FnMut(u64),
) -> io::Result<ExitStatus> {
    let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "no command is given");
    let (program, arguments) = argv.split_first().ok_or_else(nothing)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(env).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut group = Group::new(command.spawn()?, Leads::Group);
    if let (_, Some(pipe), _) = group.pipes() {
        let mut pipe = ChildStdout::from_std(pipe)?;
        let mut chunk = [0_u8; 1024];
        loop {
            let read = pipe.read(&mut chunk).await?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            if lines > 0 {
                heard(u64::try_from(lines).unwrap_or(u64::MAX));
            }
        }
    }
    // Who has closed its output and runs on is of no use.
    group.end(Duration::ZERO).await?;
    group.reap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Vec<String>, BTreeMap<String, String>) {
        let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        (["sh", "-c", script].map(str::to_owned).to_vec(), env)
    }

    #[tokio::test]
    async fn lines_are_counted_whatever_is_in_them_and_its_end_is_told() {
        let (argv, env) = shell("printf 'a\\n\\000b\\nc'; head -c 300000 /dev/zero; echo; exit 3");
        let mut lines = 0;
        let status = count_lines(&argv, &env, &mut |more| lines += more).await.unwrap();
        assert_eq!((lines, status.code()), (3, Some(3)));
        let missing = count_lines(&["/nonexistent".to_owned()], &env, &mut |_| {}).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_line_is_told_while_the_command_goes_on_and_a_dropped_future_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut argv, env) = shell("echo $$ > \"$0/pid\"; echo heard; exec sleep 1h");
        argv.push(dir.path().display().to_string());
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        {
            let mut heard = |lines| sender.send(lines).unwrap();
            let following = count_lines(&argv, &env, &mut heard);
            tokio::select! {
                ended = following => panic!("it ended: {ended:?}"),
                lines = receiver.recv() => assert_eq!(lines, Some(1)),
            }
        }
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        while !stat().rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')) {
            tokio::task::yield_now().await;
        }
    }
}
