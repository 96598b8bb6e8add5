//! From the rename of the credential to three durable sinks.
//!
//! Two ends are measured. *Seen*: inotify tells of the last of the three renames, and the file
//! holds the token; the same eyes for everybody. *Durable*: the directories are synced as well.
//! The floor says so itself. tokensink syncs its three directories after the last rename and then
//! records the pass; the rename of that record is the first thing that can be seen from outside,
//! so its figure contains a second look at everything and one more synced file: an upper bound.

use std::time::Duration;

use crate::Options;
use crate::contenders::{Contender, is_installed};
use crate::eyes::Eyes;
use crate::home::{Daemon, Home, PATIENCE};
use crate::table::{Sample, Table};

const PART: &str = "credential rename -> 3 sinks";
const COLD: &str = "the same, page cache dropped before each rotation";
/// Longer than the daemon's coalescing and the start of an inotifywait: each rotation finds its
/// contender waiting.
const PAUSE: Duration = Duration::from_millis(40);
/// A loop that has not moved by then missed the event.
const LOOP_PATIENCE: Duration = Duration::from_secs(3);

/// What a round of each leaves behind before the cold one: programs that ended are read from the disk again.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
const COLD_ROUNDS: usize = 10;

const NAMES: [&str; 5] = [
    "floor",
    "tokensink",
    "loop with inotifywait -m",
    "loop with one-shot inotifywait",
    "incron with the script",
];
const FLOOR: usize = 0;
const OURS: usize = 1;

#[derive(Default)]
struct Figures {
    seen: Sample,
    durable: Sample,
    cold: Sample,
    missed: u32,
}

/// Who takes part, and where.
struct Race {
    eyes: Eyes,
    homes: [Home; 5],
    floor: Contender,
    daemon: Daemon,
    /// In the order of the names, from the third on; `None` where its tools are missing.
    others: [Option<Contender>; 3],
}

pub fn measure(options: &Options, table: &mut Table) {
    let mut race = Race::start(options, table);
    let mut figures: [Figures; 5] = Default::default();
    // One round more, which is not counted: everything has been touched once.
    for round in 0..=options.rounds {
        for turn in 0..NAMES.len() {
            let who = (round + turn) % NAMES.len();
            let Some((seen, durable)) = race.rotate(who, &mut figures[who]) else { continue };
            if round > 0 {
                figures[who].seen.push(seen);
                if let Some(durable) = durable {
                    figures[who].durable.push(durable);
                }
            }
        }
    }
    for round in 0..COLD_ROUNDS {
        for turn in 0..NAMES.len() {
            let who = (round + turn) % NAMES.len();
            nix::unistd::sync();
            if std::fs::write(DROP_CACHES, "3").is_err() {
                table.remark("no cold rounds: the page cache cannot be dropped");
                return report(table, &figures);
            }
            if let Some((seen, _)) = race.rotate(who, &mut figures[who]) {
                figures[who].cold.push(seen);
            }
        }
    }
    assert!(race.daemon.is_alive(), "the daemon ended");
    report(table, &figures);
    after_idling(options, table);
}

/// As in life: the last turn was an idle one, after which the daemon gave the pages of its text back.
fn after_idling(options: &Options, table: &mut Table) {
    const ROUNDS: usize = 20;
    let mut home = Home::new(&options.dir, "idle-before");
    home.configure(&home.three_sinks().replace("60s", "1s"));
    let mut eyes = Eyes::open();
    for sink in &home.sinks {
        eyes.watch(sink.parent().unwrap());
    }
    let _daemon = home.daemon(&options.program);
    let mut sample = Sample::default();
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(1300));
        eyes.blink();
        let (token, start) = home.rotate();
        sample.push(
            eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written") - start,
        );
    }
    table.timed(PART, "tokensink, seen, after an idle turn", &sample);
}

impl Race {
    fn start(options: &Options, table: &mut Table) -> Self {
        let mut eyes = Eyes::open();
        let homes =
            ["floor", "tokensink", "loop-m", "loop-1", "incron"].map(|name| Home::new(&options.dir, name));
        homes[OURS].configure(&homes[OURS].three_sinks());
        let floor = Contender::floor(&homes[FLOOR]);
        let daemon = homes[OURS].daemon(&options.program);
        let mut others = [None, None, None];
        if ["bash", "inotifywait", "jq", "sed"].iter().all(|tool| is_installed(tool)) {
            others[0] = Some(Contender::monitor(&homes[2]));
            others[1] = Some(Contender::one_shot(&homes[3]));
        } else {
            table.remark("no shell loops: bash, inotify-tools, jq or sed is missing");
        }
        if is_installed("incrond") && is_installed("jq") {
            others[2] = Some(Contender::incron(&homes[4]));
        } else {
            table.remark("no incron: it is not installed");
        }
        for home in &homes {
            for sink in &home.sinks {
                eyes.watch(sink.parent().unwrap());
            }
        }
        eyes.watch(homes[OURS].state().parent().unwrap());
        Self { eyes, homes, floor, daemon, others }
    }

    /// One rotation: until its token is seen in every sink and, for those that say so, until that is durable.
    fn rotate(&mut self, who: usize, figures: &mut Figures) -> Option<(Duration, Option<Duration>)> {
        if who > OURS && self.others[who - 2].is_none() {
            return None;
        }
        std::thread::sleep(PAUSE);
        self.eyes.blink();
        let home = &mut self.homes[who];
        let (token, start) = home.rotate();
        let patience = if who > OURS { LOOP_PATIENCE } else { PATIENCE };
        let Some(seen) = self.eyes.until_all_hold(&home.sinks, &token, patience) else {
            assert!(who > OURS, "{} did not carry the token", NAMES[who]);
            figures.missed += 1;
            return None;
        };
        let durable = match who {
            FLOOR => Some(self.floor.line("done")),
            OURS => {
                Some(self.eyes.until_renamed(&home.state(), PATIENCE).expect("the pass was not recorded"))
            }
            _ => None,
        };
        Some((seen - start, durable.map(|at| at.max(start) - start)))
    }
}

fn report(table: &mut Table, figures: &[Figures; 5]) {
    for (name, figures) in NAMES.iter().zip(figures).filter(|(_, figures)| !figures.seen.is_empty()) {
        table.timed(PART, format!("{name}, seen"), &figures.seen);
        if figures.missed > 0 {
            table.note(format!("rotations missed: {}", figures.missed));
        }
    }
    let [floor, ours, others @ ..] = figures;
    table.timed(PART, "floor, durable", &floor.durable);
    table.timed(PART, "tokensink, durable and recorded", &ours.durable);
    table.note("upper bound, contains the record of the pass");
    table.at_most(PART, "tokensink / floor, seen", ours.seen.median() / floor.seen.median(), "x", 2.0);
    let ratio = ours.durable.median() / floor.durable.median();
    table.at_most(PART, "tokensink recorded / floor durable", ratio, "x", 2.0);
    for (name, other) in NAMES[2..].iter().zip(others).filter(|(_, other)| !other.seen.is_empty()) {
        let ratio = other.seen.median() / ours.seen.median();
        table.at_least(PART, &format!("{name} / tokensink, seen"), ratio, "x", 25.0);
    }
    for (name, figures) in NAMES.iter().zip(figures).filter(|(_, figures)| !figures.cold.is_empty()) {
        table.timed(COLD, format!("{name}, seen"), &figures.cold);
    }
}
