//! The events of the benches with a store: orders with an id each, as a producer with an outbox would
//! publish them.

use bytes::Bytes;
use keylane::Text;
use keylane::event::Record;

use crate::keys::{self, Spread};

pub(crate) const KEYS: u32 = 10_000;
const PARTITIONS: usize = 8;

/// What an order says, 200 bytes.
pub(crate) const PAYLOAD: &[u8] = br#"{"order":"4711","customer":{"name":"A Customer","city":"Anywhere"},"items":[{"article":"0815","pieces":2,"cents":1999},{"article":"0816","pieces":1,"cents":499}],"total":4497,"note":"at the backdoor"}"#;

/// What both arms write of an event.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// The orders of a run, the same each time.
pub(crate) fn orders(spread: Spread, events: u64) -> Vec<Order> {
    orders_of(spread, events, 0x0190_0000_0000)
}

/// The same orders as if they were placed now: where a ledger lies in parts by time, those of today are meant.
#[cfg(feature = "postgres")]
pub(crate) fn orders_of_today(spread: Spread, events: u64) -> Vec<Order> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    orders_of(spread, events, u64::try_from(now.as_millis()).unwrap_or(0))
}

fn orders_of(spread: Spread, events: u64, millis: u64) -> Vec<Order> {
    let drawn = keys::draw(spread, KEYS, events);
    (0..).zip(drawn).map(|(number, key)| Order { id: id(millis, number), key: keys::name(key) }).collect()
}

/// The orders as records, by partition: those of one key in one partition.
pub(crate) fn records(orders: &[Order]) -> Vec<Vec<Record>> {
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let mut partitions: Vec<_> =
        (0..PARTITIONS).map(|_| Vec::with_capacity(orders.len() / PARTITIONS)).collect();
    for order in orders {
        let place = hasher.hash_one(&order.key) % PARTITIONS as u64;
        partitions[usize::try_from(place).unwrap_or(0)].push(record(order));
    }
    partitions
}

/// An order as a CloudEvent.
pub(crate) fn record(order: &Order) -> Record {
    Record::new(Bytes::from_static(PAYLOAD))
        .with_key(order.key.clone())
        .with_header(Text::from_static("ce_specversion"), "1.0")
        .with_header(Text::from_static("ce_source"), "/orders")
        .with_header(Text::from_static("ce_type"), "order.paid")
        .with_header(Text::from_static("ce_id"), order.id.clone())
}

/// A UUIDv7 as a producer of one thousand events a millisecond would make it.
fn id(first_millis: u64, number: u64) -> String {
    let millis = first_millis + number / 1000;
    let random = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        number % 1000,
        0x8000 | (random >> 50),
        random & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_two_hundred_bytes() {
        assert_eq!(PAYLOAD.len(), 200);
    }

    #[test]
    fn no_record_is_lost_between_partitions_and_no_id_is_there_twice() {
        let orders = orders(Spread::Zipf, 10_000);
        assert_eq!(records(&orders).iter().map(Vec::len).sum::<usize>(), 10_000);
        let mut ids: Vec<_> = orders.iter().map(|order| &order.id).collect();
        assert!(ids.iter().all(|id| id.len() == 36));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 10_000);
    }
}
