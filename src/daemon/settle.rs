//! When a source that shows no credential, or the store of a gateway that shows no document, is
//! believed: who writes in place, or logs in, is seen half-way. Not before the third reading over at
//! least two seconds; then within three.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::credential::SourceReading;
use crate::base::id::LoginId;
use crate::core::model::{Observed, SupplyForm, TargetContent, TargetId};
use crate::format::auth_profiles;

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
    doubts: BTreeMap<Doubtful, Doubt>,
}

/// What may be seen half-way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Doubtful {
    Source(LoginId),
    Store(TargetId),
}

impl Settling {
    /// Counts one observation, made at `now` (monotonic): marks what is not to be believed yet.
    pub fn observe(&mut self, observed: &mut Observed, now: Duration) {
        for source in &mut observed.sources {
            let is_whole = matches!(source.reading, SourceReading::Ok(_));
            source.settled = self.judge(Doubtful::Source(source.login.clone()), is_whole, now);
        }
        for target in observed.targets.iter_mut().filter(|t| matches!(t.form, Some(SupplyForm::Entry(_)))) {
            let TargetContent::Present(document) = &target.content else { continue };
            let is_whole = auth_profiles::listed(document.expose()).is_ok();
            if !self.judge(Doubtful::Store(target.id.clone()), is_whole, now) {
                target.content = TargetContent::Torn;
            }
        }
    }

    /// Whether what was seen is to be believed.
    fn judge(&mut self, what: Doubtful, is_whole: bool, now: Duration) -> bool {
        if is_whole {
            self.doubts.remove(&what);
            return true;
        }
        let doubt = self.doubts.entry(what).or_insert(Doubt { readings: 0, since: now });
        doubt.readings = doubt.readings.saturating_add(1);
        doubt.readings >= READINGS && now.saturating_sub(doubt.since) >= SPAN
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
    use crate::base::id::SinkId;
    use crate::base::secret::Document;
    use crate::core::model::{Force, ObservedSource, ObservedTarget};
    use crate::format::auth_profiles::EntryForm;

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
    fn a_torn_store_is_believed_as_late_as_a_husk_and_a_whole_one_at_once() {
        let store = |text: &str| {
            let target = ObservedTarget {
                id: TargetId { sink: SinkId::try_new("claw").unwrap(), part: "main".into() },
                path: String::new(),
                content: TargetContent::Present(Document::new(text.into())),
                beside: None,
                mode: None,
                form: Some(SupplyForm::Entry(EntryForm::Token)),
                template: None,
                force: Force::Reload,
                needs_set_up: false,
                release: None,
                unused: None,
                shadows: Vec::new(),
            };
            Observed { targets: vec![target], ..Observed::default() }
        };
        let mut settling = Settling::default();
        let mut at = Duration::from_secs(100);
        for _ in 0..2 {
            let mut seen = store("");
            settling.observe(&mut seen, at);
            assert_eq!(seen.targets[0].content, TargetContent::Torn);
            at += settling.look_again(at).unwrap();
        }
        let mut seen = store("");
        settling.observe(&mut seen, at);
        assert_ne!(seen.targets[0].content, TargetContent::Torn);
        let mut seen = store("{\"version\":1,\"profiles\":{}}");
        settling.observe(&mut seen, at);
        assert_ne!(seen.targets[0].content, TargetContent::Torn);
        assert_eq!(settling.look_again(at), None);
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
