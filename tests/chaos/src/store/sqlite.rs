//! Effects in SQLite: a table in the file of store and log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use keylane::store::{Store, StoreAdapter};
use keylane::{Env, Error, ErrorKind, Failure, Tx};
use keylane_sqlite::{Database, Sqlite, SqliteConfig};

use super::{Effect, EffectRow, EffectTable, StoreSide};
use crate::clock::now;

/// No index but that of the rowid: a doubled effect must be possible, to be seen.
const TABLES: &[(u32, &str)] = &[(
    1,
    "CREATE TABLE chaos_effects (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
        token INTEGER NOT NULL, worker INTEGER NOT NULL,
        partition INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL
    ) STRICT",
)];

impl EffectTable for Sqlite {
    async fn write(mut tx: Tx<Self>, row: EffectRow) -> Result<(), Failure> {
        sqlx::query(
            "INSERT INTO chaos_effects (id, key, number, token, worker, partition, offset, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(row.id)
        .bind(row.key)
        .bind(row.number.cast_signed())
        .bind(row.token.cast_signed())
        .bind(row.worker)
        .bind(row.partition)
        .bind(row.offset.cast_signed())
        .bind(now().cast_signed())
        .execute(&mut *tx)
        .await?;
        tx.done()
    }
}

/// The driver's view of the file.
pub(crate) struct SqliteSide {
    database: Arc<Database>,
    path: PathBuf,
    env: Env,
}

impl SqliteSide {
    pub(crate) async fn make(path: &Path, env: &Env) -> Result<Self, Error> {
        let database = Database::open(path, env).await?;
        database.migrate("chaos", TABLES).await?;
        Ok(Self { database, path: path.to_owned(), env: env.clone() })
    }
}

#[async_trait]
impl StoreSide for SqliteSide {
    fn config(&self, _: usize) -> String {
        format!("[store.sqlite]\npath = {:?}\n", self.path.display().to_string())
    }

    async fn count(&self) -> Result<u64, Error> {
        let mut reader = self.database.read().await?;
        let count = sqlx::query_scalar("SELECT count(*) FROM chaos_effects").fetch_one(&mut *reader);
        count.await.map(i64::cast_unsigned).map_err(failed)
    }

    async fn effects(&self) -> Result<Vec<Effect>, Error> {
        let mut reader = self.database.read().await?;
        let rows: Vec<(String, i64, u32, u32, i64, i64)> = sqlx::query_as(
            "SELECT id, token, worker, partition, offset, at FROM chaos_effects ORDER BY sequence",
        )
        .fetch_all(&mut *reader)
        .await
        .map_err(failed)?;
        let effect = |(id, token, worker, partition, offset, at): (_, i64, _, _, i64, i64)| Effect {
            id,
            token: token.cast_unsigned(),
            worker,
            place: (partition, offset.cast_unsigned()),
            at: at.cast_unsigned(),
        };
        Ok(rows.into_iter().map(effect).collect())
    }

    async fn open(&self) -> Result<Vec<Arc<dyn Store>>, Error> {
        let config = SqliteConfig { path: self.path.display().to_string(), ..SqliteConfig::default() };
        Ok(vec![Sqlite.open(config, &self.env).await?])
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Store, "could not read the effects").with_source(error)
}
