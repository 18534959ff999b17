//! Admission: what is known of a batch before anything of it runs.

use keylane::Error;
use keylane::store::{Admission, AdmitBatch};
use sqlx::{Connection, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::look::{Sought, look};
use crate::{ledger, session};

/// A1: all is read in one snapshot, newer than the claim of who asks. A reader does it: it waits for no
/// commit, and none waits for it.
pub(crate) async fn admit(store: &SqliteStore, batch: &AdmitBatch) -> Result<Vec<Admission>, Error> {
    let mut reader = store.database.read().await?;
    // The snapshot holds a generation's table in place while it is read.
    let mut snapshot = reader.begin().await.map_err(|error| failed("could not begin to read", error))?;
    let admissions = read(store, &mut snapshot, batch).await?;
    snapshot.rollback().await.map_err(|error| failed("could not end a read", error))?;
    Ok(admissions)
}

async fn read(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    batch: &AdmitBatch,
) -> Result<Vec<Admission>, Error> {
    session::check(connection, batch.session).await?;
    let mut admissions = vec![Admission::Fresh; batch.events.len()];
    let mut scopes: Vec<_> = batch.claims.iter().map(|claim| &claim.scope).collect();
    scopes.sort();
    scopes.dedup();
    for scope in scopes {
        let Some(number) = store.scopes.number(connection, scope).await? else { continue };
        let Some(generations) = ledger::generations(connection, &scope.subscription).await? else {
            continue;
        };
        let of_scope =
            || (0..batch.events.len()).filter(|at| batch.claims[batch.events[*at].claim].scope == *scope);
        let sought: Vec<_> = of_scope()
            .map(|at| Sought { id: &batch.events[at].id, payload: batch.events[at].payload })
            .collect();
        let known = look(connection, number, &generations.all, &sought).await?;
        for (at, known) in of_scope().zip(known) {
            admissions[at] = known.admission();
        }
    }
    Ok(admissions)
}
