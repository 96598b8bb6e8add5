//! Telling people: what `core::alert` decides is sent in tasks beside the loop, one at a time for each
//! channel, and noted when it was delivered. A channel that fails or hangs holds up nothing but itself.
//! The dead-man's signal goes out after completed turns, and not when a pass could not be made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::alerts::{self, Channel, Receipt, Undelivered, heartbeat};
use crate::base::code::Severity;
use crate::base::credential::SourceReading;
use crate::base::fingerprint::FingerprintKey;
use crate::base::time::Timestamp;
use crate::core::alert::decide::{self, Ear, JOURNAL, Order, Rules, Scene};
use crate::core::alert::memory::{AlertMemory, Refusal};
use crate::core::alert::{Event, HEARTBEAT, Message};
use crate::core::event::What;
use crate::core::health;
use crate::core::model::Observed;
use crate::daemon::history;
use crate::daemon::journal;
use crate::daemon::pass::PassReport;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::clock;

/// How long sending may still take after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How often the dead-man's signal goes out.
const BEAT: Duration = Duration::from_secs(300);

/// Something that was being sent and is over.
#[derive(Debug)]
pub enum Sent {
    /// A message.
    Message(Box<Order>, Result<Receipt, Undelivered>),
    /// The dead-man's signal.
    Beat(Result<(), Undelivered>),
}

/// What is told and was told.
#[derive(Debug)]
pub struct Alerting {
    memory: AlertMemory,
    channels: Vec<Channel>,
    rules: Rules,
    heartbeat: Option<String>,
    busy: BTreeSet<String>,
    /// When (time since boot) the last signal went out.
    beaten_at: Option<Duration>,
    is_beating: bool,
    /// How far the wall clock was ahead of the believed time, in milliseconds.
    ahead: i64,
    is_unsaved: bool,
    tasks: JoinSet<Sent>,
}

/// The rules that a configuration makes for these channels.
#[must_use]
pub fn rules(world: &World, channels: &[Channel]) -> Rules {
    let ear = |channel: &Channel| Ear { key: channel.key.clone(), name: channel.name.clone() };
    Rules {
        channels: channels.iter().map(ear).collect(),
        remind: world.settings.alerting.remind,
        login_deadline: world.settings.alerting.login_deadline.clone(),
        host: world.surroundings.host_name(),
    }
}

/// The channels of a configuration.
#[must_use]
pub fn channels(world: &World, key: Option<&FingerprintKey>) -> Vec<Channel> {
    alerts::channels(&world.settings.alerts, &world.surroundings, key)
}

/// When each login ends by itself.
fn ends(observed: &Observed) -> BTreeMap<String, Timestamp> {
    let end = |source: &crate::core::model::ObservedSource| match &source.reading {
        SourceReading::Ok(credential) => {
            health::login_end(credential).map(|end| (source.login.to_string(), end))
        }
        _ => None,
    };
    observed.sources.iter().filter_map(end).collect()
}

/// Puts on record who was told, or was not.
fn remember(state: &StateDir, channel: &str, stage: &str, message: &Message) {
    let alerted = message.code.map(|code| What::Alerted {
        channel: channel.to_owned(),
        stage: stage.to_owned(),
        code,
        subject: message.subject.clone(),
    });
    history::note(state, alerted);
}

impl Alerting {
    /// With what was told before this start.
    #[must_use]
    pub fn new(world: &World, state: &StateDir, key: &FingerprintKey) -> Self {
        let channels = channels(world, Some(key));
        let (memory, is_damaged) = state.alerts_as_they_are();
        if is_damaged {
            tracing::warn!("alerts.json could not be read as a whole: what was told may be told once more");
        }
        let mut alerting = Self {
            memory,
            rules: rules(world, &channels),
            channels,
            heartbeat: world.settings.alerting.heartbeat_url.clone(),
            busy: BTreeSet::new(),
            beaten_at: None,
            is_beating: false,
            ahead: 0,
            is_unsaved: false,
            tasks: JoinSet::new(),
        };
        alerting.forget_heartbeat();
        alerting
    }

    /// A signal that is not sent any more is in no trouble.
    fn forget_heartbeat(&mut self) {
        if self.heartbeat.is_none() {
            self.memory.trouble.remove(HEARTBEAT);
        }
    }

    /// Goes on with another configuration; what was told stays told, and channels that failed are tried
    /// at once.
    pub fn reconfigure(&mut self, world: &World, key: &FingerprintKey) {
        self.channels = channels(world, Some(key));
        self.rules = rules(world, &self.channels);
        self.heartbeat.clone_from(&world.settings.alerting.heartbeat_url);
        self.beaten_at = None;
        self.forget_heartbeat();
        self.memory.forget_pauses(self.now());
    }

    /// Starts to send what is due after a pass, and says how long it is until more is.
    pub fn turn(&mut self, world: &World, state: &StateDir, report: &PassReport) -> Duration {
        let before = self.memory.clone();
        let now = report.clock.now;
        self.ahead = report.clock.ahead();
        let ends = ends(&report.observed);
        let wake_at = loop {
            let scene = Scene {
                findings: &report.memory.findings,
                ends: &ends,
                desired: &world.desired,
                busy: &self.busy,
                now,
            };
            let decision = decide::decide(&mut self.memory, &scene, &self.rules);
            let mut is_told = false;
            for order in decision.orders {
                if order.channel == JOURNAL {
                    is_told = true;
                    if order.message.event == Event::Reminder {
                        journal::reminder(&order.message);
                    }
                    self.memory.note_sent(JOURNAL, &order.stamp, None, now);
                } else {
                    self.start(order);
                }
            }
            if !is_told {
                break decision.wake_at;
            }
        };
        if self.memory != before {
            self.save(state);
        }
        let next = wake_at.map_or(Duration::MAX, |at| at.since(now).max(Duration::from_millis(1)));
        next.min(self.beat(report))
    }

    fn start(&mut self, order: Order) {
        let Some(channel) = self.channels.iter().find(|channel| channel.key == order.channel).cloned() else {
            return;
        };
        if self.busy.insert(order.channel.clone()) {
            self.tasks.spawn_local(async move {
                let outcome = alerts::send(&channel, &order.message, order.handle.as_deref()).await;
                Sent::Message(Box::new(order), outcome)
            });
        }
    }

    /// Sends the signal when it is time, and says how long it is until the next.
    fn beat(&mut self, report: &PassReport) -> Duration {
        let Some(url) = self.heartbeat.clone() else { return Duration::MAX };
        let now = clock::boottime();
        let rest = self.beaten_at.map_or(Duration::ZERO, |at| BEAT.saturating_sub(now.saturating_sub(at)));
        if !rest.is_zero() {
            return rest;
        }
        if !self.is_beating {
            self.is_beating = true;
            let worst = report.findings.iter().map(|finding| finding.severity).max();
            let count = report.findings.iter().filter(|f| f.severity > Severity::Notice).count();
            let worst = worst.filter(|worst| *worst > Severity::Notice).map_or("ok", Severity::as_str);
            let text = format!("tokensink on {}: {worst}, {count} findings\n", self.rules.host);
            self.tasks.spawn_local(async move { Sent::Beat(heartbeat::beat(&url, text).await) });
        }
        self.beaten_at = Some(now);
        BEAT
    }

    /// The next sending that ends; never, while there is none.
    pub async fn next(&mut self) -> Sent {
        match self.tasks.join_next().await {
            Some(Ok(sent)) => sent,
            // A task of ours cannot panic (the program would abort) and is never cancelled.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Notes the end of a sending. True when there may be more to do at once.
    pub fn completed(&mut self, sent: Sent, state: &StateDir) -> bool {
        let now = self.now();
        let had_trouble = !self.memory.trouble.is_empty();
        match sent {
            Sent::Message(order, outcome) => {
                self.busy.remove(&order.channel);
                let channel = self.channels.iter().find(|channel| channel.key == order.channel).cloned();
                // It is not configured any more.
                let Some(channel) = channel else { return true };
                match outcome {
                    Ok(receipt) => {
                        self.memory.note_sent(&order.channel, &order.stamp, receipt.handle, now);
                        self.save(state);
                        journal::alert_sent(&channel.name, &order.message);
                        remember(state, &channel.name, order.message.event.as_str(), &order.message);
                    }
                    Err(refused) => {
                        let refusal = refusal(&channel.name, refused, channel.may_be_absent());
                        journal::alert_not_sent(&channel.name, &order.message, &refusal.why);
                        remember(state, &channel.name, "failed", &order.message);
                        self.memory.note_failed(&order.channel, refusal, now);
                        self.save(state);
                    }
                }
                true
            }
            Sent::Beat(outcome) => {
                self.is_beating = false;
                match outcome {
                    Ok(()) if self.memory.trouble.remove(HEARTBEAT).is_none() => return false,
                    Ok(()) => {}
                    Err(refused) => {
                        tracing::debug!("the dead-man's signal was not taken: {refused}");
                        self.memory.note_failed(HEARTBEAT, refusal(HEARTBEAT, refused, false), now);
                    }
                }
                self.save(state);
                had_trouble || !self.memory.trouble.is_empty()
            }
        }
    }

    /// Lets what is being sent end, for a short time. What is broken off is sent at the next start.
    pub async fn finish(&mut self, state: &StateDir) {
        let drain = async {
            while let Some(sent) = self.tasks.join_next().await {
                if let Ok(sent) = sent {
                    self.completed(sent, state);
                }
            }
        };
        let _ = tokio::time::timeout(STOP_GRACE, drain).await;
    }

    /// The believed time.
    fn now(&self) -> Timestamp {
        clock::now().moved(self.ahead.saturating_neg())
    }

    fn save(&mut self, state: &StateDir) {
        self.memory.format_version = AlertMemory::VERSION;
        match state.save_alerts(&self.memory) {
            Ok(()) => self.is_unsaved = false,
            // What was told is known here as long as we live; said once.
            Err(error) if !self.is_unsaved => {
                self.is_unsaved = true;
                tracing::error!("what was told could not be recorded: {error}");
            }
            Err(_) => {}
        }
    }
}

fn refusal(name: &str, refused: Undelivered, may_be_absent: bool) -> Refusal {
    Refusal {
        name: name.to_owned(),
        why: refused.why,
        is_lasting: refused.is_lasting,
        retry_after: refused.retry_after,
        may_be_absent,
    }
}
