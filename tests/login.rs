//! First logins, against authorization servers that check every parameter. Each test has a network of its own, because
//! the callback ports are fixed by the provider. Needs root. No real account, no network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod support;

use std::os::unix::fs::PermissionsExt;

use support::alone::alone;
use support::login_bench::{LoginBench, get_url};
use support::provider::OPENAI_ACCOUNT;

#[test]
fn the_browser_brings_the_code_and_the_login_is_stored_listed_and_refreshed() {
    alone("the_browser_brings_the_code_and_the_login_is_stored_listed_and_refreshed", || {
        let bench = LoginBench::new();
        let mut login = bench.login(&["codex", "--no-browser"]);
        let page = get_url(&bench.sent_to(&login.url()));
        assert!(page.status == 200 && page.body.contains("closed"), "{page:?}");
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        bench.assert_no_secret_in(&ran.stdout);

        let live = bench.provider.ledger().live("login").clone();
        let stored = bench.stored("codex");
        assert_eq!(stored["access"], live.access.as_str());
        assert_eq!(stored["refresh"], live.refresh.as_str());
        assert_eq!(stored["accountId"], OPENAI_ACCOUNT);
        let store = bench.home.join(".local/state/tokensink/logins");
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.clone()), mode(store.join("codex.json"))), (0o700, 0o600));

        let status: serde_json::Value = serde_json::from_str(bench.run(&["status", "--json"]).ok()).unwrap();
        let entry = &status["logins"][0];
        assert_eq!((&entry["id"], &entry["state"]), (&"codex".into(), &"ok".into()), "{status}");
        // Its end is the token's own, not the one second that the answer says.
        let ends = stored["expires"].as_i64().unwrap();
        assert_eq!(entry["access_expires_at"].as_i64(), Some(ends));
        assert!(ends > support::claude::in_seconds(863_000), "{ends}");

        let refreshed = bench.run(&["refresh", "--force"]);
        assert!(refreshed.ok().contains("rotated"), "{refreshed}");
        let after = bench.provider.ledger().live("login").clone();
        assert_eq!(bench.stored("codex")["refresh"], after.refresh.as_str());
        assert_ne!(after.refresh, live.refresh);
    });
}
