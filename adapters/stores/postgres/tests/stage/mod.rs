//! A schema of its own on the test server, and workers on it.

pub(crate) mod databases;
pub(crate) mod link;
pub(crate) mod proxy;
pub(crate) mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use keylane::conformance::store::Harness;
use keylane::store::{Store, StoreAdapter, Tx};
use keylane::{Env, Failure};
use keylane_postgres::{Postgres, PostgresConfig};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// A variable that `tests/brokers/up postgres` prints; `None` with a line that says so.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        println!("skipped: {name} is not set; tests/brokers/up postgres starts the server and prints it");
    }
    value
}

/// How often is looked for what must come, and how long is waited in between.
pub(crate) const TRIES: usize = 3000;
pub(crate) const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// The stage; without a server the test ends here.
macro_rules! stage {
    () => {
        match crate::stage::variable("KEYLANE_TEST_POSTGRES") {
            Some(url) => crate::stage::Stage::new(&url).await,
            None => return,
        }
    };
}

/// An empty schema with the tables of a service in it, and of the store.
pub(crate) struct Stage {
    pub(crate) env: Env,
    /// The server's, as the environment names it.
    server: String,
    pub(crate) schema: String,
}

impl Stage {
    pub(crate) async fn new(server: &str) -> Self {
        let env = Env::tokio();
        let schema = format!("test_{}", env.uuid().simple());
        let stage = Self { env, server: server.to_owned(), schema };
        let create = format!("CREATE SCHEMA {}", stage.schema);
        stage.connect().await.execute(AssertSqlSafe(create)).await.unwrap();
        stage
            .run(
                "CREATE TABLE written (place bigserial, name text NOT NULL, text text NOT NULL);
                 CREATE TABLE parents (id int PRIMARY KEY);
                 CREATE TABLE refused (parent int REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
            )
            .await;
        stage
    }

    /// The server's address; where a statement names no schema, this one is meant.
    pub(crate) fn url(&self) -> String {
        format!("{}?options[search_path]={}", self.server, self.schema)
    }

    /// A connection that is nobody's.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.connect().await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig {
            url: Some(self.url().into()),
            schema: self.schema.clone(),
            ..PostgresConfig::default()
        }
    }

    pub(crate) async fn open_with(&self, config: PostgresConfig) -> Arc<dyn Store> {
        Postgres::new().open(config, &self.env).await.unwrap()
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
        let insert = "INSERT INTO written (name, text) VALUES ($1, $2)";
        sqlx::query(insert).bind(name).bind(text).execute(&mut **tx).await?;
        Ok(())
    }

    async fn refuse_at_commit(tx: &mut Tx<Postgres>) -> Result<(), Failure> {
        sqlx::query("INSERT INTO refused VALUES (99)").execute(&mut **tx).await?;
        Ok(())
    }

    async fn rows(&self, name: &str) -> Vec<String> {
        let select = "SELECT text FROM written WHERE name = $1 ORDER BY place";
        sqlx::query_scalar(select).bind(name).fetch_all(&mut self.connect().await).await.unwrap()
    }
}

impl Drop for Stage {
    /// On a thread of its own: a drop can't await.
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP SCHEMA {} CASCADE", self.schema));
        let drop = async move {
            let mut connection = PgConnection::connect(&server).await?;
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

impl Stage {
    /// Returns when a backend of this schema's store waits for a lock of a row.
    pub(crate) async fn somebody_waits(&self) {
        self.somebody("wait_event_type = 'Lock'").await;
    }

    /// Returns when one is in `pg_sleep`.
    pub(crate) async fn somebody_sleeps(&self) {
        self.somebody("wait_event = 'PgSleep'").await;
    }

    async fn somebody(&self, does: &str) {
        let count =
            format!("SELECT count(*) FROM pg_stat_activity WHERE {does} AND query LIKE '%{}%'", self.schema);
        let mut connection = self.connect().await;
        for _ in 0..TRIES {
            let count = sqlx::query_scalar(AssertSqlSafe(count.clone())).fetch_one(&mut connection).await;
            let count: i64 = count.unwrap();
            if count > 0 {
                return;
            }
            self.env.sleep(PAUSE).await;
        }
        panic!("nobody of whom {does}, as they should");
    }
}
