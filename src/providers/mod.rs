//! Where credentials come from: one file per provider. To add a provider: its path rule and its
//! format in `format/`, its rows in `default_path` and `layout`, and its page in `docs/`.

pub mod claude_cli;
pub mod codex_cli;
pub mod copilot_cli;
pub mod gemini_cli;
pub mod kimi_code;
pub mod minimax_cli;
pub mod opencode;
pub mod qwen_code;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::credential::SourceReading;
use crate::base::id::Provider;
use crate::config::settings::LoginSettings;
use crate::format::layout::Layout;
use crate::sys::atomic_file::{self, FileState};

/// The environment that path rules look at.
pub type Variables = BTreeMap<String, String>;

/// The file that the provider's own CLI uses; `None` for a provider without a rule.
#[must_use]
pub fn default_path(provider: Provider, home: &Path, variables: &Variables) -> Option<PathBuf> {
    match provider {
        Provider::Claude => Some(claude_cli::credentials_path(home, variables)),
        Provider::Codex => Some(codex_cli::credentials_path(home, variables)),
        Provider::Gemini => Some(gemini_cli::credentials_path(home, variables)),
        Provider::Qwen => Some(qwen_code::credentials_path(home, variables)),
        Provider::Kimi => Some(kimi_code::credentials_path(home, variables)),
        Provider::Opencode => Some(opencode::credentials_path(home, variables)),
        Provider::Copilot => Some(copilot_cli::credentials_path(home, variables)),
        Provider::Minimax => Some(minimax_cli::credentials_path(home, variables)),
        _ => None,
    }
}

/// The directory that a variable names, else the default below the home; an empty variable counts as
/// unset.
fn directory(home: &Path, variables: &Variables, variable: &str, default: &str) -> PathBuf {
    let named = variables.get(variable).map(String::as_str).filter(|directory| !directory.is_empty());
    home.join(named.unwrap_or(default))
}

/// The name of the provider's own CLI; `None` where it is not driven from here.
#[must_use]
pub const fn cli_name(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Claude => Some("claude"),
        Provider::Codex => Some("codex"),
        _ => None,
    }
}

/// The variables that lead the provider's own CLI to the login in that directory, with those that
/// must not be there as `None`.
#[must_use]
pub fn lead_to(provider: Provider, home: &Path, directory: &Path) -> Vec<(&'static str, Option<String>)> {
    let named = Some(directory.display().to_string());
    match provider {
        // In its usual place `.claude.json` is beside the directory; where the variable names one, in it.
        Provider::Claude => vec![
            ("CLAUDE_CONFIG_DIR", named.filter(|_| directory != home.join(".claude"))),
            ("CLAUDE_SECURESTORAGE_CONFIG_DIR", None),
        ],
        Provider::Codex => vec![("CODEX_HOME", named)],
        _ => Vec::new(),
    }
}

/// How the source of a login is laid out; `None` for a generic one that is not described.
#[must_use]
pub fn layout(login: &LoginSettings) -> Option<Layout> {
    match login.provider {
        Provider::Codex | Provider::Generic if login.is_own() => Some(Layout::Own),
        Provider::Claude => Some(Layout::Claude),
        Provider::Codex => Some(Layout::Codex),
        Provider::Gemini => Some(Layout::Mapped(gemini_cli::fields())),
        Provider::Qwen => Some(Layout::Mapped(qwen_code::fields())),
        Provider::Kimi => Some(Layout::Mapped(kimi_code::fields())),
        Provider::Opencode => Some(Layout::Mapped(opencode::fields())),
        Provider::Copilot => Some(Layout::Copilot),
        Provider::Minimax => Some(Layout::Mapped(minimax_cli::fields())),
        Provider::Static => Some(Layout::Static),
        Provider::Generic => login.fields.clone().map(Layout::Mapped),
    }
}

/// One read of a source.
#[derive(Debug)]
pub struct Read {
    /// What it showed.
    pub reading: SourceReading,
    /// Permission bits, when there is a file that could be read.
    pub mode: Option<u32>,
    /// Device and inode of that file.
    pub identity: Option<(u64, u64)>,
}

/// Reads a source once.
#[must_use]
pub fn read(provider: Provider, layout: Option<&Layout>, path: &Path) -> Read {
    let without_file = |reading| Read { reading, mode: None, identity: None };
    if path.as_os_str().is_empty() {
        let reason = format!("where {provider} keeps its login is not known to this version; set `path`");
        return without_file(SourceReading::Unreadable { reason });
    }
    let file = match atomic_file::observe(path) {
        FileState::Absent { .. } => return without_file(SourceReading::Missing),
        FileState::Unreadable { reason, .. } => {
            return without_file(SourceReading::Unreadable { reason: reason.to_string() });
        }
        FileState::Present(file) => file,
    };
    let reading = match layout {
        Some(layout) => layout.parse(file.document.expose()),
        None => {
            SourceReading::Unreadable { reason: format!("this version does not read logins of {provider}") }
        }
    };
    Read { reading, mode: Some(file.mode), identity: Some((file.dev, file.ino)) }
}
