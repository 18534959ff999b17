//! Claims: exclusion, hand-over, and what a grant brings (rules S2, S5, L2, A2).

use std::time::Duration;

use super::Harness;
use super::events::{attempt_row, dead, finish, park, tried};
use super::stage::{Group, LONG, PARTITIONS, assert_lost, billing, scope, worker, worker_for};
use crate::env::Timestamp;
use crate::store::{ClaimAnswer, Fate, Position, Witness};
use crate::text::Text;
use crate::watermark::Watermark;

/// A partition claimed by a live session is not granted to another; other partitions and other
/// subscriptions are.
pub async fn claim_is_exclusive<H: Harness>(harness: &H) {
    let a = worker(harness, "worker-a").await;
    let b = worker(harness, "worker-b").await;
    a.claim(0).await;
    let owner = b.wants(0).await;
    assert!(owner.contains(a.name), "the owner is named for people: {owner}");
    b.claim(1).await;
    let other = b.ask(scope("seating"), 0, LONG).await.expect("a claim is answered");
    assert!(matches!(other, ClaimAnswer::Granted(_)), "another subscription's partition is another one");
    a.wants(1).await;
}

/// Over a release, a repeated question, a close and a takeover.
pub async fn epoch_only_grows<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    let c = worker(harness, "c").await;
    let first = b.claim(0).await;
    let repeated = b.claim(0).await;
    b.release(&repeated, true).await;
    let released = c.claim(0).await;
    c.store.close_session(c.session).await.expect("a session is closed");
    let closed = a.claim(0).await;
    let dead = b.claim_in_time(harness, 0, LONG).await;
    let epochs = [first, repeated, released, closed, dead].map(|claim| claim.claim.epoch);
    assert!(epochs.windows(2).all(|two| two[0] < two[1]), "epochs in the order of the grants: {epochs:?}");
}

/// The owner hears of it by renewal and by commit, and no longer once it let go.
pub async fn claim_marks_wanted<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    let kept = a.claim(1).await;
    let before = a.store.renew(a.session, &[]).await.expect("a renewal");
    assert_eq!(before.wanted, [], "nobody asked yet");
    b.wants(0).await;
    b.wants(0).await;
    let renewed = a.store.renew(a.session, &[]).await.expect("a renewal");
    assert_eq!(renewed.wanted, vec![claim.claim.clone()]);
    let committed = a.commit(Group::of(&kept).event(finish(0, "a"))).await;
    assert_eq!(committed.wanted, vec![claim.claim.clone()]);
    let of_b = b.store.renew(b.session, &[]).await.expect("a renewal");
    assert_eq!(of_b.wanted, [], "only the owner is told");

    a.release(&claim, true).await;
    b.claim(0).await;
    let after = a.store.renew(a.session, &[]).await.expect("a renewal");
    assert_eq!(after.wanted, [], "the claim is another's now");
    let of_b = b.store.renew(b.session, &[]).await.expect("a renewal");
    assert_eq!(of_b.wanted, [], "nobody wants it of its new owner");
}

/// With the dead session's row deleted first, so that all of it is free at once.
pub async fn claim_of_dead_session_is_granted<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    a.claim(0).await;
    let other = a.claim(1).await;
    let claim = b.claim_in_time(harness, 0, LONG).await;
    assert!(claim.unclean, "a dead owner's end is not clean");
    assert_lost(a.store.renew(a.session, &[]).await, "renewal");
    a.is_lost(Group::of(&other).event(finish(0, "a"))).await;
    // A session that is gone gives nothing back: what it left is as unclean as it was.
    drop(a.store.release(a.session, std::slice::from_ref(&other.claim), true).await);
    let second = b.claim(1).await;
    assert!(second.unclean, "the end of its other partition was not clean either");
    assert_eq!(second.position, None);
}

/// Wanted for longer than the limit, also of a live owner, who then commits nothing of it.
pub async fn claim_after_handover_limit_is_granted<H: Harness>(harness: &H) {
    let limit = Duration::from_millis(400);
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    let first = b.ask(billing(), 0, limit).await.expect("a claim is answered");
    assert!(matches!(first, ClaimAnswer::Wanted { .. }), "the first question is within the limit");
    b.wants(0).await;
    let taken = b.claim_in_time(harness, 0, limit).await;
    assert!(taken.claim.epoch > claim.claim.epoch);
    assert!(taken.unclean, "the owner did not let go");
    let renewed = b.store.renew(b.session, &[]).await.expect("a renewal");
    assert_eq!(renewed.wanted, [], "nobody wants it of its new owner");
    a.store.renew(a.session, &[]).await.expect("the owner lives on without that claim");
    assert_eq!(a.fates(Group::of(&claim).event(finish(0, "a"))).await, [Fate::Excluded]);
    // Giving back what it no longer holds changes nothing for the new owner.
    a.release(&claim, true).await;
    assert_eq!(b.fates(Group::of(&taken).event(finish(0, "a"))).await, [Fate::Committed]);
    a.wants(0).await;
}

/// A release frees the claim, keeps its position, and says whether the end was clean.
pub async fn release_keeps_position<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    assert!(!claim.unclean, "nobody was there before");
    let group = Group::of(&claim).event(finish(0, "x")).event(finish(1, "y")).event(finish(2, "z"));
    assert_eq!(a.fates(group).await, [Fate::Committed, Fate::Committed, Fate::Committed]);
    a.release(&claim, true).await;

    let clean = b.claim(0).await;
    assert!(!clean.unclean, "the owner before said that nothing was in flight");
    assert_eq!(clean.position.as_ref().map(|at| at.base), Some(3));
    // Too late: the claim that this one names is no longer held.
    a.release(&claim, true).await;
    a.wants(0).await;
    b.release(&clean, false).await;

    let unclean = a.claim(0).await;
    assert!(unclean.unclean, "the owner before said that something was in flight");
    assert_eq!(unclean.position.as_ref().map(|at| at.base), Some(3));
    a.store.close_session(a.session).await.expect("a session is closed");
    let closed = b.claim(0).await;
    assert!(closed.unclean, "a claim that was not released had no orderly end");
    assert_eq!(closed.position, unclean.position);
}

/// Rule T1: nothing says that the session ended what it had begun under the claim before.
pub async fn claim_of_ones_own_is_unclean<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let first = a.claim(0).await;
    assert!(!first.unclean, "nobody was there before");
    a.commit(Group::of(&first).event(tried(1, "x", 2)).event(finish(0, "y"))).await;
    for _ in 0..2 {
        let again = a.claim(0).await;
        assert!(again.claim.epoch > first.claim.epoch);
        assert!(again.unclean, "it was not released");
        assert_eq!(again.attempts, [attempt_row(1, "x", 2)]);
    }
    assert_eq!(a.fates(Group::of(&first).event(finish(2, "z"))).await, [Fate::Excluded]);
    let last = a.claim(0).await;
    a.release(&last, true).await;
    assert!(!a.claim(0).await.unclean, "it was released cleanly now");
}

/// Over releases, heirs, a session past its expiry, and ends of sessions.
pub async fn unclean_lasts_until_a_clean_end<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let first = a.claim(0).await;
    a.release(&first, false).await;
    let second = b.claim(0).await;
    assert!(second.unclean, "told by the release");
    b.release(&second, true).await;
    let third = a.claim(0).await;
    assert!(!third.unclean, "the heir ended it cleanly");
    a.release(&third, false).await;
    // An unclean end is told by whoever comes, be it the same session.
    let fourth = a.claim(0).await;
    assert!(fourth.unclean);
    a.store.close_session(a.session).await.expect("a session is closed");
    let fifth = b.claim(0).await;
    assert!(fifth.unclean, "a session that is closed speaks for no claim that it did not release");

    // Past its expiry and not taken over, a session is as good as any: its row is the fence, not the clock.
    for clean in [true, false] {
        let late = worker_for(harness, "late", harness.lifetime() / 4).await;
        let held = late.claim(1).await;
        harness.env().sleep(harness.lifetime() / 2).await;
        late.release(&held, clean).await;
        let heir = b.claim(1).await;
        assert_eq!(heir.unclean, !clean, "a late release is a release");
        b.release(&heir, true).await;
    }

    // Wanted for longer than the limit and taken: the owner's own release comes too late to be told.
    let limit = Duration::from_millis(200);
    let owner = worker(harness, "owner").await;
    let held = owner.claim(2).await;
    let taken = b.claim_in_time(harness, 2, limit).await;
    assert!(taken.unclean);
    owner.release(&held, true).await;
    b.release(&taken, false).await;
    assert!(owner.claim(2).await.unclean, "by its last owner");
}

/// Position, sparse set, witness, identity, attempts and pending releases, as they were written.
pub async fn claim_brings_position_and_attempts<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    assert_eq!(claim.position, None, "nobody ever read it");
    assert!(claim.attempts.is_empty() && claim.released.is_empty());

    let letter = dead(0, 4, "dead");
    let witness = Witness { offset: 1, time: Some(Timestamp::from_millis(5)), hash: u64::MAX };
    let mut group = Group::of(&claim)
        .event(finish(0, "zero"))
        .event(finish(1, "one"))
        .event(tried(2, "two", 3))
        .event(finish(3, "three"))
        .event(park(letter.clone()));
    group.identity = Some(Text::from("topic-id"));
    group.witness = Some(witness);
    assert!(a.fates(group).await.iter().all(Fate::is_committed));
    a.store.request_release(letter.parked_id()).await.expect("a release is requested");
    a.release(&claim, false).await;

    let heir = b.claim(0).await;
    let position = heir.position.expect("a position was written");
    let Position { base, ref sparse, ref identity, witness: stored, partitions } = position;
    assert_eq!((base, partitions, stored), (2, PARTITIONS, Some(witness)));
    assert_eq!(identity.as_deref(), Some("topic-id"));
    let watermark = Watermark::restore(base, sparse, 1024).expect("a stored position can be read");
    let finished = [1, 2, 3, 4, 5].map(|offset| watermark.is_finished(offset));
    assert_eq!(finished, [true, false, true, true, false], "offsets 1 to 5");
    assert_eq!(heir.attempts, [attempt_row(2, "two", 3)]);
    assert_eq!(heir.released, [letter]);
    assert!(b.claim(1).await.position.is_none(), "another partition has a position of its own");
}
