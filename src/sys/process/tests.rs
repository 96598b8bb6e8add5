//! Real commands: output, deadlines, and that nothing of a group is left.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::group::GRACE;
use super::*;

const LATE: Duration = Duration::from_secs(60);

fn shell(script: &str) -> CommandSpec {
    CommandSpec {
        argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        stdin: None,
        cwd: None,
        deadline: LATE,
        output_limit: 4096,
    }
}

fn text(captured: &Captured) -> String {
    String::from_utf8_lossy(captured.bytes.expose()).into_owned()
}

/// True when a process exists and is not a zombie.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until a killed process is gone.
async fn gone(pid: &str) -> bool {
    for _ in 0..500 {
        if !is_running(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn a_command_has_exactly_the_environment_the_input_and_the_directory_it_was_given() {
    let mut spec = shell("env; pwd; cat; echo oops >&2; exit 3");
    spec.env.insert("ONLY".into(), "this".into());
    spec.stdin = Some(Document::new(b"from stdin\n".to_vec()));
    spec.cwd = Some("/usr".into());
    let done = run(spec).await.unwrap();
    let out = text(&done.stdout);
    assert!(out.contains("ONLY=this\n") && out.contains("/usr\nfrom stdin\n"), "{out}");
    assert!(!out.contains("HOME=") && !out.contains("CARGO"), "{out}");
    assert_eq!(
        (text(&done.stderr).as_str(), done.status.code(), done.succeeded()),
        ("oops\n", Some(3), false)
    );
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_does_not_block() {
    let mut spec = shell("head -c 1000000 /dev/zero; head -c 300 /dev/zero >&2");
    spec.output_limit = 1000;
    let done = run(spec).await.unwrap();
    assert!(done.succeeded());
    assert_eq!(
        (done.stdout.bytes.len(), done.stdout.total, done.stdout.is_truncated()),
        (1000, 1_000_000, true)
    );
    assert_eq!((done.stderr.bytes.len(), done.stderr.total, done.stderr.is_truncated()), (300, 300, false));
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_is_no_error() {
    let mut spec = shell("exec 0<&-; exit 0");
    spec.stdin = Some(Document::new(vec![b'x'; 1_000_000]));
    assert!(run(spec).await.unwrap().succeeded());
}

#[tokio::test]
async fn a_late_command_that_ignores_sigterm_and_forks_is_killed_with_its_children() {
    let mut spec =
        shell("trap '' TERM; sh -c 'trap \"\" TERM; sleep 100' & echo $!; while :; do sleep 1; done");
    spec.deadline = Duration::from_millis(500);
    let before = crate::sys::clock::monotonic();
    let done = run(spec).await.unwrap();
    let took = crate::sys::clock::monotonic() - before;
    assert!(done.timed_out && !done.succeeded());
    assert_eq!(done.status.signal(), Some(9));
    assert!(took >= GRACE && took < GRACE + Duration::from_secs(10), "{took:?}");
    assert!(gone(&text(&done.stdout)).await);
}

#[tokio::test]
async fn a_late_command_that_obeys_sigterm_is_not_killed_hard() {
    let mut spec = shell("trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done");
    spec.deadline = Duration::from_millis(300);
    let done = run(spec).await.unwrap();
    assert!(done.timed_out);
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(7), "bye\n"));
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_and_does_not_hold_the_result_back() {
    let before = crate::sys::clock::monotonic();
    let done = run(shell("sleep 100 & echo $!")).await.unwrap();
    assert!(done.succeeded());
    assert!(crate::sys::clock::monotonic() - before < Duration::from_secs(10));
    assert!(gone(&text(&done.stdout)).await);
}

#[tokio::test]
async fn a_process_that_left_the_group_and_keeps_the_pipe_does_not_hold_the_result_back() {
    let before = crate::sys::clock::monotonic();
    let done = run(shell("setsid sleep 100 & echo $!; sleep 0.2")).await.unwrap();
    assert!(done.succeeded());
    assert!(crate::sys::clock::monotonic() - before < Duration::from_secs(10));
    let pid: i32 = text(&done.stdout).trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_dropped_run_kills_the_group() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut spec = shell("sleep 100 & echo $! > pid.new; mv pid.new pid; wait");
    spec.cwd = Some(dir.path().to_path_buf());
    let file = dir.path().join("pid");
    let pid = {
        let running = run(spec);
        tokio::pin!(running);
        loop {
            let pause = tokio::time::sleep(Duration::from_millis(10));
            tokio::select! {
                done = &mut running => panic!("{done:?}"),
                () = pause => {}
            }
            if let Ok(pid) = std::fs::read_to_string(&file) {
                break pid;
            }
        }
    };
    assert!(gone(&pid).await);
}

#[tokio::test]
async fn a_missing_program_and_an_empty_command_are_told_apart() {
    let mut spec = shell("");
    spec.argv = vec!["no-such-program-here".into()];
    let error = run(spec.clone()).await.unwrap_err();
    assert!(matches!(error, ProcessError::NotFound { .. }));
    assert_eq!(error.to_string(), "command 'no-such-program-here' not found");
    spec.argv.clear();
    assert!(matches!(run(spec).await.unwrap_err(), ProcessError::NoCommand));
}

#[tokio::test]
async fn commands_run_side_by_side() {
    let (a, b) = tokio::join!(run(shell("sleep 0.2; echo a")), run(shell("sleep 0.1; echo b")));
    assert_eq!((text(&a.unwrap().stdout).as_str(), text(&b.unwrap().stdout).as_str()), ("a\n", "b\n"));
}
