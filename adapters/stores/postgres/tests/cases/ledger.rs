//! Where ids lie, and that they are found wherever they lie (rule L1).

use keylane::env::Timestamp;
use keylane::store::{
    Admission, AdmitBatch, AdmitEvent, AttemptRow, Claim, ClaimAnswer, CommitEvent, Fate, Unit, Verdict,
};
use sqlx::{AssertSqlSafe, Executor};

use crate::stage::Stage;
use crate::stage::worker::{Worker, finish, insert, scope, uuid_v7};

/// What whoever changes a container does.
const WRITE: &str = "SELECT ledger_write('s')";

/// How many rows lie in containers by time, and how many in generations.
async fn rows(stage: &Stage) -> (i64, i64) {
    let mut connection = stage.connect().await;
    let tables: Vec<(i32, bool)> = sqlx::query_as("SELECT id, from_ms IS NOT NULL FROM ledgers")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let (mut by_time, mut by_insertion) = (0, 0);
    for (id, timed) in tables {
        let count = format!("SELECT count(*) FROM ledger_{id}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap();
        *(if timed { &mut by_time } else { &mut by_insertion }) += count;
    }
    (by_time, by_insertion)
}

fn tried(id: &str) -> CommitEvent {
    let row = AttemptRow {
        generation: 0,
        offset: 0,
        id: id.into(),
        attempts: 1,
        crashes: 0,
        started_by: None,
        first_at: Timestamp::from_micros(0),
        failure: "no".to_owned(),
    };
    CommitEvent { verdict: Verdict::Tried(row), ..finish(0, id) }
}

async fn commit(worker: &Worker, id: &str) -> Fate {
    let lease = worker.lease(id).await;
    let committed = worker.store.commit(&worker.ending(&lease, id, vec![])).await.unwrap();
    committed.fates.into_iter().next().unwrap()
}

#[tokio::test]
async fn l1_an_id_lies_where_its_time_says() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    assert_eq!(commit(&worker, &uuid_v7(&stage, 0)).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (1, 0), "its time is its place");
    assert_eq!(commit(&worker, &uuid_v7(&stage, 400)).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (1, 1), "there is no container for that time");
    assert_eq!(commit(&worker, "42").await, Fate::Committed);
    assert_eq!(rows(&stage).await, (1, 2), "it has no time");
}

/// Also by who comes when the container is not written any more, or was not there yet.
#[tokio::test]
async fn l1_an_id_is_found_wherever_it_lies() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let (late, early) = (uuid_v7(&stage, 0), uuid_v7(&stage, 0));
    assert_eq!(commit(&worker, &late).await, Fate::Committed);
    // As in two days.
    stage.run("UPDATE ledgers SET closed_at = clock_timestamp() WHERE from_ms IS NOT NULL").await;
    stage.run(WRITE).await;
    for _ in 0..2 {
        assert_eq!(commit(&worker, &late).await, Fate::Duplicate);
    }
    assert_eq!(commit(&worker, &early).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (1, 1), "into the generation");
    stage.run("UPDATE ledgers SET closed_at = NULL WHERE from_ms IS NOT NULL").await;
    stage.run(WRITE).await;
    assert_eq!(commit(&worker, &early).await, Fate::Duplicate);
    assert_eq!(commit(&worker, "42").await, Fate::Committed);
    stage.run("UPDATE ledgers SET opened_at = opened_at - interval '10 days'").await;
    worker.store.sweep("s", std::time::Duration::from_secs(3600 * 24 * 20)).await.unwrap();
    for id in [&late, &early, "42"] {
        assert_eq!(commit(&worker, id).await, Fate::Duplicate, "{id} in a generation that is closed");
        assert_eq!(worker.admit(id, id).await.events, [Admission::Finished], "{id}");
    }
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM ledgers WHERE from_ms IS NULL")
        .fetch_one(&mut stage.connect().await)
        .await
        .unwrap();
    assert_eq!(open, 2, "a generation was closed, and the next one opened");
}

/// Who waited for a sweep with the functions of before it: they have the older containers in them, and another state.
#[tokio::test]
async fn l1_functions_of_yesterday_hand_over() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let (early, late) = (uuid_v7(&stage, 0), uuid_v7(&stage, 0));
    assert_eq!(commit(&worker, &early).await, Fate::Committed);
    // What a sweep does, but for writing the functions anew.
    stage.run("UPDATE ledgers SET closed_at = clock_timestamp() WHERE from_ms IS NOT NULL").await;
    stage.run("SELECT setval('ledger_state_' || id, 1000) FROM scopes").await;
    assert_eq!(commit(&worker, &late).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (1, 1), "into the generation");
    for id in [&early, &late] {
        assert_eq!(worker.admit(id, id).await.events, [Admission::Finished], "{id}");
    }
    stage.run("UPDATE ledgers SET closed_at = NULL WHERE from_ms IS NOT NULL").await;
    stage.run(WRITE).await;
    assert_eq!(commit(&worker, &uuid_v7(&stage, 0)).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (2, 1), "they are of today");
}

/// Two commits of one id, while one of them has not ended: the other waits, and finds out.
#[tokio::test]
async fn c2_the_unique_key_is_the_arbiter() {
    let stage = stage!();
    let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
    for (id, long) in [(uuid_v7(&stage, 0), false), ("43".to_owned(), false), ("44".to_owned(), true)] {
        let (one, two) = (a.lease("one").await, b.lease("two").await);
        let gate = keylane::conformance::Gate::default();
        let at = gate.clone();
        let waits = crate::stage::worker::effect(std::sync::Arc::new(move |tx| {
            let at = at.clone();
            Box::pin(async move {
                at.pass().await;
                tx.done()
            })
        }));
        let (first, mut second) = (a.ending(&one, &id, vec![waits]), b.ending(&two, &id, vec![]));
        if long {
            // With a try in it, a group goes the longer way.
            second.units.push(Unit { events: vec![tried("45")], effects: vec![] });
        }
        let meanwhile = async {
            gate.reached().await;
            let waiting = async {
                stage.somebody_waits().await;
                gate.open();
            };
            tokio::join!(b.store.commit(&second), waiting).0
        };
        let (first, second) = tokio::join!(a.store.commit(&first), meanwhile);
        assert_eq!(first.unwrap().fates, [Fate::Committed]);
        assert_eq!(second.unwrap().fates[0], Fate::Duplicate, "{id}");
        b.store.commit(&b.ending(&two, "done", vec![])).await.unwrap();
    }
}

/// What is known of an event of a claim, and how its commit ends.
async fn alone(worker: &Worker, claim: &Claim, id: &str) -> (Admission, Fate) {
    let admission = admit_alone(worker, id).await.unwrap();
    let mut group = worker.group(claim, vec![vec![]]);
    group.units[0].events[0].id = id.into();
    (admission, worker.store.commit(&group).await.unwrap().fates.remove(0))
}

async fn admit_alone(worker: &Worker, id: &str) -> Result<Admission, keylane::Error> {
    let event = AdmitEvent { payload: finish(0, id).ledger, id: id.into(), lease: None, leased: false };
    let batch = AdmitBatch { session: worker.session, scope: scope(), leases: vec![], events: vec![event] };
    worker.store.admit(batch).await.map(|mut admitted| admitted.events.remove(0))
}

/// A lone event of today goes a shorter way, on which nothing is known of it only where nothing is known of anything.
#[tokio::test]
async fn c2_a_lone_event_is_judged_as_any() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let id = uuid_v7(&stage, 0);
    assert_eq!(alone(&worker, &claim, &id).await, (Admission::Fresh, Fate::Committed));
    assert_eq!(rows(&stage).await, (1, 0));
    assert_eq!(alone(&worker, &claim, &id).await, (Admission::Finished, Fate::Duplicate), "by its key");
    let day =
        "SELECT id FROM ledgers WHERE from_ms = floor(extract(epoch FROM now()) / 86400)::bigint * 86400000";
    let day: i32 = sqlx::query_scalar(day).fetch_one(&mut stage.connect().await).await.unwrap();
    // L1: as if it had come before there was a container for its day.
    stage
        .run(&format!(
            "WITH gone AS (DELETE FROM ledger_{day} RETURNING *) INSERT INTO ledger_1 SELECT * FROM gone"
        ))
        .await;
    assert_eq!(
        alone(&worker, &claim, &id).await,
        (Admission::Finished, Fate::Duplicate),
        "of the generation"
    );
    // P1: as if it had been parked.
    let park = "WITH gone AS (DELETE FROM ledger_1 RETURNING *)
        INSERT INTO parked (scope, partition, generation, \"offset\", id, key, kind, payload_hash, reason, attempts,
            crashes, failures, first_us, parked_us, worker, record_headers, record_payload)
        SELECT scope, 0, 0, 7, id, id, '', hash, 'dead', 0, 0, '[]', 0, 0, 'w', '', '' FROM gone";
    stage.run(park).await;
    let (admission, fate) = alone(&worker, &claim, &id).await;
    assert!(admission == Admission::Parked && fate != Fate::Committed, "{admission:?} {fate:?}");
    assert_eq!(rows(&stage).await, (0, 0));
    // C1: the claim, and not the session alone.
    assert_eq!(alone(&worker, &claim, &uuid_v7(&stage, 0)).await, (Admission::Fresh, Fate::Committed));
    stage.run("DELETE FROM parked").await;
    let ClaimAnswer::Granted(_) = worker.ask(crate::stage::worker::LONG).await else {
        panic!("it is its own")
    };
    let (_, fate) = alone(&worker, &claim, &uuid_v7(&stage, 0)).await;
    assert_ne!(fate, Fate::Committed, "of an epoch before");
    assert_eq!(rows(&stage).await, (1, 0));
}

/// After a write, a lone event is looked for on the connection of that write, where nothing is locked (decision 25).
#[tokio::test]
async fn c2_a_lone_event_is_admitted_as_any_where_a_write_was_committed() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    let claim = worker.claim().await;
    let known = uuid_v7(&stage, 0);
    let mut group = worker.group(&claim, vec![vec![insert("one")]]);
    group.units[0].events[0].id = known.as_str().into();
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    assert_eq!(admit_alone(&worker, &uuid_v7(&stage, 0)).await.unwrap(), Admission::Fresh);
    let used =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%' || current_schema() || '%is\\_new\\_%'
        AND pid <> pg_backend_pid()";
    let used: i64 = sqlx::query_scalar(used).fetch_one(&mut stage.connect().await).await.unwrap();
    assert_eq!(used, 1, "on the connection of the write");
    assert_eq!(admit_alone(&worker, &known).await.unwrap(), Admission::Finished);
    // S1: nothing is locked, but looked for.
    worker.store.close_session(worker.session).await.unwrap();
    let gone = admit_alone(&worker, &uuid_v7(&stage, 0)).await.unwrap_err();
    assert_eq!(gone.kind(), keylane::ErrorKind::SessionLost);
}

/// After days without anybody another source opens containers: those between belong into the generation.
#[tokio::test]
async fn l1_a_day_between_open_containers_has_a_place() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    assert_eq!(commit(&worker, "42").await, Fate::Committed);
    let past = "UPDATE ledgers SET from_ms = from_ms - 518400000, to_ms = to_ms - 518400000 WHERE from_ms IS NOT NULL";
    stage.run(past).await;
    stage.run("SELECT intern('s', 'b', 'another')").await;
    assert_eq!(commit(&worker, &uuid_v7(&stage, 3)).await, Fate::Committed);
    assert_eq!(rows(&stage).await, (0, 2), "there is no container for that time");
}

/// Each worker sweeps every minute, and a sweep that changes something has the ledger alone.
#[tokio::test]
async fn a_sweep_with_nothing_to_do_waits_for_no_commit() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    assert_eq!(commit(&worker, "42").await, Fate::Committed);
    let mut other = stage.connect().await;
    let commits = "BEGIN; SELECT hold_ledgers(ARRAY(SELECT id FROM scopes))";
    other.execute(AssertSqlSafe(commits.to_owned())).await.unwrap();
    let day = std::time::Duration::from_secs(3600 * 24);
    let swept = worker.store.sweep("s", 7 * day);
    let swept = stage.env.timeout("a sweep", std::time::Duration::from_secs(30), swept).await;
    assert_eq!(swept.expect("it waits for a commit").unwrap(), 0);
    other.execute(AssertSqlSafe("COMMIT".to_owned())).await.unwrap();
}
