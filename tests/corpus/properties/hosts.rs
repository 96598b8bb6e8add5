//! What a host has of others' making: gateways' configurations and units, scripts, containers, `/proc`.

use std::collections::BTreeMap;
use std::path::Path;

use tokensink::base::secret::Secret;
use tokensink::core::reach::{IdMap, Reader};
use tokensink::format::container::{Inside, release_in};
use tokensink::format::openclaw_config as claw;
use tokensink::format::standing::{self, Seen};
use tokensink::format::syncer::{self as scripts, Target};
use tokensink::format::unit_file::{Service, is_secret};
use tokensink::sys::{mounts, peer, processes};

use super::planted::{hides, planted};

/// `openclaw.json`: facts, in an order of their own, and a door only where everything is said plainly.
pub fn openclaw_config(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        (
            claw::last_touched_version(bytes),
            claw::agent_dirs(bytes),
            claw::configured_profiles(bytes, "anthropic"),
            claw::global_order(bytes, "anthropic"),
            claw::api_key(bytes, "anthropic"),
            claw::default_model(bytes),
            (
                claw::may_have(bytes, "agents.defaults.model.primary"),
                claw::runs_in_cli(bytes, "anthropic", "claude-cli"),
            ),
        )
    };
    assert_eq!(read(bytes), read(bytes), "the parser's maps have no order, what is read of them has");
    for bytes in [Some(bytes.to_vec()), planted(bytes)].into_iter().flatten() {
        if let Some(listener) = claw::listener(&bytes) {
            assert_ne!(listener.port, Some(0));
            if let Some(token) = &listener.token {
                assert!(!token.is_blank() && !token.expose().contains("${"));
                hides(&listener, token, &[]);
            }
        }
    }
    if serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|value| value.get("$include").is_some()) {
        assert!(claw::listener(bytes).is_none() && claw::api_key(bytes, "anthropic") == claw::ApiKey::Other);
    }
}

/// A unit file and the same as its own drop-in.
pub fn unit_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut service = Service::default();
    service.read(text, Path::new("/home/a"));
    assert!(service.environment.keys().all(|name| !is_secret(name)));
    assert!(service.secrets.keys().all(|name| is_secret(name)));
    let size: usize = service.exec.iter().map(String::len).sum();
    assert!(size <= text.len() * "/home/a".len());
    let mut twice = service.clone();
    twice.read(text, Path::new("/home/a"));
    if text.contains("ExecStart") {
        assert_eq!(twice.exec, service.exec, "what is read last counts");
    }
    if !text.contains("TOKEN") {
        return;
    }
    let debug = format!("{service:?}");
    for secret in service.secrets.values().filter(|secret| secret.expose().starts_with("made-up-")) {
        let elsewhere = service.environment.values().chain(&service.exec).chain(&service.user);
        let names = service.secrets.keys().chain(service.environment.keys());
        let elsewhere: String = elsewhere.chain(names).cloned().collect();
        assert!(elsewhere.contains(secret.expose()) || !debug.contains(secret.expose()), "{debug}");
    }
}

/// Scripts and tables: bounded, and no path that is not plain.
pub fn syncer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let environment = BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]);
    let Some(found) = scripts::read(&text, &environment) else { return };
    assert!(text.len() <= scripts::MAX_SCRIPT);
    assert!(found.sources.len() + found.targets.len() <= 32);
    let paths = found.targets.iter().map(|target| match target {
        Target::OAuthJson(path) | Target::Store(path) | Target::EnvFile { path, .. } => path,
    });
    for path in paths.chain(&found.sources) {
        assert!(path.is_absolute(), "{path:?}");
        assert!(path.components().all(|part| part != std::path::Component::ParentDir), "{path:?}");
    }
    assert!(found.refreshes || found.triggers || !found.targets.is_empty());
}

/// What an engine says of containers, whose variables are secrets.
pub fn containers(bytes: &[u8]) {
    for bytes in [Some(bytes.to_vec()), planted(bytes)].into_iter().flatten() {
        let Some(all) = Seen::all(&bytes) else { continue };
        for seen in &all {
            let inside = Inside::of(seen);
            assert!(!inside.cli.is_empty());
            for mount in seen.mounts.iter().take(16) {
                assert!(mount.host.is_absolute() && mount.inside.is_absolute());
                assert!(seen.place_of(&mount.host).is_some() && seen.on_host(&mount.inside).is_some());
                // The other side of a path is at or below the other side of a mount.
                let below = mount.inside.join("a");
                if let Some(host) = seen.on_host(&below) {
                    assert!(seen.mounts.iter().any(|mount| host.starts_with(&mount.host)));
                    assert_eq!(inside.on_host(&below), Some(host));
                }
            }
            assert!(seen.variables.iter().all(|name| !name.contains('=')));
            let _ = seen.started_at();
            let stored = serde_json::to_string(&inside).unwrap();
            assert_eq!(serde_json::from_str::<Inside>(&stored).unwrap(), inside);
        }
        let token = Secret::new("sk-ant-oat01-one".into());
        let held = standing::held(&bytes, "TOK", &token);
        assert!(
            held.is_none_or(|held| held != standing::Held::Current || text_of(&bytes).contains("sk-ant"))
        );
    }
    if let Some(release) = release_in(&text_of(bytes)) {
        assert_eq!(release_in(&release.to_string()), Some(release));
    }
}

/// The kernel's own tables, in which others choose names.
pub fn proc(bytes: &[u8]) {
    let mounts = mounts::parse(bytes);
    assert!(mounts.len() <= bytes.split(|byte| *byte == b'\n').count());
    for mount in mounts.iter().take(16) {
        let found = mounts::of(&mounts, &mount.point);
        assert!(found.is_some_and(|found| mount.point.starts_with(&found.point)));
    }
    let wanted = |name: &str| name == "TOK";
    let environment = processes::Environment::of(bytes.split(|byte| *byte == 0), &wanted);
    assert!(environment.values.keys().all(|name| wanted(name) && environment.names.contains(name)));
    let text = text_of(bytes);
    for line in text.lines() {
        if let Some(uid) = peer::owner_in(line, "0100007F:1F90", "0100007F:A000") {
            assert!(line.contains("0100007F:1F90") && line.contains(&uid.to_string()));
        }
    }
    let map = IdMap::parse(&text);
    for id in [0, 1000, u32::MAX] {
        let inside = map.inside(id);
        assert!(!map.is_plain() || id == u32::MAX || inside == Some(id));
    }
    let _ = Reader::parse(&text);
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
