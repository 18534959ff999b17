//! Commit: all or nothing, once, and only by who may (rules C1, C2, L2).

use std::time::Duration;

use super::Harness;
use super::events::{
    attempt_row, by_position, dead, finish, insert, insert_and_fail, park, payload, tried, unpark,
    with_payload,
};
use super::stage::{Group, worker};
use crate::handler::Failure;
use crate::store::{Admission, AttemptRow, Claim, CommitEvent, Fate, Verdict};
use crate::watermark::Watermark;

/// Ledger, position, attempts, parking and effects of an event: all, or none.
pub async fn commit_is_atomic<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    a.commit(Group::of(&claim).event(tried(0, "x", 2))).await;

    let failing = insert_and_fail::<H>("first", Failure::new("no"));
    let effects = vec![insert::<H>("before", "x"), failing];
    let fates = a.fates(Group::of(&claim).with(finish(0, "x"), effects)).await;
    assert!(matches!(fates[..], [Fate::Failed(_)]), "{fates:?}");
    assert_eq!(harness.rows("before").await, [""; 0], "an effect of an event that did not commit");
    assert_eq!(a.admit(&claim, &[("x", payload("x"))]).await, [Admission::Fresh], "its ledger row");
    let again = a.claim(0).await;
    assert_eq!(again.position.as_ref().map(|at| at.base), Some(0), "its position");
    assert_eq!(again.attempts, [attempt_row(0, "x", 2)], "its attempts");

    let effects = vec![insert::<H>("both", "one"), insert::<H>("both", "two")];
    let group = Group::of(&again).with(finish(0, "x"), effects).event(park(dead(0, 1, "y")));
    assert_eq!(a.fates(group).await, [Fate::Committed, Fate::Committed]);
    assert_eq!(
        harness.rows("both").await,
        ["one", "two"],
        "effects in the order in which they were recorded"
    );
    let known = a.admit(&again, &[("x", payload("x")), ("y", payload("y"))]).await;
    assert_eq!(known, [Admission::Finished, Admission::Parked]);
    let last = a.claim(0).await;
    assert_eq!(last.position.map(|at| at.base), Some(2));
    assert_eq!(last.attempts, [], "attempts go with the finish");
}

/// By id, by position, in one group and from two workers at once: the effect is there once.
pub async fn commit_once<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    let other = b.claim(1).await;
    let effect = |text: &str| vec![insert::<H>("once", text)];
    assert_eq!(a.fates(Group::of(&claim).with(finish(0, "x"), effect("x"))).await, [Fate::Committed]);
    assert_eq!(b.fates(Group::of(&other).with(finish(0, "x"), effect("again"))).await, [Fate::Duplicate]);
    let conflict = with_payload(finish(1, "x"), "another payload");
    assert_eq!(a.fates(Group::of(&claim).with(conflict, effect("conflict"))).await, [Fate::Conflict]);
    assert_eq!(a.fates(Group::of(&claim).event(park(dead(0, 2, "y")))).await, [Fate::Committed]);
    assert_eq!(b.fates(Group::of(&other).with(finish(1, "y"), effect("parked"))).await, [Fate::Duplicate]);
    assert_eq!(a.fates(Group::of(&claim).event(park(dead(0, 2, "y")))).await, [Fate::Duplicate]);
    let twice = Group::of(&claim).with(finish(3, "z"), effect("z")).with(finish(4, "z"), effect("z again"));
    assert_eq!(a.fates(twice).await, [Fate::Committed, Fate::Duplicate]);
    assert_eq!(harness.rows("once").await, ["x", "z"]);

    at_once(harness, (&a, &claim), (&b, &other)).await;
    by_its_position(harness).await;
}

async fn at_once<H: Harness>(
    harness: &H,
    (a, claim): (&super::stage::Worker, &Claim),
    (b, other): (&super::stage::Worker, &Claim),
) {
    for round in 0..10 {
        let id = format!("race-{round}");
        let by_a = Group::of(claim).with(finish(10 + round, &id), vec![insert::<H>("race", &id)]);
        let by_b = Group::of(other).with(finish(10 + round, &id), vec![insert::<H>("race", &id)]);
        let (first, second) = tokio::join!(a.fates(by_a), b.fates(by_b));
        let mut fates = [first[0].to_string(), second[0].to_string()];
        fates.sort();
        assert_eq!(fates, ["committed", "duplicate"], "one of two commits of {id}");
    }
    assert_eq!(harness.rows("race").await.len(), 10);
}

/// Without ids the position is the ledger (rule L2).
async fn by_its_position<H: Harness>(harness: &H) {
    let c = worker(harness, "c").await;
    let claim = c.claim(2).await;
    let mut watermark = Watermark::new(0, 64);
    for offset in 0..4 {
        let _ = watermark.deliver(offset);
    }
    let effect = |text: &str| vec![insert::<H>("position", text)];
    let group = || Group::default().with_watermark(&claim, watermark.clone());
    let fates = c.fates(group().with(by_position(0), effect("0")).with(by_position(2), effect("2"))).await;
    assert_eq!(fates, [Fate::Committed, Fate::Committed]);
    // As after an answer that was lost: the same offsets again, below the base and above it.
    let fates = c.fates(group().with(by_position(0), effect("0")).with(by_position(2), effect("2"))).await;
    assert_eq!(fates, [Fate::Duplicate, Fate::Duplicate]);
    let _ = watermark.finish(0);
    let _ = watermark.finish(2);
    let group = Group::default().with_watermark(&claim, watermark);
    assert_eq!(c.fates(group.with(by_position(1), effect("1"))).await, [Fate::Committed]);
    assert_eq!(harness.rows("position").await, ["0", "2", "1"]);
    assert_eq!(c.claim(2).await.position.map(|at| at.base), Some(3));
}

/// Without a live row of the session: `SessionLost`, and nothing is written.
pub async fn commit_checks_session<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    a.store.close_session(a.session).await.expect("a session is closed");
    a.store.close_session(a.session).await.expect("closing again changes nothing");
    a.is_lost(Group::of(&claim).with(finish(0, "x"), vec![insert::<H>("lost", "x")])).await;
    a.is_lost(Group::of(&claim).event(park(dead(0, 1, "y")))).await;
    a.is_lost(Group::of(&claim)).await;
    let heir = b.claim(0).await;
    assert_eq!(heir.position, None);
    let known = b.admit(&heir, &[("x", payload("x")), ("y", payload("y"))]).await;
    assert_eq!(known, [Admission::Fresh, Admission::Fresh]);
    assert_eq!(harness.rows("lost").await, [""; 0]);
}

/// Events of a lost claim are left out; the others commit, and each partition's position is its own.
pub async fn commit_leaves_out_lost_claims<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let kept = a.claim(0).await;
    let lost = a.claim(1).await;
    let given = a.claim(2).await;
    b.wants(1).await;
    let taken = b.claim_in_time(harness, 1, Duration::from_millis(200)).await;
    a.release(&given, true).await;

    let effect = |name: &'static str| vec![insert::<H>(name, "by a")];
    let group = Group::of(&kept)
        .with(finish(0, "kept"), effect("kept"))
        .and(&lost)
        .with(finish(0, "lost"), effect("lost"))
        .and(&given)
        .with(finish(0, "given"), effect("given"));
    assert_eq!(a.fates(group).await, [Fate::Committed, Fate::Excluded, Fate::Excluded]);
    let positions = a.commit(Group::of(&kept).and(&lost).and(&given)).await;
    assert_eq!(positions.written, [0], "whose position was written, without an event that says so");
    assert_eq!(harness.rows("kept").await, ["by a"]);
    assert_eq!(harness.rows("lost").await, [""; 0], "an effect of a lost claim");
    assert_eq!(harness.rows("given").await, [""; 0], "an effect of a claim given back");
    let known = b.admit(&taken, &["kept", "lost", "given"].map(|id| (id, payload(id)))).await;
    assert_eq!(known, [Admission::Finished, Admission::Fresh, Admission::Fresh]);
    for partition in [1, 2] {
        assert_eq!(b.claim(partition).await.position, None, "partition {partition} has nothing finished");
    }
    // An older epoch of one's own claim is as lost as another's.
    let newer = a.claim(0).await;
    assert_eq!(a.fates(Group::of(&kept).event(finish(1, "old"))).await, [Fate::Excluded]);
    assert_eq!(a.fates(Group::of(&newer).event(finish(1, "new"))).await, [Fate::Committed]);
}

/// The stored base and sparse set cover events that are finished, and no other.
pub async fn position_holds_what_survived<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    a.commit(Group::of(&claim).event(finish(90, "known"))).await;
    a.release(&claim, true).await;
    let claim = a.claim(1).await;
    let group = Group::of(&claim)
        .event(finish(0, "zero"))
        .with(finish(1, "one"), vec![insert_and_fail::<H>("one", Failure::new("no"))])
        .event(finish(2, "two"))
        .event(finish(3, "known"))
        .event(tried(4, "four", 1))
        .event(park(dead(1, 5, "five")));
    let fates = a.fates(group).await;
    assert!(matches!(fates[1], Fate::Failed(_)), "{fates:?}");
    assert_eq!(fates[3], Fate::Duplicate);
    let position = a.claim(1).await.position.expect("a position was written");
    assert_eq!(position.base, 1, "the failed event is not passed");
    let watermark = Watermark::restore(position.base, &position.sparse, 64).expect("it can be read");
    let finished = [0, 1, 2, 3, 4, 5].map(|offset| watermark.is_finished(offset));
    assert_eq!(finished, [true, false, true, true, false, true], "offsets 0 to 5; a duplicate is finished");
}

/// A try and a mark say nothing of the ledger: the event's end finds out who was first.
pub async fn notes_ask_no_ledger<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let (claim, other) = (a.claim(0).await, b.claim(1).await);
    b.commit(Group::of(&other).event(finish(0, "x")).event(park(dead(1, 1, "y")))).await;
    let mark = CommitEvent { verdict: Verdict::Started(attempt_row(0, "x", 0)), ..finish(0, "x") };
    let group = || Group::of(&claim).event(tried(1, "y", 1));
    assert_eq!(a.fates(group()).await, [Fate::Committed]);
    assert_eq!(a.fates(Group::of(&claim).event(mark)).await, [Fate::Committed]);
    let resolved = a.store.resolve(&group().event(tried(2, "z", 1)).build(a.session)).await;
    assert_eq!(resolved.expect("a truth"), [Fate::Committed, Fate::Behind]);
    let ends = Group::of(&claim).event(finish(0, "x")).event(finish(1, "y"));
    assert_eq!(a.fates(ends).await, [Fate::Duplicate, Fate::Duplicate]);
    assert_eq!(a.claim(0).await.position.map(|at| at.base), Some(2), "and nothing is left open");
}

/// Recorded attempts come back with the next claim, and go with the finish.
pub async fn attempts_are_kept<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    let started = AttemptRow { started_by: Some(a.session), crashes: 2, ..attempt_row(1, "y", 0) };
    let mark = CommitEvent { verdict: Verdict::Started(started.clone()), ..finish(1, "y") };
    let group = Group::of(&claim).event(tried(0, "x", 1)).event(mark).event(tried(2, "z", 5));
    assert!(a.fates(group).await.iter().all(Fate::is_committed));
    assert!(a.fates(Group::of(&claim).event(tried(0, "x", 2))).await[0].is_committed());
    a.release(&claim, false).await;

    let heir = b.claim(0).await;
    assert_eq!(
        heir.attempts,
        [attempt_row(0, "x", 2), started, attempt_row(2, "z", 5)],
        "by offset, newest word"
    );
    assert_eq!(heir.position.as_ref().map(|at| at.base), Some(0), "a try leaves its offset open");
    let known = b.admit(&heir, &["x", "y", "z"].map(|id| (id, payload(id)))).await;
    assert_eq!(known, [const { Admission::Fresh }; 3], "a try is no finish");
    let group = Group::of(&heir).event(finish(0, "x")).event(tried(1, "y", 1)).event(park(dead(0, 2, "z")));
    assert!(b.fates(group).await.iter().all(Fate::is_committed));
    let claim = b.claim(0).await;
    assert_eq!(claim.attempts, [attempt_row(1, "y", 1)], "finish and parking end the attempts");

    // A duplicate has no word on them; what is below the base has none, but a released dead letter's.
    let letter = dead(0, 2, "z").parked_id();
    b.store.request_release(letter.clone()).await.expect("a request is answered");
    b.commit(Group::of(&claim).event(unpark(tried(2, "z", 9), letter))).await;
    let duplicate = CommitEvent { id: "x".into(), ledger: Some(payload("x")), ..finish(1, "x") };
    assert_eq!(b.fates(Group::of(&claim).event(duplicate)).await, [Fate::Duplicate]);
    let last = b.claim(0).await;
    assert_eq!(last.position.map(|at| at.base), Some(3));
    assert_eq!(last.attempts, [attempt_row(2, "z", 9)]);
}
