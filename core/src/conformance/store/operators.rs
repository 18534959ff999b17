//! Operators and retention: dead letters, releases, sweeping (rules P1 to P3, L1).

use std::time::Duration;

use super::Harness;
use super::events::{dead, finish, insert, insert_and_fail, keyed, park, payload, tried, unpark, uuid_of};
use super::stage::{Group, PATIENCE, Worker, scope, worker};
use crate::conformance::patience;
use crate::env::Instant;
use crate::handler::Failure;
use crate::store::{Admission, DeadQuery, Fate, Parked, ParkedId, ReleaseAnswer, Store};

async fn letters(store: &dyn Store, after: Option<ParkedId>, limit: usize) -> Vec<Parked> {
    let query = DeadQuery { subscription: "billing".into(), after, limit };
    store.dead_letters(query).await.expect("dead letters are listed")
}

/// With all facts, oldest first, in pages, of the asked subscription.
pub async fn dead_letters_are_listed<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let (zero, one) = (a.claim(0).await, a.claim(1).await);
    assert_eq!(letters(&*a.store, None, 10).await, []);
    let parked: Vec<Parked> =
        (0..7).map(|at| dead(at % 2, u64::from(at) * 10, &format!("dead-{at}"))).collect();
    for letter in &parked {
        let claim = if letter.partition == 0 { &zero } else { &one };
        assert!(a.fates(Group::of(claim).event(park(letter.clone()))).await[0].is_committed());
    }
    let reader = harness.open().await;
    assert_eq!(letters(&*reader, None, 1000).await, parked, "by another worker, every field");
    let mut paged = Vec::new();
    while let page @ [_, ..] = &letters(&*reader, paged.last().map(Parked::parked_id), 3).await[..] {
        assert!(page.len() <= 3, "a page is no longer than asked");
        paged.extend_from_slice(page);
        assert!(paged.len() <= parked.len(), "a page begins after the one before it");
    }
    assert_eq!(paged, parked);
    let query = DeadQuery { subscription: scope("seating").subscription, after: None, limit: 10 };
    assert_eq!(reader.dead_letters(query).await.expect("dead letters are listed"), []);
}

/// A requested release is reported to the claim's owner, whoever that is, until it is done.
pub async fn release_reaches_the_owner<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    b.claim(1).await;
    let letter = dead(0, 0, "x");
    let id = letter.parked_id();
    let operator = harness.open().await;
    let missing = operator.request_release(id.clone()).await.expect("a request is answered");
    assert_eq!(missing, ReleaseAnswer::Missing);
    a.commit(Group::of(&claim).event(park(letter.clone())).event(park(dead(0, 1, "y")))).await;
    for _ in 0..2 {
        let asked = operator.request_release(id.clone()).await.expect("a request is answered");
        assert_eq!(asked, ReleaseAnswer::Requested, "asking again changes nothing");
    }
    for _ in 0..2 {
        let told = a.store.renew(a.session, &[]).await.expect("a renewal");
        assert_eq!(told.released, vec![letter.clone()], "until it is done");
    }
    let told = b.store.renew(b.session, &[]).await.expect("a renewal");
    assert_eq!(told.released, [], "only the owner is told");

    a.release(&claim, true).await;
    let heir = b.claim(0).await;
    assert_eq!(heir.released, vec![letter.clone()], "the next owner is told by its claim");
    // A try that failed keeps the row and the request: the event must not be forgotten between two tries.
    let again = unpark(tried(0, "x", 9), id.clone());
    assert_eq!(b.fates(Group::of(&heir).event(again)).await, [Fate::Committed]);
    assert_eq!(b.store.renew(b.session, &[]).await.expect("a renewal").released, vec![letter.clone()]);
    // Parked again: the row stays, the request is answered.
    let parked_again = unpark(park(Parked { attempts: 9, ..letter.clone() }), id.clone());
    assert_eq!(b.fates(Group::of(&heir).event(parked_again)).await, [Fate::Committed]);
    assert_eq!(b.store.renew(b.session, &[]).await.expect("a renewal").released, []);
    let told = letters(&*operator, None, 10).await;
    assert_eq!(told.iter().find(|row| row.id == "x").map(|row| row.attempts), Some(9));

    operator.request_release(id.clone()).await.expect("a request is answered");
    let done = unpark(finish(0, "x"), id.clone());
    assert_eq!(b.fates(Group::of(&heir).event(done)).await, [Fate::Committed]);
    assert_eq!(b.store.renew(b.session, &[]).await.expect("a renewal").released, [], "done");
    let gone = operator.request_release(id).await.expect("a request is answered");
    assert_eq!(gone, ReleaseAnswer::Missing);
}

/// However many were asked for and are not done, a few renewals tell of each.
pub async fn releases_are_all_told<H: Harness>(harness: &H) {
    const LETTERS: u64 = 120;
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let letters = (0..LETTERS).map(|at| dead(0, at, &format!("letter-{at}")));
    let ids: Vec<_> = letters.clone().map(|letter| letter.parked_id()).collect();
    a.commit(letters.fold(Group::of(&claim), |group, letter| group.event(park(letter)))).await;
    for id in ids {
        a.store.request_release(id).await.expect("a request is answered");
    }
    for round in 0..2 {
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let released = a.store.renew(a.session, &[]).await.expect("a renewal").released;
            told.extend(released.into_iter().map(|letter| letter.offset));
        }
        assert_eq!(told.len() as u64, LETTERS, "round {round}");
    }
}

/// Deleting the parked row decides, not ledger or position; the loser leaves no trace.
pub async fn unpark_is_arbitrated_by_the_row<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let letter = dead(0, 0, "x");
    a.commit(Group::of(&claim).event(park(letter.clone())).event(finish(1, "y"))).await;
    let claim = a.claim(0).await;
    let run = |text: &str| {
        let event = unpark(finish(0, "x"), letter.parked_id());
        Group::of(&claim).with(event, vec![insert::<H>("unparked", text)])
    };
    assert_eq!(a.fates(run("first")).await, [Fate::Committed], "though its offset is finished");
    assert_eq!(a.admit(&claim, &[("x", payload("x"))]).await, [Admission::Finished], "parked no more");
    assert_eq!(a.fates(run("second")).await, [Fate::Duplicate]);
    let again = unpark(park(letter.clone()), letter.parked_id());
    assert_eq!(a.fates(Group::of(&claim).event(again)).await, [Fate::Duplicate], "nor is it parked again");
    assert_eq!(harness.rows("unparked").await, ["first"]);
    in_one_group(harness, &a).await;
    assert_eq!(letters(&*a.store, None, 10).await, []);
    a.release(&claim, true).await;
    let later = a.claim(0).await;
    assert_eq!(later.position.map(|at| at.base), Some(2), "its offset was finished when it was parked");
}

/// The same of two runs in one transaction; a run that failed took nothing.
async fn in_one_group<H: Harness>(harness: &H, a: &Worker) {
    let claim = a.claim(1).await;
    let (letter, id) = (dead(1, 0, "twice"), dead(1, 0, "twice").parked_id());
    a.commit(Group::of(&claim).event(park(letter.clone()))).await;
    let run = |key| unpark(keyed(0, "twice", key), id.clone());
    let failing = insert_and_fail::<H>("unparked", Failure::new("no"));
    let group = Group::of(&claim)
        .with(run("a"), vec![failing])
        .with(run("b"), vec![insert::<H>("unparked", "of two")])
        .with(run("c"), vec![insert::<H>("unparked", "the other")])
        .event(unpark(park(letter), id.clone()));
    let fates = a.fates(group).await;
    assert!(
        matches!(fates[..], [Fate::Failed(_), Fate::Committed, Fate::Duplicate, Fate::Duplicate]),
        "{fates:?}"
    );
    assert_eq!(harness.rows("unparked").await, ["first", "of two"]);
}

/// Ledger rows older than the keep time go, younger ones stay, also with an id that says it is old.
pub async fn sweep_forgets_only_the_old<H: Harness>(harness: &H) {
    let keep = Duration::from_secs(2);
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let parked = dead(0, 1, "parked");
    a.commit(Group::of(&claim).event(finish(0, "old")).event(park(parked))).await;
    assert_eq!(a.store.sweep("billing", Duration::from_secs(3600)).await.expect("a sweep"), 0);
    assert_eq!(a.admit(&claim, &[("old", payload("old"))]).await, [Admission::Finished], "it is young yet");

    let env = harness.env();
    let mut finished: Vec<(Instant, String)> = Vec::new();
    patience::until(&env, "an old ledger row is dropped", PATIENCE, async || {
        let offset = 10 + finished.len() as u64;
        // Freshly finished, one with an id whose own time is years ago (rule L1).
        let ids = [format!("young-{offset}"), uuid_of(1_500_000_000_000 + offset)];
        let group = Group::of(&claim).event(finish(offset, &ids[0])).event(finish(offset + 1, &ids[1]));
        finished.extend(ids.map(|id| (env.now(), id)));
        assert!(a.fates(group).await.iter().all(Fate::is_committed));
        a.store.sweep("billing", keep).await.expect("a sweep");
        a.store.sweep("seating", Duration::ZERO).await.expect("a sweep of another subscription");
        let swept = env.now();
        let young = finished.iter().filter(|(begun, _)| swept.since(*begun) < keep);
        let asked: Vec<_> = young.map(|(_, id)| (id.as_str(), payload(id))).collect();
        let known = a.admit(&claim, &asked).await;
        assert_eq!(known, vec![Admission::Finished; asked.len()], "younger than the keep time");
        (a.admit(&claim, &[("old", payload("old"))]).await == [Admission::Fresh]).then_some(())
    })
    .await;
    assert_eq!(a.admit(&claim, &[("parked", payload("parked"))]).await, [Admission::Parked], "never swept");
    super::leases_kept::sweep_of_leased(harness).await;
}
