//! Where log lines go: structured fields to the journal when our standard error is connected to
//! it (`JOURNAL_STREAM`), readable lines to standard error otherwise.

use std::os::fd::AsFd;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::paths::Surroundings;

/// Sets up logging for the process. `TOKENSINK_LOG` names the level (`error` … `trace`; default
/// `info`); a word that is none is ignored.
pub fn init(surroundings: &Surroundings, default: Level) {
    let level = surroundings.variable("TOKENSINK_LOG").and_then(|l| l.parse().ok()).unwrap_or(default);
    let filter = LevelFilter::from_level(level);
    if is_journal(surroundings)
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(None).with_syslog_identifier("tokensink".into());
        tracing_subscriber::registry().with(only_ours(journal, filter)).init();
        return;
    }
    let stderr =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    tracing_subscriber::registry().with(only_ours(stderr, filter)).init();
}

/// Lines of other crates are not for the reader of this journal, and could quote what we must not.
fn only_ours<S, L>(layer: L, filter: LevelFilter) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    L: Layer<S>,
{
    let ours = tracing_subscriber::filter::filter_fn(|meta| meta.target().starts_with("tokensink"));
    layer.with_filter(ours).with_filter(filter)
}

/// True when standard error is the journal: `JOURNAL_STREAM` names its device and inode.
fn is_journal(surroundings: &Surroundings) -> bool {
    let Some((device, inode)) = surroundings.variable("JOURNAL_STREAM").and_then(|s| s.split_once(':'))
    else {
        return false;
    };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr().as_fd()) else { return false };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}
