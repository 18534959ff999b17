//! Brokers without partitions, whose deliveries are settled one by one: what a new connection means, and how much is out.

use super::Harness;
use super::member::{Came, Member, texts};
use super::stage::{Stage, cuts, numbered};
use crate::broker::{ConsumerSpec, Reset, Settles};
use crate::conformance::skipped;
use crate::delivery::{Delivery, Settlement};

/// A new connection is told before its first delivery; what came by the old one comes again, and can't be settled.
pub async fn replaced_connection_voids_what_was_delivered<H: Harness>(harness: &H) {
    const CHECK: &str = "replaced_connection_voids_what_was_delivered";
    let stage = Stage::new(harness, 1).await;
    if stage.can.partitions {
        return skipped(CHECK, "the broker has partitions");
    }
    let Some(faults) = cuts(harness, CHECK) else { return };
    stage.publish_texts(numbered(0..8)).await;
    let spec = harness.spec(&stage.source, "g", Reset::Earliest);
    let mut member = stage.join_as(ConsumerSpec { unsettled_max: 6, ..spec }).await;
    let mut open = member.take(6).await;
    let epoch = open[0].place.epoch;
    member.finish(open.drain(..2).collect()).await;
    // They came into the room of those two, so the broker knows that they are finished: a cut can't undo that.
    open.extend(member.take(2).await);
    faults.cut().await;
    faults.mend().await;
    let void = hears_of_it(&mut member).await;
    assert!(void > epoch, "epoch {void} after {epoch}");

    let mut numbers: Vec<u64> = open.iter().map(|delivery| delivery.ticket.number()).collect();
    let settled = open.into_iter().map(|delivery| delivery.settle(Settlement::Ack)).collect();
    let mut lost = member.consumer.settle(settled).await.expect("a stale settlement is no error");
    numbers.sort_unstable();
    lost.sort_unstable();
    assert_eq!(lost, numbers, "tickets of the old connection are named");

    // The member itself asserts the epoch of what comes now, and that its offsets are above all before.
    let again = member.take(6).await;
    let mut came = texts(&again);
    came.sort();
    assert_eq!(came, numbered(2..8).collect::<Vec<_>>(), "all that was not settled, and no more");
    member.finish(again).await;
    member.close().await;
    stage.join("g").await.hears_nothing("finished by the new connection").await;
}

/// Pulls until the word comes; nothing is delivered before it.
async fn hears_of_it<H: Harness>(member: &mut Member<'_, H>) -> u64 {
    let env = member.harness.env();
    let deadline = env.now() + member.harness.patience();
    loop {
        match member.pull(10, member.harness.patience()).await {
            Came::Void(epoch) => return epoch,
            Came::Deliveries(deliveries) => panic!("{:?} came before the word", texts(&deliveries)),
            _ => assert!(env.now() < deadline, "a word of the lost connection in time"),
        }
    }
}

/// No more than the bound is out at a time, however many credits there are.
pub async fn unsettled_never_exceeds_its_bound<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if stage.can.settles == Settles::Position {
        return skipped("unsettled_never_exceeds_its_bound", "the broker settles positions, not deliveries");
    }
    stage.publish_texts(numbered(0..12)).await;
    let spec = harness.spec(&stage.source, "g", Reset::Earliest);
    let mut member = stage.join_as(ConsumerSpec { unsettled_max: 5, ..spec }).await;
    let mut out = fill(&mut member, 5).await;
    // The first two, and what makes room behind one that is still out.
    member.finish(out.drain(..2).collect()).await;
    out.extend(fill(&mut member, 2).await);
    member.finish(out.drain(1..3).collect()).await;
    out.extend(fill(&mut member, 2).await);
    let given_back = out.pop().expect("five are out").settle(Settlement::Release);
    let lost = member.consumer.settle(vec![given_back]).await.expect("a give-back is taken");
    assert_eq!(lost, [0; 0]);
    out.extend(fill(&mut member, 1).await);
    member.finish(out).await;
    // Whichever came for the one that was given back: all twelve come in the end.
    let rest = member.take(3).await;
    member.finish(rest).await;
    member.hears_nothing("all is finished").await;
}

/// Takes so many, and hears that this is all.
async fn fill<H: Harness>(member: &mut Member<'_, H>, count: usize) -> Vec<Delivery> {
    let taken = member.take_greedily(count).await;
    member.hears_nothing("as many are unsettled as may be").await;
    taken
}
