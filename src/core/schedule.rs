//! What is to be done about a login now: nothing, wait, ask a server for the time, complete what an
//! earlier run left, or refresh, and in which way. Pure: the daemon, the command and the simulation
//! all decide by this.
//!
//! S1: nothing is spent from a source that holds an older generation than one already seen.
//! S2: while two clocks disagree about whether a login is due, a server is asked first; if none can
//!     be, the believed time decides.

use std::time::Duration;

use super::clock::{self, Judgement};
use super::memory::{GenerationRecord, LoginMemory};
use super::refresh::{self, Due, Generation, RefreshMemory, Rules, Spread};
use crate::base::credential::Credential;
use crate::base::fingerprint::Fingerprint;
use crate::base::id::Provider;
use crate::base::time::Timestamp;

/// Claude Code renews inside its last five minutes; a run before that would only cost a prompt.
pub const PROMPT_MARGIN: Duration = Duration::from_secs(4 * 60);
/// Early enough that no consumer meets the end, late enough that the CLI may do it first.
const DIRECT_MARGIN: Duration = Duration::from_secs(20 * 60);
/// Codex takes no lock around its own request: only being long before it keeps it from one.
const CODEX_MARGIN: Duration = Duration::from_secs(24 * 3600);
/// The margin where the CLI keeps the login fresh by itself: its own window is the last five
/// minutes, and a refresh of ours takes well under one.
const YIELDING_MARGIN: Duration = Duration::from_secs(2 * 60);
/// So many generations in a row, made in time by somebody else, show that the CLI keeps the login.
const YIELDS_AFTER: usize = 2;

/// Who refreshes a login, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The official CLI where one is found, direct only where none ever was.
    Auto,
    /// The official CLI.
    Cli,
    /// Our own request to the token endpoint.
    Direct,
    /// Nobody here.
    Off,
}

impl Mode {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cli => "cli",
            Self::Direct => "direct",
            Self::Off => "off",
        }
    }
}

/// How a login is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the provider's own CLI, as it does by itself.
    Cli,
    /// By the provider's own CLI, which trades the token for us.
    Exchange,
    /// By a request of our own.
    Direct,
}

/// Why a login cannot be refreshed from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWay {
    /// `mode = "off"`.
    Off,
    /// The CLI was there and is gone.
    CliMissing,
    /// No CLI is driven for this provider, and its token endpoint is not known.
    Unknown,
}

/// Chooses the way: what a person asks for, else what the configuration says, else the CLI where
/// one was ever found.
///
/// # Errors
/// Why there is none.
pub const fn way(
    mode: Mode,
    via: Option<Way>,
    has_cli: bool,
    had_cli: bool,
    has_endpoint: bool,
) -> Result<Way, NoWay> {
    let by_cli = if has_cli { Ok(Way::Cli) } else { Err(NoWay::CliMissing) };
    let direct = if has_endpoint { Ok(Way::Direct) } else { Err(NoWay::Unknown) };
    match (via, mode) {
        (Some(Way::Direct), _) | (None, Mode::Direct) => direct,
        (Some(Way::Cli | Way::Exchange), _) | (None, Mode::Cli) => by_cli,
        (None, Mode::Off) => Err(NoWay::Off),
        (None, Mode::Auto) if has_cli || had_cli => by_cli,
        (None, Mode::Auto) => direct,
    }
}

/// The rules of a login; `margin` is the configured one.
#[must_use]
pub fn rules(provider: Provider, way: Way, margin: Option<Duration>, grants_per_day: u32) -> Rules {
    let by_default = match (provider, way) {
        (Provider::Codex, _) => CODEX_MARGIN,
        (_, Way::Cli) => PROMPT_MARGIN,
        (_, Way::Direct | Way::Exchange) => DIRECT_MARGIN,
    };
    // A prompt before the CLI's own window would renew nothing.
    let is_prompt = way == Way::Cli && provider != Provider::Codex;
    Rules {
        margin: margin.unwrap_or(by_default),
        half_life: !is_prompt,
        spread: if is_prompt { Spread::Later } else { Spread::Earlier },
        grants_per_day,
    }
}

/// Whether somebody else keeps this login fresh: the last generations were not made from here, and
/// each came before the one before it had ended.
#[must_use]
pub fn is_kept_by_others(known: Option<&LoginMemory>) -> bool {
    let Some(known) = known else { return false };
    let steps = known.lineage.iter().zip(known.lineage.iter().skip(1)).rev().take(YIELDS_AFTER);
    let in_time =
        steps.filter(|(old, new)| !new.is_ours && old.expires_at.is_some_and(|ends| new.seen_at <= ends));
    in_time.count() == YIELDS_AFTER
}

/// The rules while a CLI that keeps the login fresh by itself is running: we come only when it has
/// let most of its own window pass. Not for Codex, which must never come to its own window.
#[must_use]
pub fn yielding(rules: Rules, provider: Provider) -> Rules {
    if provider == Provider::Codex {
        return rules;
    }
    Rules { margin: rules.margin.min(YIELDING_MARGIN), spread: Spread::Later, ..rules }
}

/// What an earlier run left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// An answer is on record and not stored.
    Answered,
    /// A request may have been sent, or the record cannot be read.
    Open,
}

/// What is known of a login when it is decided upon.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the source holds, and its generation; `None` where it holds no usable login.
    pub source: Option<(&'a Credential, &'a Fingerprint)>,
    /// Its refresh token.
    pub refresh: Option<&'a Fingerprint>,
    /// What is remembered of the login.
    pub known: Option<&'a LoginMemory>,
    /// What an earlier run left.
    pub unfinished: Option<Unfinished>,
    /// Its rules, or why it is not refreshed from here.
    pub rules: Result<Rules, NoWay>,
    /// The time.
    pub clock: &'a Judgement,
    /// When a server may be asked for the time; `None` while the clocks agree.
    pub asks_at: Option<Timestamp>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Complete what an earlier run left; nothing is sent.
    Resolve,
    /// Ask a server for the time, without any credential.
    AskTime,
    /// Refresh.
    Refresh,
    /// Look again then (believed time).
    Wait(Timestamp),
    /// Nothing, until the generation changes or a person forces it.
    Rest(&'static str),
}

/// Decides.
#[must_use]
pub fn step(facts: &Facts<'_>) -> Step {
    let now = facts.clock.now;
    // Also where the CLI has blanked the source, or refreshing is off: what is on record may be
    // the only copy of the login.
    if let Some(at) = resolves_at(facts.unfinished, facts.known, now) {
        return if at <= now { Step::Resolve } else { Step::Wait(at) };
    }
    let Ok(rules) = facts.rules else { return Step::Rest("it is not refreshed from here") };
    let Some((credential, id)) = facts.source else { return Step::Rest("the source holds no usable login") };
    if facts.known.is_some_and(|known| known.moved_with(facts.refresh).is_some()) {
        return Step::Rest("it was moved to another host");
    }
    let record = facts.known.and_then(|known| known.record_of(id));
    if is_replaced(facts, record) {
        return Step::Rest("the source holds an older generation");
    }
    let none = RefreshMemory::default();
    let memory = facts.known.map_or(&none, |known| &known.refresh);
    let generation = Generation {
        id,
        refresh: facts.refresh,
        seen_at: record.map(|r| r.seen_at),
        clock_ahead: record.map_or(0, |r| r.clock_ahead),
    };
    let believed = refresh::due(credential, generation, memory, rules, now);
    let wait = match believed {
        Due::Now => None,
        Due::At(at) => Some(at),
        Due::Never(why) => return Step::Rest(why),
    };
    let is_held = refresh::held_until(memory, rules.grants_per_day, now).is_some();
    if let Some(asks_at) = facts.asks_at.filter(|_| !is_held) {
        // What would be, if the wall clock were right.
        let ahead = facts.clock.ahead();
        let offset = clock::offset_after(generation.clock_ahead, ahead);
        let face = Generation { clock_ahead: offset, ..generation };
        return match (refresh::due(credential, face, memory, rules, facts.clock.wall), wait) {
            (Due::Now, None) => Step::Refresh,
            (Due::Now, Some(_)) | (_, None) if asks_at <= now => Step::AskTime,
            (_, None) => Step::Refresh,
            (Due::Now, Some(at)) => Step::Wait(at.min(asks_at)),
            // The wall clock may come to another view before.
            (Due::At(face), Some(at)) => Step::Wait(at.min(face.moved(facts.clock.ahead().saturating_neg()))),
            (Due::Never(_), Some(at)) => Step::Wait(at),
        };
    }
    wait.map_or(Step::Refresh, Step::Wait)
}

/// True when the source went back to a refresh token that was replaced: it is spent (S1).
fn is_replaced(facts: &Facts<'_>, record: Option<&GenerationRecord>) -> bool {
    let newest = facts.known.and_then(LoginMemory::newest);
    match (record, newest) {
        (Some(record), Some(newest)) => {
            newest.generation != record.generation && newest.refresh != record.refresh
        }
        _ => false,
    }
}

/// When what was left unfinished is resolved; `None` when there is nothing to do. An answer on
/// record is stored sooner or later; a token that may have been spent is looked into once and then
/// left to a person.
fn resolves_at(
    unfinished: Option<Unfinished>,
    known: Option<&LoginMemory>,
    now: Timestamp,
) -> Option<Timestamp> {
    if unfinished? == Unfinished::Open && known.is_some_and(|k| k.stop().is_some()) {
        return None;
    }
    Some(known.and_then(|k| k.refresh.not_before).map_or(now, |at| at.max(now)))
}

/// The longest time between two looks at everything, whatever happens or does not: `poll`, or the
/// shortest `every` where that is shorter.
#[must_use]
pub fn longest_rest(poll: Duration, every: impl Iterator<Item = Duration>) -> Duration {
    every.fold(poll, Duration::min)
}

#[cfg(test)]
mod tests;
