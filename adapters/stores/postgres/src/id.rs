//! Ids as the ledger keys them: compact, each by one key, and with the time that some carry (rule L1).

use keylane::text::Text;
use keylane::{Error, ErrorKind};

/// Begins no UTF-8 text: sixteen bytes of a UUID follow.
const UUID: u8 = 0xFF;
/// Nor does this: those of a ULID.
const ULID: u8 = 0xFE;

const ULID_LENGTH: usize = 26;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The key of an id. A UUID and a ULID as they are commonly written become sixteen bytes behind one that begins no
/// text; any other id is its own bytes. No two ids have one key.
pub(crate) fn key(id: &str) -> Vec<u8> {
    let (mark, bytes) = match (uuid(id), ulid(id)) {
        (Some(uuid), _) => (UUID, uuid),
        (None, Some(ulid)) => (ULID, ulid),
        (None, None) => return id.as_bytes().to_vec(),
    };
    [&[mark], &bytes[..]].concat()
}

/// The time in an id's key, in milliseconds after 1970: that of a UUIDv7 or a ULID.
pub(crate) fn time(key: &[u8]) -> Option<i64> {
    let (mark, rest) = key.split_first()?;
    let bytes: [u8; 16] = rest.try_into().ok()?;
    let timed = match *mark {
        UUID => bytes[6] >> 4 == 7,
        ULID => true,
        _ => false,
    };
    let millis = u128::from_be_bytes(bytes) >> 80;
    timed.then(|| i64::try_from(millis).ok()).flatten()
}

/// The id of a key.
pub(crate) fn id(key: Vec<u8>) -> Result<Text, Error> {
    let bytes = key.split_first().and_then(|(mark, rest)| Some((*mark, <[u8; 16]>::try_from(rest).ok()?)));
    match bytes {
        Some((UUID, bytes)) => Ok(Text::from(uuid::Uuid::from_bytes(bytes).to_string())),
        Some((ULID, bytes)) => Ok(Text::from(written(u128::from_be_bytes(bytes)))),
        _ => text(key),
    }
}

/// A text that is stored as its bytes.
pub(crate) fn text(bytes: Vec<u8>) -> Result<Text, Error> {
    Text::from_utf8(bytes.into()).map_err(|_| Error::new(ErrorKind::Corrupt, "a stored text is no UTF-8"))
}

/// Only the one form that the bytes give back: lower case, with hyphens.
fn uuid(id: &str) -> Option<[u8; 16]> {
    let uuid = uuid::Uuid::try_parse(id).ok().filter(|_| id.len() == uuid::fmt::Hyphenated::LENGTH)?;
    let lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
    lower.then(|| uuid.into_bytes())
}

/// Likewise: upper case.
fn ulid(id: &str) -> Option<[u8; 16]> {
    // 26 digits of five bits are two bits more than there are.
    if id.len() != ULID_LENGTH || id.as_bytes()[0] > b'7' {
        return None;
    }
    let mut number: u128 = 0;
    for byte in id.bytes() {
        let digit = CROCKFORD.iter().position(|digit| *digit == byte)?;
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

    #[test]
    fn l1_no_two_ids_have_one_key() {
        for compact in ["0190163d-8694-739b-aea5-966c26f8ad91", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(key(compact).len(), 17, "{compact}");
            assert_eq!(id(key(compact)).unwrap(), compact);
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
    }
}
