//! Places: what kind of mount, file system, link and owner the files of sources and sinks have, and our own
//! directories.

use super::facts::{Facts, OwnerFacts, PlaceFacts, PlaceOf};
use super::{Examined, Subject};
use crate::base::code::Code;

/// File systems that are gone with the machine's memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// Mode bits of group and others.
const OF_OTHERS: u32 = 0o077;

impl PlaceFacts {
    fn subject(&self) -> Subject {
        match &self.of {
            PlaceOf::Source(login) => Subject::Login(login.clone()),
            PlaceOf::Sink(sink) => Subject::Sink(sink.clone()),
            PlaceOf::Own => Subject::Path(self.path.clone()),
        }
    }

    const fn is_source(&self) -> bool {
        matches!(self.of, PlaceOf::Source(_))
    }

    fn on(&self) -> String {
        self.mount.as_ref().map_or_else(
            || self.path.clone(),
            |mount| format!("{} is on {} ({})", self.path, mount.point, mount.kind),
        )
    }
}

fn each(facts: &Facts, judge: impl Fn(&PlaceFacts) -> Option<Examined>) -> Option<Vec<Examined>> {
    (!facts.places.is_empty()).then(|| facts.places.iter().filter_map(judge).collect())
}

/// Mounts on which nothing can be written.
pub fn read_only(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        place.mount.as_ref().filter(|mount| mount.is_read_only)?;
        let what = match place.of {
            PlaceOf::Source(_) => {
                "the login is on a read-only mount: a refresh would spend its token and could not store the answer"
            }
            PlaceOf::Sink(_) => "the sink is on a read-only mount: it never gets a new token",
            PlaceOf::Own => "our own directory is on a read-only mount: nothing can be remembered",
        };
        let finding = Examined::warning(Code::ReadOnlyMount, place.subject(), what).seen(place.on());
        Some(finding.next("mount its directory writable, or refresh where the login is written"))
    })
}

/// Logins that are gone with their container or with the machine's memory.
pub fn copied(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let mount = place.mount.as_ref().filter(|_| place.is_source())?;
        let is_layer = mount.point == "/" && mount.kind == "overlay";
        let is_memory = IN_MEMORY.contains(&mount.kind.as_str());
        let what = match () {
            () if is_layer => {
                "the login is in the container's own layer, a copy: it is gone with the container, and \
                               whoever refreshes the original logs it out"
            }
            () if is_memory => "the login is in memory only: it is gone with the next start of the machine",
            () => return None,
        };
        let finding = Examined::warning(Code::CopiedLogin, place.subject(), what).seen(place.on());
        Some(finding.next("mount the directory of the login from the host"))
    })
}

/// A single file that is a mount point cannot be renamed over.
pub fn mounted_files(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let mount = place.mount.as_ref().filter(|mount| mount.is_file)?;
        let what = if place.is_source() {
            "the login's file is a mount of its own: its CLI cannot replace it, and a refresh may be lost"
        } else {
            "the sink's file is a mount of its own: it is rewritten in place, which a reader may see half done"
        };
        let finding = if place.is_source() { Examined::warning } else { Examined::notice };
        let finding = finding(Code::MountedFile, place.subject(), what.to_owned()).seen(place.on());
        Some(finding.next(format!("mount the directory of {} instead of the file", mount.point)))
    })
}

/// Links that became files, and links that lead nowhere.
pub fn links(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let finding = |what: &str| Examined::warning(Code::LinkDrift, place.subject(), what);
        match (&place.link, &place.led_to, &place.file) {
            (Some(link), _, _) if link.dangles => {
                let finding =
                    finding("the link leads nowhere").seen(format!("{} -> {}", place.path, link.target));
                Some(finding.next(format!("ls -l {}", place.path)))
            }
            (None, Some(before), Some(_)) => {
                let what = "it was a link and is a file of its own now: whoever reads the other end does not see \
                            what is written here";
                let finding = finding(what).seen(format!("{} led to {before}", place.path));
                Some(finding.next(format!("ln -sfn {before} {}, once its content is there", place.path)))
            }
            _ => None,
        }
    })
}

/// Files that belong to somebody else, in directories that are not ours to write. Root writes everywhere.
pub fn owners(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let is_other = |owner: &OwnerFacts| owner.uid != facts.uid;
        // A sink's file may be anybody's: where its directory may be written, it is replaced by one of ours.
        let file = place.file.filter(|file| is_other(file) && !matches!(place.of, PlaceOf::Sink(_)));
        let directory = place.directory.filter(|directory| is_other(directory) && !directory.is_writable);
        let (owner, part) = match (file, directory) {
            (Some(file), _) => (file, "it"),
            (None, Some(directory)) => (directory, "its directory"),
            (None, None) => return None,
        };
        let what = format!("{part} belongs to user {}, and this is user {}", owner.uid, facts.uid);
        let finding = Examined::warning(Code::OwnerDiffers, place.subject(), what);
        let evidence = format!("{}: owner {}, mode {:04o}", place.path, owner.uid, owner.mode);
        Some(finding.seen(evidence).next(format!("sudo chown {} {}", facts.user, place.path)))
    })
}

/// Our own directories and files, where others may look.
pub fn modes(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let file = place.file.filter(|file| place.is_private && file.mode & OF_OTHERS != 0)?;
        let what = format!("others may look into {}: what is there is for its owner alone", place.path);
        let finding = Examined::warning(Code::ModeTooWide, place.subject(), what);
        let finding = finding.seen(format!("mode {:04o}", file.mode));
        Some(finding.next(format!("chmod go= {}", place.path)))
    })
}

/// File systems on which inotify tells nothing of what others change.
pub fn without_inotify(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let kind = place.blind?;
        let what = format!(
            "inotify does not tell of changes that others make on {kind}: it is looked at every 5 seconds"
        );
        Some(Examined::notice(Code::NoInotify, place.subject(), what).seen(place.on()))
    })
}

/// Locks of one host are none for another.
pub fn unsafe_locks(facts: &Facts) -> Option<Vec<Examined>> {
    each(facts, |place| {
        let kind = place.blind.filter(|_| place.is_source() || place.of == PlaceOf::Own)?;
        let what = format!(
            "locks on {kind} may not keep other hosts out: two that refresh this login log each other out"
        );
        let finding = Examined::notice(Code::LocksUnsafe, place.subject(), what).seen(place.on());
        let cause = place.subject().to_string();
        let finding = finding.because_of(Code::NoInotify, &cause);
        Some(finding.next("let one host refresh: [login.refresh] mode = \"off\" on the others"))
    })
}
