//! Real commands on a terminal: what they see, what they are told, and that nothing of them is left.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

const SOON: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Session {
    Session::start(&PtySpec {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: Some("/usr".into()),
        size: WindowSize { rows: 40, columns: 2000 },
    })
    .unwrap()
}

/// Reads until `wanted` was shown, or to the end of everything.
async fn shown(session: &Session, wanted: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 512];
    let reading = async {
        while wanted.is_empty() || !text.contains(wanted) {
            match session.read(&mut chunk).await.unwrap() {
                0 => break,
                n => text.push_str(&String::from_utf8_lossy(&chunk[..n])),
            }
        }
    };
    assert!(tokio::time::timeout(SOON, reading).await.is_ok(), "{wanted:?} is not shown: {text}");
    text
}

/// True when a process exists and is not a zombie.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until killed processes are gone.
async fn gone(pids: &[&str]) -> bool {
    for _ in 0..500 {
        if !pids.iter().any(|pid| is_running(pid)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// A command that notes the numbers of: itself; a child that shrugs off every polite signal; and,
/// by way of a shell with job control, one in a process group of its own.
const STUBBORN: &str = r#"trap '' HUP TERM INT
(trap '' HUP TERM INT; exec sleep 1000) & one=$!
set -m
(trap '' HUP TERM INT; exec sleep 1000) & two=$!
echo "pids: $$ $one $two."
wait"#;

async fn pids_of(session: &Session) -> Vec<String> {
    let text = shown(session, ".").await;
    let list = text.split_once("pids: ").unwrap().1.split_once('.').unwrap().0;
    list.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_command_has_a_terminal_of_that_width_and_exactly_its_environment() {
    let session = shell("test -t 0 && test -t 1 && test -t 2 && echo > /dev/tty; stty size; pwd; env");
    let text = shown(&session, "").await;
    assert!(text.contains("\r\n40 2000\r\n/usr\r\n"), "{text:?}");
    assert!(!text.contains("HOME=") && !text.contains("CARGO"), "{text:?}");
    assert!(session.end().await.unwrap().code().is_some());
}

#[tokio::test]
async fn what_is_typed_is_read_and_a_new_size_is_told() {
    let script = "stty -echo; trap 'stty size; exit 7' WINCH; echo ready; read line; echo \"<$line>\"; while :; do read x; done";
    let session = shell(script);
    shown(&session, "ready").await;
    session.write_all(b"a code#state\r").await.unwrap();
    shown(&session, "<a code#state>").await;
    session.resize(WindowSize { rows: 10, columns: 20 });
    shown(&session, "10 20").await;
    shown(&session, "").await;
    assert_eq!(session.end().await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn the_end_of_the_command_is_the_end_of_its_session() {
    let session = shell("trap '' HUP; sleep 1000 & echo \"pids: $!.\"");
    let pids = pids_of(&session).await;
    // The child held the terminal open, and is dead.
    shown(&session, "").await;
    assert_eq!(session.end().await.unwrap().code(), Some(0));
    assert!(gone(&[&pids[0]]).await);
}

#[tokio::test]
async fn a_dropped_session_leaves_no_process_of_any_group() {
    let session = shell(STUBBORN);
    let pids = pids_of(&session).await;
    assert!(pids.len() == 3 && pids.iter().all(|pid| is_running(pid)), "{pids:?}");
    let group = |pid: &str| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid.parse().unwrap())));
    assert_ne!(group(&pids[0]), group(&pids[2]), "one is in another group");
    drop(session);
    assert!(gone(&[&pids[0], &pids[1], &pids[2]]).await, "{pids:?}");
}

#[tokio::test]
async fn ending_is_polite_first_and_certain_in_the_end() {
    let session = shell("trap 'echo bye; exit 9' TERM; echo ready; while :; do read x; done");
    shown(&session, "ready").await;
    assert_eq!(session.end().await.unwrap().code(), Some(9));
    let session = shell(STUBBORN);
    let pids = pids_of(&session).await;
    let status = session.end().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    assert!(gone(&[&pids[0], &pids[1], &pids[2]]).await, "{pids:?}");
}

#[tokio::test]
async fn a_flood_that_nobody_reads_waits_in_the_terminal() {
    let session = shell("echo ready; exec yes");
    shown(&session, "ready").await;
    session.end().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let spec = PtySpec {
        argv: vec!["/no/such/program".into()],
        env: BTreeMap::new(),
        cwd: None,
        size: WindowSize { rows: 1, columns: 1 },
    };
    let error = Session::start(&spec).unwrap_err();
    assert_eq!(error.to_string(), "command '/no/such/program' not found");
    assert!(matches!(Session::start(&PtySpec { argv: Vec::new(), ..spec }), Err(ProcessError::NoCommand)));
}
