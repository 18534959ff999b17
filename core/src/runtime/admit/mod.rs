//! Admission: one store read for a batch, and only where the ledger is by id or keys have leases.

pub(crate) mod leased;

use std::sync::Arc;
use std::time::Duration;

use super::Item;
use super::shard::CONFLICT;
use super::subscription::Subscription;
use crate::delivery::Settlement;
use crate::error::ErrorKind;
use crate::store::{Admission, AdmitBatch, AdmitEvent, Death, Store};

const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// Asks the store what it knows of these items and sends the fresh ones to their lanes. What is finished
/// or parked already is over here; what waits for its twin comes again through this (rules A2, A3).
pub(crate) async fn admit(sub: &Arc<Subscription>, store: &dyn Store, items: Vec<Item>) {
    if items.is_empty() {
        return;
    }
    if let Some(leases) = &sub.leases {
        return leased::admit(sub, store, leases, items).await;
    }
    let Some(twins) = &sub.twins else { return sub.enter_lanes(items) };
    let items = twins.first_only(&sub.budget, items);
    let Some(answers) = ask(sub, store, &items).await else {
        // The session is gone, and every tenure with it.
        return over(sub, items, |_| false);
    };
    let mut fresh = Vec::with_capacity(items.len());
    let mut known = Vec::new();
    for (mut item, answer) in items.into_iter().zip(answers) {
        match answer {
            Admission::Finished | Admission::Parked => known.push(item),
            said => {
                judge(sub, &mut item, said);
                fresh.push(item);
            }
        }
    }
    sub.chain.trace.duplicates(known.len());
    over(sub, known, |_| true);
    sub.enter_lanes(fresh);
}

/// What goes to its lane, with what the store knows of it.
fn judge(sub: &Subscription, item: &mut Item, said: Admission) {
    match said {
        // Rule L4: a dead letter in its lane's turn.
        Admission::Conflict => item.history().dead = Some((Death::Conflict, CONFLICT.to_owned())),
        said => leased::recall(sub, item, said),
    }
}

/// The answers, one an item; `None`: the session is lost. An outage waits, it costs nothing else.
async fn ask(sub: &Arc<Subscription>, store: &dyn Store, items: &[Item]) -> Option<Vec<Admission>> {
    let mut wait = AGAIN_AFTER;
    loop {
        let (batch, asked) = batch_of(sub, items);
        if batch.events.is_empty() {
            return Some(items.iter().map(|_| Admission::Fresh).collect());
        }
        match store.admit(batch).await {
            Ok(answers) => {
                let mut all = vec![Admission::Fresh; items.len()];
                for (at, answer) in asked.into_iter().zip(answers.events) {
                    all[at] = answer;
                }
                return Some(all);
            }
            Err(error) if error.kind() == ErrorKind::SessionLost => {
                sub.committer.lost().send(sub.committer.session());
                return None;
            }
            Err(error) if !error.is_transient() => {
                sub.stop(error);
                return None;
            }
            Err(error) => {
                tracing::warn!(subscription = %sub.settings.name, %error, again_in = ?wait, "admission failed");
                sub.env.sleep(wait).await;
                wait = (wait * 2).min(AGAIN_MAX);
            }
        }
        if items.iter().all(|item| !item.tenure.may_start()) {
            return None;
        }
    }
}

/// The batch, and which items it asks of: one that was released from the parking table is known there.
fn batch_of(sub: &Subscription, items: &[Item]) -> (AdmitBatch, Vec<usize>) {
    let mut events = Vec::with_capacity(items.len());
    let mut asked = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some(payload) = item.ledger else { continue };
        events.push(AdmitEvent { id: item.id(), payload: Some(payload), lease: None, leased: false });
        asked.push(at);
    }
    let scope = sub.settings.scope.clone();
    (AdmitBatch { session: sub.committer.session(), scope, leases: Vec::new(), events }, asked)
}

/// Items that never reach a lane.
fn over(sub: &Arc<Subscription>, items: Vec<Item>, finished: impl Fn(&Item) -> bool) {
    let mut bytes = 0;
    let messages = items.len();
    for mut item in items {
        bytes += item.bytes as usize;
        if finished(&item) {
            if let Some(ticket) = item.ticket.take() {
                sub.settled.send(ticket.settle(Settlement::Ack));
            }
            if item.tenure.partition().is_some_and(|of| of.finish_plain(&[item.offset()])) {
                sub.committer.dirty(&item.tenure);
            }
        }
        if let (Some(leases), Some(parked)) = (&sub.leases, item.released_from()) {
            leases.released(&parked);
        }
        sub.ended(&item.tenure, 1);
        if let Some(twins) = &sub.twins {
            twins.ended(sub, &item);
        }
    }
    sub.budget.give_back(messages, bytes);
}
