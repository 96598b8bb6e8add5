//! Refreshes where writing fails: a full disk, read-only mounts, missing permissions, at each file of
//! the way. Either nothing is spent, or the answer is safe in the intent record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use support::host::Host;
use support::run::run;

/// A small file system of its own; unmounted when it is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn tmpfs(at: &'a Path, size: &str) -> Self {
        let option = format!("size={size},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &option, "none"]).arg(at), b"").ok();
        Self(at)
    }

    /// A disk of two megabytes with a journal, in a file.
    fn ext4(at: &'a Path, image: &Path) -> Self {
        std::fs::File::create(image).unwrap().set_len(2 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image), b"").ok();
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at), b"").ok();
        Self(at)
    }

    fn remount(&self, option: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(self.0), b"").ok();
    }

    /// Leaves so many pages free.
    fn fill(&self, pages_left: u64) {
        let stat = nix::sys::statvfs::statvfs(self.0).unwrap();
        let free = stat.blocks_free().saturating_sub(pages_left) * stat.fragment_size();
        let path = self.0.join("ballast");
        let held = std::fs::metadata(&path).map_or(0, |m| m.len());
        // A disk takes less than it says for its own lists; what is left of a page goes in pieces.
        let mut ballast = std::fs::File::create(path).unwrap();
        let _ = ballast.write_all(&vec![0_u8; usize::try_from(held + free).unwrap()]);
        while pages_left == 0 && ballast.write(&[0; 512]).is_ok_and(|written| written > 0) {}
        let _ = ballast.sync_all();
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// After a failure: nothing spent, or the answer is on record; then the cure, and all is well.
#[track_caller]
fn judge(name: &str, host: &Host, before: &str) -> &'static str {
    let said = host.refresh(&[]);
    let place = host.place_of_live();
    println!("{name:<34} {:<9} requests {} token in {place}: {}", said.outcome, host.requests(), said.detail);
    assert_eq!(said.code, Some(1), "{name}: {said}");
    assert_eq!(host.read(), before, "{name}: the old file stays");
    assert_ne!(place, "nowhere", "{name}");
    assert_eq!(host.requests() == 0, place == "source", "{name}");
    place
}

#[track_caller]
fn cured(name: &str, host: &Host) {
    let said = host.refresh(&["--force"]);
    assert_eq!((said.code, host.place_of_live()), (Some(0), "source"), "{name}: {said}");
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0), "{name}");
}

#[test]
fn a_full_disk_under_the_credentials_spends_nothing() {
    for pages in 0..7 {
        let host = Host::new();
        let text = host.read();
        let dir = host.home.join(".claude");
        let mount = Mount::tmpfs(&dir, "256k");
        host.write(&text);
        mount.fill(pages);
        let name = format!("credentials, {pages} pages free");
        if pages < 5 {
            assert_eq!(judge(&name, &host, &text), "source");
            mount.empty();
            cured(&name, &host);
        } else {
            // As much as the probe asks for: then the answer has room as well.
            let said = host.refresh(&[]);
            println!("{name:<34} {:<9} {}", said.outcome, said.detail);
            assert_ne!(host.place_of_live(), "nowhere");
        }
    }
}

#[test]
fn a_full_disk_under_our_own_state_spends_nothing_or_stores_at_once() {
    for pages in 0..7 {
        let host = Host::new();
        let text = host.read();
        let dir = host.home.join(".local");
        std::fs::create_dir_all(&dir).unwrap();
        let mount = Mount::tmpfs(&dir, "256k");
        std::fs::create_dir_all(host.state_dir()).unwrap();
        mount.fill(pages);
        let said = host.refresh(&[]);
        let place = host.place_of_live();
        println!(
            "state, {pages} pages free: {:<9} requests {} token in {place} {}",
            said.outcome,
            host.requests(),
            said.detail
        );
        assert_ne!(place, "nowhere", "{said}");
        if host.requests() == 0 {
            assert_eq!(host.read(), text);
        }
        mount.empty();
        let said = host.refresh(&["--force"]);
        assert_eq!((said.code, host.place_of_live()), (Some(0), "source"), "{said}");
        assert_eq!(host.provider.ledger().refused(), 0);
    }
}

#[test]
fn a_disk_that_fills_up_in_mid_request_loses_nothing() {
    let host = Host::new();
    let text = host.read();
    let dir = host.home.join(".claude");
    let mount = Mount::tmpfs(&dir, "256k");
    host.write(&text);
    host.provider.set(|s| s.delay_ms = 1500);
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    mount.fill(0);
    let said = host.end(ours);
    assert_eq!((said.code, host.place_of_live(), host.read()), (Some(1), "intent", text), "{said}");
    println!("full in mid-request: {} {}", said.outcome, said.detail);
    mount.empty();
    cured("full in mid-request", &host);
}

#[test]
fn a_store_that_turns_read_only_in_mid_request_loses_nothing() {
    let host = Host::new();
    let text = host.read();
    let dir = host.home.join(".claude");
    let mount = Mount::tmpfs(&dir, "256k");
    host.write(&text);
    host.provider.set(|s| s.delay_ms = 1500);
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    mount.remount("ro");
    let said = host.end(ours);
    assert_eq!((said.code, host.place_of_live(), host.read()), (Some(1), "intent", text), "{said}");
    println!("read-only in mid-request: {} {}", said.outcome, said.detail);
    mount.remount("rw");
    for lock in host.locks() {
        let _ = std::fs::remove_dir(lock);
    }
    cured("read-only in mid-request", &host);
}

#[test]
fn our_own_state_filling_up_in_mid_request_still_stores_the_answer() {
    let host = Host::new();
    let dir = host.home.join(".local");
    std::fs::create_dir_all(&dir).unwrap();
    let mount = Mount::tmpfs(&dir, "256k");
    host.provider.set(|s| s.delay_ms = 1500);
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    mount.fill(0);
    let said = host.end(ours);
    println!("state full in mid-request: {} {}", said.outcome, said.detail);
    assert_eq!(host.place_of_live(), "source", "{said}");
    mount.empty();
    let said = host.refresh(&[]);
    assert_eq!((said.code, host.requests(), host.provider.ledger().refused()), (Some(0), 1, 0), "{said}");
}

#[test]
fn one_disk_for_everything_that_fills_up_in_mid_request_loses_nothing() {
    for name in ["memory", "ext4"] {
        let host = Host::new();
        let text = host.read();
        let image = host.home.with_file_name("image");
        let mount = match name {
            "memory" => Mount::tmpfs(&host.home, "1m"),
            _ => Mount::ext4(&host.home, &image),
        };
        std::fs::create_dir_all(host.home.join(".claude")).unwrap();
        host.configure(&host.token_url(), "");
        host.write(&text);
        host.provider.set(|s| s.delay_ms = 1500);
        let ours = host.start_refresh(&[]);
        host.wait_for_request();
        mount.fill(0);
        let said = host.end(ours);
        assert_eq!(
            (said.code, host.place_of_live(), host.read()),
            (Some(1), "intent", text),
            "{name}: {said}"
        );
        println!("one disk ({name}), full in mid-request: {} {}", said.outcome, said.detail);
        mount.empty();
        cured(name, &host);
    }
}

#[test]
fn a_directory_that_goes_away_in_mid_request_loses_nothing() {
    let host = Host::new();
    host.provider.set(|s| s.delay_ms = 1500);
    let ours = host.start_refresh(&[]);
    host.wait_for_request();
    let (there, elsewhere) = (host.home.join(".claude"), host.home.join("elsewhere"));
    std::fs::rename(&there, &elsewhere).unwrap();
    let said = host.end(ours);
    assert_eq!((said.code, host.place_of_live()), (Some(1), "intent"), "{said}");
    // An empty one in its place is no reason to forget the answer.
    std::fs::create_dir(&there).unwrap();
    let said = host.refresh(&["--force"]);
    assert_eq!((said.code, host.place_of_live()), (Some(1), "intent"), "{said}");
    for lock in host.locks() {
        let _ = std::fs::remove_dir(lock);
    }
    std::fs::remove_dir(&there).unwrap();
    std::fs::rename(elsewhere, there).unwrap();
    for lock in host.locks() {
        let _ = std::fs::remove_dir(lock);
    }
    cured("a directory that went away", &host);
}

#[test]
fn an_answer_that_could_not_be_remembered_is_not_provoked() {
    for pages in 0..24 {
        let host = Host::new();
        host.provider.set(|s| (s.status, s.retry_after) = (Some(429), Some("600".into())));
        let dir = host.home.join(".local");
        std::fs::create_dir_all(&dir).unwrap();
        let mount = Mount::tmpfs(&dir, "256k");
        std::fs::create_dir_all(host.state_dir()).unwrap();
        mount.fill(pages);
        let first = host.refresh(&[]).outcome;
        let second = host.refresh(&[]);
        println!("429, {pages} pages free: {first}, {}, requests {}", second.outcome, host.requests());
        assert!(host.requests() <= 1, "{pages}: {second}");
    }
}

#[test]
fn read_only_stores_spend_nothing() {
    let host = Host::new();
    let text = host.read();
    let dir = host.home.join(".claude");
    {
        let mount = Mount::tmpfs(&dir, "256k");
        host.write(&text);
        mount.remount("ro");
        assert_eq!(judge("credentials read-only", &host, &text), "source");
        mount.remount("rw");
        cured("credentials read-only", &host);
    }
    let host = Host::new();
    let text = host.read();
    let dir = host.home.join(".local");
    std::fs::create_dir_all(&dir).unwrap();
    let mount = Mount::tmpfs(&dir, "256k");
    mount.remount("ro");
    assert_eq!(judge("state read-only", &host, &text), "source");
    mount.remount("rw");
    cured("state read-only", &host);
}

#[test]
fn missing_permissions_spend_nothing() {
    // Root overrides permissions: the program runs without that right.
    let steps = [
        ("no write in the login's directory", "chmod 500 \"$HOME/.claude\""),
        ("no write in the home (legacy lock)", "chmod 500 \"$HOME\""),
        (
            "no write in our state",
            "mkdir -p \"$HOME/.local/state/tokensink/intents\"; chmod 500 \"$HOME/.local/state/tokensink/intents\"",
        ),
        ("no read of the source", "chmod 0 \"$HOME/.claude/.credentials.json\""),
    ];
    for (name, step) in steps {
        let host = Host::new();
        let text = host.read();
        run(host.dress(Command::new("sh").args(["-ec", step])), b"").ok();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        command.arg(&host.program).args(["refresh", "--json"]);
        let said = host.say(host.dress(&mut command));
        println!(
            "{name:<34} {:<9} requests {}: {} {}",
            said.outcome,
            host.requests(),
            said.detail,
            said.text.lines().next().unwrap_or("")
        );
        assert_eq!((said.code, host.requests(), host.read()), (Some(1), 0, text), "{name}: {said}");
        assert!(host.intent().is_none(), "{name}");
    }
}
