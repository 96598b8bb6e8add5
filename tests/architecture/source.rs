//! A Rust file as far as the rules need it: code without comments and without the contents of
//! strings, and which of it is tests. Not a parser; it knows what this tree uses.

pub struct Source {
    text: String,
    /// Lines of code: comments and contents of strings are blanked.
    code: Vec<String>,
    /// The line, from 0, where `#[cfg(test)]` begins the tests of the file.
    tests_from: usize,
}

impl Source {
    pub fn read(text: &str) -> Self {
        let code: Vec<String> = blanked(text).lines().map(str::to_owned).collect();
        let is_tests = |n: usize| {
            code[n].trim() == "#[cfg(test)]"
                && code
                    .iter()
                    .skip(n + 1)
                    .find(|l| !l.trim().starts_with("#["))
                    .is_some_and(|l| l.starts_with("mod ") && l.ends_with('{'))
        };
        let tests_from = (0..code.len()).find(|n| is_tests(*n)).unwrap_or(code.len());
        Self { text: text.to_owned(), code, tests_from }
    }

    pub fn code(&self) -> String {
        self.code.join("\n")
    }

    pub fn test_code(&self) -> String {
        self.code[self.tests_from..].join("\n")
    }

    fn program(&self) -> &[String] {
        &self.code[..self.tests_from]
    }

    /// Lines that are neither blank, comment nor test.
    pub fn code_lines(&self) -> usize {
        self.program().iter().filter(|line| !line.trim().is_empty()).count()
    }

    pub fn head_lines(&self) -> usize {
        self.text.lines().take_while(|line| line.starts_with("//!")).count()
    }

    /// Whether the program part calls `expose`, as a method or as a function.
    pub fn opens_secrets(&self) -> bool {
        let text = self.program().join("\n");
        [".expose()", "::expose", ".expose_secret()"].iter().any(|call| text.contains(call))
    }

    /// Lines (from 1) of tests and program that name one of these words or paths.
    pub fn words<'a>(&self, words: &[&'a str]) -> Vec<(usize, &'a str)> {
        let mut found = Vec::new();
        for (n, line) in self.code.iter().enumerate() {
            found.extend(words.iter().filter(|word| names(line, word)).map(|word| (n + 1, *word)));
            // `use std::{fs, …}` hides a path from the eye.
            found.extend(line.contains("std::{").then_some((n + 1, "std::{")));
        }
        found
    }

    /// Every path from the crate's root with its line: `core::plan::plan`. `main.rs` is a crate of
    /// its own and names the library.
    pub fn crate_paths(&self, is_main: bool) -> Vec<(usize, String)> {
        let root = if is_main { "tokensink::" } else { "crate::" };
        let mut paths = Vec::new();
        for (n, line) in self.code.iter().enumerate() {
            for (at, _) in line.match_indices(root) {
                if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                    continue;
                }
                let rest = &line[at + root.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                let path = rest[..end.unwrap_or(rest.len())].trim_end_matches(':');
                // `crate::{…}` hides paths; it is a path of no layer.
                paths.push((n + 1, if path.is_empty() { "{".to_owned() } else { path.to_owned() }));
            }
        }
        paths
    }

    /// Every path that climbs: line, number of `super`, what follows them, and whether it stands in
    /// the tests of the file, which are one module deeper.
    pub fn climbs(&self) -> Vec<(usize, usize, String, bool)> {
        let mut found = Vec::new();
        for (n, line) in self.code.iter().enumerate() {
            for (at, _) in line.match_indices("super::") {
                if line[..at].ends_with("super::") {
                    continue;
                }
                let mut rest = &line[at..];
                let mut count = 0;
                while let Some(after) = rest.strip_prefix("super::") {
                    (rest, count) = (after, count + 1);
                }
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                let path = rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned();
                found.push((n + 1, count, path, n >= self.tests_from));
            }
        }
        found
    }
}

/// Whether a line names `word`, alone or as the beginning of a path.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

/// The text with comments and contents of strings turned into nothing, line for line.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |n: usize| chars.get(n).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut n = 0;
    let keep_lines = |out: &mut String, skipped: &[char]| out.extend(skipped.iter().filter(|c| **c == '\n'));
    while n < chars.len() {
        let from = n;
        match (at(n), at(n + 1)) {
            ('/', '/') => {
                while n < chars.len() && at(n) != '\n' {
                    n += 1;
                }
            }
            ('/', '*') => {
                while n < chars.len() && (at(n), at(n + 1)) != ('*', '/') {
                    n += 1;
                }
                n += 2;
                keep_lines(&mut out, &chars[from..n.min(chars.len())]);
            }
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') => {
                let hashes = chars[n + 1..].iter().take_while(|c| **c == '#').count();
                if at(n + 1 + hashes) != '"' {
                    // A raw identifier.
                    out.push('r');
                    n += 1;
                    continue;
                }
                n += 2 + hashes;
                while n < chars.len()
                    && !(at(n) == '"'
                        && chars[n + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes)
                {
                    n += 1;
                }
                n += 1 + hashes;
                out.push_str("\"\"");
                keep_lines(&mut out, &chars[from..n.min(chars.len())]);
            }
            ('"', _) => {
                n += 1;
                while n < chars.len() && at(n) != '"' {
                    n += if at(n) == '\\' { 2 } else { 1 };
                }
                n += 1;
                out.push_str("\"\"");
                keep_lines(&mut out, &chars[from..n.min(chars.len())]);
            }
            // A character: a quote in it begins no string.
            ('\'', '\\') if at(n + 3) == '\'' => n += 4,
            ('\'', _) if at(n + 2) == '\'' => n += 3,
            (c, _) => {
                out.push(c);
                n += 1;
            }
        }
    }
    out
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "//! head\nlet a = \"tokio // \\\" x\"; // std::fs\nlet b = r#\"zbus \"q\" \"#; let c = '\"'; d /* x\ny */ e\n";
    assert_eq!(blanked(text), "\nlet a = \"\"; \nlet b = \"\"; let c = ; d \n e\n");
}

#[test]
fn what_follows_the_test_mark_is_tests() {
    let source =
        Source::read("//! x\nuse a;\n\n// c\nfn b() {}\n#[cfg(test)]\nmod tests {\n x.expose()\n}\n");
    assert_eq!((source.code_lines(), source.head_lines(), source.opens_secrets()), (2, 1, false));
}

#[test]
fn paths_from_the_crate_are_found_wherever_they_stand() {
    let source = Source::read(
        "use crate::core::{a, b};\nlet x = $crate::y; crate::sys::clock::now();\nuse crate::{base};\n",
    );
    let paths: Vec<_> = source.crate_paths(false).into_iter().map(|(n, p)| format!("{n} {p}")).collect();
    assert_eq!(paths, ["1 core", "2 sys::clock::now", "3 {"]);
    let source = Source::read("use super::super::config::x;\n#[cfg(test)]\nmod tests {\nuse super::*;\n}\n");
    assert_eq!(source.climbs(), [(1, 2, "config::x".to_owned(), false), (4, 1, String::new(), true)]);
}
