//! A notification on the desktop of this user, by the Desktop Notifications Specification 1.2
//! (`org.freedesktop.Notifications` on the session bus). A later message about the same takes the place
//! of the earlier one, and what is resolved is taken away.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use zbus::Variant;

use super::{Around, Receipt, Undelivered};
use crate::base::code::Severity;
use crate::core::alert::{Event, Message};
use crate::systemd::bus;

const SERVICE: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// How long all calls together may take; the service may have to be started.
const DEADLINE: Duration = Duration::from_secs(10);
/// It stays until somebody takes note of it.
const NEVER_EXPIRES: i32 = 0;

/// A notification that is shown: which service has it under which number. Another one, after a new
/// start of the desktop, gives the same number to something else.
struct Shown<'a> {
    server: &'a str,
    id: u32,
}

impl<'a> Shown<'a> {
    fn parse(handle: &'a str) -> Option<Self> {
        let (server, id) = handle.rsplit_once(' ')?;
        Some(Self { server, id: id.parse().ok()? })
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.server, self.id)
    }
}

/// Shows a message in the place of the one that left `handle`, or takes that away.
pub(super) async fn send(
    around: &Around,
    message: &Message,
    handle: Option<&str>,
) -> Result<Receipt, Undelivered> {
    let mut last = Undelivered::passing("there is no session bus");
    for address in bus::session_addresses(&around.bus) {
        match tokio::time::timeout(DEADLINE, show(&address, message, handle)).await {
            Ok(Ok(receipt)) => return Ok(receipt),
            Ok(Err(_)) => last = Undelivered::passing("no notification service answers on the session bus"),
            Err(_elapsed) => last = Undelivered::passing("the notification service does not answer in time"),
        }
    }
    Err(last)
}

async fn show(address: &str, message: &Message, handle: Option<&str>) -> zbus::Result<Receipt> {
    let connection = zbus::connection::Builder::address(address).build().await?;
    let capabilities =
        connection.call_method(Some(SERVICE), PATH, Some(SERVICE), "GetCapabilities", &()).await?;
    let capabilities: Vec<String> = capabilities.body().deserialize()?;
    let bus = "org.freedesktop.DBus";
    let owner =
        connection.call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetNameOwner", &SERVICE);
    let server = format!("{}{}", connection.server_guid(), owner.await?.body().deserialize::<String>()?);
    let before =
        handle.and_then(Shown::parse).filter(|shown| shown.server == server).map_or(0, |shown| shown.id);

    if message.event == Event::Resolved {
        if before != 0 {
            // An error says that it is gone already.
            let _ = connection
                .call_method(Some(SERVICE), PATH, Some(SERVICE), "CloseNotification", &before)
                .await;
        }
        return Ok(Receipt::default());
    }
    let has_markup = capabilities.iter().any(|word| word == "body-markup");
    let mut body = message.body.clone();
    body.extend(message.click.iter().flat_map(|click| ["\n", click.as_str()]));
    let body = if has_markup { escaped(&body) } else { body };
    let (urgency, icon): (u8, &str) = match message.severity {
        Severity::Critical => (2, "dialog-error"),
        Severity::Warning => (1, "dialog-warning"),
        Severity::Notice => (1, "dialog-information"),
    };
    let hints: HashMap<&str, Variant<'_>> = HashMap::from([("urgency", Variant::from(urgency))]);
    let actions: Vec<&str> = Vec::new();
    let arguments =
        ("tokensink", before, icon, message.title.as_str(), body.as_str(), actions, hints, NEVER_EXPIRES);
    let shown = connection.call_method(Some(SERVICE), PATH, Some(SERVICE), "Notify", &arguments).await?;
    let shown = Shown { server: &server, id: shown.body().deserialize()? };
    Ok(Receipt { handle: Some(shown.to_string()) })
}

/// For a service that takes the text for markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
