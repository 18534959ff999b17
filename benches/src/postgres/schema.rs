//! A schema of one run, with the service's table and later the store's in it.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::Broken;
use crate::measure::threads;
use crate::orders::Order;

/// The service's own table.
const EFFECTS: &str = "CREATE TABLE effects (id text NOT NULL, order_key text NOT NULL)";

/// Where a run's tables lie.
pub(crate) struct Schema {
    server: String,
    pub(crate) name: String,
}

/// Runs in a new schema, which goes afterwards.
pub(crate) async fn with_schema<T>(run: impl AsyncFnOnce(&Schema) -> Result<T, Broken>) -> Result<T, Broken> {
    let schema = Schema::create().await?;
    let ran = run(&schema).await;
    let dropped = schema.execute(format!("DROP SCHEMA {} CASCADE", schema.name)).await;
    // What went wrong first is what matters.
    let value = ran?;
    dropped?;
    Ok(value)
}

/// The same on threads of its own.
pub(crate) fn in_schema<T>(run: impl AsyncFnOnce(&Schema) -> Result<T, Broken>) -> Result<T, Broken> {
    threads()?.block_on(with_schema(run))
}

impl Schema {
    async fn create() -> Result<Self, Broken> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("KEYLANE_TEST_POSTGRES").map_err(
            |_| "KEYLANE_TEST_POSTGRES is not set: `tests/brokers/up postgres` starts a server and prints it",
        )?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("keylane_bench_{}_{number}", std::process::id());
        let schema = Self { server, name };
        schema.execute(format!("CREATE SCHEMA {}", schema.name)).await?;
        schema.execute(EFFECTS.to_owned()).await?;
        // So that no run writes the pages of the one before, nor whole pages more than another.
        schema.execute("CHECKPOINT".to_owned()).await?;
        Ok(schema)
    }

    /// The server's address for both sides of a comparison: a statement that names no schema means this one, and
    /// nothing is encrypted, as the server is on this machine.
    pub(crate) fn url(&self) -> String {
        let (join, mode) = match self.server.contains('?') {
            true => ('&', if self.server.contains("sslmode=") { "" } else { "&sslmode=disable" }),
            false => ('?', "&sslmode=disable"),
        };
        format!("{}{join}options[search_path]={}{mode}", self.server, self.name)
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection, Broken> {
        Ok(PgConnection::connect(&self.url()).await?)
    }

    pub(crate) async fn execute(&self, sql: String) -> Result<(), Broken> {
        let mut connection = self.connect().await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        connection.close().await?;
        Ok(())
    }

    /// An arm that lost or doubled a row has measured nothing.
    pub(crate) async fn check(&self, expected: &[Order]) -> Result<(), Broken> {
        let mut connection = self.connect().await?;
        let query = "SELECT count(*), count(DISTINCT id) FROM effects";
        let (rows, ids): (i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await?;
        connection.close().await?;
        let expected = i64::try_from(expected.len())?;
        if (rows, ids) != (expected, expected) {
            return Err(format!("{rows} rows of {ids} events were written instead of {expected}").into());
        }
        Ok(())
    }
}
