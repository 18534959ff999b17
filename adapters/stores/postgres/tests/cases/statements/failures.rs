//! Statements that fail, are late, or whose answer is lost: what becomes of them and of those beside them.

use std::sync::Arc;
use std::time::Duration;

use keylane::ErrorKind;
use keylane::config::Period;
use keylane::conformance::store::Harness;
use keylane::store::Fate;
use keylane_postgres::{PostgresConfig, sql};

use super::{called, state, stated, worker_with};
use crate::stage::proxy::Proxy;
use crate::stage::worker::{Worker, effect, insert};

/// Each between good ones, which must not suffer; these are statements as well, or run here.
#[tokio::test]
async fn c3_a_statement_that_fails_fails_alone() {
    let stage = stage!();
    stage
        .run(
            "INSERT INTO parents VALUES (1);
            CREATE FUNCTION raises(code text) RETURNS int LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = 'raised'; END $$",
        )
        .await;
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let raises = |code: &str| (sql("SELECT raises($1)").bind(code), "raised");
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
        // Whatever is said in the words, and by whose code.
        (sql("INSERT INTO parents VALUES ($1)").bind("deadlock detected"), "invalid input syntax"),
        raises("40001"),
        raises("40P01"),
        raises("08001"),
        raises("57P01"),
        raises("KL001"),
        raises("KL002"),
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

/// What it did to its session is over with it: a lock that it left behind would keep its own replay out.
#[tokio::test]
async fn c3_a_failed_statements_session_goes_with_it() {
    let stage = stage!();
    let config = PostgresConfig { commit_connections: 1, ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let key = i64::from_be_bytes(*stage.env.uuid().as_bytes().first_chunk().unwrap());
    let locks = || stated(sql("SELECT pg_advisory_lock($1)").bind(key));
    let group = worker.group(&claim, vec![vec![locks(), stated(sql("SELECT 1 / 0"))]]);
    let fates = worker.store.commit(&group).await.unwrap().fates;
    let [Fate::Failed(failure)] = &fates[..] else { panic!("{fates:?}") };
    assert!(failure.to_string().contains("division by zero"), "{failure}");
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
    let worker = Worker::on(&stage, stage.open().await, Duration::from_secs(3)).await;
    let claim = worker.claim().await;
    let slow = |at: usize| {
        let insert = "INSERT INTO written (name, text) SELECT 'rows', $1 FROM pg_sleep(0.4)";
        vec![stated(sql(insert).bind(at.to_string()))]
    };
    let group = worker.group(&claim, (0..4).map(slow).collect());
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, vec![Fate::Committed; 4]);
    assert_eq!(stage.rows("rows").await, ["0", "1", "2", "3"], "each once");
    // More than one transaction wrote them.
    let count = "SELECT count(DISTINCT xmin::text) FROM written WHERE name = 'rows'";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut stage.connect().await).await.unwrap();
    assert!(count > 1, "{count} transactions, of which none may take so long");
}

/// Far less than what the server ends a statement after.
#[tokio::test]
async fn effect_limit_holds_for_a_statement() {
    let stage = stage!();
    let config = PostgresConfig { effect_limit: Some(Period::millis(300)), ..stage.config() };
    let worker = worker_with(&stage, config).await;
    let claim = worker.claim().await;
    let group = worker.group(&claim, vec![vec![state("before")], vec![stated(sql("SELECT pg_sleep(600)"))]]);
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.store.commit(&group)).await;
    let fates = ended.expect("it has a limit of its own").unwrap().fates;
    assert!(matches!(fates[..], [Fate::Committed, Fate::Failed(_)]), "{fates:?}");
}

/// Groups of one worker that are under way together may write the same row, however they do it.
#[tokio::test]
async fn c4_a_write_that_waits_for_a_statement_costs_no_attempt() {
    let stage = stage!();
    stage.run("CREATE TABLE stock (id int, n int); INSERT INTO stock VALUES (1, 0)").await;
    let store = stage.open().await;
    let late = Worker::on(&stage, store.clone(), Duration::from_secs(3)).await;
    let worker = Worker::on(&stage, store, Duration::from_secs(30)).await;
    let (for_one, for_two) = (worker.lease("a").await, late.lease("b").await);
    // Twice as long as the other's writes may take.
    let holds =
        "WITH held AS (UPDATE stock SET n = n + 1 WHERE id = 1 RETURNING 1) SELECT pg_sleep(2) FROM held";
    let one = worker.ending(&for_one, "one", vec![stated(sql(holds))]);
    let counts = effect(Arc::new(|mut tx| {
        Box::pin(async move {
            sqlx::query("UPDATE stock SET n = n + 1 WHERE id = 1").execute(&mut *tx).await?;
            tx.done()
        })
    }));
    let two = late.ending(&for_two, "two", vec![counts]);
    let meanwhile = async {
        stage.somebody_sleeps().await;
        late.store.commit(&two).await
    };
    let (committed, answer) = tokio::join!(worker.store.commit(&one), meanwhile);
    assert_eq!(committed.unwrap().fates, [Fate::Committed]);
    let error = answer.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(late.store.commit(&two).await.unwrap().fates, [Fate::Committed]);
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
