//! What our writes made of files that are not ours, so that it can be taken back: noted at each
//! write without a byte of a secret, judged against the file as it is later.
//!
//! A token that was replaced is never put back: it may be spent, and its successor would be lost.
//! What can be taken back is what was not there before: a file, or an entry in somebody's file.

use serde::{Deserialize, Serialize};

use super::memory::LoginMemory;
use super::model::Render;
use crate::base::credential::Held;
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::secret::Document;
use crate::format::{Edit, FormatError, auth_profiles, dotenv, oauth_json};

/// What stood where our entry stands now may have this many bytes: signs and blanks, no token.
const STRUCTURE_LIMIT: usize = 64;

/// What was made of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The file that was written, links resolved.
    pub path: String,
    /// The document that we left there.
    pub left: Fingerprint,
    /// How it came to be.
    pub origin: Origin,
}

/// How what we wrote came to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// There was no file.
    File,
    /// There was no entry, and the bytes around it are known.
    Spliced(Splice),
    /// There was no entry; others have written to the file since.
    Entry,
    /// There was a token already.
    Token,
}

/// Bytes that were put into a document: `with` of them at `at`, where `instead` stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Where, in bytes from the start.
    pub at: usize,
    /// How many bytes.
    pub with: usize,
    /// What stood there: signs and blanks only.
    pub instead: String,
}

impl Splice {
    /// The one place in which two documents differ.
    fn between(old: &[u8], new: &[u8]) -> Option<Self> {
        let shorter = old.len().min(new.len());
        let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
        let at = old.iter().zip(new).take_while(same).count();
        let behind = old.iter().rev().zip(new.iter().rev()).take(shorter - at).take_while(same).count();
        let instead = String::from_utf8(old.get(at..old.len() - behind)?.to_vec()).ok()?;
        let is_structure = |c: char| c.is_whitespace() || "{}[],:\"'=".contains(c);
        let is_secret = instead.len() > STRUCTURE_LIMIT || !instead.chars().all(is_structure);
        (!is_secret).then(|| Self { at, with: new.len() - behind - at, instead })
    }

    /// The same place after a further edit of ours within it; `None` when that was elsewhere.
    fn followed(&self, old: &[u8], new: &[u8]) -> Option<Self> {
        let end = self.at.checked_add(self.with)?;
        let with = new.len().checked_add(self.with)?.checked_sub(old.len())?;
        let is_kept = old.get(..self.at)? == new.get(..self.at)?
            && old.get(end..)? == new.get(self.at.checked_add(with)?..)?;
        is_kept.then(|| Self { with, ..self.clone() })
    }

    fn undone(&self, current: &[u8]) -> Option<Document> {
        let before = current.get(..self.at)?;
        let after = current.get(self.at.checked_add(self.with)?..)?;
        let parts = [before, self.instead.as_bytes(), after];
        // The exact length at once: a growing buffer would leave unwiped copies behind.
        let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Some(Document::new(out))
    }
}

impl Made {
    /// Notes that `new` was written to `path`, where `old` stood; `was_there` says that it held a token
    /// of the entry already. `known` is what was noted of it before.
    #[must_use]
    pub fn note(
        path: String,
        old: Option<&Document>,
        new: &Document,
        was_there: bool,
        known: Option<&Self>,
        key: &FingerprintKey,
    ) -> Self {
        let left = key.document(new);
        let known = known.filter(|k| k.path == path && k.origin != Origin::Token);
        let origin = match (old, known) {
            (None, _) => Origin::File,
            (Some(old), Some(known)) if was_there => {
                let is_as_left = known.left == key.document(old);
                match &known.origin {
                    Origin::File if is_as_left => Origin::File,
                    Origin::Spliced(splice) if is_as_left => {
                        splice.followed(old.expose(), new.expose()).map_or(Origin::Entry, Origin::Spliced)
                    }
                    _ => Origin::Entry,
                }
            }
            (Some(_), None) if was_there => Origin::Token,
            (Some(old), _) => {
                Splice::between(old.expose(), new.expose()).map_or(Origin::Entry, Origin::Spliced)
            }
        };
        Self { path, left, origin }
    }

    /// The same for a document that is ours as a whole and never twice the same: encrypted ones.
    #[must_use]
    pub fn note_whole(path: String, left: Fingerprint, was_there: bool, known: Option<&Self>) -> Self {
        let is_ours =
            !was_there || known.is_some_and(|known| known.path == path && known.origin == Origin::File);
        Self { path, left, origin: if is_ours { Origin::File } else { Origin::Token } }
    }
}

/// What is to be done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeBack {
    /// It is removed.
    Remove,
    /// It becomes this.
    Replace(Document),
    /// It stays, for this reason.
    Leave(Left),
}

/// Why a file stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It held a token before we wrote there.
    HeldToken,
    /// Somebody wrote there since, and what is ours cannot be told apart.
    Changed,
    /// Our entry is gone already.
    Gone,
}

/// Judges what becomes of `current`. `render` says what our entry in it is, where the sink is still
/// configured; `login` is what is remembered of its login.
///
/// # Errors
/// When the document cannot be read or edited by its format.
pub fn judge(
    made: &Made,
    current: &Document,
    render: Option<&Render>,
    login: Option<&LoginMemory>,
    key: &FingerprintKey,
) -> Result<TakeBack, FormatError> {
    let is_as_left = made.left == key.document(current);
    match &made.origin {
        Origin::Token => return Ok(TakeBack::Leave(Left::HeldToken)),
        Origin::File if is_as_left => return Ok(TakeBack::Remove),
        Origin::Spliced(splice) if is_as_left => {
            let undone = splice.undone(current.expose());
            return Ok(undone.map_or(TakeBack::Leave(Left::Changed), TakeBack::Replace));
        }
        _ => {}
    }
    let Some((held, without)) = render.map(|render| entry(render, current.expose())).transpose()?.flatten()
    else {
        return Ok(TakeBack::Leave(Left::Changed));
    };
    // Another token there is somebody's login, and no token at all a reference of theirs.
    let knows = |held: &Held| {
        let access = held.access.as_ref().map(|access| key.fingerprint(access));
        let refresh = held.refresh.as_ref().map(|refresh| key.fingerprint(refresh));
        login.is_some_and(|login| {
            access.is_some_and(|access| login.knows_access(&access))
                && refresh.is_none_or(|refresh| login.knows_refresh(&refresh))
        })
    };
    Ok(match (held, without) {
        (_, Edit::Unchanged) => TakeBack::Leave(Left::Gone),
        (Some(held), Edit::Changed(document)) if knows(&held) => TakeBack::Replace(document),
        _ => TakeBack::Leave(Left::Changed),
    })
}

/// What our entry holds in a document that is others' too, and that document without the entry; `None`
/// where the whole document is ours.
fn entry(render: &Render, bytes: &[u8]) -> Result<Option<(Option<Held>, Edit)>, FormatError> {
    Ok(match render {
        Render::AuthProfiles { profile, .. } => {
            Some((auth_profiles::held(bytes, profile)?, auth_profiles::remove(bytes, profile)?))
        }
        Render::OAuthJson { provider, .. } => {
            Some((oauth_json::held(bytes, provider)?, oauth_json::remove(bytes, provider)?))
        }
        Render::EnvFile { key } => {
            let held = dotenv::held(bytes, key)?;
            let held = held.map(|token| Held { access: Some(token), ..Held::default() });
            Some((held, dotenv::remove(bytes, key)?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
