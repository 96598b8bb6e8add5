//! Claude Code: where its credentials file is. Facts: Claude Code 2.1.329 on Linux (the rules hold
//! since 1.0.128; 1.0.0 knew only `~/.claude`).

use std::path::{Path, PathBuf};

use super::Variables;

/// The name of the file in its directory.
pub const FILE_NAME: &str = ".credentials.json";

/// `DIR/.credentials.json` by the CLI's own rule: `CLAUDE_SECURESTORAGE_CONFIG_DIR` (set but empty:
/// `~/.claude`), else `CLAUDE_CONFIG_DIR`, else `~/.claude`.
///
/// The CLI takes an empty `CLAUDE_CONFIG_DIR` for its working directory. A service has no such
/// directory to share with it, so an empty value counts as unset here.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    let fallback = || home.join(".claude");
    let directory =
        match (variables.get("CLAUDE_SECURESTORAGE_CONFIG_DIR"), variables.get("CLAUDE_CONFIG_DIR")) {
            (Some(directory), _) if directory.is_empty() => fallback(),
            (Some(directory), _) => PathBuf::from(directory),
            (None, Some(directory)) if !directory.is_empty() => PathBuf::from(directory),
            (None, _) => fallback(),
        };
    home.join(directory).join(FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_with(variables: &[(&str, &str)]) -> String {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        credentials_path(Path::new("/home/u"), &variables).display().to_string()
    }

    #[test]
    fn the_path_follows_the_rules_of_the_cli() {
        assert_eq!(path_with(&[]), "/home/u/.claude/.credentials.json");
        assert_eq!(path_with(&[("CLAUDE_CONFIG_DIR", "/c")]), "/c/.credentials.json");
        assert_eq!(
            path_with(&[("CLAUDE_CONFIG_DIR", "/c"), ("CLAUDE_SECURESTORAGE_CONFIG_DIR", "/s")]),
            "/s/.credentials.json"
        );
        assert_eq!(
            path_with(&[("CLAUDE_CONFIG_DIR", "/c"), ("CLAUDE_SECURESTORAGE_CONFIG_DIR", "")]),
            "/home/u/.claude/.credentials.json"
        );
        assert_eq!(path_with(&[("CLAUDE_CONFIG_DIR", "")]), "/home/u/.claude/.credentials.json");
    }
}
