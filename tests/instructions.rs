//! What the hot path costs in instructions: a figure without noise, compared with the one on record.
//!
//! The release program under `valgrind --tool=callgrind`; wall time is for `make bench`. The record,
//! `tests/instructions.txt`, names the compiler that made the program: another one is held to a wider range. A program
//! that got cheaper fails as well, so that the record stays true.
//! `make build && UPDATE_GOLDEN=1 cargo test --test instructions` writes it anew.
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
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

#[path = "../benches/hot_path/home.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod home;

#[path = "support/release.rs"]
mod release;

use home::Home;
use release::program;

const RECORD: &str = "tests/instructions.txt";
/// How far a figure may be from the record, as a share of it.
const TOLERANCE: f64 = 0.05;
/// The same for another compiler.
const OTHER_COMPILER: f64 = 0.25;

/// A home without anything in it, so that every run finds the same.
fn bare(configuration: impl FnOnce(&mut Home) -> String) -> Home {
    let mut home = Home::new(&std::env::temp_dir(), "count");
    let configuration = configuration(&mut home);
    home.configure(&configuration);
    home
}

fn settle(home: &Home) {
    let output = home.command(&program()).arg("sync").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Instructions of one run.
fn count(home: &Home, arguments: &[&str]) -> u64 {
    let mut command = home.command(Path::new("valgrind"));
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program()).args(arguments);
    let output = command.output().expect("this test needs valgrind");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let total = said.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
    total.trim().parse().unwrap()
}

fn measured() -> BTreeMap<&'static str, u64> {
    let mut found = BTreeMap::new();
    let mut three = bare(|home| home.three_sinks());
    settle(&three);
    found.insert("sync, nothing to do, 3 sinks", count(&three, &["sync"]));
    found.insert("status --json, 3 sinks", count(&three, &["status", "--json"]));
    three.rotate();
    found.insert("sync, a rotation to 3 sinks", count(&three, &["sync"]));

    let mut many = bare(|home| home.many_sinks(100));
    settle(&many);
    many.rotate();
    found.insert("sync, a rotation to 100 secret files", count(&many, &["sync"]));

    let mut store = bare(|home| home.store_of(1000));
    settle(&store);
    store.rotate();
    found.insert("sync, a rotation to a store of 1,000 profiles", count(&store, &["sync"]));
    found
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_hot_path_costs_as_many_instructions_as_are_on_record() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    let (measured, compiler) = (measured(), compiler());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut text = format!("# {compiler}\n");
        for (name, count) in &measured {
            let _ = writeln!(text, "{name} = {count}");
        }
        std::fs::write(&path, text).unwrap();
        return;
    }
    let record = std::fs::read_to_string(&path).unwrap();
    let made_by = record.lines().find_map(|line| line.strip_prefix("# ")).unwrap();
    let tolerance = if made_by == compiler { TOLERANCE } else { OTHER_COMPILER };
    let lines = record.lines().filter_map(|line| line.rsplit_once(" = "));
    let expected: BTreeMap<&str, u64> = lines.map(|(name, count)| (name, count.parse().unwrap())).collect();
    assert!(expected.keys().eq(measured.keys()), "{expected:?}\n{measured:?}");
    let mut wrong = String::new();
    for (name, count) in &measured {
        let ratio = *count as f64 / expected[name] as f64;
        println!("{name}: {count}, {ratio:.3} of the record");
        if (ratio - 1.0).abs() > tolerance {
            let _ = writeln!(wrong, "{name}: {count} is {ratio:.3} of {}", expected[name]);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}UPDATE_GOLDEN=1 puts it on record");
}
