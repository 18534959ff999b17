//! One database file and the workers on it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use keylane::conformance::store::Harness;
use keylane::store::{Store, Tx};
use keylane::{Env, Failure};
use keylane_sqlite::{Database, Sqlite, SqliteStore};

pub(crate) struct OneFile {
    folder: tempfile::TempDir,
    pub(crate) env: Env,
    /// Each worker has a database of its own, as another process would.
    apart: bool,
}

impl OneFile {
    pub(crate) async fn new(apart: bool) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap(), env: Env::tokio(), apart };
        let database = file.database().await;
        let mut writer = database.write().await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE written (name TEXT NOT NULL, text TEXT NOT NULL);
             CREATE TABLE parents (id INTEGER PRIMARY KEY);
             CREATE TABLE refused (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);",
        )
        .execute(&mut *writer)
        .await
        .unwrap();
        writer.commit().await.unwrap();
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    pub(crate) async fn database(&self) -> Arc<Database> {
        if self.apart {
            Database::open_apart(self.path(), &self.env).await.unwrap()
        } else {
            Database::open(self.path(), &self.env).await.unwrap()
        }
    }
}

#[async_trait]
impl Harness for OneFile {
    type Adapter = Sqlite;

    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn open(&self) -> Arc<dyn Store> {
        let database = self.database().await;
        Arc::new(SqliteStore::on(database, &self.env, None).await.unwrap())
    }

    async fn insert(tx: &mut Tx<Sqlite>, name: &str, text: &str) -> Result<(), Failure> {
        sqlx::query("INSERT INTO written VALUES (?1, ?2)").bind(name).bind(text).execute(&mut **tx).await?;
        Ok(())
    }

    async fn refuse_at_commit(tx: &mut Tx<Sqlite>) -> Result<(), Failure> {
        sqlx::query("INSERT INTO refused VALUES (99)").execute(&mut **tx).await?;
        Ok(())
    }

    async fn rows(&self, name: &str) -> Vec<String> {
        let database = self.database().await;
        let mut reader = database.read().await.unwrap();
        sqlx::query_scalar("SELECT text FROM written WHERE name = ?1 ORDER BY rowid")
            .bind(name)
            .fetch_all(&mut *reader)
            .await
            .unwrap()
    }
}
