//! What the daemon does about a gateway whose log says 401. The journal is a stand-in that prints what the test
//! writes; the real one is in the test on a booted system.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use nix::libc::O_NONBLOCK;

use crate::stage::{Home, Login};

/// Prints what is written to its pipe, and ends when that is `end`. It notes how it was called.
const JOURNALCTL: &str = "#!/bin/sh\nprintf '%s|' \"$@\" >> ~/calls\necho \" $$\" >> ~/calls\nexec 3<> ~/journal\n\
    while read -r line <&3; do [ \"$line\" != end ] || exit 1; echo \"$line\"; done\n";

fn stage() -> Home {
    let mut home = Home::new();
    let bin = home.mkdir("bin");
    fs::write(bin.join("journalctl"), JOURNALCTL).unwrap();
    fs::set_permissions(bin.join("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    nix::unistd::mkfifo(&home.path("journal"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    home.rotate(&Login::nth(1));
    let gateway = format!(
        "[login.refresh]\nmode = \"off\"\n[[gateway]]\nid = \"claw\"\nsinks = [\"env\"]\nmin_interval = \"0s\"\n\
         command = [\"/bin/sh\", \"-c\", \"echo again >> {}\"]\nunauthorized = \"CONTAINER_NAME=claw PRIORITY=3\"\n",
        home.path("followed").display()
    );
    let (login, sinks) =
        home.three_sinks("").split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (refresh, gateway) = gateway.split_once("[[gateway]]").unwrap();
    home.configure(&format!("{login}\n{refresh}\n{sinks}\n[[gateway]]{gateway}"));
    assert_eq!(home.run(&["sync"]).code, 0);
    home
}

/// The journal says something; nothing if nobody listens.
fn journal_says(home: &Home, text: &str) {
    let pipe = fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(home.path("journal"));
    let _ = pipe.map(|mut pipe| pipe.write_all(text.as_bytes()));
}

fn count(home: &Home, name: &str) -> usize {
    home.read(name).lines().count()
}

fn is_gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_401_that_repeats_makes_the_gateway_follow_and_a_flood_of_them_is_no_flood_of_passes() {
    let home = stage();
    let followed = count(&home, "followed");
    let daemon = home.ready();
    home.until("the journal is followed", || count(&home, "calls") == 1);
    let calls = home.read("calls");
    assert!(calls.starts_with("--follow|--lines=0|--no-pager|--output=json|"), "{calls}");
    assert!(calls.contains("|--|CONTAINER_NAME=claw|PRIORITY=3| "), "{calls}");

    // Its sinks are proven to be used, and refreshing is off: what it gets is a finding, not a restart.
    home.until("its 401s are counted", || {
        journal_says(&home, &"{\"MESSAGE\":\"\u{1b}[31m401 hostile \\u0000\"}\n".repeat(50));
        home.state()["gateways"]["claw"]["refusals"]["count"].as_u64().is_some_and(|count| count > 100)
    });
    let first = home.state()["gateways"]["claw"]["refusals"].clone();
    let passes = home.said(daemon.from, "401").len();
    assert!(passes <= 2, "{}", home.story());
    // It is said when it is on record.
    home.until("what was done is said", || {
        first["refreshed_at"].is_null() == home.said(daemon.from, "its login is refreshed, once").is_empty()
    });
    assert_eq!(count(&home, "followed"), followed, "one that follows already is left alone");

    // A listener that ends is started again, and the last one ends with the daemon.
    journal_says(&home, "end\n");
    home.until("it is followed again", || count(&home, "calls") == 2);
    let calls = home.read("calls");
    let pids: Vec<&str> = calls.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    daemon.stop();
    home.until("nobody follows it any more", || pids.iter().all(|pid| is_gone(pid)));
    home.finish();
}

#[test]
fn a_gateway_that_was_never_made_to_follow_is_at_the_second_401() {
    let home = stage();
    // As if it had been there before tokensink: its sinks are right, nothing was applied to it.
    let state = home.path(".local/state/tokensink/state.json");
    let mut known = home.state();
    known["gateways"] = serde_json::json!({});
    fs::write(&state, known.to_string()).unwrap();
    let followed = count(&home, "followed");
    let daemon = home.ready();
    home.until("the journal is followed", || count(&home, "calls") == 1);
    home.until("it follows", || {
        journal_says(&home, "{}\n");
        count(&home, "followed") == followed + 1
    });
    let told = home.said(daemon.from, "made to use the current generation once more");
    assert_eq!(told.len(), 1, "{}", home.story());
    let first = home.said(daemon.from, "is ready")[0].0;
    assert!(told[0].0.duration_since(first).as_secs() >= 9, "not at the first of them");
    daemon.stop();
    home.finish();
}
