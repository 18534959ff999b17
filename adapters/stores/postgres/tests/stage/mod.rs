//! A schema of its own on the test server, and workers on it.

use std::sync::Arc;

use async_trait::async_trait;
use keylane::conformance::store::Harness;
use keylane::store::{Store, StoreAdapter, Tx};
use keylane::{Env, Failure};
use keylane_postgres::{Postgres, PostgresConfig};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Where the server is; `None` with a line that says so.
pub(crate) fn server() -> Option<String> {
    variable("KEYLANE_TEST_POSTGRES")
}

/// A variable that `tests/brokers/up postgres` prints.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        println!("skipped: {name} is not set; tests/brokers/up postgres starts the server and prints it");
    }
    value
}

/// The stage, or the test ends here.
macro_rules! stage {
    () => {
        match crate::stage::server() {
            Some(url) => crate::stage::Stage::new(&url).await,
            None => return,
        }
    };
}
pub(crate) use stage;

pub(crate) struct Stage {
    pub(crate) env: Env,
    pub(crate) url: String,
    pub(crate) schema: String,
}

impl Stage {
    pub(crate) async fn new(url: &str) -> Self {
        let env = Env::tokio();
        let schema = format!("test_{}", env.uuid().simple());
        let stage = Self { env, url: url.to_owned(), schema };
        stage.run("CREATE SCHEMA {schema}").await;
        stage.run("CREATE TABLE {schema}.written (place bigserial, name text NOT NULL, text text NOT NULL)").await;
        stage.run("CREATE TABLE {schema}.parents (id int PRIMARY KEY)").await;
        let refused = "CREATE TABLE {schema}.refused
            (parent int REFERENCES {schema}.parents (id) DEFERRABLE INITIALLY DEFERRED)";
        stage.run(refused).await;
        stage
    }

    /// A connection that is nobody's.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        sql.replace("{schema}", &self.schema)
    }

    pub(crate) async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        connection.execute(AssertSqlSafe(self.sql(sql))).await.unwrap();
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        let url = Some(self.url.clone().into());
        PostgresConfig { url, schema: self.schema.clone(), ..PostgresConfig::default() }
    }

    pub(crate) async fn open_with(&self, config: PostgresConfig) -> Arc<dyn Store> {
        Postgres::new().open(config, &self.env).await.unwrap()
    }

    /// A handler's write; the schema of its tables is told by the connection's own setting.
    async fn table(tx: &mut Tx<Postgres>, name: &str) -> Result<String, Failure> {
        // The store's triggers know the schema: the guard's table lies in it.
        let sql = "SELECT n.nspname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE l.pid = pg_backend_pid() AND c.relname = 'sessions' LIMIT 1";
        let schema: String = sqlx::query_scalar(sql).fetch_one(&mut **tx).await?;
        Ok(format!("{schema}.{name}"))
    }
}

#[async_trait]
impl Harness for Stage {
    type Adapter = Postgres;

    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.open_with(self.config()).await
    }

    async fn insert(tx: &mut Tx<Postgres>, name: &str, text: &str) -> Result<(), Failure> {
        let table = Self::table(tx, "written").await?;
        let sql = format!("INSERT INTO {table} (name, text) VALUES ($1, $2)");
        sqlx::query(AssertSqlSafe(sql)).bind(name).bind(text).execute(&mut **tx).await?;
        Ok(())
    }

    async fn refuse_at_commit(tx: &mut Tx<Postgres>) -> Result<(), Failure> {
        let table = Self::table(tx, "refused").await?;
        sqlx::query(AssertSqlSafe(format!("INSERT INTO {table} VALUES (99)"))).execute(&mut **tx).await?;
        Ok(())
    }

    async fn rows(&self, name: &str) -> Vec<String> {
        let sql = self.sql("SELECT text FROM {schema}.written WHERE name = $1 ORDER BY place");
        let mut connection = self.connect().await;
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(name).fetch_all(&mut connection).await.unwrap()
    }
}

impl Drop for Stage {
    /// A thread of its own: a drop can't await.
    fn drop(&mut self) {
        let (url, sql) = (self.url.clone(), self.sql("DROP SCHEMA {schema} CASCADE"));
        let drop = async move {
            let mut connection = PgConnection::connect(&url).await?;
            connection.execute("SET lock_timeout = '5s'").await?;
            connection.execute(AssertSqlSafe(sql)).await
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dropped = std::thread::spawn(move || runtime().block_on(drop)).join();
        if !matches!(dropped, Ok(Ok(_))) {
            println!("the schema {} stays behind: {dropped:?}", self.schema);
        }
    }
}
