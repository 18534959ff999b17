//! Group commit: fence, rows, effects, positions, in one transaction that halves where it fails.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::Memory;
use super::tx::MemoryTx;
use crate::error::{Error, ErrorKind};
use crate::handler::Failure;
use crate::store::{Admission, CommitEvent, CommitGroup, Committed, Death, Effect, Fate, Reason, Verdict};
use crate::watermark::Watermark;

pub(super) async fn commit(mut tx: MemoryTx, group: &CommitGroup) -> Result<Committed, Error> {
    tx.state().check_session(group.session)?;
    let held: Vec<bool> =
        group.claims.iter().map(|claim| tx.state().is_held(group.session, &claim.claim)).collect();
    let starts: Vec<usize> = group
        .units
        .iter()
        .scan(0, |at, unit| {
            let start = *at;
            *at += unit.events.len();
            Some(start)
        })
        .collect();
    let fates = vec![Fate::Behind; group.events().count()];
    let mut run = Run { group, held, starts, fates, blocked: BTreeMap::new(), passed: Vec::new() };
    // C4: what fails as a whole is halved until the culprit is alone; the first half goes first, because
    // a key's order is the order of the units.
    let whole = 0..group.units.len();
    let mut rest = vec![whole];
    while let Some(units) = rest.pop() {
        let refused;
        (tx, refused) = run.attempt(tx, units.clone()).await?;
        match refused {
            Some(failure) if units.len() <= 1 => run.fail(units.start, &failure),
            Some(_) => {
                let middle = units.start + units.len() / 2;
                rest.extend([middle..units.end, units.start..middle]);
            }
            None => {}
        }
    }
    Ok(Committed { fates: run.fates, wanted: tx.state().wanted(group.session) })
}

struct Run<'g> {
    group: &'g CommitGroup,
    /// Which of the group's claims are still the session's (rule C1).
    held: Vec<bool>,
    /// Where each unit's fates begin.
    starts: Vec<usize>,
    fates: Vec<Fate>,
    /// Keys that an earlier unit did not finish, with that unit; with claims a key is (partition, key).
    blocked: BTreeMap<(usize, Bytes), usize>,
    /// What each claim's stored position covers, read when the first event asks: the ledger where there
    /// are no ids (rule L2).
    passed: Vec<OnceCell<Option<Watermark>>>,
}

impl Run<'_> {
    /// One transaction over some of the units; says what its commit was refused for.
    async fn attempt(
        &mut self,
        mut tx: MemoryTx,
        units: Range<usize>,
    ) -> Result<(MemoryTx, Option<Failure>), Error> {
        let start = tx.savepoint();
        self.passed = self.group.claims.iter().map(|_| OnceCell::new()).collect();
        for unit in units.clone() {
            tx = self.unit(tx, unit).await?;
        }
        for (claim, position) in self.group.positions(&self.fates, |claim| self.held[claim]) {
            tx.position(&claim, position);
        }
        let refused = tx.harden().err();
        if refused.is_some() {
            tx.roll_back(start);
            self.forget(units);
        }
        Ok((tx, refused))
    }

    async fn unit(&mut self, mut tx: MemoryTx, unit: usize) -> Result<MemoryTx, Error> {
        let events = &self.group.units[unit].events;
        let fates: Vec<Fate> = events.iter().map(|event| self.judge(&tx, event)).collect();
        if !fates.iter().all(Fate::is_committed) {
            // C3, C6: a unit is one; what could have committed must be run again without the others.
            let alone = |fate: Fate| if fate.is_committed() { Fate::Behind } else { fate };
            self.settle(unit, fates.into_iter().map(alone));
            return Ok(tx);
        }
        let savepoint = tx.savepoint();
        for event in events {
            self.write(&mut tx, event);
        }
        for effect in &self.group.units[unit].effects {
            let ended;
            (tx, ended) = run_effect(tx, effect).await?;
            if let Err(failure) = ended {
                tx.roll_back(savepoint);
                self.fail(unit, &failure);
                return Ok(tx);
            }
        }
        self.settle(unit, fates.into_iter());
        Ok(tx)
    }

    /// Whether the event is newly finished (rules C1, C2, P2).
    fn judge(&self, tx: &MemoryTx, event: &CommitEvent) -> Fate {
        if !self.held[event.claim] {
            return Fate::Excluded;
        }
        if self.blocked.contains_key(&(event.claim, event.key.clone())) {
            return Fate::Behind;
        }
        let claim = &self.group.claims[event.claim].claim;
        if let Some(row) = &event.unpark {
            return if tx.state().parking.at(row).is_some() { Fate::Committed } else { Fate::Duplicate };
        }
        if matches!(event.verdict, Verdict::Tried(_) | Verdict::Started(_)) {
            return Fate::Committed;
        }
        let Some(payload) = event.ledger else {
            let passed = self.passed[event.claim].get_or_init(|| tx.state().passed(claim));
            let duplicate = passed.as_ref().is_some_and(|passed| passed.is_finished(event.offset));
            return if duplicate { Fate::Duplicate } else { Fate::Committed };
        };
        match tx.state().known(&claim.scope, &event.id, payload) {
            Admission::Fresh => Fate::Committed,
            Admission::Finished | Admission::Parked => Fate::Duplicate,
            Admission::Conflict if is_conflict_letter(&event.verdict) => Fate::Committed,
            Admission::Conflict => Fate::Conflict,
        }
    }

    fn write(&self, tx: &mut MemoryTx, event: &CommitEvent) {
        let claim = &self.group.claims[event.claim].claim;
        match &event.verdict {
            Verdict::Tried(row) | Verdict::Started(row) => return tx.attempt(claim, row.clone()),
            Verdict::Finish => {
                // P1: out of the parking table and into the ledger in one commit.
                event.unpark.iter().for_each(|row| tx.unpark(row));
                event.ledger.iter().for_each(|payload| tx.ledger(&claim.scope, &event.id, *payload));
            }
            Verdict::Park(parked) => {
                event.unpark.iter().for_each(|row| tx.unpark(row));
                tx.park((**parked).clone());
            }
        }
        tx.forget_attempt(claim, event.offset);
    }

    fn fail(&mut self, unit: usize, failure: &Failure) {
        let events = self.group.units[unit].events.len();
        self.settle(unit, std::iter::repeat_n(Fate::Failed(failure.clone()), events));
    }

    /// Notes a unit's fates. What did not finish takes its key's later events out (rule C3).
    fn settle(&mut self, unit: usize, fates: impl Iterator<Item = Fate>) {
        for ((at, event), fate) in self.group.units[unit].events.iter().enumerate().zip(fates) {
            if matches!(fate, Fate::Failed(_) | Fate::Behind | Fate::Conflict) {
                self.blocked.entry((event.claim, event.key.clone())).or_insert(unit);
            }
            self.fates[self.starts[unit] + at] = fate;
        }
    }

    /// Forgets what was found of units that are to be tried again.
    fn forget(&mut self, units: Range<usize>) {
        self.blocked.retain(|_, unit| !units.contains(unit));
        let end = self.starts.get(units.end).copied().unwrap_or(self.fates.len());
        if let Some(start) = self.starts.get(units.start) {
            self.fates[*start..end].fill(Fate::Behind);
        }
    }
}

pub(super) fn is_conflict_letter(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Park(parked) if parked.reason == Reason::Dead(Death::Conflict))
}

async fn run_effect(tx: MemoryTx, effect: &Effect) -> Result<(MemoryTx, Result<(), Failure>), Error> {
    let (tx, ended) = effect.run::<Memory>(tx).await;
    // An effect that kept its transaction holds the database; whether an earlier half committed is for
    // `resolve` to say.
    let kept = || Error::new(ErrorKind::Unknown, "an effect kept its transaction beyond its end");
    Ok((tx.ok_or_else(kept)?, ended))
}
