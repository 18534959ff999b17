//! Commit: one event's fault stays its own (rules C3 and C4).

use super::Harness;
use super::events::{finish, insert, insert_and_fail, insert_and_panic, insert_and_refuse, keyed, payload};
use super::stage::{Group, worker};
use crate::handler::{Failure, FailureClass};
use crate::store::{Admission, Fate};

/// A failed effect takes its event's rows with it, its key's later events are `Behind`, others commit.
pub async fn failed_effect_fails_alone<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let effect = |text: &str| vec![insert::<H>("rows", text)];
    let failure = Failure::new("out of stock").permanent();
    let group = Group::of(&claim)
        .with(keyed(0, "a0", "a"), effect("a0"))
        .with(
            keyed(1, "b0", "b"),
            vec![insert::<H>("rows", "b0"), insert_and_fail::<H>("rows", failure.clone())],
        )
        .with(keyed(2, "a1", "a"), effect("a1"))
        .with(keyed(3, "b1", "b"), effect("b1"))
        .event(keyed(4, "b2", "b"))
        .with(keyed(5, "c0", "c"), effect("c0"));
    let fates = a.fates(group).await;
    let Fate::Failed(told) = &fates[1] else { panic!("{fates:?}") };
    assert_eq!(told.class(), FailureClass::Permanent, "the failure as the effect gave it");
    assert_eq!(told.chain(), failure.chain());
    let others = [&fates[0], &fates[2], &fates[3], &fates[4], &fates[5]];
    assert_eq!(others, [&Fate::Committed, &Fate::Committed, &Fate::Behind, &Fate::Behind, &Fate::Committed]);
    assert_eq!(harness.rows("rows").await, ["a0", "a1", "c0"]);
    let known = a.admit(&claim, &["b0", "b1", "b2", "c0"].map(|id| (id, payload(id)))).await;
    use Admission::{Finished, Fresh};
    assert_eq!(known, [Fresh, Fresh, Fresh, Finished]);

    a_panic_is_a_failure(harness).await;
    same_key_elsewhere(harness).await;
    batch_fails_as_one(harness).await;
}

/// A panic in a write is a failure as any other, and the worker goes on.
async fn a_panic_is_a_failure<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(4).await;
    let group = Group::of(&claim)
        .with(finish(0, "panic"), vec![insert_and_panic::<H>("panic")])
        .with(finish(1, "calm"), vec![insert::<H>("panic", "calm")]);
    let fates = a.fates(group).await;
    let [Fate::Failed(told), Fate::Committed] = &fates[..] else { panic!("{fates:?}") };
    assert!(told.to_string().contains("as the check wants it"), "{told}");
    assert_eq!(harness.rows("panic").await, ["calm"]);
}

/// With claims, a key is (partition, key): the same bytes in another partition are another key (rule S8).
async fn same_key_elsewhere<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let (left, right) = (a.claim(1).await, a.claim(2).await);
    let group = Group::of(&left)
        .with(keyed(0, "left", "k"), vec![insert_and_fail::<H>("rows", Failure::new("no"))])
        .and(&right)
        .event(keyed(0, "right", "k"));
    let fates = a.fates(group).await;
    assert!(matches!(fates[..], [Fate::Failed(_), Fate::Committed]), "{fates:?}");
}

/// A unit of several events fails as one; with one event that was finished before, none of it commits.
async fn batch_fails_as_one<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(3).await;
    let batch = |first: u64| {
        vec![keyed(first, &format!("u{first}"), "u"), keyed(first + 1, &format!("v{first}"), "v")]
    };
    let failing = insert_and_fail::<H>("batch", Failure::new("no"));
    let fates = a.fates(Group::of(&claim).unit(batch(0), vec![failing]).event(keyed(2, "w", "v"))).await;
    assert!(matches!(fates[..], [Fate::Failed(_), Fate::Failed(_), Fate::Behind]), "{fates:?}");
    let fates = a.fates(Group::of(&claim).unit(batch(0), vec![insert::<H>("batch", "0")])).await;
    assert_eq!(fates, [Fate::Committed, Fate::Committed]);
    let mut half = batch(0);
    half[1] = keyed(3, "new", "v");
    let fates = a.fates(Group::of(&claim).unit(half, vec![insert::<H>("batch", "half")])).await;
    assert_eq!(fates, [Fate::Duplicate, Fate::Behind], "its effects count on all of its events");
    assert_eq!(harness.rows("batch").await, ["0"]);
}

/// Where the commit itself fails, the group is halved until the culprit is alone.
pub async fn failed_commit_finds_the_culprit<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let effect = |text: &str| vec![insert::<H>("rows", text)];
    let refused = || vec![insert::<H>("rows", "refused"), insert_and_refuse::<H>("rows")];
    let group = Group::of(&claim)
        .with(keyed(0, "a0", "a"), effect("a0"))
        .with(keyed(1, "b0", "b"), effect("b0"))
        .with(keyed(2, "a1", "a"), refused())
        .with(keyed(3, "b1", "b"), effect("b1"))
        .with(keyed(4, "a2", "a"), effect("a2"))
        .with(keyed(5, "c0", "c"), refused())
        .with(keyed(6, "d0", "d"), effect("d0"));
    let fates = a.fates(group).await;
    let told: Vec<String> = fates.iter().map(|fate| fate.to_string().chars().take(6).collect()).collect();
    assert_eq!(told, ["commit", "commit", "failed", "commit", "behind", "failed", "commit"], "{fates:?}");
    assert_eq!(harness.rows("rows").await, ["a0", "b0", "b1", "d0"], "each once, in order");
    let again = a.claim(0).await;
    assert_eq!(again.position.as_ref().map(|at| at.base), Some(2));
    let known =
        a.admit(&again, &["a0", "b0", "a1", "b1", "a2", "c0", "d0"].map(|id| (id, payload(id)))).await;
    use Admission::{Finished, Fresh};
    assert_eq!(known, [Finished, Finished, Fresh, Finished, Fresh, Fresh, Finished]);
    let alone = a.fates(Group::of(&again).with(finish(2, "a1"), refused())).await;
    assert!(matches!(alone[..], [Fate::Failed(_)]), "{alone:?}");
}
