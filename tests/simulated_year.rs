//! A year of a host in a scripted world: logins of several providers whose CLIs refresh too, suspends, jumps of
//! the clock, reboots with a dead one, outages, crashes between any two steps, and a server that takes a refresh
//! token once. What decides is the program's own core; what acts is played here.
//!
//! `TOKENSINK_SIM_SEED=N` repeats one year, `TOKENSINK_SIM_RUNS=N` makes that many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "simulated_year/checks.rs"]
mod checks;
#[path = "simulated_year/cli.rs"]
mod cli;
#[path = "simulated_year/daemon.rs"]
mod daemon;
#[path = "simulated_year/login.rs"]
mod login;
#[path = "simulated_year/random.rs"]
mod random;
#[path = "simulated_year/refresh.rs"]
mod refresh;
#[path = "simulated_year/server.rs"]
mod server;
#[path = "simulated_year/world.rs"]
mod world;

use checks::Figures;
use world::World;

/// Years that are simulated where nobody asks for more.
const RUNS: u64 = 24;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn no_login_is_lost_and_no_grant_is_needless_in_a_simulated_year() {
    let seeds = match number("TOKENSINK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOKENSINK_SIM_RUNS").unwrap_or(RUNS),
    };
    let mut total = Figures::default();
    for seed in seeds {
        let year = std::panic::catch_unwind(|| World::new(seed).year());
        match year {
            Ok(figures) => total.add(&figures),
            Err(why) => {
                eprintln!("repeat this year with TOKENSINK_SIM_SEED={seed}");
                std::panic::resume_unwind(why);
            }
        }
    }
    println!("{total}");
    total.assert_worth();
}

#[test]
fn a_seed_makes_the_same_year_again() {
    assert_eq!(World::new(7).days(40).to_string(), World::new(7).days(40).to_string());
}
