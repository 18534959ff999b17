//! What store and log rely on: one writer in turns, nothing left behind by those who gave up.

use std::sync::Arc;

use keylane::{Env, ErrorKind};
use sqlx::Connection;

use super::{CommitError, Database};

struct Scene {
    folder: tempfile::TempDir,
    env: Env,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: Env::tokio() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("app.db")
    }

    async fn database(&self) -> Arc<Database> {
        let database = Database::open(self.path(), &self.env).await.unwrap();
        let mut writer = database.write().await.unwrap();
        execute(&mut writer, "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY)").await.unwrap();
        writer.commit().await.unwrap();
        database
    }
}

async fn execute(connection: &mut sqlx::SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

async fn notes(database: &Database) -> i64 {
    let mut reader = database.read().await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut *reader).await.unwrap()
}

#[tokio::test]
async fn one_database_per_path_and_process() {
    let scene = Scene::new();
    let first = scene.database().await;
    let again = Database::open(scene.folder.path().join(".").join("app.db"), &scene.env).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let apart = Database::open_apart(scene.path(), &scene.env).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &apart));
}

#[tokio::test]
async fn commits_are_durable_and_waited_for() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut reader = database.read().await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *reader).await.unwrap();
    assert_eq!(journal, "wal");
    let mut writer = database.write().await.unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *writer).await.unwrap();
    assert_eq!(synchronous, 2, "FULL");
    writer.rollback().await;
}

#[tokio::test]
async fn a_reader_refuses_to_write() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut reader = database.read().await.unwrap();
    assert!(execute(&mut reader, "INSERT INTO notes DEFAULT VALUES").await.is_err());
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing_and_gives_its_turn_away() {
    let scene = Scene::new();
    let database = scene.database().await;
    for _ in 0..3 {
        let mut writer = database.write().await.unwrap();
        execute(&mut writer, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
        drop(writer);
    }
    let mut writer = database.write().await.unwrap();
    execute(&mut writer, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(notes(&database).await, 1);
}

#[tokio::test]
async fn a_dropped_writer_ends_its_long_statement() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut writer = database.write().await.unwrap();
    {
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let mut statement = Box::pin(sqlx::query(endless).fetch_one(&mut *writer));
        // Polled once, it is on its way to SQLite.
        assert!(futures_poll_once(&mut statement).await.is_none());
    }
    drop(writer);
    let writer = database.write().await.unwrap();
    writer.commit().await.unwrap();
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_commit_that_is_not_ours_is_undone_and_noticed() {
    let scene = Scene::new();
    let database = scene.database().await;
    for sql in ["COMMIT", "END", "ROLLBACK"] {
        let mut writer = database.write().await.unwrap();
        execute(&mut writer, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
        drop(execute(&mut writer, sql).await);
        assert!(writer.is_broken().await, "{sql}");
        assert!(matches!(writer.commit().await, Err(CommitError::Store(_))), "{sql}");
        assert_eq!(notes(&database).await, 0, "{sql}");
    }
}

#[tokio::test]
async fn nested_transactions_of_a_handler_work() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut writer = database.write().await.unwrap();
    let mut nested = writer.begin().await.unwrap();
    execute(&mut nested, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
    nested.commit().await.unwrap();
    let mut undone = writer.begin().await.unwrap();
    execute(&mut undone, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
    drop(undone);
    assert!(!writer.is_broken().await);
    writer.commit().await.unwrap();
    assert_eq!(notes(&database).await, 1);
}

#[tokio::test]
async fn a_broken_deferred_constraint_fails_the_commit_alone() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut writer = database.write().await.unwrap();
    let sql = "CREATE TABLE lines (note INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)";
    execute(&mut writer, sql).await.unwrap();
    writer.commit().await.unwrap();
    let mut writer = database.write().await.unwrap();
    execute(&mut writer, "INSERT INTO lines VALUES (99)").await.unwrap();
    assert!(matches!(writer.commit().await, Err(CommitError::Constraint(_))));
    let writer = database.write().await.unwrap();
    writer.commit().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_appended_is_announced() {
    let scene = Scene::new();
    let database = scene.database().await;
    let mut changed = database.changed();
    database.write().await.unwrap().commit().await.unwrap();
    assert!(!changed.has_changed().unwrap());
    let mut writer = database.write().await.unwrap();
    writer.appended();
    writer.commit().await.unwrap();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let mut writer = database.write().await.unwrap();
    writer.appended();
    writer.rollback().await;
    assert!(!changed.has_changed().unwrap());
}

#[tokio::test]
async fn a_commit_of_another_process_is_noticed() {
    let scene = Scene::new();
    let database = scene.database().await;
    let other = Database::open_apart(scene.path(), &scene.env).await.unwrap();
    let mut reader = database.read().await.unwrap();
    let before = reader.data_version().await.unwrap();
    assert_eq!(reader.data_version().await.unwrap(), before);
    let mut writer = other.write().await.unwrap();
    execute(&mut writer, "INSERT INTO notes DEFAULT VALUES").await.unwrap();
    writer.commit().await.unwrap();
    assert_ne!(reader.data_version().await.unwrap(), before);
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_a_transient_error() {
    let scene = Scene::new();
    let database = scene.database().await;
    let other = Database::open_apart(scene.path(), &scene.env).await.unwrap();
    let held = other.write().await.unwrap();
    let error = database.write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.is_transient(), "{error:?}");
    held.rollback().await;
    database.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn those_in_a_hurry_pass_all_but_one() {
    let scene = Scene::new();
    let database = scene.database().await;
    let held = database.write().await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for name in ["first", "second", "third", "hurry"] {
        let (database, order) = (database.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let writer =
                if name == "hurry" { database.write_soon().await } else { database.write().await }.unwrap();
            order.lock().unwrap().push(name);
            writer.rollback().await;
        }));
        // One after the other, so that they wait in this order.
        tokio::task::yield_now().await;
    }
    held.rollback().await;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["first", "hurry", "second", "third"]);
}

const ONE: (u32, &str) = (1, "CREATE TABLE a (id INTEGER); INSERT INTO a VALUES (1);");
const TWO: (u32, &str) = (2, "INSERT INTO a VALUES (2)");

#[tokio::test]
async fn each_migration_runs_once_also_with_two_processes() {
    let scene = Scene::new();
    let database = scene.database().await;
    let other = Database::open_apart(scene.path(), &scene.env).await.unwrap();
    database.migrate("a", &[ONE]).await.unwrap();
    let both = tokio::join!(database.migrate("a", &[ONE, TWO]), other.migrate("a", &[ONE, TWO]));
    both.0.unwrap();
    both.1.unwrap();
    let mut reader = database.read().await.unwrap();
    let sum: i64 = sqlx::query_scalar("SELECT sum(id) FROM a").fetch_one(&mut *reader).await.unwrap();
    assert_eq!(sum, 3);
    let newer = database.migrate("a", &[ONE]).await.unwrap_err();
    assert!(newer.to_string().contains("use a newer release"), "{newer}");
    assert!(!newer.is_transient());
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let scene = Scene::new();
    let database = scene.database().await;
    let broken = (2, "INSERT INTO a VALUES (2); INSERT INTO nowhere VALUES (1)");
    database.migrate("a", &[ONE, broken]).await.unwrap_err();
    database.migrate("a", &[ONE, TWO]).await.unwrap();
}
