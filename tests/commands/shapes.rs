//! What programs read of us keeps its form: every key of the JSON outputs with the types it was seen with, and every
//! code of a finding. The table is `shapes.golden`; `UPDATE_GOLDEN=1` rewrites it. A line that goes breaks somebody's script.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tokensink::base::code::Code;

use crate::stage::{Home, Login, husk};

const OUTPUTS: [&[&str]; 7] = [
    &["status", "--json"],
    &["doctor", "--json"],
    &["sync", "--json"],
    &["sync", "--dry-run", "--json"],
    &["refresh", "--json"],
    &["history", "--json"],
    &["alert", "list", "--json"],
];

/// Each place inside a value, with the types that stand there.
fn places(value: &Value, place: &str, seen: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(items) => {
            items.iter().for_each(|item| places(item, &format!("{place}[]"), seen));
            "list"
        }
        Value::Object(entries) => {
            entries.iter().for_each(|(key, item)| places(item, &format!("{place}.{key}"), seen));
            "object"
        }
    };
    seen.entry(place.to_owned()).or_default().insert(kind);
}

#[test]
fn what_programs_read_keeps_its_form() {
    let mut seen: Vec<BTreeMap<String, BTreeSet<&str>>> = vec![BTreeMap::new(); OUTPUTS.len()];
    let home = Home::new();
    let mut look = |home: &Home| {
        for (arguments, seen) in OUTPUTS.iter().zip(&mut seen) {
            places(&home.run(arguments).json(), "", seen);
        }
    };
    let gateway = "[[gateway]]\nid = \"gateway\"\nsinks = [\"env\"]\ncommand = [\"/bin/true\"]\n";
    let alert = "[[alert]]\nkind = \"command\"\ncommand = [\"/bin/true\"]\n";
    home.configure(&home.three_sinks(&format!("{gateway}{alert}")));
    home.rotate(&Login::nth(1));
    look(&home);
    home.rotate(&Login::nth(2).deadline_in_hours(5));
    look(&home);
    home.replace(".claude/.credentials.json", husk());
    look(&home);
    let daemon = home.ready();
    look(&home);
    daemon.stop();
    home.finish();

    let mut table = String::new();
    for (arguments, seen) in OUTPUTS.iter().zip(&seen) {
        let _ = writeln!(table, "{}", arguments.join(" "));
        for (place, kinds) in seen.iter().filter(|(place, _)| !place.is_empty()) {
            let kinds: Vec<&str> = kinds.iter().copied().collect();
            let _ = writeln!(table, "  {place}: {}", kinds.join(" or "));
        }
    }
    let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    let _ = writeln!(table, "codes\n  {}", codes.join("\n  "));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands/shapes.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (golden.lines().collect(), table.lines().collect());
    let differ: Vec<_> = old.symmetric_difference(&new).collect();
    assert!(golden == table, "{differ:#?}");
}
