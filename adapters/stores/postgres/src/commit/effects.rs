//! A handler's recorded writes, inside the transaction that commits their event.

use std::time::Duration;

use keylane::env::Instant;
use keylane::store::Unit;
use keylane::{Error, ErrorKind, Failure};

use super::attempt::Attempt;
use super::stop::Stop;
use crate::database::{Database, Link, Unready, Writing};
use crate::error::is_collision_of_its_own;
use crate::statement::Statement;
use crate::{Postgres, PostgresStore};

/// Why a unit's effects did not all run.
pub(super) enum Trouble {
    /// The unit failed; the transaction can go back to its savepoint.
    Failed(Failure),
    /// Another transaction was in the way (rule C4).
    Collided(Failure),
    /// The unit failed and took the transaction with it.
    Broken(Failure),
    /// The transaction's time was up while these effects ran, the first ones in it or later ones.
    Late { first: bool, failure: Failure },
    /// The same of the first ones, while other groups were under way, which may have held what they waited for.
    Beside(Error),
}

impl Trouble {
    /// The transaction is gone with this unit's effects.
    pub(super) fn stop(self, unit: usize) -> Stop {
        match self {
            // S3: only who had all of the time is the culprit.
            Self::Late { first: false, .. } => Stop::Late(unit),
            // C4: nobody's fault. Where it goes on, the runtime begins no others beside it.
            Self::Beside(error) => Stop::Error(error),
            Self::Collided(failure) => {
                let what = format!("a write met another transaction: {failure}");
                Stop::Collided(Error::new(ErrorKind::Store, what))
            }
            Self::Late { failure, .. } | Self::Broken(failure) | Self::Failed(failure) => {
                Stop::Broken(unit, failure)
            }
        }
    }
}

/// The time that the effects of one transaction have together (rule S3).
pub(super) struct Clock {
    deadline: Instant,
    /// Effects ran before.
    used: bool,
}

impl Clock {
    /// Begins now. Shorter than the server's own limit, so that it is known whose time was up.
    pub(super) fn start(store: &PostgresStore, lifetime: Duration) -> Self {
        let most = lifetime * 3 / 10;
        let limit = store.effect_limit.map_or(most, |limit| limit.min(most));
        Self { deadline: store.database.env().now() + limit, used: false }
    }

    /// Runs a unit's effects in the order in which they were recorded (rule C3). A write that is dropped at the limit
    /// takes the connection with it, and so the transaction.
    pub(super) async fn run(
        &mut self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        unit: usize,
    ) -> Result<(), Trouble> {
        let unit = &attempt.course.group.units[unit];
        if unit.effects.is_empty() {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.used, true);
        let database = &attempt.store.database;
        let left = self.deadline.since(database.env().now());
        let ran = database.env().timeout("a write", left, in_order(database, link, unit)).await;
        let ran = match ran {
            Ok(ran) => ran,
            Err(late) => {
                // A write that runs here takes it along; a statement's answer is not waited for.
                link.abandon().await;
                if first && attempt.writing.as_ref().is_some_and(Writing::had_others) {
                    let what = "writes took too long beside those of other groups";
                    return Err(Trouble::Beside(Error::new(ErrorKind::Store, what).with_source(late)));
                }
                return Err(Trouble::Late { first, failure: late.into() });
            }
        };
        match (ran, link.is_here() && link.is_single()) {
            (Ok(()), true) => Ok(()),
            (Ok(()), false) => Err(Trouble::Broken(ended_by_itself())),
            (Err(trouble), true) => Err(trouble),
            (Err(Trouble::Failed(failure) | Trouble::Collided(failure)), false) => {
                Err(Trouble::Broken(failure))
            }
            (Err(trouble), false) => Err(trouble),
        }
    }
}

async fn in_order(database: &Database, link: &mut Link<'_>, unit: &Unit) -> Result<(), Trouble> {
    // A handler's own transaction is the one that they run in.
    for effect in unit.effects.iter().filter(|effect| !effect.is_own()) {
        if let Some(statement) = effect.as_statement::<Postgres>() {
            run(database, link, statement).await?;
            continue;
        }
        let connection = link.lend().ok_or_else(|| Trouble::Failed(ended_by_itself()))?;
        let (connection, ran) = effect.run::<Postgres>(connection).await;
        link.regain(connection);
        ran.map_err(|failure| match is_collision_by_its_words(&failure) {
            true => Trouble::Collided(failure),
            false => Trouble::Failed(failure),
        })?;
    }
    Ok(())
}

async fn run(database: &Database, link: &mut Link<'_>, statement: &Statement) -> Result<(), Trouble> {
    // An earlier write kept the connection.
    if !link.is_here() {
        return Err(Trouble::Failed(ended_by_itself()));
    }
    let executes = match link.executes(std::iter::once(statement)).await {
        Ok(executes) => executes,
        Err(Unready::Refused(failure)) => return Err(Trouble::Failed(failure)),
        Err(Unready::Lost(error)) => return Err(Trouble::Failed(statement.failure(&error))),
        Err(Unready::Many) => unreachable!("it is one statement"),
    };
    // Bound, so that no parameter of it is in a text that the driver logs.
    let sql = database.sql("SELECT {keylane}.run_statements('{}', $1)");
    let ran = sql.query().bind(executes).execute(&mut **link).await;
    ran.map(drop).map_err(|error| match is_collision_of_its_own(&error) {
        true => Trouble::Collided(statement.failure(&error)),
        false => Trouble::Failed(statement.failure(&error)),
    })
}

/// What a write gave back tells no code any more, only the server's words, with which its message begins; in another
/// language than its own they are taken for a failure.
fn is_collision_by_its_words(failure: &Failure) -> bool {
    let words = ["deadlock detected", "could not serialize access"];
    failure.chain().iter().any(|said| words.iter().any(|words| said.starts_with(words)))
}

pub(super) fn ended_by_itself() -> Failure {
    let what = "a write ended the transaction that it was lent, or kept it; it must only write through it";
    Failure::new(what).permanent()
}

/// PostgreSQL takes nothing more in a transaction in which a statement failed.
pub(super) fn passed_over() -> Failure {
    Failure::new(
        "a write passed over a statement that failed; it must give the failure back, or use a savepoint",
    )
    .permanent()
}
