//! A directory for what is expensive to make and the same for every run.
//!
//! `$TOKENSINK_TEST_CACHE`, else `${XDG_CACHE_HOME:-~/.cache}/tokensink-tests`. Removing it is always safe.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The cache directory, created when it was missing.
pub fn dir() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = from("TOKENSINK_TEST_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|d| d.join("tokensink-tests")))
        .or_else(|| from("HOME").map(|d| d.join(".cache/tokensink-tests")))
        .expect("one of TOKENSINK_TEST_CACHE, XDG_CACHE_HOME and HOME is set");
    std::fs::create_dir_all(&dir).expect("the test cache can be created");
    dir
}

/// The directory `key` of the cache, filled by `make` once; whoever comes at the same time waits.
///
/// An unfinished one, left by a killed run, is made again.
pub fn once(key: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let dir = dir();
    let lock = File::create(dir.join(format!("{key}.lock"))).expect("the lock file can be created");
    lock.lock().expect("the lock can be taken");
    let done = dir.join(key);
    if !done.exists() {
        let making = dir.join(format!("{key}.making"));
        if making.exists() {
            std::fs::remove_dir_all(&making).expect("the unfinished copy can be removed");
        }
        std::fs::create_dir_all(&making).expect("a directory can be created in the cache");
        let began = Instant::now();
        make(&making);
        std::fs::rename(&making, &done).expect("the finished copy can be put in place");
        eprintln!("made {key} in {:.1?}", began.elapsed());
    }
    done
}
