//! Admission: what is known of a batch, in the batch's order (rules A1, P1, L4).

use super::Harness;
use super::events::{dead, finish, park, payload};
use super::stage::{Group, LONG, assert_lost, billing, scope, worker};
use crate::event::PayloadHash;
use crate::store::{Admission, AdmitBatch, AdmitEvent, ClaimAnswer, Death, Parked, Reason};
use crate::text::Text;

/// What is in the ledger with the same payload; of this subscription only.
pub async fn admit_finds_finished<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    a.commit(Group::of(&claim).event(finish(0, "x")).event(finish(1, "y"))).await;
    let asked = ["new", "y", "newer", "x", "y"].map(|id| (id, payload(id)));
    let known = a.admit(&claim, &asked).await;
    use Admission::{Finished, Fresh};
    assert_eq!(known, [Fresh, Finished, Fresh, Finished, Finished]);
    assert_eq!(a.admit(&claim, &[]).await, []);

    let b = worker(harness, "b").await;
    let other = b.claim(1).await;
    assert_eq!(
        b.admit(&other, &[("x", payload("x"))]).await,
        [Finished],
        "from another partition and worker"
    );
    let ClaimAnswer::Granted(seating) = b.ask(scope("seating"), 0, LONG).await.expect("a claim is answered")
    else {
        panic!("nobody holds another subscription's partition");
    };
    assert_eq!(b.admit(&seating, &[("x", payload("x"))]).await, [Fresh], "another subscription's ledger");

    b.store.close_session(b.session).await.expect("a session is closed");
    let event = AdmitEvent { id: Text::from("x"), payload: Some(payload("x")), lease: None, leased: false };
    let scope = other.claim.scope.clone();
    let batch = AdmitBatch { session: b.session, scope, leases: Vec::new(), events: vec![event] };
    assert_lost(b.store.admit(batch).await, "admit");
}

/// In the ledger or parked with another payload.
pub async fn admit_finds_conflict<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    a.commit(Group::of(&claim).event(finish(0, "x")).event(park(dead(0, 1, "y")))).await;
    let other = PayloadHash::of(b"another payload");
    let known = a.admit(&claim, &[("y", other), ("x", payload("x")), ("x", other), ("z", other)]).await;
    use Admission::{Conflict, Finished, Fresh};
    assert_eq!(known, [Conflict, Finished, Conflict, Fresh]);

    // The conflict itself becomes a dead letter under the same id; from then on it is known as parked,
    // and the event that was first stays what it was.
    let letter = Parked { payload: other, reason: Reason::Dead(Death::Conflict), ..dead(0, 2, "x") };
    assert!(a.fates(Group::of(&claim).event(park(letter))).await[0].is_committed());
    let known = a.admit(&claim, &[("x", other), ("x", payload("x"))]).await;
    assert_eq!(known, [Admission::Parked, Finished]);
}

/// In the parking table with the same payload.
pub async fn admit_finds_parked<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    a.commit(Group::of(&claim).event(park(dead(0, 0, "x"))).event(finish(1, "y"))).await;
    let known = a.admit(&claim, &[("z", payload("z")), ("x", payload("x")), ("y", payload("y"))]).await;
    use Admission::{Finished, Fresh, Parked};
    assert_eq!(known, [Fresh, Parked, Finished]);
    let b = worker(harness, "b").await;
    let other = b.claim(1).await;
    assert_eq!(other.claim.scope, billing());
    assert_eq!(b.admit(&other, &[("x", payload("x"))]).await, [Parked], "from another partition and worker");
}
