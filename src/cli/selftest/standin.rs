//! The stand-ins: a CLI that owns a credentials file, and a gateway that reads a sink when it
//! starts, notes what it read, and waits.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::base::secret::Document;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::sys::atomic_file::{self, FileState, Policy};
use crate::sys::stdio;

/// A Claude credentials document with a made-up token.
pub fn credentials(token: &str, expires_at: i64) -> Vec<u8> {
    let document = serde_json::json!({
        "claudeAiOauth": {
            "accessToken": token,
            "refreshToken": token.replace("oat01", "ort01"),
            "expiresAt": expires_at,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        },
        "mcpOAuth": {},
    });
    document.to_string().into_bytes()
}

/// What a logged-out CLI leaves (Claude Code 2.1.329 after a refused refresh).
pub fn husk() -> Vec<u8> {
    let document = serde_json::json!({
        "claudeAiOauth": {"accessToken": "", "refreshToken": "", "expiresAt": 0, "scopes": ["user:inference"]},
    });
    document.to_string().into_bytes()
}

/// Replaces a file as newer CLIs do.
pub fn replace(path: &Path, bytes: Vec<u8>) -> Result<(), String> {
    let state = atomic_file::observe(path);
    let expected = state.expected().ok_or("the stand-in's own file cannot be read")?;
    atomic_file::stage(path, &Document::new(bytes), expected, Policy::default())
        .and_then(atomic_file::Staged::commit)
        .map(drop)
        .map_err(|e| e.to_string())
}

/// Truncates a file and writes the first part of `bytes`, as older CLIs do before the rest.
pub fn overwrite(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(bytes)).map_err(|e| e.to_string())
}

/// `selftest-alert`: notes the message on standard input.
#[must_use]
pub fn alert(told: &Path) -> Exit {
    const LONGEST: usize = 64 * 1024;
    match stdio::take(LONGEST) {
        Ok(Some(message)) => match replace(told, message.expose().to_vec()) {
            Ok(()) => Exit::Done,
            Err(why) => output::failure(why, Exit::Failed),
        },
        Ok(None) => output::failure("the message is too long", Exit::Failed),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// `selftest-gateway`: reads the sink, notes what it read, and waits to be stopped.
#[must_use]
pub fn gateway(token: &Path, seen: &Path, is_once: bool) -> Exit {
    let bytes = match atomic_file::observe(token) {
        FileState::Present(file) => file.document.expose().to_vec(),
        _ => b"nothing".to_vec(),
    };
    if let Err(why) = replace(seen, bytes) {
        return output::failure(why, Exit::Failed);
    }
    if is_once {
        return Exit::Done;
    }
    // Until SIGTERM, which ends the process.
    match output::block_on(std::future::pending::<()>()) {
        Ok(()) => Exit::Done,
        Err(error) => output::failure(error, Exit::Failed),
    }
}
