//! `[[gateway]]`: what it is, what it reads, how a change is applied.

use std::collections::BTreeSet;

use crate::base::id::{GatewayId, SinkId};
use crate::core::unauthorized;

use super::check;
use super::entries::{distinct, id};
use super::error::{CONFLICT, MISSING_KEY, UNFIT_KEY, UNKNOWN_REFERENCE, bounded};
use super::fragment::Node;
use super::merge::id_of;
use super::schema::{COMPOSE, GATEWAY, joined};
use super::section::{Reader, Section, word};
use super::settings::{Apply, GatewayKind, GatewaySettings, UnitScope};

const KINDS: [&str; 4] = ["unit", "compose", "container", "command"];
const SCOPES: [(&str, UnitScope); 2] = [("user", UnitScope::User), ("system", UnitScope::System)];
const APPLIES: [(&str, Apply); 4] =
    [("auto", Apply::Auto), ("none", Apply::None), ("reload", Apply::Reload), ("restart", Apply::Restart)];

/// Reads one `[[gateway]]`. `known` are the ids of sinks it may name.
pub fn gateway(r: &mut Reader<'_>, node: &Node, known: &BTreeSet<&str>) -> Option<GatewaySettings> {
    let s = Section::new(Some(node), &GATEWAY, joined("gateway", id_of(node)?));
    let id_ = r.required(&s, "id", id(GatewayId::try_new));
    let sinks = sinks(r, &s, known);
    let kind = kind(r, &s);
    let apply = r.parsed_or(&s, "apply", "auto", word(&APPLIES));
    let probe = r.optional(&s, "probe", |text| check::url(text).map(drop));
    let idle = r.optional(&s, "idle", |text| {
        // A command is not judged, but what begins like a URL is meant as one.
        if text.starts_with("http:") || text.starts_with("https:") {
            check::url(text).map(drop)
        } else {
            Ok(())
        }
    });
    let min_interval = r.duration_or(&s, "min_interval", "10m", check::MIN_INTERVAL);
    let unauthorized = r.optional(&s, "unauthorized", |text| {
        if text.len() > 1024 {
            Err("must not be longer than 1024 bytes".to_owned())
        } else if !s.has("unit") && unauthorized::matches(text).is_none() {
            Err("must be a journal match (FIELD=VALUE) where the gateway has no unit to look a pattern up in"
                .to_owned())
        } else {
            Ok(())
        }
    });
    Some(GatewaySettings {
        id: id_?,
        sinks: sinks?,
        kind: kind?,
        apply: apply?,
        probe,
        idle,
        min_interval,
        unauthorized,
    })
}

fn sinks(r: &mut Reader<'_>, s: &Section<'_>, known: &BTreeSet<&str>) -> Option<Vec<SinkId>> {
    r.missing(s, "sinks", "is required: a gateway that reads no sink has nothing to apply");
    let names = r.raw_list(s, "sinks")?;
    distinct(r, s, "sinks", &names);
    let mut unknown = Vec::new();
    let ids = r.list(s, "sinks", |names| {
        if names.is_empty() {
            return Err("must name a sink".to_owned());
        }
        let mut ids = Vec::new();
        for name in names {
            ids.push(SinkId::try_new(name.as_str()).map_err(|invalid| format!("each entry {invalid}"))?);
            if !known.contains(name.as_str()) {
                unknown.push(name.clone());
            }
        }
        Ok(ids)
    });
    if !r.gaps.entries {
        for name in unknown {
            r.fault(s, "sinks", UNKNOWN_REFERENCE, format!("there is no sink '{}'", bounded(&name)));
        }
    }
    ids
}

fn kind(r: &mut Reader<'_>, s: &Section<'_>) -> Option<GatewayKind> {
    let written: Vec<&str> = KINDS.into_iter().filter(|key| s.has(key)).collect();
    if s.has("scope") && !s.has("unit") && !(r.gaps.keys && written.is_empty()) {
        r.fault(s, "scope", UNFIT_KEY, "fits a gateway with unit only");
    }
    if let [first, others @ ..] = written.as_slice() {
        for other in others {
            let place = s.place_of(first).map(|place| format!(" ({}:{})", place.file.display(), place.line));
            let message = format!("cannot stand beside {first}{}", place.unwrap_or_default());
            r.fault(s, other, CONFLICT, message);
        }
    } else if !r.gaps.keys {
        r.fault(s, "", MISSING_KEY, "needs one of unit, compose, container or command");
    }
    let name = |text: &str| check::container_name(text).map(|()| text.to_owned());
    let unit = r.parsed(s, "unit", |text| check::unit_name(text).map(|()| text.to_owned()));
    let scope = if s.has("unit") { r.parsed_or(s, "scope", "user", word(&SCOPES)) } else { None };
    let compose = s.inner("compose", &COMPOSE);
    let (dir, service) = if s.has("compose") {
        (r.path(&compose, "dir"), r.required(&compose, "service", name))
    } else {
        (None, None)
    };
    let container = r.parsed(s, "container", name);
    let command = r.command(s, "command");
    match written.first().copied()? {
        "unit" => Some(GatewayKind::Unit { unit: unit?, scope: scope? }),
        "compose" => Some(GatewayKind::Compose { dir: dir?, service: service? }),
        "container" => Some(GatewayKind::Container { name: container? }),
        _ => Some(GatewayKind::Command { command: command? }),
    }
}
