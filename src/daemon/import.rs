//! A login that comes from another host: judged whole before anything is written, then stored where it
//! belongs, under the login's own lock and its CLI's, by compare-and-swap; last it is on record that the
//! bundle was taken. A crash before that is completed by importing the same bundle again.
//!
//! N1: what another account, or a later generation, holds here is never overwritten.
//! N2: a bundle is taken once; a generation that was replaced here is not taken at all.

use std::path::Path;

use super::export::{NotMoved, PASS_PATIENCE, REFRESH_PATIENCE, STORE_TRIES, write};
use crate::base::code::Code;
use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::secret::Document;
use crate::config::settings::{LoginSettings, Settings};
use crate::core::event::{How, What};
use crate::core::memory::{GenerationRecord, LoginMemory, Memory};
use crate::core::refresh::RefreshMemory;
use crate::daemon::detect;
use crate::daemon::history;
use crate::daemon::login::{self, Place};
use crate::daemon::pass;
use crate::daemon::store::{StateDir, private_directory};
use crate::daemon::world;
use crate::format::bundle::{self, Moving};
use crate::providers;
use crate::refresher::side::Side;
use crate::sys::atomic_file::{self, Expected, FileState, WriteErrorKind};
use crate::sys::paths::Surroundings;
use crate::sys::{clock, failpoint, sealed};

/// A login and its place here.
#[derive(Debug)]
struct Landing {
    place: Place,
    side: Side,
    document: Document,
    credential: Credential,
}

/// A bundle that was opened and judged.
#[derive(Debug)]
pub struct Import<'a> {
    state: &'a StateDir,
    key: &'a FingerprintKey,
    name: Fingerprint,
    landings: Vec<Landing>,
}

impl<'a> Import<'a> {
    /// Opens the bundle and judges every login of it. Nothing changes.
    ///
    /// # Errors
    /// Why one of them cannot be taken; none of them is then.
    pub fn open(
        settings: &Settings,
        surroundings: &Surroundings,
        state: &'a StateDir,
        key: &'a FingerprintKey,
        bundle: &Document,
    ) -> Result<Self, NotMoved> {
        let own = state.import_key().ok_or_else(|| {
            NotMoved::because("this host has no key yet: `tokensink import --key` makes it, for the old host")
        })?;
        let plain = sealed::open(bundle, &own).map_err(NotMoved::because)?;
        let name = key.of_parts(&[bundle.expose()]);
        let memory = state.load().map_err(NotMoved::because)?;
        if memory.imported.contains(&name) {
            let why = "this bundle was imported here before; nothing was changed".to_owned();
            return Err(NotMoved::coded(Code::StaleSource, why));
        }
        let mut landings: Vec<Landing> = Vec::new();
        for moving in bundle::parse(plain.expose()).map_err(NotMoved::because)? {
            let landing = land_at(settings, surroundings, moving)?;
            if landings.iter().any(|other| other.place.path == landing.place.path) {
                return Err(landing.refuse("another login of the bundle has the same file here"));
            }
            landing.judge(&landing.there()?, &memory, key)?;
            landings.push(landing);
        }
        Ok(Self { state, key, name, landings })
    }

    /// True when the configuration does not have one of the logins yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.landings.iter().any(|landing| landing.place.is_new)
    }

    /// Stores every login.
    ///
    /// # Errors
    /// Why one could not be stored; the same bundle can be imported again then.
    pub async fn store(self) -> Result<Vec<Place>, NotMoved> {
        for landing in &self.landings {
            self.land(landing).await?;
            failpoint::hit("import-stored");
        }
        let _lock = pass::hold_pass(self.state, PASS_PATIENCE).await.map_err(NotMoved::because)?;
        let mut memory = self.state.load().map_err(NotMoved::because)?;
        let judgement = memory.clock.judge(&clock::reading());
        for landing in &self.landings {
            let known = memory.logins.entry(landing.place.login.id.clone()).or_default();
            known.moved = None;
            known.refresh = RefreshMemory {
                requests: std::mem::take(&mut known.refresh.requests),
                counts: std::mem::take(&mut known.refresh.counts),
                ..RefreshMemory::default()
            };
            let record = GenerationRecord::of(&landing.credential, self.key, &judgement);
            known.remember(record, landing.credential.account.as_ref());
        }
        memory.note_imported(self.name.clone());
        self.state.save(&mut memory).map_err(NotMoved::because)?;
        let logins = self.landings.iter().map(|landing| landing.place.login.id.clone());
        history::note(self.state, logins.map(|login| What::LoggedIn { login, how: How::Import }));
        Ok(self.landings.into_iter().map(|landing| landing.place).collect())
    }

    async fn land(&self, landing: &Landing) -> Result<(), NotMoved> {
        let refuse = |why: String| landing.refuse(&why);
        let lock = self.state.refresh_lock(&landing.place.login.id).map_err(NotMoved::because)?;
        let _refresh = pass::hold(&lock, REFRESH_PATIENCE).await.map_err(|e| refuse(e.to_string()))?;
        if let Some(directory) = landing.own_directory() {
            private_directory(directory).map_err(NotMoved::because)?;
        }
        let _cli = landing.side.lock(&landing.place.path).await.map_err(|e| refuse(e.to_string()))?;
        let _commit =
            landing.side.write_lock(&landing.place.path).await.map_err(|e| refuse(e.to_string()))?;
        for _ in 0..STORE_TRIES {
            let there = landing.there()?;
            let memory = self.state.load().map_err(NotMoved::because)?;
            if !landing.judge(&there, &memory, self.key)? {
                return Ok(());
            }
            let document =
                landing.place.layout.settle(there.as_ref().map(Document::expose), landing.document.expose());
            let document = document.map_err(|e| refuse(e.to_string()))?;
            let expected = match &there {
                Some(old) => {
                    self.state
                        .keep_replaced(&landing.place.login.id, old, self.key)
                        .map_err(NotMoved::because)?;
                    Expected::Content(atomic_file::Digest::of(old))
                }
                None => Expected::Absent,
            };
            match write(&landing.place.path, &document, expected) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind == WriteErrorKind::Changed => {}
                Err(error) => return Err(refuse(error.to_string())),
            }
        }
        Err(refuse("its file changes all the time".to_owned()))
    }
}

impl Landing {
    fn refuse(&self, why: &str) -> NotMoved {
        NotMoved::because(format!("login {}: {why}", self.place.login.id))
    }

    fn coded(&self, code: Code, why: &str) -> NotMoved {
        NotMoved::coded(code, format!("login {}: {why}", self.place.login.id))
    }

    fn spent(&self) -> NotMoved {
        self.coded(Code::StaleSource, "this generation was replaced here; it is spent")
    }

    /// The directory of ours that it is in, which is made for it.
    fn own_directory(&self) -> Option<&Path> {
        let login = &self.place.login;
        login.own_directory().or_else(|| self.place.path.parent().filter(|_| login.is_own()))
    }

    /// What is at its place now.
    fn there(&self) -> Result<Option<Document>, NotMoved> {
        match atomic_file::observe(&self.place.path) {
            FileState::Absent { .. } if self.own_directory().is_some() => Ok(None),
            FileState::Absent { .. } => match self.place.path.parent().filter(|parent| parent.is_dir()) {
                Some(_) => Ok(None),
                None => {
                    Err(self.refuse(&format!("the directory of {} is not there", self.place.path.display())))
                }
            },
            FileState::Present(file) => Ok(Some(file.document)),
            FileState::Unreadable { reason, .. } => {
                Err(self.refuse(&format!("{}: {reason}", self.place.path.display())))
            }
        }
    }

    /// Whether it may be stored over what is there; false: it is there already.
    fn judge(
        &self,
        there: &Option<Document>,
        memory: &Memory,
        key: &FingerprintKey,
    ) -> Result<bool, NotMoved> {
        let known = memory.logins.get(&self.place.login.id);
        self.is_lively(known, key)?;
        let held = match there.as_ref().map(|document| self.place.layout.parse(document.expose())) {
            None | Some(SourceReading::Husk { .. } | SourceReading::ApiKey) => return Ok(true),
            Some(SourceReading::Ok(held)) => held,
            Some(_) => {
                let why =
                    format!("what is in {} cannot be understood; move it away", self.place.path.display());
                return Err(self.refuse(&why));
            }
        };
        if held.refresh == self.credential.refresh {
            return Ok(false);
        }
        let token = self.credential.refresh.as_ref().map(|token| key.fingerprint(token));
        if held.refresh.is_some()
            && token.is_some_and(|token| known.is_some_and(|known| known.knows_refresh(&token)))
        {
            return Err(self.spent());
        }
        self.is_same_account(held.account.as_ref())?;
        if held.refresh.is_none() {
            return Ok(true);
        }
        if held.account.is_none() || self.credential.account.is_none() {
            let why = "there is another login, and whose cannot be told; move it away, or log out there";
            return Err(self.coded(Code::AccountMismatch, why));
        }
        if held.expires_at >= self.credential.expires_at {
            return Err(self.coded(Code::StaleSource, "there is a later generation already"));
        }
        Ok(true)
    }

    fn is_lively(&self, known: Option<&LoginMemory>, key: &FingerprintKey) -> Result<(), NotMoved> {
        let Some(known) = known else { return Ok(()) };
        self.is_same_account(known.account.as_ref())?;
        match &self.credential.refresh {
            Some(token) if known.knows_as_spent(&key.fingerprint(token)) => Err(self.spent()),
            _ => Ok(()),
        }
    }

    fn is_same_account(&self, account: Option<&String>) -> Result<(), NotMoved> {
        match account.zip(self.credential.account.as_ref()) {
            Some((known, new)) if known != new => {
                Err(self.coded(Code::AccountMismatch, "there is a login of another account"))
            }
            _ => Ok(()),
        }
    }
}

/// The place of a login: the configured one of that id, else where `tokensink login` would put it, or
/// where its own CLI keeps it if that is its form and nobody else's file.
fn land_at(settings: &Settings, surroundings: &Surroundings, moving: Moving) -> Result<Landing, NotMoved> {
    let Moving { id, provider, layout: word, document } = moving;
    let refuse = |why: &str| NotMoved::because(format!("login {id}: {why}"));
    let mut place = login::place(settings, surroundings, provider, Some(id.as_str()))
        .map_err(|why| refuse(&why.to_string()))?;
    if place.is_new && place.layout.word() != word {
        let login = detect::default_login(id.clone(), provider);
        if let (Some(path), Some(layout)) =
            (world::source_path(&login, surroundings), providers::layout(&login))
        {
            place = Place { login, path, layout, is_new: true };
        }
    }
    let is_taken =
        |other: &LoginSettings| world::source_path(other, surroundings).as_ref() == Some(&place.path);
    if place.is_new && settings.logins.iter().any(is_taken) {
        return Err(refuse("another login has its usual file; configure one of that id with a path"));
    }
    if place.layout.word() != word {
        return Err(refuse("it is kept in another form here than at the old host"));
    }
    let Some((side, _)) = Side::of(&place.login) else {
        return Err(refuse("it has to be described here first, as at the old host"));
    };
    match place.layout.parse(document.expose()) {
        SourceReading::Ok(credential) if credential.refresh.is_some() => {
            Ok(Landing { place, side, document, credential })
        }
        _ => Err(refuse("the bundle holds no usable login of that id")),
    }
}
