//! Leases: what a session holds. They are taken by admission and given back by commits.

use std::collections::BTreeMap;

use keylane::Error;
use keylane::store::{AdmitBatch, LeaseKey, LeaseRef, SessionId};
use sqlx::Row;

use crate::PostgresStore;
use crate::database::Link;
use crate::numbers::{self, unsigned};

/// S7: for the comparison with the lanes.
pub(crate) async fn leases(store: &PostgresStore, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
    let mut link = store.database.work().await?;
    let read = async {
        link.begin_if_needed().await?;
        let sql = "SELECT l.scope, l.key, l.token
            FROM {keylane}.leases l JOIN {keylane}.sessions s ON s.id = l.owner
            WHERE l.owner = $1 ORDER BY l.scope, l.key";
        let rows = store.database.sql(sql).query().bind(session.0).fetch_all(&mut *link).await;
        rows.map_err(|error| link.broke("could not read the session's leases", error))
    };
    let read = read.await;
    let mut leases = Vec::new();
    for row in link.end(read).await? {
        let scope = store.scopes.scope(&store.database, row.get("scope")).await?;
        let lease = LeaseKey { scope, key: row.get::<Vec<u8>, _>("key").into() };
        leases.push(LeaseRef { lease, token: unsigned(row.get("token")) });
    }
    Ok(leases)
}

/// T1: the marks that are to be made under leases that were granted uncleanly a moment ago, by their tokens. Rare: who
/// had them died.
pub(crate) async fn marks(
    store: &PostgresStore,
    link: &mut Link<'_>,
    batch: &AdmitBatch,
    scope: i32,
    keys: &[&[u8]],
) -> Result<BTreeMap<i64, u32>, Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = store.database.sql(
        "SELECT l.token, l.marks FROM {keylane}.leases l WHERE l.scope = $1 AND l.key = ANY ($2) AND l.owner = $3",
    );
    let rows = sql.query().bind(scope).bind(keys).bind(batch.session.0).fetch_all(&mut **link).await;
    let rows = rows.map_err(|error| link.broke("could not read the marks of leases", error))?;
    Ok(rows.iter().map(|row| (row.get("token"), numbers::marks(row.get("marks")))).collect())
}
