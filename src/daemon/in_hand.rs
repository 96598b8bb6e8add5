//! Long actions in hand: restarts and commands, each in a task of its own with its own deadline.
//! The loop starts them, hears of their end, and never waits for one, but for the moment in which
//! a restart is submitted.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::base::fingerprint::FingerprintKey;
use crate::base::id::{GatewayId, LoginId, SinkId};
use crate::base::time::Timestamp;
use crate::config::settings::LoginSettings;
use crate::core::memory::Memory;
use crate::core::model::{Delivery, Observed, TargetId};
use crate::core::refresh::Outcome;
use crate::core::schedule::{Step, Way};
use crate::daemon::apply::{self, Attempt};
use crate::daemon::asked;
use crate::daemon::delivery;
use crate::daemon::fetch;
use crate::daemon::journal;
use crate::daemon::pass::{PassError, PassReport};
use crate::daemon::refresh;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::dbus::{Answer, Refreshed};
use crate::gateway::unit::Managers;
use crate::sys::clock;

/// How long a pass waits at most for its restart jobs to be submitted before it records itself:
/// both are awaited by somebody, and a submission takes 2 ms with a healthy bus.
const HEAD_START: Duration = Duration::from_millis(50);
/// How long actions may still take after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// The same while a refresh is among them: the request (30 s) and the wait for the write lock
/// (25 s). Within systemd's own 90 s.
const REFRESH_GRACE: Duration = Duration::from_secs(65);
/// How long what was tried is left alone, at least, when not even a failure could be recorded.
const HOLD: Duration = Duration::from_secs(60);

/// What was tried, with an outcome that is nowhere on record.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Gateway(GatewayId),
    Login(LoginId),
    Target(TargetId),
}

/// An action that ended.
#[derive(Debug)]
pub enum Completed {
    /// An attempt on a gateway; `None` when another process sees to it.
    Applied(GatewayId, Option<Attempt>),
    /// A command sink was handed the credential, or not.
    Delivered(Delivery, Result<Result<(), String>, PassError>),
    /// A refresh of a login.
    Refreshed(LoginId, Result<Outcome, PassError>),
    /// A refresh of a login that somebody asked for, and who.
    Asked(LoginId, Box<asked::Done>, oneshot::Sender<Answer<Refreshed>>),
    /// The file of a login was read in its container, or not.
    Fetched(LoginId),
    /// A server was asked for the time.
    AskedTime(Result<(), PassError>),
}

/// The ends of attempts' beginnings: each ends when its attempt is under way.
pub type Begun = Vec<oneshot::Receiver<Infallible>>;

/// Actions in hand, and what was said of those that wait.
#[derive(Debug, Default)]
pub struct InHand {
    applying: BTreeSet<GatewayId>,
    delivering: BTreeSet<TargetId>,
    announced: BTreeMap<GatewayId, Timestamp>,
    refreshing: BTreeSet<LoginId>,
    is_asking_time: bool,
    /// When (monotonic) each login that is in a container was last read there; none while it is.
    fetched: BTreeMap<LoginId, Option<Duration>>,
    /// Until when (monotonic) each is left alone.
    held: BTreeMap<Held, Duration>,
    tasks: JoinSet<Completed>,
    managers: Managers,
}

impl InHand {
    fn hold(&mut self, what: Held, span: Duration) {
        self.held.insert(what, clock::monotonic().saturating_add(span));
    }

    /// The poll looks again.
    fn is_held(&self, what: &Held) -> bool {
        self.held.get(what).is_some_and(|until| *until > clock::monotonic())
    }

    /// Starts an attempt on every gateway that is due and has none in hand. One that reads what is
    /// about to be delivered waits for the end of that, so that it follows once.
    pub fn start_due(
        &mut self,
        world: &World,
        state: &StateDir,
        memory: &Memory,
        awaited: &[Delivery],
        now: Timestamp,
    ) -> Begun {
        let mut begun = Vec::new();
        let awaited: BTreeSet<&SinkId> = awaited
            .iter()
            .filter(|delivery| apply::held_back(memory, delivery, now).is_none())
            .map(|delivery| &delivery.target.sink)
            .collect();
        for waiting in apply::waiting(world, memory, now) {
            let id = waiting.gateway.id.clone();
            if waiting.at > now {
                // Said once for each change; a failed attempt has said itself when it comes again.
                let is_news = self.announced.insert(id.clone(), waiting.change) != Some(waiting.change);
                if is_news && !waiting.has_failed && !waiting.is_busy {
                    journal::waiting(&id, waiting.at, waiting.at.since(now));
                }
            } else if !waiting.gateway.sinks.iter().any(|sink| awaited.contains(sink))
                && !self.is_held(&Held::Gateway(id.clone()))
                && self.applying.insert(id.clone())
            {
                if waiting.is_busy && !waiting.waits_for_idle {
                    journal::waits_no_longer(&id);
                }
                let (under_way, receiver) = oneshot::channel();
                let means = apply::means(world, &self.managers);
                let instances = apply::instances(world, memory, &waiting.gateway);
                let attempt =
                    apply::attempt(state.clone(), waiting, instances, means, Duration::ZERO, under_way);
                self.tasks.spawn_local(async move { Completed::Applied(id, attempt.await) });
                begun.push(receiver);
            }
        }
        begun
    }

    /// Hands the credential to a command, unless that is being done.
    pub fn start_delivery(
        &mut self,
        order: Delivery,
        world: &Rc<World>,
        state: &StateDir,
        key: &FingerprintKey,
        observed: &Rc<Observed>,
    ) {
        if self.is_held(&Held::Target(order.target.clone())) || !self.delivering.insert(order.target.clone())
        {
            return;
        }
        let (world, state, key) = (Rc::clone(world), state.clone(), key.clone());
        let observed = Rc::clone(observed);
        self.tasks.spawn_local(async move {
            let outcome = delivery::deliver(&world, &state, &key, &order, &observed).await;
            Completed::Delivered(order, outcome)
        });
    }

    /// Reads every login that is in a container, once in each poll.
    pub fn start_fetches(&mut self, world: &Rc<World>, state: &StateDir) {
        let is_due = |at: Option<&Option<Duration>>| match at {
            None => true,
            Some(None) => false,
            Some(Some(at)) => clock::monotonic().saturating_sub(*at) >= world.settings.poll,
        };
        for login in world.settings.logins.iter().filter(|login| login.container.is_some()) {
            if is_due(self.fetched.get(&login.id)) {
                self.fetched.insert(login.id.clone(), None);
                let (world, state, login) = (Rc::clone(world), state.clone(), login.clone());
                self.tasks.spawn_local(async move {
                    fetch::fetch(&world, &state, &login).await;
                    Completed::Fetched(login.id)
                });
            }
        }
    }

    /// Starts every refresh that is due, and says how long it is until the next one.
    pub fn start_refreshes(
        &mut self,
        world: &Rc<World>,
        state: &StateDir,
        key: &FingerprintKey,
        report: &PassReport,
    ) -> Option<Duration> {
        let mut next: Option<Timestamp> = None;
        for login in &world.settings.logins {
            if self.is_held(&Held::Login(login.id.clone())) {
                continue;
            }
            let known = report.memory.logins.get(&login.id);
            let way = refresh::way(login, known, report.clis.get(&login.id), None);
            let credential = refresh::credential(&report.observed, &login.id);
            let generation = credential.map(|c| key.generation(c));
            let step = refresh::step(state, login, credential, &report.memory, way, key, &report.clock);
            match step {
                Step::Refresh | Step::Resolve if self.refreshing.insert(login.id.clone()) => {
                    let only_resolves = step == Step::Resolve;
                    let (world, state, key, login) =
                        (Rc::clone(world), state.clone(), key.clone(), login.clone());
                    self.tasks.spawn_local(async move {
                        let outcome = refresh::Run {
                            world: &world,
                            state: &state,
                            key: &key,
                            login: &login,
                            way: way.unwrap_or(Way::Direct),
                            generation,
                            is_forced: false,
                            only_resolves,
                        };
                        let outcome = outcome.run().await;
                        Completed::Refreshed(login.id.clone(), outcome)
                    });
                }
                Step::AskTime if !self.is_asking_time => {
                    self.is_asking_time = true;
                    let (state, login) = (state.clone(), login.clone());
                    self.tasks.spawn_local(async move {
                        Completed::AskedTime(refresh::ask_time(&state, &login).await)
                    });
                }
                Step::Wait(at) => next = Some(next.map_or(at, |next| next.min(at))),
                Step::Refresh | Step::Resolve | Step::AskTime | Step::Rest(_) => {}
            }
        }
        next.map(|at| at.since(report.clock.now))
    }

    /// Starts a refresh that somebody asked for; there is never a second one of a login.
    pub fn start_asked(
        &mut self,
        world: &Rc<World>,
        state: &StateDir,
        key: &FingerprintKey,
        login: &LoginSettings,
        is_forced: bool,
        reply: oneshot::Sender<Answer<Refreshed>>,
    ) {
        if !self.refreshing.insert(login.id.clone()) {
            let (outcome, detail) = asked::Done::UNDER_WAY.words();
            // Who went away is not told.
            drop(reply.send(Ok((outcome.to_owned(), detail.to_owned()))));
            return;
        }
        let (world, state, key, login) = (Rc::clone(world), state.clone(), key.clone(), login.clone());
        self.tasks.spawn_local(async move {
            let asked =
                asked::Asked { world: &world, state: &state, key: &key, login: &login, via: None, is_forced };
            let done = asked::refresh(&asked).await;
            Completed::Asked(login.id.clone(), Box::new(done), reply)
        });
    }

    /// The next action that ends; never, while there is none in hand.
    pub async fn next(&mut self) -> Completed {
        match self.tasks.join_next().await {
            Some(Ok(done)) => done,
            // A task of ours cannot panic (the program would abort) and is never cancelled.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Notes the end of an action and tells of it.
    pub fn completed(&mut self, done: Completed) {
        match done {
            Completed::Applied(gateway, attempt) => {
                self.applying.remove(&gateway);
                if let Some(attempt) = attempt {
                    journal::attempt(&attempt);
                    // On record the change is still open, and no restart of now is known.
                    if attempt.recorded.is_err() {
                        self.hold(Held::Gateway(gateway), HOLD.max(attempt.min_interval));
                    }
                }
            }
            Completed::Refreshed(login, outcome) => {
                self.refreshing.remove(&login);
                match outcome {
                    Ok(outcome) => journal::refreshed(&login, &outcome),
                    // A command refreshes this login just now; the next turn looks again.
                    Err(PassError::Busy) => {}
                    // Nothing could be recorded, not even a wait.
                    Err(error) => {
                        tracing::error!("failed to refresh login {login}: {error}");
                        self.hold(Held::Login(login), HOLD);
                    }
                }
            }
            Completed::Asked(login, done, reply) => {
                self.refreshing.remove(&login);
                if let asked::Done::Ended(outcome) = &*done {
                    journal::refreshed(&login, outcome);
                }
                let (outcome, detail) = done.words();
                drop(reply.send(Ok((outcome.to_owned(), detail.to_owned()))));
            }
            Completed::Fetched(login) => {
                self.fetched.insert(login, Some(clock::monotonic()));
            }
            Completed::AskedTime(outcome) => {
                self.is_asking_time = false;
                if let Err(error) = outcome {
                    tracing::error!("the time that a server told could not be recorded: {error}");
                }
            }
            Completed::Delivered(delivery, outcome) => {
                self.delivering.remove(&delivery.target);
                match outcome {
                    Ok(outcome) => journal::delivered(&delivery, &outcome),
                    Err(error) => {
                        tracing::error!("the outcome of a command could not be recorded: {error}");
                        self.hold(Held::Target(delivery.target), HOLD);
                    }
                }
            }
        }
    }

    /// Lets what is in hand end. A restart that was submitted goes on without us and is on record; a
    /// refresh that was sent is not ours to break off: its answer may be the login.
    pub async fn finish(&mut self) {
        let grace = if self.refreshing.is_empty() { STOP_GRACE } else { REFRESH_GRACE };
        let drain = async {
            while let Some(done) = self.tasks.join_next().await {
                if let Ok(done) = done {
                    self.completed(done);
                }
            }
        };
        let _ = tokio::time::timeout(grace, drain).await;
    }
}

/// Waits until all of these are under way, for a short time.
pub async fn head_start(begun: Begun) {
    if begun.is_empty() {
        return;
    }
    let all = async {
        for attempt in begun {
            // Its other end is dropped, never used.
            let _ = attempt.await;
        }
    };
    let _ = tokio::time::timeout(HEAD_START, all).await;
}
