//! The daemon's loop. One task owns everything; events are hints, each turn looks at the world
//! again. The watchdog is fed only at the end of a completed turn.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::code::{Code, Finding, Severity};
use crate::base::fingerprint::FingerprintKey;
use crate::config::{self, ConfigDirs, ConfigError};
use crate::core::event::What;
use crate::core::health;
use crate::core::memory::Memory;
use crate::core::model::Delivery;
use crate::core::schedule;
use crate::daemon::alerting::{Alerting, Sent};
use crate::daemon::apply;
use crate::daemon::door::{self, Batch, Door};
use crate::daemon::hearing::Hearing;
use crate::daemon::history;
use crate::daemon::in_hand::{self, Completed, InHand};
use crate::daemon::journal;
use crate::daemon::look;
use crate::daemon::metrics::Textfile;
use crate::daemon::pass::{PassReport, Passes};
use crate::daemon::recovery;
use crate::daemon::settle::Settling;
use crate::daemon::store::{StateDir, StoreError};
use crate::daemon::supervisor::Supervisor;
use crate::daemon::world::World;
use crate::dbus::{self, Asked, Refusal, Synced};
use crate::sys::alarm::{Alarm, ClockWatch};
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::paths::Surroundings;
use crate::sys::watch::{self, FsKind, Hint, Watcher};
use crate::sys::{clock, resident};

/// The first event is followed at once; those that come within this time of a turn wait for its
/// end and make one turn together: the renames of a pass come back as events of our own, and a
/// storm of events must not become a storm of passes.
const COALESCE: Duration = Duration::from_millis(50);
/// How often files are looked at where inotify does not work.
const POLL_WITHOUT_INOTIFY: Duration = Duration::from_secs(5);

/// After a pass that could not be made the next is tried so soon, later each time it fails again, and with the poll at
/// the latest: a disk that failed once is no reason to leave a dead login untold for a minute.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Why the daemon could not run, or had to end.
#[derive(Debug)]
pub enum DaemonError {
    /// The configuration is not valid.
    Config(Vec<ConfigError>),
    /// There is none.
    NoConfig,
    /// Another daemon of this user runs.
    AlreadyRunning(String),
    /// Our state directory cannot be used.
    Store(StoreError),
    /// A lock of ours cannot be used.
    Lock(LockError),
    /// The system refused something the loop cannot do without.
    System(&'static str, std::io::Error),
    /// There is no inotify to be had.
    Watch(watch::LostReason),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::NoConfig => f.write_str("there is no configuration; `tokensink setup` writes one"),
            Self::AlreadyRunning(who) => write!(f, "another daemon of this user is running ({who})"),
            Self::Store(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Watch(reason) => write!(f, "files cannot be watched: {reason}"),
        }
    }
}

impl std::error::Error for DaemonError {}

/// What the daemon is started with.
#[derive(Debug)]
pub struct Start {
    /// The environment.
    pub surroundings: Surroundings,
    /// Where configuration is looked for.
    pub dirs: ConfigDirs,
    /// `--config`.
    pub only: Option<PathBuf>,
    /// The version to announce.
    pub version: &'static str,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// See [`DaemonError`]; everything that can be survived is.
pub async fn run(start: Start) -> Result<(), DaemonError> {
    let world = load(&start)?;
    let state = StateDir::of(&start.surroundings);
    state.create().map_err(DaemonError::Store)?;
    let _daemon_lock = sole_daemon(&state)?;
    // State that cannot be used now will not be usable at any pass: better not to call that ready.
    state.load().map_err(DaemonError::Store)?;
    let key = state.key_or_create().map_err(DaemonError::Store)?;
    let mut daemon = Daemon::new(start, world, state, key)?;
    recovery::recover(&daemon.world, &daemon.state).await;
    daemon.turn().await?;
    let settings = &daemon.world.settings;
    journal::started(
        daemon.start.version,
        settings.logins.len(),
        settings.sinks.len(),
        settings.gateways.len(),
    );
    let version = daemon.start.version.to_owned();
    history::note(&daemon.state, [What::Started { version }]);
    daemon.supervisor.ready(&daemon.headline);
    let why = daemon.serve().await?;
    daemon.supervisor.stopping(&format!("stopping: {why}"));
    tokio::join!(daemon.in_hand.finish(), daemon.alerting.finish(&daemon.state));
    daemon.textfile.end(&daemon.world, &daemon.state);
    history::note(&daemon.state, [What::Stopped { why: why.to_owned() }]);
    journal::stopped(why);
    daemon.door.close().await;
    Ok(())
}

fn load(start: &Start) -> Result<World, DaemonError> {
    let environment = config::Environment {
        home: start.surroundings.home.clone(),
        vars: start.surroundings.variables.clone(),
    };
    let loaded =
        config::load(&start.dirs, start.only.as_deref(), &environment).map_err(DaemonError::Config)?;
    if loaded.files.is_empty() {
        return Err(DaemonError::NoConfig);
    }
    Ok(World::new(loaded.settings, start.surroundings.clone()))
}

fn sole_daemon(state: &StateDir) -> Result<ProcessLock, DaemonError> {
    ProcessLock::try_acquire(&state.daemon_lock(), Some(clock::now())).map_err(|error| match error {
        LockError::Busy { holder, .. } => DaemonError::AlreadyRunning(
            holder.map_or_else(|| "its pid is not known".to_owned(), |holder| format!("pid {}", holder.pid)),
        ),
        other => DaemonError::Lock(other),
    })
}

/// Why the loop woke up.
enum Event {
    Files(Hint),
    Time,
    Heard,
    ClockChanged,
    Completed(Box<Completed>),
    Told(Sent),
    Asked(Asked),
    Reload,
    Stop(&'static str),
}

struct Daemon {
    start: Start,
    world: Rc<World>,
    state: StateDir,
    key: FingerprintKey,
    watcher: Watcher,
    alarm: Alarm,
    clock_watch: ClockWatch,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    supervisor: Supervisor,
    settling: Settling,
    unwatched: Vec<(String, String)>,
    in_hand: InHand,
    alerting: Alerting,
    hearing: Hearing,
    watched: Vec<PathBuf>,
    headline: String,
    last_turn: Duration,
    /// When a caller was last told how things are.
    last_look: Duration,
    door: Door,
    textfile: Textfile,
    /// What the last turn came to; `None` when its pass failed.
    synced: Option<Synced>,
    /// Turns in a row whose pass failed.
    failures: u32,
}

impl Daemon {
    fn new(start: Start, world: World, state: StateDir, key: FingerprintKey) -> Result<Self, DaemonError> {
        let system = |what| move |error| DaemonError::System(what, error);
        let on = |kind, what| signal(kind).map_err(system(what));
        let supervisor = Supervisor::new(&start.surroundings);
        let mut daemon = Self {
            watcher: Watcher::new().map_err(DaemonError::Watch)?,
            alarm: Alarm::new().map_err(system("timer"))?,
            clock_watch: ClockWatch::new().map_err(system("timer"))?,
            hangup: on(SignalKind::hangup(), "signal handler")?,
            terminate: on(SignalKind::terminate(), "signal handler")?,
            interrupt: on(SignalKind::interrupt(), "signal handler")?,
            supervisor,
            settling: Settling::default(),
            unwatched: Vec::new(),
            in_hand: InHand::default(),
            alerting: Alerting::new(&world, &state, &key),
            hearing: Hearing::default(),
            watched: Vec::new(),
            headline: String::new(),
            last_turn: Duration::ZERO,
            last_look: Duration::ZERO,
            door: Door::open(&world, start.version),
            textfile: Textfile::default(),
            synced: None,
            failures: 0,
            start,
            world: Rc::new(world),
            state,
            key,
        };
        daemon.watch();
        daemon.hearing.set(&daemon.world);
        Ok(daemon)
    }

    /// Watches the files that matter now: agents of a gateway come and go.
    fn watch(&mut self) {
        let files = self.world.watched();
        if files != self.watched {
            self.watcher.set(&files);
            self.watched = files;
        }
    }

    /// Waits for events and makes turns until a stop is asked for.
    async fn serve(&mut self) -> Result<&'static str, DaemonError> {
        resident::give_text_back();
        loop {
            let event = self.next_event().await?;
            // Nothing happened but time: what this turn touches is for nobody when it is over.
            let is_idle = matches!(event, Event::Time);
            match event {
                Event::Stop(why) => return Ok(why),
                Event::Reload => {
                    self.reload();
                    self.turn().await?;
                    self.supervisor.ready(&self.headline);
                    continue;
                }
                Event::Files(Hint::Lost { path, reason }) => {
                    let lost = (path.display().to_string(), reason.to_string());
                    if !self.unwatched.contains(&lost) {
                        self.unwatched.push(lost);
                    }
                }
                Event::Files(Hint::RescanAll) => {
                    self.unwatched.clear();
                    self.watched.clear();
                }
                Event::Files(Hint::Dirty(_)) => {}
                Event::Time | Event::Heard => {}
                Event::ClockChanged => tracing::debug!("the clock was set, looking at everything again"),
                Event::Completed(done) => self.in_hand.completed(*done),
                Event::Told(sent) => {
                    if !self.alerting.completed(sent, &self.state) {
                        continue;
                    }
                }
                Event::Asked(asked) => {
                    let batch = self.door.batch(asked);
                    self.asked(batch).await?;
                    continue;
                }
            }
            self.turn().await?;
            if is_idle {
                resident::give_text_back();
            }
        }
    }

    async fn next_event(&mut self) -> Result<Event, DaemonError> {
        let system = |error| DaemonError::System("event", error);
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Ok(Event::Stop("SIGTERM")),
            _ = self.interrupt.recv() => Ok(Event::Stop("SIGINT")),
            hint = self.watcher.next() => {
                coalesce(self.last_turn).await;
                Ok(Event::Files(hint))
            }
            () = self.hearing.wakes() => Ok(Event::Heard),
            done = self.in_hand.next() => Ok(Event::Completed(Box::new(done))),
            sent = self.alerting.next() => Ok(Event::Told(sent)),
            _ = self.hangup.recv() => Ok(Event::Reload),
            changed = self.clock_watch.changed() => changed.map(|()| Event::ClockChanged).map_err(system),
            fired = self.alarm.fired() => fired.map(|()| Event::Time).map_err(system),
            // Last: no number of calls keeps the loop from anything else.
            asked = self.door.next() => Ok(Event::Asked(asked)),
        }
    }

    /// Answers what was asked over D-Bus: with one look, and with one turn, however many asked.
    async fn asked(&mut self, batch: Batch) -> Result<(), DaemonError> {
        for (id, is_forced, reply) in batch.refreshes {
            match self.world.settings.logins.iter().find(|login| login.id.as_str() == id) {
                Some(login) => {
                    let (world, state, key) = (&self.world, &self.state, &self.key);
                    self.in_hand.start_asked(world, state, key, login, is_forced, reply);
                }
                // Who went away is not told.
                None => drop(reply.send(Err(Refusal::UnknownLogin))),
            }
        }
        if !batch.reports.is_empty() {
            coalesce(self.last_look).await;
            let report = look::report(&[], &self.world, &self.state);
            let json = serde_json::to_string(&report).map_err(|_| Refusal::Failed);
            for reply in batch.reports {
                drop(reply.send(json.clone()));
            }
            self.last_look = clock::monotonic();
        }
        if !batch.syncs.is_empty() || batch.is_name_changed {
            coalesce(self.last_turn).await;
            self.turn().await?;
            door::answer(batch.syncs, self.synced);
        }
        Ok(())
    }

    /// One turn: a pass, what follows from it, the next alarm, the watchdog.
    async fn turn(&mut self) -> Result<(), DaemonError> {
        self.watch();
        self.in_hand.start_fetches(&self.world, &self.state);
        let passes = Passes { world: &self.world, state: &self.state, key: &self.key };
        let own = self.own_findings();
        let settling = &mut self.settling;
        let unwatched = &self.unwatched;
        let world = &self.world;
        let heard = self.hearing.take();
        let mut look = || {
            let mut seen = world.observe();
            seen.observed.refused.clone_from(&heard);
            seen.observed.unwatched.clone_from(unwatched);
            seen.observed.own.clone_from(&own);
            settling.observe(&mut seen.observed, clock::monotonic());
            seen
        };
        let (in_hand, state) = (&mut self.in_hand, &self.state);
        let mut begin = |memory: &Memory, awaited: &[Delivery], now| -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(in_hand::head_start(in_hand.start_due(world, state, memory, awaited, now)))
        };
        let result = passes.pass_and_begin(&mut look, &mut begin).await;
        let mut next = self.poll();
        self.synced = result.as_ref().ok().map(door::synced);
        match result {
            Ok(report) => {
                self.failures = 0;
                journal::report(&report);
                let refresh = self.in_hand.start_refreshes(&self.world, &self.state, &self.key, &report);
                next = next.min(self.until_next(&report));
                next = next.min(refresh.unwrap_or(Duration::MAX).max(Duration::from_millis(1)));
                next = next.min(self.alerting.turn(&self.world, &self.state, &report));
                self.follow(report);
            }
            // Nothing was done; the files are as they were, and the next turn plans anew.
            Err(error) => {
                tracing::error!("pass failed, trying again: {error}");
                self.hearing.put_back(heard);
                next = next.min(AFTER_FAILURE.saturating_mul(2_u32.saturating_pow(self.failures.min(6))));
                self.failures = self.failures.saturating_add(1);
            }
        }
        self.textfile.turn(&self.world, &self.state);
        if let Some(again) = self.settling.look_again(clock::monotonic()) {
            next = next.min(again);
        }
        if let Some(interval) = self.supervisor.watchdog_interval() {
            next = next.min(interval);
        }
        self.alarm.set(next).map_err(|error| DaemonError::System("timer", error))?;
        self.supervisor.watchdog();
        self.last_turn = clock::monotonic();
        Ok(())
    }

    /// What only a running daemon can know.
    fn own_findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.door.is_taken {
            let summary =
                "another program has this name on the bus: calls go there, and nothing is told here";
            found.push(Finding::new(Code::BusNameTaken, Severity::Notice, dbus::NAME, summary));
        }
        if let (Some(why), Some(path)) = (&self.textfile.failure, &self.world.settings.textfile) {
            let path = path.display().to_string();
            let summary = format!("the metrics cannot be written to {path}: {why}");
            found.push(Finding::new(Code::MetricsFailed, Severity::Warning, path, summary));
        }
        found
    }

    /// The longest time until the next turn.
    fn poll(&self) -> Duration {
        let is_blind = |path: &PathBuf| matches!(watch::kind_of(path), FsKind::NoInotify { .. });
        let settings = &self.world.settings;
        let rest = schedule::longest_rest(settings.poll, settings.logins.iter().map(|l| l.refresh.every));
        if !self.unwatched.is_empty() || self.watched.iter().any(is_blind) {
            rest.min(POLL_WITHOUT_INOTIFY)
        } else {
            rest
        }
    }

    /// Starts what a pass asks for, and tells the service manager how things are.
    fn follow(&mut self, report: PassReport) {
        let desired = &self.world.desired;
        let line = health::headline(
            desired,
            &report.observed,
            &report.memory,
            &report.plan,
            &report.findings,
            report.clock.now,
        );
        self.door.publish(&self.world, &report, &line);
        let observed = Rc::new(report.observed);
        for delivery in report.deliveries {
            if apply::held_back(&report.memory, &delivery, report.at).is_none() {
                self.in_hand.start_delivery(delivery, &self.world, &self.state, &self.key, &observed);
            }
        }
        if line != self.headline {
            self.supervisor.status(&line);
            self.headline = line;
        }
    }

    fn until_next(&self, report: &PassReport) -> Duration {
        let waiting = apply::waiting(&self.world, &report.memory, report.at);
        let due = waiting.into_iter().map(|w| w.at).filter(|at| *at > report.at).min();
        let deliveries =
            report.deliveries.iter().filter_map(|d| apply::held_back(&report.memory, d, report.at));
        let wanted = [due, report.plan.wake_at].into_iter().flatten().chain(deliveries).min();
        wanted.map_or(Duration::MAX, |at| at.since(report.at).max(Duration::from_millis(1)))
    }

    fn reload(&mut self) {
        self.supervisor.reloading();
        match load(&self.start) {
            Ok(world) => {
                self.world = Rc::new(world);
                self.hearing.set(&self.world);
                self.unwatched.clear();
                self.watched.clear();
                self.alerting.reconfigure(&self.world, &self.key);
                let settings = &self.world.settings;
                journal::reloaded(settings.logins.len(), settings.sinks.len(), settings.gateways.len());
            }
            Err(error) => tracing::error!("configuration is not valid, keeping the previous one: {error}"),
        }
    }
}

/// Waits until a turn, or a look, that follows the last one closely is one for all that came meanwhile.
async fn coalesce(last: Duration) {
    let quiet = clock::monotonic().saturating_sub(last);
    // A sleep of no time at all would still last a tick of the timer, a millisecond.
    if let Some(pause) = COALESCE.checked_sub(quiet).filter(|pause| !pause.is_zero()) {
        tokio::time::sleep(pause).await;
    }
}
