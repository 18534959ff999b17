//! Writes that are recorded as statements: they travel with the commit, and keep every promise of those that run here.

mod failures;

use std::sync::Arc;

use keylane::conformance::store::Harness;
use keylane::store::{CommitGroup, Effect, Fate, TxHome};
use keylane_postgres::{Pooler, Postgres, PostgresConfig, Statement, sql};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::stage::proxy::Proxy;
use crate::stage::worker::{LONG, Worker, effect, insert};
use crate::stage::{Stage, variable};

fn stated(statement: Statement) -> Effect {
    Effect::statement::<Postgres>(statement)
}

/// As [`insert`], but a statement.
fn state(text: &str) -> Effect {
    stated(sql("INSERT INTO written (name, text) VALUES ('rows', $1)").bind(text))
}

/// Throws away what stands prepared of statements.
fn throws_away() -> Effect {
    effect(Arc::new(|mut tx| {
        Box::pin(async move {
            let names = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'keylane\\_%'";
            let names: Vec<String> = sqlx::query_scalar(names).persistent(false).fetch_all(&mut *tx).await?;
            for name in names {
                sqlx::raw_sql(AssertSqlSafe(format!("DEALLOCATE {name}"))).execute(&mut *tx).await?;
            }
            tx.done()
        })
    }))
}

/// With ids of their own.
fn called(mut group: CommitGroup, name: &str) -> CommitGroup {
    for (at, unit) in group.units.iter_mut().enumerate() {
        unit.events[0].id = format!("{name}-{at}").as_str().into();
    }
    group
}

async fn worker_with(stage: &Stage, config: PostgresConfig) -> Worker {
    Worker::on(stage, stage.open_with(config).await, LONG).await
}

/// A hundred events with two statements each. The first time a connection also prepares them.
#[tokio::test]
async fn a_commit_with_statements_is_one_round_trip() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let config = PostgresConfig { url: Some(proxy.url.clone().into()), ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let other = || stated(sql("INSERT INTO written (name, text) VALUES ($1, 'x')").bind("others"));
    for times in 1..=3 {
        let writes = (0..100).map(|at| vec![state(&format!("{times} {at}")), other()]).collect();
        let group = called(worker.group(&claim, writes), &times.to_string());
        proxy.answers();
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; 100]);
        let trips = proxy.answers();
        assert!(times == 1 || trips == 1, "{trips} for commit {times}");
    }
    let all: Vec<_> = (1..=3).flat_map(|times| (0..100).map(move |at| format!("{times} {at}"))).collect();
    assert_eq!(stage.rows("rows").await, all, "in the order of the events");
    assert_eq!(stage.rows("others").await.len(), 300);
}

#[tokio::test]
async fn parameters_are_read_as_the_statement_asks() {
    let stage = stage!();
    stage
        .run(
            "CREATE TABLE many (a int, b bigint, c text, d uuid, e jsonb, f timestamptz, g bytea, h float8, i bool,
                j text[], k int[], l numeric)",
        )
        .await;
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let hostile = r#"'; DROP TABLE many; -- \' "{$1}" $$ é"#;
    let id = stage.env.uuid();
    let statement = sql("INSERT INTO many VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(7_u16)
        .bind(i64::MIN)
        .bind(hostile)
        .bind(id)
        .bind(r#"{"a": [1, "\\"]}"#)
        .bind("2026-02-03T04:05:06.789Z")
        .bind(vec![0, 255, b'\\', b'\''])
        .bind(0.1)
        .bind(true)
        .bind_all([Some(hostile), None, Some("")])
        .bind_all(vec![1, 2, 3])
        .bind(None::<&str>);
    let group = worker.group(&claim, vec![vec![stated(statement)]]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    let same =
        "SELECT count(*) FROM many WHERE a = 7 AND b = $1 AND c = $2 AND d = $3 AND e -> 'a' ->> 1 = '\\'
        AND f = '2026-02-03 04:05:06.789+00' AND g = $4 AND h = 0.1 AND i AND j = ARRAY[$2, NULL, '']
        AND k = ARRAY[1, 2, 3] AND l IS NULL";
    let same =
        sqlx::query_scalar(same).bind(i64::MIN).bind(hostile).bind(id).bind(vec![0, 255, b'\\', b'\'']);
    let found: i64 = same.fetch_one(&mut stage.connect().await).await.unwrap();
    assert_eq!(found, 1);
}

/// Also beside writes that run here, and in a handler's own transaction.
#[tokio::test]
async fn writes_run_in_the_order_in_which_they_were_recorded() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let mixed = vec![state("1"), insert("2"), state("3")];
    let group = called(worker.group(&claim, vec![mixed, vec![state("4")]]), "mixed");
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; 2]);
    for times in 0..2 {
        let begun = worker.store.begin(worker.session).await.unwrap();
        let home = TxHome::<Postgres>::default();
        let mut tx = home.lend(*begun.downcast::<PgConnection>().unwrap());
        Stage::insert(&mut tx, "rows", "5").await.unwrap();
        drop(tx);
        let own = vec![Effect::own(home), state("6")];
        let group = called(worker.group(&claim, vec![own]), &format!("own {times}"));
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    }
    assert_eq!(stage.rows("rows").await, ["1", "2", "3", "4", "5", "6", "5", "6"]);
}

/// PostgreSQL refuses what stood prepared when the columns that it gives have changed.
#[tokio::test]
async fn what_a_statement_is_about_may_change() {
    let stage = stage!();
    let config = PostgresConfig { commit_connections: 1, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let write = || stated(sql("INSERT INTO written (name, text) VALUES ('rows', 'x') RETURNING *"));
    for times in 1..=3 {
        let group = called(worker.group(&claim, vec![vec![write()]]), &times.to_string());
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed], "{times}");
        stage.run(&format!("ALTER TABLE written ADD COLUMN more_{times} int")).await;
    }
    assert_eq!(stage.rows("rows").await.len(), 3);
}

/// Texts that are made up do not stay for ever, also where one of them fails.
#[tokio::test]
async fn no_more_than_some_statements_stay_prepared() {
    let stage = stage!();
    let config = PostgresConfig { commit_connections: 1, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let made = |text: &str| {
        let insert = format!("INSERT INTO written (name, text) VALUES ('rows', '{text}')");
        vec![stated(sql(AssertSqlSafe(insert)))]
    };
    let fails = || vec![stated(sql("SELECT 1 / 0"))];
    let mut committed = 0;
    for times in 1..=28 {
        // Too many to travel with the commit, then few enough; the second of each with one that fails.
        let count = if times <= 12 { 60 } else { 30 };
        let mut writes: Vec<_> = (0..count).map(|at| made(&format!("{times} {at}"))).collect();
        writes.extend([2, 14].contains(&times).then(fails));
        let group = called(worker.group(&claim, writes), &times.to_string());
        let fates = worker.store.commit(&group).await.unwrap().fates;
        assert_eq!(fates.iter().filter(|fate| fate.is_committed()).count(), count, "{times}: {fates:?}");
        committed += count;
    }
    assert_eq!(stage.rows("rows").await.len(), committed);
    let count = "INSERT INTO written (name, text)
        SELECT 'count', count(*) FROM pg_prepared_statements WHERE name LIKE 'keylane\\_%'";
    let here = effect(Arc::new(move |mut tx| {
        Box::pin(async move {
            sqlx::query(count).execute(&mut *tx).await?;
            tx.done()
        })
    }));
    // On the connections of each kind.
    for (name, count) in [("stated", stated(sql(count))), ("run here", here)] {
        let group = called(worker.group(&claim, vec![vec![count]]), name);
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    }
    for count in stage.rows("count").await {
        let count: usize = count.parse().unwrap();
        assert!((1..=300).contains(&count), "{count} stand prepared");
    }
}

/// The server closes a connection on which a gigabyte comes at once.
#[tokio::test]
async fn large_statements_go_one_by_one() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let config = PostgresConfig { url: Some(proxy.url.clone().into()), ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let large = "x".repeat(1 << 20);
    let length = "INSERT INTO written (name, text) SELECT 'rows', length($1)";
    for (name, many, at_once) in [("before", 1, None), ("few", 3, Some(true)), ("many", 9, Some(false))] {
        let writes = (0..many).map(|_| vec![stated(sql(length).bind(&large))]).collect();
        let group = called(worker.group(&claim, writes), name);
        proxy.answers();
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; many]);
        let trips = proxy.answers();
        assert!(at_once.is_none_or(|at_once| at_once == (trips == 1)), "{trips} for {name}");
    }
    assert_eq!(stage.rows("rows").await, vec!["1048576"; 13]);
}

#[tokio::test]
async fn statements_work_behind_a_pooler() {
    let stage = stage!();
    let Some(pooler) = variable("KEYLANE_TEST_PGBOUNCER") else { return };
    let config = PostgresConfig { url: Some(pooler.into()), pooler: Pooler::Transaction, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let table = format!("{}.written", stage.schema);
    let write = |text: &str| {
        let insert = AssertSqlSafe(format!("INSERT INTO {table} (name, text) VALUES ('rows', $1)"));
        stated(sql(insert).bind(text))
    };
    for times in ["1", "2"] {
        let bad = vec![write("never to be seen"), stated(sql("SELECT 1 / 0"))];
        let group = called(worker.group(&claim, vec![vec![write("a")], bad, vec![write("b")]]), times);
        let fates = worker.store.commit(&group).await.unwrap().fates;
        assert!(matches!(fates[..], [Fate::Committed, Fate::Failed(_), Fate::Committed]), "{fates:?}");
        // The next transaction may be on a connection that knows nothing of it.
        let group = called(worker.group(&claim, vec![vec![throws_away()]]), &format!("{times} away"));
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    }
    assert_eq!(stage.rows("rows").await, ["a", "b", "a", "b"]);
}

/// What a write that runs here threw away is made ready again.
#[tokio::test]
async fn a_statement_that_was_thrown_away_is_prepared_again() {
    let stage = stage!();
    let config = PostgresConfig { commit_connections: 1, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    for (times, writes) in [
        ("1", vec![vec![state("a"), throws_away()]]),
        ("2", vec![vec![state("b"), insert("c")]]),
        ("3", vec![vec![insert("d"), state("e")]]),
    ] {
        let group = called(worker.group(&claim, writes), times);
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed], "{times}");
    }
    assert_eq!(stage.rows("rows").await, ["a", "b", "c", "d", "e"]);
}
