//! A login that goes to another host. The order is the design: under the login's own lock and its CLI's,
//! what an earlier refresh left is resolved; the sealed bundle is durable in our state directory, and
//! given to whoever asked for it, before anything here changes; then it is on record that the login
//! went; last the source loses its refresh token, by compare-and-swap.
//!
//! M1: at every moment the refresh token is in the source or in a durable bundle, or in both.
//! M2: from the record on, nothing here spends that token, by itself or when it is told to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::code::Code;
use crate::base::credential::SourceReading;
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::LoginId;
use crate::base::secret::{Document, Secret};
use crate::config::settings::LoginSettings;
use crate::core::event::What;
use crate::core::families;
use crate::core::memory::{LoginMemory, Moved};
use crate::core::refresh::Stop;
use crate::core::schedule::Way;
use crate::daemon::history;
use crate::daemon::pass;
use crate::daemon::refresh::{self, Run};
use crate::daemon::store::StateDir;
use crate::daemon::world::{Source, World};
use crate::format::bundle::{self, Moving};
use crate::format::layout::{Layout, Store};
use crate::refresher::proof;
use crate::refresher::side::{Locks, Side};
use crate::sys::atomic_file::{self, Expected, FileState, Policy, WriteErrorKind};
use crate::sys::lock::ProcessLock;
use crate::sys::{clock, failpoint, sealed};

/// How long a refresh of the same login that is in hand is waited for: longer than one takes.
pub const REFRESH_PATIENCE: Duration = Duration::from_secs(90);
/// How long a pass is waited for.
pub const PASS_PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to write a source while somebody else writes it too.
pub const STORE_TRIES: usize = 5;

/// Why a login was not moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMoved {
    /// The stable code, where there is one.
    pub code: Option<Code>,
    /// In words.
    pub why: String,
}

impl NotMoved {
    /// With a code.
    #[must_use]
    pub fn coded(code: Code, why: String) -> Self {
        Self { code: Some(code), why }
    }

    /// Without one.
    #[must_use]
    pub fn because(why: impl fmt::Display) -> Self {
        Self { code: None, why: why.to_string() }
    }
}

impl fmt::Display for NotMoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{code}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for NotMoved {}

/// A login that is held while it goes.
#[derive(Debug)]
struct Leaving {
    login: LoginId,
    side: Side,
    path: PathBuf,
    layout: Layout,
    token: Secret,
    refresh: Fingerprint,
    _refresh: ProcessLock,
    _cli: Locks,
}

/// Logins that are sealed and durable, and still here.
#[derive(Debug)]
pub struct Export<'a> {
    state: &'a StateDir,
    leaving: Vec<Leaving>,
    /// The sealed bundle.
    pub sealed: Document,
    /// Where it is kept.
    pub kept: PathBuf,
}

impl<'a> Export<'a> {
    /// Holds the logins, seals them for `recipient` and keeps the bundle. Nothing else changes.
    ///
    /// # Errors
    /// Why one of them cannot go; none of them does then.
    pub async fn prepare(
        world: &World,
        state: &'a StateDir,
        key: &FingerprintKey,
        logins: &[&LoginSettings],
        recipient: &str,
    ) -> Result<Self, NotMoved> {
        let mut leaving = Vec::with_capacity(logins.len());
        let mut moving = Vec::with_capacity(logins.len());
        for login in logins {
            let (held, document) = hold(world, state, key, login).await?;
            let layout = held.layout.word().to_owned();
            moving.push(Moving { id: login.id.clone(), provider: login.provider, layout, document });
            leaving.push(held);
        }
        let plain = bundle::compose(&moving, clock::now()).map_err(NotMoved::because)?;
        let sealed = sealed::seal(&plain, recipient).map_err(NotMoved::because)?;
        let name = key.document(&sealed);
        let kept = state.keep_bundle(&name, &sealed).map_err(NotMoved::because)?;
        failpoint::hit("export-kept");
        Ok(Self { state, leaving, sealed, kept })
    }

    /// Records that the logins went, and takes their refresh tokens out of their sources. To be called
    /// when whoever asked has the bundle.
    ///
    /// # Errors
    /// What is not disarmed, in words; the bundle is good for every other login.
    pub async fn disarm(self) -> Result<(), NotMoved> {
        failpoint::hit("export-given");
        for leaving in &self.leaving {
            let at = clock::now();
            let moved = Moved { refresh: leaving.refresh.clone(), at };
            self.note(&leaving.login, Some(moved)).await?;
        }
        failpoint::hit("export-recorded");
        let mut left = Vec::new();
        for leaving in &self.leaving {
            match leaving.disarm().await {
                Ok(true) => {
                    history::note(self.state, [What::Exported { login: leaving.login.clone() }]);
                    failpoint::hit("export-disarmed");
                }
                Ok(false) => {
                    // Its CLI was faster than its lock: what went is spent, what is here lives.
                    self.note(&leaving.login, None).await?;
                    left.push(format!(
                        "login {} was renewed meanwhile and stays here; what the bundle has of it is spent: export it again",
                        leaving.login
                    ));
                }
                Err(why) => left.push(format!(
                    "login {} went, and its source could not be cleared ({why}): see to that, and export it again",
                    leaving.login
                )),
            }
        }
        if left.is_empty() { Ok(()) } else { Err(NotMoved::because(left.join("; "))) }
    }

    async fn note(&self, login: &LoginId, moved: Option<Moved>) -> Result<(), NotMoved> {
        let _lock = pass::hold_pass(self.state, PASS_PATIENCE).await.map_err(NotMoved::because)?;
        let mut memory = self.state.load().map_err(NotMoved::because)?;
        memory.logins.entry(login.clone()).or_default().moved = moved;
        self.state.save(&mut memory).map_err(NotMoved::because)
    }
}

impl Leaving {
    /// True when the source has no refresh token any more, false when it has another one.
    async fn disarm(&self) -> Result<bool, String> {
        let _commit = self.side.write_lock(&self.path).await.map_err(|e| e.to_string())?;
        for _ in 0..STORE_TRIES {
            let FileState::Present(file) = atomic_file::observe(&self.path) else {
                return Err("it cannot be read".to_owned());
            };
            let document = match self.layout.disarm(file.document.expose(), &self.token) {
                Ok(Store::Patched(document)) => document,
                Ok(Store::Superseded) => return Ok(false),
                Err(error) => return Err(error.to_string()),
            };
            let expected = Expected::Content(atomic_file::Digest::of(&file.document));
            match write(&self.path, &document, expected) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind == WriteErrorKind::Changed => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it changes all the time".to_owned())
    }
}

/// Writes a login's file, durably, if it is still what was expected.
///
/// # Errors
/// As the writer says.
pub fn write(
    path: &std::path::Path,
    document: &Document,
    expected: Expected,
) -> Result<(), atomic_file::WriteError> {
    let policy = Policy { mode: Some(0o600), ..Policy::default() };
    atomic_file::replace(path, document, expected, policy)
}

/// Holds a login, with its document, once nothing of it is unfinished.
async fn hold(
    world: &World,
    state: &StateDir,
    key: &FingerprintKey,
    login: &LoginSettings,
) -> Result<(Leaving, Document), NotMoved> {
    let id = &login.id;
    let because = |why: &str| NotMoved::because(format!("login {id}: {why}"));
    let (Some((side, _)), Some(Source { path, layout: Some(layout), .. })) =
        (Side::of(login), world.source(id))
    else {
        return Err(because("such logins are kept by their own CLI and do not move"));
    };
    if refresh::is_unfinished(state, id) {
        let run = Run {
            world,
            state,
            key,
            login,
            way: Way::Direct,
            generation: None,
            is_forced: false,
            only_resolves: true,
        };
        run.run().await.map_err(|error| because(&error.to_string()))?;
    }
    let lock = state.refresh_lock(id).map_err(NotMoved::because)?;
    let held = pass::hold(&lock, REFRESH_PATIENCE).await.map_err(|error| because(&error.to_string()))?;
    if refresh::is_unfinished(state, id) {
        let why = format!("login {id}: it is not known whether its refresh token was spent");
        return Err(NotMoved::coded(Code::RefreshUnknown, why));
    }
    proof::storable(path, side.follows_links()).map_err(|why| because(&why.0))?;
    let cli = side.lock(path).await.map_err(|error| because(&error.to_string()))?;
    let FileState::Present(file) = atomic_file::observe(path) else {
        return Err(because("its source cannot be read"));
    };
    let SourceReading::Ok(credential) = layout.parse(file.document.expose()) else {
        return Err(because("its source holds no usable login"));
    };
    let token = credential.refresh.ok_or_else(|| because("there is no refresh token to move"))?;
    let fingerprint = key.fingerprint(&token);
    let memory = state.load().map_err(NotMoved::because)?;
    judge(id, memory.logins.get(id), &fingerprint)?;
    let copies = families::copies(&world.desired, &world.observe().observed, key, (id, &fingerprint));
    if !copies.is_empty() {
        let why = format!(
            "login {id}: {} would go on with its refresh token here; let it have the access token alone first",
            copies.join(", ")
        );
        return Err(NotMoved::coded(Code::DuplicateFamily, why));
    }
    let document = layout.lone(file.document.expose()).map_err(NotMoved::because)?;
    let leaving = Leaving {
        login: id.clone(),
        side,
        path: path.clone(),
        layout: layout.clone(),
        token,
        refresh: fingerprint,
        _refresh: held,
        _cli: cli,
    };
    Ok((leaving, document))
}

/// A token that is known to be over does not go anywhere.
fn judge(id: &LoginId, known: Option<&LoginMemory>, refresh: &Fingerprint) -> Result<(), NotMoved> {
    let Some(known) = known else { return Ok(()) };
    if known.knows_as_spent(refresh) {
        let why = format!("login {id}: the source holds an older generation");
        return Err(NotMoved::coded(Code::StaleSource, why));
    }
    match known.refresh.stopped_for(refresh) {
        Some(Stop::Rejected) => {
            let why = format!("login {id}: the provider refused its refresh token");
            Err(NotMoved::coded(Code::RefreshRefused, why))
        }
        Some(Stop::Unknown) => {
            let why = format!("login {id}: it is not known whether its refresh token was spent");
            Err(NotMoved::coded(Code::RefreshUnknown, why))
        }
        None => Ok(()),
    }
}
