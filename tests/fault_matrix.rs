//! ENOSPC, EIO, EROFS and EACCES at every single file operation of a refresh and of a pass, put in by
//! strace between the real program and the kernel: the login survives, files are whole, and the next
//! run puts everything right.
//!
//! `TOKENSINK_LONG=1` takes every error at every operation; else each operation gets one, in turn.
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
use std::process::Command;

use serde_json::Value;
use support::host::{Cli, Host, Said, in_parallel};

const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EROFS", "EACCES"];
/// Every call that opens, writes, syncs, names or removes a file.
const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,fallocate,ftruncate,rename,renameat,renameat2,link,\
                     linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,fchown,fchownat,utimensat,\
                     flock,newfstatat,statx,fstat,getdents64,read,pread64,lseek,fcntl";

/// One error at one call.
#[derive(Clone)]
struct Fault {
    call: String,
    /// The how-manieth of its kind, from 1.
    time: usize,
    error: &'static str,
    /// What it was about, as strace shows it, without the made-up home.
    about: String,
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} number {}: {}(", self.error, self.call, self.time, self.about)
    }
}

fn strace(host: &Host, log: &Path, options: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    host.dress(&mut command);
    command
        .args(["-f", "-y", "--seccomp-bpf", "-o"])
        .arg(log)
        .args(options)
        .arg(&host.program)
        .args(arguments);
    command
}

/// Every file operation of one run that concerns the made-up home, in order.
fn operations(host: &Host, arguments: &[&str]) -> Vec<(String, usize, String)> {
    let log = host.home.with_file_name("strace.log");
    let ran = strace(host, &log, &["-e", &format!("trace={CALLS}")], arguments).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(log).unwrap();
    let main = text.split(' ').next().unwrap().to_owned();
    let home = host.home.parent().unwrap().display().to_string();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((call, about)) = rest.trim_start().split_once('(') else { continue };
        if pid != main || call.contains(' ') {
            continue;
        }
        let count = counts.entry(call.to_owned()).or_default();
        *count += 1;
        // Not the working directory, and not what only an unoptimised build asks its descriptors.
        let about = about.replace(&format!("AT_FDCWD<{home}/home>"), "AT_FDCWD");
        if about.contains(&home) && !about.contains("F_GETFD") {
            let about = about.replace(&home, "");
            found.push((call.to_owned(), *count, about.chars().take(90).collect()));
        }
    }
    found
}

fn faults(operations: &[(String, usize, String)]) -> Vec<Fault> {
    let is_long = std::env::var_os("TOKENSINK_LONG").is_some();
    let mut faults = Vec::new();
    for (index, (call, time, about)) in operations.iter().enumerate() {
        for (turn, error) in ERRORS.into_iter().enumerate() {
            if is_long || turn == index % ERRORS.len() {
                faults.push(Fault { call: call.clone(), time: *time, error, about: about.clone() });
            }
        }
    }
    faults
}

/// Runs the program with the fault, which must happen.
fn with(host: &Host, fault: &Fault, arguments: &[&str]) -> Said {
    let log = host.home.with_file_name("strace.log");
    let inject = format!("inject={}:error={}:when={}", fault.call, fault.error, fault.time);
    let trace = format!("trace={}", fault.call);
    let said = host.say(&mut strace(host, &log, &["-e", &trace, "-e", &inject], arguments));
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("(INJECTED)"), "{fault:?} did not happen: {said}");
    assert!(said.code.is_some(), "{fault:?}: no signal ends us: {said}");
    said
}

/// What a failed release leaves is gone in a minute; here it is gone at once.
fn clear_locks(host: &Host) -> usize {
    host.locks().into_iter().filter(|lock| std::fs::remove_dir(lock).is_ok()).count()
}

fn print(title: &str, lines: &BTreeMap<String, usize>, cases: usize) {
    println!("{title}: {cases} faults");
    for (line, count) in lines {
        println!("  {count:>4} {line}");
    }
}

fn counted(lines: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
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
    let operations = operations(&host(), &["refresh", "--json"]);
    assert!(operations.len() > 50, "{operations:?}");
    let faults = faults(&operations);
    let lines = in_parallel(&faults, 4, |fault| {
        let host = host();
        let before: Value = serde_json::from_str(&host.read()).unwrap();
        let said = with(&host, fault, &["refresh", "--json"]);
        let place = host.place_of_live();
        assert_ne!(place, "nowhere", "{fault:?}: {said}");
        let held: Value = serde_json::from_str(&host.read()).expect("never torn");
        assert_eq!(held["unknownBeside"], before["unknownBeside"], "{fault:?}");
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
        format!("{} {}, token in {place}", if was_sent { "sent:" } else { "not sent:" }, said.outcome)
    });
    print(&format!("{cli:?}: refresh"), &counted(lines), faults.len());
}

#[test]
fn a_disk_that_fails_twice_after_the_answer_leaves_it_in_memory() {
    let operations = operations(&Host::new(), &["refresh", "--json"]);
    let nth = |call: &str, about: &str| {
        let of = operations.iter().filter(|(one, _, text)| one == call && text.contains(about));
        of.map(|(_, time, _)| *time).max().unwrap()
    };
    let host = Host::new();
    let log = host.home.with_file_name("strace.log");
    // Neither the room for the answer can be written nor the source be replaced.
    let record = format!("inject=pwrite64:error=EIO:when={}", nth("pwrite64", "claude.answer"));
    let source = format!("inject=renameat:error=EIO:when={}", nth("renameat", ".credentials.json"));
    let faults = ["-e", "trace=pwrite64,renameat", "-e", &record, "-e", &source];
    let said = host.say(&mut strace(&host, &log, &faults, &["refresh", "--json"]));
    assert_eq!((said.outcome.as_str(), host.place_of_live()), ("unknown", "memory"), "{said}");
    let again = host.refresh(&[]);
    assert_eq!((again.outcome.as_str(), host.place_of_live()), ("rotated", "source"), "{again}");
    assert_eq!((host.requests(), host.provider.ledger().refused()), (1, 0));
}

#[test]
fn an_error_at_any_file_operation_of_a_pass_leaves_old_or_new_files() {
    let stage = || {
        let host = Host::expiring(7200);
        let copy = |name: &str| host.home.join(name);
        std::fs::write(
            copy("oauth.json"),
            "{\"other\":{\"access\":\"kept\"},\"anthropic\":{\"access\":\"old\"}}\n",
        )
        .unwrap();
        std::fs::write(copy("env"), "# mine\nTOKEN=old\nLAST=1\n").unwrap();
        let sinks = "[[sink]]\nid = \"a\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"~/oauth.json\"\nrefresh = false\n\
                     [[sink]]\nid = \"b\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"~/env\"\nkey = \"TOKEN\"\n\
                     [[sink]]\nid = \"c\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/new.json\"\n";
        host.configure(&host.token_url(), sinks);
        host
    };
    let texts = |host: &Host| {
        ["oauth.json", "env", "new.json"]
            .map(|name| std::fs::read_to_string(host.home.join(name)).unwrap_or_default())
    };
    let operations = operations(&stage(), &["sync", "--json"]);
    let faults = faults(&operations);
    let lines = in_parallel(&faults, 4, |fault| {
        let host = stage();
        let old = texts(&host);
        let said = with(&host, fault, &["sync", "--json"]);
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
        let again = host.say(&mut host.command(&["sync", "--json"]));
        assert_eq!(again.code, Some(0), "{fault:?}: {said}, then {again}");
        let [oauth, env, secret] = texts(&host);
        assert!(oauth.contains("kept") && oauth.contains(access.as_str()), "{fault:?}: {oauth}");
        assert_eq!(env, new[1], "{fault:?}");
        assert!(secret.contains(access.as_str()), "{fault:?}: {secret}");
        format!("exit {:?}, {written} of 3 written", said.code.unwrap_or(-1))
    });
    print("sync", &counted(lines), faults.len());
}
