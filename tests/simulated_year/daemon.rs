//! A turn of the daemon: it notes the clock, plans, judges, and does what `core::schedule` says.

use tokensink::base::code::Severity;
use tokensink::base::time::Timestamp;
use tokensink::core::clock::Judgement;
use tokensink::core::memory::Memory;
use tokensink::core::model::{Desired, DesiredLogin, Observed, ObservedSource, Plan};
use tokensink::core::schedule::{self, Facts, Step, Unfinished, Way};
use tokensink::core::{health, plan};

use super::login::{Login, Phase, Task, key, span};
use super::random::Random;
use super::server::Sender;
use super::world::{DAY, Event, HOUR, MINUTE, Ms, World};

#[derive(Debug)]
pub struct Daemon {
    pub is_up: bool,
    /// Changes with every start: what an earlier one had in mind is gone.
    pub life: u64,
    /// What is on disk.
    pub memory: Memory,
    desired: Desired,
    observed: Observed,
    plan: Plan,
    pub tasks: u64,
    /// `poll` of the configuration.
    poll: Ms,
    alarm: Ms,
}

impl Daemon {
    pub fn new(logins: &[Login], random: &mut Random) -> Self {
        let desired = Desired {
            logins: logins
                .iter()
                .map(|login| DesiredLogin {
                    id: login.id.clone(),
                    provider: login.provider(),
                    label: String::new(),
                    refresh_mode: "auto",
                })
                .collect(),
            warn: span(DAY),
            ahead: std::time::Duration::ZERO,
            ..Desired::default()
        };
        Self {
            is_up: false,
            life: 0,
            memory: Memory::default(),
            desired,
            observed: Observed::default(),
            plan: Plan::default(),
            tasks: 0,
            poll: random.scale(20 * MINUTE, DAY),
            alarm: 0,
        }
    }

    pub fn judge(&self, world_reading: &tokensink::base::time::ClockReading) -> Judgement {
        self.memory.clock.judge(world_reading)
    }
}

impl World {
    pub fn turn(&mut self) {
        self.checks.figures.turns += 1;
        let reading = self.reading();
        self.clock.is_anchored = true;
        self.daemon.memory.clock.note(&reading);
        let clock = self.daemon.judge(&reading);
        self.check_belief(&clock);
        self.observe(&clock);
        let daemon = &mut self.daemon;
        let found =
            health::findings(&daemon.desired, &daemon.observed, &daemon.memory, &daemon.plan, &key(), &clock);
        let changes = daemon.memory.replace_findings(&found, clock.wall);
        let sent = changes.raised.iter().filter(|f| f.severity > Severity::Notice && f.caused_by.is_none());
        self.checks.figures.findings += sent.count() as u64;
        let mut next: Option<Timestamp> = None;
        for login in 0..self.logins.len() {
            match self.step(login, &clock) {
                Step::Refresh if self.logins[login].task.is_none() => {
                    self.start_task(login, Sender::Us, false);
                }
                Step::Resolve if self.logins[login].task.is_none() => {
                    self.start_task(login, Sender::Us, true);
                }
                Step::AskTime => self.ask_time(),
                Step::Wait(at) => next = Some(next.map_or(at, |next| next.min(at))),
                Step::Refresh | Step::Resolve | Step::Rest(_) => {}
            }
        }
        let every = self.logins.iter().map(|_| span(6 * HOUR));
        let rest = schedule::longest_rest(span(self.daemon.poll), every);
        let after = next.map_or(rest, |at| at.since(clock.now).min(rest));
        let at = self.now + Ms::try_from(after.as_millis()).unwrap();
        // One alarm; an earlier one that is still to come makes a turn too many, which is harmless.
        if self.daemon.alarm <= self.now || self.daemon.alarm > at {
            self.daemon.alarm = at;
            self.at(at - self.now, Event::Turn { life: self.daemon.life });
        }
        self.call_people();
    }

    /// Looks at the sources; a new generation is remembered.
    fn observe(&mut self, clock: &Judgement) {
        let sources: Vec<ObservedSource> = self
            .logins
            .iter()
            .map(|login| ObservedSource {
                login: login.id.clone(),
                path: String::new(),
                reading: login.reading(),
                mode: Some(0o600),
                settled: true,
            })
            .collect();
        let daemon = &mut self.daemon;
        let is_same = daemon.observed.sources.len() == sources.len()
            && daemon.observed.sources.iter().zip(&sources).all(|(old, new)| old.reading == new.reading);
        if is_same {
            return;
        }
        daemon.observed.sources = sources;
        let planned = plan::plan(&daemon.desired, &daemon.observed, &daemon.memory, &key(), clock.wall);
        plan::remember(&mut daemon.memory, &daemon.observed, &planned, &key(), clock);
        let seen: Vec<_> = planned.rotations.iter().map(|r| r.login.clone()).collect();
        daemon.plan = plan::plan(&daemon.desired, &daemon.observed, &daemon.memory, &key(), clock.wall);
        let is_off = self.clock.is_excused;
        for login in self.logins.iter_mut().filter(|l| seen.contains(&l.id)) {
            let written = login.held.as_ref().map_or(0, |held| held.written_ahead);
            login.is_excused = is_off || (written - self.clock.ahead).abs() > MINUTE;
        }
    }

    pub fn step(&self, number: usize, clock: &Judgement) -> Step {
        let login = &self.logins[number];
        let known = self.daemon.memory.logins.get(&login.id);
        let mut rules = login.rules();
        let is_cli_live = self.now < login.session_until;
        if login.way() == Way::Direct && schedule::is_kept_by_others(known) && is_cli_live {
            rules = schedule::yielding(rules, login.provider());
        }
        let held = login.held.as_ref();
        schedule::step(&Facts {
            source: held.map(|held| (&held.credential, &held.generation)),
            refresh: held.map(|held| &held.refresh),
            known,
            unfinished: login.intent.as_ref().map(|intent| match intent.answer {
                Some(_) => Unfinished::Answered,
                None => Unfinished::Open,
            }),
            rules: Ok(rules),
            clock,
            asks_at: self.daemon.memory.clock.asks_at(clock),
        })
    }

    fn ask_time(&mut self) {
        let reading = self.reading();
        let (is_connected, memory) = (self.is_connected(), &mut self.daemon.memory);
        let clock = memory.clock.judge(&reading);
        // One question for all logins of a turn.
        if memory.clock.asks_at(&clock).is_none_or(|at| at > clock.now) {
            return;
        }
        self.checks.figures.asked += 1;
        if is_connected {
            let ahead = self.clock.ahead + self.random.between(0, 3000);
            memory.confirm_clock(&reading, ahead);
        } else {
            memory.clock.note_unanswered(&clock);
        }
        self.hint();
    }

    /// A daemon that dies leaves what is on disk, and nothing else.
    pub fn crash(&mut self, why: &'static str) {
        self.checks.incident_of_all();
        self.daemon.is_up = false;
        self.daemon.life += 1;
        self.daemon.alarm = 0;
        for login in 0..self.logins.len() {
            if let Some(Task { phase: Phase::Sent(sent), .. }) = self.logins[login].task.take() {
                self.lose_reply(login, &sent.reply, why);
            }
        }
    }
}
