//! Admission: what is known of a batch before anything of it runs.

use keylane::store::{Admission, AdmitBatch, Admitted};
use keylane::{Error, ErrorKind};
use sqlx::{Connection, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::look::{Known, Sought, look};
use crate::{ledger, session};

/// A1: all is read in one snapshot, newer than the claim of who asks. A reader does it: it waits for no
/// commit, and none waits for it.
pub(crate) async fn admit(store: &SqliteStore, batch: &AdmitBatch) -> Result<Admitted, Error> {
    if !batch.leases.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "leases in the sqlite store"));
    }
    let mut reader = store.database.read().await?;
    // The snapshot holds a generation's table in place while it is read.
    let mut snapshot = reader.begin().await.map_err(|error| failed("could not begin to read", error))?;
    let events = read(store, &mut snapshot, batch).await?;
    snapshot.rollback().await.map_err(|error| failed("could not end a read", error))?;
    Ok(Admitted { leases: Vec::new(), events })
}

async fn read(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    batch: &AdmitBatch,
) -> Result<Vec<Admission>, Error> {
    session::check(connection, batch.session).await?;
    let unknown = || vec![Admission::Fresh; batch.events.len()];
    let Some(scope) = store.scopes.number(connection, &batch.scope).await? else { return Ok(unknown()) };
    let Some(generations) = ledger::generations(connection, &batch.scope.subscription).await? else {
        return Ok(unknown());
    };
    let sought: Vec<_> =
        batch.events.iter().map(|event| Sought { id: &event.id, payload: event.payload }).collect();
    let known = look(connection, scope, &generations.all, &sought).await?;
    Ok(known.into_iter().map(Known::admission).collect())
}
