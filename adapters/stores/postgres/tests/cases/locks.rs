//! Who waits for whom, and what is read afterwards.

use std::sync::Arc;
use std::time::Duration;

use keylane::conformance::Gate;
use keylane::conformance::store::Harness;
use keylane::store::{Admission, ClaimAnswer, CommitGroup, Effect, Fate, LeaseAnswer};
use keylane_postgres::PostgresConfig;
use sqlx::{AssertSqlSafe, Executor};

use crate::stage::proxy::Proxy;
use crate::stage::worker::{Worker, effect, uuid_v7};
use crate::stage::{PAUSE, Stage, TRIES};

fn insert_at(gate: &Gate) -> Effect {
    let gate = gate.clone();
    effect(Arc::new(move |mut tx| {
        let gate = gate.clone();
        Box::pin(async move {
            Stage::insert(&mut tx, "rows", "x").await?;
            gate.pass().await;
            tx.done()
        })
    }))
}

/// Who waited for a lease inside the database reads what its owner committed meanwhile.
#[tokio::test]
async fn a1_admit_reads_behind_the_lease_it_waited_for() {
    let stage = stage!();
    let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
    let lease = a.lease("k").await;
    let gate = Gate::default();
    let group = a.ending(&lease, "x", vec![insert_at(&gate)]);
    let meanwhile = async {
        gate.reached().await;
        let waiting = async {
            stage.somebody_waits().await;
            gate.open();
        };
        tokio::join!(b.admit("k", "x"), waiting).0
    };
    let (committed, admitted) = tokio::join!(a.store.commit(&group), meanwhile);
    let committed = committed.unwrap();
    assert_eq!((&committed.fates[..], &committed.written[..]), (&[Fate::Committed][..], &[0][..]));
    assert!(matches!(admitted.leases[..], [LeaseAnswer::Granted { marks: 0, .. }]), "{admitted:?}");
    assert_eq!(admitted.events, [Admission::Finished], "read after the lease was won");
}

/// A lease that a crash forgot would be given to another while its handler runs; a look has nothing to forget.
#[tokio::test]
async fn a1_only_an_admission_that_takes_leases_waits_for_the_disk() {
    let stage = stage!();
    let worker = Worker::new(&stage).await;
    worker.admit("k", "x").await;
    let mut connection = stage.connect().await;
    for (keys, waits) in [("ARRAY['another'::bytea]", "on"), ("ARRAY[]::bytea[]", "off")] {
        for time in ["NULL::bigint", "floor(extract(epoch FROM now()) * 1000)::bigint"] {
            let admit = format!(
                "SELECT current_setting('synchronous_commit') FROM {}.admit_1('{}', {keys},
                    ARRAY['y'::bytea], ARRAY[{time}], ARRAY[true], ARRAY[false])",
                stage.schema, worker.session
            );
            let setting: String =
                sqlx::query_scalar(AssertSqlSafe(admit)).fetch_one(&mut connection).await.unwrap();
            assert_eq!(setting, waits, "{keys} {time}");
        }
    }
}

/// Who waited longer got its token later.
#[tokio::test]
async fn a4_tokens_grow_in_the_order_of_ownership() {
    let stage = stage!();
    let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
    a.lease("k").await;
    let sql = |sql: &str| sql.replace("{s}", &stage.schema);
    let mut other = stage.connect().await;
    let lock = sql("BEGIN; SELECT FROM {s}.leases WHERE key = 'k' FOR UPDATE");
    other.execute(AssertSqlSafe(lock)).await.unwrap();
    let between = async {
        stage.somebody_waits().await;
        // The same session has it anew, and gives it back, while the other already stands in the queue.
        let take =
            sql("SELECT tokens[1] FROM {s}.take_leases($1, (SELECT id FROM {s}.scopes), ARRAY['k'::bytea])");
        let token: i64 =
            sqlx::query_scalar(AssertSqlSafe(take)).bind(a.session.0).fetch_one(&mut other).await.unwrap();
        other.execute(AssertSqlSafe(sql("DELETE FROM {s}.leases WHERE key = 'k'; COMMIT"))).await.unwrap();
        token.unsigned_abs()
    };
    let (admitted, before) = tokio::join!(b.admit("k", "x"), between);
    let [LeaseAnswer::Granted { token, .. }] = admitted.leases[..] else { panic!("{admitted:?}") };
    assert!(token > before, "{token} was drawn before {before}, and owned after it");
}

/// A dead session is not buried below a commit of it, also not by who asks for another of its partitions.
#[tokio::test]
async fn s1_a_session_is_not_taken_over_below_its_commit() {
    for lone in [false, true] {
        let stage = stage!();
        let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
        let claim = a.claim().await;
        let other = |worker: &Worker| keylane::store::ClaimRequest { partition: 1, ..request(worker) };
        let ClaimAnswer::Granted(held) = a.store.claim(other(&a)).await.unwrap() else {
            panic!("nobody has it")
        };
        stage
            .run(&format!(
                "UPDATE {}.sessions SET expires_at = now() WHERE id = '{}'",
                stage.schema, a.session
            ))
            .await;
        let gate = Gate::default();
        let group = of(&stage, lone, a.group(&claim, vec![vec![insert_at(&gate)]]));
        let meanwhile = async {
            gate.reached().await;
            let answer = b.store.claim(other(&b)).await.unwrap();
            gate.open();
            answer
        };
        let (committed, answer) = tokio::join!(a.store.commit(&group), meanwhile);
        assert_eq!(committed.unwrap().fates, [Fate::Committed]);
        assert!(matches!(answer, ClaimAnswer::Wanted { .. }), "taken over while it committed: {answer:?}");
        let ClaimAnswer::Granted(taken) = b.store.claim(other(&b)).await.unwrap() else {
            panic!("it is dead")
        };
        assert!(taken.unclean && taken.claim.epoch > held.claim.epoch);
        let error = a.store.commit(&group).await.unwrap_err();
        assert_eq!(error.kind(), keylane::ErrorKind::SessionLost, "{error:?}");
    }
}

/// The epoch is not raised while a commit that relies on it is open.
#[tokio::test]
async fn s2_a_claim_does_not_change_hands_below_a_commit() {
    for lone in [false, true] {
        let stage = stage!();
        let (a, b) = (Worker::new(&stage).await, Worker::new(&stage).await);
        let claim = a.claim().await;
        assert!(matches!(b.ask(Duration::ZERO).await, ClaimAnswer::Wanted { .. }));
        let gate = Gate::default();
        let group = of(&stage, lone, a.group(&claim, vec![vec![insert_at(&gate)]]));
        let meanwhile = async {
            gate.reached().await;
            let waiting = async {
                stage.somebody_waits().await;
                gate.open();
            };
            tokio::join!(b.ask(Duration::ZERO), waiting).0
        };
        let (committed, answer) = tokio::join!(a.store.commit(&group), meanwhile);
        assert_eq!(committed.unwrap().fates, [Fate::Committed]);
        let ClaimAnswer::Granted(granted) = answer else { panic!("{answer:?}") };
        assert_eq!(granted.position.map(|at| at.base), Some(1), "read behind the commit");
    }
}

/// Nothing reaches the server from a worker that stands still inside a transaction: the server ends it.
#[tokio::test]
async fn s3_a_worker_stopped_inside_a_transaction_blocks_nobody_for_ever() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let config = PostgresConfig { url: Some(proxy.url.clone().into()), ..stage.config() };
    let a = Worker::on(&stage, stage.open_with(config).await, Duration::from_secs(3)).await;
    let b = Worker::new(&stage).await;
    let claim = a.claim().await;
    let gate = Gate::default();
    let group = a.group(&claim, vec![vec![insert_at(&gate)]]);
    let takes_over = async {
        gate.reached().await;
        proxy.freeze();
        for _ in 0..TRIES {
            match b.store.claim(request(&b)).await {
                Ok(ClaimAnswer::Granted(claim)) => return claim,
                Ok(ClaimAnswer::Wanted { .. }) => stage.env.sleep(PAUSE).await,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
        panic!("the transaction of a worker that stands still was never ended");
    };
    let claim = tokio::select! { biased;
        claim = takes_over => claim,
        answer = async { (a.store.commit(&group).await, std::future::pending::<()>().await) } => panic!("{answer:?}"),
    };
    assert!(claim.unclean);
    assert_eq!(claim.position, None, "nothing of it was committed");
    assert_eq!(stage.rows("rows").await, [""; 0]);
}

/// Where its id carries its time, a lone event goes a shorter way.
fn of(stage: &Stage, lone: bool, mut group: CommitGroup) -> CommitGroup {
    if lone {
        group.units[0].events[0].id = uuid_v7(stage, 0).as_str().into();
    }
    group
}

fn request(worker: &Worker) -> keylane::store::ClaimRequest {
    let scope = crate::stage::worker::scope();
    let handover_limit = crate::stage::worker::LONG;
    keylane::store::ClaimRequest { session: worker.session, scope, partition: 0, handover_limit }
}
