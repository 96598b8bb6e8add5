//! Decisions. Facts and time go in, plans and findings come out; nothing here does I/O, asks the
//! clock, draws random numbers, logs or waits.

pub mod agreement;
pub mod alert;
pub mod apply;
pub mod authorize;
pub mod choose;
pub mod clock;
pub mod device;
pub mod doctor;
pub mod event;
pub mod families;
pub mod fit;
pub mod health;
pub mod links;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod order;
pub mod plan;
pub mod reach;
pub mod refresh;
pub mod report;
pub mod schedule;
pub mod setup_token;
pub mod token_answer;
pub mod unauthorized;
pub mod undo;
pub mod verdict;
pub mod windows;
