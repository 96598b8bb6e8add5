//! What must hold at every moment of the year, and the figures.
//!
//! Some things cannot be known on the host: an answer that was lost, a clock that was wrong when the
//! system started, time that passed while the machine under it stood still. Each is counted, and
//! only while it lasts is a rule relaxed.

use std::fmt;

use tokensink::core::clock::Judgement;
use tokensink::core::refresh::{self, Ended, Outcome};

use super::login::{Login, Phase, Task};
use super::refresh::token_ends;
use super::server::{self, Delivered, Sender, Server};
use super::world::{DAY, Event, HOUR, MINUTE, Ms, SECOND, World};

/// How long a consumer may see an expired token beyond what excuses it.
const DARK: Ms = 5 * MINUTE;
/// How far the believed time may be off: two anchors, each within a minute.
const BELIEF: Ms = 130 * SECOND;

#[derive(Debug, Default)]
pub struct Figures {
    pub runs: u64,
    pub days: u64,
    pub logins: u64,
    pub turns: u64,
    pub grants: u64,
    pub by_clis: u64,
    pub adopted: u64,
    pub unknown: u64,
    pub rejected: u64,
    pub failed: u64,
    pub completed: u64,
    pub lost_answers: u64,
    pub lost_by_clis: u64,
    pub forced: u64,
    pub people: u64,
    pub asked: u64,
    pub early_by_bad_clock: u64,
    pub incidents: u64,
    pub findings: u64,
    pub longest_dark: Ms,
}

#[derive(Debug)]
pub struct Checks {
    pub figures: Figures,
    /// Requests of ours that left the host, by login.
    pub requests: Vec<u64>,
    /// Those that brought something.
    pub grants: Vec<u64>,
    incidents: Vec<u64>,
    early: Vec<u64>,
    excused_until: Vec<Ms>,
}

impl Checks {
    pub fn new(logins: usize) -> Self {
        Self {
            figures: Figures::default(),
            requests: vec![0; logins],
            grants: vec![0; logins],
            incidents: vec![0; logins],
            early: vec![0; logins],
            excused_until: vec![0; logins],
        }
    }

    /// Something happened to the host that every login feels.
    pub fn incident_of_all(&mut self) {
        self.incidents.iter_mut().for_each(|n| *n += 1);
        self.figures.incidents += self.incidents.len() as u64;
    }

    /// Something happened to the clock: one finding, and every login may feel it.
    pub fn incident(&mut self) {
        self.incidents.iter_mut().for_each(|n| *n += 1);
        self.figures.incidents += 1;
    }

    /// A CLI lost an answer that held the only live token.
    pub fn lost_by_cli(&mut self, server: &mut Server, family: usize) {
        self.figures.lost_by_clis += 1;
        server.families[family].lost_to = Some("an answer to a CLI");
    }

    pub fn finish(mut self, logins: &[Login], days: i64) -> Figures {
        for (number, login) in logins.iter().enumerate() {
            let generation = login.lifetime - login.longest_lead();
            let budget = (days * DAY / generation) as u64 + 1 + 2 * self.incidents[number];
            assert!(
                self.grants[number] <= budget,
                "{} grants of {:?}, the budget is {budget}",
                self.grants[number],
                login.kind
            );
            assert!(
                self.early[number] <= self.incidents[number],
                "{} early grants, {} incidents",
                self.early[number],
                self.incidents[number]
            );
        }
        let figures = &mut self.figures;
        let told = figures.people + figures.unknown + figures.lost_by_clis;
        assert!(
            figures.findings <= 2 * (figures.incidents + told),
            "{} findings of {} incidents and {told} dead or doubtful logins",
            figures.findings,
            figures.incidents
        );
        figures.runs = 1;
        figures.days = days as u64;
        figures.logins = logins.len() as u64;
        figures.grants = self.grants.iter().sum();
        self.figures
    }
}

impl Figures {
    pub fn count(&mut self, ended: Ended) {
        match ended {
            Ended::Adopted => self.adopted += 1,
            Ended::Unknown => self.unknown += 1,
            Ended::Rejected => self.rejected += 1,
            Ended::Failed | Ended::NotSent => self.failed += 1,
            Ended::Rotated | Ended::Kept => {}
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.days += other.days;
        self.logins += other.logins;
        self.turns += other.turns;
        self.grants += other.grants;
        self.by_clis += other.by_clis;
        self.adopted += other.adopted;
        self.unknown += other.unknown;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.completed += other.completed;
        self.lost_answers += other.lost_answers;
        self.lost_by_clis += other.lost_by_clis;
        self.forced += other.forced;
        self.people += other.people;
        self.asked += other.asked;
        self.early_by_bad_clock += other.early_by_bad_clock;
        self.incidents += other.incidents;
        self.findings += other.findings;
        self.longest_dark = self.longest_dark.max(other.longest_dark);
    }

    /// A simulation in which nothing happens proves nothing.
    pub fn assert_worth(&self) {
        if self.runs < 20 {
            return;
        }
        for (what, count) in [
            ("adopted", self.adopted),
            ("unknown", self.unknown),
            ("completed after a crash", self.completed),
            ("answers lost", self.lost_answers),
            ("renewed by CLIs", self.by_clis),
            ("questions for the time", self.asked),
            ("forced by people", self.forced),
        ] {
            assert!(count > 0, "nothing was {what}: {self}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "simulated: {} years, {} days, {} logins, {} turns; {} grants, {} renewed by CLIs, {} adopted, \
             {} failed and tried again, {} rejected, {} unknown, {} completed after a crash; {} answers lost \
             in between, {} by CLIs; {} logins and {} forced refreshes by people; {} questions for the time, \
             {} early by a clock that was wrong from the start; {} findings of {} incidents; longest dark \
             beyond its cause {} s; needless 0, sent twice 0, losses 0",
            self.runs,
            self.days,
            self.logins,
            self.turns,
            self.grants,
            self.by_clis,
            self.adopted,
            self.failed,
            self.rejected,
            self.unknown,
            self.completed,
            self.lost_answers,
            self.lost_by_clis,
            self.people,
            self.forced,
            self.asked,
            self.early_by_bad_clock,
            self.findings,
            self.incidents,
            self.longest_dark / SECOND
        )
    }
}

impl World {
    /// The believed time is the true one, unless nobody could know.
    pub fn check_belief(&mut self, clock: &Judgement) {
        let off = (clock.now.as_millis() - self.now).abs();
        if self.clock.is_excused {
            self.clock.is_excused = off > MINUTE;
        } else {
            assert!(off <= BELIEF, "the believed time is {} s off ({:?})", off / SECOND, clock);
        }
    }

    /// Nothing is spent long before its time.
    pub fn check_need(&mut self, number: usize, task: &Task) {
        let login = &self.logins[number];
        let Some(held) = login.held.as_ref().filter(|_| task.sender == Sender::Us) else { return };
        let left = token_ends(held.access_number, &self.server.ends) - self.now;
        if left <= login.longest_lead() + BELIEF + 2 * SECOND {
            return;
        }
        // Written by a clock that was set right before anybody looked, it seems an old one.
        let known = self.daemon.memory.logins.get(&login.id);
        let is_unseen = known.is_none_or(|known| known.record_of(&held.generation).is_none());
        assert!(
            task.is_excused || self.clock.is_excused || login.is_excused || is_unseen,
            "a grant with {} min left: {}",
            left / MINUTE,
            self.describe(number)
        );
        self.checks.early[number] += 1;
        self.checks.figures.early_by_bad_clock += 1;
    }

    /// A wait after a failure is what was asked for, or the backoff.
    pub fn excuse_wait(&mut self, number: usize, outcome: &Outcome) {
        let wait = outcome.wait.unwrap_or_else(|| refresh::backoff(7));
        if matches!(outcome.ended, Ended::NotSent | Ended::Failed) {
            let until = self.now + wait.as_millis() as Ms;
            let excused = &mut self.checks.excused_until[number];
            *excused = until.max(*excused);
        }
    }

    /// No consumer sees an expired token for long while we could have renewed it.
    pub fn check_coverage(&mut self, until: Ms) {
        for number in 0..self.logins.len() {
            if self.is_excused(number) {
                let excused = &mut self.checks.excused_until[number];
                *excused = until.max(*excused);
                continue;
            }
            let Some(held) = &self.logins[number].held else { continue };
            let ends = token_ends(held.access_number, &self.server.ends);
            let dark = until - ends.max(self.checks.excused_until[number]);
            if dark > 0 {
                self.checks.figures.longest_dark = self.checks.figures.longest_dark.max(dark);
                assert!(dark <= DARK, "dark for {} min: {}", dark / MINUTE, self.describe(number));
            }
        }
    }

    /// All that matters of one login, for a failure.
    fn describe(&self, number: usize) -> String {
        let login = &self.logins[number];
        let clock = self.daemon.judge(&self.reading());
        format!(
            "now {}, {clock:?}, clock {:?}, step {:?}, {login:?}, {:?}, family {:?}",
            self.now,
            self.clock,
            self.step(number, &clock),
            self.daemon.memory.logins.get(&login.id).map(|known| (&known.refresh, known.newest())),
            self.server.families[number],
        )
    }

    fn is_excused(&self, number: usize) -> bool {
        let (login, family) = (&self.logins[number], &self.server.families[number]);
        let known = self.daemon.memory.logins.get(&login.id);
        let is_idle = !self.daemon.is_up || self.is_suspended();
        let is_hopeless = login.held.is_none()
            || family.lost_to.is_some()
            || family.deadline.is_some_and(|at| at <= self.now)
            || known.is_some_and(|known| known.stop().is_some());
        if is_idle || is_hopeless || login.is_excused || self.server.trouble.is_some() || !self.is_connected()
        {
            return true;
        }
        if !self.clock.is_excused {
            return false;
        }
        // A wait is as much longer as time passed uncounted, and a server is not asked all the time.
        let clock = self.daemon.judge(&self.reading());
        let now = clock.now;
        self.clock.ahead.abs() > MINUTE
            || self.daemon.memory.clock.asks_at(&clock).is_some_and(|at| at > now)
            || known.is_some_and(|known| known.refresh.not_before.is_some_and(|at| at > now))
    }

    /// The live token of every family is in the source, in the intent record, or on its way.
    pub fn check_tokens(&mut self) {
        for (family, login) in self.server.families.iter().zip(&self.logins) {
            let live = family.live;
            let is_coming = |reply: &Delivered| match reply {
                Delivered::Cut { traded } => *traded,
                Delivered::Reply { body, .. } => body.contains(&format!("{}\"", server::refresh(live))),
                Delivered::NotSent => false,
            };
            let is_in_source = || login.held.as_ref().is_some_and(|held| held.token() == live);
            let is_in_intent = || {
                login.intent.as_ref().is_some_and(|intent| {
                    let new = intent.answer.as_ref().and_then(|answer| answer.refresh.as_ref());
                    new.is_some_and(|token| server::number(token.expose()) == live)
                })
            };
            let is_on_its_way = || {
                login.cli.as_ref().is_some_and(|cli| is_coming(&cli.reply))
                    || login.task.as_ref().is_some_and(
                        |task| matches!(&task.phase, Phase::Sent(sent) if is_coming(&sent.reply)),
                    )
            };
            assert!(
                family.lost_to.is_some() || is_in_source() || is_in_intent() || is_on_its_way(),
                "the live token {live} of {login:?} is lost"
            );
        }
    }

    /// True when only a person can help, or should have long before the login's own end.
    pub fn needs_person(&self, number: usize) -> bool {
        let (login, family) = (&self.logins[number], &self.server.families[number]);
        let known = self.daemon.memory.logins.get(&login.id);
        login.held.is_none() && login.intent.as_ref().is_none_or(|intent| intent.answer.is_none())
            || known.is_some_and(|known| known.stop().is_some())
            || family.deadline.is_some_and(|at| at <= self.now + 12 * HOUR)
    }

    pub fn call_people(&mut self) {
        for number in 0..self.logins.len() {
            if self.needs_person(number) && !self.logins[number].is_person_coming {
                self.logins[number].is_person_coming = true;
                let after = self.random.scale(10 * MINUTE, 2 * DAY);
                self.at(after, Event::Person { login: number });
            }
        }
    }
}
