//! Alert channels: one file for each kind, all with one question: was this message delivered? Secrets
//! are read when a message is sent, and never named in an error; neither is the path of a URL, which
//! is the only secret of an ntfy topic and of most webhooks.
//!
//! [`send_to_all`] tries every channel at the same time and answers for each; the daemon sends to one
//! channel after the other's turn with [`send`], because it keeps what was delivered where.

mod command;
mod desktop;
mod document;
mod http;
pub mod ntfy;
mod openclaw;
mod secret;
mod webhook;

pub mod heartbeat;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::base::fingerprint::FingerprintKey;
use crate::config::settings::{AlertKind, AlertSettings};
use crate::sys::paths::Surroundings;
use crate::systemd::bus::BusAddresses;

pub use crate::core::alert::{Event, Message};

/// One configured channel. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel {
    /// The kind, with a number where there are several of one kind: `ntfy`, `ntfy-2`.
    pub name: String,
    /// What is remembered under: the name and a fingerprint of where it leads, so that a channel that
    /// leads elsewhere is another one.
    pub key: String,
    settings: Rc<AlertSettings>,
    around: Rc<Around>,
}

/// What channels need of the process.
#[derive(Debug)]
struct Around {
    /// Where credentials of the unit may be.
    credentials: Vec<PathBuf>,
    /// For children.
    environment: BTreeMap<String, String>,
    bus: BusAddresses,
    host: String,
}

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// What a later message about the same needs, to take this one's place.
    pub handle: Option<String>,
}

/// A message that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Why, in words without a secret.
    pub why: String,
    /// Another try will not help: somebody has to change something.
    pub is_lasting: bool,
    /// The receiver's own word on when to try again.
    pub retry_after: Option<Duration>,
}

impl Undelivered {
    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_lasting: false, retry_after: None }
    }

    fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_lasting: true, retry_after: None }
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Undelivered {}

/// How one channel took a message.
#[derive(Debug)]
pub struct Attempt {
    /// The channel's name.
    pub channel: String,
    /// Whether it was delivered.
    pub outcome: Result<Receipt, Undelivered>,
}

/// The channels of a configuration, in its order. The journal is none of them: it needs no sending.
/// Without a `key` they have no stable identity, and nothing may be remembered of them.
#[must_use]
pub fn channels(
    alerts: &[AlertSettings],
    surroundings: &Surroundings,
    key: Option<&FingerprintKey>,
) -> Vec<Channel> {
    let around = Rc::new(Around {
        credentials: secret::directories(surroundings),
        environment: surroundings.child_environment(),
        bus: BusAddresses {
            session: surroundings.variable("DBUS_SESSION_BUS_ADDRESS").map(str::to_owned),
            runtime_dir: surroundings.runtime_dir(),
            system: None,
        },
        host: surroundings.host_name(),
    });
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut found = Vec::new();
    for settings in alerts.iter().filter(|alert| alert.kind != AlertKind::Journal) {
        let count = counts.entry(settings.kind.as_str()).or_default();
        *count += 1;
        let name = match *count {
            1 => settings.kind.as_str().to_owned(),
            n => format!("{}-{n}", settings.kind.as_str()),
        };
        let identity = key.map_or_else(String::new, |key| identity(settings, key));
        found.push(Channel {
            key: format!("{name}:{identity}"),
            name,
            settings: Rc::new(settings.clone()),
            around: Rc::clone(&around),
        });
    }
    found
}

/// Where a channel leads, as a fingerprint: a topic is a secret.
fn identity(settings: &AlertSettings, key: &FingerprintKey) -> String {
    let command = settings.command.iter().flatten().map(String::as_bytes);
    let texts = [&settings.url, &settings.target, &settings.channel].into_iter().flatten();
    let parts: Vec<&[u8]> = texts.map(String::as_bytes).chain(command).collect();
    key.of_parts(&parts).as_str().to_owned()
}

impl Channel {
    /// True where nobody may be there to be told: a desktop that nobody is logged in to.
    #[must_use]
    pub fn may_be_absent(&self) -> bool {
        self.settings.kind == AlertKind::Desktop
    }
}

/// Sends a message through one channel. `handle` is what the last message about the same left.
///
/// # Errors
/// Why it was not delivered; within 130 seconds in any case.
pub async fn send(
    channel: &Channel,
    message: &Message,
    handle: Option<&str>,
) -> Result<Receipt, Undelivered> {
    let (settings, around) = (&channel.settings, &channel.around);
    match settings.kind {
        AlertKind::Ntfy => ntfy::send(settings, around, message).await,
        AlertKind::Webhook => webhook::send(settings, around, message).await,
        AlertKind::Command => command::send(settings, around, message).await,
        AlertKind::Desktop => return desktop::send(around, message, handle).await,
        AlertKind::OpenClaw => openclaw::send(settings, around, message).await,
        AlertKind::Journal => Ok(()),
    }
    .map(|()| Receipt::default())
}

/// Sends a message through every channel at the same time. Needs a `LocalSet` around it.
pub async fn send_to_all(channels: &[Channel], message: &Message) -> Vec<Attempt> {
    let message = Rc::new(message.clone());
    let mut tasks = Vec::new();
    for channel in channels {
        let (name, channel, message) = (channel.name.clone(), channel.clone(), Rc::clone(&message));
        tasks.push((name, tokio::task::spawn_local(async move { send(&channel, &message, None).await })));
    }
    let mut attempts = Vec::new();
    for (channel, task) in tasks {
        // A task of ours cannot panic and is never cancelled.
        let outcome = task.await.unwrap_or_else(|_| Err(Undelivered::passing("it was broken off")));
        attempts.push(Attempt { channel, outcome });
    }
    attempts
}
