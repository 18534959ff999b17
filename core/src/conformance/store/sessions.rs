//! Sessions: identity, expiry, takeover (rules S1 and S4).

use super::Harness;
use super::events::{finish, insert, insert_at, payload};
use super::stage::{Group, LONG, PATIENCE, assert_lost, fresh_session, worker, worker_for};
use crate::conformance::{Gate, patience};
use crate::store::{Admission, ClaimAnswer, Fate, NewSession};

/// `register` under a used id fails, also after that session's end.
pub async fn session_id_is_never_reused<H: Harness>(harness: &H) {
    let store = harness.open().await;
    let other = harness.open().await;
    let closed = fresh_session(harness);
    let new = || NewSession { id: closed, worker: "a".to_owned(), lifetime: LONG };
    store.register(new()).await.expect("a new session is registered");
    for (handle, when) in [(&store, "while it lives"), (&other, "while it lives, by another worker")] {
        let error = handle.register(new()).await.expect_err(when);
        assert!(!error.is_transient(), "{when}: trying again can't help: {error}");
    }
    store.close_session(closed).await.expect("a session is closed");
    other.register(new()).await.expect_err("an id was used again after its session's end");

    let dying = worker_for(harness, "dying", harness.lifetime()).await;
    dying.claim(0).await;
    let heir = worker(harness, "heir").await;
    heir.claim_in_time(harness, 0, LONG).await;
    let again = NewSession { id: dying.session, worker: "a".to_owned(), lifetime: LONG };
    other.register(again).await.expect_err("an id was used again after its session was taken over");
}

/// Renewing a session that was taken over or closed is `SessionLost`, and changes nothing.
pub async fn renew_never_revives<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    a.store.renew(a.session, &[]).await.expect("a live session is renewed");
    let claim = a.claim(1).await;
    a.store.close_session(a.session).await.expect("a session is closed");
    assert_lost(a.store.renew(a.session, &[]).await, "renewal");
    a.is_lost(Group::of(&claim).event(finish(0, "a"))).await;
    assert_lost(a.ask(super::stage::billing(), 1, LONG).await, "claim");

    let never = fresh_session(harness);
    assert_lost(a.store.renew(never, &[]).await, "renewal of a session that never was");

    let b = worker_for(harness, "b", harness.lifetime()).await;
    let claim = b.claim(0).await;
    let heir = worker(harness, "heir").await;
    heir.claim_in_time(harness, 0, LONG).await;
    assert_lost(b.store.renew(b.session, &[]).await, "renewal after a takeover");
    b.is_lost(Group::of(&claim).event(finish(0, "b"))).await;
}

/// A renewed session lives on, one that is not renewed dies, whatever the worker believes.
pub async fn expiry_is_the_databases_clock<H: Harness>(harness: &H) {
    let env = harness.env();
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    a.claim(0).await;
    for _ in 0..15 {
        env.sleep(harness.lifetime() / 10).await;
        a.store.renew(a.session, &[]).await.expect("a session that is renewed in time lives");
        b.wants(0).await;
    }
    let claim = b.claim_in_time(harness, 0, LONG).await;
    assert!(claim.unclean, "the end of a session that expired is not a clean one");
}

/// Either the commit came first and the heir sees it, or it is refused: nothing in between.
pub async fn takeover_defeats_commits_in_flight<H: Harness>(harness: &H) {
    let a = worker_for(harness, "a", harness.lifetime()).await;
    let b = worker(harness, "b").await;
    let claim = a.claim(0).await;
    let gate = Gate::default();
    let group = Group::of(&claim)
        .with(finish(0, "in-flight"), vec![insert_at::<H>("in-flight", "by a", &gate)])
        .build(a.session);
    let takeover = async {
        gate.reached().await;
        // The commit stays open until the session is past its expiry; a heir that doesn't wait for it
        // shows itself here.
        let deadline = harness.env().now() + harness.lifetime() * 2;
        let early = patience::until(&harness.env(), "a window of two lifetimes", PATIENCE, async || {
            let ask = b.ask(super::stage::billing(), 0, LONG);
            let answer = harness.env().timeout("a claim", harness.lifetime(), ask).await;
            match answer {
                Ok(Ok(ClaimAnswer::Granted(claim))) => Some(Some(*claim)),
                _ if harness.env().now() > deadline => Some(None),
                _ => None,
            }
        })
        .await;
        gate.open();
        match early {
            Some(claim) => claim,
            None => b.claim_in_time(harness, 0, LONG).await,
        }
    };
    let (answer, claim) = tokio::join!(a.store.commit(&group), takeover);
    let committed = matches!(&answer, Ok(committed) if committed.fates == [Fate::Committed]);
    let seen = b.admit(&claim, &[("in-flight", payload("in-flight"))]).await == [Admission::Finished];
    assert_eq!(committed, seen, "what the heir sees is not what the dead session was told: {answer:?}");
    assert_eq!(committed, claim.position.is_some_and(|at| at.base == 1), "the heir's position");
    assert_eq!(committed, harness.rows("in-flight").await.len() == 1, "the dead session's write");

    let late = Group::of(&a_claim_of(&group)).with(finish(1, "late"), vec![insert::<H>("late", "by a")]);
    a.is_lost(late).await;
    assert_eq!(harness.rows("late").await, [""; 0], "a write of a session that was taken over");
}

fn a_claim_of(group: &crate::store::CommitGroup) -> crate::store::Claim {
    crate::store::Claim {
        claim: group.holds[0].claim().expect("a group over a claim").claim.clone(),
        position: None,
        read_from: None,
        generation: 0,
        unclean: false,
        attempts: Vec::new(),
        released: Vec::new(),
    }
}
