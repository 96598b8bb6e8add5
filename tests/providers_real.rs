//! The real CLIs of the providers that are only read: what tokensink leaves of their logins is a login to them.
//! Of Qwen Code an older release: 0.24.4 refuses to run with such a login since its vendor ended that tier, before it
//! uses the file.
//!
//! Needs root (a network namespace with nothing but loopback) and npm (once). No real account, no network.
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
use std::path::Path;
use std::process::Command;

use support::npm;
use support::remote::Remote;
use support::run::{Ran, run};

/// A CLI, its login, and how it shows that it has read it.
struct Row {
    provider: &'static str,
    package: &'static str,
    program: &'static str,
    file: &'static str,
    document: &'static str,
    /// Beside the login, what makes the CLI use it.
    settings: &'static [(&'static str, &'static str)],
    arguments: &'static [&'static str],
    shows: Shows,
}

enum Shows {
    /// It prints this.
    Text(&'static str),
    /// It sends the access token to its provider.
    Bearer,
}

const ACCESS: &str = "made-up-access-token";

const ROWS: [Row; 6] = [
    Row {
        provider: "gemini",
        package: "@google/gemini-cli@0.61.0",
        program: "node_modules/.bin/gemini",
        file: ".gemini/oauth_creds.json",
        document: r#"{"access_token":"made-up-access-token","refresh_token":"made-up-refresh-token",
            "scope":"https://www.googleapis.com/auth/cloud-platform","token_type":"Bearer","id_token":"x.y.z",
            "expiry_date":2019686399000}"#,
        settings: &[(".gemini/settings.json", r#"{"security":{"auth":{"selectedType":"oauth-personal"}}}"#)],
        arguments: &["-p", "hi"],
        shows: Shows::Bearer,
    },
    Row {
        provider: "qwen",
        package: "@qwen-code/qwen-code@0.10.1",
        program: "node_modules/.bin/qwen",
        file: ".qwen/oauth_creds.json",
        document: r#"{"access_token":"made-up-access-token","refresh_token":"made-up-refresh-token",
            "token_type":"Bearer","resource_url":"portal.qwen.ai","expiry_date":2019686399000}"#,
        settings: &[(".qwen/settings.json", r#"{"security":{"auth":{"selectedType":"qwen-oauth"}}}"#)],
        arguments: &["-p", "hi"],
        shows: Shows::Bearer,
    },
    Row {
        provider: "kimi",
        package: "@moonshot-ai/kimi-code@2.1.0",
        program: "node_modules/.bin/kimi",
        file: ".kimi-code/credentials/kimi-code.json",
        document: r#"{"access_token":"made-up-access-token","refresh_token":"made-up-refresh-token",
            "expires_at":2019686399,"expires_in":900,"scope":"kimi-code","token_type":"Bearer"}"#,
        // What its own login leaves beside the file.
        settings: &[(
            ".kimi-code/config.toml",
            "default_model = \"kimi-code/k\"\n[providers.\"managed:kimi-code\"]\ntype = \"kimi\"\napi_key = \"\"\n\
             base_url = \"https://api.kimi.com/coding/v1\"\noauth = { storage = \"file\", key = \"oauth/kimi-code\" }\n\
             [models.\"kimi-code/k\"]\nprovider = \"managed:kimi-code\"\nmodel = \"k\"\nmax_context_size = 262144\n",
        )],
        arguments: &["-p", "hi"],
        shows: Shows::Bearer,
    },
    Row {
        provider: "opencode",
        package: "opencode-ai@1.18.33",
        program: "node_modules/opencode-linux-x64-baseline/bin/opencode",
        file: ".local/share/opencode/auth.json",
        document: r#"{"openai":{"type":"oauth","access":"made-up-access-token","refresh":"made-up-refresh-token",
            "expires":2019686399000,"accountId":"acct-1"}}"#,
        settings: &[],
        arguments: &["auth", "list"],
        shows: Shows::Text("1 credentials"),
    },
    Row {
        provider: "copilot",
        package: "@github/copilot@1.0.102",
        program: "node_modules/.bin/copilot",
        file: ".copilot/config.json",
        document: r#"{"lastLoggedInUser":{"host":"https://github.com","login":"ann"},
            "loggedInUsers":[{"host":"https://github.com","login":"ann"}],
            "authTokens":{"https://github.com:ann:github":{"token":"made-up-access-token"}}}"#,
        settings: &[],
        arguments: &["-p", "hi"],
        shows: Shows::Text("Authentication token found"),
    },
    Row {
        provider: "minimax",
        package: "mmx-cli@1.0.27",
        program: "node_modules/.bin/mmx",
        file: ".mmx/config.json",
        document: r#"{"region":"global","oauth":{"access_token":"made-up-access-token",
            "refresh_token":"made-up-refresh-token","expires_at":"2033-12-31T23:59:59.000Z","region":"global",
            "account":"a-1"}}"#,
        settings: &[],
        arguments: &["auth", "status"],
        shows: Shows::Text("\"account\": \"a-1\""),
    },
];

fn write(home: &Path, name: &str, text: &str) {
    let file = home.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn inside(provider: &Remote, home: &Path, program: &Path, arguments: &[&str], may_talk: bool) -> Ran {
    let mut command = Command::new("nsenter");
    command.args(["-t", &provider.pid().to_string(), "--net", "timeout", "60"]);
    command.arg(program).args(arguments).current_dir(home).env_clear();
    let node = npm::node().join("bin").display().to_string();
    command.env("HOME", home).env("PATH", format!("{node}:/usr/bin:/bin"));
    if may_talk {
        command.env("HTTPS_PROXY", provider.url()).env("NODE_EXTRA_CA_CERTS", &provider.ca);
        command.env("NODE_USE_ENV_PROXY", "1");
    }
    command.env("TERM", "dumb").env("NO_COLOR", "1");
    run(&mut command, b"")
}

#[test]
fn every_read_only_provider_finds_its_login_as_it_left_it() {
    for row in &ROWS {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("home");
        let mut provider = Remote::isolated(scratch.path());
        write(&home, row.file, row.document);
        for (name, text) in row.settings {
            write(&home, name, text);
        }
        let sink = home.join("handed-on").display().to_string();
        write(
            &home,
            ".config/tokensink/tokensink.toml",
            &format!(
                "[[login]]\nid = \"it\"\nprovider = \"{}\"\n[[sink]]\nid = \"sink\"\nlogin = \"it\"\nkind = \"secret-file\"\n\
                 path = \"{sink}\"\n",
                row.provider
            ),
        );
        let ours = Path::new(env!("CARGO_BIN_EXE_tokensink"));
        // A refresh that somebody asks for is refused, or has nothing to do.
        for (arguments, fits) in [(["sync"], Some(0)), (["refresh"], None), (["status"], Some(0))] {
            let ran = inside(&provider, &home, ours, &arguments, true);
            assert!(fits.is_none_or(|code| ran.code == Some(code)), "{}: {ran}", row.provider);
        }
        assert!(std::fs::read_to_string(&sink).unwrap().contains(ACCESS), "{}", row.provider);
        assert_eq!(std::fs::read_to_string(home.join(row.file)).unwrap(), row.document, "{}", row.provider);
        assert_eq!(provider.ledger().requests.len(), 0, "{}: nothing was sent", row.provider);

        let cli = npm::package(row.package, row.program);
        let ran = inside(&provider, &home, &cli, row.arguments, matches!(row.shows, Shows::Bearer));
        let requests = provider.ledger().requests;
        let asked: Vec<_> =
            requests.iter().map(|r| format!("{} https://{}{}", r.method, r.host, r.path)).collect();
        println!("{}: {asked:?}", row.provider);
        let is_shown = match row.shows {
            Shows::Text(text) => ran.stdout.contains(text) || ran.stderr.contains(text),
            Shows::Bearer => {
                requests.iter().any(|r| r.header("authorization").is_some_and(|value| value.contains(ACCESS)))
            }
        };
        assert!(is_shown, "{}: {asked:?}\n{ran}", row.provider);
        let left = std::fs::read_to_string(home.join(row.file)).unwrap();
        assert!(left.contains(ACCESS), "{}: {left}", row.provider);
    }
}
