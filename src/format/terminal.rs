//! What a program drew on a terminal, as text: for finding the URL and the question in a login screen.
//! Colours and movements are dropped, hyperlinks (OSC 8) are kept, wrapped addresses are joined again.
//!
//! It is no emulator: lines are as long as they are written, and a cursor that jumps begins a new one.
//! Everything is bounded, whatever is sent. The text may hold a token: it is wiped and never printed.
//! Facts: `claude auth login` and `claude setup-token` of Claude Code 2.1.329 (words set by column, an
//! OSC 8 link with BEL around the address) and 2.1.112 (the bare address).

use std::fmt;

use vte::{Params, Parser, Perform};
use zeroize::Zeroizing;

/// The longest line kept; what is written beyond it is dropped.
const LONGEST_LINE: usize = 8 * 1024;
/// Lines kept, the newest ones.
const LINES: usize = 256;
/// Hyperlinks kept, the newest ones.
const LINKS: usize = 16;
/// The longest escape sequence of text (OSC) that is understood. A longer one is dropped whole.
const LONGEST_SEQUENCE: usize = 8 * 1024;
/// The parser's own limit of parts of such a sequence.
const MOST_PARTS: usize = 16;
/// Lines that one wrapped address may take.
const WRAPS: usize = 40;
/// Addresses that are looked at in one line.
const PER_LINE: usize = 4;
/// Shorter lines are not the first half of a wrapped address.
const NARROWEST: usize = 40;

/// A terminal that is only listened to.
pub struct Transcript {
    parser: Parser<LONGEST_SEQUENCE>,
    drawn: Drawn,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({} lines)", self.drawn.lines.len())
    }
}

impl Default for Transcript {
    fn default() -> Self {
        Self { parser: Parser::new_with_size(), drawn: Drawn::default() }
    }
}

/// An address that the program drew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// The address, made of the characters of a URL only.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A parameter of its query, as it is written there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.0.split_once('?')?.1;
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, v)| v)
    }
}

impl Transcript {
    /// Takes what was written to the terminal, in any pieces.
    pub fn feed(&mut self, bytes: &[u8]) {
        // One by one: what vte 0.15 makes of bytes that are no text depends on where a piece ends.
        for byte in bytes {
            self.parser.advance(&mut self.drawn, std::slice::from_ref(byte));
        }
    }

    /// True when the words were written anywhere, whatever their case and whatever blanks are
    /// between them, within one line.
    #[must_use]
    pub fn shows(&self, words: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let wanted = plain(words);
        self.drawn.all_lines().any(|line| Zeroizing::new(plain(&line)).contains(&wanted))
    }

    /// The newest address at which a person is asked to say yes: `https`, at one of these hosts, with
    /// "authorize" in its path and a state. A hyperlink's target wins over text.
    #[must_use]
    pub fn authorize_address(&self, hosts: &[&str]) -> Option<Address> {
        let links = self.drawn.links.iter().rev().map(|link| link.as_str().to_owned());
        let lines: Vec<Zeroizing<String>> = self.drawn.all_lines().collect();
        let texts = (0..lines.len()).rev().flat_map(|at| addresses(lines.get(at..).unwrap_or_default()));
        links.chain(texts).find_map(|text| authorize(&text, hosts))
    }

    /// The last line that says anything and does not contain `typed`, an answer that the terminal
    /// may have shown again (empty: any line). For a person: no control characters, 200 others at most.
    #[must_use]
    pub fn last_words(&self, typed: &str) -> String {
        let lines: Vec<Zeroizing<String>> = self.drawn.all_lines().collect();
        let is_said = |line: &&Zeroizing<String>| {
            line.chars().any(char::is_alphabetic) && (typed.is_empty() || !line.contains(typed))
        };
        let said = lines.iter().rev().find(is_said).map(|line| line.trim());
        said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// Whether a character may stand in a URL (RFC 3986).
fn is_of_a_url(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

/// The addresses that begin in the first of these lines, joined with the lines that go on with them.
fn addresses(lines: &[Zeroizing<String>]) -> Vec<String> {
    let Some((first, rest)) = lines.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (at, _) in first.match_indices("https://").take(PER_LINE) {
        let tail = first.get(at..).unwrap_or_default();
        let end = tail.find(|c| !is_of_a_url(c)).unwrap_or(tail.len());
        let mut address = tail.get(..end).unwrap_or_default().to_owned();
        // Only what reaches the end of its line (or the frame around it) can go on in the next one.
        if bare(tail.get(end..).unwrap_or_default()).is_empty() {
            let width = first.trim_end().chars().count();
            let mut is_full = false;
            for next in rest.iter().take(WRAPS) {
                let part = bare(next);
                if part.is_empty() || !part.chars().all(is_of_a_url) || part.starts_with("https://") {
                    break;
                }
                let next_width = next.trim_end().chars().count();
                // One full line proves nothing yet: then a word of prose is not a part.
                let is_too_long = address.len() + part.len() > LONGEST_LINE;
                if is_too_long || width < NARROWEST || next_width > width || (!is_full && is_word(part)) {
                    break;
                }
                address.push_str(part);
                is_full = next_width == width;
                if !is_full {
                    break;
                }
            }
        }
        found.push(address);
    }
    found
}

/// A line without its indentation and the frame that a box draws around it.
fn bare(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || ('\u{2500}'..='\u{259f}').contains(&c))
}

/// Whether it reads like a word of a sentence.
fn is_word(text: &str) -> bool {
    let text = text.trim_end_matches(['.', ':', '!', '?', ',', ';']);
    text.chars().all(|c| c.is_ascii_alphabetic()) && text.chars().skip(1).all(|c| c.is_ascii_lowercase())
}

/// The address, when a person may be sent there.
fn authorize(text: &str, hosts: &[&str]) -> Option<Address> {
    let rest = text.strip_prefix("https://")?;
    if !text.chars().all(is_of_a_url) || text.len() >= LONGEST_LINE {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // Anything but the bare name (a user, a port) is another host than it seems to be.
    let (host, path) = (rest.get(..end)?, rest.get(end..)?);
    let path_end = path.find(['?', '#']).unwrap_or(path.len());
    let is_allowed = hosts.contains(&host) && path.get(..path_end)?.contains("authorize");
    let address = Address(text.to_owned());
    (is_allowed && address.parameter("state").is_some_and(|state| !state.is_empty())).then_some(address)
}

/// What was drawn.
#[derive(Default)]
struct Drawn {
    /// Lines that are finished.
    lines: std::collections::VecDeque<Zeroizing<String>>,
    /// The line that is being written, and where in it.
    line: Zeroizing<Vec<char>>,
    column: usize,
    links: std::collections::VecDeque<Zeroizing<String>>,
}

impl Drawn {
    fn all_lines(&self) -> impl DoubleEndedIterator<Item = Zeroizing<String>> {
        let last = Zeroizing::new(self.line.iter().collect::<String>());
        self.lines.iter().cloned().chain(std::iter::once(last))
    }

    fn end_line(&mut self) {
        self.column = 0;
        let line = Zeroizing::new(self.line.iter().collect::<String>());
        self.line = Zeroizing::default();
        // Blank lines stay: nothing goes on across one.
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn go_to(&mut self, column: usize) {
        self.column = column.min(LONGEST_LINE);
    }
}

/// The first number of a sequence; absent and 0 both mean 1.
fn count(params: &Params) -> usize {
    let first = params.iter().next().and_then(|group| group.first()).copied().unwrap_or(1);
    usize::from(first.max(1))
}

impl Perform for Drawn {
    fn print(&mut self, c: char) {
        if self.column >= LONGEST_LINE {
            return;
        }
        if self.line.len() <= self.column {
            self.line.resize(self.column + 1, ' ');
        }
        if let Some(cell) = self.line.get_mut(self.column) {
            *cell = c;
        }
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | 0x0b | 0x0c => self.end_line(),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => self.go_to((self.column / 8 + 1) * 8),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignored: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        match action {
            'G' | '`' => self.go_to(count(params) - 1),
            'C' | 'a' => self.go_to(self.column.saturating_add(count(params))),
            'D' => self.column = self.column.saturating_sub(count(params)),
            // Up, down, anywhere, and wiping the screen: what follows has nothing to do with this line.
            'A' | 'B' | 'E' | 'F' | 'H' | 'f' | 'd' | 'J' if !self.line.is_empty() => self.end_line(),
            _ => {}
        }
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        let [b"8", _attributes, target @ ..] = params else { return };
        // An address may hold the separator of parameters.
        let target = target.join(&b';');
        let total: usize = params.iter().map(|part| part.len()).sum();
        // A sequence that filled the room for it may have lost its end, and so may one of too many parts.
        if target.is_empty() || total >= LONGEST_SEQUENCE || params.len() >= MOST_PARTS {
            return;
        }
        let Ok(target) = String::from_utf8(target) else { return };
        if self.links.back().is_some_and(|last| last.as_str() == target) {
            return;
        }
        if self.links.len() == LINKS {
            self.links.pop_front();
        }
        self.links.push_back(Zeroizing::new(target));
    }
}

#[cfg(test)]
mod tests;
