//! The only file that asks the time. Everything else takes a time as an argument.
//!
//! Three clocks, each for one purpose: the wall clock dates things and may jump; the boot clock
//! counts on during suspend, so comparing it with the monotonic clock shows that the machine
//! slept; the monotonic clock stands still in suspend and is what timers run on.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

use crate::base::time::{ClockReading, Timestamp};

/// Reads the wall clock and the boot clock together.
#[must_use]
pub fn reading() -> ClockReading {
    ClockReading { boot: boot_id().to_owned(), boottime: boottime(), wall: now() }
}

/// Which boot this is: the same as long as the process lives; empty where it cannot be read.
#[must_use]
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        read.trim().to_owned()
    })
}

/// The wall clock (UTC). It may jump in both directions.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Time since boot, suspended time included. Never goes back.
#[must_use]
pub fn boottime() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Time since an unspecified start, suspended time left out. Never goes back; timers follow it.
#[must_use]
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Duration {
    // Both clocks exist on every kernel that has inotify: the call cannot fail.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_is_never_behind_the_monotonic_one() {
        let monotonic = monotonic();
        assert!(monotonic > Duration::ZERO);
        assert!(boottime() >= monotonic);
    }

    #[test]
    fn the_wall_clock_is_after_this_program_was_written() {
        assert!(now().as_millis() > 1_767_225_600_000, "before 2026");
    }
}
