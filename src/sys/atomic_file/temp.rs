//! Names of our temporary files, and which of them a dead writer left behind.
//!
//! `.tokensink.<target>.<boot>-<namespace>-<pid>-<start>-<random>.tmp`: the boot id (shortened),
//! the PID namespace, the process and its start time in clock ticks. Same boot and namespace:
//! the writer is alive exactly if that process with that start time exists. Anything else (after
//! a reboot, from a container on a shared volume, from another host on a network file system)
//! cannot be judged and goes by age. A lock on the file would need an open descriptor per staged
//! file and means nothing on network file systems. `.copy` in place of `.tmp` is the verified
//! copy of an in-place rewrite, `.before` what was there; only `recover` removes those.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::directory::Parent;
use crate::base::time::Timestamp;
use crate::sys::clock;

const PREFIX: &[u8] = b".tokensink.";
pub(super) const TEMP_SUFFIX: &[u8] = b".tmp";
pub(super) const COPY_SUFFIX: &[u8] = b".copy";
pub(super) const BEFORE_SUFFIX: &[u8] = b".before";

/// A name has at most 255 bytes; prefix, writer and suffix need up to 75 of them.
const MAX_TARGET: usize = 160;

/// True when `path` names a temporary file for a target of that name, whoever wrote it.
#[must_use]
pub fn is_temp_of(path: &Path, target: &OsStr) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(target.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(TEMP_SUFFIX))
}

/// This process, as it is written into names.
fn writer() -> &'static str {
    static WRITER: OnceLock<String> = OnceLock::new();
    WRITER.get_or_init(|| {
        let pid = std::process::id();
        format!("{}-{}-{pid}-{}", boot(), namespace(), start_of(pid).unwrap_or(0))
    })
}

/// First eight digits of the boot id; `0` where it cannot be read.
fn boot() -> String {
    let start = clock::boot_id().get(..8).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit()));
    start.unwrap_or("0").to_owned()
}

/// Number of the PID namespace; `0` where it cannot be read.
fn namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid")
        .ok()
        .and_then(|link| {
            let text = link.to_str()?;
            Some(text.strip_prefix("pid:[")?.strip_suffix(']')?.to_owned())
        })
        .unwrap_or_else(|| "0".into())
}

/// When a process started, in clock ticks since boot. `None`: there is no such process, or only
/// what nobody has collected of it yet.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; start is field 22.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A fresh name for a temporary file of `target`.
pub(super) fn name_for(target: &OsStr) -> Result<OsString, Errno> {
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random).map_err(|_| Errno::EIO)?;
    let mut name = prefix_for(target);
    name.extend_from_slice(format!("{}-{:08x}", writer(), u32::from_ne_bytes(random)).as_bytes());
    name.extend_from_slice(TEMP_SUFFIX);
    Ok(OsString::from_vec(name))
}

/// The name of the verified copy that the temporary file `temp` becomes.
pub(super) fn copy_name(temp: &OsStr) -> OsString {
    let stem = temp.as_bytes().strip_suffix(TEMP_SUFFIX).unwrap_or(temp.as_bytes());
    OsString::from_vec([stem, COPY_SUFFIX].concat())
}

/// The name of what the target held, beside the temporary file or copy of that name.
pub(super) fn before_name(beside: &OsStr) -> OsString {
    let name = beside.as_bytes();
    let stem = [TEMP_SUFFIX, COPY_SUFFIX].iter().find_map(|suffix| name.strip_suffix(*suffix));
    OsString::from_vec([stem.unwrap_or(name), BEFORE_SUFFIX].concat())
}

/// How every temporary file of `target` begins.
fn prefix_for(target: &OsStr) -> Vec<u8> {
    let target = target.as_bytes();
    let kept = target.get(..MAX_TARGET).unwrap_or(target);
    [PREFIX, kept, b"."].concat()
}

/// What a file name says about its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// Not one of our names.
    NotOurs,
    Alive,
    Dead,
    /// Ours, from a boot or namespace whose processes cannot be asked.
    Unknown,
}

/// True for a name that this very process gave.
pub(super) fn is_own(name: &OsStr) -> bool {
    let tag = format!(".{}-", writer());
    name.as_bytes().windows(tag.len()).any(|part| part == tag.as_bytes())
}

/// Judges `name` if it ends in `suffix`, belongs to `target` (any, if `None`) and is our pattern.
pub(super) fn judge(name: &OsStr, target: Option<&OsStr>, suffix: &[u8]) -> Writer {
    parse(name.as_bytes(), target, suffix).unwrap_or(Writer::NotOurs)
}

fn parse(name: &[u8], target: Option<&OsStr>, suffix: &[u8]) -> Option<Writer> {
    let stem = name.strip_prefix(PREFIX)?.strip_suffix(suffix)?;
    let dot = stem.iter().rposition(|b| *b == b'.')?;
    if let Some(target) = target
        && name.get(..PREFIX.len() + dot + 1)? != prefix_for(target)
    {
        return None;
    }
    let tag = std::str::from_utf8(stem.get(dot + 1..)?).ok()?;
    let mut fields = tag.split('-');
    let (boot_id, ns, pid, start, random) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (pid, start): (u32, u64) = (pid.parse().ok()?, start.parse().ok()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if fields.next().is_some() || dot == 0 || random.len() != 8 || !hex(random) || !hex(boot_id) {
        return None;
    }
    if boot_id == "0" || ns == "0" || start == 0 || boot_id != boot() || ns != namespace() {
        return Some(Writer::Unknown);
    }
    Some(if start_of(pid) == Some(start) { Writer::Alive } else { Writer::Dead })
}

/// Removes temporary files that dead writers left in `dir`: our name pattern, regular, owned by
/// our user. A provably dead writer's file goes at once, one that cannot be judged when its last
/// change is more than `unknown_after` before `now`. Returns what was removed.
///
/// # Errors
/// When the directory cannot be read; a missing directory has nothing to remove and is no error.
/// A single file that cannot be removed is skipped.
pub fn remove_stale_temps(dir: &Path, unknown_after: Duration, now: Timestamp) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let writer = judge(&name, None, TEMP_SUFFIX);
        if !matches!(writer, Writer::Dead | Writer::Unknown) {
            continue;
        }
        // Not followed: the metadata of a directory entry is that of a link itself.
        let Ok(stat) = entry.metadata() else { continue };
        let age = stat.modified().map(|at| now.since(at.into())).unwrap_or_default();
        if !stat.is_file()
            || stat.uid() != geteuid().as_raw()
            || (writer == Writer::Unknown && age < unknown_after)
        {
            continue;
        }
        let Ok((_, fd)) = Parent::open(&dir.canonicalize()?) else { continue };
        if unlinkat(&fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir).is_ok() {
            removed.push(entry.path());
        }
    }
    Ok(removed)
}
