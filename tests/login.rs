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

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::alone::alone;
use support::codex;
use support::host::until;
use support::login_bench::{Login, LoginBench, get, get_url, send};
use support::provider::{Fault, OPENAI_ACCOUNT};
use support::run::run;

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

#[test]
fn a_paste_wins_where_every_port_is_taken_and_a_wrong_one_is_asked_for_again() {
    alone("a_paste_wins_where_every_port_is_taken_and_a_wrong_one_is_asked_for_again", || {
        let bench = LoginBench::new();
        let taken = [1455, 1457].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let mut login = bench.login(&["codex", "--no-browser"]);
        let url = login.url();
        assert!(login.said().contains("Every callback port of this machine is taken"), "{}", login.said());
        login.type_line("");
        login.type_line("http://127.0.0.1:1455/auth/callback?code=ac_other&state=of-another-login");
        login.wait_for("does not belong to this login");
        login.type_line(&bench.sent_to(&url));
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        assert_eq!(bench.provider.ledger().token_requests().count(), 1);
        // Nobody is there who could paste.
        let mut login = bench.login(&["codex", "--no-browser"]);
        login.close_input();
        let ran = login.end();
        assert!(ran.code == Some(1) && ran.stdout.contains("there is no standard input"), "{ran}");
        drop(taken);
    });
}

#[test]
fn the_second_port_is_used_when_the_first_is_taken() {
    alone("the_second_port_is_used_when_the_first_is_taken", || {
        let bench = LoginBench::new();
        let _taken = TcpListener::bind(("127.0.0.1", 1455)).unwrap();
        let mut login = bench.login(&["codex", "--no-browser"]);
        let back = bench.sent_to(&login.url());
        assert!(back.starts_with("http://127.0.0.1:1457/auth/callback?"), "{back}");
        assert_eq!(get_url(&back).status, 200);
        assert_eq!(login.end().code, Some(0));
        // The port is open for that while only.
        assert!(std::net::TcpStream::connect(("127.0.0.1", 1457)).is_err());
    });
}

#[test]
fn of_a_paste_and_a_callback_at_once_one_is_traded_once() {
    alone("of_a_paste_and_a_callback_at_once_one_is_traded_once", || {
        for round in 0..4 {
            let bench = LoginBench::new();
            let mut login = bench.login(&["codex", "--no-browser"]);
            let back = bench.sent_to(&login.url());
            let (code, state) = back.split_once("code=").unwrap().1.split_once("&state=").unwrap();
            let typed =
                [back.clone(), format!("{code}#{state}"), format!("?state={state}&code={code}"), code.into()];
            std::thread::scope(|scope| {
                let browser = scope.spawn(|| std::net::TcpStream::connect(("127.0.0.1", 1455)).map(drop));
                login.type_line(&typed[round]);
                drop(browser.join());
                // Refused by then, or answered: both are fine.
                if std::net::TcpStream::connect(("127.0.0.1", 1455)).is_ok() {
                    let _ = std::panic::catch_unwind(|| get_url(&back));
                }
            });
            let ran = login.end();
            assert_eq!(ran.code, Some(0), "{round}: {ran}");
            assert_eq!(bench.provider.ledger().token_requests().count(), 1, "{round}");
        }
    });
}

/// What may go wrong, and what is said then.
type Mishap = (&'static str, fn(&LoginBench, &mut Login), &'static str);

#[test]
fn whatever_ends_an_attempt_leaves_everything_as_it_was() {
    alone("whatever_ends_an_attempt_leaves_everything_as_it_was", || {
        let mishaps: [Mishap; 11] = [
            ("nobody comes back", |_, login| drop(login.url()), "nobody came back in time"),
            (
                "another state comes back",
                |_, login| {
                    login.url();
                    let page = get_url("http://127.0.0.1:1455/auth/callback?code=ac_x&state=another");
                    assert_eq!(page.status, 400);
                },
                "nobody came back in time",
            ),
            (
                "the person says no",
                |_, login| {
                    let url = login.url();
                    let state = url.split_once("&state=").unwrap().1.split('&').next().unwrap();
                    let said = "error=access_denied&error_description=%3Cscript%3E%1B%5B2J";
                    let page = get_url(&format!("http://127.0.0.1:1455/auth/callback?{said}&state={state}"));
                    assert!(page.status == 200 && !page.body.contains("script"), "{page:?}");
                },
                "the provider refused: access_denied (<script> [2J)",
            ),
            (
                "the code is too old",
                |bench, login| {
                    let back = bench.sent_to(&login.url());
                    bench.provider.expire_codes();
                    get_url(&back);
                },
                "the provider refused: invalid_grant",
            ),
            (
                "the code is one that was used",
                |bench, login| {
                    let url = login.url();
                    let back = bench.sent_to(&url);
                    bench.provider.expire_codes();
                    login.type_line(back.split_once("code=").unwrap().1.split('&').next().unwrap());
                },
                "or is too old [31m !)",
            ),
            (
                "it is interrupted",
                |_, login| {
                    login.url();
                    signal(login.id(), nix::sys::signal::Signal::SIGINT);
                },
                "stopped; nothing was changed",
            ),
            (
                "it is terminated",
                |_, login| {
                    login.url();
                    signal(login.id(), nix::sys::signal::Signal::SIGTERM);
                },
                "stopped; nothing was changed",
            ),
            (
                "the server fails",
                |bench, login| {
                    bench.provider.set(|s| s.status = Some(503));
                    drop(get_url(&bench.sent_to(&login.url())));
                },
                "answered with status 503",
            ),
            (
                "the answer is cut off",
                |bench, login| {
                    bench.provider.set(|s| s.fault = Fault::CutAfterGrant);
                    drop(get_url(&bench.sent_to(&login.url())));
                },
                "no answer that can be read",
            ),
            (
                "the answer is a page",
                |bench, login| {
                    bench.provider.set(|s| s.fault = Fault::GarbageBody);
                    drop(get_url(&bench.sent_to(&login.url())));
                },
                "cannot be read",
            ),
            (
                "there is no refresh token",
                |bench, login| {
                    bench.provider.set(|s| s.rotate = false);
                    drop(get_url(&bench.sent_to(&login.url())));
                },
                "gave no refresh token",
            ),
        ];
        for (what, happens, said) in mishaps {
            for holds_one in [false, true] {
                let bench = LoginBench::new();
                if holds_one {
                    bench.hold_codex_login();
                }
                let before = bench.files();
                let mut login = bench.login(&["codex", "--no-browser", "--patience", "2"]);
                happens(&bench, &mut login);
                let ran = login.end();
                assert!(ran.code == Some(1) && ran.stdout.contains(said), "{what}: {ran}");
                assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains('\u{202e}'), "{what}: {ran}");
                bench.assert_no_secret_in(&ran.stdout);
                assert_eq!(bench.files(), before, "{what}");
                let revoked = bench.provider.ledger().requests.iter().any(|r| r.path.contains("revoke"));
                assert!(!revoked, "{what}");
            }
        }
    });
}

fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

#[test]
fn another_account_is_refused_unless_it_is_wanted_and_then_kept_aside_and_handed_on() {
    alone("another_account_is_refused_unless_it_is_wanted_and_then_kept_aside_and_handed_on", || {
        let bench = LoginBench::new();
        bench.configure(
            "[[login]]\nid = \"work\"\nprovider = \"codex\"\npath = \"~/.local/state/tokensink/logins/work.json\"\n\
             [[sink]]\nid = \"copy\"\nlogin = \"work\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n",
        );
        let log_in = |more: &[&str]| {
            let mut login = bench.login(&[&["codex", "--no-browser"][..], more].concat());
            get_url(&bench.sent_to(&login.url()));
            login.end()
        };
        let copy = || std::fs::read_to_string(bench.home.join("copy.json")).unwrap();
        assert_eq!(log_in(&[]).code, Some(0));
        let first = bench.stored("work");
        assert!(copy().contains(first["access"].as_str().unwrap()), "one pass has supplied the sink");

        bench.provider.set(|s| s.account = Some("acct-of-somebody-else".into()));
        let ran = log_in(&[]);
        assert!(ran.code == Some(1) && ran.stdout.contains("ACCOUNT_MISMATCH"), "{ran}");
        assert_eq!(bench.stored("work"), first);

        let ran = log_in(&["--replace-account"]);
        assert_eq!(ran.code, Some(0), "{ran}");
        let second = bench.stored("work");
        assert_eq!(second["accountId"], "acct-of-somebody-else");
        assert!(copy().contains(second["access"].as_str().unwrap()), "the sink has the new account's");
        let kept = std::fs::read_dir(bench.home.join(".local/state/tokensink/displaced")).unwrap();
        let kept: Vec<_> =
            kept.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        assert!(
            kept.iter().any(|text| text.contains(first["refresh"].as_str().unwrap())),
            "the old one is kept"
        );

        // The configuration has it: no drop-in was written.
        assert!(!bench.home.join(".config/tokensink/tokensink.d").exists());
    });
}

#[test]
fn a_second_login_replaces_the_first_and_the_entry_is_written_once() {
    alone("a_second_login_replaces_the_first_and_the_entry_is_written_once", || {
        let bench = LoginBench::new();
        let log_in = |arguments: &[&str]| {
            let mut login = bench.login(&[arguments, &["--no-browser"]].concat());
            get_url(&bench.sent_to(&login.url()));
            login.end()
        };
        assert_eq!(log_in(&["codex"]).code, Some(0));
        let (first, entries) = (bench.stored("codex"), bench.entries());
        assert_eq!(entries, ["60-login-codex.toml"]);
        assert_eq!(log_in(&["codex"]).code, Some(0));
        assert_ne!(bench.stored("codex")["refresh"], first["refresh"]);
        assert_eq!(bench.entries(), entries);
        // Another id is another login, also of the same account.
        assert_eq!(log_in(&["codex", "--id", "second"]).code, Some(0));
        assert_eq!(bench.entries(), ["60-login-codex.toml", "60-login-second.toml"]);
        let ran = bench.run(&["login", "codex"]);
        assert!(ran.code == Some(64) && ran.stderr.contains("--id (codex, second)"), "{ran}");
    });
}

#[test]
fn hostile_callers_of_the_callback_get_fixed_pages_and_the_browser_still_gets_through() {
    alone("hostile_callers_of_the_callback_get_fixed_pages_and_the_browser_still_gets_through", || {
        let bench = LoginBench::new();
        let mut login = bench.login(&["codex", "--no-browser"]);
        let url = login.url();
        let state = url.split_once("&state=").unwrap().1.split('&').next().unwrap();
        let own = "127.0.0.1:1455";
        let good = format!("/auth/callback?code=ac_x&state={state}");
        for (host, path, status) in [
            (own, "/".to_owned(), 404),
            (own, "/cancel".to_owned(), 404),
            (own, "/auth/callback/../x".to_owned(), 404),
            (own, "/auth/callback".to_owned(), 400),
            (own, format!("/auth/callback?state={state}"), 400),
            (own, "/auth/callback?code=<script>alert(1)</script>&state=x".to_owned(), 400),
            (own, format!("{good}&code=ac_y"), 400),
            ("evil.example:1455", good.clone(), 421),
            ("127.0.0.1", good.clone(), 421),
            (own, format!("{good}&{}", "x".repeat(20_000)), 431),
        ] {
            let page = get(1455, host, &path);
            assert_eq!(page.status, status, "{host} {:.60}: {page:?}", path);
            assert!(!page.body.contains("script") && !page.body.contains("ac_"), "{page:?}");
        }
        for method in ["POST", "HEAD", "OPTIONS"] {
            let request = format!("{method} {good} HTTP/1.1\r\nHost: {own}\r\n\r\n");
            assert_eq!(send(1455, &request).status, 405, "{method}");
        }
        let answer = send(1455, &format!("GET {good} HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n"));
        assert_eq!(answer.status, 421);
        // Browsers open connections that they do not use, and some never send a byte.
        let idle: Vec<_> =
            (0..40).map(|_| std::net::TcpStream::connect(("127.0.0.1", 1455)).unwrap()).collect();
        assert_eq!(get_url(&bench.sent_to(&url)).status, 200);
        assert_eq!(login.end().code, Some(0));
        drop(idle);
        assert_eq!(bench.provider.ledger().token_requests().count(), 1, "nothing of that was traded");
    });
}

#[test]
fn a_code_on_another_device_logs_in_to_codex_or_is_refused() {
    alone("a_code_on_another_device_logs_in_to_codex_or_is_refused", || {
        let bench = LoginBench::new();
        bench.provider.set(|s| s.device = vec!["authorization_pending".into()]);
        let ran = bench.login(&["codex", "--device"]).end();
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(ran.stdout.contains("https://auth.openai.com/codex/device\n"), "{ran}");
        assert!(ran.stdout.contains("the code WDJB-MJHT"), "{ran}");
        let live = bench.provider.ledger().live("login").clone();
        assert_eq!(bench.stored("codex")["refresh"], live.refresh.as_str());

        let before = bench.files();
        bench.provider.set(|s| s.device = vec![String::new(), String::new(), "access_denied".into()]);
        let ran = bench.login(&["codex", "--device"]).end();
        assert!(ran.code == Some(1) && ran.stdout.contains("refused: access_denied"), "{ran}");
        assert_eq!(bench.files(), before);
        // Nobody types the code.
        bench.provider.set(|s| s.device = vec!["authorization_pending".into(); 100]);
        let ran = bench.login(&["codex", "--device", "--patience", "2"]).end();
        assert!(ran.code == Some(1) && ran.stdout.contains("nobody came back in time"), "{ran}");
        assert_eq!(bench.files(), before);
    });
}

fn described(bench: &LoginBench, more: &str) {
    std::fs::write(bench.home.join("client.secret"), "not-a-real-secret\n").unwrap();
    let url = bench.provider.url();
    bench.configure(&format!(
        "[[login]]\nid = \"acme\"\nprovider = \"generic\"\n{more}[login.authorize]\nurl = \"{url}/oauth/authorize\"\n\
         device_url = \"{url}/oauth/device\"\nscopes = [\"read\", \"write\"]\n\
         redirect = \"http://localhost/back?from=acme\"\n[login.refresh]\ntoken_url = \"{url}/oauth/token\"\n\
         client_id = \"acme cli\"\nclient_secret_file = \"~/client.secret\"\n"
    ));
}

#[test]
fn a_described_provider_logs_in_by_the_browser_and_is_refreshed_by_the_same_description() {
    alone("a_described_provider_logs_in_by_the_browser_and_is_refreshed_by_the_same_description", || {
        let bench = LoginBench::new();
        described(&bench, "");
        let mut login = bench.login(&["generic", "--id", "acme", "--no-browser"]);
        let back = bench.sent_to(&login.url());
        // Whichever of the two addresses the browser takes for the name.
        let port: u16 =
            back.strip_prefix("http://localhost:").unwrap().split('/').next().unwrap().parse().unwrap();
        for address in ["[::1]", "127.0.0.1"] {
            drop(std::net::TcpStream::connect(format!("{address}:{port}")).expect(address));
        }
        assert_eq!(get_url(&back).status, 200);
        let ran = login.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(!ran.stdout.contains("not-a-real-secret"));
        let stored = bench.stored("acme");
        assert_eq!((&stored["scope"], stored.get("accountId")), (&"read write".into(), None));
        assert!(bench.run(&["refresh", "acme", "--force"]).ok().contains("rotated"));
        let live = bench.provider.ledger().live("login").clone();
        assert_eq!(bench.stored("acme")["refresh"], live.refresh.as_str());
        assert!(bench.entries().is_empty(), "the configuration has it");
    });
}

#[test]
fn a_described_provider_logs_in_by_a_device_code_into_a_document_of_its_own_shape() {
    alone("a_described_provider_logs_in_by_a_device_code_into_a_document_of_its_own_shape", || {
        let bench = LoginBench::new();
        described(
            &bench,
            "path = \"~/acme.json\"\n[login.fields]\naccess_token = \"/session/token\"\n\
             refresh_token = \"/session/renewal\"\nexpires_at = \"/session/until\"\nexpires_unit = \"s\"\n",
        );
        std::fs::write(bench.home.join("acme.json"), "{\"mine\": 1.50, \"session\": {}}\n").unwrap();
        bench.provider.set(|s| s.device = vec!["authorization_pending".into()]);
        let ran = bench.login(&["generic", "--id", "acme", "--device"]).end();
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(ran.stdout.contains("https://acme.example/device\n"), "{ran}");
        let live = bench.provider.ledger().live("login").clone();
        let text = std::fs::read_to_string(bench.home.join("acme.json")).unwrap();
        assert!(
            text.starts_with("{\"mine\": 1.50, \"session\": {\"token\"") && text.ends_with("}\n"),
            "{text}"
        );
        assert!(text.contains(&live.refresh));
        for word in ["access_denied", "expired_token"] {
            let polls = bench.provider.ledger().token_requests().count();
            bench.provider.set(|s| s.device = vec![word.into(); polls + 1]);
            let ran = bench.login(&["generic", "--id", "acme", "--device"]).end();
            assert!(ran.code == Some(1) && ran.stdout.contains(&format!("refused: {word}")), "{ran}");
            assert_eq!(std::fs::read_to_string(bench.home.join("acme.json")).unwrap(), text);
        }
    });
}

#[test]
fn the_daemon_keeps_a_login_of_our_own_store_alive() {
    alone("the_daemon_keeps_a_login_of_our_own_store_alive", || {
        let bench = LoginBench::new();
        bench.provider.set(|s| s.expires_in = 1);
        let mut login = bench.login(&["codex", "--no-browser"]);
        get_url(&bench.sent_to(&login.url()));
        assert_eq!(login.end().code, Some(0));
        let first = bench.live();
        bench.provider.set(|s| s.expires_in = 864_000);
        let mut daemon = bench.start(&mut bench.command(&["daemon"]));
        until("the daemon has refreshed it", 30, || {
            bench.stored("codex")["refresh"] != first.refresh.as_str()
        });
        assert_eq!(bench.stored("codex")["refresh"], bench.live().refresh.as_str());
        signal(daemon.id(), nix::sys::signal::Signal::SIGTERM);
        let ran = daemon.end();
        assert_eq!(ran.code, Some(0), "{ran}");
        bench.assert_no_secret_in(&ran.stdout);
        assert_eq!(bench.provider.ledger().refused(), 0);
    });
}

#[test]
fn a_new_login_ends_whatever_became_of_the_old_one() {
    alone("a_new_login_ends_whatever_became_of_the_old_one", || {
        let bench = LoginBench::new();
        bench.hold_codex_login();
        let log_in = || {
            let mut login = bench.login(&["codex", "--no-browser"]);
            get_url(&bench.sent_to(&login.url()));
            login.end()
        };
        let state = || bench.run(&["status", "--simple"]).stdout;
        let refresh = || bench.run(&["refresh", "--force", "--via", "direct"]);

        // A refresh whose outcome nobody knows.
        bench.provider.set(|s| s.fault = Fault::CutAfterGrant);
        assert_eq!(refresh().code, Some(1));
        bench.provider.set(|s| s.fault = Fault::None);
        assert_eq!(log_in().code, Some(0));
        assert_eq!(state(), "OK\n");
        assert!(refresh().ok().contains("rotated"));

        // A login that the provider has ended.
        let refused = r#"{"error":{"code":"refresh_token_invalidated","message":"refused"}}"#;
        bench.provider.set(|s| (s.status, s.body) = (Some(401), refused.into()));
        assert_eq!(refresh().code, Some(1));
        bench.run(&["sync"]).ok();
        assert_eq!(state(), "LOGIN_NEEDED\n");
        bench.provider.set(|s| s.status = None);
        assert_eq!(log_in().code, Some(0));
        assert_eq!(state(), "OK\n");
        assert!(refresh().ok().contains("rotated"));
        let text = std::fs::read_to_string(bench.home.join(".codex/auth.json")).unwrap();
        assert!(text.contains(&bench.live().refresh) && text.contains("unknownBeside"));
    });
}

#[test]
fn a_browser_is_opened_where_it_can_be_seen_and_nowhere_else() {
    alone("a_browser_is_opened_where_it_can_be_seen_and_nowhere_else", || {
        let bench = LoginBench::new();
        let bin = bench.home.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let opened = bench.home.join("opened");
        std::fs::write(
            bin.join("xdg-open"),
            "#!/bin/sh\nprintf %s \"$1\" >\"$HOME/opened.new\" && mv \"$HOME/opened.new\" \"$HOME/opened\"\n",
        )
        .unwrap();
        std::fs::set_permissions(bin.join("xdg-open"), PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        for (variables, more, is_opened) in [
            (&[("DISPLAY", ":7")][..], "--replace-account", true),
            (&[("WAYLAND_DISPLAY", "wayland-0")], "--replace-account", true),
            (&[("DISPLAY", ":7")], "--no-browser", false),
            (&[("DISPLAY", ":7"), ("SSH_CONNECTION", "a b c d")], "--replace-account", false),
            (&[], "--replace-account", false),
        ] {
            let mut command = bench.command(&["login", "codex", more]);
            command.env("PATH", &path).envs(variables.iter().copied());
            let login = bench.start(&mut command);
            let url = login.url();
            assert_eq!(login.said().contains("A browser was opened"), is_opened, "{variables:?}");
            if is_opened {
                until("the browser is opened", 20, || opened.exists());
                assert_eq!(std::fs::read_to_string(&opened).unwrap(), url);
                std::fs::remove_file(&opened).unwrap();
            }
            assert!(!opened.exists());
        }
    });
}

#[test]
fn what_cannot_be_logged_in_to_says_so_at_once() {
    alone("what_cannot_be_logged_in_to_says_so_at_once", || {
        let bench = LoginBench::new();
        let home = bench.home.clone();
        let only = home.join("only.toml");
        std::fs::write(&only, "[daemon]\npoll = \"5s\"\n").unwrap();
        bench.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
        for (arguments, code, said) in [
            (&["codx"][..], 64, "there is no provider codx"),
            (&["gemini"], 64, "does not log in to gemini"),
            (&["codex", "--id", "claude"], 64, "is one of claude"),
            (&["codex", "--id", "../x"], 64, "the id of a login"),
            (&["codex", "--setup-token"], 64, "is for the provider claude"),
            (&["generic", "--id", "nobody"], 64, "[login.authorize]"),
            (&["codex", "--config", only.to_str().unwrap()], 64, "not ours to change"),
        ] {
            let before = bench.files();
            let ran = bench.run(&[&["login"], arguments].concat());
            assert!(ran.code == Some(code) && ran.stderr.contains(said), "{arguments:?}: {ran}");
            assert_eq!(bench.files(), before);
        }
        // Codex's own directory is not ours to make.
        bench.configure("[[login]]\nid = \"codex\"\nprovider = \"codex\"\n");
        let ran = bench.run(&["login", "codex"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("is not there"), "{ran}");
        assert_eq!(bench.provider.ledger().requests.len(), 0);
    });
}

/// Names and values of a query or form.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_real_codex_asks_for_a_login_in_the_same_words() {
    alone("the_real_codex_asks_for_a_login_in_the_same_words", || {
        let bench = LoginBench::new();
        let mut login = bench.login(&["codex", "--no-browser"]);
        let ours = login.url();
        get_url(&bench.sent_to(&ours));
        assert_eq!(login.end().code, Some(0));

        let real_home = bench.home.join("real");
        codex::configure(&real_home.join(".codex"), &bench.provider.url());
        let mut command = Command::new(support::npm::codex(codex::VERSION));
        let environment = codex::environment(&real_home.display().to_string(), &bench.provider.url());
        command.env_clear().envs(environment).current_dir(&real_home).arg("app-server");
        command.env("CODEX_APP_SERVER_LOGIN_ISSUER", bench.provider.url());
        let mut real = bench.start(&mut command);
        real.type_line(
            r#"{"id":1,"method":"initialize","params":{"clientInfo":{"name":"test","version":"0"}}}"#,
        );
        real.type_line(r#"{"method":"initialized"}"#);
        real.type_line(r#"{"id":2,"method":"account/login/start","params":{"type":"chatgpt"}}"#);
        real.wait_for("authUrl");
        let said = real.said();
        let theirs = said.split_once("\"authUrl\":\"").unwrap().1.split('"').next().unwrap();
        let status = get_url(&bench.sent_to(theirs)).status;
        assert_eq!(status, 302, "it goes on to a page of its own");

        // What differs: who asks, and what is random.
        let ours = pairs(ours.split_once('?').unwrap().1);
        let theirs = pairs(theirs.split_once('?').unwrap().1);
        let names: Vec<_> = ours.keys().collect();
        assert_eq!(names, theirs.keys().collect::<Vec<_>>());
        let different: Vec<_> = ours.iter().filter(|(name, value)| theirs[*name] != **value).collect();
        let different: Vec<_> = different.into_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(different, ["code_challenge", "originator", "state"]);
        let ledger = bench.provider.ledger();
        let exchanges: Vec<_> = ledger.token_requests().take(2).collect();
        assert_eq!(exchanges[0].header("content-type"), exchanges[1].header("content-type"));
        let (ours, theirs) = (pairs(&exchanges[0].body), pairs(&exchanges[1].body));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        assert_eq!(
            (&ours["client_id"], &ours["redirect_uri"]),
            (&theirs["client_id"], &theirs["redirect_uri"])
        );
    });
}

#[test]
fn the_real_codex_goes_on_with_a_login_that_was_stored_in_its_file() {
    alone("the_real_codex_goes_on_with_a_login_that_was_stored_in_its_file", || {
        let bench = LoginBench::new();
        let url = bench.provider.url();
        for is_first in [true, false] {
            codex::configure(&bench.home.join(".codex"), &url);
            bench.configure("[[login]]\nid = \"codex\"\nprovider = \"codex\"\n");
            // Ends within the last five minutes, so that Codex refreshes at its next turn.
            bench.provider.set(|s| s.expires_in = 280);
            let mut login = bench.login(&["codex", "--no-browser"]);
            get_url(&bench.sent_to(&login.url()));
            let ran = login.end();
            assert_eq!(ran.code, Some(0), "{is_first}: {ran}");
            let stored = bench.live();
            let file = bench.home.join(".codex/auth.json");
            let held = || std::fs::read_to_string(&file).unwrap();
            assert!(held().contains(&stored.refresh));

            let real = |arguments: &[&str]| {
                let mut command = Command::new(support::npm::codex(codex::VERSION));
                let environment = codex::environment(&bench.home.display().to_string(), &url);
                command.env_clear().envs(environment).current_dir(&bench.home);
                run(command.args(arguments), b"")
            };
            let status = real(&["login", "status"]);
            assert!(status.code == Some(0) && status.stderr.contains("Logged in using ChatGPT"), "{status}");
            bench.provider.set(|s| s.expires_in = 864_000);
            let turn = real(&codex::EXEC);
            assert_eq!(turn.code, Some(0), "{turn}");
            // It has refreshed what we stored, and its turn was made with that.
            let rotated = bench.live();
            assert_ne!(rotated.refresh, stored.refresh);
            assert!(held().contains(&rotated.refresh));
            assert_eq!(bench.provider.ledger().refused(), 0);
            // And what it wrote is read from here.
            assert!(bench.run(&["status", "--simple"]).ok().contains("OK"));
        }
    });
}
