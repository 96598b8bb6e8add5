//! `sync`: one pass, with and without a daemon, and a plan that touches nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use inotify::EventMask;

use crate::stage::{Home, Login, STATE};

#[test]
fn a_pass_writes_what_is_missing_and_the_next_one_nothing() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let first = home.run(&["sync", "--json"]);
    assert_eq!(first.code, 0, "{first:?}");
    let report = first.json();
    assert_eq!((&report["format_version"], &report["dry_run"]), (&1.into(), &false.into()));
    assert!(report["generated_at"].as_i64().unwrap() >= crate::stage::base_ms());
    let written: Vec<_> = report["actions"].as_array().unwrap().iter().collect();
    assert_eq!(written.len(), 3);
    for (action, id) in written.iter().zip(["oauth", "env", "secret"]) {
        assert_eq!(
            (&action["action"], &action["sink"], &action["reason"]),
            (&"write".into(), &id.into(), &"missing".into())
        );
        assert_eq!(action["generation"].as_str().unwrap().len(), 16);
    }
    for sink in report["sinks"].as_array().unwrap() {
        assert_eq!((&sink["state"], &sink["code"]), (&"current".into(), &serde_json::Value::Null));
    }
    assert!(home.sinks_hold(&Login::nth(1)));
    for sink in home.sinks() {
        assert_eq!(fs::metadata(sink).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    for file in ["state.json", "fingerprint.key", "pass.lock"] {
        let mode = fs::metadata(home.path(STATE).join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    let mark = home.mark();
    let before = home.sinks().map(|sink| home.snapshot()[&sink].clone());
    let second = home.run(&["sync"]);
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.stdout.starts_with("nothing to do\n"), "{second:?}");
    assert_eq!(home.sinks().map(|sink| home.snapshot()[&sink].clone()), before);
    assert_eq!(home.touched(mark, &home.path(STATE).join("state.json"), EventMask::MOVED_TO), 0);
    home.finish();
}

#[test]
fn a_dry_run_prints_the_plan_and_touches_nothing() {
    let home = Home::new();
    // Nothing configured: what is found on the host.
    let store = &home.openclaw("2026.2.25", &["main"])[0];
    home.rotate(&Login::nth(1));
    fs::remove_dir(home.path(STATE)).unwrap();
    let before = home.snapshot();
    let ran = home.run(&["sync", "--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("write    openclaw/main") && ran.stdout.contains(store.to_str().unwrap()),
        "{ran:?}"
    );
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("tokensink setup"), "{ran:?}");
    assert!(home.snapshot() == before, "without configuration nothing is touched");

    home.configure(&home.three_sinks(
        "[[gateway]]\nid = \"gateway\"\nsinks = [\"env\"]\ncommand = [\"/bin/sh\", \"-c\", \"touch $HOME/told\"]\n",
    ));
    let before = home.snapshot();
    let json = home.run(&["sync", "--dry-run", "--json"]);
    assert_eq!(json.code, 0);
    let plan = json.json();
    let actions: Vec<_> =
        plan["actions"].as_array().unwrap().iter().map(|a| a["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["write", "write", "write", "apply"]);
    assert_eq!(plan["dry_run"], true);
    assert!(home.snapshot() == before);

    assert_eq!(home.run(&["sync"]).code, 0);
    assert!(home.path("told").exists());
    home.rotate(&Login::nth(2));
    let before = home.snapshot();
    let ran = home.run(&["sync", "--dry-run"]);
    assert!(
        ran.stdout.contains("write    env")
            && ran.stdout.contains("(stale)")
            && ran.stdout.contains("apply    gateway"),
        "{ran:?}"
    );
    assert!(home.snapshot() == before);
    // A plan over a source that is no login is printed all the same.
    fs::remove_file(home.credentials()).unwrap();
    let ran = home.run(&["sync", "--dry-run"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("MISSING claude"), "{ran:?}");
    home.finish();
}

#[test]
fn only_a_failed_write_or_restart_is_a_failure() {
    let home = Home::of_ordinary_user();
    home.mkdir("closed");
    home.mkdir("open");
    let sink = |id: &str, path: &str| {
        format!("[[sink]]\nid = \"{id}\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/{path}\"\n")
    };
    let login = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n";
    home.holds_tokens("open/token.json");
    home.configure(&format!(
        "{login}{}{}",
        sink("closed", "closed/token.json"),
        sink("open", "open/token.json")
    ));
    home.rotate(&Login::nth(1));
    home.hand_over();
    fs::set_permissions(home.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("SINK_FAILED closed") && ran.stdout.contains("written   open"), "{ran:?}");
    fs::set_permissions(home.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    home.holds_tokens("closed/token.json");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stdout.contains("SINK_FAILED"), "{ran:?}");

    // A directory that is not there is not made.
    home.configure(&format!("{login}{}", sink("lost", "nowhere/token.json")));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("MISSING lost") && !home.path("nowhere").exists(), "{ran:?}");

    // Nor is anything done without a login, and that is no failed write.
    home.configure(&format!("{login}{}", sink("open", "open/token.json")));
    home.write(".claude/.credentials.json", crate::stage::husk());
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("HUSK claude"), "{ran:?}");

    home.rotate(&Login::nth(2));
    let gateway = |command: &str| {
        format!(
            "[[gateway]]\nid = \"gateway\"\nsinks = [\"open\"]\ncommand = [\"/bin/sh\", \"-c\", \"{command}\"]\n"
        )
    };
    home.configure(&format!(
        "{login}{}{}",
        sink("open", "open/token.json"),
        gateway("echo no such thing >&2; exit 4")
    ));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("UNIT_FAILED gateway") && ran.stdout.contains("no such thing"), "{ran:?}");
    home.finish();
}

#[test]
fn a_sync_beside_the_daemon_is_the_same_pass() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    for n in 2..12 {
        let mark = home.mark();
        home.rotate(&Login::nth(n));
        let ran = home.run(&["sync"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(home.sinks_hold(&Login::nth(n)));
        for sink in home.sinks() {
            home.until("the write is told", || home.touched(mark, &sink, EventMask::MOVED_TO) > 0);
        }
    }
    daemon.stop();
    for sink in home.sinks() {
        // The first one was there before the watch of this count began.
        assert_eq!(home.touched(daemon_start(), &sink, EventMask::MOVED_TO), 11, "{}", sink.display());
    }
    assert!(home.said(0, "overwritten").is_empty(), "{}", home.story());
    home.finish();
}

const fn daemon_start() -> usize {
    0
}
