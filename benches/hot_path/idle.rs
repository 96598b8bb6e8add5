//! What the daemon costs while nothing happens: with the unit's watchdog and a poll of 60 s. A twin idles beside it under
//! strace, so that its system calls are counted over the same time.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Options;
use crate::contenders::is_installed;
use crate::eyes::Eyes;
use crate::home::{Daemon, Home, PATIENCE};
use crate::proc;
use crate::table::Table;

const PART: &str = "idle";

pub fn measure(options: &Options, table: &mut Table) {
    let mut home = Home::new(&options.dir, "idle");
    let mut daemon = idling(options, &mut home, Some(table));
    let mut twin_home = Home::new(&options.dir, "idle-twin");
    let twin = idling(options, &mut twin_home, None);
    // What follows the pass belongs to the pass.
    std::thread::sleep(Duration::from_secs(2));
    let calls = options.results.join("idle-calls.txt");
    let tracer = is_installed("strace").then(|| trace(twin.pid(), &calls));

    let pid = daemon.pid();
    let (waited, preempted) = proc::switches(pid);
    let cpu = proc::cpu(pid);
    let written = proc::written(pid);
    std::thread::sleep(Duration::from_secs(options.idle));
    let (waited_after, preempted_after) = proc::switches(pid);
    let seconds = options.idle;
    table.at_most(PART, "RSS after a rotation and an idle turn", proc::rss(pid), "MiB", 5.0);
    table.note(format!("aim 4; peak {:.2} MiB", proc::peak(pid)));
    table.at_most(PART, "PSS", proc::pss(pid), "MiB", 2.0);
    table.note(format!("an aim; private {:.2} MiB", proc::private(pid)));
    table.at_most(PART, "threads", proc::threads(pid), "", 1.0);
    // One poll, or one turn for the watchdog, in every 60 s.
    let due = (options.idle / 60 + 1) as f64;
    table.at_most(PART, &format!("wake-ups in {seconds} s"), waited_after - waited, "", due);
    table.note(format!("voluntary switches; involuntary {}", preempted_after - preempted));
    table.plain(PART, format!("CPU in {seconds} s"), proc::cpu(pid) - cpu, "s");
    table.plain(PART, format!("bytes written to disks in {seconds} s"), proc::written(pid) - written, "");
    match tracer.map(|tracer| counted(tracer, &calls)) {
        Some(Some(count)) => {
            table.plain(PART, format!("system calls in {seconds} s"), count, "");
            table.note(format!("strace -c of a twin, in {}", calls.display()));
        }
        Some(None) | None => table.remark("system calls not counted: no strace, or it may not attach"),
    }
    assert!(daemon.is_alive(), "the daemon ended");
}

/// A daemon that has worked before it idles, as in life.
fn idling(options: &Options, home: &mut Home, table: Option<&mut Table>) -> Daemon {
    home.configure(&home.three_sinks());
    let mut eyes = Eyes::open();
    for sink in &home.sinks {
        eyes.watch(sink.parent().unwrap());
    }
    let daemon = home.daemon(&options.program);
    if let Some(table) = table {
        table.plain(PART, "RSS after READY=1", proc::rss(daemon.pid()), "MiB");
    }
    eyes.blink();
    let (token, _) = home.rotate();
    eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written");
    daemon
}

/// Counts the system calls of a process, into a file.
fn trace(pid: u32, file: &std::path::Path) -> Child {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-p", &pid.to_string(), "-o"]).arg(file).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// How many there were; `None` when nothing could be counted.
fn counted(mut tracer: Child, file: &std::path::Path) -> Option<f64> {
    kill(Pid::from_raw(i32::try_from(tracer.id()).unwrap()), Signal::SIGINT).unwrap();
    tracer.wait().unwrap();
    let text = std::fs::read_to_string(file).ok()?;
    let total = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
    let fields: Vec<&str> = total.split_whitespace().collect();
    fields.get(3)?.parse().ok()
}
