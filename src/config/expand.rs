//! `~` and variables in paths. The environment is an argument; nothing here asks the system.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, PathBuf};

use super::error::bounded;

/// The user's surroundings, as far as paths need them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The home directory.
    pub home: PathBuf,
    /// Environment variables by name.
    pub vars: BTreeMap<String, String>,
}

impl fmt::Debug for Environment {
    /// Without values: an environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("home", &self.home)
            .field("vars", &format_args!("{} variables", self.vars.len()))
            .finish()
    }
}

impl Environment {
    /// A variable that is set and not empty. `HOME` falls back to the home directory.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        match self.vars.get(name) {
            Some(value) if !value.is_empty() => Some(value),
            _ if name == "HOME" => self.home.to_str(),
            _ => None,
        }
    }
}

/// Whether a text can be the name of an environment variable.
#[must_use]
pub fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Expands `~`, `$NAME` and `${NAME}` and insists on an absolute path without `..`. `$$` is a `$`.
///
/// What a variable holds is not expanded again. An empty variable counts as unset: `$X/file`
/// must not become a file of the root directory.
///
/// # Errors
/// A sentence without subject, naming the variable where there is one.
pub fn expand_path(text: &str, env: &Environment) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let mut path = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(after) = text.strip_prefix('~') {
        if !after.is_empty() && !after.starts_with('/') {
            return Err("must not begin with the home of another user; write the path".to_owned());
        }
        path.push_str(env.home.to_str().ok_or("needs a home directory that is UTF-8")?);
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('$') {
        path.push_str(before);
        if let Some(plain) = after.strip_prefix('$') {
            path.push('$');
            rest = plain;
            continue;
        }
        let (name, next) = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}').ok_or("has a '${' without its '}'")?
        } else {
            let end = after
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        };
        if !is_variable(name) {
            return Err("has a '$' that starts no variable; write '$$' for the sign".to_owned());
        }
        let value = env
            .var(name)
            .ok_or_else(|| format!("needs the variable {}, which is unset or empty", bounded(name)))?;
        path.push_str(value);
        rest = next;
    }
    path.push_str(rest);
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err("must be an absolute path, or begin with '~/' or a variable".to_owned());
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("must not contain control characters".to_owned());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("must not contain '..'".to_owned());
    }
    // Rebuilt from its parts, so that `//` and `/./` do not hide that two paths are one.
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Environment {
        let vars = [("A", "/srv/a"), ("EMPTY", ""), ("REL", "x"), ("DOLLAR", "/$A")];
        Environment {
            home: PathBuf::from("/home/ann"),
            vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn home_and_variables_expand_once() {
        for (text, path) in [
            ("~", "/home/ann"),
            ("~/x", "/home/ann/x"),
            ("$A/x", "/srv/a/x"),
            ("${A}x", "/srv/ax"),
            ("/a//b/./c/", "/a/b/c"),
            ("/p/$$A", "/p/$A"),
            ("$DOLLAR/x", "/$A/x"),
            ("$HOME/x", "/home/ann/x"),
        ] {
            assert_eq!(expand_path(text, &env()), Ok(PathBuf::from(path)), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_variable() {
        let shown = format!("{:?}", env());
        assert!(shown.contains("4 variables") && !shown.contains("/srv/a"), "{shown}");
    }

    #[test]
    fn what_would_name_another_file_is_refused() {
        for text in [
            "", "x", "./x", "~bob/x", "$NONE/x", "$EMPTY/x", "$REL/x", "/a/../b", "/$", "/${A", "/${}", "/$1",
        ] {
            assert!(expand_path(text, &env()).is_err(), "{text}");
        }
        assert!(expand_path("/${NONE}", &env()).unwrap_err().contains("NONE"));
    }
}
