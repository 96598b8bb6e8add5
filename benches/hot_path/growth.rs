//! What more of everything costs: sinks, profiles in one store, logins, rotations, events. The cost per unit shows
//! whether growth is linear.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Options;
use crate::eyes::{Eyes, holds};
use crate::home::{Home, PATIENCE};
use crate::proc;
use crate::table::{Sample, Table};

const SINKS: &str = "growth: secret-file sinks, rotation -> last sink";
const PROFILES: &str = "growth: profiles in one store, rotation -> store";
const LOGINS: &str = "growth: logins, each with a sink; one rotates";
const MEMORY: &str = "growth: memory over rotations";
const STORM: &str = "10,000 events/s for 10 s";
const ROUNDS: usize = 7;
const PAUSE: Duration = Duration::from_millis(200);

pub fn measure(options: &Options, table: &mut Table) {
    for count in [1, 10, 100, 1000] {
        sinks(options, table, count);
    }
    for count in [1, 10, 100, 1000, 10_000] {
        profiles(options, table, count);
    }
    for count in [1, 10, 50, 100, 200] {
        logins(options, table, count);
    }
    memory(options, table);
    storm(options, table, "foreign names", |home, _| {
        std::fs::File::create(home.root.join(".claude/other")).unwrap();
    });
    storm(options, table, "rotations by rename", |home, latest| {
        let (token, document) = home.next_credential();
        let temporary = home.root.join("next");
        std::fs::write(&temporary, document).unwrap();
        std::fs::rename(&temporary, home.source()).unwrap();
        *latest = Some(token);
    });
}

fn sinks(options: &Options, table: &mut Table, count: usize) {
    let mut home = Home::new(&options.dir, "sinks");
    let configuration = home.many_sinks(count);
    home.configure(&configuration);
    let figure = carried(options, &mut home);
    figure.tell(table, SINKS, "sinks", count);
}

fn profiles(options: &Options, table: &mut Table, count: usize) {
    let mut home = Home::new(&options.dir, "profiles");
    let configuration = home.store_of(count);
    home.configure(&configuration);
    let figure = carried(options, &mut home);
    let after: serde_json::Value = serde_json::from_slice(&std::fs::read(&home.sinks[0]).unwrap()).unwrap();
    assert_eq!(after["profiles"].as_object().unwrap().len(), count, "a profile was lost");
    figure.tell(table, PROFILES, "profiles in one store", count);
}

/// Logins in directories of their own, of which one rotates.
fn logins(options: &Options, table: &mut Table, count: usize) {
    let mut home = Home::new(&options.dir, "logins");
    let configuration = home.many_logins(count);
    home.configure(&configuration);
    let figure = carried(options, &mut home);
    figure.tell(table, LOGINS, "logins", count);
}

/// Resident memory while thousands of rotations pass.
fn memory(options: &Options, table: &mut Table) {
    const ROTATIONS: u32 = 3000;
    const STEP: u32 = 250;
    let mut home = Home::new(&options.dir, "memory");
    home.configure(&home.three_sinks());
    let mut eyes = Eyes::open();
    for sink in &home.sinks {
        eyes.watch(sink.parent().unwrap());
    }
    let mut daemon = home.daemon(&options.program);
    for rotation in 0..=ROTATIONS {
        if rotation % STEP == 0 {
            let rss = proc::rss(daemon.pid());
            table.point("memory", "rotations", "MiB", (f64::from(rotation), rss));
            if [0, STEP, ROTATIONS].contains(&rotation) {
                table.plain(MEMORY, format!("RSS after {rotation}"), rss, "MiB");
                table.note(format!("private {:.2} MiB", proc::private(daemon.pid())));
            }
        }
        eyes.blink();
        let (token, _) = home.rotate();
        eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written");
    }
    assert!(daemon.is_alive(), "the daemon ended");
}

struct Figure {
    sample: Sample,
    peak: f64,
    rss: f64,
    cpu: f64,
}

impl Figure {
    fn tell(&self, table: &mut Table, part: &'static str, of: &'static str, count: usize) {
        let Self { sample, peak, rss, cpu } = self;
        let median = sample.median();
        table.timed(part, format!("{count} {of}"), sample);
        let each = median / count as f64;
        table.note(format!(
            "{each:.4} ms each; CPU {cpu:.1} ms a rotation; peak {peak:.1} MiB, RSS {rss:.1} MiB after"
        ));
        table.point(of, of, "ms", (count as f64, median));
    }
}

/// Rotations until every sink has the token.
fn carried(options: &Options, home: &mut Home) -> Figure {
    let mut eyes = Eyes::open();
    let directory: PathBuf = home.sinks[0].parent().unwrap().to_owned();
    eyes.watch(&directory);
    let mut daemon = home.daemon(&options.program);
    let mut sample = Sample::default();
    let mut cpu = 0.0;
    for round in 0..=ROUNDS {
        // The turn that the daemon's own renames cause has to be over.
        settle(daemon.pid());
        if round == 1 {
            cpu = proc::cpu(daemon.pid());
        }
        eyes.blink();
        let (token, start) = home.rotate();
        let last = eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written");
        if round > 0 {
            sample.push(last - start);
        }
    }
    settle(daemon.pid());
    assert!(daemon.is_alive(), "the daemon ended");
    let pid = daemon.pid();
    let cpu = (proc::cpu(pid) - cpu) * 1000.0 / ROUNDS as f64;
    Figure { sample, peak: proc::peak(pid), rss: proc::rss(pid), cpu }
}

/// Waits until the process has not run for a moment.
fn settle(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let mut before = proc::switches(pid);
    loop {
        std::thread::sleep(PAUSE);
        let now = proc::switches(pid);
        if now == before || Instant::now() > deadline {
            return;
        }
        before = now;
    }
}

/// Events at a steady rate, and what is left in the end.
fn storm(
    options: &Options,
    table: &mut Table,
    name: &str,
    mut event: impl FnMut(&mut Home, &mut Option<String>),
) {
    const RATE: u32 = 10_000;
    const SECONDS: u32 = 10;
    let mut home = Home::new(&options.dir, "storm");
    home.configure(&home.three_sinks());
    let mut daemon = home.daemon(&options.program);
    let pid = daemon.pid();
    let (cpu, switches) = (proc::cpu(pid), proc::switches(pid));
    let mut latest = None;
    let start = Instant::now();
    for batch in 0..SECONDS * 100 {
        for _ in 0..RATE / 100 {
            event(&mut home, &mut latest);
        }
        let due = start + Duration::from_millis(10) * (batch + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let took = start.elapsed();
    // A rotation after the storm must be carried as ever; after a storm of rotations, the last one.
    let token = latest.unwrap_or_else(|| home.rotate().0);
    let ended = Instant::now();
    while !all_hold(&home.sinks, &token) {
        assert!(ended.elapsed() < PATIENCE, "the sinks do not hold the last token");
        std::thread::sleep(Duration::from_millis(1));
    }
    let settled = ended.elapsed();
    assert!(daemon.is_alive(), "the daemon ended");
    let rate = f64::from(RATE * SECONDS) / took.as_secs_f64();
    table.plain(STORM, format!("{name}: final state correct after"), settled.as_secs_f64() * 1000.0, "ms");
    table.note(format!("{rate:.0} events/s reached"));
    table.plain(STORM, format!("{name}: CPU"), proc::cpu(pid) - cpu, "s");
    table.note(format!("{:.0} wake-ups", proc::switches(pid).0 - switches.0));
    table.plain(STORM, format!("{name}: peak RSS"), proc::peak(pid), "MiB");
}

fn all_hold(sinks: &[PathBuf], token: &str) -> bool {
    sinks.iter().all(|sink: &PathBuf| holds(Path::new(sink), token))
}
