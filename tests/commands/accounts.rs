//! Several logins of one provider in one OpenClaw: a profile for each, static tokens among them.

use std::fs;

use serde_json::{Value, json};

use crate::stage::{Home, Login};

/// A made-up setup-token.
fn setup_token(n: usize) -> String {
    format!("sk-ant-oat01-setup-token-{n}-{}", "x".repeat(60))
}

/// Claude's own login for `anthropic:default` of every agent, a setup-token for `anthropic:work` of one.
fn staged(release: &str) -> (Home, Vec<std::path::PathBuf>) {
    let home = Home::new();
    let stores = home.openclaw(release, &["main", "work"]);
    home.write("work.token", setup_token(1) + "\n");
    home.holds_tokens("work.token");
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\
         [[login]]\nid = \"setup\"\nprovider = \"static\"\npath = \"~/work.token\"\n\
         [[sink]]\nid = \"default\"\nlogin = \"claude\"\nkind = \"openclaw\"\nprofile = \"anthropic:default\"\n\
         [[sink]]\nid = \"work\"\nlogin = \"setup\"\nkind = \"openclaw\"\nprofile = \"anthropic:work\"\nagents = [\"work\"]\n",
    );
    home.rotate(&Login::nth(1));
    (home, stores)
}

fn profiles(store: &std::path::Path) -> Value {
    let mut store: Value = serde_json::from_slice(&fs::read(store).unwrap()).unwrap();
    store["profiles"].take()
}

#[test]
fn each_login_has_its_profile_in_the_agents_that_its_sink_names() {
    for release in ["2026.2.9", "2026.2.25", "2026.2.26"] {
        let (home, stores) = staged(release);
        let ran = home.run(&["sync"]);
        assert_eq!(ran.code, 0, "{release}: {ran:?}");
        let own = json!({"type": "token", "provider": "anthropic", "token": Login::nth(1).access,
            "expires": Login::nth(1).expires_at});
        // Nothing tells when a static token ends: OpenClaw takes it as one that does not.
        let work = json!({"type": "token", "provider": "anthropic", "token": setup_token(1)});
        assert_eq!(profiles(&stores[0]), json!({"anthropic:default": own}), "{release}");
        assert_eq!(
            profiles(&stores[1]),
            json!({"anthropic:default": own, "anthropic:work": work}),
            "{release}"
        );

        // Each follows its own source.
        home.write("work.token", setup_token(2));
        assert_eq!(home.run(&["sync"]).code, 0);
        assert_eq!(profiles(&stores[1])["anthropic:work"]["token"], setup_token(2).as_str());
        home.rotate(&Login::nth(2));
        assert_eq!(home.run(&["sync"]).code, 0);
        for store in &stores {
            assert_eq!(profiles(store)["anthropic:default"]["token"], Login::nth(2).access.as_str());
        }
        assert_eq!(profiles(&stores[1])["anthropic:work"]["token"], setup_token(2).as_str());
        home.finish();
    }
}

#[test]
fn a_static_token_is_handed_to_an_openclaw_only_where_it_could_use_it() {
    let home = Home::new();
    let store = &home.openclaw("2026.2.25", &["main"])[0];
    home.holds_tokens("sinks/oauth.json");
    home.holds_tokens("work.token");
    for (profile, token, is_fit) in [
        ("anthropic:work", setup_token(1), true),
        ("openai:work", setup_token(1), false),
        ("anthropic:work", "ghp_made-up".to_owned(), false),
        ("anthropic:work", "sk-ant-api03-made-up".to_owned(), false),
    ] {
        home.write(".openclaw/agents/main/agent/auth-profiles.json", "{\"version\":1,\"profiles\":{}}");
        let _ = fs::remove_file(home.path("sinks/oauth.json"));
        home.write("work.token", &token);
        home.configure(&format!(
            "[[login]]\nid = \"setup\"\nprovider = \"static\"\npath = \"~/work.token\"\n\
             [[sink]]\nid = \"claw\"\nlogin = \"setup\"\nkind = \"openclaw\"\nprofile = \"{profile}\"\n\
             [[sink]]\nid = \"legacy\"\nlogin = \"setup\"\nkind = \"oauth-json\"\npath = \"~/sinks/oauth.json\"\n"
        ));
        let report = home.run(&["sync", "--json"]).json();
        let code = |sink: usize| report["sinks"][sink]["code"].as_str().unwrap_or("").to_owned();
        let is_anthropics = token.starts_with("sk-ant-oat01-");
        assert_eq!(code(0), if is_fit { "" } else { "TOKEN_UNFIT" }, "{profile} {token}: {report}");
        assert_eq!(code(1), if is_anthropics { "" } else { "TOKEN_UNFIT" }, "{token}: {report}");
        assert_eq!(profiles(store)[profile].is_object(), is_fit, "{profile} {token}");
        let legacy = fs::read_to_string(home.path("sinks/oauth.json")).unwrap_or_default();
        assert_eq!(
            legacy.contains("{\n  \"anthropic\"") || legacy.starts_with("{\"anthropic\""),
            is_anthropics,
            "{legacy}"
        );
        fs::remove_dir_all(home.path(".local/state/tokensink")).unwrap();
        home.mkdir(".local/state/tokensink");
    }
    home.finish();
}

#[test]
fn a_static_token_is_ok_without_an_end_and_is_never_refreshed() {
    let (home, _) = staged("2026.2.25");
    assert_eq!(home.run(&["sync"]).code, 0);
    let report = home.run(&["status", "--json", "--check", "setup"]);
    assert_eq!(report.code, 0, "{report:?}");
    let login = report.json()["logins"][0].clone();
    assert_eq!((&login["kind"], &login["state"]), (&"static".into(), &"ok".into()));
    assert_eq!((&login["access_expires_at"], &login["refreshable"]), (&Value::Null, &false.into()));
    assert_eq!((&login["refresh"]["next_at"], &login["refresh"]["blocked"]), (&Value::Null, &Value::Null));
    let refreshed = home.run(&["refresh", "setup", "--json"]).json();
    assert_ne!(refreshed["logins"][0]["outcome"], "rotated", "{refreshed}");

    for (text, code) in [("", "UNREADABLE"), ("two words", "UNREADABLE")] {
        home.write("work.token", text);
        let report = home.run(&["status", "--json", "--check", "setup"]);
        assert_eq!(report.code, 1, "{report:?}");
        let report = report.json();
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.iter().any(|f| f["code"] == code && f["subject"] == "setup"), "{report}");
    }
    home.finish();
}
