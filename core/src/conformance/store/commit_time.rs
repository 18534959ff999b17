//! Commit: how long its effects may take (rule S3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Harness;
use super::events::{finish, insert, insert_for, insert_for_ever, keyed, payload};
use super::stage::{Group, worker_for};
use crate::store::{Admission, Effect, Fate};

/// An effect that never ends fails its event, its key's later events are `Behind`, others commit.
pub async fn endless_effect_fails_alone<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let claim = a.claim(0).await;
    let group = Group::of(&claim)
        .with(keyed(0, "a0", "a"), vec![insert::<H>("rows", "a0")])
        .with(keyed(1, "b0", "b"), vec![insert::<H>("rows", "b0"), insert_for_ever::<H>("rows")])
        .with(keyed(2, "a1", "a"), vec![insert::<H>("rows", "a1")])
        .event(keyed(3, "b1", "b"))
        .with(keyed(4, "c0", "c"), vec![insert::<H>("rows", "c0")]);
    let fates = a.fates(group).await;
    let Fate::Failed(told) = &fates[1] else { panic!("{fates:?}") };
    assert!(told.to_string().contains("longer than"), "{told}");
    let others = [&fates[0], &fates[2], &fates[3], &fates[4]];
    assert_eq!(others, [&Fate::Committed, &Fate::Committed, &Fate::Behind, &Fate::Committed]);
    assert_eq!(harness.rows("rows").await, ["a0", "a1", "c0"], "each once");
    let known = a.admit(&claim, &["a1", "b0", "b1"].map(|id| (id, payload(id)))).await;
    assert_eq!(known, [Admission::Finished, Admission::Fresh, Admission::Fresh]);
}

/// Effects that take longer together than a transaction may, and alone do not, all commit, in parts.
pub async fn effects_share_the_limit<H: Harness>(harness: &H) {
    const EVENTS: usize = 6;
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let claim = a.claim(0).await;
    let runs = Arc::new(AtomicUsize::new(0));
    // Twice the limit together.
    let time = harness.lifetime() / 3 * 2 / EVENTS as u32;
    let effect =
        |text: &str| -> Vec<Effect> { vec![insert_for::<H>("shared", text, &runs, &harness.env(), time)] };
    let ids: Vec<String> = (0..EVENTS).map(|at| format!("event-{at}")).collect();
    let group = ids.iter().zip(0..).fold(Group::of(&claim), |group, (id, offset)| {
        // Between them one without effects, and all of one key: the order outlives the parting.
        let plain = finish(100 + offset, &format!("plain-{offset}"));
        group.with(keyed(offset, id, "key"), effect(id)).event(plain)
    });
    let fates = a.fates(group).await;
    assert!(fates.iter().all(Fate::is_committed), "{fates:?}");
    assert_eq!(harness.rows("shared").await, ids, "each once, in order");
    let runs = runs.load(Ordering::SeqCst);
    assert!(runs > EVENTS, "{EVENTS} effects ran {runs} times: one transaction had all of them");
}
