//! What `/proc` says about a process and the machine.

use std::path::Path;
use std::process::Command;

/// A number of kilobytes from `smaps_rollup`, in MiB.
fn rollup(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    number(&text, field) / 1024.0
}

/// Resident memory, in MiB.
pub fn rss(pid: u32) -> f64 {
    rollup(pid, "Rss:")
}

/// Proportional share of it, in MiB.
pub fn pss(pid: u32) -> f64 {
    rollup(pid, "Pss:")
}

/// What no other process shares, in MiB.
pub fn private(pid: u32) -> f64 {
    rollup(pid, "Private_Clean:") + rollup(pid, "Private_Dirty:")
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

/// The highest resident memory so far, in MiB.
pub fn peak(pid: u32) -> f64 {
    number(&status(pid), "VmHWM:") / 1024.0
}

pub fn threads(pid: u32) -> f64 {
    number(&status(pid), "Threads:")
}

/// Context switches so far: voluntary (it waited, so it woke up again) and not.
pub fn switches(pid: u32) -> (f64, f64) {
    let text = status(pid);
    // The lines differ in their beginnings only.
    (number(&text, "\nvoluntary_ctxt_switches:"), number(&text, "nonvoluntary_ctxt_switches:"))
}

/// Bytes that were sent to disks so far.
pub fn written(pid: u32) -> f64 {
    number(&std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap(), "\nwrite_bytes:")
}

/// Processor time so far, in seconds.
pub fn cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    // USER_HZ is 100 on every Linux.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn number(text: &str, field: &str) -> f64 {
    let (_, rest) = text.split_once(field).unwrap_or_else(|| panic!("no {field}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The kind of file system of a directory.
pub fn file_system_of(directory: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(directory).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
