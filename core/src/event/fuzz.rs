//! Bodies for fuzz targets and property tests: whatever the bytes, nothing panics.

use std::sync::Arc;

use bytes::Bytes;

use super::{Decoded, Decoder, Field, Headers, IdRule, KeyRule, KindRule, Limits, Record, Rules};
use crate::delivery::Place;

const PLACE: Place = Place { partition: 0, epoch: 1, offset: 7 };

/// Any bytes as a payload that rules look into, and again as a written record.
pub fn decode(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let record = Record::from_bytes(bytes.clone()).unwrap_or_else(|_| Record::new(bytes));
    let pointing = |text: &str| text.parse::<Field>().ok();
    let inside = Rules {
        id: pointing("payload:/id").map_or(IdRule::Auto, IdRule::Field),
        key: pointing("payload:/key/0").map_or(KeyRule::Broker, KeyRule::Field),
        kind: pointing("header:k").map_or(KindRule::Auto, KindRule::Field),
        sequence: pointing("payload:/n"),
        ..Rules::default()
    };
    let narrow = Limits {
        payload_max: 64,
        headers_max: 1,
        header_bytes_max: 32,
        depth_max: 3,
        key_bytes_max: 4,
        id_bytes_max: 4,
    };
    for rules in [Rules::default(), Rules { limits: narrow, ..inside.clone() }, inside] {
        keeps_the_record(rules, record.clone());
    }
}

/// Any bytes as a structured CloudEvent, and as the attributes of a binary one.
pub fn cloudevents(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let body = Record::new(bytes.clone()).with_header("content-type", "application/cloudevents+json");
    let rules = Rules { sequence: "header:ce_sequence".parse().ok(), ..Rules::default() };
    keeps_the_record(rules.clone(), body);
    let mut binary = Record::new("{}");
    for (at, value) in bytes.split(|byte| *byte == b'\n').take(8).enumerate() {
        let name = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce-time", "ce_sequence"].get(at);
        binary.headers.push((*name.unwrap_or(&"content-type")).into(), bytes.slice_ref(value));
    }
    keeps_the_record(rules, binary);
}

/// Any bytes as a written record and as written headers: what reads, is written back the same.
pub fn record(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(record) = Record::from_bytes(bytes.clone()) {
        assert_eq!(record.to_bytes(), bytes, "a record has two forms");
    }
    if let Ok(headers) = Headers::from_bytes(bytes.clone()) {
        assert_eq!(headers.to_bytes(), bytes, "headers have two forms");
    }
}

/// Whatever becomes of a record, nothing of what the broker handed over is lost.
fn keeps_the_record(rules: Rules, record: Record) {
    let limits = rules.limits.clone();
    let decoder = Decoder::new(rules, Arc::from("s"), Arc::from("t"));
    let envelope = match decoder.decode(record.clone(), PLACE) {
        Decoded::Event(envelope) => envelope,
        Decoded::Dead { envelope, why, .. } => {
            assert!(why.len() < 1024, "a message is longer than anyone reads: {why}");
            envelope
        }
    };
    let kept = envelope.record();
    assert_eq!((kept.key, kept.headers, kept.payload), (record.key, record.headers, record.payload));
    let key = envelope.meta.key.unwrap_or_default();
    assert!(key.len() <= limits.key_bytes_max, "a key over its limit");
    assert!(envelope.meta.kind.len() <= limits.id_bytes_max, "a kind over its limit");
}
