//! Admission where keys have leases: those are taken in the round trip that reads the ledger (rule A1).

use std::sync::Arc;

use bytes::Bytes;

use super::{AGAIN_AFTER, AGAIN_MAX, judge, over};
use crate::env::Env;
use crate::error::ErrorKind;
use crate::runtime::Item;
use crate::runtime::intake;
use crate::runtime::leases::{Asked, Leases, enter};
use crate::runtime::settings::LedgerMode;
use crate::runtime::subscription::{Control, Subscription};
use crate::runtime::tenure::Tenure;
use crate::store::{Admission, AdmitBatch, AdmitEvent, Admitted, LeaseAnswer, LeaseKey, SessionId, Store};

/// Events of one subscription go to their keys, to wait for their leases, or are over.
pub(super) async fn admit(sub: &Arc<Subscription>, store: &dyn Store, leases: &Leases, items: Vec<Item>) {
    let items = match &sub.twins {
        Some(twins) => twins.first_only(&sub.budget, items),
        None => items,
    };
    rejoin(sub, store, leases, items).await;
}

/// The same of events that came this far before and had to wait (rule A2).
pub(crate) async fn rejoin(sub: &Arc<Subscription>, store: &dyn Store, leases: &Leases, items: Vec<Item>) {
    if leases.local && leases.lobby().is_lost() {
        take_local(sub, store, leases).await;
    }
    let Asked { items, places, keys, refused } = leases.join(&sub.budget, items);
    sub.send_back(refused);
    if items.is_empty() {
        return;
    }
    let released = items.iter().any(|item| item.released_from().is_some());
    if leases.local && sub.settings.ledger == LedgerMode::Off && !released {
        return sub.enter_lanes(items);
    }
    match ask(sub, store, leases, &keys, &items, &places).await {
        Some((session, answer)) => sort_out(sub, leases, Answered { session, keys, items, places, answer }),
        // It drains, or can't go on.
        None => sub.send_back(items),
    }
}

/// Takes the one lease of all keys, which nobody else asks for: it fences what this worker commits.
pub(crate) async fn take_local(sub: &Arc<Subscription>, store: &dyn Store, leases: &Leases) {
    loop {
        let key = |session: SessionId| vec![Bytes::copy_from_slice(session.0.as_bytes())];
        let keys = key(sub.committer.session());
        let Some((session, answer)) = ask(sub, store, leases, &keys, &[], &[]).await else { return };
        if let [LeaseAnswer::Granted { token, .. }] = answer.leases[..]
            && let Some(tenure) = leases.granted(session, keys[0].clone(), token, 0)
        {
            return sub.ended(&tenure, 1);
        }
        sub.env.sleep(AGAIN_AFTER).await;
    }
}

/// Keys that the store keeps for us and nothing waits for any more: whoever is next in line hears of it.
pub(crate) async fn pass_over(sub: &Arc<Subscription>, store: &dyn Store, leases: &Leases, keys: Vec<Bytes>) {
    if keys.is_empty() {
        return;
    }
    if let Some((session, answer)) = ask(sub, store, leases, &keys, &[], &[]).await {
        let (items, places) = (Vec::new(), Vec::new());
        sort_out(sub, leases, Answered { session, keys, items, places, answer });
    }
}

/// A batch with what the store said of it.
struct Answered {
    session: SessionId,
    keys: Vec<Bytes>,
    items: Vec<Item>,
    places: Vec<Option<usize>>,
    answer: Admitted,
}

fn sort_out(sub: &Arc<Subscription>, leases: &Leases, answered: Answered) {
    let Answered { session, keys, items, places, answer } = answered;
    let granted = keys.iter().zip(&answer.leases).map(|(key, answer)| match answer {
        LeaseAnswer::Granted { token, marks } => {
            // T1: no more than may have been in flight.
            let marks = usize::try_from(*marks).unwrap_or(usize::MAX).min(sub.settings.budget.messages);
            leases.granted(session, key.clone(), *token, marks).map_or(Key::Stale, Key::Ours)
        }
        LeaseAnswer::Taken => Key::Taken,
    });
    let granted: Vec<Key> = granted.collect();
    let (mut fresh, mut known, mut again) = (Vec::with_capacity(items.len()), Vec::new(), Vec::new());
    for ((mut item, place), said) in items.into_iter().zip(places).zip(answer.events) {
        let said = if item.released_from().is_some() { of_released(said) } else { said };
        if matches!(said, Admission::Finished | Admission::Parked) {
            known.push(item);
            continue;
        }
        if item.tenure.key().is_some_and(|of| of.is_kept()) && !leases.local {
            match place.map(|at| &granted[at]) {
                Some(Key::Ours(tenure)) => {
                    tenure.opened(1);
                    enter(&mut item, tenure);
                }
                Some(Key::Taken) => {
                    sub.send_back(leases.wait(&sub.budget, item).into_iter().collect());
                    continue;
                }
                Some(Key::Stale) | None => {
                    again.push(item);
                    continue;
                }
            }
        }
        judge(sub, &mut item, said);
        fresh.push(item);
    }
    sub.chain.trace.duplicates(known.len());
    over(sub, known, |_| true);
    sub.enter_lanes(fresh);
    if !again.is_empty() {
        sub.control.send(Control::Rejoin(again));
    }
    for (key, granted) in keys.into_iter().zip(&granted) {
        match granted {
            // Nothing of it may be left to do.
            Key::Ours(tenure) => sub.ended(tenure, 1),
            Key::Taken => leases.stands_in_line(key),
            Key::Stale => {}
        }
    }
}

/// A letter that was released runs as long as its row is there (rule P2): of several workers that were told of it, the
/// first with the key's lease runs it, and the others find the row gone.
fn of_released(said: Admission) -> Admission {
    if said == Admission::Parked { Admission::Fresh } else { Admission::Finished }
}

enum Key {
    /// Granted to the session that asked and is still ours.
    Ours(Arc<Tenure>),
    /// Another worker has it.
    Taken,
    /// Granted to a session that is gone.
    Stale,
}

/// The answers, with the session that asked; `None`: the worker drains, or the store refused for good.
async fn ask(
    sub: &Arc<Subscription>,
    store: &dyn Store,
    leases: &Leases,
    keys: &[Bytes],
    items: &[Item],
    places: &[Option<usize>],
) -> Option<(SessionId, Admitted)> {
    let mut wait = AGAIN_AFTER;
    loop {
        let session = sub.committer.session();
        match store.admit(batch_of(sub, session, keys, items, places)).await {
            Ok(answer) => return Some((session, answer)),
            Err(error) if error.kind() == ErrorKind::SessionLost => sub.committer.lost().send(session),
            Err(error) if !error.is_transient() => {
                sub.stop(error);
                return None;
            }
            Err(error) => {
                tracing::warn!(subscription = %sub.settings.name, %error, again_in = ?wait, "admission failed");
            }
        }
        if leases.is_closed() || sub.stopped.is_cancelled() {
            return None;
        }
        pause(&sub.env, &mut wait).await;
    }
}

async fn pause(env: &Env, wait: &mut std::time::Duration) {
    if mutant!("spin-in-admission") {
        return env.sleep(std::time::Duration::from_micros(1)).await;
    }
    env.sleep(*wait).await;
    *wait = (*wait * 2).min(AGAIN_MAX);
}

fn batch_of(
    sub: &Subscription,
    session: SessionId,
    keys: &[Bytes],
    items: &[Item],
    places: &[Option<usize>],
) -> AdmitBatch {
    let events = items.iter().zip(places).map(|(item, place)| AdmitEvent {
        id: item.id(),
        payload: item.ledger,
        lease: *place,
        leased: true,
    });
    let events = events.collect();
    AdmitBatch { session, scope: sub.settings.scope.clone(), leases: keys.to_vec(), events }
}

/// Tells the task that pulls of leases that may be had, while something waits for one. Runs until its
/// environment drops it.
pub(crate) async fn listen(sub: Arc<Subscription>, store: Arc<dyn Store>) {
    let Some(leases) = &sub.leases else { return };
    loop {
        if !leases.is_waiting() {
            leases.waits.notified().await;
            continue;
        }
        let session = sub.committer.session();
        match sub.env.timeout("a free lease", LOOK_EVERY, store.freed(session)).await {
            Ok(Ok(keys)) if !keys.is_empty() => {
                tell_all(&sub, &keys);
                // Until they were asked for, the store says the same again.
                sub.env.sleep(HEARD).await;
            }
            Ok(Ok(_)) => sub.env.sleep(HEARD).await,
            Ok(Err(error)) => {
                tracing::debug!(subscription = %sub.settings.name, %error, "no word of free leases");
                sub.env.sleep(LOOK_EVERY).await;
            }
            // What only time frees is noticed by the next look.
            Err(_) => {}
        }
    }
}

/// The store tells of all that the session waits for, and may tell it once: whoever hears it passes it on to every
/// subscription that it concerns.
fn tell_all(sub: &Subscription, keys: &[LeaseKey]) {
    for other in sub.committer.subscriptions() {
        let own: Vec<_> = keys.iter().filter(|key| key.scope == other.settings.scope).cloned().collect();
        if let Some(leases) = other.leases.as_ref().filter(|_| !own.is_empty()) {
            leases.tell(|| other.control.send(Control::Freed(own)));
        }
    }
}

/// What comes free without a word, because its owner died, is noticed after so long.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// The least time between two looks.
const HEARD: std::time::Duration = std::time::Duration::from_millis(5);

/// What earlier owners left of an event, as the store said it with the lease.
pub(super) fn recall(sub: &Subscription, item: &mut Item, said: Admission) {
    let Admission::Tried(row) = said else { return };
    // Of what was here before, memory may know more than the store yet.
    let known = item.attempts();
    intake::recall(sub, item, Some(*row), false);
    let history = item.history();
    history.attempts = history.attempts.max(known);
}
