//! What leases leave in the file: nothing that nobody has or waits for (rule S7).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keylane::conformance::store::Harness;
use keylane::env::Timestamp;
use keylane::store::{
    AdmitBatch, AttemptRow, CommitEvent, CommitGroup, HoldCommit, LeaseAnswer, LeaseCommit, LeaseKey,
    LeaseRef, NewSession, Scope, SessionId, Store, Unit, Verdict,
};
use keylane::text::Text;

use crate::OneFile;

const KEYS: usize = 300;

fn scope() -> Scope {
    Scope { subscription: "s".into(), broker: "b".into(), source: "t".into() }
}

fn keys() -> Vec<Bytes> {
    (0..KEYS).map(|at| Bytes::from(format!("key-{at:04}"))).collect()
}

struct Worker {
    store: Arc<dyn Store>,
    session: SessionId,
}

impl Worker {
    async fn new(file: &OneFile, lifetime: Duration) -> Self {
        let store = file.open().await;
        let session = SessionId(file.env.uuid());
        store.register(NewSession { id: session, worker: "w".to_owned(), lifetime }).await.unwrap();
        Self { store, session }
    }

    /// Asks for all keys; those that it got.
    async fn ask(&self) -> Vec<LeaseRef> {
        let batch = AdmitBatch { session: self.session, scope: scope(), leases: keys(), events: Vec::new() };
        let answers = self.store.admit(batch).await.unwrap().leases;
        let got = keys().into_iter().zip(answers).filter_map(|(key, answer)| match answer {
            LeaseAnswer::Granted { token, .. } => {
                Some(LeaseRef { lease: LeaseKey { scope: scope(), key }, token })
            }
            LeaseAnswer::Taken => None,
        });
        got.collect()
    }

    /// Gives leases back, with an event of the first that is tried or ends.
    async fn give_back(&self, leases: Vec<LeaseRef>, verdict: Option<Verdict>) -> usize {
        let holds = leases
            .into_iter()
            .map(|lease| HoldCommit::Lease(LeaseCommit { lease, give_back: true, marks: 0 }));
        let event = |verdict| CommitEvent {
            hold: 0,
            offset: 0,
            id: Text::from("x"),
            key: keys()[0].clone(),
            ledger: None,
            unpark: None,
            verdict,
        };
        let units =
            verdict.into_iter().map(|verdict| Unit { events: vec![event(verdict)], effects: Vec::new() });
        let group = CommitGroup { session: self.session, holds: holds.collect(), units: units.collect() };
        self.store.commit(&group).await.unwrap().written.len()
    }
}

/// Rows of leases, of those who wait, of tries, of sessions.
async fn rows(file: &OneFile) -> [i64; 4] {
    let database = file.database().await;
    let mut reader = database.read().await.unwrap();
    let mut counts = [0; 4];
    for (count, sql) in counts.iter_mut().zip([
        "SELECT count(*) FROM keylane_leases",
        "SELECT count(*) FROM keylane_lease_waits",
        "SELECT count(*) FROM keylane_tries",
        "SELECT count(*) FROM keylane_sessions",
    ]) {
        *count = sqlx::query_scalar(sql).fetch_one(&mut *reader).await.unwrap();
    }
    counts
}

#[tokio::test]
async fn s7_nothing_piles_up_in_the_file() {
    const LONG: Duration = Duration::from_secs(3600);
    let all = i64::try_from(KEYS).unwrap();
    let file = OneFile::new(false).await;
    let a = Worker::new(&file, LONG).await;
    let leases = a.ask().await;
    assert_eq!(leases.len(), KEYS);
    assert_eq!(rows(&file).await, [all, 0, 0, 1]);
    let row = AttemptRow {
        generation: 0,
        offset: 0,
        id: Text::from("x"),
        attempts: 1,
        crashes: 0,
        started_by: None,
        first_at: Timestamp::from_millis(1),
        failure: String::new(),
    };
    assert_eq!(a.give_back(leases.clone(), Some(Verdict::Tried(row))).await, KEYS - 1, "one is kept");
    assert_eq!(rows(&file).await, [1, 0, 1, 1]);
    assert_eq!(a.give_back(leases, Some(Verdict::Finish)).await, 1);
    assert_eq!(rows(&file).await, [0, 0, 0, 1]);

    let b = Worker::new(&file, LONG).await;
    let leases = a.ask().await;
    assert_eq!(b.ask().await, []);
    assert_eq!(rows(&file).await, [all, all, 0, 2]);
    a.give_back(leases, None).await;
    assert_eq!(a.ask().await, [], "all are kept for the other");
    b.store.close_session(b.session).await.unwrap();
    assert_eq!(rows(&file).await, [all, all, 0, 1]);
    let leases = a.ask().await;
    assert_eq!(rows(&file).await, [all, 0, 0, 1], "granted, and nobody waits");
    let c = Worker::new(&file, LONG).await;
    c.ask().await;
    a.give_back(leases, None).await;
    c.store.close_session(c.session).await.unwrap();
    assert_eq!(rows(&file).await, [0, 0, 0, 1], "kept for a session that was closed");

    let leases = a.ask().await;
    a.store.close_session(a.session).await.unwrap();
    drop(leases);
    let d = Worker::new(&file, Duration::ZERO).await;
    d.store.sweep("s", LONG).await.unwrap();
    assert_eq!(rows(&file).await, [all, 0, 0, 1], "their end was not clean, which the next one is to know");
    d.store.sweep("s", Duration::ZERO).await.unwrap();
    assert_eq!(rows(&file).await, [0, 0, 0, 0], "nobody came back to them, nor did a session that expired");
}
