//! Decoding, seen from outside.

mod cloudevents;
mod decode;

use crate::delivery::Place;
use crate::event::{Decoded, Decoder, Envelope, Record, Rules};
use crate::store::Death;

const PLACE: Place = Place { partition: 3, epoch: 2, offset: 1871 };

fn decode(rules: Rules, record: Record) -> Decoded {
    Decoder::new(rules, "billing".into(), "orders".into()).decode(record, PLACE)
}

/// The record's envelope, which must be an event's.
fn event(rules: Rules, record: Record) -> Envelope {
    match decode(rules, record) {
        Decoded::Event(envelope) => envelope,
        dead @ Decoded::Dead { .. } => panic!("{dead:?}"),
    }
}

/// How the record died and what people are told, after a look at what must hold of every dead letter.
fn dead(rules: Rules, record: Record) -> (Envelope, Death, String) {
    match decode(rules, record.clone()) {
        Decoded::Dead { envelope, death, why } => {
            assert_eq!(envelope.record(), Record { id: None, ..record }, "a dead letter keeps its record");
            assert!(why.len() < 400, "{why}");
            (envelope, death, why)
        }
        Decoded::Event(envelope) => panic!("{envelope:?}"),
    }
}
