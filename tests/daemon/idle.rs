//! What an idle daemon costs: nearly nothing.

use std::fs;
use std::time::{Duration, Instant};

use crate::stage::{Home, Login, switches};

fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Inode numbers of the sockets that a process has open.
fn sockets(pid: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = open.filter_map(|fd| fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned));
    links.filter_map(|l| Some(l.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

#[test]
fn an_idle_daemon_sleeps_in_one_thread_without_a_network_socket() {
    let home = Home::new();
    home.configure(&format!("[daemon]\npoll = \"60s\"\n{}", home.three_sinks("")));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));
    let switches = || switches(daemon.pid).unwrap();
    let before = switches();
    let ends = Instant::now() + Duration::from_secs(10);
    // The window that is measured; nothing is waited for.
    home.until("ten seconds have passed", || Instant::now() >= ends);
    let woken = switches() - before;
    println!("{woken} wake-ups in 10 s, {} kB resident", field(daemon.pid, "VmRSS:"));
    assert!(woken <= 2, "{woken} wake-ups in 10 s");
    assert_eq!(field(daemon.pid, "Threads:"), 1);
    let tables: String = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"]
        .iter()
        .filter_map(|name| fs::read_to_string(format!("/proc/{}/net/{name}", daemon.pid)).ok())
        .collect();
    for socket in sockets(daemon.pid) {
        assert!(!tables.split_whitespace().any(|word| word == socket), "a network socket is open");
    }
    daemon.stop();
    home.finish();
}
