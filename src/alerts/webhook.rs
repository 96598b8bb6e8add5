//! A webhook: the JSON document, posted; any status from 200 to 299 means delivered.

use super::{Around, Undelivered, document, http, secret};
use crate::config::settings::AlertSettings;
use crate::core::alert::Message;

/// Posts a message.
pub(super) async fn send(
    settings: &AlertSettings,
    around: &Around,
    message: &Message,
) -> Result<(), Undelivered> {
    let url = http::url(settings.url.as_deref())?;
    let token = secret::of(settings, around)?;
    let body = document::of(message, &around.host);
    http::post(url, "application/json", body, token.as_ref()).await.map(drop)
}
