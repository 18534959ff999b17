//! Telling the broker how far each partition is durably finished. Lag of the telling costs nothing but
//! the broker's own display: reading starts at the store's position (rule L2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::subscription::Subscription;

/// The least time between two tellings.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Runs until its environment drops it.
pub(crate) async fn run(sub: Arc<Subscription>) {
    if sub.leases.is_some() { each(&sub).await } else { positions(&sub).await }
}

/// Each delivery on its own, in batches as they come.
async fn each(sub: &Subscription) {
    loop {
        sub.settled.wait().await;
        all(sub).await;
    }
}

/// Tells the broker of all that is settled by now. What it does not know any more comes again, and is known
/// by the ledger then.
pub(crate) async fn all(sub: &Subscription) {
    let _settling = sub.settling.lock().await;
    let settled = sub.settled.take(usize::MAX);
    if settled.is_empty() {
        return;
    }
    let told = settled.len();
    match sub.consumer.settle(settled).await {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => {
            tracing::debug!(subscription = %sub.settings.name, lost = lost.len(), told, "deliveries come again");
        }
        Err(error) if error.is_transient() => {
            tracing::warn!(subscription = %sub.settings.name, %error, told, "deliveries were not settled and come again");
        }
        Err(error) => sub.stop(error),
    }
}

async fn positions(sub: &Subscription) {
    let mut moved = Vec::new();
    loop {
        sub.moved.wait().await;
        sub.moved.take_into(&mut moved);
        let partitions: BTreeSet<_> = moved.drain(..).collect();
        let mut bases = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(tenure) = sub.tenures().get(&partition).cloned() else { continue };
            if !tenure.claimed().progress().stalled.is_empty() {
                sub.control.send(super::subscription::Control::Room);
            }
            bases.push(tenure.claimed().base());
        }
        if bases.is_empty() {
            continue;
        }
        // What moves meanwhile goes with the next telling: a request for each group would cost the broker
        // more than the events.
        if let Err(error) = sub.consumer.commit(bases).await {
            tracing::warn!(subscription = %sub.settings.name, %error, "the broker did not take the position; the store has it");
        }
        sub.env.sleep(TELL_EVERY).await;
    }
}
