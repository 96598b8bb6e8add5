//! Real OpenClaw releases from npm, each with its real gateway: what tokensink does to them, and what it does not.
//!
//! Needs root (a network namespace with nothing but loopback) and npm (once). No real account, no network.
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

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::openclaw::{Beside, OpenClaw, drop_into_store};
use support::provider::Pair;

const NO_RESTART: &str = "command = [\"false\"]";

#[test]
fn a_gateway_with_a_database_follows_every_rotation_without_a_restart() {
    let mut claw = OpenClaw::new("2026.9.6");
    let pairs: Vec<Pair> = ["one", "two", "three"].map(Pair::invent).into();
    claw.rotate(&pairs[0]);
    claw.configure_tokensink("manage = true", NO_RESTART);
    claw.note_runs();
    println!("gateway ready in {:.1?}", claw.start());
    let mut daemon = claw.daemon();
    println!("set up in {:.1?}", daemon.until("gateway claw reloaded"));
    assert_eq!(claw.runs("config set"), 2);
    let turn = claw.turn();
    assert!(turn.used(&pairs[0].access), "{turn:?}\n{}", claw.story());

    let by_cli = claw.runs("secrets reload");
    let began = Instant::now();
    claw.rotate(&pairs[1]);
    daemon.until("gateway claw reloaded");
    println!("reloaded in {:.1?}", began.elapsed());
    let turn = claw.turn();
    println!("rotation to first turn with the new token: {:.1?}", began.elapsed());
    assert!(turn.used(&pairs[1].access), "{turn:?}");
    // The set-up was proved by the CLI; the rotation was told over the gateway's own port.
    assert!(by_cli > 0, "runs are noted");
    assert_eq!(claw.runs("secrets reload"), by_cli);
    let began = Instant::now();
    claw.cli(&["secrets", "reload", "--json"]).ok();
    println!("the same reload by the CLI: {:.1?}", began.elapsed());
    let status = claw.tokensink(&["status", "--json"]);
    println!("{status}");
    // Both call a reference with a live token well.
    assert_eq!(differences(&claw), Vec::<String>::new());

    claw.stop();
    claw.rotate(&pairs[2]);
    daemon.until("does not answer");
    claw.start();
    let turn = claw.turn();
    assert!(turn.used(&pairs[2].access), "{turn:?}");
    // The daemon looks again in a minute; who asks does not wait for that.
    let settled = claw.tokensink(&["sync"]);
    let by_daemon = daemon.story().matches("gateway claw reloaded").count() > 2;
    assert!(by_daemon || settled.ok().contains("reloaded"), "{settled}");
    assert!(claw.files_named("auth-profiles.json").is_empty());
    for pair in &pairs {
        assert_eq!(claw.files_with(&pair.refresh), Vec::<PathBuf>::new());
        assert_eq!(claw.files_with(&pair.access), Vec::<PathBuf>::new());
    }
    // What its log says when the provider refuses a token that is good by the clock.
    claw.provider.set(json!({"api_auth": "live"}));
    let refused = claw.turn();
    assert!(refused.answer.contains("401"), "{refused:?}");
    let story = claw.story();
    let said = story
        .lines()
        .filter(|line| line.contains("response provider=anthropic ") && line.contains("status=401"));
    assert!(said.count() >= 1, "the pattern that docs/reauth.md names: {story}");
    println!("{}", daemon.story());
}

/// Where the gateway's own health check differs from ours, by the word of `doctor`.
fn differences(claw: &OpenClaw) -> Vec<String> {
    let said = claw.tokensink(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
    let findings = report["findings"].as_array().unwrap().iter().filter(|f| f["code"] == "HEALTH_DIFFERS");
    let text = |f: &serde_json::Value| {
        format!("{} {} {}", f["severity"].as_str().unwrap(), f["summary"], f["evidence"])
    };
    findings.map(text).collect()
}

/// A 2026.2.26 gateway keeps what it has read and writes it back over what it has not.
#[test]
fn a_gateway_with_a_snapshot_follows_every_rotation_however_busy_it_is() {
    let mut claw = OpenClaw::new("2026.2.26");
    let pairs: Vec<Pair> = ["zero", "one", "two", "three"].map(Pair::invent).into();
    drop_into_store(&claw, "main", &pairs[0]);
    claw.rotate(&pairs[1]);
    claw.configure_tokensink("", NO_RESTART);
    println!("gateway ready in {:.1?}", claw.start());
    assert!(claw.turn().used(&pairs[0].access));
    let mut daemon = claw.daemon();
    daemon.until("gateway claw reloaded");
    let turn = claw.turn();
    assert!(turn.used(&pairs[1].access), "{turn:?}\n{}", claw.story());

    let began = Instant::now();
    claw.rotate(&pairs[2]);
    daemon.until("sink claw/main written");
    // Each of these turns ends with the gateway's own write of the store.
    let mut old = 0;
    let took = loop {
        if claw.turn().used(&pairs[2].access) {
            break began.elapsed();
        }
        old += 1;
    };
    println!("rotation to first turn with the new token: {took:.1?}, after {old} turns with the old one");
    assert!(old > 0, "the gateway had no chance to write back");
    // Waits until whatever was written back has been put right and read.
    while claw.tokensink(&["status", "--json"]).ok().contains("\"applied\": false") {
        daemon.until("gateway claw reloaded");
    }
    assert!(claw.turn().used(&pairs[2].access));
    assert!(std::fs::read_to_string(claw.store("main")).unwrap().contains(&pairs[2].access));
    println!("{}", daemon.story());
    let findings = claw.tokensink(&["status"]);
    println!("{findings}");
    // Its check calls every eight-hour token expiring.
    let differences = differences(&claw);
    assert!(
        differences.len() == 1 && differences[0].starts_with("notice") && differences[0].contains("24 h"),
        "{differences:?}"
    );
    for pair in &pairs {
        assert_eq!(claw.files_with(&pair.refresh), Vec::<PathBuf>::new());
    }

    claw.stop();
    claw.rotate(&pairs[3]);
    daemon.until("sink claw/main written");
    claw.start();
    assert!(claw.turn().used(&pairs[3].access));
}

/// The owner upgrades and restarts the gateway, and tells nobody.
#[test]
#[ignore = "long: make test-openclaw"]
fn an_upgrade_from_the_json_era_is_followed_without_a_word_to_us() {
    let mut claw = OpenClaw::new("2026.2.26");
    let pairs: Vec<Pair> = ["zero", "one", "two", "three"].map(Pair::invent).into();
    drop_into_store(&claw, "main", &pairs[0]);
    claw.rotate(&pairs[1]);
    claw.configure_tokensink("manage = true", NO_RESTART);
    // The one path to the program, whatever is behind it.
    let bin = claw.link_program();
    claw.start();
    let mut daemon = claw.daemon();
    daemon.until("gateway claw reloaded");
    assert!(claw.turn().used(&pairs[1].access));

    claw.stop();
    claw.install("2026.9.6");
    claw.link_program();
    let store = std::fs::read(claw.store("main")).unwrap();
    claw.rotate(&pairs[2]);
    assert_eq!(claw.tokensink(&["sync"]).code, Some(0));
    assert_eq!(std::fs::read(claw.store("main")).unwrap(), store, "the old store is not written any more");
    println!("{bin:?}: {}", claw.tokensink(&["status"]));
    // The new release wants its old store imported, which is the owner's to ask for. The identity of the
    // old CLI cannot be moved by a package whose install scripts were not run; it is made anew.
    std::fs::remove_dir_all(claw.state.join("identity")).unwrap();
    println!("{}", claw.cli(&["doctor", "--fix", "--non-interactive"]));
    claw.start();
    daemon.until("gateway claw reloaded");
    let turn = claw.turn();
    assert!(turn.used(&pairs[2].access), "{turn:?}\n{}\n{}", claw.story(), daemon.story());
    claw.rotate(&pairs[3]);
    daemon.until("gateway claw reloaded");
    assert!(claw.turn().used(&pairs[3].access));
    assert!(claw.files_named("auth-profiles.json").is_empty());
    println!("{}", daemon.story());
}

/// Nothing but a token of `claude setup-token`, and an OpenClaw that nobody told of a model.
#[test]
#[ignore = "long: make test-openclaw"]
fn a_new_install_with_a_setup_token_makes_its_turns_and_all_of_it_can_be_taken_back() {
    let mut claw = OpenClaw::new("2026.9.6");
    let mut config = claw.config();
    config["agents"]["defaults"].as_object_mut().unwrap().remove("model");
    config["models"]["providers"]["anthropic"]["models"] =
        json!([{"id": "claude-opus-5", "name": "stand-in"}]);
    claw.write_config(&config);
    let tokens = ["one", "two"].map(|name| Pair::invent(name).access);
    let file = claw.home.join("setup.token");
    let configure = |claw: &OpenClaw, keys: &str| {
        claw.configure(&format!(
            "[[login]]\nid = \"setup\"\nprovider = \"static\"\npath = \"~/setup.token\"\n\
             [[sink]]\nid = \"claw\"\nlogin = \"setup\"\nkind = \"openclaw\"\nprofile = \"anthropic:default\"\n{keys}\n\
             [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\n{NO_RESTART}\n"
        ));
    };
    std::fs::write(&file, format!("{}\n", tokens[0])).unwrap();
    configure(&claw, "manage = true");
    claw.start();
    println!("{}", claw.tokensink(&["sync"]));
    assert_eq!(claw.config()["agents"]["defaults"]["model"], json!({"primary": "anthropic/claude-opus-5"}));
    let turn = claw.turn();
    assert!(turn.used(&tokens[0]), "{turn:?}\n{}", claw.story());
    std::fs::write(&file, format!("{}\n", tokens[1])).unwrap();
    claw.tokensink(&["sync"]).ok();
    let turn = claw.turn();
    assert!(turn.used(&tokens[1]), "{turn:?}\n{}", claw.story());
    assert!(claw.files_named("auth-profiles.json").is_empty());
    for token in &tokens {
        assert_eq!(claw.files_with(token), Vec::<PathBuf>::new());
    }

    configure(&claw, "");
    println!("{}", claw.tokensink(&["setup", "--undo"]));
    let now = claw.config();
    assert_eq!(now["agents"]["defaults"]["model"], Value::Null, "{now}");
    assert_eq!(now["models"]["providers"]["anthropic"]["apiKey"], Value::Null, "{now}");
    assert_eq!(now["secrets"]["providers"]["tokensink"], Value::Null, "{now}");
    assert!(!claw.mirror().exists());
}

/// The releases that `RELEASES` names, of those given; all without it.
fn wanted<const N: usize>(releases: [&'static str; N]) -> impl Iterator<Item = &'static str> {
    let only = std::env::var("RELEASES").ok();
    releases.into_iter().filter(move |r| only.as_ref().is_none_or(|only| only.split(' ').any(|o| o == *r)))
}

#[test]
#[ignore = "long: make test-openclaw"]
fn a_gateway_that_cannot_read_our_file_is_handed_each_token_for_its_own_store() {
    for release in wanted(["2026.8.2", "2026.9.6"]) {
        let mut claw = OpenClaw::new(release);
        let pairs: Vec<Pair> = ["one", "two", "three"].map(Pair::invent).into();
        claw.rotate(&pairs[0]);
        // The owner's configuration refers to the entry already, as that of a gateway elsewhere would.
        let mut config = claw.config();
        config["models"]["providers"]["anthropic"]["apiKey"] =
            json!({"source": "store", "provider": "default", "id": "TOKENSINK_ANTHROPIC_ACCESS_TOKEN"});
        claw.write_config(&config);
        claw.configure_tokensink("", NO_RESTART);
        claw.note_runs();
        claw.start();
        let mut daemon = claw.daemon();
        println!("{release}: set up in {:.1?}", daemon.until("gateway claw reloaded"));
        let turn = claw.turn();
        assert!(turn.used(&pairs[0].access), "{turn:?}\n{}", claw.story());

        let began = Instant::now();
        claw.rotate(&pairs[1]);
        daemon.until("gateway claw reloaded");
        println!("{release}: handed over in {:.1?}", began.elapsed());
        let turn = claw.turn();
        println!("{release}: rotation to first turn with the new token: {:.1?}", began.elapsed());
        assert!(turn.used(&pairs[1].access), "{turn:?}\n{}", claw.story());
        assert_eq!(
            (claw.runs("secrets store"), claw.runs("secrets reload")),
            (0, 0),
            "{release}: all by calls"
        );

        // Its CLI writes the store of a gateway that is down.
        claw.stop();
        claw.rotate(&pairs[2]);
        daemon.until("does not answer");
        claw.start();
        let turn = claw.turn();
        assert!(turn.used(&pairs[2].access), "{turn:?}\n{}", claw.story());
        claw.tokensink(&["sync"]).ok();
        assert!(!claw.mirror().exists() && claw.files_named("auth-profiles.json").is_empty());
        for pair in &pairs {
            assert_eq!(claw.files_with(&pair.refresh), Vec::<PathBuf>::new());
        }
        println!("{release}: the token is in {:?}", claw.files_with(&pairs[2].access));

        println!("{}", claw.tokensink(&["setup", "--undo"]).ok());
        assert!(claw.config().pointer("/models/providers/anthropic/apiKey").is_none());
    }
}

#[test]
#[ignore = "long: make test-openclaw"]
fn a_rotation_is_told_over_the_port_and_no_cli_is_run() {
    for release in wanted(["2026.5.28", "2026.6.11", "2026.7.1", "2026.8.2"]) {
        let mut claw = OpenClaw::new(release);
        let pairs: Vec<Pair> = ["one", "two"].map(Pair::invent).into();
        claw.rotate(&pairs[0]);
        claw.configure_tokensink("manage = true", NO_RESTART);
        claw.note_runs();
        claw.start();
        let mut daemon = claw.daemon();
        daemon.until("gateway claw reloaded");
        let turn = claw.turn();
        assert!(turn.used(&pairs[0].access), "{turn:?}\n{}", claw.story());
        let by_cli = claw.runs("secrets reload");
        let began = Instant::now();
        claw.rotate(&pairs[1]);
        daemon.until("gateway claw reloaded");
        println!("{release}: reloaded in {:.1?}", began.elapsed());
        let turn = claw.turn();
        assert!(turn.used(&pairs[1].access), "{turn:?}\n{}", claw.story());
        assert_eq!(claw.runs("secrets reload"), by_cli, "{release}");
    }
}

/// What a release showed.
struct Row {
    release: &'static str,
    ready: Duration,
    supplied: Duration,
    rotated: Duration,
    /// How long the gateway did not answer around that rotation.
    down: Duration,
    is_down_read: bool,
    is_closed_again: bool,
    is_unknown_left_alone: bool,
    /// With `apply = "restart"`: from the rotation to the first turn, and how long it did not answer.
    restarted: (Duration, Duration),
}

/// One release through every case that it can show.
fn row(release: &'static str) -> Row {
    let mut claw = OpenClaw::new(release);
    let pairs: Vec<Pair> = ["zero", "one", "two", "three", "four", "five"].map(Pair::invent).into();
    let is_json = release < "2026.4";
    if is_json {
        drop_into_store(&claw, "main", &pairs[0]);
    }
    claw.rotate(&pairs[1]);
    claw.configure_tokensink("manage = true", NO_RESTART);
    let ready = claw.start();
    let pid = claw.gateway_pid();
    let began = Instant::now();
    let mut daemon = claw.daemon();
    let until_used = |claw: &mut OpenClaw, daemon: &mut Beside, pair: &Pair, began: Instant| {
        while !claw.turn().used(&pair.access) {
            let is_late = began.elapsed() > Duration::from_secs(120);
            assert!(!is_late, "{release}: never used\n{}\n{}", claw.story(), daemon.story());
        }
        began.elapsed()
    };
    daemon.until("is ready");
    let supplied = until_used(&mut claw, &mut daemon, &pairs[1], began);
    if !is_json {
        daemon.until("gateway claw reloaded");
    }
    let prober = claw.prober();
    let began = Instant::now();
    claw.rotate(&pairs[2]);
    let rotated = until_used(&mut claw, &mut daemon, &pairs[2], began);
    let down = prober.down();
    assert_eq!(claw.gateway_pid(), pid, "it was never restarted");

    // A file that others may read is closed again; a gateway would refuse it.
    let file = if is_json { claw.store("main") } else { claw.mirror() };
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let status = claw.tokensink(&["sync"]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let is_closed_again = if is_json { status.ok().contains("MODE_TOO_WIDE") } else { mode == 0o600 };

    claw.stop();
    claw.rotate(&pairs[3]);
    assert_eq!(claw.tokensink(&["status"]).code, Some(0));
    let began = Instant::now();
    claw.start();
    let is_down_read = until_used(&mut claw, &mut daemon, &pairs[3], began) < Duration::from_secs(120);
    if !is_json {
        assert!(claw.files_named("auth-profiles.json").is_empty());
    }
    let is_unknown_left_alone = unknown_release(&claw, &pairs[4]);
    let restarted = restart_path(&mut claw, &mut daemon, &pairs[5]);
    for pair in &pairs {
        assert_eq!(claw.files_with(&pair.refresh), Vec::<PathBuf>::new());
    }
    println!("{}", daemon.story());
    Row {
        release,
        ready,
        supplied,
        rotated,
        down,
        is_down_read,
        is_closed_again,
        is_unknown_left_alone,
        restarted,
    }
}

/// A package that nobody knows: whether the JSON store stays as it is. A reference that is there is served.
fn unknown_release(claw: &OpenClaw, pair: &Pair) -> bool {
    let package = claw.home.join("unknown");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("package.json"), r#"{"name": "openclaw", "version": "2027.1.1"}"#).unwrap();
    std::fs::write(package.join("openclaw"), "#!/bin/sh\nexit 9\n").unwrap();
    std::fs::set_permissions(package.join("openclaw"), PermissionsExt::from_mode(0o755)).unwrap();
    let store = std::fs::read(claw.store("main")).ok();
    // Another home of ours, so that the daemon's own records stay what they are.
    let home = claw.home.join("elsewhere");
    std::fs::create_dir_all(home.join(".claude")).unwrap();
    let login = support::claude::document(pair, support::claude::in_seconds(8 * 3600)).to_string();
    std::fs::write(home.join(".claude/.credentials.json"), login).unwrap();
    let config = home.join("tokensink.toml");
    let text = format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\nstate_dir = \"{}\"\n",
        claw.state.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = claw.command(std::path::Path::new(env!("CARGO_BIN_EXE_tokensink")));
    command.env("HOME", &home).env("PATH", format!("{}:/usr/bin:/bin", package.display()));
    let ran = support::run::run(command.args(["--config"]).arg(&config).args(["sync", "--json"]), b"");
    let said = ran.stdout.contains("VERSION_UNSUPPORTED") || ran.stdout.contains("STORE_RETIRED");
    said && std::fs::read(claw.store("main")).ok() == store && claw.files_with(&pair.access).is_empty()
}

/// The same rotation where the owner wants a restart: it is one, it is proven, and its price is measured.
fn restart_path(claw: &mut OpenClaw, daemon: &mut Beside, pair: &Pair) -> (Duration, Duration) {
    let script = claw.restart_command();
    let keys = format!(
        "apply = \"restart\"\nmin_interval = \"0s\"\nprobe = \"http://127.0.0.1:18789/readyz\"\ncommand = [\"{}\"]",
        script.display()
    );
    claw.configure_tokensink("manage = true", &keys);
    daemon.reload();
    daemon.until("configuration read again");
    // What was left open by the stop before is settled first.
    while !claw.tokensink(&["status", "--json"]).ok().contains("\"applied\": true") {
        daemon.until("gateway claw ");
    }
    let prober = claw.prober();
    let began = Instant::now();
    claw.rotate(pair);
    daemon.until("gateway claw done");
    while !claw.turn().used(&pair.access) {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "never used\n{}\n{}",
            claw.story(),
            daemon.story()
        );
    }
    let took = began.elapsed();
    (took, prober.down())
}

#[test]
#[ignore = "long: make test-openclaw"]
fn every_release_of_the_matrix_is_supplied_in_its_own_way() {
    const RELEASES: [&str; 9] = [
        "2026.1.29",
        "2026.2.9",
        "2026.2.26",
        "2026.3.13",
        "2026.5.28",
        "2026.6.11",
        "2026.7.1",
        "2026.8.2",
        "2026.9.6",
    ];
    // One that fails costs its own line only.
    let rows: Vec<_> =
        wanted(RELEASES).map(|release| (release, std::panic::catch_unwind(|| row(release)))).collect();
    println!(
        "release    ready  first supply  rotation→turn  downtime, s  read after down  wrong mode  unknown  \
         restart→turn  downtime, s"
    );
    for (release, row) in &rows {
        let Ok(r) = row else {
            println!("{release:<10} failed");
            continue;
        };
        println!(
            "{:<10} {:>5.1}  {:>12.1}  {:>13.1}  {:>11.1}  {:>15}  {:>10}  {:>7}  {:>12.1}  {:>11.1}",
            r.release,
            r.ready.as_secs_f32(),
            r.supplied.as_secs_f32(),
            r.rotated.as_secs_f32(),
            r.down.as_secs_f32(),
            r.is_down_read,
            r.is_closed_again,
            r.is_unknown_left_alone,
            r.restarted.0.as_secs_f32(),
            r.restarted.1.as_secs_f32(),
        );
    }
    for (release, row) in rows {
        let r = row.unwrap_or_else(|_| panic!("{release}: see above"));
        assert!(r.is_down_read && r.is_closed_again && r.is_unknown_left_alone, "{release}");
        assert_eq!(r.down, Duration::ZERO, "{release}: no rotation interrupts it");
        assert!(r.restarted.1 > Duration::ZERO, "{release}: a restart does, and it was one");
    }
}
