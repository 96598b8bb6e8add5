//! A Codex login and OpenClaw: what each release gets of it, and where its family is found twice.

use std::fs;

use serde_json::{Value, json};

use crate::stage::Home;

/// Made up: `{"exp":2019686399,"https://api.openai.com/auth":{"chatgpt_account_id":"acct-1"}}`.
const ACCESS: &str = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjIwMTk2ODYzOTksImh0dHBzOi8vYXBpLm9wZW5haS5jb20vYXV0aCI6eyJjaGF0Z3B0X2FjY291bnRfaWQiOiJhY2N0LTEifX0.c2lnbmF0dXJl";
const REFRESH: &str = "rt_made-up-of-codex";

fn staged(release: &str, sink: &str) -> Home {
    let home = Home::new();
    home.openclaw(release, &["main"]);
    home.mkdir(".codex");
    let document = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "last_refresh": "2026-11-20T08:00:00Z",
        "tokens": {"id_token": ACCESS, "access_token": ACCESS, "refresh_token": REFRESH, "account_id": "acct-1"}});
    home.write(".codex/auth.json", document.to_string());
    home.configure(&format!(
        "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"codex\"\n{sink}\n"
    ));
    home
}

const STORE: &str = ".openclaw/agents/main/agent/auth-profiles.json";

fn profile(home: &Home, id: &str) -> Value {
    serde_json::from_str::<Value>(&home.read(STORE)).unwrap()["profiles"][id].take()
}

fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_codex_login_is_supplied_as_its_release_takes_it() {
    let whole = json!({"type": "oauth", "provider": "openai-codex", "access": ACCESS, "refresh": REFRESH,
        "accountId": "acct-1", "expires": 2_019_686_399_000_i64});
    let mut bare = whole.clone();
    bare.as_object_mut().unwrap().remove("refresh");
    let token = json!({"type": "token", "provider": "openai-codex", "token": ACCESS, "expires": 2_019_686_399_000_i64});
    let auto = "kind = \"openclaw\"";
    let oauth = "kind = \"auth-profiles\"\nform = \"oauth\"";
    for (release, sink, expected) in [
        ("2026.2.9", auto, &token),
        ("2026.2.25", oauth, &whole),
        ("2026.2.26", auto, &token),
        ("2026.2.26", oauth, &bare),
    ] {
        let home = staged(release, sink);
        let report = home.run(&["sync", "--json"]).json();
        assert_eq!(report["sinks"][0]["state"], "current", "{release} {sink}: {report}");
        assert_eq!(&profile(&home, "openai-codex:default"), expected, "{release} {sink}");
        let is_handed_over = expected.get("refresh").is_some();
        assert_eq!(codes(&report).contains(&"DUPLICATE_FAMILY".to_owned()), is_handed_over, "{report}");
        home.assert_told_nothing(&report.to_string());
    }
}

#[test]
fn what_openclaw_copied_from_codex_itself_is_left_to_it_and_told_as_a_second_copy() {
    let home = staged("2026.3.31", "kind = \"openclaw\"");
    let own = json!({"type": "oauth", "provider": "openai-codex", "access": ACCESS, "refresh": REFRESH,
        "expires": 2_019_686_399_000_i64});
    let store = json!({"version": 1, "profiles": {"openai-codex:default": own}}).to_string();
    home.write(STORE, &store);
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert!(codes(&report).contains(&"DUPLICATE_FAMILY".to_owned()), "{report}");
    assert_eq!(home.read(STORE), store);
    home.assert_told_nothing(&report.to_string());
}

#[test]
fn a_database_has_a_codex_login_of_its_own() {
    let home = staged("2026.9.6", "kind = \"openclaw\"\nmanage = true");
    home.mkdir(".openclaw/state");
    home.write(".openclaw/state/openclaw.sqlite", "SQLite format 3\0");
    let before = home.read(STORE);
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "STORE_RETIRED", "{report}");
    assert!(report["findings"].to_string().contains("openclaw models auth login"), "{report}");
    assert_eq!(home.read(STORE), before);
    assert!(!home.path(".local/state/tokensink/mirrors").exists());
}

impl Home {
    fn assert_told_nothing(&self, text: &str) {
        assert!(!text.contains(REFRESH) && !text.contains(ACCESS), "{text}");
        assert!(
            !fs::read_to_string(self.path(".local/state/tokensink/state.json")).unwrap().contains(REFRESH)
        );
    }
}
