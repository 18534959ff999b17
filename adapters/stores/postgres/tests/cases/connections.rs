//! Ways to the server: at once, by TLS, by the service's pool, behind a pooler; and migrations on them.

use std::sync::Arc;
use std::time::Duration;

use keylane::conformance::store::Harness;
use keylane::store::{Fate, LeaseAnswer, StoreAdapter};
use keylane::{Env, ErrorKind};
use keylane_postgres::{Pooler, Postgres, PostgresConfig};
use sqlx::Executor;
use sqlx::postgres::PgPoolOptions;

use crate::stage::variable;
use crate::stage::worker::{LONG, Worker, effect, insert};

#[tokio::test]
async fn migrations_run_once_however_many_open_at_once() {
    let stage = stage!();
    let opened = futures_util::future::join_all((0..6).map(|_| stage.open())).await;
    assert_eq!(opened.len(), 6);
    let mut connection = stage.connect().await;
    let versions: Vec<i32> =
        sqlx::query_scalar("SELECT version FROM migrations").fetch_all(&mut connection).await.unwrap();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    connection.execute("INSERT INTO migrations (version) VALUES (1000)").await.unwrap();
    let Err(error) = Postgres::new().open(stage.config(), &stage.env).await else { panic!("it is newer") };
    assert!(!error.is_transient() && error.to_string().contains("newer release"), "{error}");
}

#[tokio::test]
async fn a_database_must_be_named_once() {
    let env = Env::tokio();
    let Err(error) = Postgres::new().open(PostgresConfig::default(), &env).await else {
        panic!("there is none")
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    let url = Some("postgres://a:secret@127.0.0.1:1/x".to_owned().into());
    let pool = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/x").unwrap();
    let config = PostgresConfig { url, ..PostgresConfig::default() };
    let Err(error) = Postgres::with_pool(pool).open(config.clone(), &env).await else {
        panic!("there are two")
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    let Err(error) = Postgres::new().open(config, &env).await else { panic!("nobody listens there") };
    assert!(error.is_transient() && !format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn tls_is_rustls_and_verifies_the_server() {
    let stage = stage!();
    let Some(authority) = variable("KEYLANE_TEST_POSTGRES_CA") else { return };
    let url = format!("{}&sslmode=verify-full", stage.url());
    let unknown = PostgresConfig { url: Some(url.clone().into()), ..stage.config() };
    let Err(error) = Postgres::new().open(unknown, &stage.env).await else { panic!("nobody signed it") };
    assert!(format!("{error:?}").contains("certificate"), "{error:?}");
    let known =
        PostgresConfig { url: Some(format!("{url}&sslrootcert={authority}").into()), ..stage.config() };
    let worker = Worker::on(&stage, stage.open_with(known).await, LONG).await;
    let encrypted = effect(Arc::new(|mut tx| {
        Box::pin(async move {
            let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            assert!(sqlx::query_scalar::<_, bool>(ssl).fetch_one(&mut *tx).await?, "in the clear");
            tx.done()
        })
    }));
    let claim = worker.claim().await;
    let fates = worker.store.commit(&worker.group(&claim, vec![vec![encrypted]])).await.unwrap().fates;
    assert_eq!(fates, [Fate::Committed]);
}

/// The whole way of an event on one store.
async fn works(worker: &Worker, other: &Worker) {
    let claim = worker.claim().await;
    let group = worker.group(&claim, vec![vec![], vec![]]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed, Fate::Committed]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Duplicate, Fate::Duplicate]);
    assert_eq!(worker.store.resolve(&group).await.unwrap(), [Fate::Committed, Fate::Committed]);
    worker.store.renew(worker.session, &[crate::stage::worker::scope()]).await.unwrap();
    let lease = worker.lease("k").await;
    assert!(matches!(other.admit("k", "x").await.leases[..], [LeaseAnswer::Taken]));
    let waits = other.store.freed(other.session);
    let ends = async {
        let committed = worker.store.commit(&worker.ending(&lease, "x", vec![])).await.unwrap();
        assert_eq!((committed.written, committed.contended.len()), (vec![0], 0));
    };
    let (freed, ()) = tokio::join!(waits, ends);
    assert_eq!(freed.unwrap(), [lease.lease]);
    other.lease("k").await;
    worker.store.sweep("s", Duration::from_secs(3600)).await.unwrap();
    worker.store.release(worker.session, &[claim.claim], true).await.unwrap();
    worker.store.close_session(worker.session).await.unwrap();
}

#[tokio::test]
async fn the_services_own_pool_serves() {
    let stage = stage!();
    // Small, and with other wishes than ours.
    let pool = PgPoolOptions::new().max_connections(2).after_connect(|connection, _| {
        Box::pin(async move {
            connection.execute("SET default_transaction_isolation = 'serializable'").await.map(drop)
        })
    });
    let pool = pool.connect(&stage.url()).await.unwrap();
    let config = PostgresConfig { url: None, ..stage.config() };
    let open = || async { Postgres::with_pool(pool.clone()).open(config.clone(), &stage.env).await.unwrap() };
    let worker = Worker::on(&stage, open().await, LONG).await;
    let other = Worker::on(&stage, open().await, LONG).await;
    works(&worker, &other).await;
    let claim = other.claim().await;
    let mut group = other.group(&claim, vec![vec![insert("x")]]);
    group.units[0].events[0].id = "new".into();
    assert_eq!(other.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    assert_eq!(stage.rows("rows").await, ["x"]);
    let depth: String =
        sqlx::query_scalar("SELECT current_setting('statement_timeout')").fetch_one(&pool).await.unwrap();
    assert_eq!(depth, "0", "our limits are not the service's");
}

#[tokio::test]
async fn a_pooler_for_transactions_is_enough() {
    let stage = stage!();
    let Some(pooler) = variable("KEYLANE_TEST_PGBOUNCER") else { return };
    let config = PostgresConfig { url: Some(pooler.into()), pooler: Pooler::Transaction, ..stage.config() };
    let worker = Worker::on(&stage, stage.open_with(config.clone()).await, LONG).await;
    let other = Worker::on(&stage, stage.open_with(config).await, LONG).await;
    works(&worker, &other).await;
    let claim = other.claim().await;
    let schema = stage.schema.clone();
    let write = effect(Arc::new(move |mut tx| {
        let insert = format!("INSERT INTO {schema}.written (name, text) VALUES ('rows', 'x')");
        Box::pin(async move {
            tx.execute(sqlx::AssertSqlSafe(insert)).await?;
            tx.done()
        })
    }));
    let mut group = other.group(&claim, vec![vec![write]]);
    group.units[0].events[0].id = "new".into();
    assert_eq!(other.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    assert_eq!(stage.rows("rows").await, ["x"]);
}
