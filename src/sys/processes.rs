//! Other processes, as `/proc` shows them: whose they are, what they run, which variables they have. The
//! values of variables are read into memory that is wiped, and only those that are asked for by name leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Processes looked at, at most.
const LIMIT: usize = 4096;
/// As much of an environment as is read, in bytes; the kernel allows 32 times that for one process.
const ENVIRONMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// The environment that a process was started with. What it set for itself later is not to be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Variables that have a value, by name.
    pub names: BTreeSet<String>,
    /// The values of those that were asked for.
    pub values: BTreeMap<String, String>,
}

impl Environment {
    /// Reads assignments; empty values count as unset.
    pub fn of<'a>(assignments: impl Iterator<Item = &'a [u8]>, wanted: &dyn Fn(&str) -> bool) -> Self {
        let mut environment = Self::default();
        for assignment in assignments {
            let Ok(text) = std::str::from_utf8(assignment) else { continue };
            let Some((name, value)) = text.split_once('=').filter(|(_, value)| !value.is_empty()) else {
                continue;
            };
            environment.names.insert(name.to_owned());
            if wanted(name) {
                environment.values.insert(name.to_owned(), value.to_owned());
            }
        }
        environment
    }
}

/// The environment of a process, with the values of variables for which `wanted` holds; `None` where it
/// is not ours to read.
#[must_use]
pub fn environment(pid: u32, wanted: &dyn Fn(&str) -> bool) -> Option<Environment> {
    let file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    // Room from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(256 * 1024));
    file.take(ENVIRONMENT_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(Environment::of(bytes.split(|byte| *byte == 0), wanted))
}

/// The user that a process runs as.
#[must_use]
pub fn user(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|meta| meta.uid())
}

/// The program of a process, and whether its file was replaced or removed since; `None` where it is not
/// ours to see.
#[must_use]
pub fn program(pid: u32) -> Option<(PathBuf, bool)> {
    let link = format!("/proc/{pid}/exe");
    let target = std::fs::read_link(&link).ok()?;
    let text = target.to_string_lossy();
    let named = text.strip_suffix(" (deleted)").map(PathBuf::from);
    Some(match named {
        Some(path) => (path, true),
        None => (target, false),
    })
}

/// The processes of a user whose program is called `name` and whose first argument is `argument`.
#[must_use]
pub fn running(uid: u32, name: &str, argument: &str) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).skip(1);
        // Options of ours may stand before it.
        comm.trim_end() == name && words.any(|word| word == argument.as_bytes())
    };
    all(uid).filter(is_one).collect()
}

/// The inotify instances and watches of a user, as far as we may see.
#[must_use]
pub fn inotify_use(uid: u32) -> (u64, u64) {
    let (mut instances, mut watches) = (0, 0);
    for pid in all(uid) {
        for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:inotify") {
                instances += 1;
                let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy());
                let info = std::fs::read_to_string(info).unwrap_or_default();
                watches += info.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
            }
        }
    }
    (instances, watches)
}

fn all(uid: u32) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten().take(LIMIT);
    let pids =
        entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    pids.filter(move |pid| user(*pid) == Some(uid))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn of_an_environment_names_are_seen_and_only_wanted_values() {
        let mut child = Command::new("sleep")
            .arg("infinity")
            .env_clear()
            .envs([("HOME", "/h"), ("A_TOKEN", "made-up"), ("EMPTY", "")])
            .spawn()
            .unwrap();
        let seen = environment(child.id(), &|name| name == "HOME").unwrap();
        let (program, is_replaced) = program(child.id()).unwrap();
        let owner = user(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen.names.into_iter().collect::<Vec<_>>(), ["A_TOKEN", "HOME"]);
        assert_eq!(seen.values, BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]));
        assert!(program.is_absolute() && !is_replaced);
        assert_eq!(owner, Some(nix::unistd::geteuid().as_raw()));
        assert_eq!(environment(child.id(), &|_| true), None);
    }

    #[test]
    fn inotify_instances_and_their_watches_are_counted() {
        let uid = nix::unistd::geteuid().as_raw();
        let inotify = inotify::Inotify::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        inotify.watches().add(dir.path(), inotify::WatchMask::CREATE).unwrap();
        let (instances, watches) = inotify_use(uid);
        assert!(instances >= 1 && watches >= 1, "{instances} {watches}");
    }
}
