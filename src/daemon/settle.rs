//! When a source that shows no credential is believed: a CLI that writes in place, or logs in, is
//! seen half-way. Not before the third reading over at least two seconds; then within three.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::credential::SourceReading;
use crate::base::id::LoginId;
use crate::core::model::Observed;

/// Readings before a missing, blank or torn source is believed.
const READINGS: u32 = 3;
/// Time over which they are made.
const SPAN: Duration = Duration::from_secs(2);
/// Pause between readings: the third one falls just behind [`SPAN`].
const PAUSE: Duration = Duration::from_millis(1050);

#[derive(Debug)]
struct Doubt {
    readings: u32,
    since: Duration,
}

/// Doubts about sources.
#[derive(Debug, Default)]
pub struct Settling {
    doubts: BTreeMap<LoginId, Doubt>,
}

impl Settling {
    /// Counts one observation, made at `now` (monotonic): marks what is not to be believed yet.
    pub fn observe(&mut self, observed: &mut Observed, now: Duration) {
        for source in &mut observed.sources {
            if matches!(source.reading, SourceReading::Ok(_)) {
                self.doubts.remove(&source.login);
                continue;
            }
            let doubt = self.doubts.entry(source.login.clone()).or_insert(Doubt { readings: 0, since: now });
            doubt.readings = doubt.readings.saturating_add(1);
            source.settled = doubt.readings >= READINGS && now.saturating_sub(doubt.since) >= SPAN;
        }
    }

    /// How long to wait before looking again, while anything is in doubt.
    #[must_use]
    pub fn look_again(&self, now: Duration) -> Option<Duration> {
        let is_open = |d: &&Doubt| d.readings < READINGS || now.saturating_sub(d.since) < SPAN;
        self.doubts.values().any(|d| is_open(&d)).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::ObservedSource;

    fn husk() -> Observed {
        let source = ObservedSource {
            login: LoginId::try_new("claude").unwrap(),
            path: String::new(),
            reading: SourceReading::Husk { login_ended: None },
            mode: None,
            settled: true,
        };
        Observed { sources: vec![source], ..Observed::default() }
    }

    #[test]
    fn a_husk_is_believed_at_the_third_reading_over_two_seconds_and_within_three() {
        let mut settling = Settling::default();
        let mut at = Duration::from_secs(100);
        let start = at;
        loop {
            let mut seen = husk();
            settling.observe(&mut seen, at);
            if seen.sources[0].settled {
                break;
            }
            at += settling.look_again(at).unwrap();
        }
        let took = at - start;
        assert!(took >= SPAN && took < Duration::from_secs(3), "{took:?}");
        assert_eq!(settling.look_again(at), None, "a believed husk costs nothing more");
    }

    #[test]
    fn many_readings_in_a_burst_do_not_make_a_husk_believed_early() {
        let mut settling = Settling::default();
        for n in 0..10 {
            let mut seen = husk();
            settling.observe(&mut seen, Duration::from_millis(n));
            assert!(!seen.sources[0].settled);
        }
    }
}
