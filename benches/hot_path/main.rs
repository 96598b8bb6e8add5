//! The figures of the hot path, measured in one run and printed beside their targets:
//! rotation → sinks → restart job, the cost of being idle, of starting, and of growing.
//!
//! ```text
//! cargo build --release
//! cargo bench --profile dev --bench hot_path -- [-n 100] [--idle 60] [--only latency,restart,idle,start,growth]
//! ```
//!
//! What is measured is the release binary (`--program PATH` for another one), as a child with a
//! home of its own; this program only watches, so it needs no optimised build (the inner floor
//! consists of system calls). Contenders take turns round by round, so that a busy machine hits
//! all of them; ratios are ratios of medians. The table also goes to `bench/hot-path.txt` and
//! `.csv` under the target directory, each round to `samples.csv`, drawings to `contenders.svg` and `growth.svg`; homes are made there too, or in `--dir DIR`, for instance on
//! a disk that nobody else syncs. Exit status 1 says that something did not work, never that a
//! target was missed.
//!
//! Needs inotify-tools and jq for the shell loops; incron; root, systemd and dbus for the private manager;
//! strace for the count of system calls. A missing tool is said, and its figure left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a measurement fails by panicking, and its clock is the wall"
)]

mod contenders;
mod eyes;
mod floor;
mod growth;
mod home;
mod idle;
mod latency;
mod plot;
#[path = "../../tests/support/private_manager.rs"]
mod private_manager;
mod proc;
mod restart;
mod start;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use table::Table;

/// What a run is asked for.
pub struct Options {
    /// Rotations per contender.
    pub rounds: usize,
    /// Seconds of idling.
    pub idle: u64,
    /// The program under test.
    pub program: PathBuf,
    /// Where homes go: a real file system, so that syncing costs what it costs.
    pub dir: PathBuf,
    /// Where tables, samples and drawings go.
    pub results: PathBuf,
    only: Option<String>,
}

impl Options {
    fn parse() -> Self {
        // target/<profile>/deps/hot_path-…
        let exe = std::env::current_exe().unwrap();
        let target = exe.ancestors().nth(3).expect("not run by cargo").to_owned();
        let mut options = Self {
            rounds: 100,
            idle: 60,
            program: target.join("release/tokensink"),
            dir: target.join("bench"),
            results: target.join("bench"),
            only: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "-n" => options.rounds = value().parse().expect("-n COUNT"),
                "--idle" => options.idle = value().parse().expect("--idle SECONDS"),
                "--program" => options.program = value().into(),
                "--dir" => options.dir = value().into(),
                "--only" => options.only = Some(value()),
                // What cargo bench adds.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|word| word == part))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("floor") {
        floor::run(&words.map(PathBuf::from).collect::<Vec<_>>());
    }
    let options = Options::parse();
    assert!(options.program.exists(), "{} is missing: cargo build --release", options.program.display());
    std::fs::create_dir_all(&options.dir).unwrap();
    std::fs::create_dir_all(&options.results).unwrap();
    let mut table = Table::new();
    table.remark(format!(
        "program {}, homes on {}, {} rounds",
        options.program.display(),
        proc::file_system_of(&options.dir),
        options.rounds
    ));
    table.remark(format!("load average before: {}", proc::load_average()));
    type Part = fn(&Options, &mut Table);
    let parts: [(&str, Part); 5] = [
        ("start", start::measure),
        ("latency", latency::measure),
        ("restart", restart::measure),
        ("growth", growth::measure),
        ("idle", idle::measure),
    ];
    let mut failed = false;
    for (name, part) in parts.into_iter().filter(|(name, _)| options.wants(name)) {
        eprintln!("measuring: {name}");
        let run = std::panic::AssertUnwindSafe(|| part(&options, &mut table));
        if std::panic::catch_unwind(run).is_err() {
            table.remark(format!("{name} did not work, see above"));
            failed = true;
        }
    }
    table.remark(format!("load average after: {}", proc::load_average()));
    println!("{}", table.text());
    std::fs::write(options.results.join("hot-path.txt"), table.text()).unwrap();
    std::fs::write(options.results.join("hot-path.csv"), table.csv()).unwrap();
    std::fs::write(options.results.join("samples.csv"), table.samples_csv()).unwrap();
    plot::contenders(&table, &options.results.join("contenders.svg"));
    plot::curves(&table, &options.results.join("growth.svg"));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
