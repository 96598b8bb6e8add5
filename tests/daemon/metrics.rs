//! The metrics as a file: whole at every moment, written when something changed, and last when the daemon
//! ends. Its text is judged by the rules of the format, and by `promtool`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use inotify::EventMask;

use crate::stage::{Home, Login};

/// Every sample by its name with its labels. Panics where the text breaks a rule of the format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut found = BTreeMap::new();
    let mut families: BTreeSet<String> = BTreeSet::new();
    let mut family = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(is_name(name) && name.starts_with("tokensink_") && words.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            let kind = lines.next().and_then(|next| next.strip_prefix(&format!("# TYPE {name} "))).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(["gauge", "counter"].contains(&kind));
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "{line}");
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert_eq!(name, family.0, "{line} stands in the family of {}", family.0);
        if let Some(labels) = sample.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let mut rest = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}')).unwrap();
            while !rest.is_empty() {
                let (label, value) = rest.split_once("=\"").unwrap();
                assert!(is_name(label), "{line}");
                let mut end = None;
                let mut is_escaped = false;
                for (at, c) in value.char_indices() {
                    match c {
                        _ if is_escaped => {
                            assert!(matches!(c, '\\' | '"' | 'n'), "{line}");
                            is_escaped = false;
                        }
                        '\\' => is_escaped = true,
                        '"' => {
                            end = Some(at);
                            break;
                        }
                        _ => assert!(!c.is_control(), "{line}"),
                    }
                }
                rest = value[end.unwrap() + 1..].trim_start_matches(',');
            }
        }
        let value: f64 = value.parse().unwrap();
        assert!(family.1 != "counter" || value >= 0.0);
        assert!(found.insert(sample.to_owned(), value).is_none(), "{sample} comes twice");
    }
    found
}

fn promtool(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs promtool (Debian package prometheus)");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

fn read(path: &Path) -> BTreeMap<String, f64> {
    samples(&fs::read_to_string(path).unwrap_or_default().replace("\r", ""))
}

#[test]
fn every_metric_is_well_formed_and_counters_count() {
    let home = Home::new();
    let gateway = "[[gateway]]\nid = \"gateway\"\nsinks = [\"env\"]\ncommand = [\"/bin/true\"]\n\
                   [[sink]]\nid = \"odd\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/a \\\"b\\\\\\\\c/x\"\n";
    home.configure(&home.three_sinks(gateway));
    for generation in 1..=3 {
        home.rotate(&Login::nth(generation));
        home.run(&["sync"]);
    }
    let text = home.run(&["status", "--prometheus"]).stdout;
    promtool(&text);
    let found = samples(&text);
    for (sample, value) in [
        ("tokensink_daemon_running", 0.0),
        ("tokensink_login_ok{login=\"claude\"}", 1.0),
        ("tokensink_login_state{login=\"claude\",provider=\"claude\",state=\"ok\"}", 1.0),
        ("tokensink_login_state{login=\"claude\",provider=\"claude\",state=\"husk\"}", 0.0),
        ("tokensink_login_refreshable{login=\"claude\"}", 1.0),
        (
            "tokensink_access_expires_timestamp_seconds{login=\"claude\"}",
            (Login::nth(3).expires_at / 1000) as f64,
        ),
        ("tokensink_rotations_total{login=\"claude\"}", 3.0),
        ("tokensink_refresh_outcomes_total{login=\"claude\",outcome=\"rotated\"}", 0.0),
        ("tokensink_sink_current{sink=\"oauth\",agent=\"\"}", 1.0),
        ("tokensink_sink_current{sink=\"odd\",agent=\"\"}", 0.0),
        ("tokensink_sink_writes_total{sink=\"oauth\",agent=\"\"}", 3.0),
        ("tokensink_gateway_applied{gateway=\"gateway\"}", 0.0),
        ("tokensink_findings{severity=\"warning\"}", 1.0),
    ] {
        assert_eq!(found.get(sample), Some(&value), "{sample} in {text}");
    }
    assert!(text.contains("code=\"MISSING\",severity=\"warning\",subject=\"odd\""), "{text}");
    home.finish();
}

#[test]
fn the_file_is_replaced_when_something_changed_and_says_when_the_daemon_ends() {
    let home = Home::new();
    home.mkdir("collector");
    home.watch("collector");
    let more = "[daemon]\npoll = \"1s\"\n[metrics]\ntextfile = \"~/collector/tokensink.prom\"\n";
    home.configure(&home.three_sinks(more));
    home.rotate(&Login::nth(1));
    let file = home.path("collector/tokensink.prom");
    let daemon = home.start();
    daemon.until_ready();
    home.until("the first metrics", || file.exists());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(read(&file)["tokensink_daemon_running"], 1.0);
    promtool(&fs::read_to_string(&file).unwrap());

    home.rotate(&Login::nth(2));
    home.until("the rotation is counted", || {
        read(&file)["tokensink_rotations_total{login=\"claude\"}"] == 2.0
    });
    // Two polls that bring nothing write nothing.
    home.rest();
    let mark = home.mark();
    let began = std::time::Instant::now();
    home.until("two polls have gone", || began.elapsed() > std::time::Duration::from_millis(2500));
    assert_eq!(home.touched(mark, &file, EventMask::MOVED_TO), 0);

    // A directory that is gone is a finding, and no more than that.
    fs::rename(home.path("collector"), home.path("away")).unwrap();
    home.rotate(&Login::nth(3));
    home.until_said(daemon.from, "METRICS_FAILED");
    assert!(home.sinks_hold(&Login::nth(3)));
    fs::rename(home.path("away"), home.path("collector")).unwrap();
    home.until("it is resolved", || !home.said(daemon.from, "tokensink.prom is resolved").is_empty());
    daemon.stop();
    assert_eq!(read(&file)["tokensink_daemon_running"], 0.0);
    home.finish();
}
