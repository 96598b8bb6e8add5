//! Scripts of the kind that this program replaces: they copy the login of a CLI into the files of a
//! gateway, spend its refresh token, or run the CLI by the clock so that it does. Their text is looked
//! at, never run; what cannot be told from it is not guessed. Seen in the wild: a shell loop around
//! `inotifywait` with jq and sed, cron jobs, Python scripts, and timers that run `claude -p`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Syncer {
    /// The login that it handles is Claude Code's, as far as its sources say.
    #[must_use]
    pub fn is_claudes(&self) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|path| path.ends_with(".credentials.json"))
    }
}

/// Longer scripts are not looked at, in bytes.
pub const MAX_SCRIPT: usize = 256 * 1024;
/// Values that grow beyond this by expansion are dropped.
const MAX_VALUE: usize = 4096;
/// Files that one script may name.
const MAX_FILES: usize = 32;

/// The variables that gateways and CLIs take a token of a login from, the likeliest first. A key that
/// somebody bought is in none of them.
const TOKEN_VARIABLES: [&str; 3] =
    ["ANTHROPIC_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"];
/// What writes a line into a file.
const WRITERS: [&str; 7] = ["sed", "echo", "printf", "tee", "awk", "perl", "write"];

/// What a script does with a login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Syncer {
    /// It sends a refresh token itself.
    pub refreshes: bool,
    /// It runs the CLI so that this refreshes.
    pub triggers: bool,
    /// Sources that it names.
    pub sources: Vec<PathBuf>,
    /// What it writes.
    pub targets: Vec<Target>,
}

/// A file that a script writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// OpenClaw's `oauth.json`.
    OAuthJson(PathBuf),
    /// One variable of an environment file.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The variable.
        key: String,
    },
    /// The store of an agent in this state directory of OpenClaw.
    Store(PathBuf),
}

/// What the script does; `None` for one that has nothing to do with a login. `environment` is that of
/// whoever runs it, as far as it is known; `HOME` is what `~` means.
#[must_use]
pub fn read(text: &str, environment: &BTreeMap<String, String>) -> Option<Syncer> {
    if text.len() > MAX_SCRIPT || text.contains('\0') {
        return None;
    }
    let code: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let says = |word: &str| code.iter().any(|line| line.contains(word));
    let reads = says(".credentials.json") || says("claudeAiOauth") || says(".codex/auth.json");
    let refreshes = says("oauth/token") && (says("refresh_token") || says("refreshToken"));
    let triggers =
        code.iter().any(|line| runs_claude(line)) && (reads || says("refresh") || says("expiresAt"));
    let files = files(&code, environment);
    let is_written = |name: &&&str| {
        let assigned = format!("{name}=");
        let writes =
            |line: &&&str| line.contains(&assigned) && WRITERS.iter().any(|word| line.contains(word));
        code.iter().any(|line| writes(&line))
    };
    // Who does not read a login hands none on, whatever files it names.
    let key = TOKEN_VARIABLES.iter().find(is_written).filter(|_| reads);
    let mut syncer = Syncer { refreshes, triggers, ..Syncer::default() };
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let target = match (name.as_str(), key) {
            (".credentials.json", _) => {
                syncer.sources.push(path);
                continue;
            }
            ("auth.json", _) if path.parent().is_some_and(|parent| parent.ends_with(".codex")) => {
                syncer.sources.push(path);
                continue;
            }
            ("oauth.json", _) => Target::OAuthJson(path),
            ("auth-profiles.json", _) => match state_dir(&path) {
                Some(state_dir) => Target::Store(state_dir),
                None => continue,
            },
            (name, Some(key)) if name == ".env" || name.ends_with(".env") => {
                Target::EnvFile { path, key: (*key).to_owned() }
            }
            _ => continue,
        };
        if !syncer.targets.contains(&target) {
            syncer.targets.push(target);
        }
    }
    if !reads {
        syncer.targets.clear();
    }
    // Whoever reads the login and writes nothing that is known is a status script, or unknown to us.
    let copies = reads && !syncer.targets.is_empty();
    (copies || (reads && refreshes) || triggers).then_some(syncer)
}

/// `STATE/agents/NAME/agent/auth-profiles.json`.
fn state_dir(store: &Path) -> Option<PathBuf> {
    let agent = store.parent().filter(|directory| directory.ends_with("agent"))?;
    let agents = agent.parent()?.parent().filter(|directory| directory.ends_with("agents"))?;
    agents.parent().map(Path::to_owned)
}

/// True for a line that runs Claude Code for one prompt.
fn runs_claude(line: &str) -> bool {
    let words: Vec<&str> = line.split(is_separator).filter(|word| !word.is_empty()).collect();
    let is_claude = |word: &str| word == "claude" || word.ends_with("/claude") || word.ends_with("CLAUDE");
    words
        .iter()
        .position(|word| is_claude(word))
        .is_some_and(|at| words.iter().skip(at + 1).take(6).any(|word| matches!(*word, "-p" | "--print")))
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || "\"'`;|&()<>=,[]".contains(c)
}

/// The absolute paths that a script names, with its own simple assignments put in.
fn files(code: &[&str], environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let mut known = environment.clone();
    let mut files: Vec<PathBuf> = Vec::new();
    for line in code {
        let expanded = expanded(line, &known);
        if let Some((name, value)) = assignment(&expanded) {
            known.insert(name.to_owned(), value);
        }
        for word in expanded.split(is_separator) {
            let word = match (word.strip_prefix("~/"), known.get("HOME")) {
                (Some(rest), Some(home)) => format!("{home}/{rest}"),
                _ => word.to_owned(),
            };
            let is_whole = word.starts_with('/') && !word.contains(['$', '*', '?', '{', '}', '\\']);
            let path = PathBuf::from(word);
            let is_plain = path.components().all(|c| c != std::path::Component::ParentDir);
            if is_whole && is_plain && files.len() < MAX_FILES && !files.contains(&path) {
                files.push(path);
            }
        }
    }
    // A directory that is named alone says nothing.
    files.retain(|path| path.extension().is_some() || path.file_name().is_some_and(|n| n == ".env"));
    files
}

/// `NAME=value` on a line of its own, quotes taken off.
fn assignment(line: &str) -> Option<(&str, String)> {
    let line =
        ["export ", "local ", "readonly "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) || value.contains("$(") || value.contains('`') {
        return None;
    }
    let value = value.trim();
    let end = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => return Some((name, value.trim_matches(quote).to_owned())),
        _ => value.find([' ', ';', '#', '\t']).unwrap_or(value.len()),
    };
    Some((name, value.get(..end)?.to_owned()))
}

/// `$NAME`, `${NAME}` and `${NAME:-default}` put in, where the value is known. Everything else stays.
fn expanded(line: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match reference(from) {
            Some((name, default, length)) => {
                let value = known.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(default);
                match value {
                    Some(value) => out.push_str(value),
                    None => out.push_str(from.get(..length).unwrap_or_default()),
                }
                rest = from.get(length..).unwrap_or_default();
            }
            None => {
                out.push('$');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        if out.len() > MAX_VALUE {
            return String::new();
        }
    }
    out.push_str(rest);
    out
}

/// The variable that `text`, which begins with a dollar sign, refers to: its name, its default, and how
/// many bytes that takes.
fn reference(text: &str) -> Option<(&str, Option<&str>, usize)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let body = text.strip_prefix('$')?;
    if let Some(inner) = body.strip_prefix('{') {
        let (inner, _) = inner.split_once('}')?;
        let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
        let (name, more) = inner.split_at(end);
        let default = more.strip_prefix(":-").or_else(|| more.strip_prefix('-'));
        let is_plain = more.is_empty() || default.is_some_and(|d| !d.contains('$'));
        return (!name.is_empty() && is_plain).then_some((name, default, inner.len() + 3));
    }
    let end = body.find(|c| !is_name(c)).unwrap_or(body.len());
    let name = body.get(..end).filter(|name| !name.is_empty())?;
    Some((name, None, end + 1))
}

/// What a line of a cron table runs, in words, and for which user where the table is the system's; `None`
/// for one that runs nothing.
#[must_use]
pub fn cron_line(line: &str, is_systems: bool) -> Option<(Option<&str>, Vec<String>)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    // Five fields, or one such as `@hourly`; then, in the system's tables, the user.
    let mut words = line.split_whitespace().skip(if line.starts_with('@') { 1 } else { 5 });
    let user = if is_systems { Some(words.next()?) } else { None };
    let words: Vec<String> = words.map(str::to_owned).collect();
    (!words.is_empty()).then_some((user, words))
}

#[cfg(test)]
mod tests;
