//! One connection, from the request for our name to its end. Answers that take the loop are awaited in
//! tasks of their own; there are never more than [`MOST_WAITING`] of them.

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zbus::message::{Flags, Type};
use zbus::{Connection, Message, MessageStream};

use super::calls::{self, Call};
use crate::systemd::bus::CALL_DEADLINE;

use super::{Answer, Asked, NAME, News, PATH, Properties, Refusal};

/// Calls that may wait for the loop at the same time.
const MOST_WAITING: usize = 16;

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The answer to a request for a name that somebody else has: we are next.
const IN_QUEUE: u32 = 2;

/// Why a session ended.
pub(super) enum Ended {
    /// The loop let go of us.
    Told,
    /// The connection ended, for that reason.
    Lost(String),
}

/// Takes the name and serves until the connection, or the loop, ends.
pub(super) async fn hold(
    connection: &Connection,
    properties: &mut Properties,
    asked: &mpsc::Sender<Asked>,
    news: &mut mpsc::Receiver<News>,
) -> Ended {
    match serve(connection, properties, asked, news).await {
        Ok(()) => Ended::Told,
        Err(error) => Ended::Lost(error.to_string()),
    }
}

async fn serve(
    connection: &Connection,
    properties: &mut Properties,
    asked: &mpsc::Sender<Asked>,
    news: &mut mpsc::Receiver<News>,
) -> zbus::Result<()> {
    // Before the name is ours, so that no call is missed.
    let mut messages = MessageStream::from(connection);
    let mut is_owner = request_name(connection).await?;
    // The loop may be gone already, which `news` tells below.
    let _ = asked.send(Asked::NameTaken(!is_owner)).await;
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message.transpose()? else {
                    return Err(zbus::Error::Failure("end of stream".to_owned()));
                };
                match message.message_type() {
                    Type::MethodCall => answer(connection, message, properties, asked, &mut waiting).await?,
                    Type::Signal => {
                        if let Some(is_ours) = told_of_name(&message) && is_ours != is_owner {
                            is_owner = is_ours;
                            let _ = asked.send(Asked::NameTaken(!is_owner)).await;
                        }
                    }
                    Type::MethodReturn | Type::Error => {}
                }
            }
            latest = news.recv() => {
                let Some(latest) = latest else {
                    // The loop dropped what it was asked: whoever waits is told.
                    while waiting.join_next().await.is_some() {}
                    return Ok(());
                };
                if is_owner {
                    tell(connection, properties, &latest).await?;
                }
                *properties = latest.properties;
            }
            Some(_) = waiting.join_next(), if !waiting.is_empty() => {}
        }
    }
}

/// True when the name is ours now; otherwise it becomes ours when its owner lets go of it.
async fn request_name(connection: &Connection) -> zbus::Result<bool> {
    let body = (NAME, 0_u32);
    let reply = connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "RequestName", &body);
    let reply = tokio::time::timeout(CALL_DEADLINE, reply).await;
    let reply = reply.map_err(|_| zbus::Error::Failure("no answer to RequestName".to_owned()))??;
    Ok(reply.body().deserialize::<u32>()? != IN_QUEUE)
}

/// Whether the bus says that the name became ours, or another's.
fn told_of_name(message: &Message) -> Option<bool> {
    let header = message.header();
    if header.sender().map(|sender| sender.as_str()) != Some(DBUS) {
        return None;
    }
    let is_ours = match header.member()?.as_str() {
        "NameAcquired" => true,
        "NameLost" => false,
        _ => return None,
    };
    let body = message.body();
    (body.deserialize::<&str>().ok()? == NAME).then_some(is_ours)
}

async fn answer(
    connection: &Connection,
    message: Message,
    properties: &Properties,
    asked: &mpsc::Sender<Asked>,
    waiting: &mut JoinSet<()>,
) -> zbus::Result<()> {
    let is_silent = message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED);
    let call = match calls::read(&message) {
        Ok(call) => call,
        Err(_) if is_silent => return Ok(()),
        Err(refusal) => return refuse(connection, &message, refusal).await,
    };
    let header = message.header();
    match call {
        Call::Ping if !is_silent => return connection.reply(&header, &()).await,
        Call::Introspect(xml) if !is_silent => return connection.reply(&header, &xml).await,
        Call::Get(name) if !is_silent => {
            return connection.reply(&header, &calls::value(properties, name)).await;
        }
        Call::GetAll if !is_silent => {
            return connection.reply(&header, &calls::changed(None, properties)).await;
        }
        Call::Ping | Call::Introspect(_) | Call::Get(_) | Call::GetAll => return Ok(()),
        Call::Sync | Call::Status | Call::Refresh { .. } => {}
    }
    let room = if waiting.len() < MOST_WAITING { asked.try_reserve().ok() } else { None };
    let Some(room) = room else {
        return if is_silent { Ok(()) } else { refuse(connection, &message, Refusal::Busy).await };
    };
    let connection = connection.clone();
    drop(header);
    match call {
        Call::Sync => {
            let (reply, done) = oneshot::channel();
            room.send(Asked::Sync(reply));
            waiting.spawn_local(async move {
                let done = arrived(done).await.map(|done| (done.written, done.failed, done.findings));
                settle(&connection, &message, done, is_silent).await;
            });
        }
        Call::Refresh { login, is_forced } => {
            let (reply, done) = oneshot::channel();
            room.send(Asked::Refresh { login, is_forced, reply });
            waiting.spawn_local(async move {
                let done = arrived(done).await;
                let done = done.map(|(outcome, detail)| (outcome, calls::carried(&detail)));
                settle(&connection, &message, done, is_silent).await;
            });
        }
        _ => {
            let (reply, done) = oneshot::channel();
            room.send(Asked::Status(reply));
            waiting.spawn_local(async move {
                settle(&connection, &message, arrived(done).await, is_silent).await;
            });
        }
    }
    Ok(())
}

/// The loop's answer; it stops when it drops the question.
async fn arrived<T>(done: oneshot::Receiver<Answer<T>>) -> Answer<T> {
    done.await.unwrap_or(Err(Refusal::Stopping))
}

async fn settle<B>(connection: &Connection, message: &Message, done: Answer<B>, is_silent: bool)
where
    B: serde::Serialize + zbus::DynamicType,
{
    if is_silent {
        return;
    }
    let sent = match done {
        Ok(body) => connection.reply(&message.header(), &body).await,
        Err(refusal) => refuse(connection, message, refusal).await,
    };
    // A lost connection is found by the session itself.
    if let Err(error) = sent {
        tracing::debug!("an answer on the bus could not be sent: {error}");
    }
}

async fn refuse(connection: &Connection, message: &Message, refusal: Refusal) -> zbus::Result<()> {
    connection.reply_error(&message.header(), refusal.name(), &refusal.sentence()).await
}

/// Tells whoever listens what a turn brought.
async fn tell(connection: &Connection, before: &Properties, news: &News) -> zbus::Result<()> {
    let signal = |member: &'static str| (None::<&str>, PATH, NAME, member);
    for (login, generation) in &news.rotated {
        let (to, path, interface, member) = signal("Rotated");
        let body = (login.as_str(), generation.as_str());
        connection.emit_signal(to, path, interface, member, &body).await?;
    }
    for finding in &news.raised {
        let (to, path, interface, member) = signal("FindingRaised");
        let [subject, summary, next] =
            [&finding.subject, &finding.summary, &finding.next].map(|t| calls::carried(t));
        let body = (finding.code.as_str(), finding.severity.as_str(), subject, summary, next);
        connection.emit_signal(to, path, interface, member, &body).await?;
    }
    for finding in &news.cleared {
        let (to, path, interface, member) = signal("FindingCleared");
        let body = (finding.code.as_str(), calls::carried(&finding.subject));
        connection.emit_signal(to, path, interface, member, &body).await?;
    }
    let changed = calls::changed(Some(before), &news.properties);
    if !changed.is_empty() {
        let body = (NAME, changed, Vec::<&str>::new());
        connection.emit_signal(None::<&str>, PATH, PROPERTIES, "PropertiesChanged", &body).await?;
    }
    Ok(())
}
