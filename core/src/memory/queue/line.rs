//! One queue: who stands in line, and who was handed what.

use std::collections::BTreeMap;

use super::Queued;
use crate::delivery::Settlement;
use crate::event::Record;

/// The messages of a queue. Each keeps the place that it got when it was published, so that what comes back
/// stands before all that was published later.
#[derive(Default)]
pub(super) struct Line {
    ready: BTreeMap<u64, Message>,
    /// The connected consumers by number, each with what it has.
    connected: BTreeMap<u64, Unsettled>,
    /// The place of the next message.
    next: u64,
    redelivered: u64,
}

/// What a connection was handed and has not settled, by ticket.
type Unsettled = BTreeMap<u64, (u64, Message)>;

struct Message {
    record: Record,
    /// How often it was handed over.
    handed: u32,
}

impl Line {
    pub(super) fn publish(&mut self, record: Record) {
        self.ready.insert(self.next, Message { record, handed: 0 });
        self.next += 1;
    }

    /// Connects a consumer; false when it is connected already.
    pub(super) fn connect(&mut self, consumer: u64) -> bool {
        let connected = self.connected.len();
        self.connected.entry(consumer).or_default();
        self.connected.len() > connected
    }

    /// Ends a consumer's connection: what it had is ready again.
    pub(super) fn cut(&mut self, consumer: u64) {
        let unsettled = self.connected.remove(&consumer).unwrap_or_default();
        self.ready.extend(unsettled.into_values());
    }

    pub(super) fn cut_all(&mut self) {
        for unsettled in std::mem::take(&mut self.connected).into_values() {
            self.ready.extend(unsettled.into_values());
        }
    }

    /// Hands the first message to a consumer that has fewer than `unsettled_max`: its record, and how often it was
    /// handed over by now.
    pub(super) fn hand(&mut self, consumer: u64, ticket: u64, unsettled_max: usize) -> Option<(Record, u32)> {
        let unsettled =
            self.connected.get_mut(&consumer).filter(|unsettled| unsettled.len() < unsettled_max)?;
        let (place, mut message) = self.ready.pop_first()?;
        self.redelivered += u64::from(message.handed > 0);
        message.handed = message.handed.saturating_add(1);
        let handed = (message.record.clone(), message.handed);
        unsettled.insert(ticket, (place, message));
        Some(handed)
    }

    /// Settles what this connection of the consumer was handed; false for any other ticket.
    pub(super) fn settle(&mut self, consumer: u64, ticket: u64, settlement: Settlement) -> bool {
        let unsettled = self.connected.get_mut(&consumer);
        let Some((place, message)) = unsettled.and_then(|unsettled| unsettled.remove(&ticket)) else {
            return false;
        };
        match settlement {
            Settlement::Release => drop(self.ready.insert(place, message)),
            // There are no dead letters here: what is rejected is gone. A delay never gets this far.
            Settlement::Ack | Settlement::Reject | Settlement::RetryLater(_) => {}
        }
        true
    }

    pub(super) fn consumers(&self) -> impl Iterator<Item = u64> {
        self.connected.keys().copied()
    }

    pub(super) fn counts(&self) -> Queued {
        Queued {
            ready: self.ready.len(),
            unsettled: self.connected.values().map(BTreeMap::len).sum(),
            redelivered: self.redelivered,
        }
    }
}
