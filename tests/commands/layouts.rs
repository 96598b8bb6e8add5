//! What a fresh instance of each release that is supplied by reference looks like after its own `models auth paste-token`, recorded from the
//! real ones: its release, its agents and the way in which it is supplied are seen from the files alone.
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

/// What `status` says of a home with that instance.
fn seen(release: &str, keys: &str) -> Value {
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
