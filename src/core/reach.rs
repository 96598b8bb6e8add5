//! Why a container cannot read a file that is mounted into it, and what exactly would change that:
//! another user, the mapping of user ids, or a label of SELinux. Facts: user_namespaces(7),
//! container_selinux(8); Docker Engine 20.10.24, Podman 4.3.1.

use std::fmt;

/// Ids as the host counts them, from the container's own process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
}

impl Reader {
    /// Reads `/proc/PID/status`; `None` when it is not understood.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().map_while(|word| word.parse().ok()).collect::<Vec<u32>>())
        };
        // Real, effective, saved, file system: files are opened as the last.
        let last = |name: &str| numbers(name)?.get(3).copied();
        Some(Self { uid: last("Uid:")?, gid: last("Gid:")?, groups: numbers("Groups:").unwrap_or_default() })
    }
}

/// How the user ids of a container are numbers of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    /// Reads `/proc/PID/uid_map`; lines that are not understood count as none.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace().map(|word| word.parse().ok());
            Some((words.next()??, words.next()??, words.next()??))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// True where every id is its own.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.is_empty() || self.0 == [(0, 0, u32::MAX)]
    }

    /// Who an id of the host is in the container; `None` when nobody is.
    #[must_use]
    pub fn inside(&self, host: u32) -> Option<u32> {
        if self.0.is_empty() {
            return Some(host);
        }
        self.0.iter().find_map(|(inside, outside, count)| {
            host.checked_sub(*outside).filter(|at| at < count).and_then(|at| inside.checked_add(at))
        })
    }
}

/// A file as the host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// What is known of a container that was denied a file.
#[derive(Debug, Clone, Default)]
pub struct Consumer {
    /// As whom it runs, where that could be seen.
    pub reader: Option<Reader>,
    /// How its ids are mapped.
    pub ids: IdMap,
    /// The SELinux label of its processes; empty where there is none.
    pub label: String,
    /// The mount was labelled for it already.
    pub is_labelled: bool,
}

/// Why, and what would change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The reason, as the end of a sentence.
    pub why: String,
    /// What a person can do.
    pub next: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.next)
    }
}

/// Why `consumer` cannot read the file at `path`, which `file` is. `may_own` says that the file is made
/// by us with an owner and a mode of its `[[sink]]`.
#[must_use]
pub fn denied(path: &str, file: Held, consumer: &Consumer, may_own: bool) -> Denied {
    let Some(reader) = &consumer.reader else {
        let why = format!(
            "the file belongs to {}:{}, mode {:04o}, and the container runs as somebody else",
            file.uid, file.gid, file.mode
        );
        return Denied { why, next: format!("run the container as user {}:{}", file.uid, file.gid) };
    };
    if is_readable(reader, file) {
        return labelled(path, consumer);
    }
    let owner = consumer.ids.inside(file.uid);
    let mapped = if consumer.ids.is_plain() {
        String::new()
    } else {
        let inside = owner.map_or_else(|| "nobody".to_owned(), |uid| format!("user {uid}"));
        format!(" (user ids are mapped: the owner is {inside} in the container)")
    };
    let why = format!(
        "it runs as {}:{} of this host, the file belongs to {}:{}, mode {:04o}{mapped}",
        reader.uid, reader.gid, file.uid, file.gid, file.mode
    );
    let next = if may_own {
        // A group is the smaller step: the owner stays who writes it.
        format!("group = \"{}\" and mode = \"0640\" in its [[sink]]", reader.gid)
    } else {
        match owner {
            Some(uid) if consumer.ids.is_plain() => {
                format!("run the container as user {uid}:{} (user: in compose)", file.gid)
            }
            Some(uid) => format!("run the container as user {uid} (user: in compose)"),
            None => format!(
                "run it with ids that are the host's (userns_mode: host in compose, --userns=keep-id with podman), \
                 or give it a sink of its own, a view with owner = \"{}\"",
                reader.uid
            ),
        }
    };
    Denied { why, next }
}

/// The mode lets it, and it cannot: a label, or a directory on the way.
fn labelled(path: &str, consumer: &Consumer) -> Denied {
    if consumer.label.is_empty() {
        let why = "its mode would let the container; a directory above it does not".to_owned();
        return Denied { why, next: format!("namei -l {path}") };
    }
    // system_u:system_r:container_t:s0:c1,c2
    let kind = consumer.label.split(':').nth(2).unwrap_or("container_t");
    let why = format!("SELinux keeps {kind} from it");
    let next = if consumer.is_labelled {
        format!("chcon --type container_file_t {path}, or restorecon after a copy from elsewhere")
    } else {
        format!(
            "mount it with :z (--volume, or volumes in compose; not --mount), or: chcon --type container_file_t {path}"
        )
    };
    Denied { why, next }
}

fn is_readable(reader: &Reader, file: Held) -> bool {
    let bits = |shift: u32| file.mode >> shift & 0o4 != 0;
    match () {
        () if reader.uid == file.uid => bits(6),
        () if reader.gid == file.gid || reader.groups.contains(&file.gid) => bits(3),
        () => bits(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICES: Held = Held { uid: 1000, gid: 1000, mode: 0o600 };

    fn consumer(status: &str, map: &str) -> Consumer {
        Consumer { reader: Reader::parse(status), ids: IdMap::parse(map), ..Consumer::default() }
    }

    fn as_user(uid: u32) -> String {
        format!(
            "Name:\tnode\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nGroups:\t{uid} 20 \n"
        )
    }

    #[test]
    fn another_user_is_named_with_the_user_that_would_do() {
        let told = denied("/home/alice/x", ALICES, &consumer(&as_user(4242), "0 0 4294967295\n"), false);
        assert_eq!(told.why, "it runs as 4242:4242 of this host, the file belongs to 1000:1000, mode 0600");
        assert_eq!(told.next, "run the container as user 1000:1000 (user: in compose)");
        let told = denied("/home/alice/x", ALICES, &consumer(&as_user(4242), ""), true);
        assert_eq!(told.next, "group = \"4242\" and mode = \"0640\" in its [[sink]]");
    }

    #[test]
    fn a_mapping_is_named_with_who_the_owner_is_inside() {
        // userns-remap: 0 inside is 100000 outside; the owner is nobody there.
        let told = denied("/x", ALICES, &consumer(&as_user(100_000), "0 100000 65536\n"), false);
        assert!(told.why.ends_with("(user ids are mapped: the owner is nobody in the container)"), "{told}");
        assert!(
            told.next.contains("userns_mode: host") && told.next.contains("owner = \"100000\""),
            "{told}"
        );
        // Rootless: 0 inside is the user, n is a subordinate one.
        let rootless = "0 1000 1\n1 100000 65536\n";
        let told = denied("/x", ALICES, &consumer(&as_user(100_999), rootless), false);
        assert!(told.why.ends_with("(user ids are mapped: the owner is user 0 in the container)"), "{told}");
        assert_eq!(told.next, "run the container as user 0 (user: in compose)");
        assert_eq!(IdMap::parse(rootless).inside(100_999), Some(1000));
    }

    #[test]
    fn what_the_mode_allows_and_a_label_forbids_is_told_with_the_label() {
        let mut labelled = consumer(&as_user(1000), "0 0 4294967295");
        let told = denied("/x", ALICES, &labelled, false);
        assert_eq!(told.next, "namei -l /x");
        labelled.label = "system_u:system_r:container_t:s0:c134,c700".to_owned();
        let told = denied("/x", ALICES, &labelled, false);
        assert_eq!(told.why, "SELinux keeps container_t from it");
        assert_eq!(
            told.next,
            "mount it with :z (--volume, or volumes in compose; not --mount), or: chcon --type container_file_t /x"
        );
        labelled.is_labelled = true;
        assert!(denied("/x", ALICES, &labelled, false).next.starts_with("chcon --type container_file_t /x"));
    }

    #[test]
    fn a_group_that_may_read_is_no_reason() {
        let file = Held { gid: 20, mode: 0o640, ..ALICES };
        assert_eq!(denied("/x", file, &consumer(&as_user(4242), ""), false).next, "namei -l /x");
        // Its own user comes before the group.
        let file = Held { mode: 0o040, ..ALICES };
        assert!(denied("/x", file, &consumer(&as_user(1000), ""), false).why.contains("mode 0040"));
    }

    #[test]
    fn who_cannot_be_seen_is_somebody_else() {
        let told = denied("/x", ALICES, &consumer("garbage", "garbage"), false);
        assert_eq!(told.next, "run the container as user 1000:1000");
    }
}
