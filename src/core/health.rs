//! What is wrong, as findings: the one place that `status`, `doctor`, alerts, the journal and the
//! service's status line read from.

use std::collections::BTreeSet;
use std::time::Duration;

use super::alert::memory::Trouble;
use super::apply;
use super::clock::Judgement;
use super::families;
use super::memory::{LoginMemory, Memory, TargetMemory};
use super::model::{
    Desired, DesiredLogin, DesiredSink, Observed, ObservedSource, Plan, TargetState, TargetVerdict,
};
use super::plan::{FIGHT_COUNT, FIGHT_WINDOW};
use super::refresh::Stop;
use super::unauthorized;
use super::verdict::{self, LoginState};
use crate::base::code::{Code, Finding, Severity};
use crate::base::credential::{Credential, SourceReading};
use crate::base::fingerprint::FingerprintKey;
use crate::base::id::SinkId;
use crate::base::time::{Timestamp, short_duration};

/// How long a sink that was put right again stays a finding.
const CLOBBER_MEMORY: Duration = Duration::from_secs(3600);
/// Permission bits that let others than owner and group read, or the group write.
const TOO_WIDE: u32 = 0o037;

/// Every finding that is open now.
#[must_use]
pub fn findings(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    plan: &Plan,
    key: &FingerprintKey,
    clock: &Judgement,
) -> Vec<Finding> {
    let now = clock.now;
    let mut found = Vec::new();
    if let Some(evidence) = clock.evidence() {
        let summary = format!("{evidence}; nothing is refreshed on the word of that clock alone");
        found.push(
            Finding::new(Code::ClockSuspect, Severity::Warning, "clock", summary).with_next("timedatectl"),
        );
    }
    if desired.logins.is_empty() {
        found.push(Finding::new(Code::Missing, Severity::Warning, "logins", "no login is configured"));
    }
    for login in &desired.logins {
        if let Some(source) = observed.source(&login.id) {
            let known = memory.logins.get(&login.id);
            if source.settled {
                found.extend(login_findings(login, source, known, desired, now));
            } else {
                found.extend(in_doubt(login, memory));
            }
        }
    }
    found.extend(desired.sinks.iter().filter_map(|sink| unsupplied(sink, observed)));
    found.extend(plan.findings.iter().cloned());
    for target in &observed.targets {
        found.extend(too_wide(&target.id.to_string(), &target.path, target.mode));
        if let Some(why) = &target.unused {
            let summary = format!("OpenClaw does not use the profile in {}: {why}", target.path);
            let finding =
                Finding::new(Code::ProfileUnused, Severity::Warning, target.id.to_string(), summary);
            found.push(finding.with_next("tokensink order list"));
        }
        if let Some(shadow) = target.shadows.first() {
            let ids: Vec<&str> = target.shadows.iter().map(|shadow| shadow.profile.as_str()).collect();
            let summary = format!(
                "{} beside what this sink supplies: OpenClaw's auxiliary calls, and Claude Code as its runtime, use that",
                ids.join(", ")
            );
            let finding =
                Finding::new(Code::ProfileShadows, Severity::Warning, target.id.to_string(), summary);
            found.push(finding.with_next(shadow.next.clone()));
        }
        if let Some(known) = memory.targets.get(&target.id.to_string()) {
            found.extend(write_failure(&target.id.to_string(), known));
            found.extend(overwritten(&target.id.to_string(), &target.path, known, now));
        }
    }
    found.extend(families::findings(desired, observed, memory, key));
    for gateway in &desired.gateways {
        let Some(known) = memory.gateways.get(&gateway.id) else { continue };
        found.extend(unauthorized::finding(&gateway.id, memory));
        found.extend(known.unseen.iter().cloned());
        if let Some((code, severity, summary)) = apply::not_converged(known, gateway, now) {
            let next = known.failure.as_ref().map_or("tokensink sync", |failure| failure.next.as_str());
            found.push(Finding::new(code, severity, gateway.id.as_str(), summary).with_next(next));
        }
    }
    found.extend(memory.alerts.trouble.values().filter_map(Trouble::finding));
    for (path, reason) in &observed.unwatched {
        let summary = format!("{path} cannot be watched ({reason}); it is polled instead");
        found.push(Finding::new(Code::WatchLost, Severity::Warning, path, summary));
    }
    found.extend(observed.own.iter().cloned());
    each_once(found)
}

/// The first of several findings with one key: what is seen now comes before what is remembered.
fn each_once(mut found: Vec<Finding>) -> Vec<Finding> {
    let mut known = BTreeSet::new();
    found.retain(|f| known.insert((f.code, f.subject.clone())));
    found
}

fn login_findings(
    login: &DesiredLogin,
    source: &ObservedSource,
    known: Option<&LoginMemory>,
    desired: &Desired,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let path = &source.path;
    let verdict = verdict::judge(&source.reading, is_refused(known), desired.warn, now);
    let dead = |code, summary: String| {
        Finding::new(code, Severity::Critical, login.id.as_str(), summary).with_next(login_command(login))
    };
    match &source.reading {
        SourceReading::Husk { login_ended } => {
            let why = login_ended.as_ref().map_or(String::new(), |w| format!(" ({})", clipped(w)));
            found.push(dead(Code::Husk, format!("{path} holds blank tokens{why}: the CLI was logged out")));
        }
        // Nobody is asked for a login that nobody uses; see `unsupplied` for one that somebody does.
        SourceReading::ApiKey => {}
        SourceReading::Missing => found.push(dead(Code::Missing, format!("{path} does not exist"))),
        SourceReading::Partial { field } => {
            found.push(dead(Code::Unreadable, format!("{path}: no usable {field}")))
        }
        SourceReading::Unparseable { reason } | SourceReading::Unreadable { reason } => {
            found.push(dead(Code::Unreadable, format!("{path}: {reason}")));
        }
        SourceReading::Ok(credential) => {
            let moved = moved(login, known);
            let is_moved = moved.is_some();
            found.extend(moved);
            match verdict.state {
                // Another host keeps it; what is left here is meant to end.
                _ if is_moved => {}
                LoginState::LoginNeeded => found.push(dead(Code::LoginNeeded, "the login has ended".into())),
                LoginState::Expired => {
                    found.push(dead(
                        Code::LoginNeeded,
                        "the access token is over and cannot be refreshed".into(),
                    ));
                }
                _ if verdict.state == LoginState::Expiring
                    || credential.login_deadline.is_some_and(|at| at <= now.after(desired.ahead)) =>
                {
                    let ends = login_end(credential);
                    let left =
                        ends.map_or_else(String::new, |at| format!(" in {}", short_duration(at.since(now))));
                    found.push(
                        Finding::new(
                            Code::LoginExpiring,
                            Severity::Warning,
                            login.id.as_str(),
                            format!("the login ends{left} and no refresh can extend it"),
                        )
                        .with_next(login_command(login)),
                    );
                }
                _ => {}
            }
            found.extend(refresh_findings(login, known));
            if credential.expiry_in_seconds {
                let summary = format!("{path} notes its expiry in seconds where milliseconds belong");
                found.push(Finding::new(Code::ExpiryUnits, Severity::Notice, login.id.as_str(), summary));
            }
        }
    }
    found.extend(too_wide(login.id.as_str(), path, source.mode));
    if let Some(failure) = known.and_then(|known| known.unfetched.as_ref()) {
        let summary = format!("{}; what is known of it is what was read before", failure.summary);
        let finding = Finding::new(failure.code, Severity::Warning, login.id.as_str(), summary);
        found.push(finding.with_next(failure.next.clone()));
    }
    found
}

/// Sinks that are behind while no daemon runs: nobody brings them up to date.
pub fn unattended(desired: &Desired, observed: &Observed, plan: &Plan) -> Vec<Finding> {
    let has_login = |id: &SinkId| {
        let sink = desired.sinks.iter().find(|sink| &sink.id == id);
        let source = sink.and_then(|sink| observed.source(&sink.login));
        source.is_some_and(|source| matches!(source.reading, SourceReading::Ok(_)))
    };
    let is_behind = |target: &&TargetVerdict| {
        matches!(target.state, TargetState::Stale | TargetState::Missing) && target.code.is_none()
    };
    let targets = plan.targets.iter().filter(|target| is_behind(target) && has_login(&target.id.sink));
    let finding = |target: &TargetVerdict| {
        let summary = "it does not hold the current token, and the daemon does not run".to_owned();
        Finding::new(Code::SinkStale, Severity::Warning, target.id.to_string(), summary)
            .with_next("systemctl --user start tokensink")
    };
    targets.map(finding).collect()
}

/// A sink whose login has become an API key: what it holds is not renewed any more.
fn unsupplied(sink: &DesiredSink, observed: &Observed) -> Option<Finding> {
    let source = observed.source(&sink.login).filter(|source| source.reading == SourceReading::ApiKey)?;
    let summary = format!("{} holds an API key and no login: nothing is handed on from it", source.path);
    Some(Finding::new(Code::Husk, Severity::Warning, sink.id.as_str(), summary))
}

/// When a login ends by itself. The deadline of one that cannot be refreshed is not what ends it first.
#[must_use]
pub fn login_end(credential: &Credential) -> Option<Timestamp> {
    match &credential.refresh {
        Some(_) => credential.login_deadline,
        None => credential.expires_at,
    }
}

/// What is known of a login whose source shows something that is not to be believed yet: what was known
/// before. A daemon that starts on a dead login has not seen it come back.
fn in_doubt(login: &DesiredLogin, memory: &Memory) -> Vec<Finding> {
    const OF_SOURCE: [Code; 11] = [
        Code::LoginNeeded,
        Code::LoginExpiring,
        Code::Husk,
        Code::Unreadable,
        Code::Missing,
        Code::Moved,
        Code::RefreshRefused,
        Code::RefreshUnknown,
        Code::RefreshBlocked,
        Code::CliMissing,
        Code::ModeTooWide,
    ];
    let known = memory.findings.iter().map(|open| &open.finding);
    let of_login = known.filter(|f| f.subject == login.id.as_str() && OF_SOURCE.contains(&f.code));
    of_login.cloned().collect()
}

/// A login that another host refreshes now.
fn moved(login: &DesiredLogin, known: Option<&LoginMemory>) -> Option<Finding> {
    let known = known?;
    let newest = known.newest().and_then(|newest| newest.refresh.as_ref());
    let at = known.moved_with(newest)?.at;
    let subject = login.id.as_str();
    Some(match newest {
        None => {
            let summary = format!("it was moved to another host at {at}; its access token here is the last");
            Finding::new(Code::Moved, Severity::Notice, subject, summary)
        }
        Some(_) => {
            let summary = format!(
                "it was moved to another host at {at}, and the source holds its refresh token still or again; it is \
                 not refreshed here, its own CLI must not do so either"
            );
            Finding::new(Code::Moved, Severity::Warning, subject, summary)
                .with_next(format!("tokensink export {subject}"))
        }
    })
}

/// True when the provider refused the refresh token that is at the source now.
#[must_use]
pub fn is_refused(known: Option<&LoginMemory>) -> bool {
    known.and_then(LoginMemory::stop) == Some(&Stop::Rejected)
}

/// What stands in the way of the next refresh.
fn refresh_findings(login: &DesiredLogin, known: Option<&LoginMemory>) -> Vec<Finding> {
    /// Failures in a row that a passing trouble explains.
    const PASSING: u32 = 3;
    let Some(known) = known else { return Vec::new() };
    let subject = login.id.as_str();
    let detail = &known.refresh.detail;
    let finding = |code, severity, summary: String| Finding::new(code, severity, subject, summary);
    let mut found = Vec::new();
    match known.stop() {
        Some(Stop::Rejected) => found.push(
            finding(Code::RefreshRefused, Severity::Warning, detail.clone())
                .with_cause(Code::LoginNeeded, subject),
        ),
        Some(Stop::Unknown) => found.push(
            finding(
                Code::RefreshUnknown,
                Severity::Warning,
                format!("{detail}; the same token is not sent again by itself"),
            )
            .with_next(format!("tokensink refresh {subject} --force")),
        ),
        None if known.refresh.failures >= PASSING => found.push(finding(
            Code::RefreshBlocked,
            Severity::Warning,
            format!("{} refreshes in a row did not succeed: {detail}", known.refresh.failures),
        )),
        None => {}
    }
    if known.cli_gone {
        let what = match &known.cli {
            Some(cli) => format!("{cli} was there and is gone"),
            None => "mode = \"cli\", and the official CLI is not found".to_owned(),
        };
        let summary = format!("{what}; the login is not refreshed in another way");
        found.push(finding(Code::CliMissing, Severity::Warning, summary));
    }
    found
}

/// The command with which a person logs in again.
#[must_use]
pub fn login_command(login: &DesiredLogin) -> String {
    // Never `codex login`: it revokes what is there before anybody has said yes to a new login.
    format!("tokensink reauth {}", login.id)
}

fn too_wide(subject: &str, path: &str, mode: Option<u32>) -> Option<Finding> {
    let mode = mode.filter(|m| m & TOO_WIDE != 0)?;
    let summary = format!("{path} has mode {:04o}, wider than 0640", mode & 0o7777);
    Some(
        Finding::new(Code::ModeTooWide, Severity::Warning, subject, summary)
            .with_next(format!("chmod 0600 {path}")),
    )
}

fn write_failure(subject: &str, known: &TargetMemory) -> Option<Finding> {
    let failure = known.failure.as_ref()?;
    Some(Finding::new(Code::SinkFailed, Severity::Critical, subject, failure.clone()))
}

fn overwritten(subject: &str, path: &str, known: &TargetMemory, now: Timestamp) -> Vec<Finding> {
    let within = |span: Duration| known.clobbered_at.iter().filter(|at| **at >= now.before(span)).count();
    let count = within(CLOBBER_MEMORY);
    if count == 0 {
        return Vec::new();
    }
    let by = known.clobbered_by.as_ref().map_or_else(String::new, |who| format!(" by {who}"));
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let clobbered = Finding::new(
        Code::Clobbered,
        Severity::Warning,
        subject,
        format!(
            "{path} was overwritten with an older generation{by}, {times} in the last hour; it was put right"
        ),
    );
    if within(FIGHT_WINDOW) < FIGHT_COUNT {
        return vec![clobbered];
    }
    let fight = Finding::new(
        Code::SecondWriter,
        Severity::Warning,
        subject,
        format!(
            "another program{by} keeps writing older tokens to {path}; it is put right once a minute at most"
        ),
    );
    vec![fight, clobbered.with_cause(Code::SecondWriter, subject)]
}

fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The worst state of all logins, and one line about it: `STATUS=` and the first line of `status`.
#[must_use]
pub fn headline(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    plan: &Plan,
    findings: &[Finding],
    now: Timestamp,
) -> String {
    let current = plan.targets.iter().filter(|t| t.state == TargetState::Current).count();
    let logins: Vec<String> = desired
        .logins
        .iter()
        .map(|login| {
            let Some(source) = observed.source(&login.id) else { return format!("{}: not read", login.id) };
            let verdict =
                verdict::judge(&source.reading, is_refused(memory.logins.get(&login.id)), desired.warn, now);
            let word = if verdict.renewing { "renewing" } else { verdict.state.as_str() };
            match &source.reading {
                SourceReading::Ok(credential) => match credential.expires_at {
                    Some(at) if at > now => {
                        format!("{} {word}, {} left", login.id, short_duration(at.since(now)))
                    }
                    Some(at) => format!("{} {word}, over since {}", login.id, short_duration(now.since(at))),
                    None => format!("{} {word}", login.id),
                },
                _ => format!("{} {word}", login.id),
            }
        })
        .collect();
    let mut line = format!("{}; {current}/{} sinks current", logins.join(", "), plan.targets.len());
    let mut serious: Vec<&Finding> = findings.iter().filter(|f| f.severity > Severity::Notice).collect();
    serious.sort_by_key(|f| std::cmp::Reverse(f.severity));
    if let Some((first, rest)) = serious.split_first() {
        line.push_str("; ");
        line.push_str(first.code.as_str());
        if !rest.is_empty() {
            line.push_str(&format!(" and {} more", rest.len()));
        }
    }
    line
}
