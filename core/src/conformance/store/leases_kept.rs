//! Leases: what stays of a key's events between two owners, and for how long (rules P3 and T1).

use std::time::Duration;

use super::Harness;
use super::events::{attempt_row, dead, finish, insert_and_fail, keyed, park, tried, unpark};
use super::stage::{Group, PATIENCE, billing, scope, worker};
use super::stage_leases::{lease_key, leased, unledgered};
use crate::conformance::patience;
use crate::handler::Failure;
use crate::store::{Admission, AdmitEvent, AttemptRow, CommitEvent, Fate, LeaseAnswer, LeaseRef, Verdict};

fn has(row: AttemptRow) -> Admission {
    Admission::Tried(Box::new(row))
}

/// Of a leased event, by its id, and gone with its end.
pub async fn tries_come_with_admission<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("k").await;
    let started = AttemptRow { started_by: Some(a.session), crashes: 2, ..attempt_row(7, "y", 1) };
    let mark = CommitEvent { verdict: Verdict::Started(started.clone()), ..keyed(7, "y", "k") };
    let first = Group::under(&lease).event(tried(3, "x", 1)).event(mark);
    assert!(a.fates(first).await.iter().all(Fate::is_committed));
    assert!(a.fates(Group::under(&lease).event(tried(4, "x", 2))).await[0].is_committed());
    let failing = vec![insert_and_fail::<H>("rows", Failure::new("no"))];
    a.commit(Group::under(&lease).with(finish(4, "x"), failing)).await;

    let newest = has(attempt_row(4, "x", 2));
    let asked = || vec![leased("new", None), leased("y", None), leased("x", None)];
    assert_eq!(a.knows(asked()).await, [Admission::Fresh, has(started.clone()), newest.clone()]);
    let with_claim = AdmitEvent { leased: false, ..leased("x", None) };
    assert_eq!(a.knows(vec![with_claim]).await, [Admission::Fresh], "with a claim they came with the grant");
    let elsewhere = a.try_admit(scope("seating"), &["k"], asked()).await.expect("a live session admits");
    assert_eq!(elsewhere.events, [const { Admission::Fresh }; 3], "another subscription's");
    a.close().await;
    let asked = ["y", "x"].map(|id| leased(id, Some(0))).to_vec();
    let admitted = b.admit_with(&["k"], asked).await;
    assert_eq!(admitted.events, [has(started), newest]);
    let LeaseAnswer::Granted { token, marks: u32::MAX } = admitted.leases[0] else { panic!("{admitted:?}") };
    let lease = LeaseRef { token, ..lease };

    // Whether a row is left shows where no ledger is asked.
    let ends = Group::under(&lease).event(keyed(4, "x", "k")).event(park(dead(0, 7, "y")));
    assert!(b.fates(ends).await.iter().all(Fate::is_committed));
    let left = || vec![unledgered("x"), unledgered("y")];
    assert_eq!(b.knows(left()).await, [Admission::Fresh, Admission::Parked]);
    let letter = dead(0, 7, "y").parked_id();
    let run = |event: CommitEvent| Group::under(&lease).event(unpark(event, letter.clone()));
    assert_eq!(b.fates(run(tried(7, "y", 9))).await, [Fate::Committed]);
    assert_eq!(b.fates(run(keyed(7, "y", "k"))).await, [Fate::Committed]);
    assert_eq!(b.knows(left()).await, [const { Admission::Fresh }; 2]);
    let again = || Group::under(&lease).event(tried(4, "x", 1));
    assert_eq!(b.fates(again()).await, [Fate::Committed], "a try asks no ledger");
    assert_eq!(b.knows(left()).await, [has(attempt_row(4, "x", 1)), Admission::Fresh]);
    assert_eq!(b.fates(Group::under(&lease).event(keyed(4, "x", "k"))).await, [Fate::Duplicate]);
    assert_eq!(b.knows(left()).await, [const { Admission::Fresh }; 2], "a duplicate's end is one");
}

/// With those that are left, never with more than came with the grant; whether somebody waits for it, did and is gone, or
/// nobody does. It is clean when none is left.
pub async fn marks_of_a_lease_pass_on<H: Harness>(harness: &H) {
    let [a, b, c] = [worker(harness, "a").await, worker(harness, "b").await, worker(harness, "c").await];
    let dying = worker(harness, "dying").await;
    dying.admit_with(&["k", "l"], Vec::new()).await;
    dying.close().await;
    // Nobody waits. One that knows nothing of the grant says that all are left, one that ended events says how many.
    let (lease, marks) = a.lease_with_marks("k").await;
    assert_eq!(marks, u32::MAX, "its owner died");
    a.commit(Group::ending_with(&lease, u32::MAX)).await;
    for (left, told) in [(7, u32::MAX), (9, 7), (u32::MAX, 7), (3, 7)] {
        let (lease, marks) = b.lease_with_marks("k").await;
        assert_eq!(marks, told);
        let ends = Group::ending_with(&lease, left).event(keyed(left.into(), &format!("x{left}"), "k"));
        assert_eq!(b.commit(ends).await.written, [0]);
    }
    a.store.sweep("billing", Duration::from_secs(3600)).await.expect("a sweep");
    // Somebody waits: who was first, who comes after it, and one that is gone before its turn.
    let (lease, marks) = a.lease_with_marks("k").await;
    assert_eq!(marks, 3, "none of them were made in between");
    b.waits_for("k").await;
    a.commit(Group::ending_with(&lease, 2)).await;
    a.waits_for("k").await;
    let (lease, marks) = b.lease_with_marks("k").await;
    assert_eq!(marks, 2);
    b.commit(Group::ending_with(&lease, u32::MAX)).await;
    let leaving = worker(harness, "leaving").await;
    leaving.waits_for("k").await;
    a.close().await;
    leaving.close().await;
    let (lease, marks) = b.lease_with_marks("k").await;
    assert_eq!(marks, 2, "whom it was kept for is gone");
    let group = Group::ending_with(&lease, 1).event(tried(0, "y", 1));
    assert_eq!(b.commit(group).await.written, [0; 0], "it did not end");
    assert_eq!(b.lease_with_marks("k").await.1, u32::MAX, "one's own, not given back");
    b.close().await;

    // Of one that was dead and is clean by now nothing is left, whatever is said.
    let (lease, _) = c.lease_after("l").await;
    c.commit(Group::ending(&lease)).await;
    let lease = c.lease("l").await;
    c.commit(Group::ending_with(&lease, u32::MAX)).await;
    let lease = c.lease("l").await;
    let other = c.lease("m").await;
    c.commit(Group::ending_with(&lease, 5).and_lease(&other, true)).await;
    c.lease("l").await;
    c.lease("m").await;
}

/// To every session that asks for their subscription in its renewal, until it is done (rule P3).
pub async fn released_letters_reach_who_asks<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("x").await;
    let (letter, other) = (dead(0, 17, "x"), dead(0, 18, "y"));
    let id = letter.parked_id();
    a.commit(Group::ending(&lease).event(park(letter.clone())).event(park(other))).await;
    let billing = [billing()];
    assert_eq!(a.renewed(&billing).await.released, [], "nobody asked for it yet");
    b.store.request_release(id.clone()).await.expect("a request is answered");
    for _ in 0..2 {
        for asking in [&a, &b] {
            let told = asking.renewed(&[scope("seating"), billing[0].clone()]).await.released;
            assert_eq!(told, std::slice::from_ref(&letter), "{}", asking.name);
        }
    }
    assert_eq!(a.renewed(&[]).await.released, [], "it did not ask");
    assert_eq!(a.renewed(&[scope("seating")]).await.released, [], "another subscription's");

    let lease = b.lease("x").await;
    let again = unpark(tried(17, "x", 9), id.clone());
    assert_eq!(b.fates(Group::under(&lease).event(again)).await, [Fate::Committed]);
    assert_eq!(a.renewed(&billing).await.released, [letter], "a try that failed keeps the request");
    let done = unpark(finish(17, "x"), id);
    assert_eq!(b.fates(Group::ending(&lease).event(done)).await, [Fate::Committed]);
    for asking in [&a, &b] {
        assert_eq!(asking.renewed(&billing).await.released, [], "done");
    }
}

/// Leases of sessions that are gone, and tries, for longer than the keep time; younger ones stay.
pub async fn sweep_forgets_what_nobody_came_back_to<H: Harness>(harness: &H) {
    let keep = Duration::from_secs(2);
    let env = harness.env();
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let held = b.lease("held").await;
    let gone = worker(harness, "gone").await;
    gone.lease("rest").await;
    gone.close().await;
    let (rest, _) = b.lease_after("rest").await;
    b.commit(Group::ending_with(&rest, 5)).await;
    let old = a.lease("old").await;
    a.commit(Group::under(&old).event(tried(0, "x", 1))).await;
    a.close().await;
    a.store.sweep("billing", Duration::from_secs(3600)).await.expect("a sweep");
    assert_eq!(b.knows(vec![leased("x", None)]).await, [has(attempt_row(0, "x", 1))], "it is young yet");
    patience::until(&env, "old tries are forgotten", PATIENCE, async || {
        // Tried again and again: of these, none is too old. One that is left behind each time is young.
        let begun = env.now();
        let passing = worker(harness, "passing").await;
        b.commit(Group::under(&held).event(tried(1, "y", 2))).await;
        passing.lease_after("young").await;
        passing.close().await;
        b.store.sweep("billing", keep).await.expect("a sweep");
        b.store.sweep("seating", Duration::ZERO).await.expect("a sweep of another subscription");
        let young = env.now().since(begun) < keep;
        assert!(
            !young || b.knows(vec![leased("y", None)]).await == [has(attempt_row(1, "y", 2))],
            "younger than the keep time"
        );
        let (lease, unclean) = b.lease_after("young").await;
        assert!(unclean || !young, "younger than the keep time");
        b.commit(Group::ending(&lease)).await;
        (b.knows(vec![leased("x", None)]).await == [Admission::Fresh]).then_some(())
    })
    .await;
    let (_, unclean) = b.lease_after("old").await;
    assert!(!unclean, "older than the tries that are forgotten");
    b.lease("rest").await;
    assert_eq!(
        b.fates(Group::under(&held).event(keyed(1, "y", "held"))).await,
        [Fate::Committed],
        "it is held"
    );
}

/// `sweep_forgets_only_the_old`, of a subscription without claims: no position tells when it was written last.
pub(super) async fn sweep_of_leased<H: Harness>(harness: &H) {
    let keep = Duration::from_secs(2);
    let env = harness.env();
    let a = worker(harness, "a").await;
    let LeaseAnswer::Granted { token, .. } = a.ask_lease(scope("leased"), "k").await else {
        panic!("the lease is free")
    };
    let lease = LeaseRef { lease: lease_key(scope("leased"), "k"), token };
    let mut finished = Vec::new();
    patience::until(&env, "an old ledger row is dropped", PATIENCE, async || {
        let id = format!("leased-{}", finished.len());
        finished.push((env.now(), id.clone()));
        assert_eq!(a.fates(Group::under(&lease).event(finish(0, &id))).await, [Fate::Committed]);
        a.store.sweep("leased", keep).await.expect("a sweep");
        let swept = env.now();
        let asked: Vec<_> = finished.iter().map(|(_, id)| leased(id, None)).collect();
        let known = a.try_admit(scope("leased"), &[], asked).await.expect("a live session admits").events;
        for ((begun, id), known) in finished.iter().zip(&known) {
            let young = swept.since(*begun) < keep;
            assert!(!young || *known == Admission::Finished, "{id} is younger than the keep time");
        }
        (known[0] == Admission::Fresh).then_some(())
    })
    .await;
}
