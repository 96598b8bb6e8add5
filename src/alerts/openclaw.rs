//! A message to a phone by OpenClaw's own channels: `openclaw message send --target=… --message=…`, seen
//! with 2026.1.29, 2026.2.26 and 2026.9.6 (`openclaw send` is an unknown command in each); it ends with 1
//! when nothing was delivered. An extra only: 2026.2.26 sends by itself, 2026.9.6 asks its gateway to. The
//! text stands in the arguments of the command, where every user of the host may read it, so an address of
//! a login in progress is left out.

use std::time::Duration;

use super::{Around, Undelivered, command};
use crate::config::settings::AlertSettings;
use crate::core::alert::Message;
use crate::core::alert::words::clipped;

/// How long it may take: on two busy processors the CLI needed 35 s to come to its end.
const DEADLINE: Duration = Duration::from_secs(120);
/// A message of every channel may be that long, in bytes.
const TEXT_LIMIT: usize = 1500;

/// Sends a message; exit status 0 means delivered.
pub(super) async fn send(
    settings: &AlertSettings,
    around: &Around,
    message: &Message,
) -> Result<(), Undelivered> {
    let program = settings.command.clone().unwrap_or_else(|| vec!["openclaw".to_owned()]);
    let text = clipped(&format!("{}\n{}", message.title, message.body), TEXT_LIMIT);
    let target = settings.target.as_deref().unwrap_or_default();
    // With `=`, because the target of a group may begin with a minus.
    let mut argv = program;
    argv.extend(["message".to_owned(), "send".to_owned(), format!("--target={target}")]);
    argv.extend(settings.channel.iter().map(|channel| format!("--channel={channel}")));
    argv.push(format!("--message={text}"));
    let mut env = around.environment.clone();
    env.insert("NO_COLOR".to_owned(), "1".to_owned());
    command::run("openclaw", argv, env, None, DEADLINE).await
}
