//! Size of the program, time to `READY=1` with nothing to write, and the time a status takes.

use std::process::Stdio;
use std::time::Instant;

use crate::Options;
use crate::home::Home;
use crate::table::{Sample, Table};

const PART: &str = "start";
const STARTS: usize = 30;
const CALLS: usize = 50;

pub fn measure(options: &Options, table: &mut Table) {
    let size = std::fs::metadata(&options.program).unwrap().len() as f64 / (1024.0 * 1024.0);
    table.at_most(PART, "stripped binary", size, "MiB", 6.0);
    table.note("aim 4");

    let home = Home::new(&options.dir, "start");
    home.configure(&home.three_sinks());
    // Makes key, state and sinks.
    drop(home.daemon(&options.program));
    let (mut ready, mut status) = (Sample::default(), Sample::default());
    for round in 0..STARTS.max(CALLS) {
        if round < STARTS {
            ready.push(home.daemon(&options.program).ready_after);
        }
        let mut command = home.command(&options.program);
        command.args(["status", "--json"]).stdout(Stdio::piped());
        let start = Instant::now();
        let output = command.output().unwrap();
        status.push(start.elapsed());
        assert!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
    }
    table.timed_at_most(PART, "exec -> READY=1", &ready, 10.0);
    table.timed_at_most(PART, "status --json", &status, 10.0);
}
