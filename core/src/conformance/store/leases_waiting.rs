//! Leases: who waits, for how long, and who is told (rules S7 and S9).

use std::time::Duration;

use super::Harness;
use super::events::{dead, finish, insert, keyed, park};
use super::stage::{Group, LONG, PATIENCE, Worker, billing, scope, worker, worker_for};
use super::stage_leases::{lease_key, leased};
use crate::conformance::patience;
use crate::store::{Admission, Fate, LeaseAnswer, LeaseRef};

/// What is over is told, and nothing is written but that this session waits.
pub async fn waiting_changes_nothing<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("k").await;
    let parked = park(dead(0, 1, "parked"));
    a.commit(Group::under(&lease).event(keyed(0, "finished", "k")).event(parked)).await;
    let asked = || ["finished", "new", "parked"].map(|id| leased(id, Some(0))).to_vec();
    for _ in 0..2 {
        let admitted = b.admit_with(&["k"], asked()).await;
        assert_eq!(admitted.leases, [LeaseAnswer::Taken]);
        assert_eq!(admitted.events, [Admission::Finished, Admission::Fresh, Admission::Parked]);
        assert_eq!(b.leases().await, []);
        assert_eq!(a.leases().await, std::slice::from_ref(&lease));
        let late = Group::ending(&lease).with(finish(9, "b"), vec![insert::<H>("rows", "b")]);
        let committed = b.commit(late).await;
        assert_eq!((committed.fates, committed.written), (vec![Fate::Excluded], vec![]));
    }
    assert_eq!(a.renewed(&[]).await.contended, std::slice::from_ref(&lease), "that it waits, once");
    assert_eq!(a.fates(Group::under(&lease).event(keyed(2, "new", "k"))).await, [Fate::Committed]);
    assert_eq!(b.admit_with(&["k"], asked()).await.events[1], Admission::Finished);
    assert_eq!(harness.rows("rows").await, [""; 0]);
}

/// Told until it asks: of a lease that was given back, whose owner died, whose owner was closed.
pub async fn freed_wakes_who_waits<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("k").await;
    b.waits_for("k").await;
    // A call that is dropped loses nothing, and what nobody gave back is not told.
    for _ in 0..2 {
        let early =
            harness.env().timeout("freed", Duration::from_millis(100), b.store.freed(b.session)).await;
        assert!(early.is_err() || matches!(early, Ok(Ok(told)) if told.is_empty()), "told of what is taken");
    }
    let (told, _) = tokio::join!(b.is_told(harness), a.commit(Group::ending(&lease)));
    assert_eq!(told, [lease_key(billing(), "k")]);
    assert_eq!(b.is_told(harness).await, told, "until it asks");
    b.lease("k").await;
    is_told_nothing(&b).await;

    let dying = worker_for(harness, "dying", harness.lifetime()).await;
    dying.lease("l").await;
    b.waits_for("l").await;
    assert_eq!(b.is_told(harness).await, [lease_key(billing(), "l")], "its owner died");
    assert!(b.lease_after("l").await.1, "and gave nothing back");

    let closing = worker(harness, "closing").await;
    let answer = closing.ask_lease(scope("seating"), "m").await;
    assert!(matches!(answer, LeaseAnswer::Granted { .. }), "{answer:?}");
    let c = worker(harness, "c").await;
    for waiting in [&b, &c] {
        assert_eq!(waiting.ask_lease(scope("seating"), "m").await, LeaseAnswer::Taken);
    }
    closing.close().await;
    for waiting in [&b, &c] {
        assert_eq!(
            waiting.is_told(harness).await,
            [lease_key(scope("seating"), "m")],
            "its owner was closed"
        );
    }
    is_told_nothing(&a).await;
    late_renewal_waits_on(harness, &c).await;
}

/// A session past its expiry that nobody took over lives on, and waits on, though the lease was given back meanwhile.
async fn late_renewal_waits_on<H: Harness>(harness: &H, other: &Worker) {
    let a = worker(harness, "a").await;
    let late = worker_for(harness, "late", harness.lifetime()).await;
    let lease = a.lease("n").await;
    late.waits_for("n").await;
    late.lease("o").await;
    late.renewed(&[]).await;
    other.waits_for("o").await;
    let key = lease_key(billing(), "o");
    patience::until(&harness.env(), "late is past its expiry", PATIENCE, async || {
        let told = other.store.freed(other.session).await.expect("a worker is told of leases");
        told.contains(&key).then_some(())
    })
    .await;
    a.commit(Group::ending(&lease)).await;
    late.renewed(&[]).await;
    assert_eq!(late.is_told(harness).await, [lease_key(billing(), "n")]);
    late.lease("n").await;
}

async fn is_told_nothing(worker: &Worker) {
    assert_eq!(worker.store.freed(worker.session).await.expect("an answer"), [], "it waits for nothing");
}

/// In the order of waiting; the owner before, who asks first, does not get it. Who does not come in time loses
/// its turn, not its place among those who wait.
pub async fn freed_lease_is_kept_for_who_waited<H: Harness>(harness: &H) {
    let [a, b, c] = [worker(harness, "a").await, worker(harness, "b").await, worker(harness, "c").await];
    let lease = a.lease("k").await;
    b.waits_for("k").await;
    c.waits_for("k").await;
    b.waits_for("k").await;
    a.commit(Group::ending(&lease)).await;
    a.waits_for("k").await;
    c.waits_for("k").await;
    let lease = b.lease("k").await;
    assert_eq!(b.renewed(&[]).await.contended, std::slice::from_ref(&lease), "two more wait");
    b.commit(Group::ending(&lease)).await;
    a.waits_for("k").await;
    let lease = c.lease("k").await;
    c.commit(Group::ending(&lease)).await;
    let lease = a.lease("k").await;
    a.commit(Group::ending(&lease)).await;
    b.lease("k").await;

    // The one whose turn it is lives, and does not come.
    let late = worker_for(harness, "late", harness.lifetime()).await;
    let lease = a.lease("l").await;
    for waiting in [&late, &b, &c] {
        waiting.waits_for("l").await;
    }
    late.renewed(&[]).await;
    a.commit(Group::ending(&lease)).await;
    let taken = patience::until(&harness.env(), "the turn passes on", PATIENCE, async || {
        late.renewed(&[]).await;
        match b.ask_lease(billing(), "l").await {
            LeaseAnswer::Granted { token, marks: 0 } => Some(token),
            LeaseAnswer::Granted { .. } => panic!("it was given back"),
            LeaseAnswer::Taken => None,
        }
    })
    .await;
    let lease = LeaseRef { lease: lease_key(billing(), "l"), token: taken };
    b.commit(Group::ending(&lease)).await;
    let lease = c.lease("l").await;
    late.renewed(&[]).await;
    c.commit(Group::ending(&lease)).await;
    assert_eq!(late.is_told(harness).await, [lease_key(billing(), "l")], "it waits still");
    late.lease("l").await;
}

/// Nothing is kept for a session that was closed or taken over, and nobody is told that it waits.
pub async fn waiting_ends_with_the_session<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let c = worker(harness, "c").await;
    let (one, two, three) = (a.lease("1").await, a.lease("2").await, a.lease("3").await);
    let closing = worker(harness, "closing").await;
    closing.waits_for("1").await;
    closing.waits_for("2").await;
    a.commit(Group::ending(&one)).await;
    c.waits_for("1").await;
    assert_eq!(a.renewed(&[]).await.contended, std::slice::from_ref(&two));
    closing.close().await;
    c.lease("1").await;
    assert_eq!(a.renewed(&[]).await.contended, [], "who waited is gone");
    a.commit(Group::ending(&two)).await;
    c.lease("2").await;

    let dying = worker_for(harness, "dying", harness.lifetime()).await;
    dying.claim(0).await;
    dying.waits_for("3").await;
    c.claim_in_time(harness, 0, LONG).await;
    let committed = a.commit(Group::under(&three).event(keyed(0, "x", "3"))).await;
    assert_eq!(committed.contended, [], "who waited was taken over");
    a.commit(Group::ending(&three)).await;
    c.lease("3").await;

    // One that is dead, though nobody took it over, does not keep the others waiting.
    let four = a.lease("4").await;
    let dying = worker_for(harness, "dying", harness.lifetime()).await;
    dying.lease("5").await;
    dying.waits_for("4").await;
    dying.renewed(&[]).await;
    c.waits_for("5").await;
    c.waits_for("4").await;
    assert_eq!(c.is_told(harness).await, [lease_key(billing(), "5")], "it died");
    a.commit(Group::ending(&four)).await;
    c.lease("4").await;
}

/// Renewals and commits of the owner report leases that others wait for, and those alone.
pub async fn contended_leases_are_told<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let (one, two, three) = (a.lease("1").await, a.lease("2").await, a.lease("3").await);
    assert_eq!(a.renewed(&[]).await.contended, [], "nobody asked yet");
    b.admit_with(&["2", "3"], Vec::new()).await;
    for _ in 0..2 {
        let mut told = a.renewed(&[]).await.contended;
        told.sort();
        assert_eq!(told, [two.clone(), three.clone()]);
    }
    assert_eq!(b.renewed(&[]).await.contended, [], "only the owner is told");
    let group = Group::under(&one).event(keyed(0, "x", "1")).and_lease(&two, false);
    let told = a.commit(group).await.contended;
    assert!(told.contains(&two) && !told.contains(&one), "{told:?}");
    let told = a.commit(Group::ending(&two)).await.contended;
    assert!(!told.contains(&two), "it is its own no more: {told:?}");
    assert_eq!(a.renewed(&[]).await.contended, [three]);
    b.lease("2").await;
    assert_eq!(b.renewed(&[]).await.contended, [], "nobody waits for it of its new owner");
}
