//! One order from its beginning to its end.

use bytes::Bytes;
use serde::Serialize;

use super::Planned;
use crate::chance::Chance;
use crate::events::{
    CANCELLED, CREATED, Card, OrderCancelled, OrderCreated, OrderPaid, OrderShipped, PAID, SHIPPED,
};

/// An order, and when it happens.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) order: String,
    pub(super) customer: String,
    pub(super) parcels: u32,
    pub(super) cents: i64,
    pub(super) begins: u64,
    pub(super) lasts: u64,
    pub(super) trouble: Trouble,
}

/// What is wrong with an order, beyond a bank that has its moods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The bank refuses the card: a permanent failure.
    StolenCard,
    /// The bank never answers: the attempts are used up.
    SilentBank,
    /// A producer wrote half a payload.
    Torn,
    /// A producer sends a kind that nobody handles.
    UnknownKind,
    /// A producer sends other facts under an id that it used before.
    Rewritten,
    /// The order is cancelled, and the refund takes long.
    SlowRefund,
}

impl Trouble {
    /// As often as they happen.
    pub(super) const SOME: [Self; 16] = [
        Self::StolenCard,
        Self::StolenCard,
        Self::StolenCard,
        Self::StolenCard,
        Self::SilentBank,
        Self::SilentBank,
        Self::SilentBank,
        Self::Torn,
        Self::Torn,
        Self::Torn,
        Self::UnknownKind,
        Self::UnknownKind,
        Self::Rewritten,
        Self::Rewritten,
        Self::SlowRefund,
        Self::SlowRefund,
    ];
}

/// So many orders in a hundred are cancelled.
const CANCELLED_PERCENT: u64 = 8;

impl Story {
    /// Its events with their times, in order.
    pub(super) fn tell(&self, chance: &mut Chance) -> Vec<(u64, Planned)> {
        let mut events = vec![self.created(), self.paid()];
        let slow = self.trouble == Trouble::SlowRefund;
        if slow || (self.parcels == 1 && chance.percent(CANCELLED_PERCENT)) {
            events.push(self.cancelled(slow));
        } else {
            events.extend((1..=self.parcels).map(|parcel| self.shipped(parcel)));
        }
        if self.trouble == Trouble::UnknownKind {
            let version = events.len() as u32 + 1;
            events.push(self.event(version, "order.teleported", &self.order));
        }
        if self.trouble == Trouble::Torn
            && let Some(last) = events.last_mut()
        {
            last.payload.truncate(last.payload.len() / 2);
        }
        let mut times: Vec<u64> = events.iter().map(|_| self.begins + chance.below(self.lasts)).collect();
        times.sort_unstable();
        times.into_iter().zip(events).collect()
    }

    fn created(&self) -> Planned {
        let Self { order, customer, parcels, cents, .. } = self;
        let (order, customer) = (order.clone(), customer.clone());
        let event = OrderCreated { order, version: 1, customer, parcels: *parcels, cents: *cents };
        self.event(1, CREATED, &event)
    }

    fn paid(&self) -> Planned {
        let card = match self.trouble {
            Trouble::StolenCard => Card::Stolen,
            Trouble::SilentBank => Card::Silent,
            _ => Card::Good,
        };
        self.event(2, PAID, &OrderPaid { order: self.order.clone(), version: 2, cents: self.cents, card })
    }

    fn shipped(&self, parcel: u32) -> Planned {
        let version = parcel + 2;
        self.event(version, SHIPPED, &OrderShipped { order: self.order.clone(), version, parcel })
    }

    fn cancelled(&self, slow: bool) -> Planned {
        let order = self.order.clone();
        let event = OrderCancelled { order, version: 3, refund_cents: self.cents, slow };
        self.event(3, CANCELLED, &event)
    }

    fn event(&self, version: u32, kind: &'static str, payload: &impl Serialize) -> Planned {
        let payload = serde_json::to_vec(payload).expect("these payloads have text for keys and no floats");
        let id = format!("{}.{version}", self.order);
        Planned { id, order: self.order.clone(), kind, payload: Bytes::from(payload) }
    }
}

/// The same id with another payload.
pub(super) fn rewritten(event: &Planned) -> Planned {
    let text = String::from_utf8_lossy(&event.payload).replace("\"cents\":", "\"cents\":1");
    Planned { payload: Bytes::from(text), ..event.clone() }
}
