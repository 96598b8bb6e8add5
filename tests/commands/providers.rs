//! Logins of CLIs that are read and never refreshed: found where their own CLI keeps them, shown,
//! handed to sinks, left alone.

use serde_json::Value;

use crate::stage::{CANARY, Home};

/// A provider, its variable and the directory that it names, its file there, and its document with
/// `ACCESS`, `REFRESH` and the end of the year 2033.
struct Row {
    provider: &'static str,
    variable: Option<(&'static str, &'static str)>,
    default: &'static str,
    moved: &'static str,
    document: &'static str,
    is_static: bool,
    husk: &'static str,
}

const ROWS: [Row; 6] = [
    Row {
        provider: "gemini",
        variable: Some(("GEMINI_CLI_HOME", "moved")),
        default: ".gemini/oauth_creds.json",
        moved: "moved/.gemini/oauth_creds.json",
        document: r#"{"access_token":"ACCESS","refresh_token":"REFRESH","scope":"a b","token_type":"Bearer",
            "id_token":"x.y.z","expiry_date":2019686399000}"#,
        is_static: false,
        husk: "{}",
    },
    Row {
        provider: "qwen",
        variable: None,
        default: ".qwen/oauth_creds.json",
        moved: "",
        document: r#"{"access_token":"ACCESS","token_type":"Bearer","refresh_token":"REFRESH",
            "resource_url":"portal.example","expiry_date":2019686399000}"#,
        is_static: false,
        husk: "{}",
    },
    Row {
        provider: "kimi",
        variable: Some(("KIMI_CODE_HOME", "moved")),
        default: ".kimi-code/credentials/kimi-code.json",
        moved: "moved/credentials/kimi-code.json",
        document: r#"{"access_token":"ACCESS","refresh_token":"REFRESH","expires_at":2019686399.0,"expires_in":900,
            "scope":"kimi-code","token_type":"Bearer"}"#,
        is_static: false,
        husk: r#"{"access_token":"","refresh_token":"","expires_at":0,"scope":"","token_type":"Bearer"}"#,
    },
    Row {
        provider: "opencode",
        variable: Some(("XDG_DATA_HOME", "moved")),
        default: ".local/share/opencode/auth.json",
        moved: "moved/opencode/auth.json",
        document: r#"{"other":{"type":"api","key":"k"},"openai":{"type":"oauth","access":"ACCESS","refresh":"REFRESH",
            "expires":2019686399000,"accountId":"acct-1"}}"#,
        is_static: false,
        husk: r#"{"other":{"type":"api","key":"k"}}"#,
    },
    Row {
        provider: "copilot",
        variable: Some(("COPILOT_HOME", "moved")),
        default: ".copilot/config.json",
        moved: "moved/config.json",
        document: "// comments\n{\"lastLoggedInUser\":{\"host\":\"https://github.com\",\"login\":\"ann\"},\
            \"authTokens\":{\"https://github.com:ann:github\":{\"token\":\"ACCESS\"}},}",
        is_static: true,
        husk: "{\"banner\":\"never\"}",
    },
    Row {
        provider: "minimax",
        variable: Some(("MMX_CONFIG_DIR", "moved")),
        default: ".mmx/config.json",
        moved: "moved/config.json",
        document: r#"{"region":"global","oauth":{"access_token":"ACCESS","refresh_token":"REFRESH",
            "expires_at":"2033-12-31T23:59:59.000Z","region":"global","account":"a-1"}}"#,
        is_static: false,
        husk: r#"{"region":"global"}"#,
    },
];

#[test]
fn a_login_of_every_read_only_provider_is_shown_handed_on_and_left_alone() {
    std::thread::scope(|scope| {
        for row in &ROWS {
            scope.spawn(|| judge(row));
        }
    });
}

fn judge(row: &Row) {
    let places = [Some((row.default, None)), row.variable.map(|variable| (row.moved, Some(variable)))];
    for (place, variable) in places.into_iter().flatten() {
        let name = format!("{} at {place}", row.provider);
        let mut home = Home::new();
        if let Some((variable, directory)) = variable {
            home.set(variable, home.path(directory).display().to_string());
        }
        let (access, refresh) = (format!("{CANARY}-access"), format!("{CANARY}-refresh"));
        let document = row.document.replace("ACCESS", &access).replace("REFRESH", &refresh);
        home.mkdir(place.rsplit_once('/').unwrap().0);
        home.holds_tokens(place);
        home.holds_tokens("sinks/copy.json");
        home.write(place, &document);
        home.configure(&format!(
                "[[login]]\nid = \"it\"\nprovider = \"{}\"\n[[sink]]\nid = \"copy\"\nlogin = \"it\"\nkind = \"secret-file\"\n\
                 path = \"~/sinks/copy.json\"\n",
                row.provider
            ));

        let synced = home.run(&["sync"]);
        assert_eq!(synced.code, 0, "{name}: {synced:?}");
        let copy = home.read("sinks/copy.json");
        assert!(copy.contains(&access) && !copy.contains(&refresh), "{name}");
        let shown: Value = serde_json::from_str(&home.run(&["status", "--json"]).stdout).unwrap();
        let login = &shown["logins"][0];
        assert_eq!((&login["state"], &shown["overall"]), (&"ok".into(), &"ok".into()), "{name}: {shown}");
        assert_eq!(login["refreshable"], !row.is_static, "{name}");
        let end = if row.is_static { Value::Null } else { 2_019_686_399_000_i64.into() };
        assert_eq!(login["access_expires_at"], end, "{name}: {shown}");

        let refused = home.run(&["refresh", "--force"]);
        assert_eq!(refused.code, 1, "{name}: {refused:?}");
        assert!(refused.stdout.contains("blocked"), "{name}: {refused:?}");
        assert_eq!(home.read(place), document, "{name}: never written");

        // What the CLI leaves when it is logged out is not handed on.
        home.write(place, row.husk);
        assert_eq!(home.run(&["sync"]).code, 0, "{name}");
        assert!(home.read("sinks/copy.json").contains(&access), "{name}");
        assert_eq!(home.run(&["status", "--simple"]).stdout, "LOGIN_NEEDED\n", "{name}");
        home.finish();
    }
}
