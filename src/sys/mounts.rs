//! Which mount a path is on, by the kernel's own list. Source: proc_pid_mountinfo(5), Linux 6.18.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// The type of file system, such as `ext4` or `fuse.sshfs`.
    pub kind: String,
    /// The mount or its file system is read-only.
    pub is_read_only: bool,
}

/// The mounts that this process sees, in the order in which they were made.
///
/// # Errors
/// As reading the list fails.
pub fn list() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mount that `path` (absolute, without links) is on: the deepest one, and of several at one
/// place the last.
#[must_use]
pub fn of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// The mounts in that list. Bytes: whoever may mount anything may give it a name that is no text, and
/// one such name must not hide all others.
#[must_use]
pub fn parse(list: &[u8]) -> Vec<Mount> {
    list.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime tags - type source rw,super`.
fn line(line: &[u8]) -> Option<Mount> {
    let mut columns = line.split(|byte| *byte == b' ').skip(4);
    let (point, options) = (columns.next()?, columns.next()?);
    // The columns between are as many as there are tags.
    let mut system = columns.skip_while(|column| *column != b"-").skip(1);
    let kind = system.next()?;
    let of_system = system.nth(1).unwrap_or_default();
    let is_read_only = [options, of_system]
        .iter()
        .any(|list| list.split(|byte| *byte == b',').any(|option| option == b"ro"));
    let kind = String::from_utf8_lossy(kind).into_owned();
    Some(Mount { point: PathBuf::from(OsString::from_vec(unescaped(point))), kind, is_read_only })
}

/// Space, tab, line end and backslash are written as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    const ESCAPES: [(&[u8], u8); 4] =
        [(b"\\040", b' '), (b"\\011", b'\t'), (b"\\012", b'\n'), (b"\\134", b'\\')];
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escape = ESCAPES.iter().find_map(|(escape, byte)| Some((*byte, rest.strip_prefix(*escape)?)));
        let (byte, after) = escape.unwrap_or((*first, after));
        out.push(byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_the_deepest_mount_and_the_last_one_at_a_place() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                    30 22 0:26 / /home/a\\040b rw - tmpfs none ro,size=1k\n\
                    31 22 8:1 /x /home/a\\040b/f rw - ext4 /dev/sda1 rw\n\
                    32 22 8:1 /y /home/a\\040b/f ro master:2 - ext4 /dev/sda1 rw\n\
                    33 22 0:30 / /home/a\\040bc rw - fuse.sshfs a:/ rw\nnonsense\n";
        let mounts = parse(text.as_bytes());
        let at = |path: &str| {
            let mount = of(&mounts, Path::new(path)).unwrap();
            (mount.point.display().to_string(), mount.kind.clone(), mount.is_read_only)
        };
        assert_eq!(at("/etc/x"), ("/".into(), "ext4".into(), false));
        assert_eq!(at("/home/a b/g"), ("/home/a b".into(), "tmpfs".into(), true));
        assert_eq!(at("/home/a b/f"), ("/home/a b/f".into(), "ext4".into(), true));
        assert_eq!(at("/home/a bc/g"), ("/home/a bc".into(), "fuse.sshfs".into(), false));
        assert!(of(&list().unwrap(), Path::new("/proc/self")).unwrap().kind == "proc");
    }

    #[test]
    fn a_mount_whose_name_is_no_text_hides_no_other() {
        let list = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:26 / /t/\xff rw - fuse.x s rw\n\
            31 22 0:27 / /home/a\\134040 rw - nfs4 s:/ ro\n";
        let mounts = parse(list);
        assert_eq!(mounts.len(), 3);
        let at = |path: &str| of(&mounts, Path::new(path)).map(|mount| mount.kind.as_str());
        assert_eq!((at("/etc"), at("/home/a\\040/x")), (Some("ext4"), Some("nfs4")));
    }
}
