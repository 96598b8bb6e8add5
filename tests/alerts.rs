//! Alerts, from the rules to real receivers: the rules on a scripted clock, a month of renewals, each
//! channel against a receiver that checks what arrives, and the real daemon.
//!
//! The bugs of OpenClaw's own alert script that ours must not have, each with its test:
//! B13 `a_month_of_renewals_every_eight_hours_is_silent`; B14 `one_finding_never_mutes_another`;
//! B15 `nothing_is_noted_before_it_was_delivered`; B16 `a_bad_value_ends_the_start_and_is_named`;
//! B17 `what_cannot_be_read_is_an_alert_and_no_crash`; B18 `damaged_memory_and_future_stamps_mute_nothing`;
//! B19 `the_phone_is_an_extra_by_the_command_that_exists`; B20 `ntfy_goes_to_any_server_with_its_token_and_its_answer_is_checked`;
//! B21 `a_dead_login_is_told_reminded_and_resolved`; B22 `no_directory_of_others_is_made`;
//! B23 `a_dead_login_is_no_failure_of_the_unit`; B24 `another_topic_is_told_what_is_open_after_a_reload`.
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

#[path = "support/cache.rs"]
mod cache;
#[allow(dead_code, reason = "one CLI of several")]
#[path = "support/npm.rs"]
mod npm;
#[allow(dead_code, reason = "a part of it")]
#[path = "support/run.rs"]
mod run;
#[path = "support/stage.rs"]
mod stage;

#[path = "alerts/channels.rs"]
mod channels;
#[path = "alerts/daemon.rs"]
mod daemon;
#[path = "alerts/month.rs"]
mod month;
#[path = "alerts/notifications.rs"]
mod notifications;
#[path = "alerts/receiver.rs"]
mod receiver;
#[path = "alerts/rules.rs"]
mod rules;
#[path = "alerts/script.rs"]
mod script;
