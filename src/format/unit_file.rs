//! What a gateway's unit file says about its program: the last `ExecStart=` and the `Environment=`
//! lines, as `openclaw gateway install` writes them (OpenClaw 2026.2.26 and 2026.9.6). Specifiers
//! other than `%h` and `%%` are not expanded. Never written here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::secret::Secret;

/// A service as its unit file and drop-ins describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Program and arguments; empty when there is none.
    pub exec: Vec<String>,
    /// The environment, as far as the unit sets it itself.
    pub environment: BTreeMap<String, String>,
    /// What of it is secret.
    pub secrets: BTreeMap<String, Secret>,
    /// The user that it runs as, by name or number, where it says so.
    pub user: Option<String>,
}

/// Variables whose names end like this hold secrets.
const SECRET: [&str; 4] = ["TOKEN", "PASSWORD", "SECRET", "KEY"];

/// Whether a variable of that name holds a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|end| name.ends_with(end))
}

impl Service {
    /// Adds what a unit file, or a drop-in that is read after it, says.
    pub fn read(&mut self, text: &str, home: &Path) {
        let mut is_service = false;
        for line in logical_lines(text) {
            let line = line.trim();
            if line.starts_with('[') {
                is_service = line == "[Service]";
            } else if let (true, Some((key, value))) = (is_service, line.split_once('=')) {
                self.set(key.trim(), value.trim(), home);
            }
        }
    }

    fn set(&mut self, key: &str, value: &str, home: &Path) {
        match key {
            "ExecStart" => {
                // Prefixes change how a program is run, not which.
                self.exec = words(value.trim_start_matches(['@', '-', ':', '+', '!', '|']), home);
            }
            "User" => self.user = Some(value.to_owned()).filter(|user| !user.is_empty()),
            "Environment" if value.is_empty() => {
                self.environment.clear();
                self.secrets.clear();
            }
            "Environment" => {
                for pair in words(value, home) {
                    let Some((name, value)) = pair.split_once('=') else { continue };
                    if is_secret(name) {
                        self.secrets.insert(name.to_owned(), Secret::new(value.into()));
                    } else {
                        self.environment.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
}

/// Lines without comments, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| continues) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        continues = goes_on;
    }
    lines
}

/// Words as systemd splits them: quotes group, a backslash keeps the next character.
fn words(text: &str, home: &Path) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('"' | '\'', None) if word.is_none() => {
                quote = Some(character);
                word = Some(String::new());
            }
            (_, Some(open)) if character == open => quote = None,
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (' ' | '\t', None) => words.extend(word.take()),
            ('%', _) => match characters.next() {
                Some('h') => word.get_or_insert_default().push_str(&home.to_string_lossy()),
                Some('%') => word.get_or_insert_default().push('%'),
                other => word.get_or_insert_default().extend(std::iter::once('%').chain(other)),
            },
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_gateway_and_its_drop_ins_are_read_in_their_order() {
        let mut service = Service::default();
        let unit = "[Unit]\nDescription=OpenClaw\nExecStart=/no\n[Service]\n# ExecStart=/no\n\
            ExecStart=/usr/bin/node --max-old-space-size=8192 \\\n  \"/opt/with space/dist/index.js\" gateway --port 18789\n\
            Environment=HOME=/home/a \"NAME=two words\" PATH=%h/bin:/bin\nEnvironment=OPENCLAW_GATEWAY_PORT=18789\n\
            Environment=OPENCLAW_GATEWAY_TOKEN=made-up\n";
        service.read(unit, Path::new("/home/a"));
        assert_eq!(
            service.exec,
            [
                "/usr/bin/node",
                "--max-old-space-size=8192",
                "/opt/with space/dist/index.js",
                "gateway",
                "--port",
                "18789"
            ]
        );
        assert_eq!(service.environment["NAME"], "two words");
        assert_eq!(service.environment["PATH"], "/home/a/bin:/bin");
        assert_eq!(service.secrets["OPENCLAW_GATEWAY_TOKEN"], Secret::new("made-up".into()));
        assert!(!format!("{service:?}").contains("made-up"));
        let drop_in =
            "[Service]\nExecStart=\nExecStart=-/bin/other\nEnvironment=OPENCLAW_GATEWAY_PORT=1\nUser=a\n";
        service.read(drop_in, Path::new("/home/a"));
        assert_eq!(service.exec, ["/bin/other"]);
        assert_eq!(service.user.as_deref(), Some("a"));
        assert_eq!(service.environment["OPENCLAW_GATEWAY_PORT"], "1");
        assert_eq!(service.environment["HOME"], "/home/a");
    }

    #[test]
    fn an_odd_unit_file_says_nothing() {
        for odd in
            ["", "\u{0}", "[Service", "ExecStart=/x", "[Service]\nExecStart", "[Service]\nExecStart=\""]
        {
            let mut service = Service::default();
            service.read(odd, Path::new("/"));
            assert!(service.exec.concat().is_empty() && service.environment.is_empty(), "{odd:?}");
        }
    }
}
