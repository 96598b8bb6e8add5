//! `tokensink history` over what the real program recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::stage::{Home, Login, STATE};

fn events(home: &Home, more: &[&str]) -> Vec<Value> {
    let history = home.run(&[&["history", "--json"], more].concat()).json();
    assert_eq!(history["format_version"], 1);
    history["events"].as_array().unwrap().clone()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn what_commands_and_the_daemon_did_is_told_in_three_forms() {
    let home = Home::new();
    assert_eq!(home.run(&["history"]).stdout, "nothing is on record\n");
    assert_eq!(events(&home, &[]), Vec::<Value>::new());
    home.configure(&home.three_sinks(
        "[[gateway]]\nid = \"gateway\"\nsinks = [\"oauth\", \"env\", \"secret\"]\nmin_interval = \"1s\"\n\
         command = [\"/bin/true\"]\n",
    ));
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    let first = events(&home, &[]);
    assert_eq!(kinds(&first), ["rotated", "written", "written", "written", "raised", "applied"]);
    assert_eq!(
        (&first[0]["login"], &first[0]["expires_at"]),
        (&"claude".into(), &Login::nth(1).expires_at.into())
    );
    let record = home.path(&format!("{STATE}/history.jsonl"));
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);

    let daemon = home.ready();
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));
    home.until("the gateway followed", || {
        kinds(&events(&home, &[])).iter().filter(|k| **k == "applied").count() == 2
    });
    fs::remove_file(home.credentials()).unwrap();
    home.until("the loss is on record", || events(&home, &[]).iter().any(|event| event["code"] == "MISSING"));
    daemon.stop();
    let all = events(&home, &[]);
    assert_eq!(
        kinds(&all)[6..],
        ["started", "rotated", "written", "written", "written", "applied", "raised", "stopped"]
    );
    assert!(all.windows(2).all(|pair| pair[0]["at"].as_i64() <= pair[1]["at"].as_i64()));

    let text = home.run(&["history"]).stdout;
    assert!(text.contains("login    claude has a new generation, whose access token ends in "), "{text}");
    assert!(text.contains("finding  critical MISSING claude"), "{text}");
    assert!(events(&home, &["another"]).iter().all(|event| event["login"].is_null()));
    assert_eq!(events(&home, &["--since", "1h"]), all);
    assert_eq!(home.run(&["history", "--since", "tomorrow"]).code, 64);

    let drawn = home.run(&["history", "--svg", "-"]).stdout;
    let drawing = roxmltree::Document::parse(&drawn).unwrap();
    let lives = drawing.descendants().filter(|n| matches!(n.attribute("class"), Some("life" | "next")));
    assert_eq!(lives.count(), 2 + 1, "two generations and the legend");
    assert_eq!(home.run(&["history", "--svg", "drawing.svg"]).code, 0);
    assert!(home.read("drawing.svg").starts_with("<svg "));
    home.finish();
}

#[test]
fn a_record_that_cannot_be_written_or_read_whole_disturbs_nobody() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    // A directory where the file belongs.
    let record = home.mkdir(&format!("{STATE}/history.jsonl"));
    let ran = home.run(&["sync"]);
    assert_eq!((ran.code, ran.stderr.matches("the history has gaps").count()), (0, 1), "{ran:?}");
    assert!(home.sinks_hold(&Login::nth(1)));
    fs::remove_dir(record).unwrap();

    home.rotate(&Login::nth(2));
    home.run(&["sync"]);
    let whole = events(&home, &[]).len();
    let record = format!("{STATE}/history.jsonl");
    let mut text = home.read(&record).into_bytes();
    text.extend_from_slice(b"{\"at\":1,\"event\":\"sang\"}\n\0\0\0\xff\n[]\n{\"at\":2,\"event\":\"stop");
    home.write(&record, text);
    home.rotate(&Login::nth(3));
    home.run(&["sync"]);
    let history = home.run(&["history", "--json"]).json();
    assert_eq!(history["unreadable"], 3, "{history:#}");
    assert_eq!(history["events"].as_array().unwrap().len(), 1 + 2 * whole);
    assert!(home.run(&["history"]).stdout.contains("3 lines of the record could not be read"));
    home.finish();
}
