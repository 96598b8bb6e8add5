//! The script: what happens to the host, its clock, its network and its people, in the order of true time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokensink::base::time::{ClockReading, Timestamp};

use super::checks::{Checks, Figures};
use super::daemon::Daemon;
use super::login::{Login, next_use, span};
use super::random::Random;
use super::server::{Family, Server, Trouble};

/// Milliseconds of true time since the epoch, or between two such times.
pub type Ms = i64;

pub const SECOND: Ms = 1000;
pub const MINUTE: Ms = 60 * SECOND;
pub const HOUR: Ms = 60 * MINUTE;
pub const DAY: Ms = 24 * HOUR;
/// Noon of 2026-11-20 (UTC).
pub const START: Ms = 1_795_176_000_000;
/// A certificate is not valid for a clock that is off by more.
const TLS_ALLOWS: Ms = 60 * DAY;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The daemon looks, because of an alarm, a file or a completed task.
    Turn {
        life: u64,
    },
    /// A refresh of ours goes on.
    Task {
        login: usize,
        id: u64,
    },
    CliUse {
        login: usize,
    },
    CliReply {
        login: usize,
    },
    /// Something of the script begins.
    Misfortune,
    TroubleEnds,
    ClockRight {
        setting: u64,
    },
    Wakes,
    Boots {
        clock_ahead: Ms,
    },
    DaemonStarts {
        life: u64,
    },
    Person {
        login: usize,
    },
    /// The lid is closed for the night.
    Lid,
}

/// The host's clocks, and what is wrong with them.
#[derive(Debug)]
pub struct HostClock {
    boot: u64,
    booted_at: Ms,
    /// Time that the boot clock did not count.
    paused: Ms,
    /// How far the wall clock is ahead of the truth.
    pub ahead: Ms,
    setting: u64,
    /// The daemon has looked since the boot.
    pub is_anchored: bool,
    /// The wall clock was wrong when nobody could notice, or time passed uncounted.
    pub is_excused: bool,
}

#[derive(Debug)]
pub struct World {
    pub now: Ms,
    pub random: Random,
    pub server: Server,
    pub clock: HostClock,
    pub logins: Vec<Login>,
    pub daemon: Daemon,
    pub checks: Checks,
    queue: BinaryHeap<Reverse<(Ms, u64, Event)>>,
    sequence: u64,
    suspended_until: Ms,
    is_laptop: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = random.between(2, 5) as usize;
        let logins: Vec<Login> = (0..count).map(|number| Login::new(number, &mut random)).collect();
        let mut server = Server::default();
        for login in &logins {
            server.families.push(Family {
                live: 0,
                lifetime: login.lifetime,
                rotates: login.kind != super::login::Kind::Generic || !random.one_in(3),
                deadline: None,
                lost_to: None,
            });
        }
        let daemon = Daemon::new(&logins, &mut random);
        let mut world = Self {
            now: START,
            server,
            clock: HostClock {
                boot: 1,
                booted_at: START - HOUR,
                paused: 0,
                ahead: 0,
                setting: 0,
                is_anchored: false,
                is_excused: false,
            },
            checks: Checks::new(logins.len()),
            is_laptop: random.one_in(2),
            random,
            logins,
            daemon,
            queue: BinaryHeap::new(),
            sequence: 0,
            suspended_until: 0,
        };
        for login in 0..count {
            world.log_in(login);
            if world.logins[login].has_cli() {
                world.next_cli_use(login);
            }
        }
        world.at(MINUTE, Event::DaemonStarts { life: 0 });
        world.after_a_while();
        if world.is_laptop {
            world.at(10 * HOUR, Event::Lid);
        }
        world
    }

    pub fn year(self) -> Figures {
        self.days(365)
    }

    pub fn days(mut self, days: i64) -> Figures {
        let end = START + days * DAY;
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > end {
                break;
            }
            // What is asleep does nothing; the world around it goes on.
            if at < self.suspended_until && !matches!(event, Event::Wakes | Event::TroubleEnds) {
                self.sequence += 1;
                self.queue.push(Reverse((self.suspended_until, self.sequence, event)));
                continue;
            }
            // What held until now, held all the time since the event before.
            self.check_coverage(at);
            self.now = at;
            self.happen(event);
            self.check_tokens();
        }
        self.checks.finish(&self.logins, days)
    }

    pub fn at(&mut self, after: Ms, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + after.max(1), self.sequence, event)));
    }

    /// What inotify, a completed task or a clock change bring about.
    pub fn hint(&mut self) {
        if self.daemon.is_up {
            self.at(50, Event::Turn { life: self.daemon.life });
        }
    }

    pub fn is_suspended(&self) -> bool {
        self.now < self.suspended_until
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.now + self.clock.ahead)
    }

    pub fn reading(&self) -> ClockReading {
        let boottime = self.now - self.clock.booted_at - self.clock.paused;
        ClockReading {
            boot: format!("boot-{}", self.clock.boot),
            boottime: Duration::from_millis(u64::try_from(boottime).unwrap()),
            wall: self.wall(),
        }
    }

    /// Whether a server can be reached over TLS at all.
    pub fn is_connected(&self) -> bool {
        self.server.trouble != Some(Trouble::NoNetwork) && self.clock.ahead.abs() < TLS_ALLOWS
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { life } => {
                if life == self.daemon.life && self.daemon.is_up {
                    self.turn();
                }
            }
            Event::Task { login, id } => self.task(login, id),
            Event::CliUse { login } => {
                self.cli_use(login);
                self.next_cli_use(login);
            }
            Event::CliReply { login } => self.cli_reply(login),
            Event::Misfortune => {
                self.misfortune();
                self.after_a_while();
            }
            Event::TroubleEnds => self.server.trouble = None,
            Event::ClockRight { setting } => {
                if setting == self.clock.setting {
                    self.set_clock(0);
                }
            }
            Event::Wakes => {
                // A request that was under way may have been cut off by the sleep.
                self.cut_what_is_under_way();
            }
            Event::Boots { clock_ahead } => {
                self.clock.boot += 1;
                self.clock.booted_at = self.now;
                self.clock.paused = 0;
                self.clock.is_anchored = false;
                self.set_clock(clock_ahead);
                if clock_ahead.abs() > MINUTE {
                    let after = self.random.scale(20 * SECOND, 8 * HOUR);
                    self.at(after, Event::ClockRight { setting: self.clock.setting });
                }
                self.start_daemon_in(30 * SECOND);
            }
            Event::DaemonStarts { life } => {
                if life == self.daemon.life {
                    self.daemon.is_up = true;
                    self.turn();
                }
            }
            Event::Person { login } => self.person(login),
            Event::Lid => {
                let nap = self.random.scale(MINUTE, 12 * HOUR);
                self.suspend(nap);
                let next = nap + self.random.between(HOUR, 14 * HOUR);
                self.at(next, Event::Lid);
            }
        }
    }

    fn next_cli_use(&mut self, login: usize) {
        let at = next_use(&mut self.logins[login], self.now, &mut self.random);
        self.at(at - self.now, Event::CliUse { login });
    }

    fn after_a_while(&mut self) {
        let pause = self.random.scale(2 * HOUR, 15 * DAY);
        self.at(pause, Event::Misfortune);
    }

    fn misfortune(&mut self) {
        let random = &mut self.random;
        match random.between(0, 11) {
            0..=4 => {
                let troubles = [
                    Trouble::NoNetwork,
                    Trouble::Throttled,
                    Trouble::Failing,
                    Trouble::Blocked,
                    Trouble::Cutting,
                ];
                let lasts = random.scale(10 * SECOND, 2 * DAY);
                self.server.trouble = Some(troubles[random.between(0, 4) as usize]);
                self.checks.incident_of_all();
                self.at(lasts, Event::TroubleEnds);
            }
            // By hand, by a broken server, by another system on the same machine.
            5 | 6 => {
                let by = random.scale(2 * MINUTE, 400 * DAY);
                let by = if random.one_in(2) { by } else { -by };
                let lasts = random.scale(MINUTE, 3 * DAY);
                self.set_clock(by);
                self.checks.incident();
                self.at(lasts, Event::ClockRight { setting: self.clock.setting });
            }
            7 => {
                let slew = random.between(-25 * SECOND, 25 * SECOND);
                self.set_clock(slew);
            }
            // The machine under this machine stops, and the clock is set right some time later.
            8 => {
                let pause = random.scale(MINUTE, 2 * DAY);
                self.suspend(pause);
                self.clock.paused += pause;
                self.clock.ahead -= pause;
                self.clock.is_excused = true;
                self.clock.setting += 1;
                let after = pause + random_after(&mut self.random);
                self.checks.incident();
                self.at(after, Event::ClockRight { setting: self.clock.setting });
            }
            9 | 10 => {
                self.crash("a crash of the daemon");
                self.start_daemon_in(10 * SECOND);
            }
            _ => {
                let off = random.scale(20 * SECOND, 25 * DAY);
                let clock_ahead = match random.between(0, 4) {
                    0 => -(START + HOUR),
                    1 => -random.scale(DAY, 900 * DAY),
                    2 => random.between(-12, 12) * HOUR,
                    _ => 0,
                };
                self.crash("a power cut");
                for (number, login) in self.logins.iter_mut().enumerate() {
                    if login.cli.take().is_some_and(|request| request.reply.is_grant()) {
                        self.checks.lost_by_cli(&mut self.server, number);
                    }
                }
                self.suspended_until = self.suspended_until.max(self.now + off);
                self.at(off, Event::Boots { clock_ahead });
            }
        }
    }

    fn suspend(&mut self, nap: Ms) {
        self.suspended_until = self.suspended_until.max(self.now + nap);
        self.at(nap, Event::Wakes);
    }

    fn start_daemon_in(&mut self, most: Ms) {
        let after = self.random.between(SECOND, most);
        self.at(after, Event::DaemonStarts { life: self.daemon.life });
    }

    pub fn set_clock(&mut self, ahead: Ms) {
        self.clock.ahead = ahead;
        self.clock.setting += 1;
        self.clock.is_excused |= !self.clock.is_anchored && ahead.abs() > MINUTE;
        // The timer that is cancelled by it.
        self.hint();
    }

    fn person(&mut self, login: usize) {
        self.logins[login].is_person_coming = false;
        if !self.needs_person(login) {
            return;
        }
        let is_open = self.logins[login].intent.as_ref().is_some_and(|i| i.answer.is_none());
        if is_open && self.logins[login].held.is_some() && self.daemon.is_up && self.random.one_in(2) {
            self.checks.figures.forced += 1;
            self.start_task(login, super::server::Sender::Forced, false);
            return;
        }
        // Whoever logs in looks at the clock first: it is what the finding says.
        if self.clock.ahead.abs() > 5 * MINUTE {
            self.set_clock(0);
        }
        self.checks.figures.people += 1;
        self.log_in(login);
        self.hint();
    }

    fn log_in(&mut self, number: usize) {
        let wall = self.wall();
        let login = &mut self.logins[number];
        let days = login.has_lock().then_some(28 * DAY);
        let pair = self.server.log_in(number, self.now, days.map(|d| self.now + d));
        login.log_in(pair, wall, days.map(|d| wall.after(span(d))), self.clock.ahead);
        login.is_excused = self.clock.is_excused;
    }
}

fn random_after(random: &mut Random) -> Ms {
    random.scale(SECOND, 6 * HOUR)
}
