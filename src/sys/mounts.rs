//! Which mount a path is on, by the kernel's own list. Source: proc_pid_mountinfo(5), Linux 6.18.

use std::io;
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
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

/// The mount that `path` (absolute, without links) is on: the deepest one, and of several at one
/// place the last.
#[must_use]
pub fn of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime tags - type source rw,super`.
fn line(line: &str) -> Option<Mount> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (point, options) = (mount.next()?, mount.next()?);
    let mut system = system.split(' ');
    let kind = system.next()?;
    let of_system = system.nth(1).unwrap_or_default();
    let is_read_only = [options, of_system].iter().any(|list| list.split(',').any(|option| option == "ro"));
    Some(Mount { point: PathBuf::from(unescaped(point)), kind: kind.to_owned(), is_read_only })
}

/// Space, tab, line end and backslash are written as three octal digits.
fn unescaped(text: &str) -> String {
    const ESCAPES: [(&str, &str); 4] = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    ESCAPES.iter().fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
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
        let mounts = parse(text);
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
}
