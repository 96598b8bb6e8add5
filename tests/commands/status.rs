//! `status` in every form over every state of a login.

use std::path::Path;
use std::process::Command;

use crate::on_terminal::{OnTerminal, holding};
use crate::stage::{Home, Login, STATE, base_ms, husk};

/// A row of the table of verdicts.
struct Row {
    name: &'static str,
    file: Option<String>,
    state: &'static str,
    simple: &'static str,
    check: i32,
    access: i32,
}

fn row(
    name: &'static str,
    file: Option<String>,
    state: &'static str,
    simple: &'static str,
    check: i32,
    access: i32,
) -> Row {
    Row { name, file, state, simple, check, access }
}

fn rows() -> Vec<Row> {
    let login = |hours: i64| Login::nth(1).ends_in_hours(hours);
    let file = |login: Login| Some(login.document());
    let whole = login(100).document();
    vec![
        row("far", file(login(100)), "ok", "OK", 0, 0),
        row("far-deadline", file(login(100).deadline_in_hours(500)), "ok", "OK", 0, 0),
        row("eight-hours", file(login(8)), "ok", "OK", 0, 2),
        row("near-deadline", file(login(100).deadline_in_hours(5)), "expiring", "EXPIRING", 2, 0),
        row("renewing", file(login(-1)), "ok", "OK", 0, 1),
        row("static-far", file(login(100).without_refresh()), "ok", "OK", 0, 0),
        row("static-near", file(login(5).without_refresh()), "expiring", "EXPIRING", 2, 2),
        row("static-over", file(login(-1).without_refresh()), "expired", "EXPIRED", 1, 1),
        row("ended-live", file(login(100).deadline_in_hours(-1)), "login_needed", "LOGIN_NEEDED", 2, 0),
        row("ended-over", file(login(-1).deadline_in_hours(-1)), "login_needed", "LOGIN_NEEDED", 1, 1),
        row("husk", Some(husk()), "husk", "LOGIN_NEEDED", 1, 1),
        row("torn", Some(whole[..whole.len() / 2].to_owned()), "unreadable", "MISSING", 1, 1),
        row("empty", Some(String::new()), "unreadable", "MISSING", 1, 1),
        row("partial", Some(whole.replace("scopes", "scopez")), "unreadable", "MISSING", 1, 1),
        row("missing", None, "missing", "MISSING", 1, 1),
    ]
}

fn stage() -> Home {
    let home = Home::new();
    home.mkdir("logins");
    let mut config = String::new();
    for row in rows() {
        let path = format!("logins/{}.json", row.name);
        if let Some(text) = row.file {
            home.write(&path, text);
        }
        home.holds_tokens(&path);
        config += &format!("[[login]]\nid = \"{}\"\nprovider = \"claude\"\npath = \"~/{path}\"\n", row.name);
    }
    home.configure(&config);
    home
}

#[test]
fn every_row_of_the_table_in_every_form() {
    let home = stage();
    let before = home.snapshot();
    for row in rows() {
        let run = |more: &[&str]| home.run(&[&["status"], more, &[row.name]].concat());
        let name = row.name;
        for form in [&[][..], &["--full"], &["--simple"], &["--json"], &["--prometheus"]] {
            assert_eq!(run(form).code, 0, "{name} {form:?}: a printed report is a success");
            let checked = run(&[form, &["--check"]].concat());
            assert_eq!(checked.code, row.check, "{name} {form:?} {checked:?}");
            let access = run(&[form, &["--check=access"]].concat());
            assert_eq!(access.code, row.access, "{name} {form:?} {access:?}");
            assert_eq!(run(&[form, &["--check=login"]].concat()).code, row.check);
        }
        assert_eq!(run(&["--simple"]).stdout, format!("{}\n", row.simple), "{name}");
        let json = run(&["--json"]).json();
        assert_eq!(json["logins"].as_array().unwrap().len(), 1, "{name}");
        assert_eq!(
            (&json["logins"][0]["state"], &json["overall"]),
            (&row.state.into(), &row.state.into()),
            "{name}"
        );
        let full = run(&[]).stdout;
        assert!(full.contains(row.state), "{name}: {full}");
        let is_ok = i32::from(row.state == "ok");
        let metrics = run(&["--prometheus"]).stdout;
        assert!(metrics.contains(&format!("tokensink_login_ok{{login=\"{name}\"}} {is_ok}\n")), "{metrics}");
    }
    assert!(run_all(&home, "renewing").contains("ok (renewing)"));
    // Together: 1 wins over 2, 2 over 0.
    for (logins, code) in [
        (&["far", "near-deadline"][..], 2),
        (&["near-deadline", "static-over", "far"], 1),
        (&["far"], 0),
        (&[], 1),
    ] {
        assert_eq!(home.run(&[&["status", "--check"], logins].concat()).code, code, "{logins:?}");
    }
    assert!(home.snapshot() == before, "a look leaves no trace");
    home.finish();
}

fn run_all(home: &Home, login: &str) -> String {
    home.run(&["status", login]).stdout
}

#[test]
fn the_json_is_what_the_contract_says() {
    let home = Home::new();
    home.configure(
        &home.three_sinks("[[gateway]]\nid = \"gateway\"\nsinks = [\"env\"]\ncommand = [\"/bin/true\"]\n"),
    );
    home.rotate(&Login::nth(1));
    let first = home.run(&["status", "--json"]).json();
    assert!(first["logins"][0]["fingerprint"].is_null(), "no key yet, no fingerprint");
    assert_eq!(first["sinks"][0]["state"], "missing");
    assert_eq!(home.run(&["sync"]).code, 0);
    let daemon = home.ready();
    let report = home.run(&["status", "--json"]).json();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let has = |value: &serde_json::Value, wanted: &[&str]| {
        let keys = keys(value);
        for key in wanted {
            assert!(keys.iter().any(|k| k == key), "{key}: {value}");
        }
    };
    has(
        &report,
        &["format_version", "generated_at", "overall", "daemon", "logins", "sinks", "gateways", "findings"],
    );
    assert_eq!((&report["format_version"], &report["overall"]), (&1.into(), &"ok".into()));
    assert_eq!((&report["daemon"]["running"], &report["daemon"]["pid"]), (&true.into(), &daemon.pid.into()));
    assert!(report["daemon"]["since"].as_i64().unwrap() >= crate::stage::base_ms());
    let login = &report["logins"][0];
    has(
        login,
        &[
            "id",
            "provider",
            "kind",
            "account",
            "state",
            "access_expires_at",
            "login_deadline",
            "refreshable",
            "account_id",
            "fingerprint",
            "refresh",
        ],
    );
    assert_eq!((&login["kind"], &login["refreshable"]), (&"rotating".into(), &true.into()));
    assert_eq!(login["access_expires_at"], Login::nth(1).expires_at);
    assert_eq!(login["fingerprint"].as_str().unwrap().len(), 16);
    has(&login["refresh"], &["mode", "owner", "last_at", "last_outcome", "next_at", "blocked"]);
    assert!(["tokensink", "cli"].iter().any(|owner| login["refresh"]["owner"] == *owner), "{login}");
    for sink in report["sinks"].as_array().unwrap() {
        has(sink, &["id", "login", "kind", "path", "state", "code", "written_at"]);
        assert_eq!(sink["state"], "current");
    }
    has(&report["gateways"][0], &["id", "kind", "version", "applied", "last_action", "last_at", "ready"]);
    assert_eq!(
        (&report["gateways"][0]["applied"], &report["gateways"][0]["kind"]),
        (&true.into(), &"command".into())
    );
    for finding in report["findings"].as_array().unwrap() {
        has(finding, &["code", "severity", "subject", "since", "summary", "caused_by", "next"]);
    }
    let full = home.run(&["status"]).stdout;
    assert!(full.contains(&format!("daemon   running, pid {}", daemon.pid)), "{full}");
    daemon.stop();
    // A stopped daemon does not change the verdict.
    let stopped = home.run(&["status", "--json"]).json();
    assert_eq!(
        (&stopped["daemon"]["running"], &stopped["daemon"]["pid"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!(stopped["overall"], "ok");
    assert_eq!(home.run(&["status", "--check"]).code, 0);
    home.finish();
}

#[test]
fn without_configuration_the_detected_login_is_shown() {
    let home = Home::new();
    std::fs::remove_dir(home.path(STATE)).unwrap();
    assert_eq!(home.run(&["status", "--simple"]).stdout, "MISSING\n");
    assert_eq!(home.run(&["status", "--check"]).code, 1);
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["status", "--simple"]).stdout, "OK\n");
    assert_eq!(home.run(&["status", "--check"]).code, 0);
    assert!(!home.path(STATE).exists());
    home.finish();
}

#[test]
fn a_look_opens_nothing_for_writing_and_no_network_socket() {
    let strace = "/usr/bin/strace";
    assert!(Path::new(strace).exists(), "this test needs {strace} (Debian package strace)");
    let home = stage();
    home.openclaw("2026.2.25", &["main", "work"]);
    assert_eq!(home.run(&["sync"]).code, 0);
    let trace = home.root().join("trace");
    for form in ["--full", "--json", "--simple", "--prometheus"] {
        let mut command = Command::new(strace);
        command.args(["-f", "-e", "trace=network,file,ftruncate,fchmod,fchown", "-o"]).arg(&trace);
        command.args([crate::stage::PROGRAM, "status", form]);
        home.dress(&mut command);
        let ran = home.end_of(command);
        assert_eq!(ran.code, 0, "{ran:?}");
        let trace = std::fs::read_to_string(&trace).unwrap();
        assert!(trace.contains("far.json"), "the trace shows the reads");
        for line in trace.lines() {
            for word in [
                "socket(", "connect(", "O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "unlink", "rename",
                "mkdir", "chmod", "chown", "truncate", "utimens", "link(",
            ] {
                let is_reading = word == "link(" && line.contains("readlink");
                assert!(is_reading || !line.contains(word), "{form}: {line}");
            }
        }
    }
    home.finish();
}

#[test]
fn the_live_view_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1).deadline_in_hours(200));
    assert_eq!(home.run(&["sync"]).code, 0);
    let mut command = home.command(&["status", "--watch"]);
    command.env("TERM", "xterm-256color");
    holding(async {
        let mut terminal = OnTerminal::start(&command);
        terminal.until("\x1b[?1049h").await;
        terminal.until("3 of 3 current").await;
        // A rotation is on the screen at the next look.
        home.rotate(&Login::nth(2).deadline_in_hours(200));
        terminal.until("0 of 3 current").await;
        terminal.resize(4, 30);
        terminal.type_in("\u{3}").await;
        let (code, shown) = terminal.end().await;
        let left = shown.rsplit("\x1b[?1049h").next().unwrap();
        assert!(code == 0 && left.contains("\x1b[?25h\x1b[?1049l"), "{code} {shown:?}");
    });
    // What is no terminal gets one plain report.
    let plain = home.run(&["status", "--watch"]);
    assert!(plain.code == 0 && plain.stdout.contains("login    claude") && !plain.stdout.contains('\x1b'));
    home.finish();
}

/// While a CLI that keeps its login fresh by itself runs, a direct refresh comes two minutes before the end and no
/// earlier. Who runs is looked up when a refresh would be sent; not in every turn of an idle daemon.
#[test]
fn other_processes_are_looked_through_only_when_a_refresh_would_be_sent() {
    let home = Home::new();
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"direct\"\n\
         token_url = \"http://127.0.0.1:9/token\"\n",
    );
    for generation in 1..=4 {
        home.rotate(&Login::nth(generation));
        assert_eq!(home.run(&["sync"]).code, 0);
    }
    let looks = |expected: bool| {
        let trace = home.root().join("trace");
        let mut command = Command::new("/usr/bin/strace");
        command.args(["-f", "-e", "trace=file", "-o"]).arg(&trace);
        command.args([crate::stage::PROGRAM, "status", "--json"]);
        home.dress(&mut command);
        let ran = home.end_of(command);
        let trace = std::fs::read_to_string(&trace).unwrap();
        assert!(trace.contains(".credentials.json"), "the trace shows the reads");
        assert_eq!(trace.contains("/comm\""), expected, "{trace}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        report["logins"][0]["refresh"]["next_at"].as_i64().unwrap()
    };
    looks(false);
    // Ten minutes are left of one that was seen an hour ago: a refresh would be sent, unless its CLI runs.
    let mut newest = Login::nth(5);
    newest.expires_at = base_ms() + 600_000;
    home.rotate(&newest);
    assert_eq!(home.run(&["sync"]).code, 0);
    let mut state = home.state();
    let seen_at =
        &mut state["logins"]["claude"]["lineage"].as_array_mut().unwrap().last_mut().unwrap()["seen_at"];
    *seen_at = (seen_at.as_i64().unwrap() - 3_600_000).into();
    home.write(&format!("{STATE}/state.json"), state.to_string());
    assert!(looks(true) < newest.expires_at - 300_000, "nobody else is there");
    let claude = home.root().join("claude");
    std::fs::copy("/bin/sleep", &claude).unwrap();
    let mut running = Command::new(&claude).arg("600").spawn().unwrap();
    let next = looks(true);
    running.kill().unwrap();
    running.wait().unwrap();
    let before = newest.expires_at - next;
    assert!((100_000..=120_000).contains(&before), "{before} ms");
    home.finish();
}
