//! The lock protocols, on real files; foreign holders are played by hand.

#![expect(clippy::disallowed_methods, reason = "tests play the other programs")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::base::time::Timestamp;

const OLD: Staleness = Staleness { age: Duration::from_secs(60), frozen: Duration::ZERO };
const FILE: StoreLockOptions = StoreLockOptions { kind: StoreLockKind::File, foreign_namespace: false };
const DIRECTORY: StoreLockOptions = StoreLockOptions { kind: StoreLockKind::Directory, ..FILE };

fn steady() -> f64 {
    0.0
}

fn brief() -> Patience {
    Patience {
        total: Duration::from_millis(200),
        first: Duration::from_millis(10),
        longest: Duration::from_millis(20),
    }
}

/// Makes a file or directory look as old as that.
fn age(path: &Path, seconds: u64) {
    File::open(path).unwrap().set_modified(ago(seconds)).unwrap();
}

fn ago(seconds: u64) -> SystemTime {
    system(clock::now().before(Duration::from_secs(seconds)))
}

fn system(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.as_millis().try_into().unwrap())
}

async fn directory(
    path: &Path,
    staleness: Staleness,
    patience: Patience,
) -> Result<DirectoryLock, LockError> {
    DirectoryLock::acquire(path, staleness, patience, &mut steady).await
}

async fn store(path: &Path, options: StoreLockOptions) -> Result<StoreLock, LockError> {
    StoreLock::acquire(path, options, brief(), &mut steady).await
}

#[tokio::test]
async fn a_directory_lock_is_exclusive_beats_and_is_removed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    let mut lock = directory(&path, OLD, Patience::none()).await.unwrap();
    match directory(&path, OLD, brief()).await.unwrap_err() {
        LockError::Busy { moving: false, ahead, .. } => assert!(ahead < Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    age(&path, 0);
    // Our own time was moved by somebody else: not ours any more.
    assert!(matches!(lock.beat().unwrap_err(), LockError::Compromised { .. }));
    assert!(matches!(lock.release().unwrap_err(), LockError::Compromised { .. }));
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();

    let mut lock = directory(&path, OLD, Patience::none()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    lock.beat().unwrap();
    assert!(lock.is_ours());
    lock.release().unwrap();
    assert!(!path.exists());
    drop(directory(&path, OLD, Patience::none()).await.unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_lock_that_replaced_ours_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    let lock = directory(&path, OLD, Patience::none()).await.unwrap();
    fs::remove_dir(&path).unwrap();
    fs::create_dir(&path).unwrap();
    drop(lock);
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();
    let mut lock = directory(&path, OLD, Patience::none()).await.unwrap();
    fs::remove_dir(&path).unwrap();
    let lost = lock.beat_until_lost(Duration::from_millis(1)).await;
    assert!(matches!(lost, LockError::Compromised { .. }));
}

#[tokio::test]
async fn an_abandoned_directory_is_taken_over_only_if_it_also_stood_still() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    fs::create_dir(&path).unwrap();
    age(&path, 61);
    let watchful = Staleness { frozen: Duration::from_secs(10), ..OLD };
    assert!(matches!(directory(&path, watchful, brief()).await, Err(LockError::Busy { .. })));
    let watchful = Staleness { frozen: Duration::from_millis(50), ..OLD };
    directory(&path, watchful, brief()).await.unwrap().release().unwrap();

    // A holder that beats while we look is told as alive.
    fs::create_dir(&path).unwrap();
    let beats = async {
        for seconds in (0..100).rev() {
            age(&path, seconds % 50);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = beats => panic!("too patient"),
        result = directory(&path, OLD, brief()) => match result {
            Err(LockError::Busy { moving: true, .. }) => {}
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn a_time_in_the_future_is_reported_and_never_stolen() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    fs::create_dir(&path).unwrap();
    let future = system(clock::now().after(Duration::from_secs(3600)));
    File::open(&path).unwrap().set_modified(future).unwrap();
    match directory(&path, Staleness { age: Duration::ZERO, frozen: Duration::ZERO }, brief()).await {
        Err(LockError::Busy { ahead, .. }) => assert!(ahead > Duration::from_secs(3000)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_in_place_of_a_directory_lock_and_a_full_directory_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    fs::write(&path, "").unwrap();
    age(&path, 3600);
    assert!(matches!(directory(&path, OLD, brief()).await, Err(LockError::WrongKind { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("something"), "").unwrap();
    age(&path, 3600);
    assert!(matches!(directory(&path, OLD, brief()).await, Err(LockError::WrongKind { .. })));
    assert!(path.join("something").is_file());
    let nowhere = dir.path().join("no/such.lock");
    assert!(matches!(directory(&nowhere, OLD, brief()).await, Err(LockError::ParentMissing { .. })));
}

fn store_in(dir: &TempDir) -> (PathBuf, PathBuf) {
    let store = dir.path().canonicalize().unwrap().join("auth-profiles.json");
    let lock = store.with_extension("json.lock");
    (store, lock)
}

#[tokio::test]
async fn a_store_lock_has_the_body_openclaw_expects() {
    let dir = TempDir::new().unwrap();
    let (path, lock_path) = store_in(&dir);
    let lock = store(&path, FILE).await.unwrap();
    assert_eq!(lock.path(), lock_path);
    let text = fs::read_to_string(&lock_path).unwrap();
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["pid"], std::process::id());
    let created = body["createdAt"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");
    assert!(text.starts_with("{\n  \"pid\": "), "{text}");
    assert!(matches!(store(&path, FILE).await, Err(LockError::Busy { .. })));
    lock.release().unwrap();
    assert!(!lock_path.exists());

    let lock = store(&path, StoreLockOptions { foreign_namespace: true, ..FILE }).await.unwrap();
    assert!(fs::read_to_string(&lock_path).unwrap().contains("\"pid\": 0,"));
    drop(lock);
    assert!(!lock_path.exists());
}

#[tokio::test]
async fn a_store_lock_is_judged_as_openclaw_judges_it() {
    let dir = TempDir::new().unwrap();
    let (path, lock_path) = store_in(&dir);
    let at = |seconds| humantime::format_rfc3339_millis(ago(seconds)).to_string();
    let body = |pid: &str, created: &str| format!("{{\"pid\": {pid}, \"createdAt\": \"{created}\"}}");
    let me = std::process::id().to_string();
    let dead = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id().to_string()
    };
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    let zombie_pid = zombie.id().to_string();
    while !fs::read_to_string(format!("/proc/{zombie_pid}/stat")).unwrap().contains(") Z") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // (body, age of the file in seconds, taken over)
    for (text, seconds, taken) in [
        (body(&me, &at(0)), 0, false),
        (body(&dead, &at(0)), 0, true),
        (body(&zombie_pid, &at(0)), 0, true),
        (body("-5", &at(0)), 0, true),
        (body("0", &at(0)), 0, false),
        (body("0", &at(31)), 0, true),
        (body(&me, &at(31)), 0, true),
        (body(&me, "yesterday"), 0, true),
        (body(&me, &at(0)), 31, true),
        (body("\"1\"", "yesterday"), 0, false),
        ("garbage".to_owned(), 0, false),
        ("garbage".to_owned(), 31, true),
        (String::new(), 0, false),
        (String::new(), 31, true),
    ] {
        fs::write(&lock_path, &text).unwrap();
        age(&lock_path, seconds);
        match store(&path, FILE).await {
            Ok(lock) => {
                assert!(taken, "{text}");
                lock.release().unwrap();
            }
            Err(LockError::Busy { .. }) => assert!(!taken, "{text}"),
            Err(other) => panic!("{text}: {other:?}"),
        }
    }
    zombie.wait().unwrap();
    // Of another namespace the number says nothing.
    fs::write(&lock_path, body(&dead, &at(0))).unwrap();
    let foreign = StoreLockOptions { foreign_namespace: true, ..FILE };
    assert!(matches!(store(&path, foreign).await, Err(LockError::Busy { .. })));
}

#[tokio::test]
async fn a_store_lock_of_the_other_kind_is_an_error_and_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let (path, lock_path) = store_in(&dir);
    fs::create_dir(&lock_path).unwrap();
    age(&lock_path, 3600);
    assert!(matches!(store(&path, FILE).await, Err(LockError::WrongKind { .. })));
    assert!(lock_path.is_dir());
    store(&path, DIRECTORY).await.unwrap().release().unwrap();
    fs::write(&lock_path, "").unwrap();
    age(&lock_path, 3600);
    assert!(matches!(store(&path, DIRECTORY).await, Err(LockError::WrongKind { .. })));
    assert!(lock_path.is_file());
    fs::remove_file(&lock_path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock_path).unwrap();
    assert!(matches!(store(&path, FILE).await, Err(LockError::WrongKind { .. })));
    let nowhere = dir.path().join("no/auth-profiles.json");
    assert!(matches!(store(&nowhere, FILE).await, Err(LockError::ParentMissing { .. })));
}

#[tokio::test]
async fn a_store_lock_that_was_replaced_is_not_released() {
    let dir = TempDir::new().unwrap();
    let (path, lock_path) = store_in(&dir);
    let lock = store(&path, FILE).await.unwrap();
    fs::remove_file(&lock_path).unwrap();
    fs::write(&lock_path, "theirs").unwrap();
    assert!(!lock.is_ours());
    assert!(matches!(lock.release(), Err(LockError::Compromised { .. })));
    assert_eq!(fs::read_to_string(&lock_path).unwrap(), "theirs");
}

#[tokio::test]
async fn the_store_link_is_not_followed_but_its_directory_is() {
    let dir = TempDir::new().unwrap();
    let base = dir.path().canonicalize().unwrap();
    fs::create_dir(base.join("real")).unwrap();
    std::os::unix::fs::symlink("real", base.join("alias")).unwrap();
    std::os::unix::fs::symlink("../elsewhere.json", base.join("real/auth-profiles.json")).unwrap();
    let lock = store(&base.join("alias/auth-profiles.json"), FILE).await.unwrap();
    assert_eq!(lock.path(), base.join("real/auth-profiles.json.lock"));
}

#[tokio::test]
async fn a_process_lock_is_exclusive_and_can_be_asked_about_without_disturbing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pass.lock");
    assert_eq!(ProcessLock::probe(&path).unwrap(), Probe::Free);
    assert!(!path.exists());
    let since = Timestamp::from_millis(1_795_199_075_831);
    let holder = Holder { pid: std::process::id(), since };
    let lock = ProcessLock::try_acquire(&path, Some(since)).unwrap();
    assert_eq!(ProcessLock::probe(&path).unwrap(), Probe::Held(Some(holder)));
    let error = ProcessLock::acquire(&path, Some(since), brief(), &mut steady).await.unwrap_err();
    assert!(error.to_string().contains("since 2026-11-20"), "{error}");
    drop(lock);
    assert_eq!(ProcessLock::probe(&path).unwrap(), Probe::Free);
    // One that says nothing of itself is not told in the words of the one before, and writes nothing again.
    let lock = ProcessLock::try_acquire(&path, None).unwrap();
    assert_eq!(ProcessLock::probe(&path).unwrap(), Probe::Held(None));
    drop(lock);
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    drop(ProcessLock::try_acquire(&path, None).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
    // Asking again and again takes nothing away from one who really wants it.
    for _ in 0..100 {
        let _ = ProcessLock::probe(&path).unwrap();
        ProcessLock::try_acquire(&path, Some(since)).unwrap();
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_killed_process_leaves_its_lock_free() {
    let name = "sys::lock::tests::a_killed_process_leaves_its_lock_free";
    if let Some(path) = crate::sys::testing::inner() {
        let _lock = ProcessLock::try_acquire(Path::new(&path), Some(clock::now())).unwrap();
        crate::sys::failpoint::hit("lock-held");
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pass.lock");
    let status = crate::sys::testing::run_until(name, &path, "lock-held");
    assert!(!status.success());
    assert!(fs::read_to_string(&path).unwrap().contains("\"pid\":"));
    assert_eq!(ProcessLock::probe(&path).unwrap(), Probe::Free);
}

#[tokio::test]
async fn a_waiting_process_gets_the_lock_when_it_is_free() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pass.lock");
    let first = ProcessLock::try_acquire(&path, Some(clock::now())).unwrap();
    let patience = Patience { total: Duration::from_secs(10), ..brief() };
    let release = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(first);
    };
    let mut jitter = steady;
    let (second, ()) =
        tokio::join!(ProcessLock::acquire(&path, Some(clock::now()), patience, &mut jitter), release);
    second.unwrap();
}

// ---- flock

async fn flock(path: &Path, patience: Patience) -> Result<Flock, LockError> {
    Flock::acquire(path, 0o600, patience, &mut steady).await
}

/// Another program that holds the lock until it is killed.
fn foreign_holder(path: &Path) -> Child {
    let mut command = Command::new("flock");
    command.arg(path).args(["sh", "-c", "echo held; exec cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

#[tokio::test]
async fn a_flock_is_exclusive_and_its_empty_file_stays() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("auth.json.lock");
    let lock = flock(&path, Patience::none()).await.unwrap();
    assert!(matches!(flock(&path, brief()).await.unwrap_err(), LockError::Busy { .. }));
    let probe = Command::new("flock").arg("--nonblock").arg(&path).arg("true").status().unwrap();
    assert_eq!(probe.code(), Some(1), "another program sees it");
    assert!(lock.is_ours());
    drop(lock);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (0, 0o600));
    drop(flock(&path, Patience::none()).await.unwrap());
}

#[tokio::test]
async fn a_flock_of_another_process_is_waited_for_and_ends_with_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("auth.lock");
    let mut holder = foreign_holder(&path);
    assert!(matches!(flock(&path, brief()).await.unwrap_err(), LockError::Busy { moving: true, .. }));
    let patience = Patience { total: Duration::from_secs(20), ..brief() };
    // The wait is given up by dropping it; nothing is left behind that would hold the lock.
    tokio::select! {
        biased;
        taken = flock(&path, patience) => panic!("{taken:?}"),
        () = tokio::time::sleep(Duration::from_millis(30)) => {}
    }
    let waiting = flock(&path, patience);
    // Its child inherited the lock: the end of its input ends both.
    drop(holder.stdin.take());
    let lock = waiting.await.unwrap();
    holder.wait().unwrap();
    assert!(lock.is_ours());
}

#[tokio::test]
async fn a_flock_follows_links_and_is_lost_with_its_file() {
    let dir = TempDir::new().unwrap();
    let (link, path) = (dir.path().join("link"), dir.path().join("auth.lock"));
    symlink(&path, &link).unwrap();
    let lock = flock(&link, Patience::none()).await.unwrap();
    assert!(matches!(flock(&path, Patience::none()).await.unwrap_err(), LockError::Busy { .. }));
    fs::remove_file(&path).unwrap();
    assert!(!lock.is_ours());
    drop(flock(&path, Patience::none()).await.unwrap());
    assert!(!lock.is_ours(), "another file of the same name");
}

#[tokio::test]
async fn what_is_no_file_is_no_flock() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.lock");
    fs::create_dir(&path).unwrap();
    assert!(matches!(flock(&path, brief()).await.unwrap_err(), LockError::WrongKind { .. }));
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(flock(&path, brief()).await.unwrap_err(), LockError::WrongKind { .. }));
    let missing = dir.path().join("none/x.lock");
    assert!(matches!(flock(&missing, brief()).await.unwrap_err(), LockError::ParentMissing { .. }));
}
