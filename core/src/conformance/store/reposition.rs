//! Repositioning: an operator's act that opens a new generation of a partition (rule L2).

use super::Harness;
use super::events::{
    attempt_row, by_position, dead, finish, insert, park, payload, tried, unpark, with_payload,
};
use super::stage::{Group, LONG, Worker, billing, scope, worker, worker_for};
use crate::event::PayloadHash;
use crate::store::{
    Admission, AttemptRow, Claim, CommitEvent, DeadQuery, Fate, Parked, ReadFrom, ReleaseAnswer, Reposition,
    Scope, Verdict, Witness,
};
use crate::text::Text;

async fn reposition(by: &Worker, scope: Scope, partition: Option<u32>, to: ReadFrom) -> Vec<u32> {
    by.store.reposition(Reposition { scope, partition, to }).await.expect("an order is taken")
}

/// Of the named partition alone, or of all of the scope; until a position was written.
pub async fn reposition_forgets_the_position<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let operator = worker(harness, "operator").await;
    let (zero, one) = (a.claim(0).await, a.claim(1).await);
    assert_eq!((zero.read_from, zero.generation), (None, 0), "nobody ordered anything");
    for claim in [&zero, &one] {
        let mut group = Group::of(claim).event(finish(0, "0")).event(tried(1, "1", 3)).event(finish(2, "2"));
        group.identity = Some(Text::from("topic-id"));
        group.witness = Some(Witness { offset: 0, time: None, hash: 7 });
        a.commit(group).await;
        a.release(claim, true).await;
    }
    let of_nobody = reposition(&operator, scope("seating"), None, ReadFrom::Earliest).await;
    assert_eq!(of_nobody, [0; 0], "nobody ever read that scope");
    assert_eq!(reposition(&operator, billing(), Some(9), ReadFrom::Earliest).await, [0; 0]);
    assert_eq!(reposition(&operator, billing(), Some(0), ReadFrom::Offset(u64::MAX)).await, [0]);

    let anew = a.claim(0).await;
    assert_eq!((anew.position, anew.read_from), (None, Some(ReadFrom::Offset(u64::MAX))));
    assert_eq!((&anew.attempts[..], anew.generation), (&[][..], 1), "attempts are of the old generation");
    assert!(anew.claim.epoch > zero.claim.epoch && !anew.unclean, "nobody had it in between");
    let other = a.claim(1).await;
    assert_eq!(other.position.as_ref().map(|at| at.base), Some(1), "another partition is as it was");
    assert_eq!((other.attempts.len(), other.read_from, other.generation), (1, None, 0));
    a.release(&other, true).await;

    assert_eq!(reposition(&operator, billing(), None, ReadFrom::Latest).await, [0, 1], "all of the scope");
    for partition in [0, 1] {
        let claim = a.claim(partition).await;
        assert_eq!((&claim.position, claim.read_from), (&None, Some(ReadFrom::Latest)));
        let again = a.claim(partition).await;
        assert_eq!(again.read_from, Some(ReadFrom::Latest), "until a position was written");
        a.commit(Group::of(&again).event(finish(0, "begun"))).await;
        let begun = a.claim(partition).await;
        assert_eq!(begun.read_from, None, "the position says where to read from");
        assert!(
            begun.position.is_some_and(|at| at.base == 1 && at.witness.is_none() && at.identity.is_none())
        );
    }
}

/// Its owner can commit neither events nor the position any more; its other partitions go on.
pub async fn reposition_excludes_what_is_in_flight<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let operator = worker(harness, "operator").await;
    let (zero, one) = (a.claim(0).await, a.claim(1).await);
    reposition(&operator, billing(), Some(0), ReadFrom::Earliest).await;
    let group = Group::of(&zero)
        .with(finish(0, "late"), vec![insert::<H>("moved", "late")])
        .event(tried(1, "late too", 1))
        .and(&one)
        .with(finish(0, "fine"), vec![insert::<H>("moved", "fine")]);
    assert_eq!(a.fates(group).await, [Fate::Excluded, Fate::Excluded, Fate::Committed]);
    assert_eq!(harness.rows("moved").await, ["fine"]);
    // A position alone.
    a.commit(Group::of(&zero)).await;
    let anew = a.claim(0).await;
    assert_eq!((anew.position, anew.attempts.len()), (None, 0));
    assert!(anew.unclean, "its owner had it: what it had begun may be among what comes (T1)");
    assert_eq!(a.admit(&one, &[("late", payload("late"))]).await, [Admission::Fresh]);
}

/// Renewals report it under its new epoch; nobody else gets it before the owner let go.
pub async fn reposition_reaches_the_owner<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let (zero, one) = (a.claim(0).await, a.claim(1).await);
    b.claim(2).await;
    assert_eq!(a.store.renew(a.session, &[]).await.expect("a renewal").repositioned, []);
    reposition(&b, billing(), Some(0), ReadFrom::Earliest).await;
    for _ in 0..2 {
        let told = a.store.renew(a.session, &[]).await.expect("a renewal").repositioned;
        assert_eq!(told.len(), 1, "until it claims again: {told:?}");
        assert_eq!((&told[0].scope, told[0].partition), (&billing(), 0));
        assert!(told[0].epoch > zero.claim.epoch);
    }
    assert_eq!(b.store.renew(b.session, &[]).await.expect("a renewal").repositioned, [], "only the owner");
    b.wants(0).await;
    let anew = a.claim(0).await;
    assert_eq!(a.store.renew(a.session, &[]).await.expect("a renewal").repositioned, [], "it knows");

    // A release by the name that the owner knows frees it, and one by an older name does not.
    reposition(&b, billing(), None, ReadFrom::Earliest).await;
    a.release(&anew, true).await;
    let of_b = b.claim(0).await;
    a.release(&anew, true).await;
    a.wants(0).await;
    let later = a.claim(1).await;
    a.release(&one, true).await;
    b.wants(1).await;
    assert!(later.claim.epoch > one.claim.epoch && of_b.claim.epoch > anew.claim.epoch);

    // What nobody has is told to nobody, and the next owner claims it as any other.
    a.release(&later, true).await;
    reposition(&b, billing(), Some(1), ReadFrom::Earliest).await;
    let dying = worker_for(harness, "dying", harness.lifetime()).await;
    let last = dying.claim(1).await;
    assert_eq!(dying.store.renew(dying.session, &[]).await.expect("a renewal").repositioned, []);
    reposition(&b, billing(), Some(1), ReadFrom::Earliest).await;
    let heir = b.claim_in_time(harness, 1, LONG).await;
    assert!(heir.unclean && heir.claim.epoch > last.claim.epoch, "also of one that died meanwhile");
    assert_eq!(
        b.store.renew(b.session, &[]).await.expect("a renewal").repositioned.len(),
        1,
        "of partition 0"
    );
}

/// What must be known to handle an event once, and what nobody handled, outlive the position.
pub async fn reposition_keeps_ledger_and_parked_rows<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let letter = dead(0, 1, "dead");
    a.commit(Group::of(&claim).event(finish(0, "done")).event(park(letter.clone()))).await;
    reposition(&a, billing(), Some(0), ReadFrom::Earliest).await;
    let anew = a.claim(0).await;
    let known = a.admit(&anew, &["done", "dead", "new"].map(|id| (id, payload(id)))).await;
    assert_eq!(known, [Admission::Finished, Admission::Parked, Admission::Fresh]);
    assert_eq!(a.fates(Group::of(&anew).event(finish(0, "done"))).await, [Fate::Duplicate]);

    // By position nothing is known any more: the place belongs to another record now.
    let other =
        Parked { generation: anew.generation, payload: PayloadHash::of(b"other"), ..dead(0, 1, "other") };
    let parked = with_payload(park(other.clone()), "other");
    let group = Group::of(&anew).event(by_position(3)).event(CommitEvent { ledger: None, ..parked });
    assert_eq!(a.fates(group).await, [Fate::Committed, Fate::Committed], "another row at the same offset");
    let query = DeadQuery { subscription: "billing".into(), after: Some(letter.parked_id()), limit: 10 };
    let listed = a.store.dead_letters(query).await.expect("dead letters are listed");
    assert_eq!(listed, vec![other.clone()], "after the old one, in the order of parking");

    // The old one is released and run by its own name, and the other stays.
    let asked = a.store.request_release(letter.parked_id()).await.expect("a request is answered");
    assert_eq!(asked, ReleaseAnswer::Requested);
    let told = a.store.renew(a.session, &[]).await.expect("a renewal").released;
    assert_eq!(told, vec![letter.clone()]);
    let run = Group::of(&anew).event(unpark(finish(1, "dead"), letter.parked_id()));
    assert_eq!(a.fates(run).await, [Fate::Committed]);
    let query = DeadQuery { subscription: "billing".into(), after: None, limit: 10 };
    assert_eq!(a.store.dead_letters(query).await.expect("dead letters are listed"), [other]);
    attempts_are_of_a_generation(&a).await;
}

/// What runs from the parking table and what is read now may have one offset, and are two events.
async fn attempts_are_of_a_generation(a: &Worker) {
    let letter = dead(2, 1, "old");
    a.commit(Group::of(&a.claim(2).await).event(park(letter.clone()))).await;
    reposition(a, billing(), Some(2), ReadFrom::Earliest).await;
    a.store.request_release(letter.parked_id()).await.expect("a request is answered");
    let claim = a.claim(2).await;
    let present = AttemptRow { generation: claim.generation, ..attempt_row(1, "now", 3) };
    let present = CommitEvent { verdict: Verdict::Tried(present), ..finish(1, "now") };
    let again = unpark(tried(1, "old", 9), letter.parked_id());
    let fates = a.fates(Group::of(&claim).event(again).event(present)).await;
    assert_eq!(fates, [Fate::Committed, Fate::Committed]);
    let of =
        |claim: Claim| claim.attempts.iter().map(|row| (row.generation, row.attempts)).collect::<Vec<_>>();
    let claim = a.claim(2).await;
    let generation = claim.generation;
    let run = Group::of(&claim).event(unpark(finish(1, "old"), letter.parked_id()));
    assert_eq!(of(claim), [(0, 9), (generation, 3)], "both are kept");
    assert_eq!(a.fates(run).await, [Fate::Committed]);
    assert_eq!(of(a.claim(2).await), [(generation, 3)], "the end of one leaves the other's");
}
