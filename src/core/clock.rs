//! Which time is believed. The wall clock can be set, by hand, by NTP or by a dead battery; the boot
//! clock only counts on, suspend included. An anchor ties the one to the other; from then on the
//! boot clock says what the time must be.
//!
//! K1: a wall clock that left the anchor decides nothing until a server's `Date` says which is right.
//! K2: after a reboot the time is at least the last one on record; a wall clock that is earlier, or
//!     later by more than a month, is not believed without such a word.
//! K3: the believed time goes back only on a server's word.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::refresh;
use crate::base::time::{ClockReading, Timestamp, short_duration};

/// A wall clock that is further than this from the anchor has jumped. What is less can neither
/// make nor spare a request: it is within the spread of due times.
pub const JUMP: Duration = Duration::from_secs(60);
/// From here on a jump is a finding.
pub const TOLD: Duration = Duration::from_secs(5 * 60);
/// A machine that was off for longer needs a server's word for it.
pub const LONGEST_OFF: Duration = Duration::from_secs(30 * 86_400);
/// The longest pause between two questions to a server: they cost nothing and carry nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How old the time on record may become before it is written down for its own sake.
const RECORD_EVERY: Duration = Duration::from_secs(3600);

/// What time it was at one reading of the boot clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    boot: String,
    boottime: Duration,
    time: Timestamp,
    /// How far the wall clock was ahead of the server's that confirmed this anchor, in
    /// milliseconds; `None` while none did.
    #[serde(default)]
    confirmed_off: Option<i64>,
    /// Made after a reboot from the time on record: the true time is this one or a later one.
    #[serde(default)]
    is_floor: bool,
}

impl Anchor {
    fn of(reading: &ClockReading) -> Self {
        Self {
            boot: reading.boot.clone(),
            boottime: reading.boottime,
            time: reading.wall,
            confirmed_off: None,
            is_floor: false,
        }
    }

    fn is_of(&self, reading: &ClockReading) -> bool {
        self.boot == reading.boot && self.boottime <= reading.boottime
    }

    fn time_at(&self, reading: &ClockReading) -> Timestamp {
        self.time.after(reading.boottime.saturating_sub(self.boottime))
    }
}

/// What is remembered of the clocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockMemory {
    anchor: Option<Anchor>,
    /// The latest time that was believed and written down: the floor after a reboot.
    last: Option<Timestamp>,
    /// Questions to a server in a row that brought no answer.
    asks_failed: u32,
    /// Not asked again before this time.
    ask_not_before: Option<Timestamp>,
}

/// Why the wall clock is believed, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It agrees with the anchor.
    Steady,
    /// It left the anchor, and no server has said which is right.
    Jumped,
    /// After a reboot it disagrees with the time on record.
    Rebooted,
    /// A server said that it is wrong.
    Wrong,
}

/// What the time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The time to decide by.
    pub now: Timestamp,
    /// The wall clock: what the other programs of this host go by.
    pub wall: Timestamp,
    /// Why these two are the same, or not.
    pub standing: Standing,
}

impl Judgement {
    /// A wall clock that is believed.
    #[must_use]
    pub const fn steady(wall: Timestamp) -> Self {
        Self { now: wall, wall, standing: Standing::Steady }
    }

    /// How far the wall clock is ahead of the believed time, in milliseconds.
    #[must_use]
    pub const fn ahead(&self) -> i64 {
        self.wall.millis_from(self.now)
    }

    /// True when the two clocks disagree and a server could say which is right.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Jumped | Standing::Rebooted)
    }

    /// One sentence of evidence; `None` while the wall clock is not far off.
    #[must_use]
    pub fn evidence(&self) -> Option<String> {
        if is_within(self.ahead(), TOLD) {
            return None;
        }
        let by = short_duration(Duration::from_millis(self.ahead().unsigned_abs()));
        let side = if self.ahead() > 0 { "ahead of" } else { "behind" };
        let (wall, now) = (self.wall, self.now);
        Some(match self.standing {
            Standing::Wrong => {
                format!("the clock shows {wall}, {by} {side} {now}, the time of a provider's server")
            }
            Standing::Rebooted => {
                format!("after a start of the system the clock shows {wall}, {by} {side} the time on record")
            }
            Standing::Jumped | Standing::Steady => {
                format!("the clock was set to {wall}, {by} {side} what the time since boot makes it: {now}")
            }
        })
    }
}

/// How far the clock that wrote an expiry was ahead of the believed time, once that has moved by so
/// many milliseconds. Where it moved back, the clock was wrong when the anchor was made, and with it
/// every offset from it. Where it moved forward, time has passed that nobody counted (a paused
/// virtual machine): what was written before stays, what was written after was right.
#[must_use]
pub const fn offset_after(offset: i64, moved: i64) -> i64 {
    match () {
        () if is_within(moved, JUMP) => offset,
        () if moved < 0 => offset.saturating_sub(moved),
        () if is_within(offset.saturating_sub(moved), JUMP) => 0,
        () => offset,
    }
}

const fn is_within(ms: i64, span: Duration) -> bool {
    (ms.unsigned_abs() as u128) <= span.as_millis()
}

impl ClockMemory {
    /// Judges a reading.
    #[must_use]
    pub fn judge(&self, reading: &ClockReading) -> Judgement {
        let anchor = self.anchor_for(reading);
        let (now, wall) = (anchor.time_at(reading), reading.wall);
        let ahead = wall.millis_from(now);
        let standing = match anchor.confirmed_off {
            _ if is_within(ahead, JUMP) => return Judgement::steady(wall),
            Some(off) if is_within(ahead.saturating_sub(off), JUMP) => Standing::Wrong,
            _ if anchor.is_floor => Standing::Rebooted,
            _ => Standing::Jumped,
        };
        Judgement { now, wall, standing }
    }

    /// Notes a reading: makes the anchor where there is none for this boot. Returns whether the
    /// record is worth being written for its own sake.
    pub fn note(&mut self, reading: &ClockReading) -> bool {
        let now = self.judge(reading).now;
        let anchor = self.anchor_for(reading);
        let is_new = self.anchor.as_ref() != Some(&anchor);
        self.anchor = Some(anchor);
        let is_old = self.last.is_none_or(|last| now.since(last) >= RECORD_EVERY);
        if is_new || is_old {
            self.last = self.last.max(Some(now));
        }
        is_new || is_old
    }

    /// Takes a server's word: the wall clock is so many milliseconds ahead of it. Returns how far
    /// the believed time moved by that, in milliseconds.
    pub(super) fn confirm(&mut self, reading: &ClockReading, ahead: i64) -> i64 {
        let before = self.judge(reading).now;
        let off = if is_within(ahead, JUMP) { 0 } else { ahead };
        let anchor =
            Anchor { time: reading.wall.moved(-off), confirmed_off: Some(off), ..Anchor::of(reading) };
        let moved = anchor.time.millis_from(before);
        self.last = Some(anchor.time);
        self.anchor = Some(anchor);
        self.asks_failed = 0;
        self.ask_not_before = None;
        moved
    }

    /// When a server may be asked which clock is right; `None` while there is nothing to ask.
    #[must_use]
    pub fn asks_at(&self, judgement: &Judgement) -> Option<Timestamp> {
        judgement.is_open().then(|| self.ask_not_before.map_or(judgement.now, |at| at.max(judgement.now)))
    }

    /// Notes that a server could not be asked.
    pub fn note_unanswered(&mut self, judgement: &Judgement) {
        self.asks_failed = self.asks_failed.saturating_add(1);
        self.ask_not_before =
            Some(judgement.now.after(refresh::backoff(self.asks_failed).min(LONGEST_PAUSE)));
    }

    /// When the anchor was made, for telling which records are of its time.
    pub(super) fn anchored_at(&self) -> Option<Timestamp> {
        self.anchor.as_ref().map(|anchor| anchor.time)
    }

    /// The anchor of this boot: the one there is, or the one that this reading makes.
    fn anchor_for(&self, reading: &ClockReading) -> Anchor {
        let floor = match &self.anchor {
            None => return Anchor::of(reading),
            Some(anchor) if anchor.is_of(reading) && !anchor.is_floor => return anchor.clone(),
            Some(anchor) if anchor.is_of(reading) => anchor.clone(),
            // Another id of the boot and no other boot: that of a container, or of one seen past it.
            Some(anchor) if self.goes_on(anchor, reading) => return Anchor::of(reading),
            Some(anchor) => Anchor {
                boot: reading.boot.clone(),
                boottime: Duration::ZERO,
                time: self.last.unwrap_or(anchor.time),
                confirmed_off: None,
                is_floor: true,
            },
        };
        let least = floor.time_at(reading);
        let is_likely = reading.wall >= least.before(JUMP) && reading.wall <= least.after(LONGEST_OFF);
        if is_likely { Anchor::of(reading) } else { floor }
    }

    /// Whether the boot clock simply went on since an anchor, by the word of a wall clock that is not
    /// behind the record.
    fn goes_on(&self, anchor: &Anchor, reading: &ClockReading) -> bool {
        let is_behind = self.last.is_some_and(|last| reading.wall < last.before(JUMP));
        let off = reading.wall.millis_from(anchor.time_at(reading));
        reading.boottime >= anchor.boottime && !is_behind && is_within(off, JUMP)
    }
}

#[cfg(test)]
mod tests;
