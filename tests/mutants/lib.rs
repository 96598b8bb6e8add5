//! The pure layers as a crate of their own, which is what `make mutants` changes: it is built in seconds, where the
//! whole program takes a minute. `tests/mutants/tree.sh` lays it out; it has the program's name and its other
//! pure tests are modules here, so that there is one thing to build. That it compiles proves that these layers need no other.

extern crate self as tokensink;

pub mod base;
pub mod core;
pub mod format;

#[cfg(test)]
#[path = "../tests/alerts/month.rs"]
mod month;
#[cfg(test)]
#[path = "../tests/alerts/rules.rs"]
mod rules;
#[cfg(test)]
#[path = "../tests/format.rs"]
mod golden_format;
#[cfg(test)]
#[path = "../tests/plan.rs"]
mod golden_plan;
// What the two above are played by; they name each other so.
#[cfg(test)]
#[path = "../tests/alerts/script.rs"]
mod script;
#[cfg(test)]
#[path = "../tests/simulated_year.rs"]
mod simulated_year;
