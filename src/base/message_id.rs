//! `MESSAGE_ID`s of the journal: one fixed id for each kind of event, explained by
//! `packaging/catalog/tokensink.catalog` (`journalctl -x`) and listed in `tokensink(1)`.

/// The daemon is ready: watches stand and the first pass is done.
pub const DAEMON_STARTED: &str = "3d7998a34707471087a782f8227ef4e5";
/// The daemon ends.
pub const DAEMON_STOPPED: &str = "b9629f4f14d7409f969f20e9a724971d";
/// The configuration was read again.
pub const CONFIG_RELOADED: &str = "436a7b6e20ad4c5b8193730cf69b1d8f";
/// A login has a new generation.
pub const ROTATION: &str = "90bfb1cb92404aa487046148824bbf0d";
/// A login was refreshed from here, or found refreshed by somebody else.
pub const REFRESHED: &str = "e8c0b87443154eadb3159b078d286584";
/// A login could not be refreshed from here.
pub const REFRESH_FAILED: &str = "c35a197780f64775acaa16dffb896359";
/// A sink was brought to the current generation.
pub const SINK_WRITTEN: &str = "9fab607bae1e4303a7b3883cd18d5aa8";
/// A sink could not be written.
pub const SINK_FAILED: &str = "723334bf214a4d728ef99624e89f4326";
/// A gateway was made to use the current generation.
pub const GATEWAY_APPLIED: &str = "fd2ac83d87614d7bb7c7e45cf80c2724";
/// A gateway could not be made to use the current generation.
pub const GATEWAY_FAILED: &str = "675eba6b2d87492d8a1ca63d914f195a";
/// A gateway is busy, so that its restart waits, or does not wait any longer.
pub const GATEWAY_BUSY: &str = "b7c1f2a94e0d4f6b8a3355d20c9e6417";
/// The log of a gateway says 401 again and again, and something is done about it.
pub const GATEWAY_UNAUTHORIZED: &str = "5c1d0e7f3ab24c6f9e0d8b1a7f42c395";
/// A finding was raised.
pub const FINDING_RAISED: &str = "3d0995ed45f241739c5a0fe382925bb8";
/// A finding is gone.
pub const FINDING_CLEARED: &str = "9ee84f7def7149b6bc78c2179f32eed3";
/// A channel took an alert.
pub const ALERT_SENT: &str = "c6912befb23947c5886a66d62290a7d5";
/// A channel did not take an alert.
pub const ALERT_NOT_SENT: &str = "8e6ac729970d4a2e9c7a70023ba84340";
/// A finding lasts.
pub const ALERT_REMINDER: &str = "c6b1a66ba16f42bfa4791215965a1313";

/// Every id with the name of its event.
pub const ALL: &[(&str, &str)] = &[
    ("DAEMON_STARTED", DAEMON_STARTED),
    ("DAEMON_STOPPED", DAEMON_STOPPED),
    ("CONFIG_RELOADED", CONFIG_RELOADED),
    ("ROTATION", ROTATION),
    ("REFRESHED", REFRESHED),
    ("REFRESH_FAILED", REFRESH_FAILED),
    ("SINK_WRITTEN", SINK_WRITTEN),
    ("SINK_FAILED", SINK_FAILED),
    ("GATEWAY_APPLIED", GATEWAY_APPLIED),
    ("GATEWAY_FAILED", GATEWAY_FAILED),
    ("GATEWAY_BUSY", GATEWAY_BUSY),
    ("GATEWAY_UNAUTHORIZED", GATEWAY_UNAUTHORIZED),
    ("FINDING_RAISED", FINDING_RAISED),
    ("FINDING_CLEARED", FINDING_CLEARED),
    ("ALERT_SENT", ALERT_SENT),
    ("ALERT_NOT_SENT", ALERT_NOT_SENT),
    ("ALERT_REMINDER", ALERT_REMINDER),
];
