//! Writes that are recorded as statements: they travel with the commit, and keep every promise of those that run here.

use std::sync::Arc;
use std::time::Duration;

use keylane::ErrorKind;
use keylane::config::Period;
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

/// Each between good ones, which must not suffer; these are statements as well, or run here.
#[tokio::test]
async fn c3_a_statement_that_fails_fails_alone() {
    let stage = stage!();
    stage.run("INSERT INTO parents VALUES (1)").await;
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let insert_one = "INSERT INTO written (name, text) VALUES ('rows', $1)";
    let all = [
        (sql("INSERT INTO nowhere VALUES (1)"), "\"nowhere\" does not exist"),
        (sql(insert_one), "wrong number of parameters"),
        (sql(insert_one).bind("a\0b"), "has a NUL in it"),
        (sql("INSERT INTO written (name, text) VALUES ('rows', 'x'); COMMIT"), "multiple commands"),
        (sql("COMMIT"), "syntax error"),
        (sql(""), "syntax error"),
        (sql("SELECT 1 / $1").bind(0), "division by zero"),
        (sql("INSERT INTO parents VALUES (1)"), "duplicate key"),
        (sql("INSERT INTO refused VALUES (99)"), "foreign key"),
    ];
    let mut good = Vec::new();
    for (number, (bad, says)) in all.into_iter().enumerate() {
        for (kind, [before, after]) in
            [("stated", [state("before"), state("after")]), ("run here", [insert("before"), insert("after")])]
        {
            let bad = vec![state("never to be seen"), stated(bad.clone())];
            let group = worker.group(&claim, vec![vec![before], bad, vec![after]]);
            let fates = worker.store.commit(&called(group, &format!("{number} {kind}"))).await.unwrap().fates;
            let [Fate::Committed, Fate::Failed(failure), Fate::Committed] = &fates[..] else {
                panic!("{fates:?} instead of {says:?}, {kind}")
            };
            assert!(failure.to_string().contains(says), "{failure} instead of {says:?}, {kind}");
            good.extend(["before", "after"]);
            assert_eq!(stage.rows("rows").await, good, "{says}, {kind}: each once, and nothing else");
        }
    }
}

/// Its own event's duplicate is none of the group's.
#[tokio::test]
async fn c2_a_duplicates_statement_does_not_run() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let group = |text: &str| called(worker.group(&claim, vec![vec![state(text)]]), "same");
    assert_eq!(worker.store.commit(&group("first")).await.unwrap().fates, [Fate::Committed]);
    assert_eq!(worker.store.commit(&group("second")).await.unwrap().fates, [Fate::Duplicate]);
    assert_eq!(stage.rows("rows").await, ["first"]);
}

/// C1: where the claim went to another, nothing runs.
#[tokio::test]
async fn c1_a_statement_of_a_lost_claim_does_not_run() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let again = worker.claim().await;
    let fates = worker.store.commit(&worker.group(&claim, vec![vec![state("late")]])).await.unwrap().fates;
    assert!(!fates[0].is_committed(), "{fates:?}");
    assert_eq!(stage.rows("rows").await, [""; 0]);
    let fates = worker.store.commit(&worker.group(&again, vec![vec![state("in time")]])).await.unwrap().fates;
    assert_eq!(fates, [Fate::Committed]);
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

/// Texts that are made up do not stay for ever.
#[tokio::test]
async fn no_more_than_some_statements_stay_prepared() {
    let stage = stage!();
    let config = PostgresConfig { commit_connections: 1, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    for times in 1..=3 {
        let made = |at: usize| format!("INSERT INTO written (name, text) VALUES ('rows', '{times} {at}')");
        let writes = (0..200).map(|at| vec![stated(sql(AssertSqlSafe(made(at))))]).collect();
        let group = called(worker.group(&claim, writes), &times.to_string());
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; 200], "{times}");
    }
    assert_eq!(stage.rows("rows").await.len(), 600);
    let count = "INSERT INTO written (name, text)
        SELECT 'count', count(*) FROM pg_prepared_statements WHERE name LIKE 'keylane\\_%'";
    let group = called(worker.group(&claim, vec![vec![stated(sql(count))]]), "count");
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    let count: usize = stage.rows("count").await[0].parse().unwrap();
    assert!((1..=400).contains(&count), "{count} stand prepared");
}

/// The server ends it; then it runs alone, and is known to be the one.
#[tokio::test]
async fn s3_a_statement_without_an_end_fails_alone() {
    let stage = stage!();
    let worker = Worker::on(&stage, stage.open().await, Duration::from_secs(3)).await;
    let claim = worker.claim().await;
    let sleeps = stated(sql("SELECT pg_sleep(600)"));
    let group = worker.group(&claim, vec![vec![state("before")], vec![sleeps], vec![state("after")]]);
    let fates = worker.store.commit(&group).await.unwrap().fates;
    assert!(matches!(fates[..], [Fate::Committed, Fate::Failed(_), Fate::Committed]), "{fates:?}");
    assert_eq!(stage.rows("rows").await, ["before", "after"]);
}

/// None is the culprit: they commit in parts.
#[tokio::test]
async fn s3_statements_that_take_too_long_together_all_commit() {
    let stage = stage!();
    let config = PostgresConfig { effect_limit: Some(Period::millis(400)), ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let slow = |at: usize| {
        let insert = "INSERT INTO written (name, text) SELECT 'rows', $1 FROM pg_sleep(0.15)";
        vec![stated(sql(insert).bind(at.to_string()))]
    };
    let group = worker.group(&claim, (0..5).map(slow).collect());
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; 5]);
    assert_eq!(stage.rows("rows").await, ["0", "1", "2", "3", "4"], "each once");
    // More than one transaction wrote them.
    let count = "SELECT count(DISTINCT xmin::text) FROM written WHERE name = 'rows'";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut stage.connect().await).await.unwrap();
    assert!(count > 1, "{count} transactions, of which none may take so long");
}

/// Of one statement that is its own transaction, and has writes in it.
#[tokio::test]
async fn u1_a_lost_answer_to_a_commit_with_statements_is_unknown() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let config = PostgresConfig { url: Some(proxy.url.clone().into()), ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let before = called(worker.group(&claim, vec![vec![state("before")]]), "before");
    assert_eq!(worker.store.commit(&before).await.unwrap().fates, [Fate::Committed]);
    let group = called(worker.group(&claim, vec![vec![state("x")]]), "x");
    proxy.lose(b"SELECT 1\0");
    let error = worker.store.commit(&group).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
    assert_eq!(worker.store.resolve(&group).await.unwrap(), [Fate::Committed]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Duplicate]);
    assert_eq!(stage.rows("rows").await, ["before", "x"], "once");
}

/// Two commits that lock each other out: one is sacrificed, and done again without a word to anyone.
#[tokio::test]
async fn c4_a_deadlock_of_statements_costs_no_attempt() {
    let stage = stage!();
    stage.run("CREATE TABLE stock (id int, n int); INSERT INTO stock VALUES (1, 0), (2, 0)").await;
    let workers = [Worker::new(&stage).await, Worker::new(&stage).await];
    let mut groups = Vec::new();
    for (worker, (first, second)) in workers.iter().zip([(1, 2), (2, 1)]) {
        let lease = worker.lease(&format!("key {first}")).await;
        // Long enough for the other one to hold its own.
        let takes =
            |id: i32| stated(sql("UPDATE stock SET n = n + 1 FROM pg_sleep(0.3) WHERE id = $1").bind(id));
        groups.push(worker.ending(&lease, &format!("event {first}"), vec![takes(first), takes(second)]));
    }
    let both = tokio::join!(workers[0].store.commit(&groups[0]), workers[1].store.commit(&groups[1]));
    assert_eq!(both.0.unwrap().fates, [Fate::Committed]);
    assert_eq!(both.1.unwrap().fates, [Fate::Committed]);
    let sum: i64 =
        sqlx::query_scalar("SELECT sum(n) FROM stock").fetch_one(&mut stage.connect().await).await.unwrap();
    assert_eq!(sum, 4, "each once");
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
