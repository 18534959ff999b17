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
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'\'' | b'"');
        let text = |key: &Bytes| match key.iter().all(plain) {
            true => String::from_utf8_lossy(key).into_owned(),
            false => key.escape_ascii().to_string(),
        };
        self.key.as_ref().map(text)
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
    /// What of the record these two do not tell; `None`: they tell all of it, as they do of most events.
    pub raw: Option<Box<Raw>>,
}

/// A record beside its headers, as the broker handed it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The broker's key.
    pub key: Option<Bytes>,
    /// The whole body.
    pub body: Bytes,
    /// The broker's time.
    pub time: Option<Timestamp>,
    /// The broker's message id.
    pub id: Option<Text>,
}

impl Envelope {
    /// The record's whole body, as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        self.raw.as_ref().map_or(&self.payload, |raw| &raw.body)
    }

    /// The record as the broker handed it over, for the parking table.
    #[must_use]
    pub fn record(&self) -> Record {
        let headers = self.meta.headers.clone();
        match self.raw.as_deref().cloned() {
            Some(Raw { key, body, time, id }) => Record { key, headers, payload: body, time, id },
            None => Record {
                key: self.meta.key.clone(),
                headers,
                payload: self.payload.clone(),
                time: self.meta.time,
                id: None,
            },
        }
    }
}
