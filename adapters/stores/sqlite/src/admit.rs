//! Admission: what is known of a batch before anything of it runs.

use keylane::Error;
use keylane::store::{Admission, AdmitBatch, Admitted, LeaseAnswer};
use sqlx::{Connection, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::look::{Known, Sought, look};
use crate::{lease, ledger, session, tries};

pub(crate) async fn admit(store: &SqliteStore, batch: &AdmitBatch) -> Result<Admitted, Error> {
    match batch.leases.is_empty() {
        true => look_only(store, batch).await,
        false => take_and_look(store, batch).await,
    }
}

/// All is read in one snapshot, newer than the claim or lease of who asks. A reader does it: it waits for no
/// commit, and none waits for it.
async fn look_only(store: &SqliteStore, batch: &AdmitBatch) -> Result<Admitted, Error> {
    let mut reader = store.database.read().await?;
    // The snapshot holds a generation's table in place while it is read.
    let mut snapshot = reader.begin().await.map_err(|error| failed("could not begin to read", error))?;
    session::check(&mut snapshot, batch.session).await?;
    let events = read(store, &mut snapshot, batch).await?;
    snapshot.rollback().await.map_err(|error| failed("could not end a read", error))?;
    Ok(Admitted { leases: Vec::new(), events })
}

/// A1: nobody commits between the leases and the look, because this transaction has the one write lock: what
/// owners before wrote was there when it began.
async fn take_and_look(store: &SqliteStore, batch: &AdmitBatch) -> Result<Admitted, Error> {
    let mut writer = store.database.write().await?;
    let admitted = async {
        session::check(&mut writer, batch.session).await?;
        let scope = store.scopes.leased(&mut writer, &batch.scope).await?;
        let leases = lease::take(&mut writer, batch.session, scope, &batch.leases).await?;
        let events = read(store, &mut writer, batch).await?;
        Ok(Admitted { leases, events })
    };
    let admitted = admitted.await;
    let admitted = writer.end(admitted).await?;
    if admitted.leases.contains(&LeaseAnswer::Taken) {
        // Who asks for what is free looks more often from now on.
        store.database.leases().notify_waiters();
    }
    Ok(admitted)
}

async fn read(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    batch: &AdmitBatch,
) -> Result<Vec<Admission>, Error> {
    let unknown = || vec![Admission::Fresh; batch.events.len()];
    let Some(scope) = store.scopes.number(connection, &batch.scope).await? else { return Ok(unknown()) };
    let Some(generations) = ledger::generations(connection, &batch.scope.subscription).await? else {
        return Ok(unknown());
    };
    let sought: Vec<_> =
        batch.events.iter().map(|event| Sought { id: &event.id, payload: event.payload }).collect();
    let known = look(connection, scope, &generations.all, &sought).await?;
    let mut admissions: Vec<_> = known.into_iter().map(Known::admission).collect();
    add_tries(connection, scope, batch, &mut admissions).await?;
    Ok(admissions)
}

/// Of a leased event that is not over, earlier tries are known by its id.
async fn add_tries(
    connection: &mut SqliteConnection,
    scope: i64,
    batch: &AdmitBatch,
    admissions: &mut [Admission],
) -> Result<(), Error> {
    let fresh = |at: &usize| batch.events[*at].leased && admissions[*at] == Admission::Fresh;
    let open: Vec<usize> = (0..batch.events.len()).filter(fresh).collect();
    if open.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = open.iter().map(|at| batch.events[*at].id.as_str()).collect();
    for (found, row) in tries::find(connection, scope, &ids).await? {
        if let Some(at) = open.get(found) {
            admissions[*at] = Admission::Tried(Box::new(row));
        }
    }
    Ok(())
}
