//! After a lost answer: the truth is read behind the lost transaction (rule U1).

use std::time::Duration;

use super::Harness;
use super::events::{by_position, dead, finish, insert, insert_at, park, payload, tried, with_payload};
use super::stage::{Group, assert_lost, worker};
use crate::conformance::Gate;
use crate::store::{Admission, Claim, CommitGroup, Fate, SessionId};

/// How long a check listens for an answer that must not come.
const LISTEN: Duration = Duration::from_millis(300);

/// `resolve` waits for the commit that may still be running, then says what is durable.
pub async fn resolve_waits_out_the_lost_commit<H: Harness>(harness: &H) {
    it_waits(harness).await;
    it_tells_the_truth_of_a_dropped_commit(harness).await;
    it_tells_what_is_durable(harness).await;
}

async fn it_waits<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let elsewhere = harness.open().await;
    let claim = a.claim(0).await;
    let gate = Gate::default();
    let group = Group::of(&claim)
        .with(finish(0, "slow"), vec![insert_at::<H>("slow", "x", &gate)])
        .event(finish(1, "plain"))
        .build(a.session);
    let question = async {
        gate.reached().await;
        // On another connection: the worker's own may have been lost with the answer.
        let mut question = Box::pin(elsewhere.resolve(&group));
        let early = harness.env().timeout("resolve", LISTEN, &mut question).await;
        assert!(early.is_err(), "resolve answered while the commit was running: {early:?}");
        gate.open();
        question.await.expect("a live session resolves")
    };
    let (committed, resolved) = tokio::join!(a.store.commit(&group), question);
    let committed = committed.expect("a live session commits");
    assert_eq!(committed.fates, [Fate::Committed, Fate::Committed]);
    assert_eq!(resolved, committed.fates, "what the lost answer would have said");
}

/// A commit that was cancelled in the middle is rolled back, or ends by itself: resolve says which.
async fn it_tells_the_truth_of_a_dropped_commit<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(1).await;
    let gate = Gate::default();
    let group = Group::of(&claim)
        .with(finish(0, "dropped"), vec![insert_at::<H>("dropped", "x", &gate)])
        .build(a.session);
    {
        let mut commit = Box::pin(a.store.commit(&group));
        tokio::select! { biased;
            answer = &mut commit => panic!("the commit went past a closed gate: {answer:?}"),
            () = gate.reached() => {}
        }
    }
    gate.open();
    let fates = a.store.resolve(&group).await.expect("a live session resolves");
    let committed = fates == [Fate::Committed];
    assert!(committed || fates == [Fate::Behind], "durable or not: {fates:?}");
    let seen = a.admit(&claim, &[("dropped", payload("dropped"))]).await == [Admission::Finished];
    assert_eq!(seen, committed, "the ledger row");
    assert_eq!(harness.rows("dropped").await.len(), usize::from(committed), "the effect");
    let position = a.claim(1).await.position;
    assert_eq!(position.is_some_and(|at| at.base == 1), committed, "the position");
}

async fn it_tells_what_is_durable<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(2).await;
    a.commit(Group::of(&claim).event(finish(8, "other"))).await;
    let claim = a.claim(3).await;
    let group = |session: SessionId| every_verdict::<H>(&claim, session);
    let fates = a.store.resolve(&group(a.session)).await.expect("a live session resolves");
    assert_eq!(
        fates[..4],
        [Fate::Behind, Fate::Behind, Fate::Behind, Fate::Behind],
        "nothing is durable yet"
    );
    assert_eq!(fates[4], Fate::Conflict);
    a.store.commit(&group(a.session)).await.expect("a live session commits");
    let fates = a.store.resolve(&group(a.session)).await.expect("a live session resolves");
    assert!(fates[..4].iter().all(Fate::is_committed), "all but the conflict is durable: {fates:?}");
    assert_eq!(fates[4], Fate::Conflict);

    // Another parked the one and finished the other meanwhile: of this group nothing is durable.
    let finished = Group::of(&claim).event(finish(2, "parked")).event(finish(20, "new"));
    let fates = a.store.resolve(&finished.build(a.session)).await.expect("a live session resolves");
    assert_eq!(fates, [Fate::Duplicate, Fate::Behind], "it was parked, not finished");
    let parked = Group::of(&claim).event(park(dead(3, 21, "by-id"))).event(finish(22, "newer"));
    let fates = a.store.resolve(&parked.build(a.session)).await.expect("a live session resolves");
    assert_eq!(fates, [Fate::Duplicate, Fate::Behind], "it was finished, not parked");

    let b = worker(harness, "b").await;
    b.wants(3).await;
    b.claim_in_time(harness, 3, Duration::from_millis(200)).await;
    let mut late = Group::of(&claim).event(finish(9, "late"));
    late.identity = None;
    let late = late.build(a.session);
    let fates = a.store.resolve(&late).await.expect("a live session resolves");
    assert_eq!(fates, [Fate::Excluded], "not durable, and never to be");
    a.store.close_session(a.session).await.expect("a session is closed");
    assert_lost(a.store.resolve(&late).await, "resolve");
}

/// Finished by id and by position, parked, tried, and one id that is taken by another payload.
fn every_verdict<H: Harness>(claim: &Claim, session: SessionId) -> CommitGroup {
    Group::of(claim)
        .with(finish(0, "by-id"), vec![insert::<H>("resolved", "x")])
        .event(by_position(1))
        .event(park(dead(3, 2, "parked")))
        .event(tried(3, "tried", 2))
        .event(with_payload(finish(4, "other"), "another payload"))
        .build(session)
}
