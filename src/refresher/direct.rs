//! A refresh token that is spent by us, under the CLI's own locks, for every provider alike: by a
//! request of our own (`direct` mode), or by the CLI in a scratch directory (`exchange`). See the
//! module above for the order and its reasons, `side` for what differs.

use std::path::PathBuf;
use std::time::Duration;

use super::cli_run::CliRun;
use super::exchange::{self, Exchange, Scratch};
use super::intent::{Begun, Found, Intent, IntentError, Intents};
use super::side::{Locks, Side};
use super::{proof, server_time};
use crate::base::credential::{Credential, Renewed, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::LoginId;
use crate::base::secret::{Document, Secret};
use crate::base::time::Timestamp;
use crate::core::refresh::{self, Ended, Outcome};
use crate::core::token_answer::{self, Answer, Grant};
use crate::format::layout::{Layout, Store};
use crate::oauth::endpoint::{self, Request, SendError};
use crate::sys::atomic_file::{self, Expected, FileState, Policy};
use crate::sys::{clock, failpoint};
use crate::systemd::bus::BusAddresses;

/// What an access token without a usable lifetime is believed to last.
const UNSTATED_LIFETIME: Duration = Duration::from_secs(3600);
/// Attempts to store new tokens while somebody else writes the file too.
const STORE_TRIES: usize = 5;

/// Who spends a refresh token.
#[derive(Debug)]
pub enum Spender {
    /// We, with a request to this token endpoint.
    Request(String),
    /// The official CLI.
    Exchange(Exchange),
}

/// One refresh of one login.
#[derive(Debug)]
pub struct Refresh<'a> {
    /// The login.
    pub login: &'a LoginId,
    /// Whose protocol is spoken.
    pub side: Side,
    /// Its source.
    pub source: PathBuf,
    /// How that is laid out.
    pub layout: Layout,
    /// Where intents are kept; the directory exists.
    pub intents: Intents,
    /// How the token is spent.
    pub by: Spender,
    /// Where the buses are.
    pub buses: &'a BusAddresses,
    /// The fingerprint key.
    pub key: &'a FingerprintKey,
    /// The generation that the caller found due; a newer one is adopted.
    pub generation: Option<Fingerprint>,
    /// A person asked for it and knows that the token may have been spent.
    pub is_forced: bool,
    /// Only what an earlier run left is resolved; nothing is sent.
    pub only_resolves: bool,
}

impl Refresh<'_> {
    /// Carries it out.
    pub async fn run(&self) -> Outcome {
        let intent = self.intents.of(self.login);
        let scratch = Scratch::of(&self.intents.directory, self.login);
        // Whoever wrote the record is dead: the caller holds the login's own lock. The CLI that it may
        // have sent out is not.
        if let Ok(Some(left)) = intent.find()
            && (!scratch.is_there() || scratch.is_left_alone(self.login, self.buses).await)
        {
            for lock in &left.locks {
                lock.remove();
            }
        }
        let mut locks = match self.side.lock(&self.source).await {
            Ok(locks) => locks,
            Err(error) => return self.not_sent(Some(refresh::busy_wait()), error.to_string()),
        };
        failpoint::hit("refresh-locked");
        let is_doubtful = match kept_alive(&mut locks, self.resolve(&intent, &scratch)).await {
            Resolved::Ended(outcome) => return outcome,
            Resolved::Nothing => false,
            Resolved::Doubtful => true,
        };
        if self.only_resolves {
            return self.not_sent(None, "nothing was left unfinished".into());
        }
        let Current { document, credential, token } = match self.current() {
            Ok(current) => current,
            Err(outcome) => return outcome,
        };
        let spent = self.key.fingerprint(&token);
        if let Err(why) = proof::storable(&self.source, self.side.follows_links()) {
            return Self::outcome(Ended::NotSent, &spent, None, why.0);
        }
        if let Some(why) = self.side.write_lock_blocked(&self.source) {
            return Self::outcome(Ended::NotSent, &spent, None, why.to_owned());
        }
        let prepared = match &self.by {
            // What an exchange left that is accounted for would be taken for what became of this request.
            Spender::Request(url) => scratch
                .clear()
                .and_then(|()| self.side.request(url, &document, &credential, &token))
                .map(Errand::Request),
            Spender::Exchange(exchange) => exchange
                .prepare(self.login, &scratch, &document, &credential, &token)
                .map(|run| Errand::Exchange(Box::new(run))),
        };
        let errand = match prepared {
            Ok(errand) => errand,
            Err(why) => return Self::outcome(Ended::NotSent, &spent, None, why),
        };
        failpoint::hit("refresh-proven");
        let begun = match intent.begin(&spent, &locks.marks(), clock::now()) {
            Ok(begun) => begun,
            Err(error) => return Self::outcome(Ended::NotSent, &spent, None, error.to_string()),
        };
        failpoint::hit("refresh-intended");
        let began = clock::boottime();
        let spending = Spending { intent: &intent, begun, scratch, token, spent, is_doubtful, began };
        let spent = &spending.spent;
        if !locks.are_ours() {
            spending.was_not_spent();
            return Self::outcome(
                Ended::NotSent,
                spent,
                Some(refresh::busy_wait()),
                "the lock was taken over".into(),
            );
        }
        // The locks are kept alive until the answer is stored: a CLI that took them over before would
        // spend the old token again. One that is lost stops nothing: the answer may be the only copy
        // of the login. It is stored by compare-and-swap.
        let ended = kept_alive(&mut locks, self.spend(&spending, errand)).await;
        failpoint::hit("refresh-before-unlock");
        drop(locks);
        match ended {
            Spent::Ended(outcome) => outcome,
            Spent::Refused(error) => self.refused(spent, error).await,
        }
    }

    async fn spend(&self, spending: &Spending<'_>, errand: Errand) -> Spent {
        let mut clock_ahead = None;
        let answer = match errand {
            Errand::Request(request) => endpoint::send(request).await.map(|reply| {
                clock_ahead = reply.date.and_then(|date| server_time::ahead_of(date, spending.began));
                token_answer::judge(reply.status, reply.retry_after.as_deref(), reply.body.expose())
            }),
            Errand::Exchange(run) => exchange::spend(&run, &spending.scratch, self.buses).await,
        };
        failpoint::hit("refresh-answered");
        let spent = &spending.spent;
        match answer {
            Ok(answer) => match self.follow(spending, answer).await {
                Spent::Ended(outcome) => Spent::Ended(Outcome { clock_ahead, ..outcome }),
                refused @ Spent::Refused(_) => refused,
            },
            Err(error @ (SendError::Url(_) | SendError::NotSent(_))) => {
                spending.was_not_spent();
                Spent::Ended(Self::outcome(Ended::NotSent, spent, None, error.to_string()))
            }
            // The intent stays: it is the record of what may have been spent.
            Err(error @ SendError::Unknown(_)) => {
                Spent::Ended(Self::sent(Ended::Unknown, spent, None, error.to_string()))
            }
        }
    }

    async fn follow(&self, spending: &Spending<'_>, answer: Answer) -> Spent {
        let spent = &spending.spent;
        let failed = |wait, detail: String| {
            // The server looked at the request and traded nothing.
            spending.was_not_spent();
            Self::outcome(Ended::Failed, spent, wait, detail)
        };
        Spent::Ended(match answer {
            Answer::Granted(grant) => self.keep(spending, grant).await,
            Answer::Rejected { error } => {
                spending.settle();
                return Spent::Refused(error);
            }
            Answer::BadRequest { error } => failed(
                Some(refresh::blocked_wait()),
                format!("the endpoint calls the request wrong: {error}"),
            ),
            Answer::Throttled { wait } => failed(Some(wait), "the endpoint asks to wait".into()),
            Answer::Blocked { status } => failed(
                Some(refresh::blocked_wait()),
                format!("the endpoint is closed to us: status {status}"),
            ),
            Answer::ServerFailed { status } => failed(None, format!("the endpoint failed: status {status}")),
            Answer::Unreadable { why } => Self::sent(Ended::Unknown, spent, None, why.to_owned()),
        })
    }

    /// Records the new tokens, then stores them.
    async fn keep(&self, spending: &Spending<'_>, mut grant: Grant) -> Outcome {
        let Spending { begun, token, spent, .. } = spending;
        let told = match self.by {
            Spender::Request(_) => None,
            Spender::Exchange(_) => exchange::cap(&mut grant),
        };
        let renewed = renewed(grant, token, server_time::wall_at(spending.began));
        let recorded = begun.record(token, &renewed, clock::now());
        failpoint::hit("refresh-recorded");
        match self.store(token, &renewed).await {
            Ok(how) => {
                failpoint::hit("refresh-stored");
                spending.settle();
                Self::sent(how, spent, None, told.unwrap_or_else(|| "stored".into()))
            }
            // The record stays and is completed by the next run.
            Err(why) => {
                let kept = if recorded.is_ok() {
                    "the new tokens are kept in the intent record"
                } else {
                    "NOT KEPT"
                };
                Self::sent(Ended::Unknown, spent, None, format!("{why}; {kept}"))
            }
        }
    }

    /// A refusal is evidence about the bytes that were sent, not about the login: the source is
    /// read again. Without the locks, for which whoever refreshed it may be waiting.
    async fn refused(&self, spent: &Fingerprint, error: String) -> Outcome {
        for pause in self.side.doubts() {
            tokio::time::sleep(*pause).await;
            if self.has_moved_on(spent) {
                return Self::sent(Ended::Adopted, spent, None, "somebody else had refreshed it".into());
            }
        }
        Self::sent(Ended::Rejected, spent, None, format!("the provider refused the refresh token: {error}"))
    }

    /// Stores by compare-and-swap on the refresh token that was spent.
    async fn store(&self, spent: &Secret, renewed: &Renewed) -> Result<Ended, String> {
        let _lock = self.side.write_lock(&self.source).await.map_err(|e| e.to_string())?;
        failpoint::hit("refresh-write-locked");
        for _ in 0..STORE_TRIES {
            let FileState::Present(file) = atomic_file::observe(&self.source) else {
                return Err("the source cannot be read".into());
            };
            let patched = match self.layout.store(file.document.expose(), spent, renewed) {
                Ok(Store::Patched(document)) => document,
                // Ours, of a run that did not live to see it on disk, or saw the disk fail. It is written
                // anew: a sync that failed once succeeds the second time, and proves nothing.
                Ok(Store::Superseded) if self.holds(&file.document, renewed) => file.document.clone(),
                Ok(Store::Superseded) => return Ok(Ended::Adopted),
                Err(error) => return Err(error.to_string()),
            };
            let expected = Expected::Content(atomic_file::Digest::of(&file.document));
            let policy = Policy { mode: Some(0o600), ..Policy::default() };
            let written = atomic_file::replace(&self.source, &patched, expected, policy);
            match written {
                Ok(()) => {
                    return Ok(if renewed.refresh.is_some() { Ended::Rotated } else { Ended::Kept });
                }
                Err(error) if error.kind == atomic_file::WriteErrorKind::Changed => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the source changes all the time".into())
    }

    /// Resolves what an earlier run left.
    async fn resolve(&self, intent: &Intent, scratch: &Scratch) -> Resolved {
        let mut found = match intent.find() {
            Ok(None) => return Resolved::Nothing,
            Ok(Some(found)) => found,
            Err(error) => return Resolved::Ended(self.not_sent(None, error.to_string())),
        };
        if found.answer.is_none() && found.unread.is_none() && scratch.is_there() {
            match self.in_scratch(intent, scratch, &found).await {
                Ok(Some(answer)) => found.answer = Some(answer),
                Ok(None) => found.unread = scratch.unread(),
                Err(outcome) => return Resolved::Ended(outcome),
            }
        }
        let ended = |how, detail| Resolved::Ended(Self::outcome(how, &found.spent, None, detail));
        match &found.answer {
            Some((token, renewed)) => match self.store(token, renewed).await {
                Ok(how) => {
                    settle(intent, scratch);
                    ended(how, "an interrupted refresh was completed".into())
                }
                Err(why) => ended(Ended::Unknown, why),
            },
            None if self.has_moved_on(&found.spent) => {
                settle(intent, scratch);
                if self.only_resolves {
                    ended(Ended::Adopted, "somebody else had refreshed it".into())
                } else {
                    Resolved::Nothing
                }
            }
            // It may be the only copy of the login: nobody makes room for another answer in its place.
            None if let Some(path) = &found.unread => {
                let why = format!(
                    "{} is there and cannot be read; without it the login may be lost",
                    path.display()
                );
                Resolved::Ended(self.not_sent(None, why))
            }
            // The one way past an unknown is a person who asks for it.
            None if self.is_forced => Resolved::Doubtful,
            None => ended(Ended::Unknown, unknown_since(&found)),
        }
    }

    /// What an interrupted exchange left in its scratch directory: an answer, which lies safe
    /// there, or nothing. An exchange that is known to have brought nothing ends here.
    async fn in_scratch(
        &self,
        intent: &Intent,
        scratch: &Scratch,
        found: &Found,
    ) -> Result<Option<(Secret, Renewed)>, Outcome> {
        let ended = |how, detail: String| Self::outcome(how, &found.spent, None, detail);
        if !scratch.is_left_alone(self.login, self.buses).await {
            return Err(ended(Ended::Unknown, "the CLI of an interrupted exchange still runs".into()));
        }
        match scratch.answer() {
            Ok(Answer::Granted(mut grant)) => {
                exchange::cap(&mut grant);
                // A source that holds another token is not written, whatever this one was.
                let spent = match self.read() {
                    SourceReading::Ok(Credential { refresh: Some(token), .. })
                        if self.key.fingerprint(&token) == found.spent =>
                    {
                        token
                    }
                    _ => Secret::new(String::new()),
                };
                let renewed = renewed(grant, &spent, clock::now());
                Ok(Some((spent, renewed)))
            }
            Ok(_) => {
                settle(intent, scratch);
                Err(ended(Ended::Failed, "an interrupted exchange was refused".into()))
            }
            Err(SendError::NotSent(why)) => {
                settle(intent, scratch);
                Err(ended(Ended::NotSent, why))
            }
            Err(_) => Ok(None),
        }
    }

    /// True when the source holds another refresh token than the one of that fingerprint.
    fn has_moved_on(&self, spent: &Fingerprint) -> bool {
        match self.read() {
            SourceReading::Ok(credential) => {
                credential.refresh.is_some_and(|token| &self.key.fingerprint(&token) != spent)
            }
            _ => false,
        }
    }

    /// True when the document holds the refresh token that the answer brought.
    fn holds(&self, document: &Document, renewed: &Renewed) -> bool {
        match self.layout.parse(document.expose()) {
            SourceReading::Ok(credential) => {
                renewed.refresh.is_some() && credential.refresh == renewed.refresh
            }
            _ => false,
        }
    }

    fn read(&self) -> SourceReading {
        match atomic_file::observe(&self.source) {
            FileState::Present(file) => self.layout.parse(file.document.expose()),
            FileState::Absent { .. } => SourceReading::Missing,
            FileState::Unreadable { reason, .. } => SourceReading::Unreadable { reason: reason.to_string() },
        }
    }

    /// The source under the locks, if it is still the one that was due.
    fn current(&self) -> Result<Current, Outcome> {
        let unusable = || self.not_sent(None, "the source holds no usable login".into());
        let FileState::Present(file) = atomic_file::observe(&self.source) else { return Err(unusable()) };
        let SourceReading::Ok(credential) = self.layout.parse(file.document.expose()) else {
            return Err(unusable());
        };
        let generation = self.key.generation(&credential);
        if self.generation.as_ref().is_some_and(|due| due != &generation) {
            let outcome = self.not_sent(None, "somebody else had refreshed it".into());
            return Err(Outcome { ended: Ended::Adopted, ..outcome });
        }
        let Some(token) = credential.refresh.clone() else {
            return Err(self.not_sent(None, "there is no refresh token".into()));
        };
        Ok(Current { document: file.document, credential, token })
    }

    fn not_sent(&self, wait: Option<Duration>, detail: String) -> Outcome {
        let refresh = match self.read() {
            SourceReading::Ok(Credential { refresh: Some(token), .. }) => self.key.fingerprint(&token),
            _ => self.key.of_parts(&[]),
        };
        Outcome { ended: Ended::NotSent, refresh, is_spent: false, wait, clock_ahead: None, detail }
    }

    fn outcome(ended: Ended, spent: &Fingerprint, wait: Option<Duration>, detail: String) -> Outcome {
        Outcome { ended, refresh: spent.clone(), is_spent: false, wait, clock_ahead: None, detail }
    }

    fn sent(ended: Ended, spent: &Fingerprint, wait: Option<Duration>, detail: String) -> Outcome {
        Outcome { is_spent: true, ..Self::outcome(ended, spent, wait, detail) }
    }
}

/// Does the work while the locks are kept alive; a lock that is lost does not stop it.
async fn kept_alive<T>(locks: &mut Locks, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        _lost = locks.beat_until_lost() => work.await,
    }
}

/// Ends an intent whose token is accounted for, and removes what the exchange left of it.
fn settle(intent: &Intent, scratch: &Scratch) {
    // What cannot be removed now is resolved again by the next run, and found done.
    if intent.end().is_ok() {
        failpoint::hit("refresh-settled");
        let _ = scratch.remove();
    }
}

/// How the token is going to be spent.
enum Errand {
    Request(Request),
    Exchange(Box<CliRun>),
}

/// What came of an earlier run's intent.
enum Resolved {
    /// This run has its outcome.
    Ended(Outcome),
    /// Nothing is left.
    Nothing,
    /// The token may have been spent before, and a person wants it sent all the same.
    Doubtful,
}

/// What is about to be spent.
struct Current {
    document: Document,
    credential: Credential,
    token: Secret,
}

/// What came of the request.
enum Spent {
    /// This run has its outcome.
    Ended(Outcome),
    /// The token was refused, with that word.
    Refused(String),
}

/// A token that is being spent, and its record.
struct Spending<'a> {
    intent: &'a Intent,
    begun: Begun<'a>,
    scratch: Scratch,
    token: Secret,
    spent: Fingerprint,
    /// An earlier run may have spent it: only an answer about the token itself ends that doubt.
    is_doubtful: bool,
    /// The boot clock before the request: what a grant brings lasts from here on at the least, also
    /// when the machine slept before the answer was read.
    began: Duration,
}

impl Spending<'_> {
    /// This run did not spend it.
    fn was_not_spent(&self) {
        if !self.is_doubtful {
            self.settle();
        }
    }

    fn settle(&self) {
        settle(self.intent, &self.scratch);
    }
}

fn unknown_since(found: &Found) -> String {
    format!("a refresh of {} was interrupted; its token may have been spent", found.at)
}

/// A refresh token that comes back unchanged is no new one.
fn renewed(grant: Grant, spent: &Secret, now: Timestamp) -> Renewed {
    let lifetime = grant.expires_in.unwrap_or(UNSTATED_LIFETIME);
    Renewed {
        expires_at: grant.access.as_ref().map(|_| now.after(lifetime)),
        access: grant.access,
        refresh: grant.refresh.filter(|token| token != spent),
        id_token: grant.id_token,
        login_deadline: grant.login_ends_in.map(|ends| now.after(ends)),
        scopes: grant.scopes,
        granted_at: Some(now),
    }
}

/// An intent that cannot be read blocks its login: whoever wrote it may have spent a token.
///
/// # Errors
/// As [`Intent::find`].
pub fn unfinished(intents: &Intents, login: &LoginId) -> Result<Option<Found>, IntentError> {
    intents.of(login).find()
}
