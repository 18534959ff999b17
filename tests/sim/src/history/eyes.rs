//! A worker's eyes: what passes between it, its store and its broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use keylane::broker::{Base, Partition};
use keylane::delivery::{Delivery, Settlement};
use keylane::env::{Instant, Timestamp};
use keylane::event::PayloadHash;
use keylane::memory::MemoryBroker;
use keylane::store::{CommitGroup, Fate, LeaseAnswer, LeaseKey, SessionId, Verdict};

use super::History;
use crate::event::Event;
use crate::faults::{BrokerEyes, StoreEyes};
use crate::server::SimServer;

/// More calls than this that fail in a virtual second: nobody waits between them. Three partitions are asked for
/// ten times a second, and admission, commits and the keeper have pauses of their own.
const REFUSED_MAX: u32 = 150;

/// Where events lie.
#[derive(Clone)]
pub(crate) enum Places {
    Log(MemoryBroker),
    Server(SimServer),
}

/// A worker's eyes.
pub(crate) struct Eyes {
    node: usize,
    history: History,
    places: Places,
    /// Deliveries that are not settled, by ticket.
    handed: Mutex<BTreeMap<u64, Event>>,
    /// Payloads that were handed to the worker and still live.
    alive: Arc<AtomicUsize>,
}

/// A payload that says when its last copy is gone.
struct Counted {
    bytes: Bytes,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Eyes {
    pub(super) fn new(node: usize, history: History, places: Places) -> Self {
        Self { node, history, places, handed: Mutex::default(), alive: Arc::default() }
    }

    fn promise(&self, sent: Option<(Instant, Timestamp)>) {
        if let Some(promise) = self.history.seen().promises.get_mut(&self.node) {
            promise.sent = sent;
        }
    }

    /// The event that lies there.
    fn at(&self, partition: Partition, offset: u64) -> Option<Event> {
        let Places::Log(broker) = &self.places else { return None };
        let records = broker.records("orders", partition);
        Event::of_record(records.get(usize::try_from(offset).ok()?)?)
    }

    fn called(&self, refused: u32) -> u32 {
        let second = self.history.world.now().as_secs();
        let mut seen = self.history.seen();
        let calls = seen.calls.entry((self.node, second)).or_default();
        calls.0 += 1 - refused;
        calls.1 += refused;
        calls.1
    }
}

impl StoreEyes for Eyes {
    fn promised(&self, sent: (Instant, Timestamp)) {
        self.promise(Some(sent));
    }

    fn session_lost(&self) {
        self.promise(None);
    }

    fn asked(&self, _what: &'static str) {
        self.called(0);
    }

    fn refused(&self, what: &'static str) {
        if self.called(1) == REFUSED_MAX {
            self.history.wrong(format!(
                "node {} spins: {REFUSED_MAX} calls failed in a second, now {what}",
                self.node
            ));
        }
    }

    fn registers(&self, session: SessionId) {
        let now = self.history.world.now();
        let mut seen = self.history.seen();
        seen.holds.registers(self.node, session);
        let before: Vec<u64> =
            seen.open.iter().filter(|(_, (node, _))| *node == self.node).map(|(number, _)| *number).collect();
        seen.before.extend(before.into_iter().map(|number| (number, now)));
    }

    fn answered(&self, session: SessionId, leases: Vec<(LeaseKey, LeaseAnswer)>) {
        for (key, answer) in &leases {
            let key = String::from_utf8_lossy(&key.key);
            self.history.world.note(format_args!("node {} asks for {key}: {answer:?}", self.node));
        }
        let mut seen = self.history.seen();
        let living = seen.living();
        let wrong = seen.holds.answered(session, leases, |session| living.contains(&session));
        drop(seen);
        wrong.into_iter().for_each(|what| self.history.wrong(what));
    }

    fn durable(&self, group: &CommitGroup, fates: &[Fate]) {
        for (event, fate) in group.events().zip(fates) {
            let ends = matches!(event.verdict, Verdict::Finish | Verdict::Park(_));
            if !ends || *fate != Fate::Committed {
                continue;
            }
            let hold = group.holds[event.hold].hold();
            let found = match &event.verdict {
                Verdict::Park(parked) => Event::of_record(&parked.record),
                _ => finished(&event.key, event.id.as_str(), event.ledger),
            };
            let Some(found) = found else { continue };
            self.history.world.note(format_args!("node {} wrote {found} under {hold:?}", self.node));
            let mut seen = self.history.seen();
            seen.durable.insert(found);
            // Who was told of a letter's release runs it, also when another worker was quicker: its row decides (P2).
            if !seen.released.contains(&found) {
                seen.over.insert(found);
            }
            let wrong = match event.verdict {
                Verdict::Finish if !self.history.mix.local => {
                    let living = seen.living();
                    seen.holds.effect(&hold, &event.key, |session| living.contains(&session))
                }
                _ => None,
            };
            drop(seen);
            wrong.into_iter().for_each(|what| self.history.wrong(what));
        }
    }
}

/// Which of the events of an id was finished: its payload's digest tells.
fn finished(key: &[u8], id: &str, ledger: Option<PayloadHash>) -> Option<Event> {
    let number = id.split(' ').next()?.rsplit('/').next()?;
    let right = Event::of(key, number.as_bytes())?;
    let other = Event { other: true, ..right };
    let is_other = ledger == Some(PayloadHash::of(other.payload().as_bytes()));
    Some(if is_other { other } else { right })
}

impl BrokerEyes for Eyes {
    fn told(&self, bases: &[Base]) {
        for base in bases {
            for event in (0..base.offset).filter_map(|offset| self.at(base.partition, offset)) {
                if !self.history.seen().durable.contains(&event) {
                    let (node, partition, offset) = (self.node, base.partition, base.offset);
                    self.history.wrong(format!(
                        "node {node} tells the broker that {partition} is finished below {offset}, and {event} is not"
                    ));
                }
            }
        }
    }

    fn handed(&self, delivery: &mut Delivery) {
        let Some(event) = Event::of_record(&delivery.record) else { return };
        self.history.world.note(format_args!("node {} is handed {event}", self.node));
        if matches!(self.places, Places::Server(_)) {
            let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
            handed.insert(delivery.ticket.number(), event);
        }
        let mix = &self.history.mix;
        if mix.skip || mix.conflicts {
            // Dead letters keep their bytes in the store, which is memory here.
            return;
        }
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        let bytes = std::mem::take(&mut delivery.record.payload);
        delivery.record.payload = Bytes::from_owner(Counted { bytes, alive: self.alive.clone() });
        let most = mix.unsettled_max();
        if alive > most {
            self.history.wrong(format!("node {} holds {alive} events, over its {most}", self.node));
        }
    }

    fn settled(&self, ticket: u64, settlement: Settlement) {
        let event = self.handed.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        let Some(event) = event else { return };
        self.history.world.note(format_args!("node {} settles {event}: {settlement:?}", self.node));
        let done = matches!(settlement, Settlement::Ack | Settlement::Reject);
        let known = self.history.seen().durable.contains(&event);
        if done && !known {
            self.history.wrong(format!("node {} settles {event}, which is not durable", self.node));
        }
    }

    fn unheard(&self) {
        // What a broken connection was told it did not hear; it is replaced.
        if let Places::Server(server) = &self.places {
            server.cut(self.node);
        }
    }
}
