//! `order`: the profiles of OpenClaw's agents in JSON stores. The texts and documents are in `order/`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::stage::Home;

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/commands/order").join(name);
    fs::read_to_string(path).unwrap()
}

/// Two agents with the same profiles, a global order, and one sink.
fn staged(release: &str) -> (Home, Vec<PathBuf>) {
    let home = Home::new();
    let stores = home.openclaw(release, &["main", "work"]);
    for store in &stores {
        fs::write(store, golden("before.json")).unwrap();
    }
    let config = json!({"meta": {"lastTouchedVersion": release},
        "auth": {"order": {"anthropic": ["anthropic:default", "anthropic:gone"]}}});
    home.write(".openclaw/openclaw.json", config.to_string());
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n",
    );
    (home, stores)
}

#[test]
fn an_order_is_set_listed_and_cleared_and_everything_else_stays() {
    for release in ["2026.2.9", "2026.2.25"] {
        let (home, stores) = staged(release);
        let ran = home.run(&["order", "set", "anthropic:work"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(fs::read_to_string(&stores[0]).unwrap(), golden("set.json"));
        assert_eq!(fs::read_to_string(&stores[1]).unwrap(), golden("before.json"));
        let note = "tokensink: note: anthropic:default, which sink claw supplies, is not in it\n";
        assert_eq!(ran.stderr, note);

        assert_eq!(home.run(&["order", "list"]).stdout, golden("list.txt"));
        let mut listed = home.run(&["order", "list", "--json"]).json();
        assert!(listed.as_object_mut().unwrap().remove("generated_at").unwrap().is_i64());
        assert_eq!(listed, serde_json::from_str::<Value>(&golden("list.json")).unwrap());
        let got = home.run(&["order", "get", "--agent", "work", "--json"]).json();
        assert_eq!((&got["from"], &got["order"][0]), (&"global".into(), &"anthropic:default".into()));
        let got = home.run(&["order", "get"]);
        assert_eq!(got.stdout, "claw/main anthropic: the agent's own order\n  anthropic:work\n");

        // Setting it again, or clearing what is not there, changes nothing.
        assert_eq!(home.run(&["order", "set", "anthropic:work"]).code, 0);
        assert_eq!(home.run(&["order", "clear", "--agent", "work"]).code, 0);
        assert_eq!(fs::read_to_string(&stores[0]).unwrap(), golden("set.json"));
        assert_eq!(home.run(&["order", "clear"]).code, 0);
        for store in &stores {
            assert_eq!(fs::read_to_string(store).unwrap(), golden("before.json"));
            assert!(!store.with_extension("json.lock").exists());
        }
        home.finish();
    }
}

#[test]
fn a_profile_an_agent_or_a_sink_that_is_not_there_is_wrong_usage() {
    let (home, stores) = staged("2026.2.25");
    for arguments in [
        &["order", "set", "anthropic:default", "anthropic:nope"][..],
        &["order", "set", "openai:default"],
        &["order", "set"],
        &["order", "get", "--agent", "nobody"],
        &["order", "list", "--sink", "nowhere"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 64, "{arguments:?}: {ran:?}");
    }
    assert_eq!(fs::read_to_string(&stores[0]).unwrap(), golden("before.json"));
    home.finish();
}

#[test]
fn a_release_that_must_not_be_written_is_listed_and_refused() {
    for (release, has_database, code) in [
        ("2026.2.14", false, "VERSION_UNSUPPORTED"),
        ("2026.5.28", false, "VERSION_UNSUPPORTED"),
        ("", false, "VERSION_UNSUPPORTED"),
        ("2026.6.11", true, "STORE_RETIRED"),
    ] {
        let (home, stores) = staged(release);
        assert_eq!(home.run(&["order", "list"]).code, 0, "{release}");
        if has_database {
            // It is OpenClaw's own CLI that knows its database, and there is none here.
            home.mkdir(".openclaw/state");
            home.write(".openclaw/state/openclaw.sqlite", "");
            assert_eq!(home.run(&["order", "list"]).code, 1, "{release}");
        }
        let ran = home.run(&["order", "clear"]);
        assert_eq!(ran.code, 1, "{release}: {ran:?}");
        assert!(ran.stderr.contains(code), "{release}: {ran:?}");
        assert_eq!(fs::read_to_string(&stores[0]).unwrap(), golden("before.json"));
        home.finish();
    }
}

#[test]
fn a_lock_that_another_process_holds_is_waited_for_and_not_broken() {
    let (home, stores) = staged("2026.2.25");
    let lock = home.lock_store(&stores[0]);
    let ran = home.run(&["order", "set", "anthropic:work"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(lock.exists());
    assert_eq!(fs::read_to_string(&stores[0]).unwrap(), golden("before.json"));
    fs::remove_file(lock).unwrap();
    assert_eq!(home.run(&["order", "set", "anthropic:work"]).code, 0);
    home.finish();
}
