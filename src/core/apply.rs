//! When a gateway is restarted: rate limit, backoff, and the token's end, which beats both limits.

use std::time::Duration;

use super::memory::{GatewayMemory, Retry, TargetMemory};
use super::model::Force;
use crate::base::fingerprint::Fingerprint;
use crate::base::time::Timestamp;

/// First wait after a failed attempt; doubles up to [`BACKOFF_MOST`].
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait between attempts.
const BACKOFF_MOST: Duration = Duration::from_secs(15 * 60);

/// When the pending change of a gateway is due; `None` when nothing is pending. A reload, which
/// interrupts nothing, is due at once. A rate limit never delays a restart past the end of the token
/// that the gateway uses now.
#[must_use]
pub fn due_at(memory: &GatewayMemory, min_interval: Duration) -> Option<Timestamp> {
    let pending = memory.pending.as_ref()?;
    if let Some(not_before) = pending.not_before {
        return Some(not_before);
    }
    if pending.force < Force::Restart {
        return Some(pending.since);
    }
    let Some(last) = memory.restarted_at else { return Some(pending.since) };
    let limited = last.after(min_interval).max(pending.since);
    Some(pending.token_ends.map_or(limited, |ends| limited.min(ends.max(pending.since))))
}

/// When a command may be handed `generation` by itself; `None` means at once.
#[must_use]
pub fn delivery_due_at(memory: Option<&TargetMemory>, generation: &Fingerprint) -> Option<Timestamp> {
    let retry = memory?.retry.as_ref()?;
    (&retry.generation == generation).then_some(retry.not_before)
}

/// Notes that a command did not take `generation`.
pub fn note_undelivered(memory: &mut TargetMemory, generation: &Fingerprint, now: Timestamp) {
    let before = memory.retry.take().filter(|r| &r.generation == generation).map_or(0, |r| r.attempts);
    let attempts = before.saturating_add(1);
    memory.retry =
        Some(Retry { generation: generation.clone(), attempts, not_before: now.after(backoff(attempts)) });
}

/// The wait after `attempts` failed attempts.
#[must_use]
pub fn backoff(attempts: u32) -> Duration {
    let factor = 1_u32 << attempts.saturating_sub(1).min(10);
    (BACKOFF_FIRST * factor).min(BACKOFF_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::memory::Pending;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(s * 1000)
    }

    fn gateway(since: i64, last: Option<i64>, ends: Option<i64>) -> GatewayMemory {
        GatewayMemory {
            pending: Some(Pending {
                since: at(since),
                token_ends: ends.map(at),
                attempts: 0,
                not_before: None,
                force: Force::Restart,
            }),
            restarted_at: last.map(at),
            ..GatewayMemory::default()
        }
    }

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn the_first_restart_is_due_at_once_and_the_next_one_waits_for_the_interval() {
        assert_eq!(due_at(&gateway(100, None, None), TEN_MINUTES), Some(at(100)));
        assert_eq!(due_at(&gateway(100, Some(50), None), TEN_MINUTES), Some(at(650)));
        assert_eq!(due_at(&gateway(1000, Some(50), None), TEN_MINUTES), Some(at(1000)));
        assert_eq!(due_at(&GatewayMemory::default(), TEN_MINUTES), None);
    }

    #[test]
    fn the_interval_never_delays_a_restart_past_the_end_of_the_token_in_use() {
        assert_eq!(due_at(&gateway(100, Some(50), Some(300)), TEN_MINUTES), Some(at(300)));
        assert_eq!(due_at(&gateway(100, Some(50), Some(20)), TEN_MINUTES), Some(at(100)), "already over");
    }

    #[test]
    fn a_reload_waits_for_no_interval() {
        let mut memory = gateway(100, Some(50), None);
        memory.pending.as_mut().unwrap().force = Force::Reload;
        assert_eq!(due_at(&memory, TEN_MINUTES), Some(at(100)));
    }

    #[test]
    fn a_command_that_fails_waits_longer_each_time_but_never_with_another_generation() {
        let key = crate::base::fingerprint::FingerprintKey::new([1; 32]);
        let (one, two) = (key.of_parts(&[b"1"]), key.of_parts(&[b"2"]));
        let mut memory = TargetMemory::default();
        assert_eq!(delivery_due_at(Some(&memory), &one), None);
        note_undelivered(&mut memory, &one, at(100));
        assert_eq!(delivery_due_at(Some(&memory), &one), Some(at(110)));
        note_undelivered(&mut memory, &one, at(110));
        assert_eq!(delivery_due_at(Some(&memory), &one), Some(at(130)));
        assert_eq!(delivery_due_at(Some(&memory), &two), None);
        note_undelivered(&mut memory, &two, at(130));
        assert_eq!(delivery_due_at(Some(&memory), &two), Some(at(140)));
    }

    #[test]
    fn failed_attempts_wait_longer_each_time_up_to_a_quarter_of_an_hour() {
        let waits: Vec<u64> = [1, 2, 3, 8, 40].into_iter().map(|n| backoff(n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 900, 900]);
    }
}
