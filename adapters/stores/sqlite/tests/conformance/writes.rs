//! Recorded writes that misbehave fail alone, whatever they do to the transaction (rules C3 and C4).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keylane::conformance::store::Harness;
use keylane::event::PayloadHash;
use keylane::handler::FailureClass;
use keylane::memory::MemoryBroker;
use keylane::store::{
    Claim, ClaimAnswer, ClaimCommit, ClaimRequest, CommitEvent, CommitGroup, Effect, EffectFn, Fate,
    HoldCommit, NewSession, Scope, SessionId, Store, Tx, Unit, Verdict,
};
use keylane::text::Text;
use keylane::watermark::Watermark;
use keylane::{ErrorKind, Failure, RawEvent, Routes, Runtime};
use keylane_sqlite::{Sqlite, SqliteStore};
use sqlx::Connection;

use crate::OneFile;

struct Worker {
    file: OneFile,
    store: SqliteStore,
    session: SessionId,
    claim: Claim,
}

impl Worker {
    async fn new(effect_limit: Duration) -> Self {
        let file = OneFile::new(false).await;
        let store = SqliteStore::on(file.database().await, &file.env, Some(effect_limit)).await.unwrap();
        let session = SessionId(file.env.uuid());
        let lifetime = Duration::from_secs(600);
        store.register(NewSession { id: session, worker: "a".to_owned(), lifetime }).await.unwrap();
        let scope = Scope { subscription: "s".into(), broker: "b".into(), source: "t".into() };
        let request = ClaimRequest { session, scope, partition: 0, handover_limit: lifetime };
        let ClaimAnswer::Granted(claim) = store.claim(request).await.unwrap() else {
            panic!("nobody has it")
        };
        Self { file, store, session, claim: *claim }
    }

    /// A group of one event a write; the keys differ.
    fn group(&self, writes: Vec<Effect>) -> CommitGroup {
        let mut watermark = Watermark::new(0, 64);
        let units = writes.into_iter().zip(0u64..).map(|(write, offset)| {
            let _ = watermark.deliver(offset);
            let id = format!("event-{offset}");
            let event = CommitEvent {
                hold: 0,
                offset,
                id: Text::from(id.as_str()),
                key: Bytes::from(id),
                ledger: Some(PayloadHash::of(b"payload")),
                unpark: None,
                verdict: Verdict::Finish,
            };
            Unit { events: vec![event], effects: vec![write] }
        });
        let units = units.collect();
        let claim = self.claim.claim.clone();
        let claim = ClaimCommit { claim, watermark, witness: None, identity: None, partitions: 1 };
        let holds = vec![HoldCommit::Claim(Box::new(claim))];
        CommitGroup { session: self.session, holds, units }
    }

    /// Commits the write between two good ones, which must not suffer; gives its failure.
    async fn fails_alone(&self, write: Effect) -> Failure {
        let group = self.group(vec![insert("before"), write, insert("after")]);
        let fates = self.store.commit(&group).await.unwrap().fates;
        let [Fate::Committed, Fate::Failed(failure), Fate::Committed] = &fates[..] else {
            panic!("{fates:?}")
        };
        assert_eq!(self.file.rows("rows").await, ["before", "after"], "each once, and nothing else");
        failure.clone()
    }
}

fn effect(write: EffectFn<Sqlite>) -> Effect {
    Effect::new::<Sqlite>(write)
}

fn insert(text: &'static str) -> Effect {
    effect(Arc::new(move |mut tx| {
        Box::pin(async move {
            OneFile::insert(&mut tx, "rows", text).await?;
            tx.done()
        })
    }))
}

/// Writes a row, then runs a statement that a write must not run.
fn insert_and_run(sql: &'static str) -> Effect {
    effect(Arc::new(move |mut tx| {
        Box::pin(async move {
            OneFile::insert(&mut tx, "rows", "never to be seen").await?;
            drop(sqlx::query(sql).execute(&mut *tx).await);
            tx.done()
        })
    }))
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn c3_a_write_that_ends_the_transaction_fails_alone() {
    for sql in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN IMMEDIATE", "ROLLBACK; BEGIN IMMEDIATE"] {
        let failure = Worker::new(LONG).await.fails_alone(insert_and_run(sql)).await;
        assert_eq!(failure.class(), FailureClass::Permanent, "{sql}");
        assert!(failure.to_string().contains("must only write through it"), "{sql}: {failure}");
    }
}

#[tokio::test]
async fn c3_a_write_that_leaves_a_transaction_open_fails_alone() {
    let forgetful: EffectFn<Sqlite> = Arc::new(|mut tx| {
        Box::pin(async move {
            std::mem::forget(tx.begin().await?);
            OneFile::insert(&mut tx, "rows", "never to be seen").await?;
            tx.done()
        })
    });
    Worker::new(LONG).await.fails_alone(effect(forgetful)).await;
}

#[tokio::test]
async fn c3_a_write_that_panics_fails_alone() {
    let panics: EffectFn<Sqlite> = Arc::new(|mut tx| {
        Box::pin(async move {
            OneFile::insert(&mut tx, "rows", "never to be seen").await?;
            panic!("out of stock")
        })
    });
    let failure = Worker::new(LONG).await.fails_alone(effect(panics)).await;
    assert!(failure.to_string().contains("out of stock"), "{failure}");
}

#[tokio::test]
async fn s3_a_limit_over_a_third_of_the_session_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let toml = format!(
        "[runtime]\nsession = \"9s\"\n[store.sqlite]\npath = {path:?}\neffect_limit = \"3001ms\"\n\
         [broker.main.memory]\n[subscription.s]\nsource = \"orders\"\n\
         [subscription.s.retry]\non_exhausted = \"skip\"\n"
    );
    let broker = MemoryBroker::new();
    broker.create("orders", 1);
    let routes = Routes::new().all(async |_: RawEvent| -> Result<(), Failure> { Ok(()) });
    let runtime = Runtime::from_text(toml).store(Sqlite).broker(broker).subscription("s", routes);
    let error = runtime.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("effect_limit is 3.001s, over a third of runtime.session"), "{error}");
}

/// Short: each of the two tests below waits for it once.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn c4_a_write_that_never_ends_fails_alone() {
    let waits: EffectFn<Sqlite> = Arc::new(|mut tx| {
        Box::pin(async move {
            OneFile::insert(&mut tx, "rows", "never to be seen").await?;
            std::future::pending().await
        })
    });
    let failure = Worker::new(SHORT).await.fails_alone(effect(waits)).await;
    assert!(failure.to_string().contains("longer than"), "{failure}");
}

#[tokio::test]
async fn c4_a_statement_that_never_ends_fails_alone() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let failure = Worker::new(SHORT).await.fails_alone(insert_and_run(endless)).await;
    assert!(failure.to_string().contains("longer than"), "{failure}");
}

/// All sessions wait for the one writer: the limit follows the shortest of those that live.
#[tokio::test]
async fn s3_a_write_ends_within_a_third_of_another_workers_shorter_session() {
    let worker = Worker::new(LONG).await;
    let other = SessionId(worker.file.env.uuid());
    let lifetime = SHORT * 3;
    worker.store.register(NewSession { id: other, worker: "b".to_owned(), lifetime }).await.unwrap();
    let waits: EffectFn<Sqlite> = Arc::new(|_tx| Box::pin(std::future::pending()));
    let failure = worker.fails_alone(effect(waits)).await;
    assert!(failure.to_string().contains("longer than"), "{failure}");
    worker.store.renew(other, &[]).await.unwrap();
}

#[tokio::test]
async fn a_write_that_keeps_its_transaction_holds_the_store_up_until_it_lets_go() {
    let worker = Worker::new(LONG).await;
    let kept: Arc<Mutex<Option<Tx<Sqlite>>>> = Arc::default();
    let place = kept.clone();
    let keeps: EffectFn<Sqlite> = Arc::new(move |tx| {
        let place = place.clone();
        Box::pin(async move {
            *place.lock().unwrap() = Some(tx);
            Ok(())
        })
    });
    let group = worker.group(vec![insert("before"), effect(keeps)]);
    let error = worker.store.commit(&group).await.unwrap_err();
    assert!(error.is_transient(), "nothing was written: {error:?}");
    assert_eq!(worker.file.rows("rows").await, [""; 0]);
    drop(kept.lock().unwrap().take());
    let group = worker.group(vec![insert("later")]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
}

#[tokio::test]
async fn writes_may_nest_transactions() {
    let nests: EffectFn<Sqlite> = Arc::new(|mut tx| {
        Box::pin(async move {
            let mut inner = tx.begin().await?;
            sqlx::query("INSERT INTO written VALUES ('rows', 'inner')").execute(&mut *inner).await?;
            inner.commit().await?;
            let mut undone = tx.begin().await?;
            sqlx::query("INSERT INTO written VALUES ('rows', 'undone')").execute(&mut *undone).await?;
            drop(undone);
            tx.done()
        })
    });
    let worker = Worker::new(LONG).await;
    let group = worker.group(vec![effect(nests), insert("after")]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed, Fate::Committed]);
    assert_eq!(worker.file.rows("rows").await, ["inner", "after"]);
}
