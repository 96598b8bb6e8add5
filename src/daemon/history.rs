//! Our own record of what happened: `history.jsonl` in the state directory, which `tokensink history`
//! reads. [`note`] is its one door, for the daemon and for commands alike; the other functions say what a
//! pass or an attempt comes to. A record that cannot be written disturbs nobody: it is said once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::id::LoginId;
use crate::core::event::{Event, What};
use crate::core::memory::Then;
use crate::core::model::Delivery;
use crate::core::refresh::Outcome;
use crate::daemon::apply::Attempt;
use crate::daemon::pass::PassReport;
use crate::daemon::store::StateDir;
use crate::sys::append_log::AppendLog;
use crate::sys::clock;

/// How long the record may become before it is put aside; one predecessor is kept. A login that is
/// renewed every eight hours with three sinks and a gateway comes to some 4 KiB a day: the two files
/// hold more than a year of that.
pub const CAP: u64 = 1 << 20;

static IS_SAID: AtomicBool = AtomicBool::new(false);

/// What is on record.
#[derive(Debug, Default)]
pub struct Record {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Lines that say nothing: torn by a crash, or of a later version.
    pub unreadable: usize,
}

/// Puts what happened just now on record.
pub fn note(state: &StateDir, what: impl IntoIterator<Item = What>) {
    let at = clock::now();
    let mut lines = Vec::new();
    for what in what {
        if let Ok(line) = serde_json::to_vec(&Event { at, what: what.clipped() }) {
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
    }
    if lines.is_empty() {
        return;
    }
    let path = state.history();
    if let Err(error) = AppendLog::new(path.clone(), CAP).append(&lines)
        && !IS_SAID.swap(true, Ordering::Relaxed)
    {
        tracing::warn!("{} cannot be written, the history has gaps: {error}", path.display());
    }
}

/// Reads the record; nothing when there is none yet.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(state: &StateDir) -> std::io::Result<Record> {
    Ok(of_lines(&AppendLog::new(state.history(), CAP).read()?))
}

/// The same of what the file holds.
#[must_use]
pub fn of_lines(lines: &[u8]) -> Record {
    let mut record = Record::default();
    for line in lines.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(event) => record.events.push(event),
            Err(_) if line.is_empty() => {}
            Err(_) => record.unreadable += 1,
        }
    }
    // Writers take the time before they write, and a clock may be set back.
    record.events.sort_by_key(|event| event.at);
    record
}

/// What a pass changed.
pub fn pass(state: &StateDir, report: &PassReport) {
    let rotations = report.rotations.iter().map(|rotation| What::Rotated {
        login: rotation.login.clone(),
        generation: rotation.to.clone(),
        expires_at: (report.memory.logins.get(&rotation.login))
            .and_then(|known| known.record_of(&rotation.to)?.expires_at),
    });
    let written = report.written.iter().map(|written| What::Written {
        login: written.login.clone(),
        sink: written.target.sink.clone(),
        target: written.target.to_string(),
        reason: written.reason.as_str().to_owned(),
        generation: written.generation.clone(),
    });
    let failed = report.failed.iter().filter(|failed| !failed.is_known).map(|failed| What::NotWritten {
        sink: failed.target.sink.clone(),
        target: failed.target.to_string(),
        why: failed.why.clone(),
    });
    let raised = report.changes.raised.iter().map(|finding| What::Raised {
        code: finding.code,
        severity: finding.severity,
        subject: finding.subject.clone(),
        summary: finding.summary.clone(),
    });
    let cleared = report
        .changes
        .cleared
        .iter()
        .map(|finding| What::Cleared { code: finding.code, subject: finding.subject.clone() });
    note(state, rotations.chain(written).chain(failed).chain(raised).chain(cleared));
}

/// An attempt on a gateway that did something, or failed to.
pub fn attempt(state: &StateDir, attempt: &Attempt) {
    let gateway = attempt.gateway.clone();
    let what = match &attempt.outcome {
        Ok(applied) => What::Applied {
            gateway,
            action: applied.action,
            outcome: applied.outcome.clone(),
            took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        },
        // It was asked, and nothing was done to it.
        Err(failure) if failure.then == Then::Busy => return,
        Err(failure) => What::NotApplied { gateway, code: failure.code, why: failure.summary.clone() },
    };
    note(state, [what]);
}

/// A refresh of ours ended.
pub fn refreshed(state: &StateDir, login: &LoginId, outcome: &Outcome) {
    let (login, detail) = (login.clone(), outcome.detail.clone());
    note(state, [What::Refreshed { login, outcome: outcome.ended, detail }]);
}

/// A command, or an encrypted credential, was handed the current generation, or not.
pub fn delivered(state: &StateDir, delivery: &Delivery, outcome: Result<(), &String>) {
    let (sink, target) = (delivery.target.sink.clone(), delivery.target.to_string());
    note(
        state,
        [match outcome {
            Ok(()) => What::Written {
                login: delivery.login.clone(),
                sink,
                target,
                reason: "delivered".to_owned(),
                generation: delivery.generation.clone(),
            },
            Err(why) => What::NotWritten { sink, target, why: why.clone() },
        }],
    );
}
