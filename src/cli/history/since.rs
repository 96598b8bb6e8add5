//! Points in time as people write them for `--since`, after systemd.time(7), all in UTC: a span before now
//! (`2h`, `3d`, `1h 30m`, `2 h ago`, `-2h`), `now`, `today`, `yesterday`, a day, or RFC 3339. Spans and
//! dates are humantime's; the few words are ours. What is in the future is refused: nothing can match.

use std::time::{Duration, SystemTime};

use crate::base::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// The point in time that `text` names.
///
/// # Errors
/// A sentence without subject.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let midnight = now.as_millis().div_euclid(DAY_MS).saturating_mul(DAY_MS);
    let at = match text {
        "now" => now,
        "today" => Timestamp::from_millis(midnight),
        "yesterday" => Timestamp::from_millis(midnight.saturating_sub(DAY_MS)),
        _ => span(text).map(|span| now.before(span)).or_else(|| date(text)).ok_or_else(|| {
            "must be a span such as 2h or 3d, today, yesterday, a day such as 2026-11-20, or a time such as \
             2026-11-20T18:24:35Z"
                .to_owned()
        })?,
    };
    if at > now { Err("must not lie in the future".to_owned()) } else { Ok(at) }
}

fn span(text: &str) -> Option<Duration> {
    let span = text.strip_suffix("ago").map(str::trim_end).or_else(|| text.strip_prefix('-'));
    humantime::parse_duration(span.unwrap_or(text)).ok()
}

/// A day, a day and a time of day, or RFC 3339 with its offset.
fn date(text: &str) -> Option<Timestamp> {
    // Ten characters are a day: there are no offsets and no fractions before them.
    let time_of_day = text.get(10..)?;
    if time_of_day.is_empty() {
        return exact(&format!("{text}T00:00:00Z"));
    }
    let Some(at) = time_of_day.rfind(['+', '-']) else { return exact(text) };
    let (local, offset) = text.split_at_checked(10 + at)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let part = |text: &str, below: i64| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i64| is_plain && *number < below)
    };
    let ms = (part(hours, 24)? * 60 + part(minutes, 60)?) * 60_000;
    let is_east = offset.starts_with('+');
    Some(exact(&format!("{local}Z"))?.moved(if is_east { -ms } else { ms }))
}

fn exact(text: &str) -> Option<Timestamp> {
    humantime::parse_rfc3339_weak(text).ok().map(|time: SystemTime| Timestamp::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_times_in_many_ways() {
        // 2026-11-20T18:24:35.831Z
        let now = Timestamp::from_millis(1_795_199_075_831);
        for (text, expected) in [
            ("now", "2026-11-20T18:24:35Z"),
            ("2h", "2026-11-20T16:24:35Z"),
            ("-2h", "2026-11-20T16:24:35Z"),
            ("2h ago", "2026-11-20T16:24:35Z"),
            ("1h 30m", "2026-11-20T16:54:35Z"),
            ("90min", "2026-11-20T16:54:35Z"),
            ("3d", "2026-11-17T18:24:35Z"),
            ("1w", "2026-11-13T18:24:35Z"),
            (" today ", "2026-11-20T00:00:00Z"),
            ("yesterday", "2026-11-19T00:00:00Z"),
            ("2026-11-18", "2026-11-18T00:00:00Z"),
            ("2026-11-18 06:07:08", "2026-11-18T06:07:08Z"),
            ("2026-11-18T06:07:08Z", "2026-11-18T06:07:08Z"),
            ("2026-11-18T06:07:08.5Z", "2026-11-18T06:07:08Z"),
            ("2026-11-18T06:07:08+02:00", "2026-11-18T04:07:08Z"),
            ("2026-11-18T23:07:08-05:30", "2026-11-19T04:37:08Z"),
        ] {
            assert_eq!(parse(text, now).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for bad in [
            "",
            "2",
            "h",
            "ago",
            "tomorrow",
            "2026-11-21",
            "2026-13-01",
            "2026-11-18T06:07:08+2:00",
            "2026-11-18T06:07:08+24:00",
            "2026-11-18T06:07:08+-1:00",
            "2026-11-18T06",
            "18.11.2026",
            "last week",
            "2026-11-1é",
            "--2h",
            "2026-11-20T18:24:36Z",
        ] {
            assert!(parse(bad, now).is_err(), "{bad}: {:?}", parse(bad, now));
        }
        assert!(parse("999999999y", now).is_ok_and(|at| at.as_millis() < 0), "long before anything");
    }
}
