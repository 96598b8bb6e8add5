//! Logins whose file is in a container and nowhere on this host: read through the engine, as the user of
//! the container, into a file of our own (0600), which is the source from then on. Nothing is ever written
//! into a container; what renews such a login is its own CLI there.

use std::time::Duration;

use crate::base::code::Code;
use crate::base::credential::SourceReading;
use crate::base::id::LoginId;
use crate::base::secret::Document;
use crate::config::settings::{GatewayKind, LoginSettings};
use crate::core::memory::Failure;
use crate::daemon::apply;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::{StateDir, fetched_in, private_directory};
use crate::daemon::world::World;
use crate::format::layout::Layout;
use crate::format::standing::Standing;
use crate::gateway::engine;
use crate::gateway::unit::Managers;
use crate::providers;
use crate::sys::atomic_file::{self, Digest, Expected, FileState, Policy};

/// How often a file that shows no login is read before that is believed, and how far apart: some CLIs
/// write in place.
const READINGS: usize = 3;
const PAUSE: Duration = Duration::from_millis(700);
/// How long a pass is waited for before an outcome is recorded.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// Reads the file of a login that is in a container; nothing for any other. What goes wrong is on record
/// as that login's finding, and what was read before stays.
pub async fn fetch(world: &World, state: &StateDir, login: &LoginSettings) {
    let (Some(container), Some(path)) = (&login.container, &login.path) else { return };
    let read = read(world, login, container, &path.display().to_string()).await;
    let stored = read.and_then(|document| {
        let failed = |why: String| Failure::new(Code::Unreadable, why, "");
        store(world, login, &document).map_err(failed)
    });
    if let Err(error) = record(state, &login.id, stored.err()).await {
        tracing::warn!("what came of reading login {} in its container is not on record: {error}", login.id);
    }
}

async fn read(
    world: &World,
    login: &LoginSettings,
    container: &str,
    path: &str,
) -> Result<Document, Failure> {
    let means = apply::means(world, &Managers::default());
    let subject = format!("container {container}");
    let kind = GatewayKind::Container { name: container.to_owned() };
    let found = engine::find(&kind, &means).await.map_err(|trouble| trouble.failure(&subject))?;
    let layout = providers::layout(login);
    let mut readings = READINGS;
    loop {
        let Some(seen) = found.seen.first().filter(|seen| seen.standing != Standing::Stopped) else {
            let next = format!("{} start {container}", found.engine);
            return Err(Failure::new(Code::Unreadable, format!("{subject} does not run"), next));
        };
        let words = ["exec", "--env", "LC_ALL=C", &seen.id, "cat", path];
        let finished = engine::run(found.engine, &words, &means).await;
        let finished = finished.map_err(|trouble| trouble.failure(&subject))?;
        if !finished.succeeded() || finished.stdout.is_truncated() {
            let said = String::from_utf8_lossy(finished.stderr.bytes.expose()).into_owned();
            let (code, why) = match () {
                () if said.contains("No such file or directory") => (Code::Missing, "is not there"),
                () if said.contains("Permission denied") => {
                    (Code::Unreadable, "may not be read by the user of the container")
                }
                () if finished.timed_out => (Code::EngineUnavailable, "was not read in time"),
                () => (Code::Unreadable, "cannot be read; there has to be a cat in the container"),
            };
            return Err(Failure::new(code, format!("{path} in {subject} {why}"), ""));
        }
        readings -= 1;
        let document = finished.stdout.bytes;
        let is_whole = |layout: &Layout| matches!(layout.parse(document.expose()), SourceReading::Ok(_));
        if readings == 0 || layout.as_ref().is_none_or(is_whole) {
            return Ok(document);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn store(world: &World, login: &LoginSettings, document: &Document) -> Result<(), String> {
    let path = fetched_in(&world.surroundings.state_dir(), &login.id);
    let expected = match atomic_file::observe(&path) {
        FileState::Present(file) if &file.document == document => return Ok(()),
        FileState::Present(file) => Expected::Content(Digest::of(&file.document)),
        FileState::Absent { .. } => Expected::Absent,
        FileState::Unreadable { reason, .. } => return Err(format!("{}: {reason}", path.display())),
    };
    if let Some(directory) = path.parent() {
        private_directory(directory).map_err(|error| error.to_string())?;
    }
    let policy = Policy { mode: Some(0o600), ..Policy::default() };
    atomic_file::replace(&path, document, expected, policy).map_err(|error| error.to_string())
}

async fn record(state: &StateDir, login: &LoginId, failure: Option<Failure>) -> Result<(), PassError> {
    let known = state.load()?.logins.get(login).and_then(|known| known.unfetched.clone());
    if known == failure {
        return Ok(());
    }
    let _lock = pass::hold_pass(state, RECORD_DEADLINE).await?;
    let mut memory = state.load()?;
    memory.logins.entry(login.clone()).or_default().unfetched = failure;
    Ok(state.save(&mut memory)?)
}
