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

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::host::{Cli, Host, Said, in_parallel};
use support::run::run;
use support::strace::{CALLS, Operation, Run, WIRE, aimed};

/// What can go wrong with a call, and is no mistake of ours.
fn errors_of(at: &Operation) -> &'static [&'static str] {
    match at.call.as_str() {
        "openat" => &["EMFILE", "ENOSPC", "EIO", "ENFILE", "EROFS", "EACCES", "EDQUOT", "ENOMEM", "EINTR"],
        "write" | "pwrite64" => &["ENOSPC", "EIO", "EDQUOT", "EINTR"],
        "fsync" | "fdatasync" => &["EIO", "ENOSPC", "EDQUOT", "EINTR"],
        "fallocate" => &["ENOSPC", "EIO", "EDQUOT", "EOPNOTSUPP", "EINTR"],
        // Of a file: what the close of a directory says, no file system makes up, and the standard library does not survive.
        "close" if !is_file(&at.about) => &[],
        "ftruncate" | "close" => &["EIO", "EINTR"],
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
            &["EIO", "EXDEV", "ENOSPC", "EBUSY", "EROFS", "EACCES", "EDQUOT"]
        }
        "mkdir" | "mkdirat" => &["EEXIST", "ENOSPC", "EROFS", "EIO", "EACCES", "EDQUOT"],
        "unlink" | "unlinkat" | "rmdir" => &["EIO", "EROFS", "EACCES", "EBUSY"],
        "chmod" | "fchmod" | "fchmodat" | "fchown" | "fchownat" | "utimensat" => &["EIO", "EROFS", "EPERM"],
        "flock" => &["EWOULDBLOCK", "ENOLCK", "EINTR"],
        "fcntl" => &["EAGAIN", "ENOLCK", "EACCES"],
        "read" | "pread64" => &["EIO", "EINTR", "ENOMEM"],
        "execve" => &[],
        "socket" => &["EMFILE", "ENFILE", "ENOMEM", "EACCES"],
        "connect" => &["ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ECONNRESET"],
        "sendto" | "sendmsg" | "writev" => &["ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOBUFS"],
        "recvfrom" | "recvmsg" => &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "ENETUNREACH"],
        _ => &["EIO", "ENOMEM", "EACCES"],
    }
}

/// By its name, as strace shows a descriptor.
fn is_file(about: &str) -> bool {
    let name = about.trim_end_matches([')', '>']).rsplit('/').next().unwrap_or_default();
    name == "env" || name.trim_start_matches('.').contains('.')
}

/// One error at one call.
#[derive(Debug, Clone)]
struct Fault {
    at: Operation,
    error: &'static str,
}

fn is_long() -> bool {
    std::env::var_os("TOKENSINK_LONG").is_some()
}

/// Every error at each of them.
fn all_faults(operations: &[Operation]) -> Vec<Fault> {
    let of = |at: &Operation| {
        errors_of(at).iter().map(|error| Fault { at: at.clone(), error }).collect::<Vec<_>>()
    };
    operations.iter().flat_map(of).collect()
}

/// One error at each of them, or every one.
fn faults(operations: &[Operation]) -> Vec<Fault> {
    if is_long() {
        return all_faults(operations);
    }
    let mut faults = Vec::new();
    // Each kind of call goes through its own errors.
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    // What fails while nothing is changed is taken a third of the time.
    let is_taken = |index: usize, at: &Operation| !at.only_looks() || index.is_multiple_of(3);
    for (_, at) in operations.iter().enumerate().filter(|(index, at)| is_taken(*index, at)) {
        let errors = errors_of(at);
        let turn = turns.entry(&at.call).or_default();
        faults.extend(errors.get(*turn % errors.len().max(1)).map(|error| Fault { at: at.clone(), error }));
        *turn += 1;
    }
    faults
}

fn run_of(host: &Host, arguments: &[&str]) -> Run {
    Run::of(host.command(arguments), host.home.parent().unwrap())
}

/// Runs the program on a fresh host with the fault, which must happen.
fn with(host: impl Fn() -> Host, fault: &Fault, arguments: &[&str]) -> Option<(Host, Said)> {
    let hit = aimed(&fault.at, |off| {
        let host = host();
        let run = run_of(&host, arguments);
        let said = host.say(&mut run.failing(&[(&fault.at, fault.error)], off));
        (run, (host, said))
    });
    // How many writes there are on wake-ups is a matter of time.
    assert!(hit.is_some() || fault.at.call == "write", "{fault:?} did not happen");
    let (host, said) = hit?;
    assert!(matches!(said.code, Some(0 | 1)), "{fault:?}: no signal and no panic ends us: {said}");
    // Whoever gets it is told why.
    assert!(said.code == Some(0) || !said.text.is_empty(), "{fault:?}: ended without a word");
    Some((host, said))
}

/// What a failed release leaves is gone in a minute; here it is gone at once.
fn clear_locks(host: &Host) -> usize {
    host.locks().into_iter().filter(|lock| std::fs::remove_dir(lock).is_ok()).count()
}

/// What is said of a fault that was not put in where it was meant.
const NOT_HIT: &str = "not hit";

/// Counts what came of each case, in all and by error.
fn print(title: &str, faults: &[Fault], lines: &[String]) {
    let mut counts: BTreeMap<&str, (usize, BTreeMap<&str, usize>)> = BTreeMap::new();
    for (fault, line) in faults.iter().zip(lines) {
        let (count, errors) = counts.entry(line).or_default();
        *count += 1;
        *errors.entry(fault.error).or_default() += 1;
    }
    println!("{title}: {} faults", faults.len());
    let missed = lines.iter().filter(|line| *line == NOT_HIT).count();
    assert!(missed * 3 < faults.len(), "{title}: {missed} were not put in");
    for (line, (count, errors)) in counts {
        let errors: Vec<String> = errors.iter().map(|(error, count)| format!("{error} {count}")).collect();
        println!("  {count:>4} {line} ({})", errors.join(", "));
    }
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
    let lines = in_parallel(&faults, 4, |fault| {
        let Some((host, said)) = with(host, fault, &["refresh", "--json"]) else { return NOT_HIT.to_owned() };
        let place = host.place_of_live();
        assert_ne!(place, "nowhere", "{fault:?}: {said}");
        let held: Value = serde_json::from_str(&host.read()).expect("never torn");
        assert_eq!(held["unknownBeside"], beside, "{fault:?}");
        host.assert_no_token_in(&said.text);
        let was_sent = host.requests() == 1;
        assert!(was_sent || place == "source", "{fault:?}: {said}");
        clear_locks(&host);
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
    });
    print(&format!("{cli:?}: refresh"), &faults, &lines);
}

#[test]
fn an_error_at_any_call_on_the_wire_never_sends_a_token_twice() {
    let mut operations = run_of(&Host::new(), &["refresh", "--json"]).operations(WIRE);
    // Whether an answer comes in one piece is a matter of luck.
    operations.retain(|one| one.time == 1);
    let faults = all_faults(&operations);
    assert!(faults.len() >= 15, "{faults:#?}");
    let lines = in_parallel(&faults, 4, |fault| {
        let Some((host, said)) = with(Host::new, fault, &["refresh", "--json"]) else {
            return NOT_HIT.to_owned();
        };
        let sent = host.requests();
        let again = host.refresh(&[]);
        let ledger = host.provider.ledger();
        assert_eq!(ledger.refused(), 0, "{fault:?}: a spent token was sent: {said}, then {again}");
        if said.outcome == "unknown" {
            // The record stays, nothing is deleted, and nothing is sent again by itself.
            assert!(host.intent().is_some() && host.read().contains(&host.pair.refresh), "{fault:?}: {said}");
            assert_eq!((again.outcome.as_str(), host.requests()), ("unknown", sent), "{fault:?}: {again}");
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
    });
    print("refresh, on the wire", &faults, &lines);
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
    let said = host.say(&mut run_of(&host, &["refresh", "--json"]).failing(&faults, 0));
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
    let lines = in_parallel(&faults, 4, |fault| {
        let Some((host, said)) = with(|| dead_at("refresh-recorded"), fault, &arguments) else {
            return NOT_HIT.to_owned();
        };
        assert_ne!(host.place_of_live(), "nowhere", "{fault:?}: {said}");
        let again = host.refresh(&[]);
        assert_eq!(
            (again.code, host.place_of_live()),
            (Some(0), "source"),
            "{fault:?}: {said}, then {again}"
        );
        assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0), "{fault:?}: {said}");
        said.outcome
    });
    print("an answer that cannot be read", &faults, &lines);
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
    let lines = in_parallel(&faults, 4, |fault| {
        let Some((host, said)) = with(stage, fault, &["sync", "--json"]) else { return NOT_HIT.to_owned() };
        let access = &host.pair.access;
        let new = [
            format!("{{\"other\":{{\"access\":\"kept\"}},\"anthropic\":{{\"access\":\"{access}\""),
            format!("# mine\nTOKEN={access}\nLAST=1\n"),
            format!("{{\"access\":\"{access}\""),
        ];
        let mut written = 0;
        for ((now, old), new) in texts(&host).iter().zip(&old).zip(&new) {
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
        let [oauth, env, secret] = texts(&host);
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
    });
    print("sync", &faults, &lines);
}

/// No temporary file is left by a run that did not die.
#[track_caller]
fn assert_tidy(home: &Path, fault: &Fault) {
    let mut left = support::looks::tree(home);
    left.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(".tokensink."));
    assert!(left.is_empty(), "{fault:?}: {left:?}");
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
    let lines = in_parallel(&faults, 4, |fault| {
        let host = host();
        let run_it = run_of(&host, &["setup", "--yes"]);
        let said = host.say(&mut run_it.failing(&[(&fault.at, fault.error)], 0));
        // How many files are opened before depends on the other processes that there are.
        if run_it.aim(&fault.at).is_ne() {
            return NOT_HIT.to_owned();
        }
        let is_there = file(&host).exists();
        assert!(said.code == Some(1) || is_there, "{fault:?}: {said}");
        let undone = run(&mut host.command(&["setup", "--undo"]), b"");
        assert_eq!((undone.code, file(&host).exists()), (Some(0), false), "{fault:?}: {said}, then {undone}");
        format!(
            "exit {:?}, the drop-in {}",
            said.code.unwrap_or(-1),
            if is_there { "is there" } else { "is not" }
        )
    });
    print("setup", &faults, &lines);
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
