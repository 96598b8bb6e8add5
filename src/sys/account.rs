//! The account that the process runs as, and whose a path is. The environment is not looked at: it may
//! be that of somebody else (`su`, `sudo`, `runuser`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The account that the process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its name; empty for a number without an account.
    pub name: String,
    /// Its home directory; `None` for a number without an account.
    pub home: Option<PathBuf>,
    /// Its login shell; `None` for a number without an account.
    pub shell: Option<PathBuf>,
}

/// Whether root is somebody here. In a user namespace without it, root and all strangers have one number.
#[must_use]
pub fn maps_root() -> bool {
    static MAPS: OnceLock<bool> = OnceLock::new();
    *MAPS.get_or_init(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.is_empty() || map.lines().any(|line| line.split_ascii_whitespace().next() == Some("0"))
    })
}

impl Account {
    /// Looks it up.
    #[must_use]
    pub fn own() -> Self {
        let uid = nix::unistd::geteuid();
        match nix::unistd::User::from_uid(uid) {
            Ok(Some(user)) => Self {
                uid: uid.as_raw(),
                name: user.name,
                home: Some(user.dir).filter(|home| home.is_absolute()),
                shell: Some(user.shell).filter(|shell| shell.is_absolute()),
            },
            Ok(None) | Err(_) => Self { uid: uid.as_raw(), name: String::new(), home: None, shell: None },
        }
    }

    /// Whether a unit or a cron line that names this user, by name or number, runs as it; one that names nobody is
    /// root's.
    #[must_use]
    pub fn is_meant_by(&self, user: Option<&str>) -> bool {
        user.map_or(self.uid == 0, |user| {
            (!self.name.is_empty() && self.name == user) || user == self.uid.to_string()
        })
    }

    /// Whether a path, or the nearest directory above it that exists, belongs to it.
    #[must_use]
    pub fn owns(&self, path: &Path) -> bool {
        let existing = path.ancestors().find_map(|above| std::fs::metadata(above).ok());
        existing.is_some_and(|above| above.uid() == self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_yet_belongs_to_whom_the_directory_above_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let me = Account::own();
        assert!(me.owns(dir.path()) && me.owns(&dir.path().join("a/b/c")));
        let other = Account { uid: me.uid.wrapping_add(1), ..me };
        assert!(!other.owns(&dir.path().join("a/b/c")));
    }
}
