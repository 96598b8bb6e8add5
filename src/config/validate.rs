//! Stage three: the merged tree becomes [`Settings`], with every fault noted on the way.

use std::collections::BTreeSet;

use super::check;
use super::cross;
use super::entries;
use super::error::ConfigError;
use super::expand::Environment;
use super::fragment::{Node, Table, Value};
use super::schema::{ALERT, ALERTS, DAEMON, METRICS, STATUS};
use super::section::{Gaps, Reader, Section};
use super::settings::{AlertingSettings, Settings};
use super::show::ShownValue;
use super::{gateway, sink};

/// Validates the merged tree. The settings are whole only when no error was added.
pub fn validate(
    root: &Table,
    env: &Environment,
    gaps: Gaps,
    errors: &mut Vec<ConfigError>,
) -> (Settings, Vec<ShownValue>) {
    let mut reader = Reader { env, gaps, errors, shown: Vec::new() };
    let r = &mut reader;

    let daemon = Section::new(root.get("daemon"), &DAEMON, "daemon".to_owned());
    let poll = r.duration_or(&daemon, "poll", "60s", check::POLL);
    let status = Section::new(root.get("status"), &STATUS, "status".to_owned());
    let warn = r.duration_or(&status, "warn", "24h", check::AHEAD);

    let metrics = Section::new(root.get("metrics"), &METRICS, "metrics".to_owned());
    let textfile = r.optional_path(&metrics, "textfile");

    let logins: Vec<_> = list(root, "login").iter().filter_map(|node| entries::login(r, node)).collect();
    let known = entries::known_logins(list(root, "login"));
    let sinks: Vec<_> = list(root, "sink").iter().filter_map(|node| sink::sink(r, node, &known)).collect();
    cross::check(r.errors, &logins, &sinks);
    let sink_ids: BTreeSet<&str> = list(root, "sink").iter().filter_map(super::merge::id_of).collect();
    let gateways =
        list(root, "gateway").iter().filter_map(|node| gateway::gateway(r, node, &sink_ids)).collect();
    let alerts = list(root, "alert")
        .iter()
        .enumerate()
        .filter_map(|(index, node)| {
            let section = Section::new(Some(node), &ALERT, format!("alert.{}", index + 1));
            entries::alert(r, &section)
        })
        .collect();
    let alerting = alerting(r, root);

    let settings = Settings {
        poll,
        warn,
        textfile,
        logins: logins.into_iter().map(|placed| placed.value).collect(),
        sinks: sinks.into_iter().map(|placed| placed.value).collect(),
        gateways,
        alerts,
        alerting,
    };
    (settings, reader.shown)
}

fn alerting(r: &mut Reader<'_>, root: &Table) -> AlertingSettings {
    let section = Section::new(root.get("alerts"), &ALERTS, "alerts".to_owned());
    let deadlines = r.list_or(&section, "login_deadline", &["7d", "3d", "1d", "6h"], |texts| {
        let mut list = Vec::new();
        for text in texts {
            list.push(check::duration(text, check::AHEAD).map_err(|fault| format!("each entry {fault}"))?);
        }
        list.sort_by(|left, right| right.cmp(left));
        list.dedup();
        Ok(list)
    });
    AlertingSettings {
        login_deadline: deadlines.unwrap_or_default(),
        remind: r.duration_or(&section, "remind", "24h", check::REMIND),
        heartbeat_url: r.private_url(&section, "heartbeat_url", check::heartbeat_url),
    }
}

fn list<'a>(root: &'a Table, key: &str) -> &'a [Node] {
    match root.get(key) {
        Some(Node { value: Value::List(list), .. }) => list,
        _ => &[],
    }
}
