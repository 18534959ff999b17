//! An event whose metadata was found, its payload still bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{EventId, Headers, Record};
use crate::delivery::Place;
use crate::env::Timestamp;
use crate::text::Text;

/// What is known of an event besides its payload.
#[derive(Debug, Clone)]
pub struct Meta {
    /// The identity by which duplicates are known.
    pub id: EventId,
    /// What routes it to a handler, such as `order.paid`.
    pub kind: Text,
    /// The ordering key; `None`: the event is its own lane (rule L3).
    pub key: Option<Bytes>,
    /// The number within its key, where events carry one.
    pub sequence: Option<u64>,
    /// When it happened, by CloudEvents' `time`, else by the broker.
    pub time: Option<Timestamp>,
    /// The broker's headers, as they came.
    pub headers: Headers,
    /// Where in the log it stands, and under which claim.
    pub place: Place,
    /// The subscription that handles it.
    pub subscription: Arc<str>,
}

impl Meta {
    /// The key's bytes, or the id's where the event has no key (rule L3).
    #[must_use]
    pub fn lane_key(&self) -> Bytes {
        self.key.clone().unwrap_or_else(|| self.id.to_text().into_bytes())
    }

    /// The key as text for people: UTF-8 as it is, anything else escaped.
    #[must_use]
    pub fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(|key| key.escape_ascii().to_string())
    }
}

/// An event on its way to a handler: metadata and the raw payload. Each attempt decodes it anew.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// What is known of it.
    pub meta: Meta,
    /// The payload the handler's argument is decoded from. For a structured CloudEvent this is its
    /// `data`; the record keeps the whole.
    pub payload: Bytes,
    /// The broker's key as it came; with `meta` and `body` it gives the record back for a dead letter.
    pub broker_key: Option<Bytes>,
    /// The record's whole body, as it came.
    pub body: Bytes,
}

impl Envelope {
    /// The record as the broker handed it over, for the parking table.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            key: self.broker_key.clone(),
            headers: self.meta.headers.clone(),
            payload: self.body.clone(),
            time: self.meta.time,
            id: None,
        }
    }
}
