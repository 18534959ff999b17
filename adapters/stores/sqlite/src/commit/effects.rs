//! A handler's recorded writes, inside the transaction that commits their event.

use keylane::Failure;
use keylane::store::Unit;

use crate::database::Writer;
use crate::{Sqlite, SqliteStore};

/// Why a unit's effects did not all run.
pub(super) enum Trouble {
    /// The unit failed; the transaction is as good as before.
    Failed(Failure),
    /// The unit failed and took the transaction with it.
    Broken(Failure),
}

/// Runs a unit's effects in the order in which they were recorded (rule C3), within the time limit. A
/// write that is dropped at the limit takes the connection with it, and so the transaction.
pub(super) async fn run(store: &SqliteStore, writer: &mut Writer<'_>, unit: &Unit) -> Result<(), Trouble> {
    let ran = store.env.timeout("a write", store.effect_limit, in_order(writer, unit)).await;
    let answer = ran.unwrap_or_else(|late| Err(late.into()));
    match (answer, writer.is_broken().await) {
        (Ok(()), false) => Ok(()),
        (Ok(()), true) => Err(Trouble::Broken(ended_by_itself())),
        (Err(failure), false) => Err(Trouble::Failed(failure)),
        (Err(failure), true) => Err(Trouble::Broken(failure)),
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
