//! Sessions: the worker's row, its renewal, its end. And retention, which any session's worker sees to.

use std::time::Duration;

use keylane::store::{NewSession, Renewed, Scope, SessionId};
use keylane::{Class, Error, ErrorKind};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::error::is_taken;
use crate::numbers::micros;
use crate::{PostgresStore, parking, wants};

/// S1: an insert that fails for an id that was ever used.
pub(crate) async fn register(store: &PostgresStore, session: &NewSession) -> Result<(), Error> {
    let mut link = store.database.heartbeat().await?;
    let registered = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql("SELECT {keylane}.register($1, $2, $3)");
        let done = sql
            .query()
            .bind(session.id.0)
            .bind(session.worker.replace('\0', " "))
            .bind(micros(session.lifetime))
            .execute(&mut *link)
            .await;
        done.map(drop).map_err(|error| match is_taken(&error) {
            true => used(session.id),
            false => link.broke("could not register a session", error),
        })
    };
    let registered = registered.await;
    link.end(registered).await
}

/// On a connection of its own, so that it waits for nothing that handlers keep busy.
pub(crate) async fn renew(
    store: &PostgresStore,
    session: SessionId,
    leased: &[Scope],
) -> Result<Renewed, Error> {
    let leased = store.scopes.numbers(&store.database, leased.iter()).await?;
    let mut link = store.database.heartbeat().await?;
    let renewed = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql("SELECT * FROM {keylane}.renew($1)");
        let row = sql.query().bind(session.0).fetch_one(&mut *link).await;
        let row = row.map_err(|error| link.broke("could not renew the session", error))?;
        let letters = match row.get("requested") {
            true => parking::released_to(&store.database, &mut link, session, &leased).await?,
            false => Vec::new(),
        };
        Ok((row, letters))
    };
    let renewed = renewed.await;
    let (row, released): (PgRow, _) = link.end(renewed).await?;
    Ok(Renewed {
        wanted: wants::claims(store, row.get("claims")).await?,
        repositioned: wants::claims(store, row.get("repositioned")).await?,
        contended: wants::leases(store, row.get("leases")).await?,
        released,
    })
}

pub(crate) async fn close(store: &PostgresStore, session: SessionId) -> Result<(), Error> {
    let mut link = store.database.heartbeat().await?;
    let closed = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql("SELECT {keylane}.close_session($1)");
        let done = sql.query().bind(session.0).execute(&mut *link).await;
        done.map(drop).map_err(|error| link.broke("could not close a session", error))
    };
    let closed = closed.await;
    link.end(closed).await
}

/// Opens, closes and drops the ledger's containers (rule L1).
pub(crate) async fn sweep(store: &PostgresStore, subscription: &str, keep: Duration) -> Result<u64, Error> {
    let mut link = store.database.work().await?;
    let swept = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql("SELECT {keylane}.sweep($1, $2)");
        let dropped: Result<i64, _> =
            sql.scalar().bind(subscription).bind(micros(keep)).fetch_one(&mut *link).await;
        dropped.map_err(|error| link.broke("could not sweep the ledger", error))
    };
    let swept = swept.await;
    Ok(link.end(swept).await?.unsigned_abs())
}

fn used(session: SessionId) -> Error {
    let what = format!("session {session} was registered before; every start needs a new id");
    Error::new(ErrorKind::Store, what).with_class(Class::Permanent)
}
