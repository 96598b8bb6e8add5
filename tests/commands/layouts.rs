//! What a fresh instance of each release looks like after its own `models auth paste-token`, recorded from the real ones: its release, its
//! agents and the way in which it is supplied are seen from the files alone.
//!
//! In `tests/openclaw_layouts/RELEASE`: the parts of `package.json` that count, and the state directory, of its
//! databases no more than how they begin. Tokens and paths are made up.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::stage::{Home, Login};

/// Each release, and what is said of it without `manage`. With it, it is supplied by reference.
const WAYS: [(&str, &str); 5] = [
    ("2026.5.28", "VERSION_UNSUPPORTED"),
    ("2026.6.11", "STORE_RETIRED"),
    ("2026.7.1", "STORE_RETIRED"),
    ("2026.8.2", "STORE_RETIRED"),
    ("2026.9.6", "STORE_RETIRED"),
];

/// The releases whose store is written, and whether their gateway reads it at each turn.
const STORES: [(&str, bool); 4] =
    [("2026.1.29", true), ("2026.2.9", true), ("2026.2.26", false), ("2026.3.13", false)];

const STORE: &str = ".openclaw/agents/main/agent/auth-profiles.json";

fn copy(from: &Path, home: &Home, to: &str) {
    home.mkdir(to);
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = format!("{to}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            copy(&entry.path(), home, &name);
        } else {
            home.write(&name, fs::read(entry.path()).unwrap());
        }
    }
}

/// A home with that instance and a login to supply it with.
fn home_with(release: &str, keys: &str) -> Home {
    let mut home = Home::new();
    let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openclaw_layouts").join(release);
    copy(&layout.join("state"), &home, ".openclaw");
    home.mkdir("package");
    home.mkdir("bin");
    home.write("package/package.json", fs::read(layout.join("package.json")).unwrap());
    // It is never run for this.
    let cli = home.write("package/openclaw.mjs", "#!/bin/sh\ntouch \"$HOME/was-run\"\nexit 9\n");
    fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("../package/openclaw.mjs", home.path("bin/openclaw")).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{keys}\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\ncommand = [\"false\"]\n"
    ));
    home.rotate(&Login::nth(1));
    home
}

/// What `status` says of it.
fn seen(release: &str, keys: &str) -> Value {
    let home = home_with(release, keys);
    let report = home.run(&["status", "--json"]).json();
    assert!(!home.path("was-run").exists(), "{release}");
    home.finish();
    report
}

#[test]
fn release_agents_and_way_of_every_release_are_seen_from_its_files() {
    for (release, code) in WAYS {
        let report = seen(release, "");
        let sink = &report["sinks"][0];
        assert_eq!(report["gateways"][0]["version"], release, "{report}");
        assert_eq!(sink["code"].as_str().unwrap_or_default(), code, "{release}: {report}");
        assert_eq!(sink["agent"], "main", "{release}: {report}");

        let report = seen(release, "manage = true");
        let sink = &report["sinks"][0];
        assert_eq!((&sink["code"], &sink["state"]), (&Value::Null, &"missing".into()), "{release}: {report}");
        let path = sink["path"].as_str().unwrap();
        assert!(path.ends_with("mirrors/claw.json"), "{release}: {path}");
        let told = report["findings"].to_string();
        assert!(told.contains("PROFILE_SHADOWS") && told.contains("anthropic:mine"), "{release}: {told}");
    }
}

#[test]
fn a_profile_that_a_release_of_the_json_era_made_itself_is_supplied_in_its_store() {
    for (release, is_read_live) in STORES {
        let report = seen(release, "profile = \"anthropic:mine\"");
        assert_eq!(report["gateways"][0]["version"], release, "{report}");
        let sink = &report["sinks"][0];
        assert_eq!(
            (&sink["agent"], &sink["state"]),
            (&"main".into(), &"stale".into()),
            "{release}: {report}"
        );
        assert!(
            sink["path"].as_str().unwrap().ends_with("main/agent/auth-profiles.json"),
            "{release}: {sink}"
        );

        let home = home_with(release, "profile = \"anthropic:mine\"");
        let ran = home.run(&["sync"]);
        home.holds_tokens(STORE);
        let store: Value = serde_json::from_str(&home.read(STORE)).unwrap();
        assert_eq!(store["profiles"]["anthropic:mine"]["token"], Login::nth(1).access, "{release}: {ran:?}");
        assert_eq!(store["profiles"].as_object().unwrap().len(), 1, "{release}: {store}");
        let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openclaw_layouts").join(release);
        let config = fs::read_to_string(layout.join("state/openclaw.json")).unwrap();
        assert_eq!(home.read(".openclaw/openclaw.json"), config, "{release}");
        // The CLI is asked for the reload that a snapshot needs, and for nothing else.
        assert_eq!(home.path("was-run").exists(), !is_read_live, "{release}: {ran:?}");
        home.finish();
    }
}
