//! Effects in PostgreSQL: a table of the service's own, beside the store's schema.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::store::{Store, StoreAdapter};
use keylane::{Effects, Env, Error, ErrorKind, Failure, Tx};
use keylane_postgres::{Postgres, PostgresConfig, sql};
use sqlx::{Connection, PgConnection};

use super::{Effect, EffectRow, EffectTable, StoreSide};
use crate::clock::{now, wall};

/// How long one question of the driver may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// No unique index: a doubled effect must be possible, to be seen.
const TABLE: &str = "CREATE TABLE chaos_effects (
    sequence bigserial PRIMARY KEY,
    id text NOT NULL, key text NOT NULL, number bigint NOT NULL,
    token bigint NOT NULL, worker bigint NOT NULL,
    part bigint NOT NULL, place bigint NOT NULL, at bigint NOT NULL
)";

impl EffectTable for Postgres {
    async fn write(mut tx: Tx<Self>, row: EffectRow) -> Result<(), Failure> {
        sqlx::query(
            "INSERT INTO public.chaos_effects (id, key, number, token, worker, part, place, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(row.id)
        .bind(row.key)
        .bind(row.number.cast_signed())
        .bind(row.token.cast_signed())
        .bind(i64::from(row.worker))
        .bind(i64::from(row.partition))
        .bind(row.offset.cast_signed())
        .bind(now().cast_signed())
        .execute(&mut *tx)
        .await?;
        tx.done()
    }

    /// Of three workers one runs its writes here, one records statements, and one does now this and now that: what a group
    /// has in it decides how it is written.
    fn record(fx: &mut Effects<Self>, row: EffectRow) {
        let stated = match row.worker % 3 {
            0 => false,
            1 => true,
            _ => row.number.is_multiple_of(2),
        };
        if !stated {
            fx.commit_with(row, Self::write);
            return;
        }
        let insert = sql("INSERT INTO public.chaos_effects (id, key, number, token, worker, part, place, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, extract(epoch FROM clock_timestamp()) * 1000000000 - $8)");
        fx.commit_statement(
            insert
                .bind(row.id)
                .bind(row.key)
                .bind(row.number)
                .bind(row.token)
                .bind(row.worker)
                .bind(row.partition)
                .bind(row.offset)
                .bind(ahead_of_monotonic()),
        );
    }
}

/// By so many nanoseconds the clock that the server reads is ahead of ours.
fn ahead_of_monotonic() -> i128 {
    wall().cast_signed() - i128::from(now())
}

/// The driver's view of the databases. It connects anew for each question: its connections die with all others.
pub(crate) struct PostgresSide {
    databases: Vec<Database>,
    env: Env,
}

/// One of them.
pub(crate) struct Database {
    /// Straight to the server.
    pub(crate) url: String,
    /// Each worker's way.
    pub(crate) links: Vec<String>,
}

impl PostgresSide {
    pub(crate) async fn make(databases: Vec<Database>, env: &Env) -> Result<Self, Error> {
        for database in &databases {
            let mut connection = connect(&database.url).await?;
            sqlx::query(TABLE).execute(&mut connection).await.map_err(failed)?;
        }
        Ok(Self { databases, env: env.clone() })
    }
}

/// One more database on the server, by the address of the first.
pub(crate) async fn second(url: &str) -> Result<String, Error> {
    let mut connection = connect(url).await?;
    sqlx::query("CREATE DATABASE keylane_chaos_2").execute(&mut connection).await.map_err(failed)?;
    let (server, _) = url.rsplit_once('/').unwrap_or((url, ""));
    Ok(format!("{server}/keylane_chaos_2"))
}

async fn connect(url: &str) -> Result<PgConnection, Error> {
    let connected = tokio::time::timeout(ANSWER_MAX, PgConnection::connect(url)).await;
    connected.map_err(|error| Error::new(ErrorKind::Store, "no answer").with_source(error))?.map_err(failed)
}

#[async_trait]
impl StoreSide for PostgresSide {
    fn config(&self, place: usize) -> String {
        match &self.databases[..] {
            [one] => format!("[store.postgres]\nurl = {:?}\n", one.links[place]),
            all => {
                let urls: Vec<&String> = all.iter().map(|database| &database.links[place]).collect();
                format!("[store.postgres]\nurls = {urls:?}\n")
            }
        }
    }

    async fn count(&self) -> Result<u64, Error> {
        let mut all = 0;
        for database in &self.databases {
            let mut connection = connect(&database.url).await?;
            let count = sqlx::query_scalar("SELECT count(*) FROM chaos_effects").fetch_one(&mut connection);
            all += count.await.map(i64::cast_unsigned).map_err(failed)?;
        }
        Ok(all)
    }

    async fn effects(&self) -> Result<Vec<Effect>, Error> {
        let mut effects = Vec::new();
        for database in &self.databases {
            let mut connection = connect(&database.url).await?;
            let rows: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
                "SELECT id, token, worker, part, place, at FROM chaos_effects ORDER BY sequence",
            )
            .fetch_all(&mut connection)
            .await
            .map_err(failed)?;
            let effect = |(id, token, worker, part, place, at): (_, i64, i64, i64, i64, i64)| Effect {
                id,
                token: token.cast_unsigned(),
                worker: u32::try_from(worker).unwrap_or_default(),
                place: (u32::try_from(part).unwrap_or_default(), place.cast_unsigned()),
                at: at.cast_unsigned(),
            };
            effects.extend(rows.into_iter().map(effect));
        }
        Ok(effects)
    }

    async fn open(&self) -> Result<Vec<Arc<dyn Store>>, Error> {
        let config = match &self.databases[..] {
            [one] => PostgresConfig { url: Some(one.url.clone().into()), ..PostgresConfig::default() },
            all => {
                let urls = all.iter().map(|database| database.url.clone().into()).collect();
                PostgresConfig { urls: Some(urls), ..PostgresConfig::default() }
            }
        };
        Postgres::new().open_all(config, &self.env).await
    }

    async fn terminate(&self) -> Result<(), Error> {
        let mut connection = connect(&self.databases[0].url).await?;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname IS NOT NULL AND pid <> pg_backend_pid()",
        )
        .execute(&mut connection)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn answers(&self) -> bool {
        for database in &self.databases {
            let Ok(mut connection) = connect(&database.url).await else { return false };
            if sqlx::query("SELECT 1").execute(&mut connection).await.is_err() {
                return false;
            }
        }
        true
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Store, "the database was not asked").with_source(error)
}
