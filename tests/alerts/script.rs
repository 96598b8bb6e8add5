//! The rules on a scripted clock. A script says, line by line, after which time what happens:
//!
//! `1h + CODE subject severity [CODE:subject]` raises a finding (with a cause), `1h - CODE subject` ends it,
//! `1h ! ntfy` breaks a channel and `1h ? ntfy` mends it, `1h restart` writes the memory and reads it again,
//! `1h end claude 7d` gives a login its end, counted from then, `1h stop` ends the script.
//! What was delivered is told as lines like `1h ntfy raised CODE subject`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokensink::base::code::{Code, Finding, Severity};
use tokensink::base::time::Timestamp;
use tokensink::core::alert::decide::{Ear, JOURNAL, Rules, Scene, decide};
use tokensink::core::alert::memory::{AlertMemory, Refusal};
use tokensink::core::alert::{Event, Message};
use tokensink::core::memory::OpenFinding;
use tokensink::core::model::Desired;

/// When every script begins.
pub const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);
pub const DAY: Duration = Duration::from_secs(86_400);

pub fn rules() -> Rules {
    let ear = |name: &str| Ear { key: format!("{name}:1"), name: name.to_owned() };
    Rules {
        channels: vec![ear("ntfy"), ear("webhook")],
        remind: DAY,
        login_deadline: [7, 3, 1].map(|n| n * DAY).into_iter().chain([DAY / 4]).collect(),
        host: "host".to_owned(),
    }
}

/// Findings of a login's life inherit from each other.
const LIFE: [Code; 5] = [Code::LoginExpiring, Code::LoginNeeded, Code::Husk, Code::Missing, Code::Unreadable];

/// A world of findings, channels and time.
pub struct Bench {
    pub memory: AlertMemory,
    pub open: Vec<OpenFinding>,
    pub ends: BTreeMap<String, Timestamp>,
    pub desired: Desired,
    pub rules: Rules,
    pub now: Timestamp,
    pub broken: BTreeSet<String>,
    /// What ntfy takes from nobody.
    pub refuses: Option<Code>,
    /// Deliveries: when, to which channel, what.
    pub told: Vec<(Timestamp, String, Message)>,
    /// Attempts of broken channels.
    pub refused: u32,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            memory: AlertMemory::default(),
            open: Vec::new(),
            ends: BTreeMap::new(),
            desired: Desired::default(),
            rules: rules(),
            now: START,
            broken: BTreeSet::new(),
            refuses: None,
            told: Vec::new(),
            refused: 0,
        }
    }

    pub fn raise(&mut self, finding: Finding) {
        let since = self.open.iter().find(|open| open.finding.key() == finding.key()).map(|open| open.since);
        self.clear(finding.code, &finding.subject);
        self.open.push(OpenFinding { finding, since: since.unwrap_or(self.now) });
    }

    pub fn clear(&mut self, code: Code, subject: &str) {
        self.open.retain(|open| open.finding.key() != (code, subject));
    }

    /// What a daemon that starts finds of the last one.
    pub fn restart(&mut self) {
        let written = serde_json::to_vec(&self.memory).unwrap();
        let (memory, is_damaged) = AlertMemory::read(&written);
        assert!(!is_damaged);
        let before = std::mem::replace(&mut self.memory, memory);
        assert_eq!(self.memory.told, before.told);
    }

    /// Decides and delivers until nothing is due, and says when something is.
    pub fn settle(&mut self) -> Option<Timestamp> {
        loop {
            let scene = Scene {
                findings: &self.open,
                ends: &self.ends,
                desired: &self.desired,
                busy: &BTreeSet::new(),
                now: self.now,
            };
            let decision = decide(&mut self.memory, &scene, &self.rules);
            if decision.orders.is_empty() {
                return decision.wake_at;
            }
            for order in decision.orders {
                let name = order.channel.split(':').next().unwrap().to_owned();
                let is_refused = name == "ntfy" && order.message.code == self.refuses;
                if self.broken.contains(&name) || is_refused {
                    self.refused += 1;
                    let refusal = Refusal {
                        name,
                        why: "no connection".into(),
                        is_lasting: false,
                        retry_after: None,
                        may_be_absent: false,
                    };
                    self.memory.note_failed(&order.channel, refusal, self.now);
                } else {
                    // What a message leaves comes with the next one about the same, and with no other.
                    let handle = format!("{} {:?}", order.channel, order.stamp.finding.key());
                    let wanted = (order.message.event != Event::Raised).then_some(&handle);
                    if wanted.is_some() && !LIFE.contains(&order.message.code.unwrap()) {
                        assert_eq!(order.handle.as_ref(), wanted);
                    }
                    self.memory.note_sent(&order.channel, &order.stamp, Some(handle), self.now);
                    self.told.push((self.now, name, order.message));
                }
            }
        }
    }

    /// Lets time pass.
    pub fn until(&mut self, end: Timestamp) {
        let mut turns = 0;
        loop {
            let next = self.settle().filter(|at| *at < end);
            let Some(next) = next else { break };
            assert!(next > self.now, "a wake-up lies in the future");
            self.now = next;
            turns += 1;
            assert!(turns < 100_000, "it comes to rest");
        }
        self.now = end;
        self.settle();
    }

    pub fn play(script: &str) -> Self {
        let mut bench = Self::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = START.after(humantime::parse_duration(words[0]).unwrap());
            bench.until(at);
            match words[1] {
                "+" => {
                    let severity = serde_json::from_value(words[4].into()).unwrap();
                    let mut finding = Finding::new(code(words[2]), severity, words[3], "something is wrong");
                    finding.caused_by = words.get(5).map(|cause| (*cause).to_owned());
                    bench.raise(finding);
                }
                "-" => bench.clear(code(words[2]), words[3]),
                "!" => drop(bench.broken.insert(words[2].to_owned())),
                "?" => drop(bench.broken.remove(words[2])),
                "end" => {
                    let end = at.after(humantime::parse_duration(words[3]).unwrap());
                    bench.ends.insert(words[2].to_owned(), end);
                }
                "restart" => bench.restart(),
                "stop" => {}
                other => panic!("{other}"),
            }
            bench.settle();
        }
        bench
    }

    /// What was delivered to one channel, as lines.
    pub fn story(&self, channel: &str) -> Vec<String> {
        let told = self.told.iter().filter(|(_, name, _)| name == channel);
        told.map(|(at, _, message)| {
            let after = humantime::format_duration(at.since(START));
            let code = message.code.map_or("", Code::as_str);
            format!(
                "{} {} {code} {}",
                after.to_string().replace(' ', ""),
                message.event.as_str(),
                message.subject
            )
        })
        .collect()
    }
}

pub fn code(word: &str) -> Code {
    serde_json::from_value(word.into()).unwrap()
}

pub const ALWAYS: &str = JOURNAL;
pub const WORST: Severity = Severity::Critical;
