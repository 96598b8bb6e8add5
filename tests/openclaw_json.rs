//! Real OpenClaw releases that read their JSON store at each turn (2026.1.29 to 2026.2.25), each with its real gateway,
//! supplied by the real daemon: what reaches the provider, how soon, and what is never written.
//!
//! Needs root (a network namespace with nothing but loopback) and npm (once). One release is run always, the others
//! by `make test-openclaw`.
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

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::openclaw::{Beside, OpenClaw, Turn};
use support::provider::Pair;
use support::run::{Ran, run};

/// A login, a gateway that must not be restarted, and sinks.
fn configuration(sinks: &[(&str, &str)]) -> String {
    let mut text = "[daemon]\npoll = \"2s\"\n[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n".to_owned();
    for (id, keys) in sinks {
        text += &format!("[[sink]]\nid = \"{id}\"\nlogin = \"claude\"\n{keys}\n");
    }
    let ids: Vec<String> = sinks.iter().map(|(id, _)| format!("\"{id}\"")).collect();
    text + &format!("[[gateway]]\nid = \"claw\"\nsinks = [{}]\ncommand = [\"false\"]\n", ids.join(", "))
}

/// One line of the table.
struct Row {
    release: String,
    case: &'static str,
    result: String,
    /// From the rotation to the end of the first turn with the new token.
    turn: Option<Duration>,
    /// How long the gateway did not answer meanwhile; `None` where that was not measured.
    down: Option<Duration>,
}

/// One release under test.
struct Bench {
    claw: OpenClaw,
    daemon: Beside,
    release: String,
    /// What the source holds.
    login: Pair,
    rows: Vec<Row>,
}

impl Bench {
    /// A home in which OpenClaw was set up but never ran, with a login, and our daemon; no gateway yet.
    fn new(release: &str, sinks: &[(&str, &str)]) -> Self {
        let claw = OpenClaw::new(release);
        // The releases of this era have no default for it and end at the first turn without.
        let mut config = claw.config();
        config["models"]["providers"]["anthropic"]["api"] = json!("anthropic-messages");
        // Compiled anew at each start, a minute and more of it; none of them is about Anthropic.
        config["plugins"] = json!({"enabled": false});
        claw.write_config(&config);
        let first = Pair::invent("first");
        claw.rotate(&first);
        claw.configure(&configuration(sinks));
        let daemon = claw.daemon();
        Self { claw, daemon, release: release.to_owned(), login: first, rows: Vec::new() }
    }

    fn row(&mut self, case: &'static str, result: impl Into<String>) {
        self.timed(case, result, None);
    }

    fn timed(&mut self, case: &'static str, result: impl Into<String>, turn: Option<Duration>) {
        let (release, result) = (self.release.clone(), result.into());
        self.rows.push(Row { release, case, result, turn, down: None });
    }

    /// Rotates the login; returns when `written` were written, with the time of the rotation.
    fn rotate(&mut self, written: &[&str]) -> Instant {
        self.login = Pair::invent("next");
        let began = Instant::now();
        self.claw.rotate(&self.login);
        for target in written {
            self.daemon.until(&format!("sink {target} written"));
        }
        began
    }

    /// A turn of `agent` must carry the current token and no other.
    #[track_caller]
    fn turn(&mut self, agent: &str) {
        let access = self.login.access.clone();
        let turn = self.claw.turn_of(agent);
        let said = self.daemon.said.join("\n");
        assert!(turn.used(&access), "{} {agent}: {turn:?}\n{said}\n{}", self.release, self.claw.story());
    }

    /// Turns of the main agent until one is as wanted.
    #[track_caller]
    fn turn_until(&mut self, is_wanted: impl Fn(&Turn) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_wanted(&self.claw.turn()) {
            assert!(Instant::now() < deadline, "{}", self.claw.story());
        }
    }

    fn store(&self, agent: &str) -> Value {
        serde_json::from_slice(&fs::read(self.claw.store(agent)).unwrap()).unwrap()
    }

    /// Our command with no OpenClaw on its search path.
    fn without_package(&self, arguments: &[&str]) -> Ran {
        let mut command = self.claw.command(Path::new(env!("CARGO_BIN_EXE_tokensink")));
        run(command.args(arguments).env("PATH", "/usr/bin:/bin"), b"")
    }
}

/// Everything that a release of this era is put through.
fn everything(release: &str) -> Vec<Row> {
    let mut bench = Bench::new(release, &[("claw", "kind = \"openclaw\"\nagents = \"all\"")]);
    bench.daemon.until("MISSING claw/main");
    assert!(bench.claw.files_named("agents").is_empty(), "no directory of OpenClaw's is made");
    bench.row("first supply, no agent yet", "MISSING, nothing made");
    first_supply(&mut bench);
    rotation(&mut bench);
    two_agents(&mut bench);
    wrong_permissions(&mut bench);
    repairs(&mut bench);
    unused_profile(&mut bench);
    accounts_and_order(&mut bench);
    while_down(&mut bench);
    unknown_release(&mut bench);
    import_files(&mut bench);
    bench.rows
}

fn first_supply(bench: &mut Bench) {
    let main = bench.claw.store("main");
    fs::create_dir_all(main.parent().unwrap()).unwrap();
    bench.daemon.until("sink claw/main written");
    let made: Vec<PathBuf> = files_below(&bench.claw.state.join("agents"));
    assert!(made.iter().eq([&main]), "the store alone is made: {made:?}");
    assert_eq!(fs::metadata(&main).unwrap().permissions().mode() & 0o7777, 0o600);
    let ready = bench.claw.start();
    bench.turn("main");
    bench
        .row("first supply", format!("first turn has our token; gateway up in {:.1} s", ready.as_secs_f64()));
}

fn rotation(bench: &mut Bench) {
    let prober = bench.claw.prober();
    let began = bench.rotate(&["claw/main"]);
    let written = began.elapsed();
    bench.turn("main");
    let result = format!("next turn has the new token; store written after {} ms", written.as_millis());
    bench.timed("rotation", result, Some(began.elapsed()));
    let down = prober.down();
    assert_eq!(down, Duration::ZERO, "no rotation interrupts it");
    bench.rows.last_mut().unwrap().down = Some(down);
}

/// An agent gets OpenClaw's own copy of the main store at its first turn, and is supplied from then on.
fn two_agents(bench: &mut Bench) {
    let mut config = bench.claw.config();
    config["agents"]["list"] = json!([{"id": "main", "default": true}, {"id": "work"}]);
    bench.claw.write_config(&config);
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.claw.turn_of("work").bearers.is_empty() {
        assert!(Instant::now() < deadline, "no agent: {}", bench.claw.story());
    }
    bench.turn("work");
    assert!(bench.claw.store("work").exists(), "OpenClaw copies the main agent's store");
    let began = bench.rotate(&["claw/main", "claw/work"]);
    bench.turn("work");
    let took = began.elapsed();
    bench.turn("main");
    bench.timed("rotation, two agents", "both agents' next turns have the new token", Some(took));
}

/// A store that others may read is told, and served: its mode is its owner's business.
fn wrong_permissions(bench: &mut Bench) {
    let store = bench.claw.store("main");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o644)).unwrap();
    bench.daemon.until("MODE_TOO_WIDE claw/main");
    let began = bench.rotate(&["claw/main"]);
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o7777, 0o644);
    bench.turn("main");
    bench.timed("store with mode 0644", "MODE_TOO_WIDE, served", Some(began.elapsed()));
    fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).unwrap();
    bench.daemon.until("MODE_TOO_WIDE claw/main is resolved");
}

/// What scripts and people put into the wrong field is put right, and OpenClaw uses it again.
fn repairs(bench: &mut Bench) {
    let token = bench.login.access.clone();
    let old = Pair::invent("a script's").access;
    let damaged = [
        json!({"type": "api_key", "provider": "anthropic", "key": old}),
        json!({"mode": "token", "provider": "anthropic", "token": token, "kept": [1.50]}),
        json!({"type": "oauth", "provider": "anthropic", "token": token, "expires": 1}),
    ];
    for profile in damaged {
        let mut store = bench.store("main");
        store["profiles"]["anthropic:default"] = profile.clone();
        replace(&bench.claw.store("main"), &store);
        let deadline = Instant::now() + Duration::from_secs(30);
        while bench.store("main")["profiles"]["anthropic:default"]["token"] != token.as_str()
            || bench.store("main")["profiles"]["anthropic:default"]["type"] != "token"
        {
            assert!(Instant::now() < deadline, "not put right: {profile}\n{}", bench.store("main"));
            std::thread::yield_now();
        }
        let entry = bench.store("main")["profiles"]["anthropic:default"].clone();
        assert_eq!(
            (&entry["key"], &entry["access"], &entry["mode"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(entry["kept"], profile["kept"]);
        bench.turn("main");
    }
    bench.row("token in the wrong field or type", "put right, next turn has our token");
}

/// What keeps OpenClaw from using our profile is told, and seen to be so.
fn unused_profile(bench: &mut Bench) {
    let mut config = bench.claw.config();
    config["auth"] = json!({"profiles": {"anthropic:default": {"provider": "anthropic", "mode": "api_key"}}});
    bench.claw.write_config(&config);
    bench.daemon.until("PROFILE_UNUSED claw/main");
    // From 2026.2.17 on the gateway starts anew for it.
    bench.turn_until(|turn| turn.bearers.is_empty() && !turn.answer.contains("fetch failed"));
    config["auth"] = json!({"profiles": {"anthropic:default": {"provider": "anthropic", "mode": "oauth"}}});
    bench.claw.write_config(&config);
    bench.daemon.until("PROFILE_UNUSED claw/main is resolved");
    bench.turn_until(|turn| !turn.bearers.is_empty());
    bench.turn("main");
    bench.row("mode of the configuration is another", "PROFILE_UNUSED; no turn until it fits");
}

/// A second login, a setup-token, has a profile of its own; the order that our command sets is that of the next turn.
fn accounts_and_order(bench: &mut Bench) {
    let other = Pair::invent("setup-token").access;
    fs::write(bench.claw.home.join("work.token"), &other).unwrap();
    let one = configuration(&[("claw", "kind = \"openclaw\"\nagents = \"all\"")]);
    bench.claw.configure(&format!(
        "{one}[[login]]\nid = \"setup\"\nprovider = \"static\"\npath = \"~/work.token\"\n\
         [[sink]]\nid = \"work\"\nlogin = \"setup\"\nkind = \"openclaw\"\nprofile = \"anthropic:work\"\nagents = [\"main\"]\n"
    ));
    bench.daemon.reload();
    bench.daemon.until("sink work/main written");
    let mut store = bench.store("main");
    store["profiles"]["anthropic:work"]["kept"] = json!([1.50]);
    replace(&bench.claw.store("main"), &store);
    let set = |bench: &Bench, ids: &[&str]| {
        let ran = bench.claw.tokensink(&[&["order", "set", "--sink", "claw"], ids].concat());
        ran.ok().to_owned()
    };
    set(bench, &["anthropic:work", "anthropic:default"]);
    let turn = bench.claw.turn();
    assert!(turn.used(&other), "{turn:?}");
    let began = Instant::now();
    let next = Pair::invent("setup-token").access;
    fs::write(bench.claw.home.join("work.token"), &next).unwrap();
    bench.daemon.until("sink work/main written");
    let turn = bench.claw.turn();
    assert!(turn.used(&next), "{turn:?}");
    bench.timed("another setup-token, second profile", "next turn has it", Some(began.elapsed()));
    set(bench, &["anthropic:default"]);
    bench.turn("main");
    let official = bench.claw.cli(&["models", "auth", "order", "get", "--provider", "anthropic", "--json"]);
    let official: Value = serde_json::from_str(official.ok()).unwrap();
    assert_eq!(official["order"], json!(["anthropic:default"]));
    let ours = bench.claw.tokensink(&["order", "list", "--sink", "claw", "--json"]);
    let ours: Value = serde_json::from_str(ours.ok()).unwrap();
    assert_eq!(ours["agents"][0]["order"], official["order"]);
    assert_eq!(ours["agents"][0]["profiles"].as_array().unwrap().len(), 2, "{ours}");
    bench.claw.tokensink(&["order", "clear", "--sink", "claw"]).ok();
    assert_eq!(bench.store("main")["order"], Value::Null);
    assert_eq!(bench.store("main")["profiles"]["anthropic:work"]["kept"], json!([1.50]));
    bench.row("tokensink order set, clear", "the next turn keeps to it, OpenClaw shows the same");
    bench.claw.configure(&one);
    bench.daemon.reload();
    bench.daemon.until("configuration read again");
    store = bench.store("main");
    store["profiles"].as_object_mut().unwrap().remove("anthropic:work");
    replace(&bench.claw.store("main"), &store);
}

fn while_down(bench: &mut Bench) {
    bench.claw.stop();
    let began = bench.rotate(&["claw/main", "claw/work"]);
    let ready = bench.claw.start();
    bench.turn("main");
    bench.timed(
        "rotation while the gateway is down",
        "first turn after the start has it",
        Some(began.elapsed()),
    );
    bench.rows.last_mut().unwrap().down = Some(ready);
    bench.claw.stop();
}

/// Without a package and with a configuration that does not tell its release, nothing is written.
fn unknown_release(bench: &mut Bench) {
    let before = fs::read(bench.claw.store("main")).unwrap();
    // The daemon knows the package; it is asked to look away.
    bench
        .claw
        .configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n");
    bench.daemon.reload();
    bench.daemon.until("configuration read again");
    bench.rotate(&[]);
    let mut config = bench.claw.config();
    let unknown = [json!("latest"), json!(20_260_209), json!("2026.2.14"), Value::Null];
    for (touched, kind) in
        unknown.iter().flat_map(|touched| [(touched, "openclaw"), (touched, "auth-profiles")])
    {
        config["meta"]["lastTouchedVersion"] = touched.clone();
        bench.claw.write_config(&config);
        bench.claw.configure(&configuration(&[("claw", &format!("kind = \"{kind}\""))]));
        let ran = bench.without_package(&["sync", "--json"]);
        assert_eq!(ran.code, Some(0), "a refusal is no failure: {ran}");
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let refused = report["findings"].as_array().unwrap().iter();
        let refused: Vec<&str> = refused
            .filter(|finding| finding["code"] == "VERSION_UNSUPPORTED")
            .filter_map(|finding| finding["subject"].as_str())
            .collect();
        assert_eq!(refused, ["claw/main", "claw/work"], "{touched} {kind}: {report}");
        assert_eq!(fs::read(bench.claw.store("main")).unwrap(), before, "{touched} {kind}");
    }
    bench.row("unknown release", "VERSION_UNSUPPORTED, nothing written");
    // The same command with the package in sight writes.
    assert_eq!(bench.claw.tokensink(&["sync"]).code, Some(0));
    assert_ne!(fs::read(bench.claw.store("main")).unwrap(), before);
}

/// What OpenClaw imports from is made only where a sink says so.
fn import_files(bench: &mut Bench) {
    // From 2026.2.13 the gateway itself keeps an auth.json beside each store.
    if ["2026.1.29", "2026.2.9"].contains(&bench.release.as_str()) {
        assert_eq!(bench.claw.files_named("auth.json"), Vec::<PathBuf>::new());
    }
    assert_eq!(bench.claw.files_named("oauth.json"), Vec::<PathBuf>::new());
    fs::create_dir_all(bench.claw.state.join("credentials")).unwrap();
    let file = bench.claw.state.join("credentials/oauth.json");
    let keys = format!("kind = \"oauth-json\"\npath = \"{}\"\nrefresh = false", file.display());
    // A file that is read at the start only: here without the gateway that would have to be restarted.
    let alone = configuration(&[("legacy", &keys)]);
    bench.claw.configure(alone.split("[[gateway]]").next().unwrap());
    bench.claw.tokensink(&["sync"]).ok();
    assert_eq!(bench.claw.files_named("oauth.json"), [file]);
    assert_eq!(bench.claw.files_with(&bench.login.refresh), Vec::<PathBuf>::new());
    bench.row("oauth.json, auth.json", "the first only by a sink that says so, the second never");
}

/// Puts a document in place whole, without any lock.
fn replace(path: &Path, document: &Value) {
    let temp = path.with_extension("new");
    fs::write(&temp, document.to_string()).unwrap();
    fs::set_permissions(&temp, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(temp, path).unwrap();
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut command = std::process::Command::new("find");
    let ran = run(command.arg(directory).args(["-not", "-type", "d"]), b"");
    ran.ok().lines().map(PathBuf::from).collect()
}

fn print(rows: &[Row]) {
    println!("| release | case | result | rotation to turn | gateway down |\n|---|---|---|---|---|");
    for row in rows {
        let turn = row.turn.map_or_else(|| "–".to_owned(), |t| format!("{:.1} s", t.as_secs_f64()));
        let down = row.down.map_or_else(|| "–".to_owned(), |d| format!("{:.1} s", d.as_secs_f64()));
        println!("| {} | {} | {} | {turn} | {down} |", row.release, row.case, row.result);
    }
}

#[test]
fn a_release_of_the_json_era_uses_each_rotation_at_its_next_turn() {
    print(&everything("2026.2.9"));
}

#[test]
#[ignore = "minutes: `make test-openclaw`"]
fn every_examined_release_that_reads_its_store_live_uses_each_rotation_at_its_next_turn() {
    let rows: Vec<Row> = ["2026.1.29", "2026.2.25"].into_iter().flat_map(everything).collect();
    print(&rows);
}

#[test]
#[ignore = "minutes: `make test-openclaw`"]
fn an_upgrade_under_the_running_daemon_is_noticed_before_the_next_write() {
    let mut bench = Bench::new("2026.2.9", &[("claw", "kind = \"openclaw\"")]);
    first_supply(&mut bench);
    rotation(&mut bench);
    bench.claw.install("2026.2.26");
    let began = bench.rotate(&["claw/main"]);
    // A release that has a reload is asked for it, which the gateway that still runs does not know.
    bench.daemon.until("its old process still runs");
    bench.turn("main");
    let status: Value = serde_json::from_str(bench.claw.tokensink(&["status", "--json"]).ok()).unwrap();
    assert_eq!(status["gateways"][0]["applied"], true, "{status}");
    let told = status["findings"].as_array().unwrap().iter().find(|f| f["code"] == "NOT_CONVERGED").unwrap();
    assert_eq!(told["severity"], "warning", "{told}");
    assert_eq!(bench.claw.files_named("auth-profiles.json.lock"), Vec::<PathBuf>::new());
    let result =
        "noticed in the same pass: other lock, reload asked for once; told as a warning; next turn has it";
    bench.timed("upgrade to 2026.2.26, old gateway still runs", result, Some(began.elapsed()));
    bench.claw.stop();
    let ready = bench.claw.start();
    let began = bench.rotate(&["claw/main"]);
    bench.daemon.until("gateway claw reloaded");
    bench.turn("main");
    assert_eq!(bench.claw.files_named("auth-profiles.json.lock"), Vec::<PathBuf>::new());
    bench.timed("the same, gateway started anew", "reloaded, next turn has it", Some(began.elapsed()));
    bench.rows.last_mut().unwrap().down = Some(ready);
    print(&bench.rows);
}
