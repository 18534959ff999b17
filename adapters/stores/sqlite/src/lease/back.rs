//! Leases in a commit: checked, and given back (rules C1, S6, S7).

use std::collections::BTreeMap;

use keylane::Error;
use keylane::store::SessionId;
use sqlx::SqliteConnection;

use crate::error::failed;
use crate::ledger::{hex, json};
use crate::session::key;

/// A lease that a commit relies on: scope, key in hexadecimal digits, token, and its number in the group.
pub(crate) type Held = (Option<i64>, String, i64, usize);

/// C1: the numbers of those that the session holds under these tokens.
pub(crate) async fn held(
    connection: &mut SqliteConnection,
    session: SessionId,
    asked: &[Held],
) -> Result<Vec<usize>, Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let held: Result<Vec<i64>, _> = sqlx::query_scalar(
        "SELECT e.value ->> 3 FROM json_each(?1) e CROSS JOIN keylane_leases l
            ON l.scope = e.value ->> 0 AND l.key = unhex(e.value ->> 1)
         WHERE l.token = e.value ->> 2 AND l.owner = ?2",
    )
    .bind(json(asked)?)
    .bind(key(session))
    .fetch_all(connection)
    .await;
    let held = held.map_err(|error| failed("could not check leases", error))?;
    Ok(held.into_iter().map(|at| usize::try_from(at).unwrap_or(usize::MAX)).collect())
}

/// Gives leases back that the session holds; those for which somebody waits are kept for who waited longest
/// and lives (rule S9), and those with marks left for whoever comes next (rule T1). `waits`: somebody may wait for
/// something.
pub(crate) async fn give_back(
    connection: &mut SqliteConnection,
    session: SessionId,
    leases: impl Iterator<Item = (i64, &[u8], u32)>,
    waits: bool,
) -> Result<(), Error> {
    let mut by_scope: BTreeMap<i64, Vec<(String, u32)>> = BTreeMap::new();
    for (scope, key, marks) in leases {
        by_scope.entry(scope).or_default().push((hex(key), marks));
    }
    for (scope, leases) in by_scope {
        let marked = leases.iter().any(|(_, marks)| *marks > 0);
        let leases = json(&leases)?;
        if waits {
            keep_for_the_first(connection, session, scope, &leases).await?;
        }
        if marked {
            keep_marks(connection, session, scope, &leases).await?;
        }
        sqlx::query(
            "DELETE FROM keylane_leases
             WHERE scope = ?1 AND owner = ?2 AND key IN (SELECT unhex(value ->> 0) FROM json_each(?3))",
        )
        .bind(scope)
        .bind(key(session))
        .bind(leases)
        .execute(&mut *connection)
        .await
        .map_err(|error| failed("could not give leases back", error))?;
    }
    Ok(())
}

/// Those that somebody waits for lose their owner alone. Where all who wait are past their expiry, it is kept
/// for none of them: who comes first, has it. `leases`: pairs of key and marks that are left.
async fn keep_for_the_first(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    leases: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE keylane_leases AS l SET owner = NULL, marks = min(l.marks, e.value ->> 1),
            (kept_for, kept_until_us) = (
                SELECT w.session, clock.us + s.lifetime_us / 3
                FROM keylane_clock clock CROSS JOIN keylane_lease_waits w JOIN keylane_sessions s ON s.id = w.session
                WHERE w.scope = l.scope AND w.key = l.key AND s.expires_us > clock.us ORDER BY w.place LIMIT 1)
         FROM json_each(?3) e
         WHERE l.scope = ?1 AND l.owner = ?2 AND l.key = unhex(e.value ->> 0)
            AND EXISTS (SELECT 1 FROM keylane_lease_waits w WHERE w.scope = l.scope AND w.key = l.key)",
    )
    .bind(scope)
    .bind(key(session))
    .bind(leases)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not keep leases for who waits", error))
}

/// T1: where marks are left the row stays, to tell the next owner; nobody waits for it.
async fn keep_marks(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    leases: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE keylane_leases AS l SET owner = NULL, marks = min(l.marks, e.value ->> 1)
         FROM json_each(?3) e
         WHERE l.scope = ?1 AND l.owner = ?2 AND l.key = unhex(e.value ->> 0)
            AND l.marks > 0 AND e.value ->> 1 > 0",
    )
    .bind(scope)
    .bind(key(session))
    .bind(leases)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not keep the marks of leases", error))
}
