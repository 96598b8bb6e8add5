//! Where a credentials file is: directories that come and go, links, mounts, lost events, and
//! places where inotify tells nothing.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::stage::{Home, Login, contains};

const SOURCE: &str = ".claude/.credentials.json";

#[test]
fn a_directory_may_come_late_go_and_come_back() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    fs::remove_dir(home.path(".claude")).unwrap();
    let daemon = home.ready();
    assert!(!home.path(".claude").exists(), "it is not ours to make");

    home.mkdir(".claude");
    home.rotate(&Login::nth(1));
    home.until_sinks_hold(&Login::nth(1));

    fs::remove_dir_all(home.path(".claude")).unwrap();
    home.mkdir(".claude");
    home.write(SOURCE, Login::nth(2).document());
    home.until_sinks_hold(&Login::nth(2));

    // Moved away with its file, and another one put in its place.
    home.mkdir("next");
    home.replace("next/.credentials.json", Login::nth(3).document());
    fs::rename(home.path(".claude"), home.path("away")).unwrap();
    fs::rename(home.path("next"), home.path(".claude")).unwrap();
    home.until_sinks_hold(&Login::nth(3));
    home.rotate(&Login::nth(4));
    home.until_sinks_hold(&Login::nth(4));
    daemon.stop();
    home.holds_tokens("away/.credentials.json");
    home.finish();
}

#[test]
fn a_linked_directory_is_followed_to_where_the_link_leads_now() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    fs::remove_dir(home.path(".claude")).unwrap();
    for store in ["store-a", "store-b"] {
        home.mkdir(store);
        home.holds_tokens(&format!("{store}/.credentials.json"));
    }
    symlink("store-a", home.path(".claude")).unwrap();
    home.write("store-a/.credentials.json", Login::nth(1).document());
    let daemon = home.ready();
    assert!(home.sinks_hold(&Login::nth(1)));
    home.replace("store-a/.credentials.json", Login::nth(2).document());
    home.until_sinks_hold(&Login::nth(2));

    home.write("store-b/.credentials.json", Login::nth(3).document());
    symlink("store-b", home.path("link")).unwrap();
    fs::rename(home.path("link"), home.path(".claude")).unwrap();
    home.until_sinks_hold(&Login::nth(3));
    home.replace("store-b/.credentials.json", Login::nth(4).document());
    home.until_sinks_hold(&Login::nth(4));
    // Where the link led before is nobody's business any more.
    let mark = home.mark();
    home.replace("store-a/.credentials.json", Login::nth(9).document());
    home.replace("store-b/.credentials.json", Login::nth(5).document());
    home.until_sinks_hold(&Login::nth(5));
    daemon.stop();
    assert!(home.said(mark, "STALE").is_empty(), "{}", home.story());
    assert!(home.path(".claude").is_symlink());
    home.finish();
}

#[test]
fn single_files_that_are_mount_points_are_read_and_written_in_place() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.mkdir("outside");
    for name in ["outside/login.json", "outside/token.json"] {
        home.holds_tokens(name);
    }
    home.write("outside/login.json", Login::nth(1).document());
    home.write("outside/token.json", "{}\n");
    home.watch("outside");
    for name in [SOURCE, "sinks/token.json"] {
        home.write(name, "");
    }
    let setup = "mount --bind ~/outside/login.json ~/.claude/.credentials.json\n\
                 mount --bind ~/outside/token.json ~/sinks/token.json";
    let inode = || fs::metadata(home.path("outside/token.json")).unwrap().ino();
    let before = inode();
    let daemon = home.start_as(home.unshared(setup, &["daemon"]));
    daemon.until_ready();
    home.rest();
    let holds = |login: &Login| {
        contains(&home.path("outside/token.json"), &login.access)
            && contains(&home.path("sinks/oauth.json"), &login.access)
    };
    assert!(holds(&Login::nth(1)));
    for n in 2..5 {
        home.write("outside/login.json", Login::nth(n).document());
        home.until("the mounted sink follows the mounted source", || holds(&Login::nth(n)));
        home.rest();
    }
    daemon.stop();
    assert_eq!(inode(), before, "the container sees the same file");
    assert_eq!(home.read("sinks/token.json"), "", "what lies under the mount is not touched");
    home.finish();
}

#[test]
fn lost_events_cost_nothing_but_a_look() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    daemon.signal(Signal::SIGSTOP);
    // Two events each, and never two alike in a row.
    fs::write(home.path(".claude/a"), "").unwrap();
    for _ in 0..=queue / 4 {
        fs::rename(home.path(".claude/a"), home.path(".claude/b")).unwrap();
        fs::rename(home.path(".claude/b"), home.path(".claude/a")).unwrap();
    }
    home.rotate(&Login::nth(2));
    daemon.signal(Signal::SIGCONT);
    home.until_sinks_hold(&Login::nth(2));
    home.rotate(&Login::nth(3));
    home.until_sinks_hold(&Login::nth(3));
    daemon.stop();
    home.finish();
}

#[test]
fn a_change_without_an_event_is_found_by_the_poll() {
    let home = Home::new();
    home.configure(&format!("[daemon]\npoll = \"1s\"\n{}", home.three_sinks("")));
    home.write(SOURCE, Login::nth(1).document());
    let daemon = home.ready();
    // A writer that keeps the file open: nothing is closed and nothing renamed.
    let file = fs::OpenOptions::new().write(true).open(home.credentials()).unwrap();
    for n in 2..4 {
        let login = Login::nth(n);
        file.write_all_at(login.document().as_bytes(), 0).unwrap();
        home.until_sinks_hold(&login);
    }
    daemon.stop();
    drop(file);
    home.finish();
}

#[test]
fn a_file_that_changes_below_an_overlay_is_found_by_the_poll() {
    let home = Home::new();
    home.configure(&format!("[daemon]\npoll = \"1s\"\n{}", home.three_sinks("")));
    for directory in ["below", "above", "work"] {
        home.mkdir(directory);
    }
    home.holds_tokens("below/.credentials.json");
    home.write("below/.credentials.json", Login::nth(1).document());
    let setup =
        "mount -t overlay overlay -o lowerdir=$HOME/below,upperdir=$HOME/above,workdir=$HOME/work ~/.claude";
    let daemon = home.start_as(home.unshared(setup, &["daemon"]));
    daemon.until_ready();
    home.rest();
    assert!(home.sinks_hold(&Login::nth(1)));
    for n in 2..4 {
        home.write("below/.credentials.json", Login::nth(n).document());
        home.until_sinks_hold(&Login::nth(n));
    }
    daemon.stop();
    home.finish();
}

#[test]
fn without_watches_everything_is_polled_and_said_so() {
    let home = Home::new();
    home.configure(&format!("[daemon]\npoll = \"1s\"\n{}", home.three_sinks("")));
    home.rotate(&Login::nth(1));
    let mut command = Command::new("unshare");
    let script = "echo 0 >/proc/sys/user/max_inotify_watches && exec \"$0\" daemon";
    command.args(["--user", "--map-root-user", "sh", "-c", script, crate::stage::PROGRAM]);
    home.dress(&mut command);
    let daemon = home.start_as(command);
    daemon.until_ready();
    home.rest();
    home.until_said(daemon.from, "WATCH_LOST");
    for n in 2..4 {
        home.rotate(&Login::nth(n));
        home.until_sinks_hold(&Login::nth(n));
    }
    let codes = home.run(&["status", "--json"]).json()["findings"].to_string();
    assert!(codes.contains("WATCH_LOST") && codes.contains("max_user_watches"), "{codes}");
    daemon.stop();
    home.finish();
}
