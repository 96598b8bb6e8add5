//! What the daemon costs while nothing happens: with the unit's watchdog and a poll of 60 s.

use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::contenders::is_installed;
use crate::eyes::Eyes;
use crate::home::{Home, PATIENCE};
use crate::proc;
use crate::table::Table;

const PART: &str = "idle";
/// How long system calls are counted.
const TRACE: &str = "10";

pub fn measure(options: &Options, table: &mut Table) {
    let mut home = Home::new(&options.dir, "idle");
    home.configure(&home.three_sinks());
    let mut eyes = Eyes::open();
    for sink in &home.sinks {
        eyes.watch(sink.parent().unwrap());
    }
    let mut daemon = home.daemon(&options.program);
    let pid = daemon.pid();
    table.plain(PART, "RSS after READY=1", proc::rss(pid), "MiB");
    // It has worked before it idles, as in life.
    eyes.blink();
    let (token, _) = home.rotate();
    eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written");
    // What follows the pass belongs to the pass.
    std::thread::sleep(Duration::from_secs(2));

    let (waited, preempted) = proc::switches(pid);
    let cpu = proc::cpu(pid);
    std::thread::sleep(Duration::from_secs(options.idle));
    let (waited_after, preempted_after) = proc::switches(pid);
    let seconds = options.idle;
    table.at_most(PART, "RSS after a rotation", proc::rss(pid), "MiB", 5.0);
    table.note(format!("aim 4; peak {:.2} MiB", proc::peak(pid)));
    table.at_most(PART, "PSS", proc::pss(pid), "MiB", 2.0);
    table.note(format!("an aim; private {:.2} MiB", proc::private(pid)));
    table.at_most(PART, "threads", proc::threads(pid), "", 1.0);
    // One poll, or one turn for the watchdog, in every 60 s.
    let due = (options.idle / 60 + 1) as f64;
    table.at_most(PART, &format!("wake-ups in {seconds} s"), waited_after - waited, "", due);
    table.note(format!("voluntary switches; involuntary {}", preempted_after - preempted));
    table.plain(PART, format!("CPU in {seconds} s"), proc::cpu(pid) - cpu, "s");
    match count_calls(pid) {
        Some(calls) => {
            table.plain(PART, format!("system calls in {TRACE} s"), calls, "");
            table.note("strace -c; the call it waits in is one; a poll or watchdog turn may fall into it");
        }
        None => table.remark("system calls not counted: no strace, or it may not attach"),
    }
    assert!(daemon.is_alive(), "the daemon ended");
}

/// System calls by `strace -c` over ten seconds.
fn count_calls(pid: u32) -> Option<f64> {
    if !is_installed("strace") {
        return None;
    }
    let output = Command::new("timeout")
        .args(["-s", "INT", TRACE, "strace", "-c", "-f", "-p", &pid.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !text.contains("attached") {
        return None;
    }
    let total = text.lines().find(|line| line.trim_end().ends_with(" total"));
    // Without a single call there is no summary.
    let Some(total) = total else { return Some(0.0) };
    let fields: Vec<&str> = total.split_whitespace().collect();
    fields.get(3)?.parse().ok()
}
