//! The identity of an event within its subscription.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::env::Timestamp;
use crate::text::Text;

/// What makes two deliveries the same event.
///
/// Either text that the event carries (a broker field, a header, a payload path), or, where events
/// carry none, the place in the log: written `source/partition/offset`, with the partition's generation before
/// the offset where an operator let a changed log go on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventId(Inner);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Inner {
    Given(Text),
    /// Text is made only when somebody asks: most events are never asked.
    Place {
        source: Arc<str>,
        partition: u32,
        generation: u64,
        offset: u64,
    },
}

impl EventId {
    /// An id that the event carries.
    #[must_use]
    pub fn given(id: impl Into<Text>) -> Self {
        Self(Inner::Given(id.into()))
    }

    /// The id of an event that carries none.
    #[must_use]
    pub fn place(source: Arc<str>, partition: u32, offset: u64) -> Self {
        Self(Inner::Place { source, partition, generation: 0, offset })
    }

    /// Says in which generation of its partition the event was read: where an operator let a changed log go
    /// on (rule L2), its offsets name other events. An id that the event carries stays as it is.
    pub(crate) fn read_in(&mut self, of: u64) {
        if let Inner::Place { generation, .. } = &mut self.0 {
            *generation = of;
        }
    }

    /// True when it is made from where the event lies, because the event carries none.
    pub(crate) fn is_place(&self) -> bool {
        matches!(self.0, Inner::Place { .. })
    }

    /// The id as text.
    #[must_use]
    pub fn to_text(&self) -> Text {
        match &self.0 {
            Inner::Given(text) => text.clone(),
            Inner::Place { .. } => Text::from(self.to_string()),
        }
    }

    /// The time that a UUIDv7 or a ULID carries; `None` for any other id (rule L1). A CloudEvent's source
    /// behind its id is passed over.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        match &self.0 {
            Inner::Given(text) => {
                let id = text.split(' ').next().unwrap_or_default();
                uuid_v7_time(id).or_else(|| ulid_time(id))
            }
            Inner::Place { .. } => None,
        }
    }
}

impl From<&str> for EventId {
    fn from(id: &str) -> Self {
        Self::given(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Given(text) => f.write_str(text),
            Inner::Place { source, partition, generation: 0, offset } => {
                write!(f, "{source}/{partition}/{offset}")
            }
            Inner::Place { source, partition, generation, offset } => {
                write!(f, "{source}/{partition}/{generation}/{offset}")
            }
        }
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn uuid_v7_time(text: &str) -> Option<Timestamp> {
    if text.len() != 36 {
        return None;
    }
    let id = uuid::Uuid::try_parse(text).ok()?;
    if id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp::from_micros(micros + i64::from(nanos / 1000)))
}

/// The first ten characters of a ULID are its milliseconds in Crockford's base 32.
fn ulid_time(text: &str) -> Option<Timestamp> {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if text.len() != 26 {
        return None;
    }
    let mut millis: i64 = 0;
    for (at, c) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|letter| *letter == c.to_ascii_uppercase())?;
        if at == 0 && digit > 7 {
            return None;
        }
        if at < 10 {
            millis = (millis << 5) | i64::try_from(digit).ok()?;
        }
    }
    Some(Timestamp::from_millis(millis))
}

/// A short digest of a payload, by which the same id with another payload is noticed (rule L4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadHash(pub [u8; 16]);

impl PayloadHash {
    /// The first 128 bits of the payload's SHA-256: a producer can't make two payloads collide.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&Sha256::digest(payload)[..16]);
        Self(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_ids_that_carry_their_time_say_so() {
        let v7 = EventId::given("0190163d-8694-739b-aea5-966c26f8ad91");
        assert_eq!(v7.time().map(Timestamp::as_millis), Some(0x0190_163d_8694));
        let ulid = EventId::given("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(ulid.time().map(Timestamp::as_millis), Some(1_469_922_850_259));
        let with_source = EventId::given("01ARZ3NDEKTSV4RRFFQ69G5FAV /shop");
        assert_eq!(with_source.time(), ulid.time());
        for other in ["", "42", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "81ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(EventId::given(other).time(), None, "{other}");
        }
    }

    #[test]
    fn an_event_without_an_id_is_named_by_its_place() {
        let mut id = EventId::place("orders".into(), 3, 1871);
        assert_eq!(id.to_string(), "orders/3/1871");
        id.read_in(2);
        assert_eq!(id.to_string(), "orders/3/2/1871");
    }
}
