//! Errors that the kernel can give, put in between the real program and the kernel at one call of a run.

use std::collections::BTreeMap;

use super::host::in_parallel;
use super::run::Ran;
use super::strace::{Operation, Run, aimed, is_long};

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
        "flock" => &["EAGAIN", "ENOLCK", "EINTR"],
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
pub struct Fault {
    pub at: Operation,
    pub error: &'static str,
}

/// Every error at each of them.
pub fn all_faults(operations: &[Operation]) -> Vec<Fault> {
    let of = |at: &Operation| {
        errors_of(at).iter().map(|error| Fault { at: at.clone(), error }).collect::<Vec<_>>()
    };
    operations.iter().flat_map(of).collect()
}

/// One error at each of them, or every one.
pub fn faults(operations: &[Operation]) -> Vec<Fault> {
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

impl Fault {
    /// A run of a fresh scene with the fault, which must happen, and what was said. `None`: it was not put in.
    #[track_caller]
    fn in_run<S>(&self, prepare: impl Fn() -> S, run: impl for<'a> Fn(&'a S) -> Run<'a>) -> Option<(S, Ran)> {
        let hit = aimed(|off| {
            let scene = prepare();
            let run = run(&scene);
            let output = run.end(run.failing_at(&self.at, self.error, off));
            let is_refused = output.stderr.starts_with(b"strace: ");
            assert!(!is_refused, "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
            let aim = run.aim(&self.at, off);
            drop(run);
            (aim, (scene, Ran::of(&format!("{self:?}"), &output)))
        });
        // How many writes there are on wake-ups is a matter of time, and how many files are opened before depends on the
        // other processes that there are.
        let is_unsteady = ["openat", "write"].contains(&self.at.call.as_str()) || self.at.only_looks();
        assert!(hit.is_some() || is_unsteady, "{self:?} did not happen");
        let (scene, ran) = hit?;
        assert!(matches!(ran.code, Some(0 | 1)), "{self:?}: no signal and no panic ends us: {ran}");
        // Whoever gets it is told why.
        assert!(ran.code == Some(0) || !ran.both().is_empty(), "{self:?}: ended without a word");
        Some((scene, ran))
    }
}

/// What is said of a fault that was not put in where it was meant.
const NOT_HIT: &str = "not hit";

/// How many of the faults of a scene may be missed that does the same each time.
pub fn few(faults: &[Fault]) -> usize {
    // Where every error is taken, a call that is missed is missed with each of its errors, nine at most.
    let few = if is_long() { 3 * 9 } else { 3 };
    few.min(third(faults))
}

/// How many may be missed of a scene in which others have a part.
pub fn third(faults: &[Fault]) -> usize {
    faults.len() / 3
}

/// Runs a fresh scene with each of the faults, of which so many may be missed, and counts what `judge` says of it, in all
/// and by error.
pub fn each<S>(
    title: &str,
    faults: &[Fault],
    may_miss: usize,
    prepare: impl Fn() -> S + Sync,
    run: impl for<'a> Fn(&'a S) -> Run<'a> + Sync,
    judge: impl Fn(&S, &Fault, &Ran) -> String + Sync,
) {
    let lines = in_parallel(faults, 4, |fault| match fault.in_run(&prepare, &run) {
        Some((scene, ran)) => judge(&scene, fault, &ran),
        None => NOT_HIT.to_owned(),
    });
    print(title, faults, may_miss, &lines);
}

/// Counts what came of each case, in all and by error.
fn print(title: &str, faults: &[Fault], may_miss: usize, lines: &[String]) {
    let mut counts: BTreeMap<&str, (usize, BTreeMap<&str, usize>)> = BTreeMap::new();
    for (fault, line) in faults.iter().zip(lines) {
        let (count, errors) = counts.entry(line).or_default();
        *count += 1;
        *errors.entry(fault.error).or_default() += 1;
    }
    println!("{title}: {} faults", faults.len());
    let missed = lines.iter().filter(|line| *line == NOT_HIT).count();
    assert!(missed <= may_miss, "{title}: {missed} were not put in");
    for (line, (count, errors)) in counts {
        let errors: Vec<String> = errors.iter().map(|(error, count)| format!("{error} {count}")).collect();
        println!("  {count:>4} {line} ({})", errors.join(", "));
    }
}
