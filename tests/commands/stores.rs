//! `auth-profiles`: OpenClaw's JSON stores, in the releases that may be written and in all others.

use std::fs;
use std::path::Path;

use inotify::EventMask;
use serde_json::{Value, json};

use crate::stage::{Home, Login, contains};

fn sink(id: &str, more: &str) -> String {
    format!("[[sink]]\nid = \"{id}\"\nlogin = \"claude\"\nkind = \"auth-profiles\"\n{more}\n")
}

fn configured(home: &Home, more: &str) {
    home.configure(&format!(
        "[daemon]\npoll = \"1s\"\n[[login]]\nid = \"claude\"\nprovider = \"claude\"\n{}",
        sink("store", more)
    ));
    home.rotate(&Login::nth(1));
}

fn store(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_agents_store_is_repaired_and_everything_else_in_it_stays() {
    let home = Home::new();
    let stores = home.openclaw("2026.2.25", &["main", "work", "idle"]);
    // The classic mistake: the token in the field of a key; and what a dead predecessor left.
    let broken = json!({
        "version": 1,
        "profiles": {
            "anthropic:default": {"type": "api_key", "provider": "anthropic", "key": "sk-ant-oat01-old", "note": "kept"},
            "openai:default": {"type": "api_key", "provider": "openai", "key": "sk-other"},
        },
        "order": {"anthropic": ["anthropic:default"]},
        "usageStats": {
            "anthropic:default": {"lastUsed": 1_795_195_803_037_u64, "errorCount": 3, "cooldownUntil": 1_895_195_803_037_u64,
                "disabledUntil": 5, "disabledReason": "auth_permanent", "failureCounts": {"auth": 3}},
            "openai:default": {"errorCount": 2, "cooldownUntil": 7},
        },
    });
    fs::write(&stores[0], serde_json::to_string_pretty(&broken).unwrap() + "\n").unwrap();
    // An agent without a store is left to OpenClaw, which copies the main one.
    fs::remove_file(&stores[2]).unwrap();
    configured(&home, "");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for path in &stores[..2] {
        let profile = &store(path)["profiles"]["anthropic:default"];
        assert_eq!((&profile["type"], &profile["provider"]), (&"token".into(), &"anthropic".into()));
        assert_eq!(
            (&profile["token"], &profile["expires"]),
            (&Login::nth(1).access.into(), &Login::nth(1).expires_at.into())
        );
        for field in ["key", "access", "refresh"] {
            assert!(profile.get(field).is_none(), "{field}: {profile}");
        }
        assert!(!contains(path, "ort01"));
    }
    assert!(!stores[2].exists());
    let main = store(&stores[0]);
    assert_eq!(main["profiles"]["anthropic:default"]["note"], "kept");
    assert_eq!(main["profiles"]["openai:default"], broken["profiles"]["openai:default"]);
    assert_eq!(main["order"], broken["order"]);
    assert_eq!(main["usageStats"]["anthropic:default"], json!({"lastUsed": 1_795_195_803_037_u64}));
    assert_eq!(main["usageStats"]["openai:default"], broken["usageStats"]["openai:default"]);
    // Said for each agent.
    let report = home.run(&["status", "--json"]).json();
    let agents: Vec<_> =
        report["sinks"].as_array().unwrap().iter().map(|s| s["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["main", "work"]);
    home.finish();
}

#[test]
fn the_wrong_field_of_the_right_token_is_a_repair() {
    let home = Home::new();
    let path = &home.openclaw("2026.2.25", &["main"])[0];
    configured(&home, "");
    assert_eq!(home.run(&["sync"]).code, 0);
    let right = fs::read(path).unwrap();
    for (field, kind) in [("key", "api_key"), ("access", "oauth"), ("apiKey", "api_key")] {
        let mut wrong = store(path);
        let profile = wrong["profiles"]["anthropic:default"].as_object_mut().unwrap();
        let token = profile.remove("token").unwrap();
        profile.insert(field.to_owned(), token);
        profile.insert("type".to_owned(), kind.into());
        fs::write(path, serde_json::to_string_pretty(&wrong).unwrap() + "\n").unwrap();
        let ran = home.run(&["sync", "--json"]).json();
        assert_eq!(ran["actions"][0]["reason"], "repair", "{ran}");
        assert_eq!(store(path), serde_json::from_slice::<Value>(&right).unwrap());
    }
    home.finish();
}

/// The release, whether it may be written, and whether a refresh token may be handed over.
const RELEASES: [(&str, bool, bool); 19] = [
    ("2026.1.24", false, false),
    ("2026.1.28", false, false),
    ("2026.1.29", true, true),
    ("2026.2.9", true, true),
    ("2026.2.12", true, true),
    ("2026.2.13", false, false),
    ("2026.2.14", false, false),
    ("2026.2.17", true, true),
    ("2026.2.25", true, true),
    ("2026.2.26", true, false),
    ("2026.3.13", true, false),
    ("2026.3.20", false, false),
    ("2026.3.31", true, false),
    ("2026.4.2", false, false),
    ("2026.5.28", false, false),
    ("2026.6.11", false, false),
    ("2026.9.6", false, false),
    ("2027.1.1", false, false),
    ("", false, false),
];

#[test]
fn only_releases_that_are_known_to_be_safe_are_written() {
    for form in ["auto", "token", "oauth"] {
        for (release, is_written, may_refresh) in RELEASES {
            let home = Home::new();
            let path = &home.openclaw(release, &["main"])[0];
            configured(&home, &format!("form = \"{form}\""));
            let before = fs::read(path).unwrap();
            let ran = home.run(&["sync", "--json"]);
            assert_eq!(ran.code, 0, "{release} {form}: a refusal is recorded, not failed: {ran:?}");
            let report = ran.json();
            let target = &report["sinks"][0];
            if !is_written {
                assert_eq!(
                    (&target["state"], &target["code"]),
                    (&"refused".into(), &"VERSION_UNSUPPORTED".into()),
                    "{release}"
                );
                assert_eq!(fs::read(path).unwrap(), before, "{release}");
                let status = home.run(&["status", "--json"]).json();
                assert_eq!(status["sinks"][0]["state"], "refused");
                continue;
            }
            assert_eq!(target["state"], "current", "{release} {form}: {report}");
            let profile = &store(path)["profiles"]["anthropic:default"];
            let (kind, field) = if form == "oauth" { ("oauth", "access") } else { ("token", "token") };
            assert_eq!(
                (&profile["type"], &profile[field]),
                (&kind.into(), &Login::nth(1).access.into()),
                "{release} {form}"
            );
            let is_handed_over = form == "oauth" && may_refresh;
            assert_eq!(profile.get("refresh").is_some(), is_handed_over, "{release} {form}: {profile}");
            let codes = report["findings"].to_string();
            assert_eq!(codes.contains("DUPLICATE_FAMILY"), is_handed_over, "{release} {form}: {codes}");
            home.finish();
        }
    }
}

#[test]
fn an_entry_that_the_configuration_hides_is_told() {
    for (profiles, is_hidden) in [
        (json!({}), false),
        (json!({"anthropic:default": {"provider": "anthropic", "mode": "token"}}), false),
        (json!({"anthropic:default": {"provider": "anthropic", "mode": "oauth"}}), false),
        (json!({"anthropic:default": {"provider": "anthropic", "mode": "api_key"}}), true),
        // Listed and there: the others of its provider are hidden. Listed and not there: they are not.
        (json!({"anthropic:own": {"provider": "anthropic", "mode": "token"}}), true),
        (json!({"anthropic:gone": {"provider": "anthropic", "mode": "token"}}), false),
        (json!({"openai:own": {"provider": "openai", "mode": "api_key"}}), false),
    ] {
        let home = Home::new();
        let path = &home.openclaw("2026.2.25", &["main"])[0];
        let own = json!({"type": "token", "provider": "anthropic", "token": "sk-ant-oat01-own"});
        fs::write(path, json!({"version": 1, "profiles": {"anthropic:own": own}}).to_string()).unwrap();
        let config = json!({"meta": {"lastTouchedVersion": "2026.2.25"}, "auth": {"profiles": profiles}});
        home.write(".openclaw/openclaw.json", config.to_string());
        configured(&home, "");
        let report = home.run(&["sync", "--json"]).json();
        assert_eq!(report["sinks"][0]["state"], "current", "{report}");
        let codes: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
        assert_eq!(codes == ["PROFILE_UNUSED"], is_hidden, "{profiles}: {report}");
        home.finish();
    }
}

#[test]
fn a_store_that_became_a_database_is_not_written_any_more() {
    for database in [".openclaw/state/openclaw.sqlite", ".openclaw/agents/main/agent/openclaw-agent.sqlite"] {
        let home = Home::new();
        let path = &home.openclaw("2026.2.25", &["main"])[0];
        configured(&home, "");
        home.mkdir(".openclaw/state");
        home.write(database, "SQLite format 3\0");
        let before = [path, &home.path(database)].map(|file| fs::read(file).unwrap());
        let ran = home.run(&["sync", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["sinks"][0]["code"], "STORE_RETIRED", "{database}");
        assert_eq!([path, &home.path(database)].map(|file| fs::read(file).unwrap()), before);
        // Nor is a JSON store made beside the database.
        fs::remove_file(path).unwrap();
        assert_eq!(home.run(&["sync"]).code, 0);
        assert!(!path.exists());
        home.finish();
    }
}

#[test]
fn a_store_that_cannot_be_read_or_is_of_another_version_is_left_alone() {
    for (text, code) in [
        ("{\"version\": 1, \"profiles\": {", "UNREADABLE"),
        ("", "UNREADABLE"),
        ("{\"version\": 2, \"profiles\": {}}", "UNREADABLE"),
        ("{\"version\": 1}", "UNREADABLE"),
        (
            "{\"version\": 1, \"profiles\": {\"anthropic:default\": {\"type\": \"token\", \"provider\": \"openai\", \"token\": \"x\"}}}",
            "SINK_FAILED",
        ),
    ] {
        let home = Home::new();
        let path = &home.openclaw("2026.2.25", &["main"])[0];
        configured(&home, "");
        fs::write(path, text).unwrap();
        let ran = home.run(&["sync", "--json"]);
        assert_eq!(ran.json()["sinks"][0]["code"], code, "{text}");
        assert_eq!(ran.code, 1, "{text}: {ran:?}");
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn the_lock_of_the_release_is_taken_and_one_that_is_held_is_respected() {
    let home = Home::new();
    let old = home.openclaw("2026.2.9", &["main"]).remove(0);
    fs::rename(home.path(".openclaw"), home.path("old")).unwrap();
    let old = home.path("old").join(old.strip_prefix(home.path(".openclaw")).unwrap());
    home.holds_tokens("old/agents/main/agent/auth-profiles.json");
    let new = home.openclaw("2026.2.25", &["main"]).remove(0);
    home.configure(&format!(
        "[daemon]\npoll = \"1s\"\n[[login]]\nid = \"claude\"\nprovider = \"claude\"\n{}{}",
        sink("old", "state_dir = \"~/old\""),
        sink("new", "")
    ));
    home.rotate(&Login::nth(1));
    for directory in ["old/agents/main/agent", ".openclaw/agents/main/agent"] {
        home.watch(directory);
    }
    let locks = [&old, &new].map(|store| store.with_extension("json.lock"));
    let is_directory = |mark: usize, lock: &Path| home.touched(mark, lock, EventMask::ISDIR) > 0;
    let mark = home.mark();
    let daemon = home.ready();
    for (lock, directory) in locks.iter().zip([true, false]) {
        assert!(
            home.touched(mark, lock, EventMask::CREATE) > 0
                && home.touched(mark, lock, EventMask::DELETE) > 0
        );
        assert_eq!(is_directory(mark, lock), directory, "{}", lock.display());
        assert!(!lock.exists());
    }
    // Each is held by somebody else now.
    fs::create_dir(&locks[0]).unwrap();
    home.lock_store(&new);
    let before = [&old, &new].map(|store| fs::read(store).unwrap());
    let mark = home.mark();
    home.rotate(&Login::nth(2));
    for name in ["old/main", "new/main"] {
        let (_, line) = home.until_said(mark, &format!("SINK_FAILED {name}: "));
        assert!(line.contains("lock"), "{line}");
    }
    assert_eq!([&old, &new].map(|store| fs::read(store).unwrap()), before);
    assert!(locks.iter().all(|lock| lock.exists()), "they are not ours to remove");
    fs::remove_dir(&locks[0]).unwrap();
    fs::remove_file(&locks[1]).unwrap();
    home.until("both stores follow", || {
        [&old, &new].iter().all(|store| contains(store, &Login::nth(2).access))
    });
    for name in ["old/main", "new/main"] {
        home.until_said(mark, &format!("SINK_FAILED {name} is resolved"));
    }
    daemon.stop();
    assert!(locks.iter().all(|lock| !lock.exists()));

    // The lock of another protocol: somebody of another release was here, and nothing is right.
    home.rotate(&Login::nth(3));
    fs::write(&locks[0], "{}").unwrap();
    fs::create_dir(&locks[1]).unwrap();
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("SINK_FAILED old/main") && ran.stdout.contains("SINK_FAILED new/main"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("of another kind") && locks.iter().all(|lock| lock.exists()), "{ran:?}");
    home.finish();
}

#[test]
fn a_store_is_not_made_before_openclaw_has_imported_what_it_would_lose() {
    let home = Home::new();
    let path = &home.openclaw("2026.2.25", &["main"])[0];
    fs::remove_file(path).unwrap();
    home.mkdir(".openclaw/credentials");
    home.write(
        ".openclaw/credentials/oauth.json",
        "{\"openai-codex\": {\"access\": \"x\", \"refresh\": \"y\", \"expires\": 1}}",
    );
    configured(&home, "");
    let report = home.run(&["sync", "--json"]);
    assert_eq!((report.code, &report.json()["sinks"][0]["code"]), (0, &"IMPORT_PENDING".into()));
    assert!(!path.exists());
    fs::remove_file(home.path(".openclaw/credentials/oauth.json")).unwrap();
    assert_eq!(home.run(&["sync"]).code, 0);
    assert!(contains(path, &Login::nth(1).access));
    home.finish();
}
