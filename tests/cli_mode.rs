//! `cli` mode, way `prompt`: the official CLI refreshes its own login, run by the daemon as a
//! transient unit of a real user manager, or as a child where there is none.
//!
//! Needs root (namespaces) and npm (once). No real account, no network.
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

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use support::cli_host::{CliHost, files_under};
use support::container::Engine;
use support::host::{in_parallel, until};
use support::npm::claude_code;
use support::private_manager::PrivateManager;
use tokensink::base::secret::Secret;
use tokensink::refresher::cli_run::{CliRun, RunEnd, Secrets};
use tokensink::systemd::bus::BusAddresses;

/// Waits until the daemon has seen, handed on and recorded a rotation.
#[track_caller]
fn until_rotated(host: CliHost, old: &str) -> CliHost {
    let host = RefCell::new(host);
    until("the rotation", 90, || {
        let mut host = host.borrow_mut();
        let live = host.live();
        live != old && host.text().contains(&live) && host.copy().contains(&live)
    });
    until("its record", 20, || host.borrow().memory()["last_ended"] == "rotated");
    host.into_inner()
}

#[test]
fn the_daemon_has_the_real_cli_renew_what_ends_within_four_minutes() {
    in_parallel(&[("latest", true), ("2.1.112", true), ("latest", false)], 3, |&(version, has_manager)| {
        let host = CliHost::with_claude(has_manager, 200, version);
        let began = Instant::now();
        let daemon = host.start_daemon();
        let old = host.pair.refresh.clone();
        let mut host = until_rotated(host, &old);
        println!("{version}, manager {has_manager}: {:.1?}", began.elapsed());
        let log = daemon.stop();
        host.assert_no_token_in(&log);
        assert_eq!(host.requests(), (1, 0), "{log}");
        assert!(host.no_locks());
    });
}

#[test]
fn a_daemon_that_is_killed_or_stopped_leaves_the_cli_running_and_its_successor_sees_the_result() {
    in_parallel(&[(true, true), (false, true), (true, false)], 3, |&(has_manager, is_killed)| {
        // Slower than usual: nobody loses patience.
        let mut host = CliHost::with_claude(has_manager, 200, "latest");
        host.provider.set(json!({"delay_ms": 12_000}));
        let daemon = host.start_daemon();
        let cell = RefCell::new(host);
        until("the CLI asks", 60, || cell.borrow_mut().requests().0 == 1);
        if is_killed {
            drop(daemon)
        } else {
            drop(daemon.stop())
        }
        let host = cell.into_inner();
        assert_eq!(host.text().contains(&host.pair.refresh), is_killed, "a stop waits for it");
        let daemon = host.start_daemon();
        let old = host.pair.refresh.clone();
        let mut host = until_rotated(host, &old);
        let log = daemon.stop();
        assert_eq!(host.requests(), (1, 0), "manager {has_manager}, killed {is_killed}: {log}");
        assert!(host.no_locks());
    });
}

/// What a CLI does in order to renew: a script that has `new` for a token.
const RENEW: &str = "sed -i 's/\"refreshToken\":\"[^\"]*\"/\"refreshToken\":\"sk-ant-ort01-new\"/; \
    s/\"accessToken\":\"sk-ant-oat01[^\"]*\"/\"accessToken\":\"sk-ant-oat01-new\"/' ~/.claude/.credentials.json";

#[test]
fn success_is_a_new_generation_and_never_an_exit_code() {
    let blank = "sed -i 's/\"sk-ant-[^\"]*\"/\"\"/g' ~/.claude/.credentials.json";
    let torn = "printf '{' > ~/.claude/.credentials.json";
    let in_place = format!(
        "cp ~/.claude/.credentials.json ~/kept; {torn}; sleep 1; cat ~/kept > ~/.claude/.credentials.json; {RENEW}"
    );
    let late = format!("({in_place}) >/dev/null 2>&1 & sleep 0.3");
    let cases = [
        (format!("{RENEW}; exit 0"), "rotated", "by the CLI"),
        (format!("{RENEW}; exit 1"), "rotated", "by the CLI"),
        ("exit 0".to_owned(), "failed", "the CLI ran and left the login as it was"),
        ("exit 7".to_owned(), "failed", "the CLI ran and left the login as it was"),
        ("kill -9 $$".to_owned(), "unknown", "the CLI was killed; the refresh token may have been spent"),
        (blank.to_owned(), "rejected", "the CLI found the login refused and blanked it"),
        (torn.to_owned(), "failed", "the CLI ran and the login cannot be read"),
    ];
    for has_manager in [true, false] {
        let mut host = CliHost::new(has_manager, 200);
        for (script, outcome, detail) in &cases {
            host.write(&support::claude::document(&host.pair, support::claude::in_seconds(200)).to_string());
            host.script(script);
            let said = host.refresh(&["--force"]);
            assert_eq!(
                (said.outcome.as_str(), said.detail.as_str()),
                (*outcome, *detail),
                "{script} {said:?}"
            );
            assert_eq!(said.code, Some(i32::from(*outcome != "rotated")));
        }
        if !has_manager {
            // A child of a child that still writes: what cannot be read is looked at again.
            host.write(&support::claude::document(&host.pair, support::claude::in_seconds(200)).to_string());
            host.script(&late);
            assert_eq!(host.refresh(&["--force"]).outcome, "rotated");
        }
    }
}

#[test]
fn the_run_gets_its_overrides_and_what_is_unset_is_not_there() {
    for has_manager in [true, false] {
        let mut host = CliHost::with_script(
            has_manager,
            200,
            "env > ~/seen; echo \"$@\" >> ~/seen; cat /proc/self/cgroup >> ~/seen",
        );
        host.configure("mode = \"cli\"\nenv = { ANTHROPIC_BASE_URL = \"\", EXTRA = \"e e\" }");
        if let Some(manager) = &host.manager {
            manager.systemctl_ok(&["set-environment", "ANTHROPIC_BASE_URL=http://127.0.0.1:9"]);
            // With it the CLI would use that, and renew nothing.
            manager.systemctl_ok(&["set-environment", "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-made-up"]);
        }
        let mut command = host.tokensink(&["refresh", "--json"]);
        let said = host.said(command.env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9").env("STRANGE", "1"));
        assert_eq!(said.outcome, "failed", "{said:?}");
        let seen = std::fs::read_to_string(host.home().join("seen")).unwrap();
        assert!(seen.contains("EXTRA=e e\n") && seen.contains("TERM=dumb\n"), "{seen}");
        for absent in ["ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN", "STRANGE"] {
            assert!(!seen.contains(absent), "{absent}: {seen}");
        }
        assert_eq!(
            seen.contains("/tokensink-refresh-claude.service"),
            has_manager,
            "a unit where there can be one: {seen}"
        );
    }
}

// ---- a CLI that is late

fn late(script: &str, deadline_ms: u64) -> CliRun {
    CliRun {
        unit: "tokensink-refresh-late.service".to_owned(),
        description: "a run of a test".to_owned(),
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        unset: Vec::new(),
        secrets: None,
        directory: None,
        output: None,
        joins: true,
        deadline: Duration::from_millis(deadline_ms),
        grace: Duration::from_secs(2),
    }
}

#[test]
fn a_late_cli_is_left_alone_while_it_refreshes_then_asked_then_killed() {
    let manager = PrivateManager::start();
    let nowhere = BusAddresses { session: None, runtime_dir: None, system: None };
    for (buses, what) in [(manager.addresses(), "unit"), (nowhere, "child")] {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let run = async |script: &str, is_at_work: &dyn Fn() -> bool| {
                late(script, 300).run(&buses, is_at_work).await.unwrap()
            };
            let idle = || false;
            assert_eq!(run("exit 3", &idle).await, RunEnd::Exited(Some(3)), "{what}");
            // Late by two seconds, in which it refreshes.
            let asked = Cell::new(0);
            let busy = || {
                asked.set(asked.get() + 1);
                true
            };
            assert_eq!(run("sleep 2.5", &busy).await, RunEnd::Exited(Some(0)), "{what}");
            assert!((2..=4).contains(&asked.get()), "{}", asked.get());
            // It hears of it, and may finish.
            let polite = "trap 'sleep 1; exit 5' TERM; while :; do sleep 0.1; done";
            assert_eq!(run(polite, &idle).await, RunEnd::Exited(Some(5)), "{what}");
            assert_eq!(run("exec sleep 1h", &idle).await, RunEnd::Killed, "{what}");
            let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
            assert_eq!(run(stubborn, &idle).await, RunEnd::Killed, "{what}");
            // It began to refresh after it was asked to end.
            let calls = Cell::new(0);
            let late = || calls.replace(calls.get() + 1) >= 2;
            let begins = "trap '' TERM; sleep 3; sleep 2";
            assert_eq!(run(begins, &late).await, RunEnd::StillRunning, "{what}");
            if what == "unit" {
                // One run of a name at a time: this waits for the one before.
                let before = run("exit 3", &busy).await;
                assert!(matches!(before, RunEnd::Exited(None | Some(0))), "{before:?}");
                assert_eq!(run("exit 3", &busy).await, RunEnd::Exited(Some(3)), "{what}");
            }
        });
    }
}

#[test]
fn a_secret_of_a_run_is_on_no_bus_and_in_no_file_once_it_runs() {
    let manager = PrivateManager::start();
    let nowhere = BusAddresses { session: None, runtime_dir: None, system: None };
    for (buses, is_unit) in [(manager.addresses(), true), (nowhere, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (output, file) = (dir.path().join("output"), dir.path().join("environment"));
        std::fs::write(&output, "").unwrap();
        let script = "ls \"$0\"; printf '%s\\n' \"$TOKEN\"; sleep 1.5; ls \"$0\"";
        let mut run = late(script, 30_000);
        run.argv.push(dir.path().display().to_string());
        run.output = Some(output.clone());
        let value = "sk-ant-ort01-\\\"$HOME`%h#; é".to_owned();
        let variables = BTreeMap::from([("TOKEN".to_owned(), Secret::new(value.clone()))]);
        run.secrets = Some(Secrets { file: file.clone(), variables });
        let text = || std::fs::read_to_string(&output).unwrap();
        let end = std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run.run(&buses, &|| false)).unwrap()
            });
            until("it has its secret", 20, || text().contains(&value));
            until("its file is gone", 20, || !file.exists());
            if is_unit {
                let shown = manager.systemctl_ok(&["show", &run.unit]);
                assert!(shown.contains("EnvironmentFiles=") && shown.contains("MainPID="), "{shown}");
                assert!(!shown.contains("sk-ant"), "{shown}");
            }
            running.join().unwrap()
        });
        assert_eq!(end, RunEnd::Exited(Some(0)));
        let last = text().split(&value).last().unwrap().trim().to_owned();
        assert_eq!(last, "output", "while it ran");
    }
}

// ---- a CLI in a container

#[test]
fn a_cli_in_a_container_renews_the_login_with_the_runs_own_overrides() {
    for (version, has_manager) in [("latest", true), ("2.1.112", false)] {
        let mut host = CliHost::new(has_manager, 200);
        host.configure("mode = \"cli\"\ncontainer = \"claude-proxy\"\nenv = { ANTHROPIC_BASE_URL = \"\", EXTRA = \"1\" }");
        let engine = Engine::start(&host);
        let cli = claude_code(version);
        // Where the container's own CLI asks for models there is nothing.
        engine.sleeper(&host, "claude-proxy", cli.parent().unwrap(), "ANTHROPIC_BASE_URL=http://127.0.0.1:9");
        let began = Instant::now();
        let mut command = host.tokensink(&["refresh", "--json"]);
        command.env("PATH", &engine.path).env("DOCKER_HOST", engine.socket());
        let said = host.said(&mut command);
        println!("{version}, manager {has_manager}: {} in {:.1?}", said.outcome, began.elapsed());
        assert_eq!(
            (said.code, said.outcome.as_str(), said.detail.as_str()),
            (Some(0), "rotated", "by the CLI")
        );
        let ledger = host.provider.ledger();
        assert_eq!((ledger.grants(), ledger.refused(), host.place_of_live()), (1, 0, "source"));
        let asked = ledger.requests.iter().find(|r| r.path.starts_with("/v1/messages"));
        assert_eq!(asked.map(|r| r.host.as_str()), Some("api.anthropic.com"), "the variable was unset");
        let transcripts = files_under(&host.home().join(".claude/projects"));
        assert!(transcripts.is_empty(), "tidy: {transcripts:?}");
        assert!(host.no_locks());
        engine.remove(&host, "claude-proxy");
    }
}
