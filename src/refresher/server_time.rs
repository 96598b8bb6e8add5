//! How far our wall clock is from a server's. No refresh token is near: the question carries no
//! credential at all.

use std::time::Duration;

use crate::base::time::Timestamp;
use crate::oauth::endpoint;
pub use crate::oauth::endpoint::Unreached;
use crate::sys::clock;

/// An answer that took longer says nothing about the time: the machine slept in between.
const PROMPT: Duration = Duration::from_secs(60);

/// Asks the server of a token endpoint for its time, and says how far our wall clock is ahead of
/// it, in milliseconds.
///
/// # Errors
/// When it does not answer in time, or does not say; one sentence.
pub async fn ahead(token_url: &str) -> Result<i64, String> {
    let began = clock::boottime();
    let date = endpoint::ask_time(token_url).await.map_err(|error| error.to_string())?;
    ahead_of(date, began).ok_or_else(|| "the answer came too late".into())
}

/// How far our wall clock is ahead of the server's of a token endpoint, in milliseconds, where it says so.
///
/// # Errors
/// What stands in the way to it.
pub async fn reach(token_url: &str) -> Result<Option<i64>, Unreached> {
    let began = clock::boottime();
    let date = endpoint::reach(token_url).await?;
    Ok(date.and_then(|date| ahead_of(date, began)))
}

/// The host of a token endpoint, for people; `None` for what no request goes to.
#[must_use]
pub fn host_of(token_url: &str) -> Option<String> {
    endpoint::check_url(token_url).ok()?.host_str().map(str::to_owned)
}

/// How far our wall clock is ahead of a time that a server told just now, in milliseconds. `began`
/// is the boot clock when the question was sent.
pub(super) fn ahead_of(date: Timestamp, began: Duration) -> Option<i64> {
    let is_prompt = clock::boottime().saturating_sub(began) <= PROMPT;
    is_prompt.then(|| clock::now().millis_from(date))
}

/// The wall clock at that time of the boot clock, as it shows it now.
pub(super) fn wall_at(began: Duration) -> Timestamp {
    clock::now().before(clock::boottime().saturating_sub(began))
}
