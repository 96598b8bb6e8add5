//! The real program is killed at each named point of every write that a login makes: what is there is the old login or
//! the new one, whole, and the next attempt succeeds. Needs root (a network of its own).
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

use std::path::PathBuf;

use support::alone::alone;
use support::host::until;
use support::kills::assert_tidy;
use support::login_bench::{LoginBench, get_url};
use support::run::Ran;

const POINTS: [&str; 5] = ["stage-created", "stage-written", "stage-synced", "before-rename", "after-rename"];

fn log_in(bench: &LoginBench, failpoint: &str) -> Ran {
    let mut command = bench.command(&["login", "codex", "--no-browser"]);
    let mut login = bench.start(command.env("TOKENSINK_FAILPOINT", failpoint));
    // The proof that it can be stored, before anybody is asked, writes as well.
    until("it asks, or dies", 30, || login.said().contains("paste that page's") || login.is_over());
    if !login.is_over() {
        get_url(&bench.sent_to(&login.url()));
    }
    login.end()
}

/// How often the program died, over every point, before it was reached no more.
fn killed_everywhere(prepare: impl Fn(&LoginBench) -> PathBuf) -> usize {
    let mut deaths = 0;
    for point in POINTS {
        for time in 1.. {
            let bench = LoginBench::new();
            let file = prepare(&bench);
            let before = std::fs::read_to_string(&file).ok();
            let ran = log_in(&bench, &format!("{point}:{time}"));
            if ran.code.is_some() {
                assert_eq!(ran.code, Some(0), "{point}:{time}: {ran}");
                break;
            }
            deaths += 1;
            let after = std::fs::read_to_string(&file).ok();
            if after != before {
                let after = after.unwrap();
                let value: serde_json::Value = serde_json::from_str(&after).expect("a whole document");
                assert!(value.is_object() && after.contains(&bench.live().refresh), "{point}:{time}");
            }
            // A login is in the configuration only when it is there.
            assert!(bench.entries().is_empty() || file.exists(), "{point}:{time}");
            let again = log_in(&bench, "");
            assert_eq!(again.code, Some(0), "{point}:{time}: {again}");
            assert!(
                std::fs::read_to_string(&file).unwrap().contains(&bench.live().refresh),
                "{point}:{time}"
            );
            let status = bench.run(&["status", "--simple"]);
            assert_eq!(status.ok(), "OK", "{point}:{time}");
            assert_tidy(&bench.home, &(point, time));
        }
    }
    deaths
}

#[test]
fn a_login_that_is_killed_anywhere_leaves_none_or_a_whole_one_in_our_store() {
    alone("a_login_that_is_killed_anywhere_leaves_none_or_a_whole_one_in_our_store", || {
        let deaths = killed_everywhere(|bench| bench.home.join(".local/state/tokensink/logins/codex.json"));
        // The key, the login, the state and the entry at least, at each point.
        assert!(deaths >= 4 * POINTS.len(), "{deaths}");
    });
}

#[test]
fn a_login_that_is_killed_anywhere_leaves_the_old_or_the_new_one_in_codex_own_file() {
    alone("a_login_that_is_killed_anywhere_leaves_the_old_or_the_new_one_in_codex_own_file", || {
        let deaths = killed_everywhere(|bench| {
            bench.hold_codex_login();
            bench.home.join(".codex/auth.json")
        });
        assert!(deaths >= 3 * POINTS.len(), "{deaths}");
    });
}
