//! One transaction, from the fence to the positions; its caller commits it.

use std::collections::BTreeMap;
use std::ops::Range;

use keylane::store::{CommitEvent, CommitGroup, Course, Fate, Judge, LeaseRef};
use keylane::{Error, Failure};

use super::Told;
use super::effects::{Clock, Trouble};
use super::facts::Facts;
use super::rows;
use crate::SqliteStore;
use crate::database::Writer;
use crate::error::failed;
use crate::lease::{self, Held};
use crate::ledger::hex;
use crate::scope::signed;
use crate::session::{self, Fence};

/// How a pass writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All rows in bulk, then all effects: any failure ends the pass.
    Together,
    /// Unit by unit, each behind a savepoint.
    Savepoints,
}

/// How a pass ended.
pub(super) enum Ran {
    /// All that may be written is written.
    Through { fates: Vec<Fate>, told: Told },
    /// An effect failed: to be replayed with savepoints.
    Failed,
    /// This unit's effects ended the transaction, or were given all of its time: to be replayed without it.
    Broken(usize, Failure),
    /// The time was up before this unit's effects ended: it begins a transaction of its own.
    Late(usize),
}

pub(super) async fn run(
    store: &SqliteStore,
    writer: &mut Writer<'_>,
    course: &Course<'_>,
    units: Range<usize>,
    mode: Mode,
    failed: &BTreeMap<usize, Failure>,
) -> Result<Ran, Error> {
    let group = course.group;
    let fence = session::fence(writer, group.session).await?;
    let numbers = match (units.clone().next(), units.clone().last()) {
        (Some(first), Some(last)) => course.events_of(first).start..course.events_of(last).end,
        _ => 0..0,
    };
    let facts = Facts::read(store, writer, group, numbers, fence.parked).await?;
    let mut pass = Pass {
        judge: Judge::new(&store.env, course, &facts, units.start),
        fates: course.fates.clone(),
        attempts: fence.attempts,
        clock: Clock::start(store, &fence),
        store,
        course,
        facts: &facts,
    };
    let ended = match mode {
        Mode::Together => pass.together(writer, units, failed).await?,
        Mode::Savepoints => pass.one_by_one(writer, units, failed).await?,
    };
    if let Some(ended) = ended {
        return Ok(ended);
    }
    let fates = pass.fates;
    let told = finish(store, writer, group, &facts, &fence, &fates).await?;
    Ok(Ran::Through { fates, told })
}

/// What follows from the fates: positions, leases given back, and what the session is told.
async fn finish(
    store: &SqliteStore,
    writer: &mut Writer<'_>,
    group: &CommitGroup,
    facts: &Facts,
    fence: &Fence,
    fates: &[Fate],
) -> Result<Told, Error> {
    let session = group.session;
    if fence.tries {
        rows::clear_tries(writer, group, facts, fates).await?;
    }
    let positions = group.positions(fates, |hold| facts.holds[hold].held);
    rows::positions(store, writer, session, &positions).await?;
    let given_back = group.given_back(fates, |hold| facts.holds[hold].held);
    let back = given_back.iter().filter_map(|at| {
        let lease = group.holds[*at].lease()?;
        Some((facts.holds[*at].scope?, &lease.lease.lease.key[..], lease.marks))
    });
    lease::give_back(writer, session, back, fence.waits).await?;
    let kept = |at: &usize| facts.holds[*at].held && !given_back.contains(at);
    let kept: Vec<usize> = (0..group.holds.len()).filter(kept).collect();
    let contended = if fence.waits { contended(writer, group, facts, &kept).await? } else { Vec::new() };
    let wanted = if fence.wanted { session::wanted(writer, session).await? } else { Vec::new() };
    let claims = positions.into_iter().map(|(at, ..)| at).collect();
    Ok(Told { claims, given_back, wanted, contended, waits: fence.waits })
}

/// S9: of the group's leases alone; renewals tell of all.
async fn contended(
    writer: &mut Writer<'_>,
    group: &CommitGroup,
    facts: &Facts,
    kept: &[usize],
) -> Result<Vec<LeaseRef>, Error> {
    let leases: Vec<(usize, &LeaseRef)> =
        kept.iter().filter_map(|at| Some((*at, &group.holds[*at].lease()?.lease))).collect();
    let asked: Vec<Held> = leases
        .iter()
        .map(|(at, of)| (facts.holds[*at].scope, hex(&of.lease.key), signed(of.token), *at))
        .collect();
    let told = lease::contended_among(writer, &asked).await?;
    Ok(leases.into_iter().filter(|(at, _)| told.contains(at)).map(|(_, lease)| lease.clone()).collect())
}

struct Pass<'a> {
    store: &'a SqliteStore,
    course: &'a Course<'a>,
    facts: &'a Facts,
    judge: Judge<'a, Facts>,
    fates: Vec<Fate>,
    attempts: bool,
    clock: Clock,
}

impl Pass<'_> {
    async fn together(
        &mut self,
        writer: &mut Writer<'_>,
        units: Range<usize>,
        failed: &BTreeMap<usize, Failure>,
    ) -> Result<Option<Ran>, Error> {
        let (mut numbers, mut with_effects) = (Vec::new(), Vec::new());
        for unit in units {
            if self.rule(unit, failed) {
                numbers.extend(self.course.events_of(unit));
                if !self.course.group.units[unit].effects.is_empty() {
                    with_effects.push(unit);
                }
            }
        }
        self.write(writer, &numbers).await?;
        for unit in with_effects {
            match self.clock.run(self.store, writer, &self.course.group.units[unit]).await {
                Ok(()) => {}
                Err(Trouble::Failed(_)) => return Ok(Some(Ran::Failed)),
                Err(trouble) => return Ok(Some(ended(unit, trouble))),
            }
        }
        Ok(None)
    }

    async fn one_by_one(
        &mut self,
        writer: &mut Writer<'_>,
        units: Range<usize>,
        failed: &BTreeMap<usize, Failure>,
    ) -> Result<Option<Ran>, Error> {
        for unit in units {
            if !self.rule(unit, failed) {
                continue;
            }
            let numbers: Vec<usize> = self.course.events_of(unit).collect();
            statement(writer, "SAVEPOINT keylane_unit").await?;
            self.write(writer, &numbers).await?;
            match self.clock.run(self.store, writer, &self.course.group.units[unit]).await {
                Ok(()) => {}
                Err(Trouble::Failed(failure)) => {
                    // C3: its ledger row, attempts and parked rows go with it.
                    statement(writer, "ROLLBACK TO keylane_unit").await?;
                    self.judge.failed(unit);
                    self.fail(unit, &failure);
                }
                Err(trouble) => return Ok(Some(ended(unit, trouble))),
            }
            statement(writer, "RELEASE keylane_unit").await?;
        }
        Ok(None)
    }

    /// Decides a unit; true when it is to be written.
    fn rule(&mut self, unit: usize, failed: &BTreeMap<usize, Failure>) -> bool {
        let events = self.course.events_of(unit);
        let fates = self.judge.rule(unit);
        let writes = fates.iter().all(Fate::is_committed);
        self.fates[events].clone_from_slice(&fates);
        match failed.get(&unit).filter(|_| writes) {
            Some(failure) => {
                self.judge.failed(unit);
                self.fail(unit, failure);
                false
            }
            None => writes,
        }
    }

    fn fail(&mut self, unit: usize, failure: &Failure) {
        for event in self.course.events_of(unit) {
            self.fates[event] = Fate::Failed(failure.clone());
        }
    }

    /// `numbers` grow.
    async fn write(&self, writer: &mut Writer<'_>, numbers: &[usize]) -> Result<(), Error> {
        let mut wanted = numbers.iter().copied().peekable();
        let events: Vec<(usize, &CommitEvent)> = self
            .course
            .group
            .events()
            .enumerate()
            .filter(|(number, _)| wanted.next_if_eq(number).is_some())
            .collect();
        rows::write(writer, self.course.group, self.facts, &events, self.attempts).await
    }
}

/// The transaction is gone with this unit's effects.
fn ended(unit: usize, trouble: Trouble) -> Ran {
    match trouble {
        // S3: only who had all of the time is the culprit.
        Trouble::Late { first: false, .. } => Ran::Late(unit),
        Trouble::Late { failure, .. } | Trouble::Broken(failure) | Trouble::Failed(failure) => {
            Ran::Broken(unit, failure)
        }
    }
}

async fn statement(writer: &mut Writer<'_>, sql: &'static str) -> Result<(), Error> {
    let done = sqlx::query(sql).execute(&mut **writer).await;
    done.map(drop).map_err(|error| failed("could not set or leave a savepoint", error))
}
