//! The providers' servers: one live refresh token per family, taken once. And the network before them.

use std::collections::{HashMap, HashSet};

use super::random::Random;
use super::world::{MINUTE, Ms, SECOND};

/// What stands between a request and its answer for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    NoNetwork,
    Throttled,
    Failing,
    Blocked,
    /// Connections break off, before or after the server judged.
    Cutting,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Us,
    /// We, because a person forced it and knows.
    Forced,
    Cli,
}

/// What became of a request, for whom it was sent.
#[derive(Debug, Clone)]
pub enum Delivered {
    /// It is certain that nothing was sent.
    NotSent,
    /// No answer. Whether the token was traded only the server knows.
    Cut {
        traded: bool,
    },
    Reply {
        status: u16,
        retry_after: Option<&'static str>,
        body: String,
    },
}

impl Delivered {
    /// True when the server's answer brings, or would have brought, the only live token.
    pub fn is_grant(&self) -> bool {
        match self {
            Self::NotSent => false,
            Self::Cut { traded } => *traded,
            Self::Reply { status, body, .. } => *status == 200 && body.contains("refresh_token\""),
        }
    }
}

#[derive(Debug)]
pub struct Family {
    /// The number of the live refresh token.
    pub live: u64,
    pub lifetime: Ms,
    pub rotates: bool,
    pub deadline: Option<Ms>,
    /// Why the live token is nowhere on the host, once that has happened.
    pub lost_to: Option<&'static str>,
}

#[derive(Debug, Default)]
pub struct Server {
    pub families: Vec<Family>,
    pub trouble: Option<Trouble>,
    /// True ends of access tokens, by number.
    pub ends: HashMap<u64, Ms>,
    /// Refresh tokens that we sent and must not send again: traded, refused, or nobody told us.
    burnt: HashSet<u64>,
    last: u64,
}

pub fn access(number: u64) -> String {
    format!("sk-ant-oat01-{number}")
}

pub fn refresh(number: u64) -> String {
    format!("sk-ant-ort01-{number}")
}

pub fn number(token: &str) -> u64 {
    token.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a token of ours")
}

impl Server {
    /// A new login of the family: its numbers (access, refresh).
    pub fn log_in(&mut self, family: usize, now: Ms, deadline: Option<Ms>) -> (u64, u64) {
        let pair = (self.mint_access(family, now), self.mint());
        let family = &mut self.families[family];
        (family.live, family.deadline, family.lost_to) = (pair.1, deadline, None);
        pair
    }

    fn mint(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn mint_access(&mut self, family: usize, now: Ms) -> u64 {
        let number = self.mint();
        self.ends.insert(number, now + self.families[family].lifetime);
        number
    }

    /// Sends a refresh token.
    pub fn send(
        &mut self,
        family: usize,
        token: u64,
        sender: Sender,
        now: Ms,
        random: &mut Random,
    ) -> Delivered {
        if self.trouble == Some(Trouble::NoNetwork) {
            return Delivered::NotSent;
        }
        // R1, seen from the other side: what we sent ourselves and were not told about.
        if sender == Sender::Us {
            assert!(!self.burnt.contains(&token), "refresh token {token} was sent again");
        }
        let reply = self.reply(family, token, now, random);
        let is_burnt = match &reply {
            Delivered::NotSent => false,
            Delivered::Cut { .. } => true,
            Delivered::Reply { status, .. } => *status == 400 || reply.is_grant(),
        };
        match sender {
            Sender::Cli => {}
            Sender::Us | Sender::Forced if is_burnt => {
                self.burnt.insert(token);
            }
            // A family that does not rotate: the answer ends the doubt.
            Sender::Us | Sender::Forced => {
                self.burnt.remove(&token);
            }
        }
        reply
    }

    fn reply(&mut self, family: usize, token: u64, now: Ms, random: &mut Random) -> Delivered {
        let plain =
            |status, retry_after, body: &str| Delivered::Reply { status, retry_after, body: body.into() };
        let cuts = match self.trouble {
            Some(Trouble::Cutting) => random.one_in(2),
            _ => random.one_in(3000),
        };
        if cuts && random.one_in(2) {
            return Delivered::Cut { traded: false };
        }
        let answer = match self.trouble {
            Some(Trouble::Throttled) => {
                let wait = [None, Some("120"), Some("3600"), Some("soon")][random.between(0, 3) as usize];
                plain(429, wait, "{\"error\":\"rate_limit\"}")
            }
            Some(Trouble::Failing) => plain([500, 502, 503][random.between(0, 2) as usize], None, "<html>"),
            Some(Trouble::Blocked) => plain(403, None, "<html>Just a moment...</html>"),
            _ => self.judge(family, token, now),
        };
        if cuts { Delivered::Cut { traded: answer.is_grant() } } else { answer }
    }

    fn judge(&mut self, family: usize, token: u64, now: Ms) -> Delivered {
        let known = &mut self.families[family];
        let has_ended = known.deadline.is_some_and(|at| at <= now);
        if has_ended {
            known.lost_to = Some("its own end");
        }
        if token != known.live || has_ended {
            let body = "{\"error\":\"invalid_grant\"}".to_owned();
            return Delivered::Reply { status: 400, retry_after: None, body };
        }
        let (rotates, seconds) = (known.rotates, known.lifetime / SECOND);
        let new_access = access(self.mint_access(family, now));
        let mut body = format!("{{\"access_token\":\"{new_access}\",\"expires_in\":{seconds}");
        if rotates {
            let new = self.mint();
            self.families[family].live = new;
            body.push_str(&format!(",\"refresh_token\":\"{}\"", refresh(new)));
        }
        body.push('}');
        Delivered::Reply { status: 200, retry_after: None, body }
    }
}

/// How long a request takes.
pub fn latency(random: &mut Random) -> Ms {
    if random.one_in(50) { random.between(SECOND, MINUTE / 2) } else { random.between(50, 2 * SECOND) }
}
