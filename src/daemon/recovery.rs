//! What a crash of ours left beside the targets, before the first pass of a process: rewrites in place
//! are completed, temporary files of dead writers removed. Nothing is planned here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::pass;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::{atomic_file, clock};

/// How long to wait for another process's pass, which writes what is looked at here.
const PASS_DEADLINE: Duration = Duration::from_secs(30);
/// A temporary file whose writer cannot be judged is left for so long.
const FOREIGN_AGE: Duration = Duration::from_secs(600);

/// Completes what can be completed and removes what nobody needs. What fails is left as it is for the
/// next start, and said.
pub async fn recover(world: &World, state: &StateDir) {
    let _lock = match pass::hold_pass(state, PASS_DEADLINE).await {
        Ok(lock) => lock,
        Err(error) => return tracing::warn!("what a crash left is looked for at the next start: {error}"),
    };
    let mut names = atomic_file::LeftNames::default();
    for path in world.watched() {
        if let Err(error) = atomic_file::recover(&path, &mut names) {
            tracing::warn!("failed to complete an interrupted write, keeping its copy: {error}");
        }
    }
    tidy(world, state);
}

/// Removes the temporary files of dead writers alone. Needs no lock: a writer that lives is seen.
pub fn tidy(world: &World, state: &StateDir) {
    let mut directories: BTreeSet<PathBuf> =
        world.watched().iter().filter_map(|p| p.parent().map(PathBuf::from)).collect();
    directories.extend(state.directories());
    // Where `setup` and `login` enter what they made.
    directories.insert(world.surroundings.config_dir().join("tokensink.d"));
    for directory in directories {
        match atomic_file::remove_stale_temps(&directory, FOREIGN_AGE, clock::now()) {
            Ok(removed) if !removed.is_empty() => {
                tracing::debug!(directory = %directory.display(), count = removed.len(), "temporary files removed");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("{} not cleaned: {error}", directory.display()),
        }
    }
}
