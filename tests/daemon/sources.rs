//! What stands in a credentials file: every way to write it, and everything that is no login.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use inotify::EventMask;

use crate::stage::{Home, Login, husk};

const SOURCE: &str = ".claude/.credentials.json";

/// What happens to a sink when it is written, in either way.
pub fn written() -> EventMask {
    EventMask::MOVED_TO | EventMask::MODIFY | EventMask::CLOSE_WRITE | EventMask::DELETE
}

#[test]
fn writers_in_place_and_by_rename_are_followed_alike() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    assert!(home.sinks_hold(&Login::nth(1)), "ready means that the first pass is done");
    for n in 2..6 {
        let login = Login::nth(n);
        if n % 2 == 0 {
            home.write(SOURCE, login.document());
        } else {
            home.rotate(&login);
        }
        home.until_sinks_hold(&login);
    }
    daemon.stop();
    home.finish();
}

#[test]
fn no_part_of_a_torn_file_ever_changes_a_sink() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.watch_readers(".claude");
    let before = home.sinks().map(|sink| std::fs::read(sink).unwrap());
    let start = home.mark();
    let document = Login::nth(2).document();
    for length in 0..document.len() {
        let mark = home.mark();
        home.write(SOURCE, &document[..length]);
        // Nobody but the daemon reads the file: closing it unwritten is the daemon's look.
        home.until("the daemon has read the torn file", || {
            home.touched(mark, &home.credentials(), EventMask::CLOSE_NOWRITE) > 0
        });
    }
    for (sink, before) in home.sinks().iter().zip(before) {
        assert_eq!(home.touched(start, sink, written()), 0, "{}", sink.display());
        assert_eq!(std::fs::read(sink).unwrap(), before, "{}", sink.display());
    }
    home.write(SOURCE, &document);
    home.until_sinks_hold(&Login::nth(2));
    daemon.stop();
    for sink in home.sinks() {
        assert_eq!(home.touched(start, &sink, EventMask::MOVED_TO), 1, "{}", sink.display());
    }
    home.finish();
}

#[test]
fn a_short_sight_of_a_husk_is_nothing_to_tell() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.watch_readers(".claude");
    for n in 2..5 {
        let mark = home.mark();
        home.write(SOURCE, husk());
        home.until("the daemon has read the husk", || {
            home.touched(mark, &home.credentials(), EventMask::CLOSE_NOWRITE) > 0
        });
        assert!(home.sinks_hold(&Login::nth(n - 1)));
        home.write(SOURCE, Login::nth(n).document());
        home.until_sinks_hold(&Login::nth(n));
    }
    daemon.stop();
    assert!(home.said(0, "HUSK").is_empty(), "{}", home.story());
    home.finish();
}

/// Name of a login, what replaces its file (`None`: nothing), and the finding.
fn no_logins() -> Vec<(&'static str, Option<String>, &'static str)> {
    let whole = Login::nth(2).document();
    vec![
        ("husk", Some(husk()), "HUSK"),
        ("partial", Some(whole.replace("\"scopes\"", "\"scopez\"")), "UNREADABLE"),
        ("torn", Some(whole[..whole.len() / 2].to_owned()), "UNREADABLE"),
        ("empty", Some(String::new()), "UNREADABLE"),
        ("html", Some("<html>busy</html>".to_owned()), "UNREADABLE"),
        ("closed", Some(whole), "UNREADABLE"),
        ("missing", None, "MISSING"),
    ]
}

#[test]
fn what_is_no_login_is_told_between_two_and_three_seconds_and_never_handed_on() {
    let home = Home::of_ordinary_user();
    home.mkdir("logins");
    let mut config = String::new();
    for (name, ..) in no_logins() {
        config += &format!(
            "[[login]]\nid = \"{name}\"\nprovider = \"claude\"\npath = \"~/logins/{name}.json\"\n\
             [[sink]]\nid = \"{name}\"\nlogin = \"{name}\"\nkind = \"secret-file\"\npath = \"~/sinks/{name}.json\"\n"
        );
        home.holds_tokens(&format!("sinks/{name}.json"));
        home.holds_tokens(&format!("logins/{name}.json"));
        home.write(&format!("logins/{name}.json"), Login::nth(1).document());
    }
    home.configure(&config);
    home.hand_over();
    let daemon = home.ready();

    let mark = home.mark();
    let mut begun = Vec::new();
    for (name, text, code) in no_logins() {
        let file = format!("logins/{name}.json");
        let at = Instant::now();
        match text {
            None => std::fs::remove_file(home.path(&file)).unwrap(),
            Some(text) if name == "closed" => {
                let next = home.write("logins/next", text);
                std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o000)).unwrap();
                // Its owner is who runs the daemon, or anybody else: nobody may read it.
                std::fs::rename(next, home.path(&file)).unwrap();
            }
            Some(text) => {
                home.replace(&file, text);
            }
        }
        begun.push((name, code, at));
    }
    for (name, code, at) in begun {
        let (told, line) = home.until_said(mark, &format!("{code} {name}: "));
        let took = told - at;
        assert!(took >= Duration::from_secs(2) && took <= Duration::from_secs(3), "{name}: {took:?} {line}");
        let sink = home.path(&format!("sinks/{name}.json"));
        assert!(crate::stage::contains(&sink, &Login::nth(1).access), "{name}");
        assert_eq!(home.touched(mark, &sink, written()), 0, "{name}");
    }
    home.until_said(mark, "and 6 more");
    let report = home.run(&["status", "--json"]).json();
    let states: Vec<&str> =
        report["logins"].as_array().unwrap().iter().map(|l| l["state"].as_str().unwrap()).collect();
    let dead = "unreadable";
    assert_eq!(states, ["husk", dead, dead, dead, dead, dead, "missing"]);

    let mark = home.mark();
    let back = Instant::now();
    for (name, ..) in no_logins() {
        home.replace(&format!("logins/{name}.json"), Login::nth(3).document());
    }
    for (name, _, code) in no_logins() {
        let (told, _) = home.until_said(mark, &format!("{code} {name} is resolved"));
        assert!(told - back <= Duration::from_secs(5), "{name}");
        let sink = home.path(&format!("sinks/{name}.json"));
        home.until("the sink follows again", || crate::stage::contains(&sink, &Login::nth(3).access));
    }
    daemon.stop();
    home.finish();
}

#[test]
fn two_hundred_rotations_in_a_burst_end_with_the_last_one_and_few_passes() {
    let home = Home::new();
    let gate = home.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let log = home.path("gateway.log");
    let script = home.write(
        "gateway.sh",
        format!(
            "grep -o 'oat01-[^-]*-[0-9]*' \"$HOME/sinks/token.json\" | cut -d- -f3 >>{}\nenv >\"$HOME/environment\"\nread -r _ <{}\n",
            log.display(),
            gate.display()
        ),
    );
    home.configure(&home.three_sinks(&format!(
        "[[gateway]]\nid = \"gateway\"\nsinks = [\"oauth\", \"env\", \"secret\"]\nmin_interval = \"1s\"\n\
         command = [\"/bin/sh\", {script:?}]\n"
    )));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.until("the gateway is being told", || home.read("gateway.log").lines().count() == 1);
    home.watch_readers(".claude");
    let mark = home.mark();
    let begun = Instant::now();
    for n in 2..=201 {
        home.rotate(&Login::nth(n));
    }
    let took = begun.elapsed();
    let last = Login::nth(201);
    home.until_sinks_hold(&last);
    assert_eq!(home.read("gateway.log").lines().count(), 1, "one at a time");
    let pending = home.state()["gateways"]["gateway"]["pending"].clone();
    assert!(pending.is_object(), "{pending}");
    // The gateway is let go, told once more, and then left in peace.
    for runs in 1..=2 {
        home.until("the gateway is told", || home.read("gateway.log").lines().count() == runs);
        std::fs::write(&gate, "go\n").unwrap();
    }
    home.until("nothing is pending", || home.state()["gateways"]["gateway"]["pending"].is_null());
    daemon.stop();
    let told = home.read("gateway.log");
    assert_eq!(told.lines().last(), Some("0201"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    let looks = home.touched(mark, &home.credentials(), EventMask::CLOSE_NOWRITE);
    let writes = home.touched(mark, &home.path("sinks/token.json"), EventMask::MOVED_TO);
    println!("burst of {took:?}: {looks} looks at the source, {writes} writes of a sink");
    // Each pass looks twice (before and after it wrote), and its own renames cause one more look.
    assert!(looks <= 3 * writes + 8, "{looks} looks for {writes} writes");
    assert!(writes <= 200);
    home.finish();
}
