//! Refreshes beside others: the CLI's locks, its writes in mid-request, stores that are not ours to
//! replace, several of our own processes, and being stopped.
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

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::claude::in_seconds;
use support::host::{Host, age, document, in_parallel, signal, until};
use support::provider::Pair;

// ---- the CLI's locks

#[test]
fn a_lock_that_is_held_is_waited_for_and_then_left() {
    in_parallel(&[(0, 0), (1, 0), (0, 50), (1, 50), (0, -3600), (1, -3600)], 6, |(lock, old)| {
        let host = Host::new();
        let before = host.read();
        let lock = &host.locks()[*lock];
        std::fs::create_dir(lock).unwrap();
        age(lock, *old);
        let made = std::fs::metadata(lock).unwrap();
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{said}");
        host.assert_untouched(&before);
        let left = std::fs::metadata(lock).unwrap();
        assert_eq!((left.ino(), left.mtime()), (made.ino(), made.mtime()), "it is not ours");
        assert_eq!(host.locks().iter().filter(|l| l.exists()).count(), 1, "and none of ours is left");
    });
}

#[test]
fn an_abandoned_lock_is_taken_over_after_it_was_watched() {
    in_parallel(&[&[0][..], &[1], &[0, 1]], 3, |locks| {
        let host = Host::new();
        for lock in *locks {
            std::fs::create_dir(&host.locks()[*lock]).unwrap();
            age(&host.locks()[*lock], 70);
        }
        let began = SystemTime::now();
        let said = host.refresh(&[]);
        let took = began.elapsed().unwrap();
        assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
        assert!(took >= Duration::from_secs(10), "{took:?}");
        assert!(host.locks().iter().all(|lock| !lock.exists()));
        println!("{} abandoned: {took:.1?}", locks.len());
    });
}

#[test]
fn an_old_lock_that_moves_is_not_taken_over() {
    let host = Host::new();
    let before = host.read();
    let lock = host.locks()[0].clone();
    std::fs::create_dir(&lock).unwrap();
    age(&lock, 70);
    let made = std::fs::metadata(&lock).unwrap().ino();
    let mut ours = host.start_refresh(&[]);
    // A holder with a clock that is behind.
    while ours.try_wait().unwrap().is_none() {
        age(&lock, 70);
        std::thread::sleep(Duration::from_millis(500));
    }
    let said = host.end(ours);
    assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{said}");
    host.assert_untouched(&before);
    assert_eq!(std::fs::metadata(&lock).unwrap().ino(), made);
}

#[test]
fn what_is_no_lock_in_the_place_of_one_stops_us_and_stays() {
    let cases: Vec<(usize, &str)> =
        (0..3).flat_map(|lock| [(lock, "file"), (lock, "full"), (lock, "ahead")]).collect();
    in_parallel(&cases, 9, |(at, what)| {
        let host = Host::new();
        let before = host.read();
        let lock = &host.locks()[*at];
        match *what {
            "file" => std::fs::write(lock, "").unwrap(),
            "full" => std::fs::create_dir_all(lock.join("x")).unwrap(),
            _ => std::fs::create_dir(lock).unwrap(),
        }
        age(lock, if *what == "ahead" { -14_400 } else { 120 });
        let said = host.refresh(&[]);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{at} {what} {said}");
        host.assert_untouched(&before);
        assert!(lock.exists());
        assert_eq!(host.locks().iter().filter(|l| l.exists()).count(), 1);
    });
}

#[test]
fn an_abandoned_write_lock_does_not_keep_the_tokens_from_the_file() {
    let host = Host::new();
    std::fs::create_dir(&host.locks()[2]).unwrap();
    age(&host.locks()[2], 20);
    let said = host.refresh(&[]);
    assert_eq!(
        (said.code, said.outcome.as_str(), host.place_of_live()),
        (Some(0), "rotated", "source"),
        "{said}"
    );
}

fn seconds_old(path: &Path) -> f64 {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    modified.elapsed().map_or(0.0, |age| age.as_secs_f64())
}

#[test]
fn the_refresh_locks_are_kept_alive_while_somebody_else_writes() {
    let host = Host::new();
    let [first, second, write] = host.locks();
    std::fs::create_dir(&write).unwrap();
    let ours = host.start_refresh(&[]);
    until("the answer is on record", 10, || host.place_of_live() == "intent");
    for _ in 0..26 {
        std::thread::sleep(Duration::from_millis(500));
        age(&write, 0);
        for lock in [&first, &second] {
            let old = seconds_old(lock);
            assert!(old < 6.0, "{}: no heartbeat for {old} s", lock.display());
        }
    }
    std::fs::remove_dir(&write).unwrap();
    let said = host.end(ours);
    assert_eq!(
        (said.code, said.outcome.as_str(), host.place_of_live()),
        (Some(0), "rotated", "source"),
        "{said}"
    );
}

#[test]
fn an_answer_that_waits_for_the_write_lock_in_vain_is_stored_by_the_next_run() {
    let host = Host::new();
    let write = host.locks()[2].clone();
    std::fs::create_dir(&write).unwrap();
    let mut ours = host.start_refresh(&[]);
    while ours.try_wait().unwrap().is_none() {
        age(&write, 0);
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = host.end(ours);
    assert_eq!(
        (said.code, said.outcome.as_str(), host.place_of_live()),
        (Some(1), "unknown", "intent"),
        "{said}"
    );
    std::fs::remove_dir(&write).unwrap();
    // The daemon does it by itself, once the wait after the failure is over.
    let daemon = host.start_daemon();
    until("the answer is stored", 90, || host.place_of_live() == "source");
    until("and recorded", 10, || host.intent().is_none() && host.memory()["stopped"] == Value::Null);
    host.assert_no_token_in(&daemon.stop());
    assert_eq!(host.requests(), 1);
}

#[test]
fn a_cli_that_writes_in_mid_request_is_not_overwritten() {
    for spent_stays in [true, false] {
        let host = Host::new();
        host.provider.set(|s| s.delay_ms = 800);
        let ours = host.start_refresh(&[]);
        host.wait_for_request();
        if spent_stays {
            host.write(&host.read().replace("\"unknownBeside\": [1", "\"unknownBeside\": [77"));
        } else {
            host.write(&document(&Pair::invent("other"), in_seconds(100)));
        }
        let during = host.read();
        let said = host.end(ours);
        if spent_stays {
            assert_eq!((said.outcome.as_str(), host.place_of_live()), ("rotated", "source"), "{said}");
            assert!(host.read().contains("[77"));
        } else {
            assert_eq!((said.outcome.as_str(), host.read()), ("adopted", during), "{said}");
        }
    }
}

// ---- stores that cannot keep an answer

#[test]
fn a_source_that_could_not_be_replaced_is_not_spent() {
    let refused = |name: &str, host: &Host, script: &str, before: &str| {
        let said = host.say(&mut host.command_in_mounts(script, &["refresh", "--json"]));
        println!("{name}: {} {}", said.outcome, said.detail);
        assert_eq!((said.code, said.outcome.as_str()), (Some(1), "not-sent"), "{name}: {said}");
        host.assert_untouched(before);
    };
    let host = Host::new();
    let before = host.read();
    std::fs::rename(host.source(), host.home.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(host.home.join("elsewhere"), host.source()).unwrap();
    refused("link", &host, "", &before);
    assert!(host.source().is_symlink());

    let host = Host::new();
    std::fs::hard_link(host.source(), host.home.join("elsewhere")).unwrap();
    refused("hard link", &host, "", &host.read());

    let host = Host::new();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(host.source(), Some(12_345), None).unwrap();
        refused("foreign owner", &host, "", &host.read());
    }

    let host = Host::new();
    std::fs::copy(host.source(), host.home.join("elsewhere")).unwrap();
    let mount = "mount --bind \"$HOME/elsewhere\" \"$HOME/.claude/.credentials.json\"";
    refused("bind mount", &host, mount, &host.read());

    let host = Host::new();
    let read_only =
        "mount --bind \"$HOME/.claude\" \"$HOME/.claude\"\nmount -o remount,bind,ro \"$HOME/.claude\"";
    refused("read-only directory", &host, read_only, &host.read());

    let host = Host::new();
    let read_only = "mount -t tmpfs none \"$HOME/.local\"\nmkdir -p \"$HOME/.local/state\"\nmount -o remount,ro \"$HOME/.local\"";
    std::fs::create_dir_all(host.home.join(".local")).unwrap();
    let said = host.say(&mut host.command_in_mounts(read_only, &["refresh", "--json"]));
    assert_eq!(said.code, Some(1), "{said}");
    host.assert_untouched(&host.read());
}

#[test]
fn a_linked_directory_is_fine_and_the_legacy_lock_is_the_real_ones() {
    let host = Host::new();
    std::fs::rename(host.home.join(".claude"), host.home.join("real")).unwrap();
    std::os::unix::fs::symlink(host.home.join("real"), host.home.join(".claude")).unwrap();
    std::fs::create_dir(host.home.join("real.lock")).unwrap();
    assert_eq!(host.refresh(&[]).outcome, "not-sent");
    std::fs::remove_dir(host.home.join("real.lock")).unwrap();
    assert_eq!((host.refresh(&["--force"]).outcome.as_str(), host.place_of_live()), ("rotated", "source"));
}

#[test]
fn a_source_without_a_usable_login_is_left_alone() {
    let host = Host::new();
    let whole = document(&host.pair, in_seconds(-10));
    let cut = &whole[..whole.len() / 2];
    let blank = whole.replace(&host.pair.refresh, "");
    let husk = blank.replace(&host.pair.access, "");
    let no_end = whole.replace("\"expiresAt\": ", "\"expiresAt\": null, \"was\": ");
    for text in ["", "{}", cut, &blank, &husk, &no_end] {
        for more in [&[][..], &["--force"]] {
            host.write(text);
            let said = host.refresh(more);
            let is_forced_no_end = text == no_end && !more.is_empty();
            assert_eq!(host.requests(), usize::from(is_forced_no_end), "{text} {more:?} {said}");
            assert_eq!(said.code, Some(i32::from(!is_forced_no_end)), "{text} {more:?} {said}");
            assert!(is_forced_no_end || host.read() == text);
        }
    }
}

// ---- several at once, and being stopped

#[test]
fn a_daemon_and_five_commands_send_one_request() {
    let host = Host::new();
    host.provider.set(|s| s.delay_ms = 300);
    let daemon = host.start_daemon();
    let first: Vec<_> = (0..5).map(|_| host.start_refresh(&[])).collect();
    let all: Vec<_> = first.into_iter().map(|child| host.end(child)).collect();
    for said in &all {
        assert_eq!(said.code, Some(0), "{said}");
        assert!(["rotated", "adopted", "not-due"].contains(&said.outcome.as_str()), "{said}");
    }
    until("the rotation", 20, || host.place_of_live() == "source" && host.live() != host.pair);
    host.assert_no_token_in(&daemon.stop());
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0));
}

#[test]
fn commands_that_judged_before_the_rotation_adopt_it() {
    let host = Host::new();
    // Ten, started one after the other while the first is under way.
    host.provider.set(|s| s.delay_ms = 150);
    let mut children = Vec::new();
    for _ in 0..10 {
        children.push(host.start_refresh(&[]));
        std::thread::sleep(Duration::from_millis(30));
    }
    let words: Vec<_> = children.into_iter().map(|child| host.end(child).outcome).collect();
    println!("{words:?}");
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0), "{words:?}");
    assert_eq!(host.place_of_live(), "source");
}

#[test]
fn the_daemon_refreshes_what_is_due_by_itself_and_not_again() {
    // Due at half of what was left when it was first seen.
    let host = Host::expiring(6);
    let daemon = host.start_daemon();
    until("the rotation", 30, || host.requests() == 1 && host.place_of_live() == "source");
    let over = in_seconds(12);
    until("two more polls", 30, || in_seconds(0) > over);
    let log = daemon.stop();
    host.assert_no_token_in(&log);
    assert_eq!((host.requests(), host.live() != host.pair), (1, true), "{log}");
}

#[test]
fn a_stop_in_mid_request_lets_it_end() {
    for stop in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let host = Host::new();
        host.provider.set(|s| s.delay_ms = 1500);
        let ours = host.start_refresh(&[]);
        host.wait_for_request();
        signal(&ours, stop);
        let said = host.end(ours);
        assert_eq!((said.outcome.as_str(), host.place_of_live()), ("rotated", "source"), "{stop} {said}");
        assert!(host.locks().iter().all(|lock| !lock.exists()) && host.intent().is_none());
    }
    let host = Host::new();
    host.provider.set(|s| s.delay_ms = 7000);
    let daemon = host.start_daemon();
    host.wait_for_request();
    let log = daemon.stop();
    assert_eq!(host.place_of_live(), "source", "{log}");
    assert!(host.locks().iter().all(|lock| !lock.exists()) && host.intent().is_none(), "{log}");
    assert_eq!(host.memory()["last_ended"], "rotated", "{log}");
}

// ---- several logins

#[test]
fn a_parked_login_is_kept_warm_beside_the_one_in_use_and_reaches_no_sink_of_it() {
    let host = Host::new();
    let spare = host.provider.seed("spare");
    let parked = host.home.join("spare/.credentials.json");
    std::fs::create_dir(parked.parent().unwrap()).unwrap();
    std::fs::write(&parked, document(&spare, in_seconds(-60))).unwrap();
    let more = format!(
        "[[login]]\nid = \"spare\"\nprovider = \"claude\"\nlabel = \"second account\"\npath = \"~/spare/.credentials.json\"\n\
         [login.refresh]\nmode = \"direct\"\ntoken_url = \"{}\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n",
        host.token_url()
    );
    host.configure(&host.token_url(), &more);
    let daemon = host.start_daemon();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let copy = host.home.join("copy.json");
    let live_spare = || host.provider.ledger().live("spare").clone();
    until("both are refreshed, and the copy follows its own", 30, || {
        host.requests() == 2
            && read(&parked).contains(&live_spare().refresh)
            && read(&copy).contains(&host.live().access)
    });
    daemon.stop();
    assert_ne!(live_spare(), spare);
    assert!(!read(&copy).contains("spare") && !host.read().contains("spare"));
    let report = host.command(&["status", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    for (login, label) in [(0, Value::Null), (1, "second account".into())] {
        let login = &report["logins"][login];
        assert_eq!((&login["state"], &login["account"]), (&"ok".into(), &label), "{report}");
        assert_eq!((&login["refresh"]["owner"], &login["renewing"]), (&"tokensink".into(), &false.into()));
    }
}
