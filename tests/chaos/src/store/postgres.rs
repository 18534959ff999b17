//! Effects in PostgreSQL: a table of the service's own, beside the store's schema.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::store::{Store, StoreAdapter};
use keylane::{Env, Error, ErrorKind, Failure, Tx};
use keylane_postgres::{Postgres, PostgresConfig};
use sqlx::{Connection, PgConnection};

use super::{Effect, EffectRow, EffectTable, StoreSide};
use crate::clock::now;

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
}

/// The driver's view of the database. It connects anew for each question: its connections die with all others.
pub(crate) struct PostgresSide {
    /// Straight to the server.
    url: String,
    /// Each worker's way.
    links: Vec<String>,
    env: Env,
}

impl PostgresSide {
    pub(crate) async fn make(url: &str, links: Vec<String>, env: &Env) -> Result<Self, Error> {
        let side = Self { url: url.to_owned(), links, env: env.clone() };
        let mut connection = side.connect().await?;
        sqlx::query(TABLE).execute(&mut connection).await.map_err(failed)?;
        Ok(side)
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        let connected = tokio::time::timeout(ANSWER_MAX, PgConnection::connect(&self.url)).await;
        connected
            .map_err(|error| Error::new(ErrorKind::Store, "no answer").with_source(error))?
            .map_err(failed)
    }
}

#[async_trait]
impl StoreSide for PostgresSide {
    fn config(&self, place: usize) -> String {
        format!("[store.postgres]\nurl = {:?}\n", self.links[place])
    }

    async fn count(&self) -> Result<u64, Error> {
        let mut connection = self.connect().await?;
        let count = sqlx::query_scalar("SELECT count(*) FROM chaos_effects").fetch_one(&mut connection);
        count.await.map(i64::cast_unsigned).map_err(failed)
    }

    async fn effects(&self) -> Result<Vec<Effect>, Error> {
        let mut connection = self.connect().await?;
        let rows: Vec<(String, i64, i64, i64, i64, i64)> =
            sqlx::query_as("SELECT id, token, worker, part, place, at FROM chaos_effects ORDER BY sequence")
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
        Ok(rows.into_iter().map(effect).collect())
    }

    async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        let config = PostgresConfig { url: Some(self.url.clone().into()), ..PostgresConfig::default() };
        Postgres::new().open(config, &self.env).await
    }

    async fn terminate(&self) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&mut connection)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn answers(&self) -> bool {
        let Ok(mut connection) = self.connect().await else { return false };
        sqlx::query("SELECT 1").execute(&mut connection).await.is_ok()
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Store, "the database was not asked").with_source(error)
}
