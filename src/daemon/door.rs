//! The loop's side of `org.tokensink.Daemon1`: what is asked comes in as events, a turn's news goes out.
//! Nothing waits for a bus here: what it does not take is dropped, and the next turn tells how things are.

use tokio::sync::{mpsc, oneshot};

use crate::base::code::Severity;
use crate::core::report;
use crate::daemon::apply;
use crate::daemon::pass::PassReport;
use crate::daemon::world::World;
use crate::dbus::{self, Answer, Asked, News, Properties, Refreshed, Refusal, Synced};

/// Questions that may wait for the loop.
const ROOM: usize = 16;
/// Turns whose news may wait for the bus.
const TURNS: usize = 32;

/// Where calls come in and news goes out.
#[derive(Debug)]
pub struct Door {
    asked: mpsc::Receiver<Asked>,
    news: mpsc::Sender<News>,
    task: tokio::task::JoinHandle<()>,
    version: &'static str,
    /// Somebody else has our name.
    pub is_taken: bool,
}

/// Questions of several callers that one turn, or one look, answers.
#[derive(Debug, Default)]
pub struct Batch {
    /// Who waits for a pass.
    pub syncs: Vec<oneshot::Sender<Answer<Synced>>>,
    /// Who waits for the report.
    pub reports: Vec<oneshot::Sender<Answer<String>>>,
    /// Who wants which login refreshed, by force or not.
    pub refreshes: Vec<(String, bool, oneshot::Sender<Answer<Refreshed>>)>,
    /// The name was lost or won.
    pub is_name_changed: bool,
}

impl Door {
    /// Opens it; whether there is a bus shows later.
    #[must_use]
    pub fn open(world: &World, version: &'static str) -> Self {
        let (ask, asked) = mpsc::channel(ROOM);
        let (news, heard) = mpsc::channel(TURNS);
        let task = tokio::task::spawn_local(dbus::serve(apply::buses(world), ask, heard));
        Self { asked, news, task, version, is_taken: false }
    }

    /// The next question; never, when nobody can ask any more.
    pub async fn next(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// A question with all others that wait.
    pub fn batch(&mut self, first: Asked) -> Batch {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(asked) = next {
            match asked {
                Asked::Sync(reply) => batch.syncs.push(reply),
                Asked::Status(reply) => batch.reports.push(reply),
                Asked::Refresh { login, is_forced, reply } => batch.refreshes.push((login, is_forced, reply)),
                Asked::NameTaken(is_taken) => {
                    batch.is_name_changed |= self.is_taken != is_taken;
                    self.is_taken = is_taken;
                }
            }
            next = self.asked.try_recv().ok();
        }
        batch
    }

    /// Tells what a turn brought.
    pub fn publish(&self, world: &World, report: &PassReport, headline: &str) {
        let now = report.clock.now;
        let overall = report::overall(&world.desired, &report.observed, &report.memory, now);
        let properties = Properties {
            version: self.version,
            overall: overall.as_str(),
            headline: headline.to_owned(),
            findings: serious(report),
        };
        let rotated = report.rotations.iter().map(|rotation| (rotation.login.clone(), rotation.to.clone()));
        let news = News {
            properties,
            rotated: rotated.collect(),
            raised: report.changes.raised.clone(),
            cleared: report.changes.cleared.clone(),
        };
        // A bus that takes nothing misses it; the next turn says how things are then.
        let _ = self.news.try_send(news);
    }

    /// Lets go of the name and ends.
    pub async fn close(self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
        drop((self.asked, self.news));
        let _ = tokio::time::timeout(PATIENCE, self.task).await;
    }
}

/// What a pass comes to for who asked for it.
#[must_use]
pub fn synced(report: &PassReport) -> Synced {
    Synced { written: few(report.written.len()), failed: few(report.failed.len()), findings: serious(report) }
}

/// Tells everybody who waits for a pass.
pub fn answer(syncs: Vec<oneshot::Sender<Answer<Synced>>>, synced: Option<Synced>) {
    for reply in syncs {
        // Who went away is not told.
        let _ = reply.send(synced.ok_or(Refusal::Failed));
    }
}

fn serious(report: &PassReport) -> u32 {
    few(report.findings.iter().filter(|finding| finding.severity > Severity::Notice).count())
}

fn few(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
