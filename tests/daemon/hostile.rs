//! Another user of the same host: what they plant in a directory that several write to, and what they, and other
//! programs of the daemon's own user, learn of its memory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::stage::{CANARY, Home, Login, contains, tree};

const USER: u32 = 64_200;
const MALLORY: u32 = 64_201;
/// A file of the user's that nothing here may change.
const OWN: &str = "# the user's own\n";

/// A home with a sink in a directory that everybody may write to, beside a directory of Mallory's.
fn shared() -> Home {
    let home = Home::of_ordinary_user();
    home.mkdir("shared");
    home.mkdir("mallory");
    home.write("own", OWN);
    let sink = "[[sink]]\nid = \"shared\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/shared/token.json\"\n";
    home.configure(&home.three_sinks(sink));
    home.holds_tokens("shared/token.json");
    home.hand_over();
    fs::set_permissions(home.path("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(home.path("mallory"), fs::Permissions::from_mode(0o777)).unwrap();
    lchown(home.path("mallory"), Some(MALLORY), Some(MALLORY)).unwrap();
    home
}

/// Puts what is at `prepared` under the sink's name, as Mallory's.
fn plant(home: &Home, prepared: &Path) {
    lchown(prepared, Some(MALLORY), Some(MALLORY)).unwrap();
    fs::rename(prepared, home.path("shared/token.json")).unwrap();
}

fn link_to(home: &Home, target: &Path) {
    let link = home.path("shared/link");
    symlink(target, &link).unwrap();
    plant(home, &link);
}

#[test]
fn what_another_user_plants_at_a_sink_is_neither_followed_nor_filled() {
    let home = shared();
    let sink = home.path("shared/token.json");
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let theirs = home.path("mallory/open");
    let plants: [(&str, &dyn Fn()); 4] = [
        // To a file of the user's own, which would be overwritten; to a place where there is nothing yet.
        ("follow another user's link", &|| link_to(&home, &home.path("own"))),
        ("follow another user's link", &|| link_to(&home, &home.path("sinks/new"))),
        // To a file of Mallory's, and such a file itself: it keeps its owner, which we cannot give.
        ("set the owner", &|| link_to(&home, &theirs)),
        ("set the owner", &|| {
            let open = home.path("shared/open");
            fs::copy(&theirs, &open).unwrap();
            fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
            plant(&home, &open);
        }),
    ];
    fs::write(&theirs, "{}").unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o666)).unwrap();
    lchown(&theirs, Some(MALLORY), Some(MALLORY)).unwrap();
    for (n, (why, put)) in (1..).zip(plants) {
        assert!(contains(&sink, &Login::nth(2 * n - 1).access));
        let mark = home.mark();
        put();
        home.rotate(&Login::nth(2 * n));
        home.until_said(mark, why);
        assert!(!contains(&sink, CANARY) && !contains(&theirs, CANARY), "{why}");
        // Mallory is told off.
        fs::remove_file(&sink).unwrap();
        let login = Login::nth(2 * n + 1);
        home.rotate(&login);
        home.until("the sink is back", || contains(&sink, &login.access));
        home.rest();
    }
    // The user's own link is followed as ever.
    fs::remove_file(&sink).unwrap();
    symlink(home.holds_tokens("kept"), home.path("shared/link")).unwrap();
    lchown(home.path("shared/link"), Some(USER), Some(USER)).unwrap();
    fs::rename(home.path("shared/link"), &sink).unwrap();
    home.rotate(&Login::nth(20));
    home.until("the link is followed", || contains(&home.path("kept"), &Login::nth(20).access));
    assert_eq!((home.read("own").as_str(), home.path("sinks/new").exists()), (OWN, false));
    daemon.stop();
    home.finish();
}

/// As in our own unit: `PrivateUsers=` leaves the user's number and one for everybody else, root included.
#[test]
fn a_link_of_roots_is_followed_where_root_has_no_number_of_its_own() {
    let home = shared();
    let (sink, kept) = (home.path("shared/token.json"), home.holds_tokens("kept"));
    fs::write(&kept, "").unwrap();
    lchown(&kept, Some(USER), Some(USER)).unwrap();
    symlink(&kept, &sink).unwrap();
    lchown(&sink, Some(0), Some(0)).unwrap();
    let sync = |login: &Login| {
        home.rotate(login);
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-current-user"]).arg(home.root().join("tokensink")).arg("sync");
        home.dress(&mut command);
        home.end_of(command)
    };
    for (mode, is_followed) in [(0o755, true), (0o777, false), (0o775, false), (0o755, true)] {
        fs::set_permissions(home.path("shared"), fs::Permissions::from_mode(mode)).unwrap();
        let login = Login::nth(mode + u32::from(contains(&kept, CANARY)));
        let ran = sync(&login);
        assert_eq!(
            (ran.code == 0, contains(&kept, &login.access)),
            (is_followed, is_followed),
            "{mode:o}: {ran:?}"
        );
        assert!(is_followed || ran.stdout.contains("another user's link"), "{ran:?}");
    }
    assert!(sink.is_symlink());
    home.finish();
}

#[test]
fn a_race_for_the_name_of_a_sink_gives_nobody_a_token_and_overwrites_nothing() {
    let home = shared();
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let rounds = if std::env::var_os("TOKENSINK_LONG").is_some() { 400 } else { 20 };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let theirs = home.path("mallory/open");
            while !over.load(Ordering::Relaxed) {
                fs::write(&theirs, "{}").unwrap();
                fs::set_permissions(&theirs, fs::Permissions::from_mode(0o666)).unwrap();
                lchown(&theirs, Some(MALLORY), Some(MALLORY)).unwrap();
                for target in [home.path("own"), theirs.clone(), home.path("sinks/new")] {
                    link_to(&home, &target);
                }
                fs::rename(&theirs, home.path("shared/token.json")).unwrap();
                let _ = fs::remove_file(home.path("shared/token.json"));
            }
        });
        for n in 2..2 + rounds {
            home.rotate(&Login::nth(n));
            home.until("the sinks of nobody else follow", || home.sinks_hold(&Login::nth(n)));
        }
        over.store(true, Ordering::Relaxed);
    });
    daemon.stop();
    assert_eq!((home.read("own").as_str(), home.path("sinks/new").exists()), (OWN, false));
    for path in tree(&home.path("")) {
        let stat = path.symlink_metadata().unwrap();
        if stat.is_file() && contains(&path, CANARY) {
            assert_eq!((stat.uid(), stat.mode() & 0o077), (USER, 0), "{}", path.display());
        }
    }
    home.finish();
}

/// A command as that user.
fn as_user(uid: u32, script: &str) -> std::process::Output {
    Command::new("sh").args(["-c", script]).current_dir("/").uid(uid).gid(uid).output().unwrap()
}

#[test]
fn nobody_but_root_reads_the_daemons_memory_and_a_crash_leaves_no_core() {
    let home = Home::of_ordinary_user();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    // With the limit that a careless host has, and where a core would be written.
    let dumping = |program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -c unlimited; exec {program}")]);
        home.dress(&mut command);
        command
    };
    let mut sleep = dumping("sleep 60").spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sleep.id()).unwrap());
    home.until("it sleeps", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
    });
    let readable = |uid: u32, pid: &str| -> Vec<&'static str> {
        let files = ["mem", "environ", "maps", "auxv", "fd/0"];
        let opens = |name: &&str| as_user(uid, &format!(": <'/proc/{pid}/{name}'")).status.success();
        files.into_iter().filter(opens).collect()
    };
    assert!(readable(USER, &pid.to_string()).contains(&"environ"), "of another program it can be read");
    nix::sys::signal::kill(pid, Signal::SIGSEGV).unwrap();
    assert!(sleep.wait().unwrap().core_dumped(), "another program leaves a core on this host");

    let program = home.command(&[]).get_program().to_string_lossy().into_owned();
    for fatal in [Signal::SIGABRT, Signal::SIGQUIT] {
        let daemon = home.start_as(dumping(&format!("{program} daemon")));
        daemon.until_ready();
        for uid in [USER, MALLORY] {
            assert_eq!(readable(uid, &daemon.pid.to_string()), [""; 0], "user {uid}");
        }
        let limit = fs::read_to_string(format!("/proc/{}/limits", daemon.pid)).unwrap();
        let cores = limit.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
        assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
        daemon.signal(fatal);
        let status = daemon.until_ended();
        assert_eq!((status.signal(), status.core_dumped()), (Some(fatal as i32), false), "{status}");
    }
    let cores = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("core");
    for core in tree(home.root()).into_iter().filter(cores) {
        assert!(!contains(&core, CANARY), "{}", core.display());
        fs::remove_file(core).unwrap();
    }
    // What a death leaves is taken over.
    home.ready().stop();
    home.finish();
}
