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
use crate::home::{Home, PATIENCE};
use crate::table::{Sample, Table};

const PART: &str = "credential rename -> 3 sinks";
/// Longer than the daemon's coalescing and the start of an inotifywait: each rotation finds its
/// contender waiting.
const PAUSE: Duration = Duration::from_millis(40);
/// A loop that has not moved by then missed the event.
const LOOP_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Figures {
    seen: Sample,
    durable: Sample,
    missed: u32,
}

pub fn measure(options: &Options, table: &mut Table) {
    let mut eyes = Eyes::open();
    let names = ["floor", "tokensink", "loop-m", "loop-1"];
    let mut homes = names.map(|name| Home::new(&options.dir, name));
    homes[1].configure(&homes[1].three_sinks());
    let floor = Contender::floor(&homes[0]);
    let mut daemon = homes[1].daemon(&options.program);
    let has_loops = ["bash", "inotifywait", "jq", "sed"].iter().all(|tool| is_installed(tool));
    let loops = has_loops.then(|| (Contender::monitor(&homes[2]), Contender::one_shot(&homes[3])));
    for home in &homes {
        for sink in &home.sinks {
            eyes.watch(sink.parent().unwrap());
        }
    }
    eyes.watch(homes[1].state().parent().unwrap());

    let mut figures: [Figures; 4] = Default::default();
    let count = if has_loops { 4 } else { 2 };
    // One round more, which is not counted: everything has been touched once.
    for round in 0..=options.rounds {
        for turn in 0..count {
            let who = (round + turn) % count;
            std::thread::sleep(PAUSE);
            eyes.blink();
            let (home, figures) = (&mut homes[who], &mut figures[who]);
            let (token, start) = home.rotate();
            let patience = if who < 2 { PATIENCE } else { LOOP_PATIENCE };
            let Some(seen) = eyes.until_all_hold(&home.sinks, &token, patience) else {
                assert!(who >= 2, "{} did not carry the token", names[who]);
                figures.missed += 1;
                continue;
            };
            let durable = match who {
                0 => Some(floor.line("done")),
                1 => Some(eyes.until_renamed(&home.state(), PATIENCE).expect("the pass was not recorded")),
                _ => None,
            };
            if round > 0 {
                figures.seen.push(seen - start);
                if let Some(at) = durable {
                    figures.durable.push(at.max(start) - start);
                }
            }
        }
    }
    assert!(daemon.is_alive(), "the daemon ended");
    drop(loops);
    report(table, &figures, has_loops);
}

fn report(table: &mut Table, figures: &[Figures; 4], has_loops: bool) {
    let [floor, ours, monitor, one_shot] = figures;
    let mut both = |name: &str, sample: &Sample| {
        table.plain(PART, format!("{name}, median"), sample.median(), "ms");
        table.note(format!("p95 {:.2} ms", sample.p95()));
    };
    both("floor, seen", &floor.seen);
    both("floor, durable", &floor.durable);
    both("tokensink, seen", &ours.seen);
    both("tokensink, durable and recorded (upper bound)", &ours.durable);
    if has_loops {
        both("loop with inotifywait -m, seen", &monitor.seen);
        both("loop with one-shot inotifywait, seen", &one_shot.seen);
    }
    table.at_most(PART, "tokensink / floor, seen", ours.seen.median() / floor.seen.median(), "x", 2.0);
    let ratio = ours.durable.median() / floor.durable.median();
    table.at_most(PART, "tokensink recorded / floor durable", ratio, "x", 2.0);
    table.note("upper bound, contains the record of the pass");
    if has_loops {
        table.at_least(
            PART,
            "loop -m / tokensink, seen",
            monitor.seen.median() / ours.seen.median(),
            "x",
            25.0,
        );
        let ratio = one_shot.seen.median() / ours.seen.median();
        table.at_least(PART, "one-shot loop / tokensink, seen", ratio, "x", 25.0);
        table.note(format!("rotations missed: -m {}, one-shot {}", monitor.missed, one_shot.missed));
    } else {
        table.remark("no shell loops: bash, inotify-tools, jq or sed is missing");
    }
}
