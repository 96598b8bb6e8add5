//! The imperative shell: joins the core with the adapters. `start` is the order in which a daemon
//! comes up; `run` is its loop; `pass` and `apply` serve the commands as well.

pub mod alerting;
pub mod apply;
pub mod asked;
pub mod containers;
pub mod delivery;
pub mod detect;
pub mod detect_containers;
pub mod doctor;
pub mod door;
pub mod export;
pub mod fetch;
pub mod hearing;
pub mod history;
pub mod import;
pub mod in_hand;
pub mod journal;
pub mod login;
pub mod look;
pub mod metrics;
pub mod model;
pub mod order;
pub mod pass;
pub mod recovery;
pub mod refresh;
pub mod run;
pub mod seal;
pub mod settle;
pub mod store;
pub mod supervisor;
pub mod syncers;
pub mod undo;
pub mod world;
