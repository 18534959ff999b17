//! Decoding (stand-in).
use super::*;
use crate::delivery::Place;
use crate::store::Death;
use std::sync::Arc;
/// Rules.
#[derive(Debug, Clone, Default)]
pub struct Rules;
impl Rules {
    /// c
    pub fn of(_: &crate::config::EventConfig, _: &crate::config::LimitsConfig) -> Self {
        Self
    }
}
/// Decoder.
#[derive(Debug, Clone)]
pub struct Decoder {
    subscription: Arc<str>,
    source: Arc<str>,
}
/// Decoded.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// e
    Event(Envelope),
    /// d
    Dead {
        /// e
        envelope: Envelope,
        /// d
        death: Death,
        /// w
        why: String,
    },
}
impl Decoder {
    /// n
    pub fn new(_: Rules, subscription: Arc<str>, source: Arc<str>) -> Self {
        Self { subscription, source }
    }
    /// d
    pub fn decode(&self, record: Record, place: Place) -> Decoded {
        let kind = record
            .headers
            .first("ce_type")
            .map(|b| crate::Text::from_utf8(b.clone()).unwrap_or_default())
            .unwrap_or_default();
        let id = record
            .headers
            .first("ce_id")
            .and_then(|b| crate::Text::from_utf8(b.clone()).ok())
            .map(EventId::given)
            .unwrap_or_else(|| EventId::place(self.source.clone(), place.partition, place.offset));
        Decoded::Event(Envelope {
            meta: Meta {
                id,
                kind,
                key: record.key.clone(),
                sequence: None,
                time: record.time,
                headers: record.headers,
                place,
                subscription: self.subscription.clone(),
            },
            payload: record.payload.clone(),
            broker_key: record.key,
            body: record.payload,
        })
    }
}
