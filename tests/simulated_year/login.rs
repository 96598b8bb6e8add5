//! One login on the host: its source, its intent record, who uses it, and what is in flight.

use std::time::Duration;

use tokensink::base::credential::{Credential, Identity, Renewed, SourceReading};
use tokensink::base::fingerprint::{Fingerprint, FingerprintKey};
use tokensink::base::id::{LoginId, Provider};
use tokensink::base::secret::Secret;
use tokensink::base::time::Timestamp;
use tokensink::core::refresh::Rules;
use tokensink::core::schedule::{self, Way};

use super::random::Random;
use super::server::{self, Delivered, Sender};
use super::world::{DAY, HOUR, MINUTE, Ms};

pub fn key() -> FingerprintKey {
    FingerprintKey::new([7; FingerprintKey::LEN])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ClaudePrompt,
    ClaudeDirect,
    Codex,
    Generic,
}

/// What the source holds, with what is computed of it once.
#[derive(Debug, Clone)]
pub struct Held {
    pub credential: Credential,
    pub generation: Fingerprint,
    pub refresh: Fingerprint,
    pub access_number: u64,
    /// How far the wall clock was ahead of the truth when it was written.
    pub written_ahead: Ms,
}

impl Held {
    fn new(credential: Credential, written_ahead: Ms) -> Self {
        let token = credential.refresh.as_ref().expect("every login here can be refreshed");
        Self {
            generation: key().generation(&credential),
            refresh: key().fingerprint(token),
            access_number: server::number(credential.access.expose()),
            credential,
            written_ahead,
        }
    }

    pub fn token(&self) -> u64 {
        server::number(self.credential.refresh.as_ref().unwrap().expose())
    }
}

#[derive(Debug)]
pub struct Intent {
    pub token: u64,
    pub spent: Fingerprint,
    pub answer: Option<Renewed>,
}

/// A refresh of ours, between two of its steps.
#[derive(Debug)]
pub struct Task {
    pub id: u64,
    pub generation: Option<Fingerprint>,
    pub only_resolves: bool,
    pub sender: Sender,
    /// It was decided upon while nobody could know the time.
    pub is_excused: bool,
    pub phase: Phase,
}

#[derive(Debug)]
pub enum Phase {
    Locking,
    Sent(Sent),
    /// The official CLI runs.
    Prompt,
}

/// A request of ours in flight.
#[derive(Debug)]
pub struct Sent {
    /// What will come back.
    pub reply: Delivered,
    /// A request before may have spent the token.
    pub doubtful: bool,
    /// When, by true time and by the boot clock.
    pub at: Ms,
    pub began: Duration,
}

/// A request of the CLI in flight.
#[derive(Debug)]
pub struct CliRequest {
    pub token: u64,
    pub reply: Delivered,
}

#[derive(Debug)]
pub struct Login {
    pub id: LoginId,
    pub kind: Kind,
    pub lifetime: Ms,
    /// `None`: the CLI blanked it.
    pub held: Option<Held>,
    pub intent: Option<Intent>,
    pub task: Option<Task>,
    pub cli: Option<CliRequest>,
    /// Until when somebody works with the CLI.
    pub session_until: Ms,
    pub is_person_coming: bool,
    /// Its end cannot be known from here: see `checks`.
    pub is_excused: bool,
}

impl Login {
    pub fn new(number: usize, random: &mut Random) -> Self {
        let kinds = [Kind::ClaudePrompt, Kind::ClaudeDirect, Kind::Codex, Kind::Generic];
        let kind = kinds[random.between(0, 3) as usize];
        let lifetime = match kind {
            Kind::ClaudePrompt | Kind::ClaudeDirect => 8 * HOUR,
            Kind::Codex => 10 * DAY,
            Kind::Generic => random.scale(HOUR, 10 * DAY),
        };
        Self {
            id: LoginId::try_new(format!("login-{number}")).unwrap(),
            kind,
            lifetime,
            held: None,
            intent: None,
            task: None,
            cli: None,
            session_until: 0,
            is_person_coming: false,
            is_excused: false,
        }
    }

    pub fn provider(&self) -> Provider {
        match self.kind {
            Kind::ClaudePrompt | Kind::ClaudeDirect => Provider::Claude,
            Kind::Codex => Provider::Codex,
            Kind::Generic => Provider::Generic,
        }
    }

    pub fn way(&self) -> Way {
        if self.kind == Kind::ClaudePrompt { Way::Cli } else { Way::Direct }
    }

    pub fn rules(&self) -> Rules {
        schedule::rules(self.provider(), self.way(), None, self.grants_per_day())
    }

    /// The default of the configuration, or what a short life needs.
    fn grants_per_day(&self) -> u32 {
        u32::try_from(3 * DAY / self.lifetime).unwrap().max(12)
    }

    /// How long before its end a token of this login may be replaced by us, at the most.
    pub fn longest_lead(&self) -> Ms {
        let margin = Ms::try_from(self.rules().margin.as_millis()).unwrap();
        let margin = if self.rules().half_life { margin.min(self.lifetime / 2) } else { margin };
        margin + margin / 10
    }

    pub fn has_cli(&self) -> bool {
        self.kind != Kind::Generic
    }

    pub fn has_lock(&self) -> bool {
        matches!(self.kind, Kind::ClaudePrompt | Kind::ClaudeDirect)
    }

    /// True while a refresh of ours holds the CLI's lock.
    pub fn is_locked(&self) -> bool {
        self.has_lock() && self.task.as_ref().is_some_and(|t| matches!(t.phase, Phase::Sent(_)))
    }

    pub fn reading(&self) -> SourceReading {
        match &self.held {
            Some(held) => SourceReading::Ok(held.credential.clone()),
            None => SourceReading::Husk { login_ended: None },
        }
    }

    /// A person logged in anew.
    pub fn log_in(&mut self, pair: (u64, u64), wall: Timestamp, deadline: Option<Timestamp>, ahead: Ms) {
        let credential = Credential {
            access: Secret::new(server::access(pair.0)),
            refresh: Some(Secret::new(server::refresh(pair.1))),
            expires_at: Some(wall.moved(self.lifetime)),
            login_deadline: deadline,
            scopes: Vec::new(),
            account: None,
            expiry_in_seconds: false,
            identity: Identity::default(),
        };
        self.held = Some(Held::new(credential, ahead));
    }

    /// Stores what a refresh brought, if the source still holds what was spent for it, or nothing.
    /// Returns whether it was stored.
    pub fn store(&mut self, spent: u64, renewed: &Renewed, ahead: Ms) -> bool {
        let base = match &self.held {
            Some(held) if held.token() != spent => return false,
            Some(held) => held.credential.clone(),
            None => Credential {
                access: Secret::new(String::new()),
                refresh: Some(Secret::new(server::refresh(spent))),
                expires_at: None,
                login_deadline: None,
                scopes: Vec::new(),
                account: None,
                expiry_in_seconds: false,
                identity: Identity::default(),
            },
        };
        let credential = Credential {
            access: renewed.access.clone().unwrap_or(base.access),
            refresh: renewed.refresh.clone().or(base.refresh),
            expires_at: renewed.expires_at.or(base.expires_at),
            ..base
        };
        self.held = Some(Held::new(credential, ahead));
        true
    }

    /// True when the source holds another refresh token than this one.
    pub fn has_moved_on(&self, spent: &Fingerprint) -> bool {
        self.held.as_ref().is_some_and(|held| &held.refresh != spent)
    }
}

/// A pause between two uses of a CLI, and when its user stops.
pub fn next_use(login: &mut Login, now: Ms, random: &mut Random) -> Ms {
    if now < login.session_until {
        return now + random.between(3 * MINUTE, 40 * MINUTE);
    }
    let start = now + random.scale(HOUR, 3 * DAY);
    login.session_until = start + random.scale(10 * MINUTE, 8 * HOUR);
    start
}

pub fn span(ms: Ms) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
