//! The text of this project's own Rust sources, for tests that compare it with what documents say.

use std::path::Path;

/// Everything below these folders of the project that is Rust.
pub fn rust_in(folders: &[&str]) -> String {
    fn walk(directory: &Path, found: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                found.push_str(&std::fs::read_to_string(entry).unwrap());
            }
        }
    }
    let mut found = String::new();
    for folder in folders {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}
