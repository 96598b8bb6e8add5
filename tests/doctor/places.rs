//! Mounts, links, owners, and a file system that tells nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use crate::Looked;
use crate::fuse::Fuse;
use crate::stage::{Home, Login, PROGRAM, STATE};

const SOURCE: &str = ".claude/.credentials.json";
const SINKS: [&str; 3] = ["oauth", "env", "secret"];

fn furnished() -> Home {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    home
}

/// What is found after `setup`, in a mount namespace of its own.
fn mounted(home: &Home, setup: &str) -> Looked {
    Looked::by(home, home.unshared(setup, &["doctor", "--json"]))
}

#[test]
fn on_an_ordinary_home_no_place_is_wrong_and_that_is_said() {
    let home = furnished();
    let looked = Looked::at(&home);
    // COPIED_LOGIN is left out: a temporary directory may well be in memory.
    for code in ["READ_ONLY_MOUNT", "MOUNTED_FILE", "LINK_DRIFT", "OWNER_DIFFERS", "MODE_TOO_WIDE"] {
        looked.none(code);
    }
    for code in ["NO_INOTIFY", "LOCKS_UNSAFE", "STORE_RETIRED", "DUPLICATE_SERVICE", "VERSION_DIFFERS"] {
        looked.none(code);
    }
    assert_eq!(looked.check("read-only"), Some(0));
    assert_eq!(looked.check("the gateways' logs"), None);
    let before = home.snapshot();
    let text = home.run(&["doctor"]).stdout;
    assert!(text.contains("checked, and well: ") && text.contains("read-only mounts"), "{text}");
    assert!(text.contains("not checked, for lack of anything to look at: "), "{text}");
    assert_eq!(home.snapshot(), before, "nothing is touched");
    home.finish();
}

#[test]
fn mounts_that_are_read_only_or_of_one_file_or_in_memory_are_named() {
    let home = furnished();
    let looked = mounted(&home, "mount --bind ~/sinks ~/sinks; mount -o remount,bind,ro ~/sinks");
    for sink in SINKS {
        let (evidence, _) = looked.one("READ_ONLY_MOUNT", sink);
        assert!(evidence.contains(home.path("sinks").to_str().unwrap()), "{evidence}");
    }
    assert_eq!(looked.all("READ_ONLY_MOUNT").len(), 3);

    let looked = mounted(&home, "mount --bind ~/.claude/.credentials.json ~/.claude/.credentials.json");
    let (_, next) = looked.one("MOUNTED_FILE", "claude");
    assert!(next.contains("mount the directory"), "{next}");
    looked.none("READ_ONLY_MOUNT");

    let copy = "cp -a ~/.claude ~/kept; mount -t tmpfs -o mode=0700 tmpfs ~/.claude; cp ~/kept/.credentials.json ~/.claude";
    let looked = mounted(&home, copy);
    let (evidence, _) = looked.one("COPIED_LOGIN", "claude");
    assert!(evidence.ends_with("(tmpfs)"), "{evidence}");
    fs::remove_dir_all(home.path("kept")).unwrap();
    home.finish();
}

#[test]
fn a_login_in_the_layer_of_a_container_is_a_copy() {
    let home = furnished();
    for directory in ["above", "work", "root"] {
        home.mkdir(directory);
    }
    home.holds_tokens("above/login.json");
    // A root of its own, as a container has one.
    let setup = "mount -t tmpfs tmpfs ~/above; mkdir ~/above/up ~/above/work
        mount -t overlay overlay -o lowerdir=/,upperdir=$HOME/above/up,workdir=$HOME/above/work ~/root
        mount --rbind /proc ~/root/proc; mount --rbind /dev ~/root/dev; mkdir -p ~/root$HOME
        cp -a ~/.config ~/.claude ~/root$HOME/; exec /usr/sbin/chroot ~/root \"$0\" \"$@\"";
    let looked = mounted(&home, setup);
    let (evidence, _) = looked.one("COPIED_LOGIN", "claude");
    assert!(evidence.ends_with("is on / (overlay)"), "{evidence}");
    home.finish();
}

#[test]
fn a_link_that_somebody_renamed_over_and_one_that_leads_nowhere_are_named() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.mkdir("elsewhere");
    home.holds_tokens("elsewhere/token.json");
    symlink("../elsewhere/token.json", home.path("sinks/token.json")).unwrap();
    home.write("elsewhere/token.json", "{}");
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    Looked::at(&home).none("LINK_DRIFT");

    home.replace("sinks/token.json", fs::read(home.path("elsewhere/token.json")).unwrap());
    for _ in 0..2 {
        let (evidence, next) = Looked::at(&home).one("LINK_DRIFT", "secret");
        assert!(evidence.ends_with("led to ../elsewhere/token.json"), "{evidence}");
        assert!(next.starts_with("ln -sfn ../elsewhere/token.json"), "{next}");
        assert_eq!(home.run(&["sync"]).code, 0);
    }

    fs::remove_file(home.path("sinks/token.json")).unwrap();
    symlink("../nowhere/token.json", home.path("sinks/token.json")).unwrap();
    let (evidence, _) = Looked::at(&home).one("LINK_DRIFT", "secret");
    assert!(evidence.ends_with("-> ../nowhere/token.json"), "{evidence}");
    home.finish();
}

#[test]
fn files_of_others_and_a_state_directory_that_is_open_are_named() {
    let home = furnished();
    chown(home.credentials(), Some(64_200), None).unwrap();
    fs::set_permissions(home.path(STATE), fs::Permissions::from_mode(0o755)).unwrap();
    let looked = Looked::at(&home);
    let (evidence, _) = looked.one("OWNER_DIFFERS", "claude");
    assert!(evidence.contains("owner 64200"), "{evidence}");
    let state = home.path(STATE);
    let (evidence, next) = looked.one("MODE_TOO_WIDE", state.to_str().unwrap());
    assert_eq!((evidence.as_str(), next), ("mode 0755", format!("chmod go= {}", state.display())));
    let key = state.join("fingerprint.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&state, Some(64_200), None).unwrap();
    let looked = Looked::at(&home);
    assert_eq!(looked.one("MODE_TOO_WIDE", key.to_str().unwrap()).0, "mode 0644");
    looked.one("OWNER_DIFFERS", state.to_str().unwrap());
    home.finish();
}

#[test]
fn a_retired_store_that_nobody_configured_is_named() {
    let home = furnished();
    home.openclaw("2026.9.6", &["main"]);
    Looked::at(&home).none("STORE_RETIRED");
    home.mkdir(".openclaw/state");
    home.write(".openclaw/state/openclaw.sqlite", "SQLite format 3\0");
    let (evidence, _) = Looked::at(&home).one("STORE_RETIRED", home.path(".openclaw").to_str().unwrap());
    assert!(evidence.contains("agents/main/agent/auth-profiles.json"), "{evidence}");
    home.finish();
}

#[test]
fn a_login_that_changes_behind_the_kernels_back_is_followed_within_the_poll() {
    let home = Home::new();
    // The ordinary poll is a minute: longer than anything is waited for here.
    home.configure(&home.three_sinks(""));
    let fuse = Fuse::holding(".credentials.json", &Login::nth(1).document());
    let daemon = home.start_as(home.unshared(&fuse.mounts_at("~/.claude"), &["daemon"]));
    daemon.until_ready();
    home.rest();
    assert!(home.sinks_hold(&Login::nth(1)));
    for n in 2..4 {
        fuse.change(&Login::nth(n).document());
        home.until_sinks_hold(&Login::nth(n));
    }
    let mut inside = Command::new("nsenter");
    inside.args([&format!("--target={}", daemon.pid), "--mount", PROGRAM, "doctor", "--json"]);
    home.dress(&mut inside);
    let looked = Looked::by(&home, inside);
    for code in ["NO_INOTIFY", "LOCKS_UNSAFE"] {
        let (evidence, _) = looked.one(code, "claude");
        assert!(evidence.ends_with("(fuse)"), "{evidence}");
    }
    daemon.stop();
    assert!(!home.path(SOURCE).exists(), "it was on the mount");
    home.finish();
}

#[test]
fn a_limit_of_inotify_that_is_used_up_is_named() {
    let home = furnished();
    let mut command = Command::new("unshare");
    let script = "echo 1 >/proc/sys/user/max_inotify_instances && exec \"$0\" daemon";
    command.args(["--user", "--map-root-user", "sh", "-c", script, PROGRAM]);
    home.dress(&mut command);
    let daemon = home.start_as(command);
    daemon.until_ready();
    let mut inside = Command::new("nsenter");
    inside.args(["--user", "--preserve-credentials", &format!("--target={}", daemon.pid)]);
    inside.args([PROGRAM, "doctor", "--json"]);
    home.dress(&mut inside);
    let (evidence, next) = Looked::by(&home, inside).one("INOTIFY_LIMIT", "max_user_instances");
    assert_eq!(evidence, "fs.inotify.max_user_instances = 1");
    assert!(next.contains("sysctl fs.inotify.max_user_instances=512"), "{next}");
    daemon.stop();
    home.finish();
}

#[test]
fn a_journal_that_this_user_cannot_read_is_named() {
    let home = Home::of_ordinary_user();
    let gateway =
        "[[gateway]]\nid = \"claw\"\nsinks = [\"secret\"]\nunit = \"claw.service\"\nunauthorized = \"401\"\n";
    home.configure(&home.three_sinks(gateway));
    home.rotate(&Login::nth(1));
    home.hand_over();
    let looked = |mode: &str| {
        // The real journalctl over a journal of the test's own, as the ordinary user.
        let script = format!(
            "set -e; echo 0123456789abcdef0123456789abcdef >machine-id; mount --bind machine-id /etc/machine-id
             mount -t tmpfs tmpfs /var/log; mkdir -p /var/log/journal/0123456789abcdef0123456789abcdef
             {mode}
             exec setpriv --reuid=64200 --regid=64200 --clear-groups \"$0\" doctor --json"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.arg(home.root().join("tokensink"));
        let mut dressed = Command::new("true");
        home.dress(&mut dressed);
        command.env_clear().current_dir(home.path(""));
        command
            .envs(dressed.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        Looked::by(&home, command)
    };
    let closed = "install -m 0600 /dev/null /var/log/journal/0123456789abcdef0123456789abcdef/system.journal";
    let (evidence, next) = looked(closed).one("JOURNAL_UNREADABLE", "claw");
    assert!(evidence.starts_with("journalctl ended with"), "{evidence}");
    assert!(next.contains("systemd-journal"), "{next}");
    looked("true").none("JOURNAL_UNREADABLE");
    home.finish();
}
