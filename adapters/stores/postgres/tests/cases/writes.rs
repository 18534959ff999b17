//! Recorded writes that misbehave fail alone, whatever they do to the transaction (rules C3 and C4).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keylane::Failure;
use keylane::conformance::Gate;
use keylane::conformance::store::Harness;
use keylane::handler::FailureClass;
use keylane::store::{Effect, EffectFn, Fate};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::stage::Stage;
use crate::stage::worker::{Worker, effect, insert};

/// Commits the write between two good ones, which must not suffer; gives its failure.
async fn fails_alone(stage: &Stage, write: Effect) -> Failure {
    let worker = Worker::new(stage).await;
    let claim = worker.claim().await;
    let group = worker.group(&claim, vec![vec![insert("before")], vec![write], vec![insert("after")]]);
    let fates = worker.store.commit(&group).await.unwrap().fates;
    let [Fate::Committed, Fate::Failed(failure), Fate::Committed] = &fates[..] else { panic!("{fates:?}") };
    assert_eq!(stage.rows("rows").await, ["before", "after"], "each once, and nothing else");
    failure.clone()
}

/// Writes a row, then runs a statement whose error it passes over.
fn insert_and_run(sql: &'static str) -> Effect {
    effect(Arc::new(move |mut tx| {
        Box::pin(async move {
            Stage::insert(&mut tx, "rows", "never to be seen").await?;
            drop(tx.execute(AssertSqlSafe(sql)).await);
            tx.done()
        })
    }))
}

#[tokio::test]
async fn c3_a_write_that_ends_the_transaction_fails_alone() {
    for sql in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN"] {
        let stage = stage!();
        let failure = fails_alone(&stage, insert_and_run(sql)).await;
        assert_eq!(failure.class(), FailureClass::Permanent, "{sql}");
        assert!(failure.to_string().contains("must only write through it"), "{sql}: {failure}");
    }
}

/// To PostgreSQL, a COMMIT after that is a rollback, and no error.
#[tokio::test]
async fn c3_a_write_that_passes_over_an_error_fails_alone() {
    let stage = stage!();
    let failure = fails_alone(&stage, insert_and_run("SELECT 1 / 0")).await;
    assert!(failure.to_string().contains("passed over"), "{failure}");
}

/// The server's words for a deadlock, but in an event's data.
#[tokio::test]
async fn c4_words_in_the_data_are_no_deadlock() {
    let stage = stage!();
    let reads = effect(Arc::new(|mut tx| {
        Box::pin(async move {
            sqlx::query("SELECT $1::text::int").bind("deadlock detected").execute(&mut *tx).await?;
            tx.done()
        })
    }));
    let failure = fails_alone(&stage, reads).await;
    assert!(failure.to_string().contains("invalid input syntax"), "{failure}");
}

#[tokio::test]
async fn c3_a_write_that_leaves_a_transaction_open_fails_alone() {
    let stage = stage!();
    let forgetful: EffectFn<keylane_postgres::Postgres> = Arc::new(|mut tx| {
        Box::pin(async move {
            std::mem::forget(tx.begin().await?);
            Stage::insert(&mut tx, "rows", "never to be seen").await?;
            tx.done()
        })
    });
    fails_alone(&stage, effect(forgetful)).await;
}

#[tokio::test]
async fn writes_may_nest_transactions() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let nests = effect(Arc::new(|mut tx| {
        Box::pin(async move {
            let mut inner = tx.begin().await?;
            inner.execute("INSERT INTO written (name, text) VALUES ('rows', 'inner')").await?;
            inner.commit().await?;
            let mut undone = tx.begin().await?;
            undone.execute("INSERT INTO written (name, text) VALUES ('rows', 'undone')").await?;
            drop(undone);
            tx.done()
        })
    }));
    // The second time on a connection whose last transaction sqlx did not see end.
    for times in 1..=2 {
        let mut group = worker.group(&claim, vec![vec![nests.clone()], vec![insert("after")]]);
        for (at, unit) in group.units.iter_mut().enumerate() {
            unit.events[0].id = format!("{times}-{at}").as_str().into();
        }
        let fates = worker.store.commit(&group).await.unwrap().fates;
        assert_eq!(fates, [Fate::Committed, Fate::Committed]);
        assert_eq!(stage.rows("rows").await, ["inner", "after"].repeat(times));
    }
}

/// Nothing runs after it that would notice, but the end.
#[tokio::test]
async fn c3_a_last_write_that_ends_the_transaction_fails_alone() {
    for sql in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN"] {
        let stage = stage!();
        let worker = Worker::new(&stage).await;
        let claim = worker.claim().await;
        for times in 1..=2 {
            let mut group = worker.group(&claim, vec![vec![insert("good")], vec![insert_and_run(sql)]]);
            for (at, unit) in group.units.iter_mut().enumerate() {
                unit.events[0].id = format!("{times}-{at}").as_str().into();
            }
            let fates = worker.store.commit(&group).await.unwrap().fates;
            assert!(matches!(fates[..], [Fate::Committed, Fate::Failed(_)]), "{sql}: {fates:?}");
            assert_eq!(stage.rows("rows").await.len(), times, "{sql}: the good one, and nothing else");
        }
    }
}

/// Without a failure no savepoint is set; with one, each write runs once more and only the guilty one fails.
#[tokio::test]
async fn c3_a_failure_is_replayed_with_savepoints() {
    let stage = stage!();
    let runs = Arc::new(AtomicUsize::new(0));
    let counting = |fails: bool| {
        let runs = runs.clone();
        effect(Arc::new(move |mut tx| {
            let runs = runs.clone();
            Box::pin(async move {
                runs.fetch_add(1, Ordering::SeqCst);
                Stage::insert(&mut tx, "rows", "counted").await?;
                match fails {
                    true => Err(Failure::new("out of stock")),
                    false => tx.done(),
                }
            })
        }))
    };
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let writes = [false, true, false].map(|fails| vec![counting(fails)]);
    let fates = worker.store.commit(&worker.group(&claim, writes.to_vec())).await.unwrap().fates;
    assert!(matches!(fates[..], [Fate::Committed, Fate::Failed(_), Fate::Committed]), "{fates:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 2 + 3, "two until the failure, then all with savepoints");
    assert_eq!(stage.rows("rows").await.len(), 2);
}

/// Two commits that lock each other out: one is sacrificed, and done again without a word to anyone.
#[tokio::test]
async fn c4_a_deadlock_costs_no_attempt() {
    let stage = stage!();
    stage
        .run(&format!(
            "CREATE TABLE {0}.stock (id int, n int); INSERT INTO {0}.stock VALUES (1, 0), (2, 0)",
            stage.schema
        ))
        .await;
    let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
    let (for_a, for_b) = (a.lease("a").await, b.lease("b").await);
    let met = Arc::new(tokio::sync::Barrier::new(2));
    let first = Arc::new(AtomicUsize::new(0));
    let both = |one: i32, two: i32| {
        let (met, first) = (met.clone(), first.clone());
        effect(Arc::new(move |mut tx| {
            let (met, first) = (met.clone(), first.clone());
            Box::pin(async move {
                let update = "UPDATE stock SET n = n + 1 WHERE id = $1";
                sqlx::query(update).bind(one).execute(&mut *tx).await?;
                if first.fetch_add(1, Ordering::SeqCst) < 2 {
                    met.wait().await;
                }
                sqlx::query(update).bind(two).execute(&mut *tx).await?;
                tx.done()
            })
        }))
    };
    let (one, two) = (a.ending(&for_a, "one", vec![both(1, 2)]), b.ending(&for_b, "two", vec![both(2, 1)]));
    let (one, two) = tokio::join!(a.store.commit(&one), b.store.commit(&two));
    assert_eq!(one.unwrap().fates, [Fate::Committed]);
    assert_eq!(two.unwrap().fates, [Fate::Committed]);
    assert!(first.load(Ordering::SeqCst) > 2, "there was a deadlock");
    let n: Vec<i32> =
        sqlx::query_scalar("SELECT n FROM stock").fetch_all(&mut stage.connect().await).await.unwrap();
    assert_eq!(n, [2, 2]);
}

/// Groups of one worker that are under way together may write the same row.
#[tokio::test]
async fn c4_a_write_that_waits_for_another_group_costs_no_attempt() {
    let stage = stage!();
    stage.run("CREATE TABLE stock (id int, n int); INSERT INTO stock VALUES (1, 0)").await;
    let store = stage.open().await;
    let late = Worker::on(&stage, store.clone(), std::time::Duration::from_secs(3)).await;
    let worker = Worker::on(&stage, store, std::time::Duration::from_secs(30)).await;
    let (for_one, for_two) = (worker.lease("a").await, late.lease("b").await);
    let gate = Gate::default();
    let counts = |gate: Option<Gate>| {
        effect(Arc::new(move |mut tx| {
            let gate = gate.clone();
            Box::pin(async move {
                tx.execute("UPDATE stock SET n = n + 1 WHERE id = 1").await?;
                if let Some(gate) = gate {
                    gate.pass().await;
                }
                tx.done()
            })
        }))
    };
    let one = worker.ending(&for_one, "one", vec![counts(Some(gate.clone()))]);
    let two = late.ending(&for_two, "two", vec![counts(None)]);
    let meanwhile = async {
        gate.reached().await;
        let answer = late.store.commit(&two).await;
        gate.open();
        answer
    };
    let (committed, answer) = tokio::join!(worker.store.commit(&one), meanwhile);
    assert_eq!(committed.unwrap().fates, [Fate::Committed]);
    let error = answer.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(
        late.store.commit(&two).await.unwrap().fates,
        [Fate::Committed],
        "now that nothing is beside it"
    );
}

/// A statement that never ends is ended by the server at the latest; its lane's lease is kept.
#[tokio::test]
async fn s3_a_statement_that_never_ends_fails_alone() {
    let stage = stage!();
    let worker = Worker::on(&stage, stage.open().await, std::time::Duration::from_secs(3)).await;
    let lease = worker.lease("k").await;
    let sleeps = effect(Arc::new(|mut tx| {
        Box::pin(async move {
            tx.execute("SELECT pg_sleep(600)").await?;
            tx.done()
        })
    }));
    let committed = worker.store.commit(&worker.ending(&lease, "x", vec![sleeps])).await.unwrap();
    assert!(matches!(committed.fates[..], [Fate::Failed(_)]), "{committed:?}");
    assert_eq!(committed.written, [0; 0], "the event did not end");
    assert_eq!(worker.store.leases(worker.session).await.unwrap(), [lease]);
}

/// A write that another's lost connection interrupts is nobody's fault, and nothing is written.
#[tokio::test]
async fn u1_a_terminated_backend_before_the_commit_is_transient() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let gate = Gate::default();
    let (at, name) = (gate.clone(), format!("%{}%", stage.schema));
    let waits = effect(Arc::new(move |mut tx| {
        let at = at.clone();
        Box::pin(async move {
            Stage::insert(&mut tx, "rows", "x").await?;
            at.pass().await;
            Stage::insert(&mut tx, "rows", "y").await?;
            tx.done()
        })
    }));
    let group = worker.group(&claim, vec![vec![waits]]);
    let kill = async {
        gate.reached().await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE state = 'idle in transaction' AND pid <> pg_backend_pid()
                AND pid IN (SELECT pid FROM pg_locks WHERE relation = ($1 || '.sessions')::regclass)";
        let killed: Vec<bool> = sqlx::query_scalar(kill)
            .bind(name.trim_matches('%'))
            .fetch_all(&mut stage.connect().await)
            .await
            .unwrap();
        assert_eq!(killed, [true]);
        gate.open();
    };
    let (answer, ()) = tokio::join!(worker.store.commit(&group), kill);
    match answer {
        // Noticed by the write, which ran again, or by the store.
        Ok(committed) => assert_eq!(committed.fates, [Fate::Committed]),
        Err(error) => {
            assert!(error.is_transient(), "{error:?}");
            assert_eq!(stage.rows("rows").await, [""; 0], "nothing was written");
            assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
        }
    }
    assert_eq!(stage.rows("rows").await, ["x", "y"]);
}
