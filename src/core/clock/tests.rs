//! One boot, several boots, and what a server says to it.

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const NOON: Timestamp = Timestamp::from_millis(1_795_176_000_000);

fn reading(boot: &str, boottime_ms: i64, wall: Timestamp) -> ClockReading {
    ClockReading { boot: boot.into(), boottime: Duration::from_millis(boottime_ms.unsigned_abs()), wall }
}

/// A memory that was anchored at noon, one hour after boot `a`.
fn anchored() -> ClockMemory {
    let mut memory = ClockMemory::default();
    assert!(memory.note(&reading("a", HOUR, NOON)), "the first reading is worth writing");
    memory
}

#[test]
fn a_clock_that_runs_with_the_boot_clock_is_believed_also_after_suspend() {
    let memory = anchored();
    for ahead in [0, 59_000, -59_000] {
        let wall = NOON.moved(9 * HOUR + ahead);
        assert_eq!(memory.judge(&reading("a", 10 * HOUR, wall)), Judgement::steady(wall));
    }
}

#[test]
fn a_jump_in_either_direction_leaves_the_believed_time_where_it_was() {
    let memory = anchored();
    for by in [12 * HOUR, -12 * HOUR, 400 * DAY, -400 * DAY, 61_000] {
        let judgement = memory.judge(&reading("a", 2 * HOUR, NOON.moved(HOUR + by)));
        assert_eq!((judgement.now, judgement.standing), (NOON.moved(HOUR), Standing::Jumped), "{by}");
        assert_eq!(judgement.evidence().is_some(), by.abs() > 300_000, "{by}");
    }
}

#[test]
fn small_steps_that_add_up_are_a_jump() {
    let mut memory = anchored();
    for step in 1..=12 {
        let now = reading("a", HOUR + step * 60_000, NOON.moved(step * 60_000 + step * 10_000));
        memory.note(&now);
        let is_steady = memory.judge(&now).standing == Standing::Steady;
        assert_eq!(is_steady, step <= 6, "{step} steps of 10 s");
    }
}

#[test]
fn a_server_says_that_the_jump_was_right() {
    let mut memory = anchored();
    let jumped = reading("a", 2 * HOUR, NOON.moved(5 * HOUR));
    assert_eq!(memory.confirm(&jumped, 900), 4 * HOUR);
    assert_eq!(memory.judge(&jumped), Judgement::steady(NOON.moved(5 * HOUR)));
}

#[test]
fn a_server_says_that_the_clock_is_wrong_until_it_is_set_right() {
    let mut memory = anchored();
    let jumped = reading("a", 2 * HOUR, NOON.moved(5 * HOUR));
    assert_eq!(memory.confirm(&jumped, 4 * HOUR), 0, "the believed time was right all along");
    let later = memory.judge(&reading("a", 3 * HOUR, NOON.moved(6 * HOUR)));
    assert_eq!((later.now, later.standing), (NOON.moved(2 * HOUR), Standing::Wrong));
    assert!(!later.is_open() && later.evidence().unwrap().contains("4h 0m ahead"), "{later:?}");
    let right = NOON.moved(3 * HOUR);
    assert_eq!(memory.judge(&reading("a", 4 * HOUR, right)), Judgement::steady(right));
    let again = memory.judge(&reading("a", 4 * HOUR, NOON.moved(40 * HOUR)));
    assert_eq!(again.standing, Standing::Jumped);
}

#[test]
fn after_a_reboot_the_clock_is_believed_within_a_month_of_the_record() {
    let memory = anchored();
    for off in [0, HOUR, 29 * DAY] {
        let wall = NOON.moved(off + 60_000);
        assert_eq!(memory.judge(&reading("b", 60_000, wall)), Judgement::steady(wall), "{off}");
    }
    for off in [-HOUR, 31 * DAY, -20_000 * DAY] {
        let judgement = memory.judge(&reading("b", 60_000, NOON.moved(off + 60_000)));
        assert_eq!(judgement.standing, Standing::Rebooted, "{off}");
        assert_eq!(judgement.now, NOON.moved(60_000), "the least that it can be");
    }
}

#[test]
fn another_id_of_the_boot_is_no_other_boot_where_both_clocks_went_on() {
    let mut memory = anchored();
    for boot in ["b", "a", "b"] {
        let wall = NOON.moved(13 * HOUR);
        assert_eq!(memory.judge(&reading(boot, 14 * HOUR, wall)), Judgement::steady(wall), "{boot}");
        memory.note(&reading(boot, 14 * HOUR, wall));
    }
    // A clock that fell back to where it was at the start before is not vouched for by that start.
    let back = reading("c", 14 * HOUR + 60_000, NOON.moved(13 * HOUR + 60_000));
    memory.note(&reading("b", 16 * HOUR, NOON.moved(15 * HOUR)));
    assert_eq!(memory.judge(&back).standing, Standing::Rebooted);
}

#[test]
fn a_dead_clock_that_is_set_right_after_the_boot_needs_no_server() {
    let mut memory = anchored();
    memory.note(&reading("b", 60_000, Timestamp::from_millis(60_000)));
    let right = NOON.moved(3 * DAY);
    assert_eq!(memory.judge(&reading("b", 120_000, right)), Judgement::steady(right));
}

#[test]
fn the_boot_clock_going_back_is_another_boot_even_without_an_id() {
    let mut memory = ClockMemory::default();
    memory.note(&reading("", 5 * HOUR, NOON));
    let wall = NOON.moved(2 * HOUR);
    assert_eq!(memory.judge(&reading("", HOUR, wall)), Judgement::steady(wall));
}

#[test]
fn a_server_that_does_not_answer_is_asked_less_and_less() {
    let mut memory = anchored();
    let at = |minutes: i64| memory_reading(minutes);
    let mut asked = 0;
    for minute in 0..600 {
        let judgement = memory.judge(&at(minute));
        if memory.asks_at(&judgement) == Some(judgement.now) {
            asked += 1;
            memory.note_unanswered(&judgement);
        }
    }
    assert!((38..46).contains(&asked), "{asked} questions in ten hours");
}

fn memory_reading(minutes: i64) -> ClockReading {
    reading("a", HOUR + minutes * 60_000, NOON.moved(minutes * 60_000 + DAY))
}

#[test]
fn the_time_is_written_down_once_an_hour() {
    let mut memory = anchored();
    let worth = (1..=600)
        .filter(|minute| memory.note(&reading("a", HOUR + minute * 60_000, NOON.moved(minute * 60_000))));
    assert_eq!(worth.count(), 10);
}
