//! One part of a group, with as many transactions as it takes until one is through or refused.

use std::collections::BTreeMap;
use std::ops::Range;

use keylane::store::{Course, Effect, Fate};
use keylane::{Error, ErrorKind, Failure};
use sqlx::PgConnection;

use super::effects::{ended_by_itself, passed_over};
use super::end::{Done, End};
use super::pass;
use super::plain::{Plan, Writes};
use super::stop::Stop;
use crate::arrays::Holds;
use crate::database::{Link, Unready, Writing};
use crate::error::{is_answer, is_lost};
use crate::{GRACE, Postgres, PostgresStore};

/// So often others may be in the way of one transaction.
const COLLISIONS_MAX: u32 = 6;

/// The answer to one part.
pub(super) enum Answer {
    Committed {
        fates: Vec<Fate>,
        done: Done,
    },
    /// The commit itself failed; nothing was written.
    Refused(Failure),
    /// The time was up at this unit, not the first with effects; nothing was written.
    Late(usize),
}

/// How a transaction writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All is taken to be as expected.
    Plain,
    /// All rows in bulk, then all effects: any failure ends the transaction.
    Together,
    /// Unit by unit, those with effects behind a savepoint.
    Savepoints,
    /// In a handler's own transaction, which is open and holds its writes.
    Own,
}

/// Commits some of the group's units. Those that must be left out are noted in `failed`.
pub(super) async fn transact(
    store: &PostgresStore,
    course: &Course<'_>,
    holds: &Holds,
    units: Range<usize>,
    failed: &mut BTreeMap<usize, Failure>,
) -> Result<Answer, Error> {
    let mut mode = Mode::Plain;
    let mut collisions = 0;
    let writes = Attempt::effects_of(course, &units).next().is_some();
    let writing = || writes.then(|| store.database.write());
    if let Some((unit, connection)) = own_transaction(course, &units) {
        let attempt = Attempt { store, course, holds, units: units.clone(), failed, writing: writing() };
        let ran = attempt.run_own(unit, connection).await;
        drop(attempt);
        match ran {
            Ok((fates, done)) => return Ok(Answer::Committed { fates, done }),
            Err(Stop::Refused(failure)) => return Ok(Answer::Refused(failure)),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Failed) => drop(failed.insert(unit, passed_over())),
            Err(Stop::Broken(unit, failure)) => drop(failed.insert(unit, failure)),
            // It can't be replayed here: the event runs again, unless it is over.
            Err(Stop::NotPlain | Stop::Collided(_) | Stop::Late(_)) => {}
        }
    }
    loop {
        let attempt = Attempt { store, course, holds, units: units.clone(), failed, writing: writing() };
        let ran = attempt.run(mode).await;
        drop(attempt);
        match ran {
            Ok((fates, done)) => return Ok(Answer::Committed { fates, done }),
            Err(Stop::Refused(failure)) => return Ok(Answer::Refused(failure)),
            Err(Stop::Late(unit)) => return Ok(Answer::Late(unit)),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::NotPlain) if mode == Mode::Plain => mode = Mode::Together,
            Err(Stop::NotPlain) if collisions < COLLISIONS_MAX => collisions += 1,
            Err(Stop::NotPlain) => return Err(crowded()),
            Err(Stop::Collided(_)) if collisions < COLLISIONS_MAX => collisions += 1,
            Err(Stop::Collided(error)) => return Err(error),
            Err(Stop::Failed) if mode == Mode::Savepoints => return Err(spoilt()),
            Err(Stop::Failed) => mode = Mode::Savepoints,
            Err(Stop::Broken(unit, failure)) => {
                failed.insert(unit, failure);
                mode = Mode::Savepoints;
            }
        }
    }
}

/// The transaction that the handler of these units opened; none of them is with others in a group.
fn own_transaction(course: &Course<'_>, units: &Range<usize>) -> Option<(usize, PgConnection)> {
    let unit = units.clone().next()?;
    let own = course.group.units[unit].effects.iter().find(|effect| effect.is_own())?;
    Some((unit, own.take_own::<Postgres>()?))
}

/// What one transaction is over.
pub(super) struct Attempt<'a> {
    pub(super) store: &'a PostgresStore,
    pub(super) course: &'a Course<'a>,
    pub(super) holds: &'a Holds,
    pub(super) units: Range<usize>,
    pub(super) failed: &'a BTreeMap<usize, Failure>,
    /// Where it has writes of handlers.
    pub(super) writing: Option<Writing<'a>>,
}

impl Attempt<'_> {
    async fn run(&self, mode: Mode) -> Result<(Vec<Fate>, Done), Stop> {
        // The server ends every statement in time; a server that can't be reached ends nothing.
        let limit = self.store.database.limit() * 4 + GRACE;
        match self.store.database.env().timeout("a commit", limit, self.run_unbounded(mode)).await {
            Ok(ran) => ran,
            Err(late) => Err(Stop::unknown(late)),
        }
    }

    async fn run_own(&self, unit: usize, connection: PgConnection) -> Result<(Vec<Fate>, Done), Stop> {
        let mut link = self.store.database.adopt(connection);
        if !link.is_single() {
            return Err(Stop::Broken(unit, ended_by_itself()));
        }
        let limit = self.store.database.limit() * 4 + GRACE;
        let run = async {
            let ended = match pass::run(self, &mut link, Mode::Own).await {
                // Its writes go where its event does not commit.
                Ok(end) if !self.course.events_of(unit).all(|event| end.fates[event].is_committed()) => {
                    Err(Stop::NotPlain)
                }
                ended => ended,
            };
            self.finish(link, ended).await
        };
        match self.store.database.env().timeout("a commit", limit, run).await {
            Ok(ran) => ran,
            Err(late) => Err(Stop::unknown(late)),
        }
    }

    async fn run_unbounded(&self, mode: Mode) -> Result<(Vec<Fate>, Done), Stop> {
        let plan = if mode == Mode::Plain { Plan::make(self) } else { None };
        let effects = self.writing.is_some();
        let database = &self.store.database;
        // Behind a pooler a write that ends the transaction shows by its savepoint only.
        let plan = plan.filter(|_| !effects || database.is_own());
        let at_once = plan.as_ref().is_some_and(|plan| plan.writes != Writes::Any);
        let mut link = match (effects, at_once) {
            (false, _) => database.commits().await?,
            (true, true) => database.stating().await?,
            (true, false) => database.writers().await?,
        };
        match plan {
            Some(plan) if at_once && link.is_own() => self.at_once(link, plan).await,
            Some(plan) => match plan.run(self, &mut link).await {
                Ok(end) => {
                    link.give();
                    Ok(self.noted(end))
                }
                Err(stop) => {
                    link.undo().await;
                    Err(stop)
                }
            },
            None => {
                let mode = match mode {
                    _ if effects && !link.is_own() => Mode::Savepoints,
                    Mode::Plain => Mode::Together,
                    mode => mode,
                };
                let ended = pass::run(self, &mut link, mode).await;
                self.finish(link, ended).await
            }
        }
    }

    /// One statement, which is its own transaction.
    async fn at_once(&self, mut link: Link<'_>, plan: Plan) -> Result<(Vec<Fate>, Done), Stop> {
        let written = plan.writes == Writes::Statements;
        let executes = match link.executes(self.effects().filter_map(Effect::as_statement::<Postgres>)).await
        {
            Ok(executes) => executes,
            Err(Unready::Refused(_) | Unready::Many) => {
                link.undo().await;
                return Err(Stop::Failed);
            }
            Err(Unready::Lost(error)) => {
                return Err(link.broke("could not prepare a statement", error).into());
            }
        };
        match plan.at_once(self, &mut link, executes).await {
            Ok(end) => {
                link.give();
                Ok(self.noted(end))
            }
            Err(error) if is_lost(&error) && !(written && is_answer(&error)) => {
                link.note(&error);
                Err(Stop::unknown(error))
            }
            // What the statements did to the session goes with the connection.
            Err(error) if written => Err(Stop::of_statements(error)),
            Err(error) => {
                let stop = Stop::of_plain(&mut link, "could not commit", error);
                link.undo().await;
                Err(stop)
            }
        }
    }

    /// What handlers recorded, in the order in which it is to run.
    pub(super) fn effects(&self) -> impl Iterator<Item = &Effect> {
        Self::effects_of(self.course, &self.units)
    }

    fn effects_of<'c>(course: &'c Course<'_>, units: &Range<usize>) -> impl Iterator<Item = &'c Effect> {
        course.group.units[units.clone()].iter().flat_map(|unit| &unit.effects)
    }

    async fn finish(&self, mut link: Link<'_>, ended: Result<End, Stop>) -> Result<(Vec<Fate>, Done), Stop> {
        let end = match ended {
            Ok(end) => end,
            Err(stop) => {
                link.undo().await;
                return Err(stop);
            }
        };
        let error = match link.commit().await {
            Ok(()) => {
                link.give();
                return Ok(self.noted(end));
            }
            Err(error) => error,
        };
        if !is_lost(&error) {
            link.undo().await;
        }
        Err(Stop::of_commit(error))
    }

    fn noted(&self, end: End) -> (Vec<Fate>, Done) {
        self.store.positions.note(self.course.group, self.holds, &end);
        (end.fates, end.done)
    }
}

fn crowded() -> Error {
    Error::new(ErrorKind::Store, "other commits finish the same events again and again; nothing was written")
}

fn spoilt() -> Error {
    Error::new(ErrorKind::Store, "a transaction was spoilt by none of its writes; nothing was written")
}
