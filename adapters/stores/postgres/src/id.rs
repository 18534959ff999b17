//! Ids as the ledger keys them: compact, each by one key, and with the time that some carry (rule L1).

use std::ops::Deref;

use bytes::Bytes;
use keylane::text::Text;
use keylane::{Error, ErrorKind};
use sqlx::Postgres;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};

/// Begins no UTF-8 text: sixteen bytes of a UUID follow.
const UUID: u8 = 0xFF;
/// Nor does this: those of a ULID.
const ULID: u8 = 0xFE;

const ULID_LENGTH: usize = 26;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// As many bytes as a compact key has.
const COMPACT: usize = 17;

/// The key of an id, as the ledger has it; most are kept where they stand.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Compact([u8; COMPACT]),
    Text(Bytes),
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Compact(bytes) => bytes,
            Self::Text(bytes) => bytes,
        }
    }
}

impl sqlx::Type<Postgres> for Key {
    fn type_info() -> PgTypeInfo {
        <[u8] as sqlx::Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Key {
    fn array_type_info() -> PgTypeInfo {
        <&[u8] as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Key {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self);
        Ok(IsNull::No)
    }
}

/// The key of an id. A UUID and a ULID as they are commonly written become sixteen bytes behind one that begins no
/// text, be they the whole id or its first word: a CloudEvent's id is followed by its source. Any other id is its own
/// bytes. No two ids have one key.
pub(crate) fn key(id: &Text) -> Key {
    let text = id.as_bytes();
    let word = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (mark, bytes) = match (uuid(&text[..word]), ulid(&text[..word])) {
        (Some(uuid), _) => (UUID, uuid),
        (None, Some(ulid)) => (ULID, ulid),
        (None, None) => return Key::Text(text.clone()),
    };
    let mut compact = [mark; COMPACT];
    compact[1..].copy_from_slice(&bytes);
    if word == text.len() {
        return Key::Compact(compact);
    }
    Key::Text([&compact[..], &text[word..]].concat().into())
}

/// The time in an id's key, in milliseconds after 1970: that of a UUIDv7 or a ULID.
pub(crate) fn time(key: &[u8]) -> Option<i64> {
    let (mark, bytes, _) = parts(key)?;
    let timed = match mark {
        UUID => bytes[6] >> 4 == 7,
        ULID => true,
        _ => false,
    };
    let millis = u128::from_be_bytes(bytes) >> 80;
    timed.then(|| i64::try_from(millis).ok()).flatten()
}

/// The id of a key.
pub(crate) fn id(key: Vec<u8>) -> Result<Text, Error> {
    let word = match parts(&key) {
        Some((UUID, bytes, _)) => uuid::Uuid::from_bytes(bytes).to_string(),
        Some((ULID, bytes, _)) => written(u128::from_be_bytes(bytes)),
        _ => return text(key),
    };
    text([word.as_bytes(), &key[COMPACT..]].concat())
}

/// What is compact in a key, and what follows it.
fn parts(key: &[u8]) -> Option<(u8, [u8; 16], &[u8])> {
    let (mark, rest) = key.split_first()?;
    let (bytes, rest) = rest.split_first_chunk()?;
    Some((*mark, *bytes, rest))
}

/// A text that is stored as its bytes.
pub(crate) fn text(bytes: Vec<u8>) -> Result<Text, Error> {
    Text::from_utf8(bytes.into()).map_err(|_| Error::new(ErrorKind::Corrupt, "a stored text is no UTF-8"))
}

/// Only the one form that the bytes give back: lower case, with hyphens.
fn uuid(id: &[u8]) -> Option<[u8; 16]> {
    if id.len() != uuid::fmt::Hyphenated::LENGTH || id.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    Some(uuid::Uuid::try_parse_ascii(id).ok()?.into_bytes())
}

/// Likewise: upper case.
fn ulid(id: &[u8]) -> Option<[u8; 16]> {
    // 26 digits of five bits are two bits more than there are.
    if id.len() != ULID_LENGTH || id[0] > b'7' {
        return None;
    }
    let mut number: u128 = 0;
    for byte in id {
        let digit = CROCKFORD.iter().position(|digit| digit == byte)?;
        number = number << 5 | digit as u128;
    }
    Some(number.to_be_bytes())
}

fn written(number: u128) -> String {
    let digit = |at: usize| char::from(CROCKFORD[(number >> (5 * (ULID_LENGTH - 1 - at)) & 31) as usize]);
    (0..ULID_LENGTH).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Vec<u8> {
        super::key(&Text::from(id)).to_vec()
    }

    #[test]
    fn l1_no_two_ids_have_one_key() {
        for compact in ["0190163d-8694-739b-aea5-966c26f8ad91", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(key(compact).len(), 17, "{compact}");
            assert_eq!(id(key(compact)).unwrap(), compact);
            let of_cloud_event = format!("{compact} /shop/orders");
            assert_eq!(key(&of_cloud_event).len(), 17 + " /shop/orders".len());
            assert_eq!(id(key(&of_cloud_event)).unwrap(), of_cloud_event.as_str());
            assert_eq!(id(key(&format!("{compact} "))).unwrap(), format!("{compact} ").as_str());
        }
        for other in [
            "",
            "42",
            "nul \0 is a character",
            "0190163D-8694-739b-aea5-966c26f8ad91",
            "0190163d8694739baea5966c26f8ad91",
            "01arz3ndektsv4rrffq69g5fav",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            " 01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "42 0190163d-8694-739b-aea5-966c26f8ad91",
        ] {
            assert_eq!(key(other), other.as_bytes(), "any other form is its own bytes");
            assert_eq!(id(key(other)).unwrap(), other);
        }
    }

    #[test]
    fn l1_only_ids_that_carry_their_time_have_one() {
        let uuid_v4 = "0190163d-8694-439b-aea5-966c26f8ad91";
        assert_eq!(time(&key(uuid_v4)), None);
        assert_eq!(time(&key("42")), None);
        assert_eq!(time(&key("0190163d-8694-739b-aea5-966c26f8ad91")), Some(0x0190_163d_8694));
        assert_eq!(time(&key("01ARZ3NDEKTSV4RRFFQ69G5FAV")), Some(1_469_922_850_259));
        assert_eq!(time(&key("0190163d-8694-739b-aea5-966c26f8ad91 /shop")), Some(0x0190_163d_8694));
        assert_eq!(time(&key(&format!("{uuid_v4} /shop"))), None);
    }
}
