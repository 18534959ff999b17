//! Leases: exclusion, tokens, and what commits do with them (rules A1, A4, C1, S6, S7).

use std::time::Duration;

use super::Harness;
use super::events::{finish, insert, insert_and_fail, insert_and_refuse, insert_at, keyed, tried};
use super::stage::{Group, PATIENCE, Worker, assert_lost, billing, scope, worker, worker_for};
use super::stage_leases::{lease_key, leased};
use crate::conformance::{Gate, patience};
use crate::handler::Failure;
use crate::store::{Admission, Admitted, Fate, LeaseAnswer, LeaseRef};

/// How long a check listens for an answer that may well have to wait.
const LISTEN: Duration = Duration::from_millis(300);

/// A key leased by a live session is not granted to another; other keys and other subscriptions' are.
pub async fn lease_is_exclusive<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("k").await;
    let answers = b.admit_with(&["a", "k", "z"], Vec::new()).await.leases;
    use LeaseAnswer::{Granted, Taken};
    assert!(
        matches!(answers[..], [Granted { .. }, Taken, Granted { .. }]),
        "in the order of the keys: {answers:?}"
    );
    a.waits_for("z").await;
    let other = b.ask_lease(scope("seating"), "k").await;
    assert!(matches!(other, Granted { .. }), "another subscription's key is another one");
    b.waits_for("k").await;
    assert_eq!(a.fates(Group::under(&lease).event(keyed(0, "x", "k"))).await, [Fate::Committed]);
    b.close().await;
    assert_lost(b.try_admit(billing(), &["new"], Vec::new()).await, "admission with a lease");
    a.lease("new").await;
}

/// Within a batch, over subscriptions, a repeated question, a return, a close and a death.
pub async fn token_only_grows<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    let c = worker(harness, "c").await;
    let token = |answer: &LeaseAnswer| match answer {
        LeaseAnswer::Granted { token, .. } => *token,
        LeaseAnswer::Taken => panic!("the lease is free"),
    };
    let mut tokens = vec![b.lease("k").await.token];
    let mut batch: Vec<u64> =
        b.admit_with(&["l", "m", "n"], Vec::new()).await.leases.iter().map(token).collect();
    batch.sort_unstable();
    tokens.extend(batch);
    tokens.push(token(&b.ask_lease(scope("seating"), "k").await));
    tokens.push(token(&b.ask_lease(billing(), "k").await));
    let given = c.lease("o").await;
    c.commit(Group::ending(&given)).await;
    tokens.extend([given.token, b.lease("o").await.token, c.lease("p").await.token]);
    c.close().await;
    tokens.push(a.lease_after("p").await.0.token);
    tokens.push(b.lease_in_time(harness, "p").await.0.token);
    assert!(tokens.windows(2).all(|two| two[0] < two[1]), "tokens in the order of the grants: {tokens:?}");
}

/// As unclean; what was begun under the old token is `Excluded`, and giving that one back changes nothing.
pub async fn lease_of_ones_own_gets_a_new_token<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let old = a.lease("k").await;
    let (new, unclean) = a.lease_after("k").await;
    assert!(new.token > old.token);
    assert!(unclean, "it may have begun what it did not give back");
    let late = Group::ending(&old).with(keyed(0, "x", "k"), vec![insert::<H>("rows", "late")]);
    let committed = a.commit(late).await;
    assert_eq!((committed.fates, committed.written), (vec![Fate::Excluded], vec![]));
    assert_eq!(a.commit(Group::ending(&old)).await.written, [0; 0]);
    assert_eq!(harness.rows("rows").await, [""; 0]);
    b.waits_for("k").await;
    assert_eq!(a.leases().await, std::slice::from_ref(&new));
    assert_eq!(a.fates(Group::ending(&new).event(keyed(0, "x", "k"))).await, [Fate::Committed]);
    b.lease("k").await;
}

/// It is granted as unclean, with the dead session's row deleted first; a closed session's is as well.
pub async fn lease_of_dead_session_is_free<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    let c = worker(harness, "c").await;
    a.lease("k").await;
    let other = a.lease("l").await;
    c.lease("m").await;
    let (lease, unclean) = b.lease_in_time(harness, "k").await;
    assert!(unclean, "a dead owner's end is not clean");
    assert_lost(a.store.renew(a.session, &[]).await, "renewal");
    a.is_lost(Group::ending(&other).event(keyed(0, "x", "l"))).await;
    let (_, unclean) = b.lease_after("l").await;
    assert!(unclean, "the end of its other lease was not clean either");
    c.close().await;
    let (_, unclean) = b.lease_after("m").await;
    assert!(unclean, "a session that was closed gave nothing back");

    b.commit(Group::ending(&lease)).await;
    let d = worker(harness, "d").await;
    d.lease("k").await;
}

/// Who waited for a lease while its owner finished the event is told so with the grant (rule A1).
pub async fn admit_reads_behind_the_lease<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    // The question is asked while the commit is open: a store that looks before it waits sees nothing yet.
    for round in 0..3 {
        let (key, id) = (format!("gate-{round}"), format!("waited-{round}"));
        let lease = a.lease(&key).await;
        let gate = Gate::default();
        let event = finish(round, &id);
        let group =
            Group::ending(&lease).with(event, vec![insert_at::<H>("rows", "x", &gate)]).build(a.session);
        let question = async {
            gate.reached().await;
            let keys = [&*key];
            let mut asked = Box::pin(b.admit_with(&keys, vec![leased(&id, Some(0))]));
            let early = harness.env().timeout("an admission", LISTEN, &mut asked).await;
            gate.open();
            match early {
                Ok(early) => early,
                Err(_) => asked.await,
            }
        };
        let (committed, admitted) = tokio::join!(a.store.commit(&group), question);
        assert_eq!(committed.expect("a live session commits").fates, [Fate::Committed]);
        finished_when_granted(harness, &b, &key, &id, Some(admitted)).await;
    }
    // And as it happens.
    for round in 0..30 {
        let (key, id) = (format!("race-{round}"), format!("raced-{round}"));
        let lease = a.lease(&key).await;
        let commit = a.fates(Group::ending(&lease).event(finish(100 + round, &id)));
        let question = finished_when_granted(harness, &b, &key, &id, None);
        let fates = match round % 2 {
            0 => tokio::join!(commit, question).0,
            _ => tokio::join!(question, commit).1,
        };
        assert_eq!(fates, [Fate::Committed]);
    }
}

async fn finished_when_granted<H: Harness>(
    harness: &H,
    b: &Worker,
    key: &str,
    id: &str,
    mut first: Option<Admitted>,
) {
    patience::until(&harness.env(), "the lease is granted", PATIENCE, async || {
        let admitted = match first.take() {
            Some(first) => first,
            None => b.admit_with(&[key], vec![leased(id, Some(0))]).await,
        };
        let granted = matches!(admitted.leases[0], LeaseAnswer::Granted { marks: 0, .. });
        assert!(granted || admitted.leases[0] == LeaseAnswer::Taken, "{admitted:?}");
        let told = (granted, admitted.events[0] == Admission::Finished);
        assert_ne!(told, (true, false), "the lease of {key} was won, and {id} is told as {admitted:?}");
        granted.then_some(())
    })
    .await;
}

/// Events of a lost lease are `Excluded`, whoever lost it and how; the others commit.
pub async fn commit_leaves_out_lost_leases<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let (given, kept) = (a.lease("given").await, a.lease("kept").await);
    a.commit(Group::ending(&given)).await;
    let effect = |text: &str| vec![insert::<H>("rows", text)];
    let group = |lease: &LeaseRef, id: &str| {
        let lost = keyed(0, &format!("{id}-lost"), "given");
        let good = keyed(1, &format!("{id}-good"), "kept");
        Group::under(lease).with(lost, effect("lost")).and_lease(&kept, false).with(good, effect("good"))
    };
    assert_eq!(a.fates(group(&given, "free")).await, [Fate::Excluded, Fate::Committed], "given back");
    let lease = b.lease("given").await;
    assert_eq!(a.fates(group(&given, "b")).await, [Fate::Excluded, Fate::Committed], "another's by now");
    assert_eq!(a.fates(group(&lease, "token")).await, [Fate::Excluded, Fate::Committed], "not its own");
    let never = LeaseRef { lease: lease_key(billing(), "aaa"), token: lease.token };
    assert_eq!(a.fates(group(&never, "never")).await, [Fate::Excluded, Fate::Committed], "nobody's");
    assert_eq!(harness.rows("rows").await, ["good"; 4]);
    assert_eq!(b.knows(vec![leased("b-lost", None)]).await, [Admission::Fresh], "its ledger row");
    assert_eq!(b.fates(Group::under(&lease).event(keyed(0, "b-lost", "given"))).await, [Fate::Committed]);
    let resolved = a.store.resolve(&group(&given, "later").build(a.session)).await;
    assert_eq!(resolved.expect("a live session resolves"), [Fate::Excluded, Fate::Behind]);
}

/// In the commit's own transaction, with or without events; not where an event of the key did not end.
pub async fn commit_gives_leases_back<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    let lease = a.lease("k").await;
    assert_eq!(a.commit(Group::under(&lease).event(keyed(0, "x", "k"))).await.written, [0; 0], "it is kept");
    b.waits_for("k").await;
    let no = || vec![insert_and_fail::<H>("rows", Failure::new("no"))];
    for (group, why) in [
        (Group::ending(&lease).event(tried(1, "y", 1)), "a try is no end"),
        (Group::ending(&lease).with(keyed(1, "y", "k"), no()), "nor is a failure"),
        (Group::ending(&lease).event(keyed(1, "y1", "k")).with(keyed(2, "y2", "k"), no()), "of one of two"),
    ] {
        assert_eq!(a.commit(group).await.written, [0; 0], "{why}");
        b.waits_for("k").await;
        assert_eq!(a.leases().await, std::slice::from_ref(&lease));
    }
    // A duplicate is over.
    let group = || Group::ending(&lease).event(keyed(0, "x", "k")).event(keyed(3, "z", "k"));
    let committed = a.commit(group()).await;
    assert_eq!(committed.fates, [Fate::Duplicate, Fate::Committed]);
    assert_eq!(committed.written, [0]);
    let resolved = a.store.resolve(&group().build(a.session)).await.expect("a live session resolves");
    assert!(resolved.iter().all(Fate::is_committed), "durable, though the lease is gone: {resolved:?}");
    assert_eq!(a.leases().await, []);
    let lease = b.lease("k").await;
    assert_eq!(b.commit(Group::ending(&lease)).await.written, [0], "without events");
    assert_eq!(b.commit(Group::ending(&lease)).await.written, [0; 0], "once");
    let anew = b.lease("k").await;
    assert_eq!(b.commit(Group::ending(&lease)).await.written, [0; 0], "by its token");
    assert_eq!(b.leases().await, [anew]);
    in_parts(harness, &a).await;
}

/// A group that is taken apart names all that its parts gave back, and keeps what the culprit holds.
async fn in_parts<H: Harness>(harness: &H, a: &Worker) {
    let refused = vec![insert_and_refuse::<H>("parts")];
    let (one, two, three) = (a.lease("p1").await, a.lease("p2").await, a.lease("p3").await);
    let group = Group::ending(&one)
        .with(keyed(10, "p1", "p1"), vec![insert::<H>("parts", "p1")])
        .and_lease(&two, true)
        .with(keyed(11, "p2", "p2"), refused)
        .and_lease(&three, true)
        .with(keyed(12, "p3", "p3"), vec![insert::<H>("parts", "p3")]);
    let committed = a.commit(group).await;
    assert!(
        matches!(committed.fates[..], [Fate::Committed, Fate::Failed(_), Fate::Committed]),
        "{:?}",
        committed.fates
    );
    assert_eq!(committed.written, [0, 2]);
    assert_eq!(a.leases().await, [two], "the culprit's lease is kept");
    assert_eq!(harness.rows("parts").await, ["p1", "p3"]);
}

/// What a session holds, and no other's.
pub async fn leases_are_listed<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let b = worker(harness, "b").await;
    assert_eq!(a.leases().await, []);
    let (one, two) = (a.lease("one").await, a.lease("two").await);
    let (one, _) = match a.lease_after("one").await {
        (newer, _) if newer.token > one.token => (newer, one),
        other => panic!("its own lease got no new token: {other:?}"),
    };
    let LeaseAnswer::Granted { token, .. } = a.ask_lease(scope("seating"), "one").await else {
        panic!("another subscription's key is another one")
    };
    let elsewhere = LeaseRef { lease: lease_key(scope("seating"), "one"), token };
    b.waits_for("one").await;
    let held = b.lease("three").await;
    assert_eq!(a.leases().await, [one.clone(), two.clone(), elsewhere.clone()], "under their present tokens");
    assert_eq!(b.leases().await, [held], "what it waits for is not its own");
    a.commit(Group::ending(&two)).await;
    assert_eq!(a.leases().await, [one, elsewhere]);
    a.close().await;
    assert_eq!(a.leases().await, []);
}
