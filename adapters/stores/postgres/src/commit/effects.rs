//! A handler's recorded writes, inside the transaction that commits their event.

use std::time::Duration;

use keylane::env::Instant;
use keylane::store::Unit;
use keylane::{Error, ErrorKind, Failure};

use sqlx::AssertSqlSafe;

use super::stop::Stop;
use crate::database::{Link, Unready};
use crate::statement::Statement;
use crate::{Postgres, PostgresStore};

/// Why a unit's effects did not all run.
pub(super) enum Trouble {
    /// The unit failed; the transaction can go back to its savepoint.
    Failed(Failure),
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
        store: &PostgresStore,
        link: &mut Link<'_>,
        unit: &Unit,
    ) -> Result<(), Trouble> {
        if unit.effects.is_empty() {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.used, true);
        let env = store.database.env();
        let left = self.deadline.since(env.now());
        let ran = match env.timeout("a write", left, in_order(link, unit)).await {
            Ok(ran) => ran,
            Err(late) if first && store.database.writes_beside() => {
                let what = "writes took too long beside those of other groups";
                return Err(Trouble::Beside(Error::new(ErrorKind::Store, what).with_source(late)));
            }
            Err(late) => return Err(Trouble::Late { first, failure: late.into() }),
        };
        match (ran, link.is_here() && link.is_single()) {
            (Ok(()), true) => Ok(()),
            (Ok(()), false) => Err(Trouble::Broken(ended_by_itself())),
            (Err(failure), true) => Err(Trouble::Failed(failure)),
            (Err(failure), false) => Err(Trouble::Broken(failure)),
        }
    }
}

async fn in_order(link: &mut Link<'_>, unit: &Unit) -> Result<(), Failure> {
    // A handler's own transaction is the one that they run in.
    for effect in unit.effects.iter().filter(|effect| !effect.is_own()) {
        if let Some(statement) = effect.as_statement::<Postgres>() {
            run(link, statement).await?;
            continue;
        }
        let connection = link.lend().ok_or_else(ended_by_itself)?;
        let (connection, ran) = effect.run::<Postgres>(connection).await;
        link.regain(connection);
        ran?;
    }
    Ok(())
}

async fn run(link: &mut Link<'_>, statement: &Statement) -> Result<(), Failure> {
    // An earlier write kept the connection.
    if !link.is_here() {
        return Err(ended_by_itself());
    }
    let executes = link.executes(std::iter::once(statement)).await.map_err(|unready| match unready {
        Unready::Refused(failure) => failure,
        Unready::Lost(error) => error.into(),
    })?;
    for sql in executes {
        let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **link).await;
        ran.map_err(|error| statement.failure(&error))?;
    }
    Ok(())
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
