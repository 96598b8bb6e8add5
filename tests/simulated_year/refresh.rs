//! A refresh of ours, step by step, in the order of `tokensink::refresher`; it can end after each.

use std::time::Duration;

use tokensink::base::credential::Renewed;
use tokensink::base::fingerprint::Fingerprint;
use tokensink::base::time::Timestamp;
use tokensink::core::refresh::{self, Ended, Outcome};
use tokensink::core::token_answer::{self, Answer};

use super::login::{CliRequest, Intent, Phase, Sent, Task, key};
use super::server::{self, Delivered, Sender, latency};
use super::world::{Event, Ms, SECOND, World};

/// One step in so many ends with the death of the daemon.
const CRASHES: u64 = 250;

impl World {
    pub fn start_task(&mut self, number: usize, sender: Sender, only_resolves: bool) {
        self.daemon.tasks += 1;
        let (id, login) = (self.daemon.tasks, &mut self.logins[number]);
        login.task = Some(Task {
            id,
            generation: login.held.as_ref().map(|held| held.generation.clone()),
            only_resolves,
            sender,
            is_excused: self.clock.is_excused,
            phase: Phase::Locking,
        });
        let wait = self.random.between(1, 2 * SECOND);
        self.at(wait, Event::Task { login: number, id });
    }

    pub fn task(&mut self, number: usize, id: u64) {
        let Some(task) = self.logins[number].task.take_if(|task| task.id == id) else { return };
        let is_prompt = self.logins[number].kind == super::login::Kind::ClaudePrompt
            && !task.only_resolves
            && task.sender == Sender::Us;
        match task.phase {
            Phase::Locking if is_prompt => self.prompt(number, task),
            Phase::Locking => self.lock(number, task),
            Phase::Sent(sent) => self.answered(number, sent),
            Phase::Prompt => self.prompted(number, task.generation.as_ref()),
        }
    }

    /// True when the daemon dies here.
    fn dies(&mut self) -> bool {
        if !self.random.one_in(CRASHES) {
            return false;
        }
        self.crash("a crash between two steps");
        self.at(5 * SECOND, Event::DaemonStarts { life: self.daemon.life });
        true
    }

    fn lock(&mut self, number: usize, task: Task) {
        let login = &mut self.logins[number];
        let here = login.held.as_ref().map_or_else(|| key().of_parts(&[]), |held| held.refresh.clone());
        if login.has_lock() && login.cli.is_some() {
            return self.ended(number, outcome(Ended::NotSent, &here, Some(refresh::busy_wait())));
        }
        if self.dies() {
            return;
        }
        let mut doubtful = false;
        if let Some(intent) = self.logins[number].intent.take() {
            match self.resolve(number, intent, &task) {
                Some(outcome) => return self.ended(number, outcome),
                None => doubtful = self.logins[number].intent.is_some(),
            }
        }
        if task.only_resolves {
            return self.ended(number, outcome(Ended::NotSent, &here, None));
        }
        let login = &mut self.logins[number];
        let Some(held) = login.held.clone() else {
            return self.ended(number, outcome(Ended::NotSent, &here, None));
        };
        if task.generation.as_ref() != Some(&held.generation) {
            return self.ended(number, outcome(Ended::Adopted, &here, None));
        }
        login.intent = Some(Intent { token: held.token(), spent: held.refresh.clone(), answer: None });
        if self.dies() {
            return;
        }
        self.check_need(number, &task);
        let reply = if self.is_connected() {
            self.server.send(number, held.token(), task.sender, self.now, &mut self.random)
        } else {
            Delivered::NotSent
        };
        if matches!(reply, Delivered::NotSent) {
            if !doubtful {
                self.logins[number].intent = None;
            }
            return self.ended(number, outcome(Ended::NotSent, &held.refresh, None));
        }
        self.checks.requests[number] += 1;
        let wait = latency(&mut self.random);
        let id = task.id;
        let sent = Sent { reply, doubtful, at: self.now, began: self.reading().boottime };
        self.logins[number].task = Some(Task { phase: Phase::Sent(sent), ..task });
        self.at(wait, Event::Task { login: number, id });
    }

    /// What an earlier run left; `None` when a refresh may go on.
    fn resolve(&mut self, number: usize, intent: Intent, task: &Task) -> Option<Outcome> {
        let ahead = self.clock.ahead;
        let login = &mut self.logins[number];
        if let Some(renewed) = &intent.answer {
            let stored = login.store(intent.token, renewed, ahead);
            self.checks.figures.completed += u64::from(stored);
            let how = if stored { Ended::Rotated } else { Ended::Adopted };
            return Some(outcome(how, &intent.spent, None));
        }
        if login.has_moved_on(&intent.spent) {
            return task.only_resolves.then(|| outcome(Ended::Adopted, &intent.spent, None));
        }
        let spent = intent.spent.clone();
        login.intent = Some(intent);
        (task.sender != Sender::Forced).then(|| outcome(Ended::Unknown, &spent, None))
    }

    fn answered(&mut self, number: usize, answer: Sent) {
        // The answer is in memory only: with a crash here it is gone.
        if self.random.one_in(CRASHES) {
            self.lose_reply(number, &answer.reply, "a crash before the answer was on record");
            self.crash("a crash between two steps");
            return self.at(5 * SECOND, Event::DaemonStarts { life: self.daemon.life });
        }
        let spent = self.logins[number].intent.as_ref().expect("a record of what was sent").spent.clone();
        let Sent { reply, doubtful, at, began } = answer;
        let (status, retry_after, body) = match reply {
            Delivered::Reply { status, retry_after, body } => (status, retry_after, body),
            cut => {
                self.lose_reply(number, &cut, "a cut connection");
                return self.ended(number, sent(Ended::Unknown, &spent, None));
            }
        };
        // As `refresher::server_time`: the server dated its answer when it judged.
        let took = self.reading().boottime.saturating_sub(began);
        let clock_ahead =
            (took <= Duration::from_secs(60)).then(|| self.wall().as_millis() - at / 1000 * 1000);
        let done = match token_answer::judge(status, retry_after, body.as_bytes()) {
            Answer::Granted(grant) => {
                let Some(done) = self.keep(number, grant, &spent, self.wall().before(took)) else { return };
                done
            }
            Answer::Rejected { .. } => {
                let login = &mut self.logins[number];
                login.intent = None;
                let how = if login.has_moved_on(&spent) { Ended::Adopted } else { Ended::Rejected };
                return self.ended(number, sent(how, &spent, None));
            }
            Answer::Unreadable { .. } => sent(Ended::Unknown, &spent, None),
            open => {
                if !doubtful {
                    self.logins[number].intent = None;
                }
                let wait = match open {
                    Answer::Throttled { wait } => Some(wait),
                    Answer::ServerFailed { .. } => None,
                    _ => Some(refresh::blocked_wait()),
                };
                outcome(Ended::Failed, &spent, wait)
            }
        };
        self.ended(number, Outcome { clock_ahead, ..done });
    }

    /// Records the new tokens, then stores them; `None` when the daemon died in between.
    fn keep(
        &mut self,
        number: usize,
        grant: token_answer::Grant,
        spent: &Fingerprint,
        wall: Timestamp,
    ) -> Option<Outcome> {
        let ahead = self.clock.ahead;
        let lifetime = grant.expires_in.unwrap_or(Duration::from_secs(3600));
        let renewed = Renewed {
            expires_at: grant.access.as_ref().map(|_| wall.after(lifetime)),
            access: grant.access,
            refresh: grant.refresh,
            granted_at: Some(wall),
            ..Renewed::default()
        };
        self.checks.grants[number] += 1;
        let intent = self.logins[number].intent.as_mut().expect("a record of what was sent");
        intent.answer = Some(renewed.clone());
        let token = intent.token;
        if self.dies() {
            return None;
        }
        let stored = self.logins[number].store(token, &renewed, ahead);
        if self.dies() {
            return None;
        }
        self.logins[number].intent = None;
        if self.dies() {
            return None;
        }
        let how = match (stored, renewed.refresh) {
            (true, Some(_)) => Ended::Rotated,
            (true, None) => Ended::Kept,
            (false, _) => Ended::Adopted,
        };
        Some(sent(how, spent, None))
    }

    /// The official CLI is run, and what it left is looked at.
    fn prompt(&mut self, number: usize, task: Task) {
        let login = &self.logins[number];
        let here = login.held.as_ref().map(|held| (held.generation.clone(), held.refresh.clone()));
        match here {
            Some((generation, _)) if Some(&generation) == task.generation.as_ref() => {
                self.check_need(number, &task);
                self.checks.requests[number] += 1;
                self.cli_use(number);
                let id = task.id;
                self.logins[number].task = Some(Task { phase: Phase::Prompt, ..task });
                let wait = self.random.between(5 * SECOND, 40 * SECOND);
                self.at(wait, Event::Task { login: number, id });
            }
            here => {
                let how = if here.is_some() { Ended::Adopted } else { Ended::NotSent };
                let refresh = here.map_or_else(|| key().of_parts(&[]), |(_, refresh)| refresh);
                self.ended(number, outcome(how, &refresh, None));
            }
        }
    }

    fn prompted(&mut self, number: usize, before: Option<&Fingerprint>) {
        let held = self.logins[number].held.as_ref();
        let refresh = self
            .daemon
            .memory
            .logins
            .get(&self.logins[number].id)
            .and_then(|known| known.record_of(before?)?.refresh.clone())
            .unwrap_or_else(|| key().of_parts(&[]));
        let how = match held {
            Some(held) if Some(&held.generation) != before => Ended::Rotated,
            Some(_) => Ended::Failed,
            None => Ended::Rejected,
        };
        self.checks.grants[number] += u64::from(how == Ended::Rotated);
        let is_spent = how != Ended::Failed;
        self.ended(number, Outcome { is_spent, ..outcome(how, &refresh, None) });
    }

    /// Records how it ended, as the daemon does under its lock.
    fn ended(&mut self, number: usize, outcome: Outcome) {
        self.checks.figures.count(outcome.ended);
        self.excuse_wait(number, &outcome);
        let reading = self.reading();
        let memory = &mut self.daemon.memory;
        if let Some(ahead) = outcome.clock_ahead {
            memory.confirm_clock(&reading, ahead);
        }
        let now = memory.clock.judge(&reading).now;
        let login = memory.logins.entry(self.logins[number].id.clone()).or_default();
        login.refresh.note(&outcome, now);
        if matches!(outcome.ended, Ended::Rotated | Ended::Kept)
            && let Some(held) = &self.logins[number].held
        {
            login.note_made(held.generation.clone());
        }
        self.hint();
    }

    /// An answer that nobody will read.
    pub fn lose_reply(&mut self, number: usize, reply: &Delivered, why: &'static str) {
        if reply.is_grant() {
            self.checks.figures.lost_answers += 1;
            self.server.families[number].lost_to = Some(why);
        }
    }

    /// The machine slept: connections may have ended meanwhile. A CLI that reads its answer late
    /// dates it late; that is no matter of ours and is left out.
    pub fn cut_what_is_under_way(&mut self) {
        for number in 0..self.logins.len() {
            let is_cut = self.random.one_in(2);
            if let Some(Task { phase: Phase::Sent(sent), .. }) = &mut self.logins[number].task
                && is_cut
            {
                sent.reply = Delivered::Cut { traded: sent.reply.is_grant() };
            }
            if let Some(CliRequest { reply, .. }) = &mut self.logins[number].cli {
                *reply = Delivered::Cut { traded: reply.is_grant() };
            }
        }
    }
}

fn outcome(ended: Ended, refresh: &Fingerprint, wait: Option<Duration>) -> Outcome {
    Outcome {
        ended,
        refresh: refresh.clone(),
        is_spent: false,
        wait,
        clock_ahead: None,
        detail: String::new(),
    }
}

fn sent(ended: Ended, refresh: &Fingerprint, wait: Option<Duration>) -> Outcome {
    Outcome { is_spent: true, ..outcome(ended, refresh, wait) }
}

/// When an access token ends, by true time.
pub fn token_ends(number: u64, ends: &std::collections::HashMap<u64, Ms>) -> Ms {
    *ends.get(&number).unwrap_or_else(|| panic!("{} was issued", server::access(number)))
}
