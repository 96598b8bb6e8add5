//! Desired, observed and remembered in; a plan out. Total and repeatable: planning again over what
//! the plan produced plans nothing (P1), the order of targets does not change what is written
//! (P2), and a source that is blank, torn, stale or another account's is never propagated (P3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::choose::{self, SinkStanding, SourceStanding};
use super::clock::Judgement;
use super::fit;
use super::memory::{GenerationRecord, LoginMemory, Memory, TargetMemory};
use super::model::{
    Apply, ApplyRule, Delivery, Desired, DesiredGateway, DesiredLogin, DesiredSink, Force, Observed,
    ObservedTarget, Plan, Render, Rotation, SupplyForm, TargetContent, TargetState, TargetVerdict, Write,
    WriteReason,
};
use crate::base::code::{Code, Finding, Severity};
use crate::base::credential::{Credential, Held, SourceReading};
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::{LoginId, SinkId};
use crate::base::secret::Document;
use crate::base::time::Timestamp;
use crate::format::auth_profiles::EntryForm;
use crate::format::{Edit, auth_profiles, dotenv, mirror, oauth_json, secret_file};

/// This many overwrites of one target within [`FIGHT_WINDOW`] are a fight with another writer.
pub const FIGHT_COUNT: usize = 3;
/// See [`FIGHT_COUNT`].
pub const FIGHT_WINDOW: Duration = Duration::from_secs(600);
/// During a fight a target is put right at most this often.
const FIGHT_PAUSE: Duration = Duration::from_secs(60);

/// How long after a new generation its older ones are a gateway's own memory, not a stranger's: a
/// busy gateway on a busy machine needed two minutes of reloads.
const SETTLING: Duration = Duration::from_secs(600);
/// A gateway that goes without a set-up is set up again after this time at the earliest.
const SET_UP_PAUSE: Duration = Duration::from_secs(3600);

/// The credential that the sinks of a login should hold, with its generation.
struct Current<'a> {
    credential: &'a Credential,
    generation: Fingerprint,
}

/// Plans one pass.
#[must_use]
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    key: &FingerprintKey,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let mut needs_apply: BTreeMap<SinkId, Force> = BTreeMap::new();
    let mut needs_set_up: BTreeSet<SinkId> = BTreeSet::new();
    let targets = targets_by_login(desired, observed);
    for login in &desired.logins {
        let login_memory = memory.logins.get(&login.id);
        let current = current_of(login, observed, login_memory, key, now, &mut plan);
        for (sink, target) in targets.get(&login.id).into_iter().flatten().copied() {
            let step = Step {
                sink,
                target,
                login,
                login_memory,
                memory: memory.targets.get(&target.id.to_string()),
                hindrance: hindrance(target, desired, memory),
                is_settling: is_settling(target, login_memory, now),
            };
            let before = (plan.writes.len(), plan.deliveries.len() + plan.handed.len());
            step.plan(current.as_ref(), key, now, &mut plan);
            let is_news = |write: &Write| write.reason != WriteReason::Expiry;
            let is_written = plan.writes.get(before.0..).is_some_and(|new| new.iter().any(is_news));
            if is_written || plan.deliveries.len() + plan.handed.len() > before.1 {
                let force = needs_apply.entry(sink.id.clone()).or_insert(Force::Nothing);
                *force = target.force.max(*force);
            } else if target.needs_set_up
                && plan.targets.last().is_some_and(|t| t.state == TargetState::Current)
            {
                needs_set_up.insert(sink.id.clone());
            }
        }
    }
    for gateway in &desired.gateways {
        let force_of =
            |sink: &SinkId| needs_apply.get(sink).map_or(Force::Nothing, |need| gateway.apply.force(*need));
        plan.applies.extend(apply_of(gateway, &force_of, &needs_set_up, desired, memory, now));
    }
    plan
}

/// The targets of each login with their sinks, in the order in which they were observed.
fn targets_by_login<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
) -> BTreeMap<&'a LoginId, Vec<(&'a DesiredSink, &'a ObservedTarget)>> {
    let sinks: BTreeMap<&SinkId, &DesiredSink> = desired.sinks.iter().map(|s| (&s.id, s)).collect();
    let mut targets: BTreeMap<&LoginId, Vec<_>> = BTreeMap::new();
    for target in &observed.targets {
        if let Some(sink) = sinks.get(&target.id.sink) {
            targets.entry(&sink.login).or_default().push((*sink, target));
        }
    }
    targets
}

/// True while a gateway that keeps what it has read may write it back over a new generation: until
/// its reload is proved by what it does not write any more (OpenClaw 2026.2.26 to 3.31).
fn is_settling(target: &ObservedTarget, login: Option<&LoginMemory>, now: Timestamp) -> bool {
    let keeps_a_snapshot = target.force == Force::Reload && matches!(target.form, Some(SupplyForm::Entry(_)));
    let newest = login.and_then(LoginMemory::newest);
    keeps_a_snapshot && newest.is_some_and(|record| now.since(record.seen_at) < SETTLING)
}

/// Why the configuration of a target's gateway, which does not name it yet, cannot be made to.
fn hindrance(target: &ObservedTarget, desired: &Desired, memory: &Memory) -> Option<String> {
    let is_handed = target.content == TargetContent::Handed;
    if !(target.needs_set_up || is_handed) {
        return None;
    }
    let reads = |g: &&DesiredGateway| g.sinks.contains(&target.id.sink) && g.apply != ApplyRule::Never;
    let Some(gateway) = desired.gateways.iter().find(reads) else {
        return Some(
            "no [[gateway]] that may be reloaded names this sink, so nothing would follow it".to_owned(),
        );
    };
    if !target.needs_set_up {
        return None;
    }
    let unfit = memory.gateways.get(&gateway.id)?.unfit.as_ref()?;
    (Some(unfit) == target.release.as_ref()).then(|| {
        format!("the configuration of OpenClaw {unfit} could not be made to refer to what it is given")
    })
}

fn apply_of(
    gateway: &DesiredGateway,
    force_of: &dyn Fn(&SinkId) -> Force,
    needs_set_up: &BTreeSet<SinkId>,
    desired: &Desired,
    memory: &Memory,
    now: Timestamp,
) -> Option<Apply> {
    let mut sinks: Vec<SinkId> =
        gateway.sinks.iter().filter(|s| force_of(s) > Force::Nothing).cloned().collect();
    let force = sinks.iter().map(force_of).max().unwrap_or(Force::Reload);
    // What is pending already sets up too: asking again would begin its waits anew. A set-up that is
    // not to be seen afterwards is not repeated at every pass.
    let is_open = memory.gateways.get(&gateway.id).is_none_or(|known| {
        known.pending.is_none() && known.last_at.is_none_or(|at| now.since(at) >= SET_UP_PAUSE)
    });
    let is_set_up = sinks.is_empty() && is_open && gateway.apply != ApplyRule::Never;
    if is_set_up {
        sinks.extend(gateway.sinks.iter().filter(|s| needs_set_up.contains(s)).cloned());
    }
    if sinks.is_empty() {
        return None;
    }
    // What the gateway uses now is the newest generation remembered before this pass.
    let token_ends =
        sinks.iter().filter_map(|s| memory.logins.get(&desired.sink(s)?.login)?.newest()?.expires_at).min();
    Some(Apply { gateway: gateway.id.clone(), sinks, token_ends, force, is_set_up })
}

/// The current credential of a login, or none with a finding that says why (P3).
fn current_of<'a>(
    login: &DesiredLogin,
    observed: &'a Observed,
    memory: Option<&LoginMemory>,
    key: &FingerprintKey,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Current<'a>> {
    let source = observed.source(&login.id)?;
    let SourceReading::Ok(credential) = &source.reading else { return None };
    let generation = key.generation(credential);
    match choose::judge_source(credential, memory, key, now) {
        SourceStanding::Current => {}
        SourceStanding::New => plan.rotations.push(Rotation {
            login: login.id.clone(),
            from: memory.and_then(LoginMemory::newest).map(|r| r.generation.clone()),
            to: generation.clone(),
        }),
        SourceStanding::Stale => {
            let why = "holds an older generation than one already seen; it is not handed on";
            plan.findings.push(
                Finding::new(
                    Code::StaleSource,
                    Severity::Critical,
                    login.id.as_str(),
                    format!("{} {why}", source.path),
                )
                .with_next(format!("tokensink sync --accept {}", login.id)),
            );
            return None;
        }
        SourceStanding::OtherAccount => {
            plan.findings.push(
                Finding::new(
                    Code::AccountMismatch,
                    Severity::Critical,
                    login.id.as_str(),
                    format!("{} now holds another account's login; it is not handed on", source.path),
                )
                .with_next(format!("tokensink sync --accept {}", login.id)),
            );
            return None;
        }
    }
    Some(Current { credential, generation })
}

/// One target with all that is known about it.
struct Step<'a> {
    sink: &'a DesiredSink,
    target: &'a ObservedTarget,
    login: &'a DesiredLogin,
    login_memory: Option<&'a LoginMemory>,
    memory: Option<&'a TargetMemory>,
    /// Why its gateway's configuration cannot be made to name it.
    hindrance: Option<String>,
    /// Its gateway may still write back what it remembers.
    is_settling: bool,
}

impl Step<'_> {
    fn plan(&self, current: Option<&Current<'_>>, key: &FingerprintKey, now: Timestamp, plan: &mut Plan) {
        let (state, code) = self.judge(current, key, now, plan);
        plan.targets.push(TargetVerdict {
            id: self.target.id.clone(),
            path: self.target.path.clone(),
            state,
            code,
        });
    }

    fn judge(
        &self,
        current: Option<&Current<'_>>,
        key: &FingerprintKey,
        now: Timestamp,
        plan: &mut Plan,
    ) -> (TargetState, Option<Code>) {
        if let Some(why) = &self.hindrance {
            return self.refuse(Code::VersionUnsupported, why.clone(), plan);
        }
        let document = match &self.target.content {
            TargetContent::Refused(code, why) => return self.refuse(*code, why.clone(), plan),
            TargetContent::NoDirectory => {
                let why =
                    format!("the directory of {} does not exist; it is not created here", self.target.path);
                self.report(Code::Missing, Severity::Warning, why, plan);
                return (TargetState::Missing, Some(Code::Missing));
            }
            TargetContent::Unreadable(why) => return self.fail(Code::Unreadable, why, plan),
            TargetContent::Delivery => return self.deliver(self.holds(), current, &mut plan.deliveries),
            TargetContent::Handed => return self.deliver(self.holds(), current, &mut plan.handed),
            TargetContent::Torn => return (TargetState::Stale, None),
            TargetContent::NotNeeded => return (TargetState::Current, None),
            TargetContent::Absent => None,
            TargetContent::Present(document) => Some(document),
        };
        if self.sink.render == Render::Sealed {
            return self.seal(document, current, key, now, plan);
        }
        let held = match document.map(|d| self.held(d)).transpose() {
            Ok(held) => held.flatten(),
            Err(why) => return self.fail(Code::Unreadable, &why, plan),
        };
        let Some(current) = current else { return self.without_current(held.as_ref(), key) };
        if let Some(why) = fit::why_unfit(&self.sink.render, self.login.provider, current.credential) {
            return self.refuse(Code::TokenUnfit, why, plan);
        }
        let standing = choose::judge_sink(held.as_ref(), current.credential, self.login_memory, key);
        match standing {
            SinkStanding::Newer => {
                let why = format!("{} holds a copy that ends later than the source's", self.target.path);
                return self.refuse(Code::StaleSource, why, plan);
            }
            SinkStanding::OtherAccount => {
                let why = format!("{} holds another account's credential", self.target.path);
                return self.refuse(Code::AccountMismatch, why, plan);
            }
            SinkStanding::Empty | SinkStanding::Same | SinkStanding::Older => {}
        }
        let edit = match self.edit(document, current.credential) {
            Ok(edit) => edit,
            Err(why) => return self.fail(Code::SinkFailed, &why, plan),
        };
        let new = match (edit, document) {
            (Edit::Changed(new), _) => new,
            // A gateway refuses a mirror that others may read: it is made anew.
            (Edit::Unchanged, Some(same)) if self.is_open_mirror() => same.clone(),
            (Edit::Unchanged, _) => return (TargetState::Current, None),
        };
        let holds_nothing = document.is_none() || standing == SinkStanding::Empty;
        let mut reason = self.reason(document.is_some(), standing, current);
        if reason == WriteReason::Repair
            && self.only_ends_otherwise(document, held.as_ref(), current.credential)
        {
            reason = WriteReason::Expiry;
        }
        if reason == WriteReason::Clobbered
            && let Some(until) = self.fight_until(now)
        {
            plan.wake_at = Some(plan.wake_at.map_or(until, |at| at.min(until)));
            return (TargetState::Stale, Some(Code::SecondWriter));
        }
        let keeps_displaced = self.displaces_foreign(document, held.as_ref())
            || held.is_some_and(|h| {
                choose::holds_unknown_refresh(&h, current.credential, self.login_memory, key)
            });
        plan.writes.push(Write {
            target: self.target.id.clone(),
            login: self.login.id.clone(),
            document: new,
            planned_against: document.cloned(),
            reason,
            generation: current.generation.clone(),
            keeps_displaced,
        });
        (if holds_nothing { TargetState::Missing } else { TargetState::Stale }, None)
    }

    fn is_open_mirror(&self) -> bool {
        self.target.form == Some(SupplyForm::Mirror) && self.target.mode.is_some_and(|mode| mode & 0o077 != 0)
    }

    /// True when a file of ours, which is written whole, would replace a content that we neither
    /// wrote nor recognise: a wrong `path` must not cost anybody a file.
    fn displaces_foreign(&self, document: Option<&Document>, held: Option<&Held>) -> bool {
        let is_ours = matches!(self.sink.render, Render::SecretFile | Render::View(_) | Render::Template)
            || self.target.form == Some(SupplyForm::Mirror);
        let is_recognised = held.is_some_and(|h| h.access.is_some());
        is_ours && self.memory.is_none() && !is_recognised && document.is_some_and(|d| !d.is_empty())
    }

    fn reason(&self, exists: bool, standing: SinkStanding, current: &Current<'_>) -> WriteReason {
        let was_current = self.memory.is_some_and(|m| m.generation.as_ref() == Some(&current.generation));
        match standing {
            _ if !exists => WriteReason::Missing,
            SinkStanding::Same => WriteReason::Repair,
            _ if was_current && !self.is_settling => WriteReason::Clobbered,
            SinkStanding::Empty => WriteReason::Missing,
            _ => WriteReason::Stale,
        }
    }

    /// True when the document would stay as it is, did the credential end when the document says.
    fn only_ends_otherwise(
        &self,
        document: Option<&Document>,
        held: Option<&Held>,
        credential: &Credential,
    ) -> bool {
        let Some(noted) = held.and_then(|h| h.expires_at) else { return false };
        let as_noted = Credential { expires_at: Some(noted), ..credential.clone() };
        matches!(self.edit(document, &as_noted), Ok(Edit::Unchanged))
    }

    /// During a fight with another writer: until when the target is left alone.
    fn fight_until(&self, now: Timestamp) -> Option<Timestamp> {
        let memory = self.memory?;
        let since = now.before(FIGHT_WINDOW);
        let recent = memory.clobbered_at.iter().filter(|at| **at >= since).count();
        let until = memory.written_at?.after(FIGHT_PAUSE);
        (recent >= FIGHT_COUNT && until > now).then_some(until)
    }

    /// Without a usable source nothing is written; the target is judged by what is remembered.
    fn without_current(&self, held: Option<&Held>, key: &FingerprintKey) -> (TargetState, Option<Code>) {
        let Some(access) = held.and_then(|h| h.access.as_ref()) else { return (TargetState::Missing, None) };
        let newest = self.login_memory.and_then(LoginMemory::newest);
        if newest.is_some_and(|r| r.access == key.fingerprint(access)) {
            (TargetState::Current, None)
        } else {
            (TargetState::Stale, None)
        }
    }

    /// The generation that the target was given last.
    fn holds(&self) -> Option<&Fingerprint> {
        self.memory.and_then(|m| m.generation.as_ref())
    }

    /// An encrypted file is as good as its generation while it is the one that we wrote; nobody can
    /// look into it.
    fn seal(
        &self,
        document: Option<&Document>,
        current: Option<&Current<'_>>,
        key: &FingerprintKey,
        now: Timestamp,
        plan: &mut Plan,
    ) -> (TargetState, Option<Code>) {
        let written = self.memory.and_then(|m| m.sealed.as_ref());
        let is_ours = document.is_some_and(|d| written == Some(&key.of_parts(&[d.expose()])));
        let holds = self.holds();
        let is_news = current.is_some_and(|c| holds != Some(&c.generation));
        if !is_ours
            && !is_news
            && document.is_some()
            && let Some(until) = self.fight_until(now)
        {
            plan.wake_at = Some(plan.wake_at.map_or(until, |at| at.min(until)));
            return (TargetState::Stale, Some(Code::SecondWriter));
        }
        self.deliver(holds.filter(|_| is_ours), current, &mut plan.deliveries)
    }

    fn deliver(
        &self,
        delivered: Option<&Fingerprint>,
        current: Option<&Current<'_>>,
        deliveries: &mut Vec<Delivery>,
    ) -> (TargetState, Option<Code>) {
        let Some(current) = current else {
            return (if delivered.is_some() { TargetState::Current } else { TargetState::Missing }, None);
        };
        if delivered == Some(&current.generation) {
            return (TargetState::Current, None);
        }
        deliveries.push(Delivery {
            target: self.target.id.clone(),
            login: self.login.id.clone(),
            generation: current.generation.clone(),
        });
        (if delivered.is_some() { TargetState::Stale } else { TargetState::Missing }, None)
    }

    fn held(&self, document: &Document) -> Result<Option<Held>, String> {
        let bytes = document.expose();
        let only_access = |access| Some(Held { access, ..Held::default() });
        match &self.sink.render {
            Render::OAuthJson { provider, .. } => {
                oauth_json::held(bytes, provider).map_err(|e| e.to_string())
            }
            Render::AuthProfiles { provider, .. } if self.target.form == Some(SupplyForm::Mirror) => {
                // Our own file: whatever is there instead is replaced.
                Ok(mirror::held(bytes, provider).ok())
            }
            Render::AuthProfiles { profile, .. } => {
                auth_profiles::held(bytes, profile).map_err(|e| e.to_string())
            }
            Render::EnvFile { key } => dotenv::held(bytes, key).map(only_access).map_err(|e| e.to_string()),
            // Our own files: whatever is there instead is replaced.
            Render::SecretFile => Ok(secret_file::held(bytes).ok()),
            Render::View(view) => Ok(view.held(bytes)),
            Render::Template => {
                Ok(self.target.template.as_ref().and_then(|t| only_access(t.held_access(bytes))))
            }
            Render::Command | Render::Sealed => Ok(None),
        }
    }

    fn edit(&self, existing: Option<&Document>, credential: &Credential) -> Result<Edit, String> {
        let bytes = existing.map(Document::expose);
        match &self.sink.render {
            Render::OAuthJson { provider, refresh } => {
                oauth_json::edit(bytes, provider, credential, *refresh).map_err(|e| e.to_string())
            }
            Render::AuthProfiles { profile, provider } => {
                let edit = match self.target.form {
                    Some(SupplyForm::Mirror) => mirror::edit(bytes, provider, credential),
                    Some(SupplyForm::Entry(form)) => {
                        auth_profiles::edit(bytes, profile, provider, credential, form)
                    }
                    None => auth_profiles::edit(bytes, profile, provider, credential, EntryForm::Token),
                };
                edit.map_err(|e| e.to_string())
            }
            Render::EnvFile { key } => {
                dotenv::edit(bytes, key, &credential.access).map_err(|e| e.to_string())
            }
            Render::SecretFile => secret_file::edit(bytes, credential).map_err(|e| e.to_string()),
            Render::View(view) => view.edit(bytes, credential).map_err(|e| e.to_string()),
            Render::Template => {
                let template = self.target.template.as_ref().ok_or("the template was not read")?;
                let new = template.render(credential, self.login.id.as_str()).map_err(|e| e.to_string())?;
                Ok(if existing == Some(&new) { Edit::Unchanged } else { Edit::Changed(new) })
            }
            Render::Command | Render::Sealed => Ok(Edit::Unchanged),
        }
    }

    fn refuse(&self, code: Code, why: String, plan: &mut Plan) -> (TargetState, Option<Code>) {
        let severity = if code == Code::ImportPending { Severity::Notice } else { Severity::Warning };
        self.report(code, severity, why, plan);
        (TargetState::Refused, Some(code))
    }

    fn fail(&self, code: Code, why: &str, plan: &mut Plan) -> (TargetState, Option<Code>) {
        self.report(
            code,
            Severity::Warning,
            format!("{}: {why}; it is left as it is", self.target.path),
            plan,
        );
        (TargetState::Error, Some(code))
    }

    fn report(&self, code: Code, severity: Severity, why: String, plan: &mut Plan) {
        plan.findings.push(Finding::new(code, severity, self.target.id.to_string(), why));
    }
}

/// Notes in `memory` what a pass saw: new generations, and which targets hold the current one.
pub fn remember(
    memory: &mut Memory,
    observed: &Observed,
    plan: &Plan,
    key: &FingerprintKey,
    clock: &Judgement,
) {
    for rotation in &plan.rotations {
        if let Some(SourceReading::Ok(credential)) = observed.source(&rotation.login).map(|s| &s.reading) {
            let record = GenerationRecord::of(credential, key, clock);
            let login = memory.logins.entry(rotation.login.clone()).or_default();
            login.remember(record, credential.account.as_ref());
            login.rotations = login.rotations.saturating_add(1);
        }
    }
}

/// Notes that a target holds `generation`.
pub fn remember_target(memory: &mut Memory, target: &str, generation: &Fingerprint) {
    let entry = memory.targets.entry(target.to_owned()).or_default();
    entry.generation = Some(generation.clone());
    entry.failure = None;
}
