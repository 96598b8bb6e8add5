//! The rest of the host: limits of inotify, logs that cannot be read, stores of OpenClaw that nobody uses.

use super::facts::{Facts, Stray};
use super::{Examined, Subject};
use crate::base::code::Code;

/// From this share of a limit on it is nearly used up, in percent.
const NEARLY: u64 = 90;

/// Limits that the next program may run into.
pub fn inotify(facts: &Facts) -> Option<Vec<Examined>> {
    let inotify = facts.inotify?;
    let limits =
        [("max_user_instances", inotify.instances, 512), ("max_user_watches", inotify.watches, 524_288)];
    let near = limits.into_iter().filter(|(_, (used, most), _)| *most > 0 && used * 100 >= most * NEARLY);
    let findings = near.map(|(name, (used, most), more)| {
        let what = format!("{used} of {most} are used: the daemon may not be able to watch, and polls then");
        let more = (most * 2).max(more);
        Examined::notice(Code::InotifyLimit, Subject::Host(name), what)
            .seen(format!("fs.inotify.{name} = {most}"))
            .next(format!("sudo sysctl fs.inotify.{name}={more}, and the same in /etc/sysctl.d"))
    });
    Some(findings.collect())
}

/// Logs that are to be heard and cannot be read.
pub fn journals(facts: &Facts) -> Option<Vec<Examined>> {
    let findings = facts.logs.iter().filter_map(|log| {
        let why = log.unreadable.as_ref()?;
        let what = "`unauthorized` is set, and its log cannot be read: a 401 in it is never heard of";
        let next = format!("sudo usermod --append --groups systemd-journal {}, then log in anew", facts.user);
        let subject = Subject::Gateway(log.gateway.clone());
        Some(Examined::warning(Code::JournalUnreadable, subject, what).seen(why.clone()).next(next))
    });
    (!facts.logs.is_empty()).then(|| findings.collect())
}

/// JSON stores beside a database, of instances that no sink is configured for.
pub fn retired_stores(facts: &Facts) -> Option<Vec<Examined>> {
    let is_retired = |stray: &&Stray| stray.has_database && !stray.stores.is_empty();
    let findings = facts.strays.iter().filter(is_retired).map(|stray| {
        let release = stray.release.as_ref().map_or_else(String::new, |release| format!(" {release}"));
        let what = format!(
            "this OpenClaw{release} keeps credentials in SQLite, and JSON stores of before lie beside it: what is \
             written there is read by nobody, and some releases do not start over it"
        );
        Examined::notice(Code::StoreRetired, Subject::Path(stray.state_dir.clone()), what)
            .seen(format!("a database, and {}", stray.stores.join(", ")))
            .next("move them away once OpenClaw has imported them; a sink of kind openclaw supplies it")
    });
    Some(findings.collect())
}
