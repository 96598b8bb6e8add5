//! Every input of the corpus holds every property of what reads it: the seeds of the fuzzer, what it has
//! found, and the golden cases of the formats. The fuzzer itself is in `tests/fuzz`; see CONTRIBUTING.md.
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

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "corpus/properties/mod.rs"]
mod properties;

use properties::TARGETS;

/// The corpus is read by every run of the tests and kept with the sources, in bytes.
const LARGEST_CORPUS: u64 = 300 * 1024;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_under(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn every_input_of_the_corpus_holds_every_property_of_its_target() {
    let mut failed = Vec::new();
    for target in &TARGETS {
        let seeds = root().join("tests/corpus/seeds").join(target.name);
        let folders = target.golden.iter().map(|folder| root().join(folder)).chain([seeds]);
        for file in folders.flat_map(|folder| files_under(&folder)) {
            let bytes = fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| (target.holds)(&bytes)).is_err() {
                failed.push(format!("{}: {}", target.name, file.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What one reader refuses may be what another one falls over.
#[test]
fn every_seed_of_one_target_is_bearable_for_every_other() {
    let seeds: Vec<_> = files_under(&root().join("tests/corpus/seeds"))
        .into_iter()
        .map(|file| (fs::read(&file).unwrap(), file))
        .filter(|(bytes, _)| bytes.len() <= 2048)
        .collect();
    let mut failed = Vec::new();
    for target in &TARGETS {
        for (bytes, file) in &seeds {
            if std::panic::catch_unwind(|| (target.holds)(bytes)).is_err() {
                failed.push(format!("{}: {}", target.name, file.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_has_seeds_and_every_folder_of_seeds_a_target() {
    let folder = root().join("tests/corpus/seeds");
    let found: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let known: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(found, known);
    let files = files_under(&folder);
    let size: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    println!("{} inputs, {size} bytes", files.len());
    assert!(size <= LARGEST_CORPUS, "{size} bytes");
}
