//! Alerting from the journal alone, as `docs/journal.md` and the example units have it.

use super::support::nspawn::BootedDebian;
use super::support::world::SOURCE;

const DOCUMENT: &str = include_str!("../../docs/journal.md");
const UNITS: [(&str, &str); 3] = [
    ("tokensink-failed@.service", include_str!("../../packaging/examples/tokensink-failed@.service")),
    ("tokensink-watch.service", include_str!("../../packaging/examples/tokensink-watch.service")),
    ("tokensink.service.d/failed.conf", include_str!("../../packaging/examples/failed.conf")),
];

/// Every filter of the table, with what it is for.
fn filters() -> Vec<(&'static str, &'static str)> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `journalctl"));
    rows.map(|(what, rest)| (what, rest.split('`').next().unwrap().trim())).collect()
}

/// What happened by then is found by its filter, and a filter for what did not finds nothing.
#[track_caller]
pub fn assert_filters_find(debian: &BootedDebian, happened: &[&str]) {
    let filters = filters();
    assert!(filters.len() >= 12, "{filters:?}");
    debian.exec_root("journalctl --sync").ok();
    let finds = |filter: &str| {
        let found = debian.exec_user(&format!("journalctl --quiet --no-pager -o cat {filter}"));
        !found.ok().is_empty()
    };
    let found: Vec<&str> =
        filters.iter().filter(|(_, filter)| finds(filter)).map(|(what, _)| *what).collect();
    assert_eq!(found, happened, "in the order of the document");
}

/// A dead login is handed to the command of one example unit, a daemon that cannot start is told by the other.
#[track_caller]
pub fn assert_examples_tell(debian: &BootedDebian) {
    for (name, text) in UNITS {
        debian.write_user(&format!(".config/systemd/user/{name}"), text);
    }
    let verify = "cd ~/.config/systemd/user && systemd-analyze --user --man=no verify tokensink-failed@x.service tokensink-watch.service";
    assert_eq!(debian.exec_user(verify).both().trim(), "");
    debian.exec_user("systemctl --user daemon-reload; systemctl --user start tokensink-watch").ok();
    let told = |identifier: &str, text: &str| {
        let wait = format!(
            "timeout 60 journalctl --user --follow --lines=all --output=cat SYSLOG_IDENTIFIER={identifier} | grep --max-count=1 -- '{text}'"
        );
        debian.exec_user(&wait).ok().to_owned()
    };
    debian.write_user(
        SOURCE,
        "{\"claudeAiOauth\":{\"accessToken\":\"\",\"refreshToken\":\"\",\"expiresAt\":0,\"scopes\":[]}}",
    );
    assert!(told("tokensink-watch", "HUSK claude").starts_with("tell: "));
    debian.exec_user("systemctl --user stop tokensink-watch").ok();

    debian.write_user(".config/tokensink/tokensink.d/broken.toml", "what = is this\n");
    let _ = debian.exec_user("systemctl --user restart tokensink");
    assert!(told("tokensink-failed", "failed on").contains("tokensink.service failed on"));
    debian.exec_user("rm ~/.config/tokensink/tokensink.d/broken.toml; systemctl --user reset-failed; systemctl --user start tokensink").ok();
}
