//! Group commit: fence, rows, effects, positions, in one transaction that halves where it fails.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use super::Memory;
use super::tx::MemoryTx;
use crate::env::{Env, Instant};
use crate::error::{Error, ErrorKind};
use crate::handler::Failure;
use crate::store::{
    Admission, ClaimRef, CommitEvent, CommitGroup, Committed, Effect, Fate, HoldCommit, LeaseRef, Verdict,
};
use crate::watermark::Watermark;

pub(super) async fn commit(memory: &Memory, group: &CommitGroup) -> Result<Committed, Error> {
    let mut run = Run::new(group);
    let (mut wanted, mut contended) = (Vec::new(), Vec::new());
    // C4: what fails as a whole is halved until the culprit is alone; the first half goes first, because
    // a key's order is the order of the units.
    let whole = 0..group.units.len();
    let mut rest = vec![whole];
    while let Some(units) = rest.pop() {
        let ended = run.attempt(memory, units.clone()).await;
        if !matches!(ended, Ok(Ended::Committed(..))) {
            run.forget(units.clone());
        }
        match ended {
            Ok(Ended::Committed(claims, leases)) => {
                (wanted, contended) = (claims, leases);
                run.begun |= !units.is_empty();
                let given_back = std::mem::take(&mut run.given_back);
                run.returned.extend(given_back);
            }
            Ok(Ended::Refused(failure)) if units.len() <= 1 => run.fail(units.start, &failure),
            Ok(Ended::Refused(failure)) if mutant!("c4-group-fails-whole") => {
                units.for_each(|unit| run.fail(unit, &failure));
            }
            Ok(Ended::Refused(_)) => {
                let middle = units.start + units.len() / 2;
                rest.extend([middle..units.end, units.start..middle]);
            }
            // S3: who had all of the time is the culprit; else the rest gets a transaction of its own.
            Ok(Ended::Late { unit, first: true, failure }) => {
                run.late.insert(unit, failure);
                rest.push(units);
            }
            Ok(Ended::Late { unit, .. }) => rest.extend([unit..units.end, units.start..unit]),
            Err(error) if run.begun => return Err(half_done(error)),
            Err(error) => return Err(error),
        }
    }
    if !run.returned.is_empty() {
        memory.0.freed.notify_waiters();
    }
    let is_written = |at: &usize| match &group.holds[*at] {
        HoldCommit::Claim(_) => run.held[*at],
        HoldCommit::Lease(_) => run.returned.contains(at),
    };
    let written = (0..group.holds.len()).filter(is_written).collect();
    Ok(Committed { fates: run.fates, written, wanted, contended })
}

/// How one transaction ended.
enum Ended {
    /// It is durable; these claims and leases are wanted by others.
    Committed(Vec<ClaimRef>, Vec<LeaseRef>),
    /// The commit itself was refused; nothing was written.
    Refused(Failure),
    /// The time was up while this unit's effects ran, the first ones of the transaction or later ones.
    Late { unit: usize, first: bool, failure: Failure },
}

struct Run<'g> {
    group: &'g CommitGroup,
    /// Which of the group's holds are still the session's (rule C1).
    held: Vec<bool>,
    /// The leases that its last transaction gave back, and those that all of them did (rule S7).
    given_back: Vec<usize>,
    returned: BTreeSet<usize>,
    /// Where each unit's fates begin.
    starts: Vec<usize>,
    fates: Vec<Fate>,
    /// Keys that an earlier unit did not finish, with that unit; with claims a key is (partition, key).
    blocked: BTreeMap<(usize, Bytes), usize>,
    /// What each claim's stored position covers, read when the first event asks: the ledger where there
    /// are no ids (rule L2).
    passed: Vec<OnceCell<Option<Watermark>>>,
    /// Units whose effects do not end in time.
    late: BTreeMap<usize, Failure>,
    /// Part of the group is durable.
    begun: bool,
}

/// The time that the effects of one transaction have together.
struct Clock<'a> {
    env: Option<&'a Env>,
    deadline: Instant,
    /// Effects ran before.
    used: bool,
}

impl<'g> Run<'g> {
    fn new(group: &'g CommitGroup) -> Self {
        let starts = group.units.iter().scan(0, |at, unit| {
            let start = *at;
            *at += unit.events.len();
            Some(start)
        });
        Self {
            group,
            held: Vec::new(),
            given_back: Vec::new(),
            returned: BTreeSet::new(),
            starts: starts.collect(),
            fates: vec![Fate::Behind; group.events().count()],
            blocked: BTreeMap::new(),
            passed: Vec::new(),
            late: BTreeMap::new(),
            begun: false,
        }
    }

    /// One transaction over some of the units.
    async fn attempt(&mut self, memory: &Memory, units: Range<usize>) -> Result<Ended, Error> {
        let mut tx = memory.begin().await;
        let session = self.group.session;
        let limit = tx.state().transaction_limit(session)?;
        let env = memory.0.clock.get();
        let deadline = env.map_or_else(Instant::default, |env| env.now() + limit);
        let mut clock = Clock { env, deadline, used: false };
        let held = self.group.holds.iter();
        let held = held.map(|hold| mutant!("c1-session-only") || tx.state().holds(session, &hold.hold()));
        self.held = held.collect();
        self.passed = self.group.holds.iter().map(|_| OnceCell::new()).collect();
        for unit in units {
            let first = !clock.used;
            match self.unit(tx, unit, &mut clock).await? {
                Ok(back) => tx = back,
                Err(failure) => return Ok(Ended::Late { unit, first, failure }),
            }
        }
        for (_, claim, position) in self.group.positions(&self.fates, |claim| self.held[claim]) {
            tx.position(&claim, position);
        }
        self.given_back = self.group.given_back(&self.fates, |hold| self.held[hold]);
        for at in &self.given_back {
            if let Some(lease) = self.group.holds[*at].lease() {
                tx.give_back(&lease.lease.lease, lease.marks);
            }
        }
        Ok(match tx.harden() {
            Ok(()) => Ended::Committed(tx.state().wanted(session), tx.state().contended(session)),
            Err(failure) => Ended::Refused(failure),
        })
    }

    /// Gives the transaction back, or says how its time ran out in this unit's effects.
    async fn unit(
        &mut self,
        mut tx: MemoryTx,
        unit: usize,
        clock: &mut Clock<'_>,
    ) -> Result<Result<MemoryTx, Failure>, Error> {
        let events = &self.group.units[unit].events;
        let fates: Vec<Fate> = events.iter().map(|event| self.judge(&tx, event)).collect();
        if !fates.iter().all(Fate::is_committed) {
            // C3, C6: a unit is one; what could have committed must be run again without the others.
            let alone = |fate: Fate| if fate.is_committed() { Fate::Behind } else { fate };
            self.forget_tries(&mut tx, events, &fates);
            self.settle(unit, fates.into_iter().map(alone));
            return Ok(Ok(tx));
        }
        if let Some(failure) = self.late.get(&unit).cloned() {
            self.fail(unit, &failure);
            return Ok(Ok(tx));
        }
        let savepoint = tx.savepoint();
        for event in events {
            self.write(&mut tx, event);
        }
        for effect in &self.group.units[unit].effects {
            let (back, ended) = match clock.run(tx, effect).await {
                Ok(ran) => ran?,
                Err(late) => return Ok(Err(late.into())),
            };
            tx = back;
            if let Err(failure) = ended {
                if !mutant!("c3-no-rollback") {
                    tx.roll_back(savepoint);
                }
                self.fail(unit, &failure);
                return Ok(Ok(tx));
            }
        }
        self.settle(unit, fates.into_iter());
        Ok(Ok(tx))
    }

    /// Whether the event is newly finished (rules C1, C2, P2).
    fn judge(&self, tx: &MemoryTx, event: &CommitEvent) -> Fate {
        if !self.held[event.hold] {
            return Fate::Excluded;
        }
        if self.blocked.contains_key(&(event.hold, event.key.clone())) {
            return Fate::Behind;
        }
        let hold = &self.group.holds[event.hold];
        if let Some(row) = &event.unpark {
            return if tx.state().parking.at(row).is_some() || mutant!("p2-row-is-no-arbiter") {
                Fate::Committed
            } else {
                Fate::Duplicate
            };
        }
        if matches!(event.verdict, Verdict::Tried(_) | Verdict::Started(_)) {
            return Fate::Committed;
        }
        let Some(payload) = event.ledger else {
            // With a lease there is no position: without a ledger nothing is known to be finished.
            let Some(claim) = hold.claim() else { return Fate::Committed };
            let passed = self.passed[event.hold].get_or_init(|| tx.state().passed(&claim.claim));
            let duplicate = passed.as_ref().is_some_and(|passed| passed.is_finished(event.offset));
            return if duplicate { Fate::Duplicate } else { Fate::Committed };
        };
        match tx.state().known(hold.scope(), &event.id, payload) {
            Admission::Fresh | Admission::Tried(_) => Fate::Committed,
            Admission::Finished | Admission::Parked if mutant!("c2-ledger-is-no-arbiter") => Fate::Committed,
            Admission::Finished | Admission::Parked => Fate::Duplicate,
            Admission::Conflict if event.is_conflict_letter() => Fate::Committed,
            Admission::Conflict => Fate::Conflict,
        }
    }

    /// A duplicate ends its event as well; tries that are kept by id have nobody else to clear them.
    fn forget_tries(&self, tx: &mut MemoryTx, events: &[CommitEvent], fates: &[Fate]) {
        for (event, _) in events.iter().zip(fates).filter(|(event, fate)| event.is_over(fate)) {
            let hold = self.group.holds[event.hold].hold();
            if hold.lease().is_some() {
                tx.forget_attempt(&hold, event);
            }
        }
    }

    fn write(&self, tx: &mut MemoryTx, event: &CommitEvent) {
        let hold = self.group.holds[event.hold].hold();
        match &event.verdict {
            Verdict::Tried(row) | Verdict::Started(row) => return tx.attempt(&hold, row.clone()),
            Verdict::Finish => {
                // P1: out of the parking table and into the ledger in one commit.
                event.unpark.iter().for_each(|row| tx.unpark(row));
                event.ledger.iter().for_each(|payload| tx.ledger(hold.scope(), &event.id, *payload));
            }
            Verdict::Park(parked) => {
                event.unpark.iter().for_each(|row| tx.unpark(row));
                tx.park((**parked).clone());
            }
        }
        tx.forget_attempt(&hold, event);
    }

    fn fail(&mut self, unit: usize, failure: &Failure) {
        let events = self.group.units[unit].events.len();
        self.settle(unit, std::iter::repeat_n(Fate::Failed(failure.clone()), events));
    }

    /// Notes a unit's fates. What did not finish takes its key's later events out (rule C3).
    fn settle(&mut self, unit: usize, fates: impl Iterator<Item = Fate>) {
        for ((at, event), fate) in self.group.units[unit].events.iter().enumerate().zip(fates) {
            if matches!(fate, Fate::Failed(_) | Fate::Behind | Fate::Conflict)
                && !mutant!("c3-successors-stay")
            {
                self.blocked.entry((event.hold, event.key.clone())).or_insert(unit);
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

/// A transaction given back with how an effect ended in it.
type Ran = Result<(MemoryTx, Result<(), Failure>), Error>;

impl Clock<'_> {
    /// An effect that is dropped at the deadline takes the transaction with it, which undoes it.
    async fn run(&mut self, tx: MemoryTx, effect: &Effect) -> Result<Ran, Error> {
        self.used = true;
        let Some(env) = self.env.filter(|_| !mutant!("s3-no-limit")) else {
            return Ok(run_effect(tx, effect).await);
        };
        let left = self.deadline.since(env.now());
        env.timeout("a write", left, run_effect(tx, effect)).await
    }
}

async fn run_effect(tx: MemoryTx, effect: &Effect) -> Ran {
    let (tx, ended) = effect.run::<Memory>(tx).await;
    // An effect that kept its transaction holds the database; whether an earlier half committed is for
    // `resolve` to say.
    let kept = || Error::new(ErrorKind::Unknown, "an effect kept its transaction beyond its end");
    Ok((tx.ok_or_else(kept)?, ended))
}

/// Some of the group is durable, so that it must not be committed again as it is.
fn half_done(error: Error) -> Error {
    Error::new(ErrorKind::Unknown, "a commit was taken apart, and only its first part is written")
        .with_source(error)
}
