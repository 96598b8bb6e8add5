//! Logging in by Claude Code itself: `claude auth login`, in a directory of its own, so that whatever
//! becomes of the attempt the login that is there is not touched before the new one is here and
//! proven. In the live directory the same command takes no lock and leaves what it finds.
//! Facts: Claude Code 2.1.329 (prints an OSC 8 link, asks for `code#state`, revokes nothing, leaves
//! `.credentials.json` and `.claude.json`), 2.1.112 (asks for nothing: it only hears a browser on the
//! same machine). The CLI itself puts an older account in `.claude.json` right at its next prompt.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::official::{self, Looks};
use super::paste::Lines;
use super::{Failed, Told, browser};
use crate::base::credential::{NewLogin, SourceReading};
use crate::base::secret::Document;
use crate::format;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::clock;
use crate::sys::paths::Surroundings;
use crate::sys::pty::PtySpec;
use crate::sys::tty::WindowSize;

const LOOKS: Looks = Looks {
    hosts: &["claude.com", "claude.ai", "platform.claude.com", "console.anthropic.com"],
    question: "paste code",
};
/// So wide that no address is wrapped.
const WINDOW: WindowSize = WindowSize { rows: 50, columns: 2000 };
/// Ways to the network, which the CLI has to use like us.
const NETWORK: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];
/// What leads to the person's desktop.
const DESKTOP: [&str; 5] = ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_CURRENT_DESKTOP", "BROWSER"];

/// The directory of one attempt; removed with all that is in it when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it anew. The caller holds the lock of this login's attempts.
    ///
    /// # Errors
    /// When it cannot be made, in words.
    pub fn make(path: PathBuf) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        Ok(Self(path))
    }

    fn read(&self, name: &str) -> Option<Document> {
        match atomic_file::observe(&self.0.join(name)) {
            FileState::Present(file) => Some(file.document),
            FileState::Absent { .. } | FileState::Unreadable { .. } => None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next attempt, or stands in its way and is named.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Has the CLI log in, and takes what it brought. `wants_browser`: it may open one, if there is one.
///
/// # Errors
/// See [`Failed`]. What the CLI may have brought is gone with the scratch directory.
pub async fn run(
    program: &Path,
    scratch: &Scratch,
    surroundings: &Surroundings,
    wants_browser: bool,
    lines: &mut Lines,
    patience: Duration,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<NewLogin, Failed> {
    let has_browser = wants_browser && browser::program(surroundings).is_ok();
    let command = PtySpec {
        argv: vec![program.display().to_string(), "auth".to_owned(), "login".to_owned()],
        env: environment(surroundings, &scratch.0, has_browser),
        cwd: Some(scratch.0.clone()),
        size: WINDOW,
    };
    official::run(&command, LOOKS, has_browser, lines, patience, tell).await?;
    taken(scratch)
}

/// Where and who, the network, and where to keep the login; nothing that shows it another one.
fn environment(surroundings: &Surroundings, scratch: &Path, has_browser: bool) -> BTreeMap<String, String> {
    let mut environment = surroundings.child_environment();
    let desktop: &[&str] = if has_browser { &DESKTOP } else { &[] };
    for name in NETWORK.iter().chain(desktop) {
        environment.extend(surroundings.variable(name).map(|value| ((*name).to_owned(), value.to_owned())));
    }
    for (name, value) in [
        ("CLAUDE_CONFIG_DIR", scratch.display().to_string()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("TERM", "xterm-256color".to_owned()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    if !has_browser {
        // Else it looks for one, and finds those that draw on a terminal.
        environment.insert("BROWSER".to_owned(), "true".to_owned());
    }
    environment
}

/// What the CLI left, when it is a login.
fn taken(scratch: &Scratch) -> Result<NewLogin, Failed> {
    let unusable = |why: &str| Failed::Cli(format!("the CLI ended well, but {why}"));
    let document = scratch.read(".credentials.json").ok_or_else(|| unusable("it left no login"))?;
    let SourceReading::Ok(login) = format::claude::parse(document.expose()) else {
        return Err(unusable("what it left is not a login"));
    };
    let now = clock::now();
    if login.refresh.is_none() {
        return Err(unusable("its login cannot be refreshed"));
    }
    if !login.scopes.iter().any(|scope| scope == "user:inference") {
        return Err(unusable("its login has not the scope user:inference"));
    }
    if login.expires_at.is_none_or(|end| end <= now) {
        return Err(unusable("its login is over already"));
    }
    // Up to 2.1.112 the account is beside the login only.
    let beside =
        || scratch.read(".claude.json").and_then(|file| format::claude::account_beside(file.expose()));
    Ok(NewLogin {
        account: login.account.or_else(beside),
        access: login.access,
        refresh: login.refresh,
        id_token: None,
        expires_at: login.expires_at,
        scopes: login.scopes,
        granted_at: now,
        document: Some(document),
    })
}
