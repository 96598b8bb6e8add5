//! The encrypted credential of a `systemd-creds` sink: `systemd-creds encrypt` reads the bare access
//! token and prints what is written. The token is never an argument and never in a file of ours.
//! Seen with systemd 252 (root) and 257 (root, and a user by `--user`, which asks a service of root's
//! over a local socket).

use std::path::Path;
use std::time::Duration;

use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::secret::{Document, Secret};
use crate::core::model::{TargetContent, TargetId};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sinks::credential::{PROGRAM, is_for_system};
use crate::sys::atomic_file::{self, Digest, Expected, Policy, Staged};
use crate::sys::process::{self, CommandSpec, Finished, ProcessError};

/// Some milliseconds with a key on the disk, seconds with a slow TPM.
const DEADLINE: Duration = Duration::from_secs(30);
/// A token is some kilobytes at most, a third more as text, and a header.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// What is to be made.
#[derive(Debug)]
pub struct Order<'a> {
    /// The file.
    pub path: &'a Path,
    /// The credential's name, which its reader has to know it by.
    pub name: &'a str,
    /// The target.
    pub target: &'a TargetId,
    /// What was there when this was planned.
    pub there: Option<&'a TargetContent>,
}

/// Encrypts the token and writes the file. Returns the fingerprint of what was written.
///
/// # Errors
/// A sentence, when the program is missing or fails, or the file cannot be written or is not what it
/// was any more.
pub async fn seal(
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
    order: &Order<'_>,
    token: &Secret,
) -> Result<Fingerprint, String> {
    let document = encrypt(world, order.name, token).await?;
    let expected = match order.there {
        Some(TargetContent::Present(there)) => {
            // A wrong `path` must not cost anybody a file.
            let memory = state.load().map_err(|e| e.to_string())?;
            let known = memory.targets.get(&order.target.to_string());
            if known.is_none_or(|known| known.sealed.is_none()) && !there.is_empty() {
                state.keep_displaced(order.target, there, key).map_err(|e| e.to_string())?;
            }
            Expected::Content(Digest::of(there))
        }
        _ => Expected::Absent,
    };
    let committed = atomic_file::stage(order.path, &document, expected, Policy::default())
        .and_then(Staged::commit)
        .map_err(|e| e.to_string())?;
    if let Err(error) = atomic_file::sync_directories(&[committed]) {
        tracing::warn!("failed to sync a directory, the new file is in place: {error}");
    }
    Ok(key.document(&document))
}

async fn encrypt(world: &World, name: &str, token: &Secret) -> Result<Document, String> {
    let mut argv = vec![PROGRAM.to_owned(), "encrypt".to_owned()];
    if !is_for_system() {
        argv.push("--user".to_owned());
    }
    argv.extend([format!("--name={name}"), "-".to_owned(), "-".to_owned()]);
    let finished = process::run(CommandSpec {
        argv: argv.into_iter().map(Into::into).collect(),
        env: world.surroundings.child_environment().into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        stdin: Some(Document::new(token.expose().as_bytes().to_vec())),
        cwd: None,
        deadline: DEADLINE,
        output_limit: OUTPUT_LIMIT,
    })
    .await
    .map_err(|error| match error {
        ProcessError::NotFound { .. } => format!("{PROGRAM} is not on the PATH"),
        other => other.to_string(),
    })?;
    match () {
        () if finished.timed_out => Err(format!("{PROGRAM} took longer than {} s", DEADLINE.as_secs())),
        () if !finished.status.success() => {
            Err(format!("{PROGRAM} ended with {}{}", finished.status, complaint(&finished, token)))
        }
        () if finished.stdout.bytes.is_empty() => Err(format!("{PROGRAM} printed nothing")),
        () if finished.stdout.is_truncated() => Err(format!("{PROGRAM} printed more than 256 KiB")),
        () => Ok(finished.stdout.bytes),
    }
}

/// What the program said in its last line, unless that quotes the token.
fn complaint(finished: &Finished, token: &Secret) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(finished.stderr.bytes.expose());
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    if last.is_empty() || text.contains(token.expose()) {
        return String::new();
    }
    let shown: String = last.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    format!(": {shown}")
}
