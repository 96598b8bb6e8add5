//! Errors that the kernel can give, put in by strace between the real program and the kernel: at every file operation of
//! a refresh, a pass and a set-up, and at every call on the wire of a refresh. The login survives, files are whole, no
//! token is sent twice, and the next run puts everything right.
//!
//! `TOKENSINK_LONG=1` takes every error of a call at every operation; else each operation gets one of them, in turn.
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

use serde_json::Value;
use support::faults::{self, all_faults, faults};
use support::host::{Cli, Host};
use support::kills::assert_tidy;
use support::run::run;
use support::strace::{CALLS, Operation, Run, WIRE, is_long};

fn run_of<'a>(host: &'a Host, arguments: &[&str]) -> Run<'a> {
    Run::of(host.command(arguments), host.home.parent().unwrap())
}

/// What a failed release leaves is gone in a minute; here it is gone at once.
fn clear_locks(host: &Host) -> usize {
    host.locks().into_iter().filter(|lock| std::fs::remove_dir(lock).is_ok()).count()
}

#[test]
fn an_error_at_any_file_operation_of_a_refresh_loses_no_login_of_claude_code() {
    fail_everywhere(Cli::Claude);
}

#[test]
fn an_error_at_any_file_operation_of_a_refresh_loses_no_login_of_codex() {
    fail_everywhere(Cli::Codex);
}

fn fail_everywhere(cli: Cli) {
    let host = || Host::with(cli, -3600);
    let first = host();
    let beside = serde_json::from_str::<Value>(&first.read()).unwrap()["unknownBeside"].clone();
    let operations = run_of(&first, &["refresh", "--json"]).operations(CALLS);
    assert!(operations.len() > 200, "{operations:?}");
    let faults = faults(&operations);
    let title = format!("{cli:?}: refresh");
    faults::each(
        &title,
        &faults,
        faults::few(&faults),
        host,
        |host| run_of(host, &["refresh", "--json"]),
        |host, fault, ran| {
            let said = host.said(ran);
            let place = host.place_of_live();
            assert_ne!(place, "nowhere", "{fault:?}: {said}");
            let held: Value = serde_json::from_str(&host.read()).expect("never torn");
            assert_eq!(held["unknownBeside"], beside, "{fault:?}");
            host.assert_no_token_in(&said.text);
            let was_sent = host.requests() == 1;
            assert!(was_sent || place == "source", "{fault:?}: {said}");
            clear_locks(host);
            let again = host.refresh(&["--force"]);
            assert_eq!(
                (again.code, host.place_of_live()),
                (Some(0), "source"),
                "{fault:?}: {said}, then {again}"
            );
            assert_eq!(host.provider.ledger().refused(), 0, "{fault:?}: {said}, then {again}");
            assert!(host.intent().is_none(), "{fault:?}: {again}");
            let outcome = if said.outcome.is_empty() { "no report" } else { &said.outcome };
            format!("{} {outcome}, token in {place}", if was_sent { "sent:" } else { "not sent:" })
        },
    );
}

#[test]
fn an_error_at_any_call_on_the_wire_never_sends_a_token_twice() {
    let mut operations = run_of(&Host::new(), &["refresh", "--json"]).operations(WIRE);
    // Whether an answer comes in one piece is a matter of luck.
    operations.retain(|one| one.time == 1);
    let faults = all_faults(&operations);
    assert!(faults.len() >= 15, "{faults:#?}");
    faults::each(
        "refresh, on the wire",
        &faults,
        faults::few(&faults),
        Host::new,
        |host| run_of(host, &["refresh", "--json"]),
        |host, fault, ran| {
            let said = host.said(ran);
            let sent = host.requests();
            let again = host.refresh(&[]);
            let ledger = host.provider.ledger();
            assert_eq!(ledger.refused(), 0, "{fault:?}: a spent token was sent: {said}, then {again}");
            if said.outcome == "unknown" {
                // The record stays, nothing is deleted, and nothing is sent again by itself.
                assert!(
                    host.intent().is_some() && host.read().contains(&host.pair.refresh),
                    "{fault:?}: {said}"
                );
                assert_eq!(
                    (again.outcome.as_str(), host.requests()),
                    ("unknown", sent),
                    "{fault:?}: {again}"
                );
            } else {
                assert!(
                    host.place_of_live() == "source" && host.intent().is_none(),
                    "{fault:?}: {said}, {again}"
                );
                // What did not leave may be sent again, later.
                assert!(sent == 1 || said.code == Some(1), "{fault:?}: {said}");
            }
            let reached = if sent == 1 { "reached the server" } else { "did not reach it" };
            format!("{}, {reached}, then {}", said.outcome, again.outcome)
        },
    );
}

#[test]
fn a_disk_that_fails_twice_after_the_answer_leaves_it_in_memory() {
    let operations = run_of(&Host::new(), &["refresh", "--json"]).operations(CALLS);
    let last = |call: &str, about: &str| {
        let mut of = operations.iter().filter(|one| one.call == call && one.about.contains(about));
        of.next_back().unwrap()
    };
    let host = Host::new();
    // Neither the room for the answer can be written nor the source be replaced.
    let faults = [(last("pwrite64", "claude.answer"), "EIO"), (last("renameat", ".credentials.json"), "EIO")];
    let said = host.say(&mut run_of(&host, &["refresh", "--json"]).failing(&faults));
    assert_eq!((said.outcome.as_str(), host.place_of_live()), ("unknown", "memory"), "{said}");
    let again = host.refresh(&[]);
    assert_eq!((again.outcome.as_str(), host.place_of_live()), ("rotated", "source"), "{again}");
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0));
}

/// A host on which a refresh died there.
fn dead_at(failpoint: &str) -> Host {
    let host = Host::new();
    let said = host.say(host.command(&["refresh", "--json"]).env("TOKENSINK_FAILPOINT", failpoint));
    assert_eq!(said.code, None, "{said}");
    clear_locks(&host);
    host
}

#[test]
fn an_answer_that_cannot_be_read_just_now_is_not_given_up_by_force() {
    let arguments = ["refresh", "--json", "--force"];
    let operations = run_of(&dead_at("refresh-recorded"), &arguments).operations(CALLS);
    let of_answer =
        |one: &&Operation| one.about.contains("claude.answer") && !one.changes() && one.call != "close";
    let faults = faults(&operations.iter().filter(of_answer).cloned().collect::<Vec<_>>());
    assert!(faults.iter().any(|fault| fault.at.call == "openat"), "{faults:?}");
    let (title, prepare) = ("an answer that cannot be read", || dead_at("refresh-recorded"));
    faults::each(
        title,
        &faults,
        faults::few(&faults),
        prepare,
        |host| run_of(host, &arguments),
        |host, fault, ran| {
            let said = host.said(ran);
            assert_ne!(host.place_of_live(), "nowhere", "{fault:?}: {said}");
            let again = host.refresh(&[]);
            assert_eq!(
                (again.code, host.place_of_live()),
                (Some(0), "source"),
                "{fault:?}: {said}, then {again}"
            );
            assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0), "{fault:?}: {said}");
            said.outcome
        },
    );
}

#[test]
fn a_source_of_ours_that_may_not_be_on_disk_is_written_anew_before_the_answer_goes() {
    // The third file that is renamed is the source; its directory is not synced yet.
    let host = dead_at("after-rename:3");
    assert_eq!(host.place_of_live(), "source");
    let operations = run_of(&host, &["refresh", "--json"]).operations(CALLS);
    let at = |call: &str, about: &str| {
        let found = operations.iter().position(|one| one.call == call && one.about.contains(about));
        found.unwrap_or_else(|| panic!("{call} of {about}: {operations:#?}"))
    };
    let (renamed, gone) = (at("renameat", "\".credentials.json\""), at("unlink", "claude.answer"));
    let is_synced = |one: &Operation| one.call == "fsync" && one.about.ends_with("~/home/.claude>)");
    assert!(operations[renamed..gone].iter().any(is_synced), "{operations:#?}");
    assert_eq!((host.place_of_live(), host.requests()), ("source", 1));
}

/// Three sinks beside what others have in two of them.
fn stage() -> Host {
    let host = Host::expiring(7200);
    let oauth = "{\"other\":{\"access\":\"kept\"},\"anthropic\":{\"access\":\"old\"}}\n";
    std::fs::write(host.home.join("oauth.json"), oauth).unwrap();
    std::fs::write(host.home.join("env"), "# mine\nTOKEN=old\nLAST=1\n").unwrap();
    for name in ["oauth.json", "env"] {
        std::fs::set_permissions(host.home.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    let sinks = "[[sink]]\nid = \"a\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"~/oauth.json\"\nrefresh = false\n\
                 [[sink]]\nid = \"b\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"~/env\"\nkey = \"TOKEN\"\n\
                 [[sink]]\nid = \"c\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/new.json\"\n";
    host.configure(&host.token_url(), sinks);
    host
}

#[test]
fn an_error_at_any_file_operation_of_a_pass_leaves_old_or_new_files() {
    let texts = |host: &Host| {
        ["oauth.json", "env", "new.json"]
            .map(|name| std::fs::read_to_string(host.home.join(name)).unwrap_or_default())
    };
    let first = stage();
    let old = texts(&first);
    let faults = faults(&run_of(&first, &["sync", "--json"]).operations(CALLS));
    assert!(faults.len() > 100, "{faults:?}");
    faults::each(
        "sync",
        &faults,
        faults::few(&faults),
        stage,
        |host| run_of(host, &["sync", "--json"]),
        |host, fault, ran| {
            let said = host.said(ran);
            let access = &host.pair.access;
            let new = [
                format!("{{\"other\":{{\"access\":\"kept\"}},\"anthropic\":{{\"access\":\"{access}\""),
                format!("# mine\nTOKEN={access}\nLAST=1\n"),
                format!("{{\"access\":\"{access}\""),
            ];
            let mut written = 0;
            for ((now, old), new) in texts(host).iter().zip(&old).zip(&new) {
                let is_new = now.contains(access.as_str());
                assert!(now == old || (is_new && now.len() >= new.len()), "{fault:?}: {now:?}");
                written += usize::from(is_new);
            }
            assert!(host.read().contains(&host.pair.refresh));
            host.assert_no_token_in(&said.text);
            // 0 is said of a complete pass alone; else a finding names what is behind, or the message says it.
            let report: Value =
                serde_json::from_str(said.text.get(said.text.find('{').unwrap_or(0)..).unwrap_or(""))
                    .unwrap_or_default();
            let findings = report["findings"].as_array().into_iter().flatten();
            let mut codes: Vec<&str> = findings.filter_map(|finding| finding["code"].as_str()).collect();
            codes.dedup();
            let is_told = report.is_null() || !codes.is_empty();
            assert!(if said.code == Some(0) { written == 3 } else { is_told }, "{fault:?}: {said}");
            let again = host.say(&mut host.command(&["sync", "--json"]));
            assert_eq!(again.code, Some(0), "{fault:?}: {said}, then {again}");
            let [oauth, env, secret] = texts(host);
            assert!(oauth.contains("kept") && oauth.contains(access.as_str()), "{fault:?}: {oauth}");
            assert_eq!(env, new[1], "{fault:?}");
            assert!(secret.contains(access.as_str()), "{fault:?}: {secret}");
            assert_tidy(&host.home, fault);
            let why = if report.is_null() && said.code != Some(0) {
                "said on stderr".to_owned()
            } else {
                codes.join(" ")
            };
            format!("exit {:?}, {written} of 3 written, {why}", said.code.unwrap_or(-1))
        },
    );
}

#[test]
fn an_error_at_any_file_operation_of_a_set_up_leaves_nothing_that_is_not_taken_back() {
    let host = || {
        let host = Host::expiring(7200);
        std::fs::remove_dir_all(host.home.join(".config")).unwrap();
        host
    };
    let file = |host: &Host| host.home.join(".config/tokensink/tokensink.d/50-setup.toml");
    let mut operations = run_of(&host(), &["setup", "--yes"]).operations(CALLS);
    // Its own files; what it looks at elsewhere is a finding or none.
    operations.retain(|one| one.about.contains("setup") || one.about.contains(".config/tokensink"));
    operations.retain(|one| is_long() || !one.only_looks() || one.about.contains("setup.json"));
    let faults = faults(&operations);
    assert!(faults.len() > 15, "{faults:?}");
    faults::each(
        "setup",
        &faults,
        faults::third(&faults),
        host,
        |host| run_of(host, &["setup", "--yes"]),
        |host, fault, said| {
            host.assert_no_token_in(&said.both());
            let is_there = file(host).exists();
            assert!(said.code == Some(1) || is_there, "{fault:?}: {said}");
            let undone = run(&mut host.command(&["setup", "--undo"]), b"");
            assert_eq!(
                (undone.code, file(host).exists()),
                (Some(0), false),
                "{fault:?}: {said}, then {undone}"
            );
            format!(
                "exit {:?}, the drop-in {}",
                said.code.unwrap_or(-1),
                if is_there { "is there" } else { "is not" }
            )
        },
    );
}

#[test]
fn a_record_of_a_set_up_that_cannot_be_read_just_now_is_not_forgotten() {
    let host = Host::expiring(7200);
    std::fs::remove_dir_all(host.home.join(".config")).unwrap();
    assert_eq!(run(&mut host.command(&["setup", "--yes"]), b"").code, Some(0));
    let record = |host: &Host| std::fs::read_to_string(host.state_dir().join("setup.json")).unwrap();
    let before = record(&host);
    let text = before.replacen('{', "", 1);
    std::fs::write(host.state_dir().join("setup.json"), &text).unwrap();
    for arguments in [["setup", "--undo"], ["setup", "--yes"]] {
        let said = run(&mut host.command(&arguments), b"");
        assert!(said.code == Some(1) && said.stderr.contains("setup.json"), "{said}");
        assert_eq!(record(&host), text);
    }
    std::fs::write(host.state_dir().join("setup.json"), before).unwrap();
    assert_eq!(run(&mut host.command(&["setup", "--undo"]), b"").code, Some(0));
}
