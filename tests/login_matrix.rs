//! The real program on its way to a new login or to a new host, killed before every single call that others can see the
//! effect of, and with one call after the other failing: the old or the new login is there, whole, in one place at
//! least; the next run ends well; nothing of ours lies about, and no spent token is sent.
//!
//! A figure for each scene, as in `tests/kill_matrix.rs` and `tests/fault_matrix.rs`; `TOKENSINK_LONG=1` takes all calls
//! and all errors. Needs strace. No real account, no network.
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

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::claude::in_seconds;
use support::faults;
use support::host::{Cli, FAMILY, Host, document};
use support::kills::{Points, assert_tidy, kill};
use support::login_bench::LoginBench;
use support::looks::contains;
use support::moves::{New, exported};
use support::provider::{ACCOUNT, Pair};
use support::run::run;
use support::screen;
use support::strace::{CALLS, Run, is_long};

/// Kills, then faults, of the same scene with the same judgement; `is_quiet`: nothing secret is in what is said;
/// `is_done`: what exit code 0 means.
fn both<S>(
    points: Points<'_>,
    prepare: impl Fn() -> S + Sync,
    run: impl for<'a> Fn(&'a S) -> Run<'a> + Sync,
    is_quiet: impl Fn(&S, &str) + Sync,
    is_done: impl Fn(&S) -> bool + Sync,
    judge: impl Fn(&S, &dyn Debug) -> String + Sync,
) {
    kill(points, &prepare, &run, |scene, what| judge(scene, what));
    let mut operations = run(&prepare()).operations(CALLS);
    operations.retain(|one| is_long() || !one.only_looks());
    let faults = faults::faults(&operations);
    let kept = |index: usize| is_long() || index.is_multiple_of(6);
    let faults: Vec<_> = faults.into_iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, f)| f).collect();
    let may_miss = if points.is_on_terminal { faults::third(&faults) } else { faults::few(&faults) };
    faults::each(points.title, &faults, may_miss, &prepare, &run, |scene, fault, ran| {
        is_quiet(scene, &ran.both());
        assert!(ran.code != Some(0) || is_done(scene), "{fault:?}: {ran}");
        format!("exit {}: {}", ran.code.unwrap(), judge(scene, fault))
    });
}

fn root(home: &Path) -> PathBuf {
    home.parent().unwrap().to_owned()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Locks of the dead, as if the time after which others take them had passed.
fn clear_locks(home: &Path) {
    for lock in [".claude/.oauth_refresh.lock", ".claude.lock", ".claude/.storage-write.lock"] {
        let _ = fs::remove_dir(home.join(lock));
    }
}

// ---- a login

/// `tokensink login codex` by a code for another device: the only way that needs no port and no person.
fn log_in_to_codex(bench: &LoginBench) -> Run<'_> {
    let mut command = bench.command(&["login", "codex", "--device"]);
    command.env("TOKENSINK_LOG", "error");
    Run::of(command, &root(&bench.home))
}

fn of_codex(title: &str, at_least: usize, file: &str, prepare: impl Fn() -> LoginBench + Sync) {
    let before = read(&prepare().home.join(file)).is_some();
    let holds_new = |bench: &LoginBench| contains(&bench.home.join(file), &bench.live().refresh);
    let was_asked = |bench: &LoginBench| bench.provider.ledger().token_requests().count() > 0;
    both(
        Points { title, at_least, one_of: 4, is_on_terminal: false, is_on_bus: false },
        prepare,
        log_in_to_codex,
        LoginBench::assert_no_secret_in,
        |bench| holds_new(bench) && bench.run(&["status", "--simple"]).stdout.trim() == "OK",
        |bench, what| {
            let path = bench.home.join(file);
            let then = read(&path);
            let is_new = was_asked(bench) && holds_new(bench);
            if let Some(then) = &then {
                let value: Value = serde_json::from_str(then).expect("a whole document");
                assert!(value.is_object(), "{what:?}");
                assert!(is_new || (before && then.contains("held")), "{what:?}: {then}");
            } else {
                assert!(!before, "{what:?}: the old login is gone");
            }
            // In the configuration only when it is there.
            assert!(bench.entries().is_empty() || then.is_some(), "{what:?}");
            let again = support::run::run(&mut bench.command(&["login", "codex", "--device"]), b"");
            assert_eq!(again.code, Some(0), "{what:?}: {again}");
            assert!(holds_new(bench), "{what:?}: {again}");
            assert_eq!(bench.run(&["status", "--simple"]).ok(), "OK", "{what:?}");
            assert_tidy(&bench.home, what);
            assert_eq!(bench.provider.ledger().refused(), 0, "{what:?}");
            match (is_new, then.is_some()) {
                (true, _) => "the new login then",
                (false, true) => "the old login then",
                (false, false) => "none then, as before",
            }
            .to_owned()
        },
    );
}

#[test]
fn a_login_to_codex_that_dies_or_fails_anywhere_leaves_none_or_a_whole_one_in_our_store() {
    of_codex("login codex, the first", 33, ".local/state/tokensink/logins/codex.json", LoginBench::new);
}

#[test]
fn a_login_to_codex_that_dies_or_fails_anywhere_leaves_the_old_or_the_new_one_in_its_own_file() {
    of_codex("login codex, over an old one", 31, ".codex/auth.json", || {
        let bench = LoginBench::new();
        bench.hold_codex_login();
        bench
    });
}

const CODE: &str = "ac-good#srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";

/// A home whose Claude login works, with a sink and a gateway that follow it.
fn old_login_of_claude() -> LoginBench {
    let bench = screen::bench("");
    screen::break_login(&bench);
    let file = bench.home.join(".claude/.credentials.json");
    let old = screen::document("sk-ant-oat01-old", "sk-ant-ort01-old", in_seconds(3600), ACCOUNT);
    fs::write(file, old).unwrap();
    bench
}

fn of_claude(title: &str, at_least: usize, arguments: &[&str]) {
    let file = |bench: &LoginBench| bench.home.join(".claude/.credentials.json");
    let is_new = |bench: &LoginBench| contains(&file(bench), "CANARY-refresh");
    let followed = |bench: &LoginBench| {
        contains(&bench.home.join("copy.json"), "CANARY-access") && bench.home.join("followed").exists()
    };
    both(
        Points { title, at_least, one_of: 2, is_on_terminal: true, is_on_bus: false },
        old_login_of_claude,
        |bench| {
            let mut command = bench.command(arguments);
            command.env("TOKENSINK_LOG", "error");
            Run::of(command, &root(&bench.home)).fed(format!("{CODE}\n"))
        },
        LoginBench::assert_no_secret_in,
        |bench| is_new(bench) && followed(bench),
        |bench, what| {
            let then = read(&file(bench)).expect("old or new, never none");
            let value: Value = serde_json::from_str(&then).expect("a whole document");
            let refresh = value["claudeAiOauth"]["refreshToken"].as_str().unwrap_or_default();
            assert!(["sk-ant-ort01-old", "sk-ant-ort01-CANARY-refresh-1"].contains(&refresh), "{what:?}");
            let was_new = is_new(bench);
            clear_locks(&bench.home);
            if was_new {
                bench.run(&["sync"]).ok();
            } else {
                let again = run(&mut bench.command(arguments), format!("{CODE}\n").as_bytes());
                assert_eq!(again.code, Some(0), "{what:?}: {again}");
            }
            assert!(is_new(bench) && followed(bench), "{what:?}");
            let times = read(&bench.home.join("followed")).unwrap().lines().count();
            assert!(times <= 2, "{what:?}: told {times} times");
            assert_eq!(bench.run(&["status", "--simple"]).ok(), "OK", "{what:?}");
            // What is left of an attempt goes with the next.
            let again = run(&mut bench.command(&["login", "claude"]), b"");
            assert_eq!(again.code, Some(1), "{what:?}: {again}");
            screen::nothing_is_left(bench);
            bench.run(&["sync"]).ok();
            assert_tidy(&bench.home, what);
            if was_new { "the new login then" } else { "the old login then" }.to_owned()
        },
    );
}

#[test]
fn a_login_to_claude_that_dies_or_fails_anywhere_leaves_the_old_or_the_new_one() {
    of_claude("login claude, over an old one", 23, &["login", "claude", "--no-browser"]);
}

#[test]
fn a_re_authentication_that_dies_or_fails_anywhere_leaves_the_old_or_the_new_login() {
    of_claude("reauth", 23, &["reauth", "claude", "--code", "-", "--within", "20"]);
}

// ---- a move

struct Move {
    old: Host,
    new: New,
    recipient: String,
}

impl Move {
    fn new() -> Self {
        let old = Host::new();
        let new = New::of(&old, Cli::Claude);
        let recipient = new.recipient();
        Self { old, new, recipient }
    }

    /// Where the bundle goes.
    fn bundle(&self) -> PathBuf {
        self.old.home.join("bundle")
    }
}

#[test]
fn an_export_that_dies_or_fails_anywhere_leaves_the_login_in_one_place_at_least() {
    let is_here = |scene: &Move| scene.old.read().contains(&scene.old.pair.refresh);
    both(
        Points { title: "export", at_least: 34, one_of: 4, is_on_terminal: false, is_on_bus: false },
        Move::new,
        |scene| {
            let mut command = scene.old.command(&["export", "--yes", "--to", &scene.recipient, "claude"]);
            command.env("TOKENSINK_LOG", "error");
            Run::of(command, &root(&scene.old.home)).by(|mut command| {
                command.stdout(fs::File::create(scene.bundle()).unwrap());
                command.output().unwrap()
            })
        },
        |scene, said| scene.old.assert_no_token_in(said),
        |scene| !is_here(scene),
        |scene, what| {
            let Move { old, new, recipient } = scene;
            serde_json::from_str::<Value>(&old.read()).expect("never torn");
            clear_locks(&old.home);
            let (was_here, given) = (is_here(scene), fs::read(scene.bundle()).unwrap());
            // Whoever asked may have it and not know it; what is here still is exported again.
            let bundle = if was_here { exported(old, recipient) } else { given };
            new.import(&bundle).ok();
            assert!(!is_here(scene), "{what:?}");
            assert_eq!(old.refresh(&["--force"]).code, Some(1), "{what:?}");
            assert_eq!(old.requests(), 0, "{what:?}: the old host sends nothing");
            assert!(new.run(&["refresh"], b"").ok().contains("rotated"), "{what:?}");
            let ledger = old.provider.ledger();
            assert_eq!((ledger.grants(), ledger.refused()), (1, 0), "{what:?}");
            run(&mut old.command(&["sync"]), b"").ok();
            assert_tidy(&old.home, what);
            if was_here { "here then" } else { "gone then, and in the bundle" }.to_owned()
        },
    );
}

/// The new host holds an older login of the same account, which gives way.
struct Arrival {
    old: Host,
    new: New,
    bundle: Vec<u8>,
}

/// An account of both hosts.
const OWN: &str = "0b5c9a52-7d6e-4f1b-9a53-2f1f6c1d7e90";

impl Arrival {
    fn new() -> Self {
        let old = Host::expiring(3600);
        let named = |text: &str| {
            let mut value: Value = serde_json::from_str(text).unwrap();
            value["claudeAiOauth"]["accountUuid"] = json!(OWN);
            value.to_string()
        };
        old.write(&named(&old.read()));
        let new = New::of(&old, Cli::Claude);
        let file = new.home.join(".claude/.credentials.json");
        fs::write(&file, named(&document(&Pair::invent("b"), in_seconds(60)))).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        let bundle = exported(&old, &new.recipient());
        Self { old, new, bundle }
    }
}

#[test]
fn an_import_that_dies_or_fails_anywhere_leaves_the_old_or_the_new_login_and_is_completed_by_the_next() {
    let is_new = |scene: &Arrival| scene.new.read().contains(&scene.old.pair.refresh);
    both(
        Points { title: "import", at_least: 31, one_of: 4, is_on_terminal: false, is_on_bus: false },
        Arrival::new,
        |scene| {
            let mut command = scene.new.command(&["import"]);
            command.env("TOKENSINK_LOG", "error");
            Run::of(command, &root(&scene.new.home)).fed(scene.bundle.clone())
        },
        |scene, said| scene.old.assert_no_token_in(said),
        is_new,
        |scene, what| {
            let Arrival { old, new, bundle } = scene;
            let then: Value = serde_json::from_str(&new.read()).expect("never torn");
            let held = then["claudeAiOauth"]["refreshToken"].as_str().unwrap();
            let was_new = is_new(scene);
            assert!(was_new || held.contains("ort01"), "{what:?}: {held}");
            clear_locks(&new.home);
            let again = new.import(bundle);
            let is_done = again.code == Some(1) && again.stderr.contains("imported here before");
            assert!(is_done || again.code == Some(0), "{what:?}: {again}");
            assert!(is_new(scene), "{what:?}: {again}");
            assert!(new.run(&["refresh", "--force"], b"").ok().contains("rotated"), "{what:?}");
            let ledger = old.provider.ledger();
            assert_eq!((ledger.grants(), ledger.refused()), (1, 0), "{what:?}");
            assert!(new.read().contains(&ledger.live(FAMILY).refresh), "{what:?}");
            new.run(&["sync"], b"").ok();
            assert_tidy(&new.home, what);
            if was_new { "the new login then" } else { "the old login then" }.to_owned()
        },
    );
}
