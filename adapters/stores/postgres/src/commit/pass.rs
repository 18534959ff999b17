//! One transaction of the longer way, from the fence to the positions; its caller commits it.

use keylane::Failure;
use keylane::store::{CommitEvent, Effect, Fate, Judge};
use sqlx::{AssertSqlSafe, Executor};

use super::attempt::{Attempt, Mode};
use super::effects::{Clock, Trouble, ended_by_itself, passed_over};
use super::end::{self, End};
use super::facts::Facts;
use super::rows;
use super::stop::Stop;
use crate::database::Link;
use crate::error::{failed, is_aborted, is_lost, is_spoilt};

pub(super) async fn run(attempt: &Attempt<'_>, link: &mut Link<'_>, mode: Mode) -> Result<End, Stop> {
    let group = attempt.course.group;
    let guard = attempt.units.clone().any(|unit| !group.units[unit].effects.is_empty());
    if mode != Mode::Own {
        link.begin().await?;
    }
    link.forget_prepared();
    let facts = Facts::read(attempt, link, guard).await?;
    let mut pass = Pass {
        judge: Judge::new(attempt.store.database.env(), attempt.course, &facts, attempt.units.start),
        fates: attempt.course.fates.clone(),
        clock: Clock::start(attempt.store, facts.lifetime),
        own: mode == Mode::Own,
        attempt,
        facts: &facts,
    };
    match mode {
        Mode::Savepoints => pass.one_by_one(link).await?,
        Mode::Plain | Mode::Together | Mode::Own => pass.together(link).await?,
    }
    let fates = pass.fates;
    rows::forget_of_duplicates(attempt, link, &fates).await?;
    end::write(attempt, link, fates, &facts.held, guard).await
}

struct Pass<'a> {
    attempt: &'a Attempt<'a>,
    facts: &'a Facts,
    judge: Judge<'a, Facts>,
    fates: Vec<Fate>,
    clock: Clock,
    /// This is a handler's own transaction.
    own: bool,
}

impl Pass<'_> {
    async fn together(&mut self, link: &mut Link<'_>) -> Result<(), Stop> {
        let (mut numbers, mut with_effects) = (Vec::new(), Vec::new());
        for unit in self.attempt.units.clone() {
            if self.rule(unit) {
                numbers.extend(self.attempt.course.events_of(unit));
                with_effects.push(unit);
            }
        }
        self.write(link, &numbers).await?;
        for unit in with_effects {
            let ran = self.clock.run(self.attempt, link, unit).await;
            ran.map_err(|trouble| match trouble {
                Trouble::Failed(_) => Stop::Failed,
                trouble => trouble.stop(unit),
            })?;
        }
        Ok(())
    }

    async fn one_by_one(&mut self, link: &mut Link<'_>) -> Result<(), Stop> {
        for unit in self.attempt.units.clone() {
            if !self.rule(unit) {
                continue;
            }
            let numbers: Vec<usize> = self.attempt.course.events_of(unit).collect();
            let effects = &self.attempt.course.group.units[unit];
            if effects.effects.is_empty() {
                self.write(link, &numbers).await?;
                continue;
            }
            savepoint(link).await?;
            self.write(link, &numbers).await?;
            let ran = match self.clock.run(self.attempt, link, unit).await {
                Ok(()) => keep(link, unit).await?,
                Err(Trouble::Failed(failure)) => Err(failure),
                Err(trouble) => return Err(trouble.stop(unit)),
            };
            if let Err(failure) = ran {
                // C3: its ledger row, attempts and parked rows go with it.
                go_back(link, unit).await?;
                self.judge.failed(unit);
                self.fail(unit, &failure);
            }
        }
        Ok(())
    }

    /// Decides a unit; true when it is to be written.
    fn rule(&mut self, unit: usize) -> bool {
        let events = self.attempt.course.events_of(unit);
        let fates = self.judge.rule(unit);
        let writes = fates.iter().all(Fate::is_committed);
        self.fates[events].clone_from_slice(&fates);
        match self.attempt.failed.get(&unit).filter(|_| writes) {
            Some(failure) => {
                self.judge.failed(unit);
                self.fail(unit, failure);
                false
            }
            // Its handler's own transaction is gone, and with it what it wrote: it must be run again.
            None if writes && !self.own && is_own(self.attempt, unit) => {
                self.judge.failed(unit);
                self.fates[self.attempt.course.events_of(unit)].fill(Fate::Behind);
                false
            }
            None => writes,
        }
    }

    fn fail(&mut self, unit: usize, failure: &Failure) {
        for event in self.attempt.course.events_of(unit) {
            self.fates[event] = Fate::Failed(failure.clone());
        }
    }

    /// `numbers` grow.
    async fn write(&self, link: &mut Link<'_>, numbers: &[usize]) -> Result<(), Stop> {
        let mut wanted = numbers.iter().copied().peekable();
        let events: Vec<(usize, &CommitEvent)> = self
            .attempt
            .course
            .group
            .events()
            .enumerate()
            .filter(|(number, _)| wanted.next_if_eq(number).is_some())
            .collect();
        rows::write(self.attempt, link, self.facts, &events).await
    }
}

/// Its handler opened a transaction of its own.
pub(super) fn is_own(attempt: &Attempt<'_>, unit: usize) -> bool {
    attempt.course.group.units[unit].effects.iter().any(Effect::is_own)
}

async fn savepoint(link: &mut Link<'_>) -> Result<(), Stop> {
    let set = link.execute(AssertSqlSafe("SAVEPOINT keylane_unit")).await;
    set.map(drop).map_err(|error| Stop::of(link, "could not set a savepoint", error))
}

/// Leaves the savepoint behind; by this it shows whether the writes left the transaction as good as it was.
async fn keep(link: &mut Link<'_>, unit: usize) -> Result<Result<(), Failure>, Stop> {
    match link.execute(AssertSqlSafe("RELEASE SAVEPOINT keylane_unit")).await {
        Ok(_) => Ok(Ok(())),
        Err(error) if is_aborted(&error) => Ok(Err(passed_over())),
        Err(error) if is_spoilt(&error) => Err(Stop::Broken(unit, ended_by_itself())),
        Err(error) => Err(Stop::of(link, "could not leave a savepoint", error)),
    }
}

async fn go_back(link: &mut Link<'_>, unit: usize) -> Result<(), Stop> {
    match link
        .execute(AssertSqlSafe("ROLLBACK TO SAVEPOINT keylane_unit; RELEASE SAVEPOINT keylane_unit"))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => {
            link.note(&error);
            Err(Stop::Error(failed("the connection was lost", error)))
        }
        Err(_) => Err(Stop::Broken(unit, ended_by_itself())),
    }
}
