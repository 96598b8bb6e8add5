//! A world in memory: what `core` is told, what it remembers, and a pass that does to them what the
//! shell does to files. Shared by the golden folders and the properties; see `plan.rs`.

use tokensink::base::code::Finding;
use tokensink::base::credential::{Credential, SourceReading};
use tokensink::base::fingerprint::FingerprintKey;
use tokensink::base::time::Timestamp;
use tokensink::core::clock::Judgement;
use tokensink::core::memory::Memory;
use tokensink::core::model::{Desired, Observed, Plan, SupplyForm, TargetContent, TargetState, WriteReason};
use tokensink::core::{health, plan};

/// Noon of 2026-11-20 (UTC): the present of every case.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_176_000_000);

pub fn key() -> FingerprintKey {
    FingerprintKey::new([7; FingerprintKey::LEN])
}

#[derive(Debug, Clone)]
pub struct World {
    pub desired: Desired,
    pub observed: Observed,
    pub memory: Memory,
    pub now: Timestamp,
}

impl World {
    pub fn plan(&self) -> Plan {
        plan::plan(&self.desired, &self.observed, &self.memory, &key(), self.now)
    }

    pub fn findings(&self, plan: &Plan) -> Vec<Finding> {
        let clock = Judgement::steady(self.now);
        health::findings(&self.desired, &self.observed, &self.memory, plan, &key(), &clock)
    }

    /// One pass: plans, executes everything, notes what is remembered. Returns what was planned.
    pub fn pass(&mut self) -> Plan {
        let planned = self.plan();
        plan::remember(&mut self.memory, &self.observed, &planned, &key(), &Judgement::steady(self.now));
        for apply in &planned.applies {
            let gateway = self.memory.gateways.entry(apply.gateway.clone()).or_default();
            gateway.note_change(self.now, apply.token_ends, apply.force);
        }
        for write in &planned.writes {
            let target = self.observed.targets.iter_mut().find(|t| t.id == write.target).unwrap();
            let there = match &target.content {
                TargetContent::Present(document) => Some(document),
                TargetContent::Absent => None,
                other => panic!("{} is {other:?} and was planned to be written", write.target),
            };
            assert_eq!(there, write.planned_against.as_ref(), "{} was planned against this", write.target);
            target.content = TargetContent::Present(write.document.clone());
            if target.form == Some(SupplyForm::Mirror) {
                target.mode = Some(0o600);
            }
            target.mode = target.mode.or(Some(0o600));
            let known = self.memory.targets.entry(write.target.to_string()).or_default();
            known.generation = Some(write.generation.clone());
            known.written_at = Some(self.now);
            known.failure = None;
            if write.reason == WriteReason::Clobbered {
                known.note_clobber(self.now);
            }
        }
        for delivery in &planned.deliveries {
            let known = self.memory.targets.entry(delivery.target.to_string()).or_default();
            known.generation = Some(delivery.generation.clone());
            known.written_at = Some(self.now);
            known.failure = None;
        }
        self.note_current();
        planned
    }

    fn note_current(&mut self) {
        let after = self.plan();
        for verdict in after.targets.iter().filter(|t| t.state == TargetState::Current) {
            let target = self.observed.targets.iter().find(|t| t.id == verdict.id).unwrap();
            if target.content == TargetContent::Delivery {
                continue;
            }
            let login = &self.desired.sink(&verdict.id.sink).unwrap().login;
            let newest = self.memory.logins.get(login).and_then(|l| l.newest()).map(|r| r.generation.clone());
            if let Some(generation) = newest {
                plan::remember_target(&mut self.memory, &verdict.id.to_string(), &generation);
            }
        }
    }
}

/// The credential of a source document, which must hold one.
pub fn credential_of(reading: SourceReading) -> Option<Credential> {
    match reading {
        SourceReading::Ok(credential) => Some(credential),
        _ => None,
    }
}

/// Fails when a second look at the same world would change anything.
pub fn assert_settled(world: &World) {
    let again = world.plan();
    assert!(again.is_empty() && again.rotations.is_empty(), "planned again: {again:?}");
}
