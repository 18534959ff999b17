//! A handler's recorded writes, inside the transaction that commits their event.

use keylane::Failure;
use keylane::env::Instant;
use keylane::store::Unit;

use crate::database::Writer;
use crate::session::Fence;
use crate::{Sqlite, SqliteStore};

/// Why a unit's effects did not all run.
pub(super) enum Trouble {
    /// The unit failed; the transaction is as good as before.
    Failed(Failure),
    /// The unit failed and took the transaction with it.
    Broken(Failure),
    /// The transaction's time was up while these effects ran, the first ones in it or later ones.
    Late { first: bool, failure: Failure },
}

/// The time that the effects of one transaction have together (rule S3).
pub(super) struct Clock {
    deadline: Instant,
    /// Effects ran before.
    used: bool,
}

impl Clock {
    /// Begins now.
    pub(super) fn start(store: &SqliteStore, fence: &Fence) -> Self {
        let most = fence.lifetime / 3;
        let limit = store.effect_limit.map_or(most, |limit| limit.min(most));
        Self { deadline: store.env.now() + limit, used: false }
    }

    /// Runs a unit's effects in the order in which they were recorded (rule C3). A write that is dropped
    /// at the limit takes the connection with it, and so the transaction.
    pub(super) async fn run(
        &mut self,
        store: &SqliteStore,
        writer: &mut Writer<'_>,
        unit: &Unit,
    ) -> Result<(), Trouble> {
        if unit.effects.is_empty() {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.used, true);
        let left = self.deadline.since(store.env.now());
        let answer = match store.env.timeout("a write", left, in_order(writer, unit)).await {
            Ok(answer) => answer,
            Err(late) => return Err(Trouble::Late { first, failure: late.into() }),
        };
        match (answer, writer.is_broken().await) {
            (Ok(()), false) => Ok(()),
            (Ok(()), true) => Err(Trouble::Broken(ended_by_itself())),
            (Err(failure), false) => Err(Trouble::Failed(failure)),
            (Err(failure), true) => Err(Trouble::Broken(failure)),
        }
    }
}

async fn in_order(writer: &mut Writer<'_>, unit: &Unit) -> Result<(), Failure> {
    for effect in &unit.effects {
        let connection = writer.lend().ok_or_else(ended_by_itself)?;
        let (connection, ran) = effect.run::<Sqlite>(connection).await;
        writer.regain(connection);
        ran?;
    }
    Ok(())
}

fn ended_by_itself() -> Failure {
    let what = "a write ended the transaction that it was lent, or kept it; it must only write through it";
    Failure::new(what).permanent()
}
