//! Leaf types: what everything else speaks in. No I/O, no clock, no randomness.

pub mod code;
pub mod credential;
pub mod fingerprint;
pub mod id;
pub mod message_id;
pub mod secret;
pub mod time;
