//! Points in time as arguments. Nothing here reads a clock; `sys::clock` alone does.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since the Unix epoch (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Below this a positive number is taken for seconds: as milliseconds it would be March 1973,
/// as seconds it is before the year 5138. No OAuth login was issued in either margin.
const SECONDS_BELOW: i64 = 100_000_000_000;

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// From a foreign expiry number whose unit is not certain. Returns the time and whether the
    /// number was in seconds (a finding for the caller: every known format wants milliseconds).
    #[must_use]
    pub const fn from_foreign(number: i64) -> (Self, bool) {
        if number > 0 && number < SECONDS_BELOW {
            (Self(number.saturating_mul(1000)), true)
        } else {
            (Self(number), false)
        }
    }

    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This time minus `duration`, saturating.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// How far `self` is from `other`, in milliseconds; negative when it is earlier. Saturating.
    #[must_use]
    pub const fn millis_from(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// This time moved by so many milliseconds, saturating.
    #[must_use]
    pub const fn moved(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self(millis(since)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime renders 1970..=9999; what lies outside is shown as the bare number.
        match u64::try_from(self.0) {
            Ok(ms) if ms < 253_402_300_800_000 => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
                write!(f, "{}", humantime::format_rfc3339_seconds(time))
            }
            _ => write!(f, "{} ms", self.0),
        }
    }
}

/// One look at the wall clock and the boot clock together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The kernel's id of this boot; blank when it cannot be read.
    pub boot: String,
    /// Time since boot, suspend included.
    pub boottime: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in at most two units, for people: `7h 12m`, `3d 4h`, `45s`, `120ms`.
#[must_use]
pub fn short_duration(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_in_seconds_is_recognised_and_converted() {
        assert_eq!(Timestamp::from_foreign(1_795_199_075), (Timestamp::from_millis(1_795_199_075_000), true));
        assert_eq!(
            Timestamp::from_foreign(1_795_199_075_831),
            (Timestamp::from_millis(1_795_199_075_831), false)
        );
        assert_eq!(Timestamp::from_foreign(0), (Timestamp::from_millis(0), false));
    }

    #[test]
    fn arithmetic_saturates_at_absurd_times() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_millis(0).since(end), Duration::ZERO);
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(Timestamp::from_millis(1_795_199_075_831).to_string(), "2026-11-20T18:24:35Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), format!("{} ms", i64::MAX));
    }

    #[test]
    fn a_duration_is_told_in_two_units_at_most() {
        for (millis, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1000, "1s"),
            (59_999, "59s"),
            (60_000, "1m 0s"),
            (3_600_000, "1h 0m"),
            (25_920_000, "7h 12m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(short_duration(Duration::from_millis(millis)), text);
        }
    }
}
