//! Best-effort looks at `/proc`: whether a program or a process of ours runs, and who may have written
//! a file, the latter only when somebody overwrote a sink. inotify does not say who; a process that
//! still has the file open, or whose command line names it, is a suspect and is called one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Programs of the shell solutions that tokensink replaces; a running one explains an overwrite.
const KNOWN_SYNCERS: [&str; 3] = ["sync-oauth-token", "sync-claude-code-auth", "auth-sync"];
/// Processes looked at, at most.
const LIMIT: usize = 4096;

/// Names a process that probably wrote `path`: `sync-oauth-token.sh (pid 4711)`.
#[must_use]
pub fn suspect(path: &Path) -> Option<String> {
    let identity = std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let ours = std::process::id();
    let mut by_command = None;
    for entry in std::fs::read_dir("/proc").ok()?.flatten().take(LIMIT) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == ours {
            continue;
        }
        let process = entry.path();
        if has_open(&process, identity) {
            return Some(name_of(&process, pid));
        }
        if by_command.is_none() && mentions(&process, path) {
            by_command = Some(name_of(&process, pid));
        }
    }
    by_command
}

/// True when a program of that name runs for this user. CLIs in other languages name their process
/// after themselves as well (Claude Code 2.1.112 and 2.1.329 do).
#[must_use]
pub fn runs(name: &str) -> bool {
    let user = nix::unistd::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().take(LIMIT).any(|entry| {
        let is_process = entry.file_name().to_str().is_some_and(|n| n.parse::<u32>().is_ok());
        is_process
            && std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
            && entry.metadata().is_ok_and(|meta| meta.uid() == user)
    })
}

/// True while a process runs, as far as we may see, in whose environment `variable` is `value`.
#[must_use]
pub fn runs_with(variable: &str, value: &Path) -> bool {
    let wanted = [variable.as_bytes(), b"=", value.as_os_str().as_encoded_bytes()].concat();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok()).any(|environment| {
        zeroize::Zeroizing::new(environment).split(|byte| *byte == 0).any(|one| one == wanted)
    })
}

/// The command lines of this user's processes, our own left out: a process number and its words. They
/// may hold secrets and are not to be shown.
#[must_use]
pub fn own_commands() -> Vec<(u32, Vec<String>)> {
    let user = nix::unistd::geteuid().as_raw();
    let ours = std::process::id();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().take(LIMIT);
    let command = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let is_own = entry.metadata().is_ok_and(|meta| meta.uid() == user) && pid != ours;
        let line = is_own.then(|| std::fs::read(entry.path().join("cmdline")).ok())??;
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some((pid, words.filter(|word| !word.is_empty()).collect()))
    };
    processes.filter_map(command).collect()
}

/// The service that a process belongs to, and whether it is one of a user's manager.
#[must_use]
pub fn unit_of(pid: u32) -> Option<(String, bool)> {
    unit_in(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// `0::/user.slice/user-1000.slice/user@1000.service/app.slice/NAME.service`
fn unit_in(cgroup: &str) -> Option<(String, bool)> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (above, name) = path.rsplit_once('/')?;
    let is_service = name.ends_with(".service") && !name.starts_with("user@");
    is_service.then(|| (name.to_owned(), above.contains("/user@")))
}

fn has_open(process: &Path, identity: Option<(u64, u64)>) -> bool {
    let Ok(open) = std::fs::read_dir(process.join("fd")) else { return false };
    open.flatten()
        .filter_map(|fd| std::fs::metadata(fd.path()).ok())
        .any(|meta| meta.is_file() && Some((meta.dev(), meta.ino())) == identity)
}

fn mentions(process: &Path, path: &Path) -> bool {
    let Ok(command) = std::fs::read(process.join("cmdline")) else { return false };
    let command = String::from_utf8_lossy(&command).into_owned();
    KNOWN_SYNCERS.iter().any(|name| command.contains(name))
        || path.to_str().is_some_and(|path| command.split('\0').any(|argument| argument == path))
}

/// The script or program, without its arguments: those may hold secrets.
fn name_of(process: &Path, pid: u32) -> String {
    let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let mut words = command.split(|b| *b == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let script = words.next().unwrap_or_default();
    let is_shell = ["sh", "bash", "dash", "python3", "node"].contains(&program.as_str());
    let shown = if is_shell && !script.is_empty() && !script.starts_with('-') {
        script.rsplit('/').next().unwrap_or_default().to_owned()
    } else {
        program
    };
    let shown: String = shown.chars().filter(|c| !c.is_control()).take(40).collect();
    format!("{shown} (pid {pid})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_service_that_its_control_group_names() {
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/old-sync.service\n";
        assert_eq!(unit_in(user), Some(("old-sync.service".into(), true)));
        assert_eq!(unit_in("0::/system.slice/old.service"), Some(("old.service".into(), false)));
        for none in ["", "0::/", "0::/user.slice/user-0.slice/session-1.scope", "1:name=x:/a.service"] {
            assert_eq!(unit_in(none), None, "{none}");
        }
        assert_eq!(unit_in("0::/user.slice/user-0.slice/user@0.service"), None, "the manager itself");
    }
}
