//! How the daemon starts, reloads, refuses and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use inotify::EventMask;
use nix::sys::signal::Signal;

use crate::stage::{Home, Login, STATE, contains};

#[test]
fn a_reload_takes_the_new_configuration_or_keeps_the_old_one() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();

    let more = home.holds_tokens("sinks/more.json");
    let sink =
        "[[sink]]\nid = \"more\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/sinks/more.json\"\n";
    home.configure(&home.three_sinks(sink));
    let mark = home.mark();
    daemon.signal(Signal::SIGHUP);
    home.until("the new sink is there", || contains(&more, &Login::nth(1).access));
    let (begun, message) = home.until_said(mark, "RELOADING=1");
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    assert!(home.until_said(mark, "READY=1").0 >= begun);
    // Its directory was watched before; its name is now.
    home.rotate(&Login::nth(2));
    home.until("the new sink follows", || contains(&more, &Login::nth(2).access));
    home.rest();
    fs::remove_file(&more).unwrap();
    home.until("the new sink is watched", || contains(&more, &Login::nth(2).access));

    home.configure("[[sink]]\nid = \"x\"\nkind = \"secret-fil\"\n[daemon]\npol = 1\n");
    let mark = home.mark();
    daemon.signal(Signal::SIGHUP);
    let (_, line) = home.until_said(mark, "keeping the previous one");
    assert!(line.contains("ERROR"), "{line}");
    home.until_said(mark, "READY=1");
    home.rotate(&Login::nth(3));
    home.until_sinks_hold(&Login::nth(3));
    home.until("the sink of the old configuration follows", || contains(&more, &Login::nth(3).access));
    daemon.stop();
    home.finish();
}

#[test]
fn a_stop_in_the_midst_of_a_pass_leaves_nothing_half_done() {
    let home = Home::new();
    let store = home.openclaw("2026.2.25", &["main"]);
    home.configure(&home.three_sinks(
        "[[sink]]\nid = \"store\"\nlogin = \"claude\"\nkind = \"auth-profiles\"\nstate_dir = \"~/.openclaw\"\n",
    ));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let before = fs::read(&store[0]).unwrap();
    // Somebody alive holds the store's lock: the pass waits for it.
    let lock = home.lock_store(&store[0]);
    home.watch_readers(".openclaw/agents/main/agent");
    let mark = home.mark();
    home.rotate(&Login::nth(2));
    home.until("the pass has met the lock", || home.touched(mark, &lock, EventMask::CLOSE_NOWRITE) > 0);
    daemon.stop();
    assert_eq!(fs::read(&store[0]).unwrap(), before);
    fs::remove_file(&lock).unwrap();
    // The next start does the rest.
    let daemon = home.ready();
    home.until("the store follows", || contains(&store[0], &Login::nth(2).access));
    home.until_sinks_hold(&Login::nth(2));
    daemon.stop();
    home.finish();
}

#[test]
fn one_daemon_for_each_user() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let second = home.run(&["daemon"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains(&format!("pid {}", daemon.pid)), "{second:?}");
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));
    daemon.crash();
    // The lock went with its holder.
    home.ready().stop();
    home.finish();
}

#[test]
fn what_keeps_it_from_starting_is_told_by_exit_code_and_in_words() {
    let home = Home::of_ordinary_user();
    let ran = home.run(&["daemon"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("tokensink setup"), "{ran:?}");

    home.configure(
        "[daemon]\npol = \"1s\"\n[[login]]\nid = \"claude\"\nprovider = \"claud\"\n\
         [[sink]]\nid = \"a\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"relative\"\n",
    );
    let ran = home.run(&["daemon"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    for part in
        ["tokensink.toml:2: daemon.pol", ":5: login.claude.provider", ":10: sink.a.path", "sink.a.key"]
    {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }

    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let state = home.path(STATE);
    fs::remove_dir(&state).unwrap();
    let above = state.parent().unwrap();
    std::os::unix::fs::chown(above, Some(0), Some(0)).unwrap();
    fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = home.run(&["daemon"]);
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stderr.contains(STATE) && !home.sinks()[0].exists(), "{ran:?}");

    home.mkdir(STATE);
    let ran = home.run(&["daemon"]);
    assert_eq!(ran.code, 77, "a directory of somebody else: {ran:?}");
    home.finish();
}

#[test]
fn state_of_a_newer_version_is_refused_and_torn_state_is_set_aside() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    home.write(&format!("{STATE}/state.json"), "{\"format_version\": 1, \"logins\":");
    let daemon = home.ready();
    assert!(home.sinks_hold(&Login::nth(1)));
    daemon.stop();
    assert_eq!(home.read(&format!("{STATE}/state.json.unreadable")), "{\"format_version\": 1, \"logins\":");
    assert_eq!(home.state()["format_version"], 1);

    let newer = "{\"format_version\": 99}";
    home.write(&format!("{STATE}/state.json"), newer);
    home.rotate(&Login::nth(2));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("newer"), "{ran:?}");
    assert_eq!(home.read(&format!("{STATE}/state.json")), newer);
    assert!(home.sinks_hold(&Login::nth(1)), "what cannot be remembered is not done");
    home.finish();
}

#[test]
fn the_watchdog_is_fed_while_the_loop_turns() {
    let mut home = Home::new();
    home.set("WATCHDOG_USEC", "1000000");
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.until("the watchdog is fed again and again", || home.said(daemon.from, "WATCHDOG=1").len() >= 3);
    let stopped = home.mark();
    daemon.signal(Signal::SIGSTOP);
    daemon.signal(Signal::SIGCONT);
    home.until("it goes on", || !home.said(stopped, "WATCHDOG=1").is_empty());
    daemon.stop();
    home.finish();
}

#[test]
fn a_pass_that_could_not_be_made_is_tried_again_within_seconds() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let state = home.path(&format!("{STATE}/state.json"));
    let aside = home.path("state.json");
    fs::rename(&state, &aside).unwrap();
    fs::create_dir(&state).unwrap();
    home.rotate(&Login::nth(2));
    let (failed, _) = home.until_said(daemon.from, "pass failed, trying again");
    fs::remove_dir(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    // Nothing tells of that, and the poll is a minute away.
    home.until_sinks_hold(&Login::nth(2));
    assert!(failed.elapsed() < std::time::Duration::from_secs(30));
    daemon.stop();
    home.finish();
}

#[test]
fn what_could_not_be_recorded_is_not_done_again_with_every_turn() {
    let fills = format!("cat /dev/zero >{STATE}/ballast");
    for (done, config) in [
        (
            "the outcome of a restart could not be recorded",
            format!(
                "[[sink]]\nid = \"token\"\nlogin = \"claude\"\nkind = \"secret-file\"\n\
                 path = \"~/sinks/token.json\"\n[[gateway]]\nid = \"claw\"\nsinks = [\"token\"]\n\
                 min_interval = \"1s\"\napply = \"restart\"\n\
                 command = [\"/bin/sh\", \"-c\", \"echo done >>done; {fills}; true\"]\n"
            ),
        ),
        (
            "the outcome of a command could not be recorded",
            format!(
                "[[sink]]\nid = \"token\"\nlogin = \"claude\"\nkind = \"command\"\n\
                 command = [\"/bin/sh\", \"-c\", \"cat >sinks/token.json; echo done >>done; {fills}; true\"]\n"
            ),
        ),
    ] {
        let home = Home::new();
        home.mkdir(STATE);
        home.configure(&format!("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n{config}"));
        home.holds_tokens("sinks/token.json");
        home.rotate(&Login::nth(1));
        let setup = format!("mount -t tmpfs -o size=256k,mode=0700 none {STATE}");
        let daemon = home.start_as(home.unshared(&setup, &["daemon"]));
        let (_, said) = home.until_said(daemon.from, done);
        home.rest();
        // Events, and a turn for each.
        for name in ["a", "b"] {
            home.write(&format!(".claude/{name}"), "");
            home.rest();
        }
        assert_eq!(home.read("done"), "done\n", "{said}");
        assert!(contains(&home.path("sinks/token.json"), &Login::nth(1).access));
        daemon.stop();
        home.finish();
    }
}
