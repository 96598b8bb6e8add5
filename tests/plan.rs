//! Golden folders and properties of the plan.
//!
//! A case is a folder `plan/<case>/` and needs no Rust. `world.json` says what is configured, what
//! is seen and what is remembered; it names the documents beside it: the logins as Claude Code
//! writes them, the targets as they are before the pass. It is always noon of 2026-11-20 (UTC), and
//! times in `world.json` are `now`, `-5m` or `+8h` from there. `expected.json` says what is planned
//! and found, with generations called by the names of their files; `after/` holds every document
//! that is written, byte for byte. In each case a second look has nothing to do.
//! `UPDATE_GOLDEN=1 cargo test --test plan` rewrites both; read the diff before committing.
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

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokensink::base::time::Timestamp;
use tokensink::core::model::Plan;

#[path = "plan/case.rs"]
mod case;
#[path = "plan/properties.rs"]
mod properties;
#[path = "plan/sim.rs"]
mod sim;

use case::Case;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::from(at.to_string()))
}

/// What `expected.json` says.
fn shown(case: &Case, plan: &Plan) -> String {
    let generation = |f| Value::from(case.name_of(f));
    let writes = plan.writes.iter().map(|write| {
        json!({
            "target": write.target.to_string(),
            "reason": write.reason.as_str(),
            "generation": generation(&write.generation),
            "keeps_displaced": write.keeps_displaced,
        })
    });
    let deliveries = plan.deliveries.iter().map(|delivery| {
        json!({ "target": delivery.target.to_string(), "generation": generation(&delivery.generation) })
    });
    let applies = plan.applies.iter().map(|apply| {
        json!({ "gateway": apply.gateway, "sinks": apply.sinks, "token_ends": time(apply.token_ends) })
    });
    let rotations = plan.rotations.iter().map(|rotation| {
        json!({
            "login": rotation.login,
            "from": rotation.from.as_ref().map_or(Value::Null, generation),
            "to": generation(&rotation.to),
        })
    });
    let targets = plan.targets.iter().map(|target| {
        let state = target.state.as_str();
        let text = target.code.map_or_else(|| state.to_owned(), |code| format!("{state} {code}"));
        (target.id.to_string(), Value::from(text))
    });
    let findings = case.world.findings(plan).into_iter().map(|f| {
        let by = f.caused_by.map_or_else(String::new, |cause| format!(" by {cause}"));
        Value::from(format!("{} {} {}{by}: {}", f.severity.as_str(), f.code, f.subject, f.summary))
    });
    let shown = json!({
        "rotations": rotations.collect::<Vec<_>>(),
        "writes": writes.collect::<Vec<_>>(),
        "deliveries": deliveries.collect::<Vec<_>>(),
        "applies": applies.collect::<Vec<_>>(),
        "targets": targets.collect::<Map<_, _>>(),
        "findings": findings.collect::<Vec<_>>(),
        "wake_at": time(plan.wake_at),
    });
    serde_json::to_string_pretty(&shown).unwrap() + "\n"
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn check(folder: &Path, is_update: bool) -> Result<(), String> {
    let mut case = case::load(folder)?;
    let plan = case.world.plan();
    let expected = shown(&case, &plan);
    let written: BTreeMap<String, Vec<u8>> = plan
        .writes
        .iter()
        .map(|write| (write.target.to_string().replace('/', "_"), write.document.expose().to_vec()))
        .collect();
    let changes = plan.writes.len() + plan.deliveries.len() + plan.handed.len() + plan.applies.len();
    assert_eq!(plan.is_empty(), changes == 0, "{}", folder.display());
    case.world.pass();
    sim::assert_settled(&case.world);

    let after = folder.join("after");
    if is_update {
        fs::write(folder.join("expected.json"), expected).unwrap();
        let _ = fs::remove_dir_all(&after);
        for (name, bytes) in &written {
            fs::create_dir_all(&after).unwrap();
            fs::write(after.join(name), bytes).unwrap();
        }
        return Ok(());
    }
    let wanted = fs::read_to_string(folder.join("expected.json")).map_err(|error| error.to_string())?;
    if wanted != expected {
        return Err(format!("expected\n{wanted}found\n{expected}"));
    }
    let text = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.iter().map(|(name, bytes)| format!("{name}: {:?}", String::from_utf8_lossy(bytes))).collect()
    };
    let (wanted, found) = (files(&after), written);
    if wanted == found { Ok(()) } else { Err(format!("{:#?}\nfound {:#?}", text(&wanted), text(&found))) }
}

#[test]
fn every_golden_folder_is_planned_as_it_says() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for folder in cases {
        if let Err(why) = check(&folder, is_update) {
            failures.push(format!("{}: {why}", folder.file_name().unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
