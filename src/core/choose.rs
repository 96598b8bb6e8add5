//! Which copy of a credential is the current one, and why: observed lineage first, then account
//! identity, then expiry. Never a modification time.

use std::time::Duration;

use super::memory::LoginMemory;
use crate::base::credential::{Credential, Held};
use crate::base::fingerprint::FingerprintKey;
use crate::base::time::Timestamp;

/// A sink's expiry may be noted a little later than the source's by rounding; OpenClaw notes it
/// five minutes earlier (2026.2.26). Only what is later than this counts as newer.
const EXPIRY_SLACK: Duration = Duration::from_secs(60);

/// What a source's credential is, compared with what is remembered of its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStanding {
    /// The newest generation that is known.
    Current,
    /// A generation never seen before: a rotation, or the first one.
    New,
    /// A generation that was replaced before: somebody put an old file back.
    Stale,
    /// The credential of another account than the one remembered.
    OtherAccount,
}

/// Judges a source's credential.
#[must_use]
pub fn judge_source(
    credential: &Credential,
    memory: Option<&LoginMemory>,
    key: &FingerprintKey,
    now: Timestamp,
) -> SourceStanding {
    let Some(memory) = memory else { return SourceStanding::New };
    let generation = key.generation(credential);
    if memory.newest().is_some_and(|r| r.generation == generation) {
        return SourceStanding::Current;
    }
    if let (Some(known), Some(seen)) = (&memory.account, &credential.account)
        && known != seen
    {
        return SourceStanding::OtherAccount;
    }
    // The same access token with another refresh token beside it: 2.1.132 blanks the refresh token
    // alone, and it may come back. What the sinks hold is the same in either case.
    if memory.newest().is_some_and(|r| r.access == key.fingerprint(&credential.access)) {
        return SourceStanding::New;
    }
    if memory.lineage.iter().any(|r| r.generation == generation) {
        return SourceStanding::Stale;
    }
    // A generation never seen that is already over, while a later one is known: an old backup.
    // One that is still live is believed although it ends earlier: lifetimes differ by grant
    // (Claude Code 2.1.132 and later ask for a year in `auth login`, for eight hours otherwise).
    let is_over = credential.expires_at.is_some_and(|at| at <= now);
    let newest_end = memory.newest().and_then(|r| r.expires_at);
    match (credential.expires_at, newest_end) {
        (Some(ends), Some(newest)) if is_over && ends < newest => SourceStanding::Stale,
        _ => SourceStanding::New,
    }
}

/// What a sink's copy is, compared with the source's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkStanding {
    /// Nothing is held.
    Empty,
    /// The same access token.
    Same,
    /// An older generation, or one that cannot be newer.
    Older,
    /// A generation that is not known here and ends later than the source's.
    Newer,
    /// Another account's.
    OtherAccount,
}

/// Judges a sink's copy.
#[must_use]
pub fn judge_sink(
    held: Option<&Held>,
    credential: &Credential,
    memory: Option<&LoginMemory>,
    key: &FingerprintKey,
) -> SinkStanding {
    let Some(held) = held else { return SinkStanding::Empty };
    let Some(access) = &held.access else { return SinkStanding::Empty };
    if access == &credential.access {
        return SinkStanding::Same;
    }
    if memory.is_some_and(|m| m.knows_access(&key.fingerprint(access))) {
        return SinkStanding::Older;
    }
    if let (Some(held), Some(own)) = (&held.account, &credential.account)
        && held != own
    {
        return SinkStanding::OtherAccount;
    }
    match (held.expires_at, credential.expires_at) {
        (Some(held), Some(own)) if held > own.after(EXPIRY_SLACK) => SinkStanding::Newer,
        _ => SinkStanding::Older,
    }
}

/// True when `held` carries a refresh token that was never seen at the source: overwriting it
/// could lose a login that nobody else holds.
#[must_use]
pub fn holds_unknown_refresh(
    held: &Held,
    credential: &Credential,
    memory: Option<&LoginMemory>,
    key: &FingerprintKey,
) -> bool {
    held.refresh.as_ref().is_some_and(|refresh| {
        credential.refresh.as_ref() != Some(refresh)
            && !memory.is_some_and(|m| m.knows_refresh(&key.fingerprint(refresh)))
    })
}
