//! `.env` files: one variable is edited in place, every other byte stays.
//!
//! The readers of one file differ (docker compose `env_file`, systemd `EnvironmentFile=`, shells);
//! what is written here all three read alike. The last assignment of a key is the one that counts
//! for each of them. Works on bytes: other lines need not be UTF-8.
//! NOTE: systemd has no comments after a value; one that stands there is left to its owner.

use std::ops::Range;

use super::{Edit, FormatError, FormatErrorKind, within_limit};
use crate::base::secret::{Document, Secret};
use zeroize::Zeroizing;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    Single,
    Double,
}

/// One assignment: where its value stands, quotes included, and how it is quoted.
struct Assignment {
    key: Range<usize>,
    value: Range<usize>,
    quoting: Quoting,
}

/// The value that readers of the file see for `key`; `None` when it is unassigned or blank.
///
/// # Errors
/// `TooLarge`; `NotUtf8` when that very value is not text.
pub fn held(bytes: &[u8], key: &str) -> Result<Option<Secret>, FormatError> {
    within_limit(bytes)?;
    let Some(assignment) = effective(bytes, key) else { return Ok(None) };
    let value = decoded(bytes, &assignment).ok_or_else(|| {
        FormatError::new(FormatErrorKind::NotUtf8, format!("the value of {key} is not UTF-8"))
    })?;
    Ok(Some(value).filter(|v| !v.is_blank()))
}

/// Gives `key` the value `secret`: in its last assignment, in the quoting found there, or in a
/// new last line.
///
/// # Errors
/// `TooLarge`; `WouldEmpty` for a blank secret; `Unquotable` for a value with control characters, a
/// key that is not a variable name, or a value in quotes behind a quote that is never closed.
pub fn edit(existing: Option<&[u8]>, key: &str, secret: &Secret) -> Result<Edit, FormatError> {
    let bytes = existing.unwrap_or_default();
    within_limit(bytes)?;
    if secret.is_blank() {
        return Err(FormatError::new(FormatErrorKind::WouldEmpty, format!("{key} would become blank")));
    }
    if !is_name(key.as_bytes()) {
        return Err(FormatError::new(FormatErrorKind::Unquotable, "the key is not a variable name"));
    }
    if secret.expose().chars().any(char::is_control) {
        let detail = format!("the value for {key} holds a control character");
        return Err(FormatError::new(FormatErrorKind::Unquotable, detail));
    }
    let document = match effective(bytes, key) {
        None => appended(bytes, key, secret),
        Some(assignment) if decoded(bytes, &assignment).as_ref() == Some(secret) => {
            return Ok(Edit::Unchanged);
        }
        Some(assignment) => {
            let value = quoted(secret, assignment.quoting);
            let before = bytes.get(..assignment.value.start).unwrap_or_default();
            let after = bytes.get(assignment.value.end..).unwrap_or_default();
            joined(&[before, value.as_bytes(), after])
        }
    };
    // A quote that nothing closed so far would end at the first one of ours, and take the line with it.
    if held(document.expose(), key)?.as_ref() != Some(secret) {
        let detail = format!("a quote above {key} is never closed");
        return Err(FormatError::new(FormatErrorKind::Unquotable, detail));
    }
    Ok(Edit::Changed(document))
}

/// Removes the line of the last assignment of `key`; every other byte stays.
///
/// # Errors
/// `TooLarge`.
pub fn remove(bytes: &[u8], key: &str) -> Result<Edit, FormatError> {
    within_limit(bytes)?;
    let Some(assignment) = effective(bytes, key) else { return Ok(Edit::Unchanged) };
    let before = bytes.get(..assignment.key.start).unwrap_or_default();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(bom(bytes), |newline| newline + 1);
    let end = bytes.len().min(end_of_line(bytes, assignment.value.end) + 1);
    let kept = [bytes.get(..start).unwrap_or_default(), bytes.get(end..).unwrap_or_default()];
    Ok(Edit::Changed(joined(&kept)))
}

fn appended(bytes: &[u8], key: &str, secret: &Secret) -> Document {
    let newline: &[u8] = if bytes.windows(2).any(|pair| pair == b"\r\n") { b"\r\n" } else { b"\n" };
    let ended = bytes.is_empty() || bytes == BOM || bytes.ends_with(b"\n");
    let first: &[u8] = if ended { b"" } else { newline };
    let value = quoted(secret, Quoting::None);
    joined(&[bytes, first, key.as_bytes(), b"=", value.as_bytes(), newline])
}

fn joined(parts: &[&[u8]]) -> Document {
    // The exact length at once: a growing buffer would leave unwiped copies behind.
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    Document::new(out)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The length of the mark at the start.
fn bom(bytes: &[u8]) -> usize {
    if bytes.starts_with(BOM) { BOM.len() } else { 0 }
}

/// The last assignment of `key`.
fn effective(bytes: &[u8], key: &str) -> Option<Assignment> {
    let mut found = None;
    let mut at = bom(bytes);
    while at < bytes.len() {
        let line_end = end_of_line(bytes, at);
        let Some(assignment) = assignment(bytes, at, line_end) else {
            at = line_end + 1;
            continue;
        };
        // A quoted value may reach over several lines: go on behind the line on which it ends.
        at = end_of_line(bytes, assignment.value.end) + 1;
        if bytes.get(assignment.key.clone()) == Some(key.as_bytes()) {
            found = Some(assignment);
        }
    }
    found
}

/// The position of the newline that ends the line of `at`, or the end of the file.
fn end_of_line(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |i| at + i)
}

/// The assignment on the line `start..end`, if it is one.
fn assignment(bytes: &[u8], start: usize, end: usize) -> Option<Assignment> {
    let byte = |at: usize| bytes.get(at).copied().filter(|_| at < end);
    let skip_blanks = |mut at: usize| {
        while matches!(byte(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    };
    let mut at = skip_blanks(start);
    let export = b"export";
    if bytes.get(at..end)?.starts_with(export) && matches!(byte(at + export.len()), Some(b' ' | b'\t')) {
        at = skip_blanks(at + export.len());
    }
    let key_start = at;
    while byte(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        at += 1;
    }
    let key = key_start..at;
    at = skip_blanks(at);
    if key.is_empty() || byte(at) != Some(b'=') {
        return None;
    }
    let value_start = at + 1;
    let first = skip_blanks(value_start);
    let quote = match byte(first) {
        Some(b'\'') => Some(Quoting::Single),
        Some(b'"') => Some(Quoting::Double),
        _ => None,
    };
    if let Some(quoting) = quote
        && let Some(closed) = end_of_quoted(bytes, first, quoting)
    {
        // What clings to the closing quote belongs to the word, as in a shell.
        let mut word_end = closed;
        while bytes.get(word_end).is_some_and(|b| !b.is_ascii_whitespace()) {
            word_end += 1;
        }
        return Some(Assignment { key, value: first..word_end, quoting });
    }
    // An opening quote that is never closed is an ordinary character for the readers of lines.
    let value = unquoted(bytes, value_start, first, end);
    Some(Assignment { key, value, quoting: Quoting::None })
}

/// The range of an unquoted value: without blanks around it and without a comment behind it.
fn unquoted(bytes: &[u8], value_start: usize, first: usize, end: usize) -> Range<usize> {
    let commented = first > value_start && bytes.get(first) == Some(&b'#');
    if commented || bytes.get(first..end).is_none_or(|rest| rest.trim_ascii().is_empty()) {
        return value_start..value_start;
    }
    let rest = bytes.get(first..end).unwrap_or_default();
    let comment = rest.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'#']));
    let value = rest.get(..comment.unwrap_or(rest.len())).unwrap_or_default();
    first..first + value.trim_ascii_end().len()
}

/// The position behind the closing quote of the value that begins at `start`.
fn end_of_quoted(bytes: &[u8], start: usize, quoting: Quoting) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match (bytes.get(at)?, quoting) {
            (b'\\', Quoting::Double) => at += 2,
            (b'"', Quoting::Double) | (b'\'', Quoting::Single) => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The value as readers get it; `None` when it is not UTF-8.
fn decoded(bytes: &[u8], assignment: &Assignment) -> Option<Secret> {
    let raw = std::str::from_utf8(bytes.get(assignment.value.clone())?).ok()?;
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    Some(Secret::new(match assignment.quoting {
        Quoting::None => raw.to_owned(),
        // Words glued together from several parts are never ours: taken as they stand, they
        // differ from any token and are replaced.
        Quoting::Single if inner.contains('\'') || !raw.ends_with('\'') => raw.to_owned(),
        Quoting::Double if !raw.ends_with('"') => raw.to_owned(),
        Quoting::Single => inner.to_owned(),
        Quoting::Double => unescaped(inner),
    }))
}

/// A double-quoted text with the four escapes undone that a shell knows there.
fn unescaped(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(next @ ('"' | '\\' | '$' | '`'))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// The value as it is written, in the quoting found where that can carry it.
fn quoted(secret: &Secret, found: Quoting) -> Zeroizing<String> {
    let text = secret.expose();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./+=:@%,".contains(&b));
    let special = text.contains(['"', '\\', '$', '`']);
    let quoting = match found {
        Quoting::None if plain => Quoting::None,
        // Nothing is special between single quotes, for any reader.
        Quoting::Single if !text.contains('\'') => Quoting::Single,
        _ if special && !text.contains('\'') => Quoting::Single,
        _ => Quoting::Double,
    };
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
    match quoting {
        Quoting::None => out.push_str(text),
        Quoting::Single => {
            out.push('\'');
            out.push_str(text);
            out.push('\'');
        }
        Quoting::Double => {
            out.push('"');
            for c in text.chars() {
                if matches!(c, '"' | '\\' | '$' | '`') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
    }
    out
}

/// A name that every reader takes for a variable.
fn is_name(key: &[u8]) -> bool {
    key.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}
