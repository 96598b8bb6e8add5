//! Codex: where its credentials file is. Facts: codex 0.169.0 on Linux.

use std::path::{Path, PathBuf};

use super::Variables;

/// The name of the file in its directory.
pub const FILE_NAME: &str = "auth.json";

/// `$CODEX_HOME/auth.json`, by default `~/.codex/auth.json`; an empty variable counts as unset.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    let directory = variables.get("CODEX_HOME").map(String::as_str).filter(|dir| !dir.is_empty());
    home.join(directory.unwrap_or(".codex")).join(FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_the_rule_of_the_cli() {
        for (value, path) in [
            (None, "/home/u/.codex/auth.json"),
            (Some(""), "/home/u/.codex/auth.json"),
            (Some("/c"), "/c/auth.json"),
        ] {
            let variables =
                value.into_iter().map(|v: &str| ("CODEX_HOME".to_owned(), v.to_owned())).collect();
            assert_eq!(credentials_path(Path::new("/home/u"), &variables), Path::new(path));
        }
    }
}
