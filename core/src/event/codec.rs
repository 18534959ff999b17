//! Records and headers as compact bytes, for stores and logs. The layout never changes under its first byte.
//!
//! ```text
//! record  := 0x01 flags:u8 [key:part] [time:zigzag] [id:part] headers payload:part
//! headers := count:varint (name:part value:part)*
//! alone   := 0x01 headers                                 what `Headers::to_bytes` writes
//! part    := length:varint byte*
//! flags   := 1 key, 2 time (microseconds since 1970), 4 id
//! varint  := LEB128 without trailing zeros; zigzag: the same of a signed number
//! ```

use std::fmt;

use bytes::{BufMut, Bytes};

use super::{Headers, Record};
use crate::env::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::text::Text;

const VERSION: u8 = 1;
const KEY: u8 = 1;
const TIME: u8 = 2;
const ID: u8 = 4;

/// Bytes that are not what was written: damaged, cut off, or of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(&'static str);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored record can't be read: {}", self.0)
    }
}

impl std::error::Error for Corrupt {}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(ErrorKind::Corrupt, corrupt.to_string())
    }
}

impl Record {
    /// The whole record as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_max());
        self.append_to(&mut out);
        out
    }

    /// Appends what [`to_bytes`](Self::to_bytes) gives to bytes that are there already.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_max());
        let has = |flag: u8, there: bool| if there { flag } else { 0 };
        out.put_u8(VERSION);
        out.put_u8(
            has(KEY, self.key.is_some()) | has(TIME, self.time.is_some()) | has(ID, self.id.is_some()),
        );
        if let Some(key) = &self.key {
            put_part(out, key);
        }
        if let Some(time) = self.time {
            put_varint(out, zigzag(time.as_micros()));
        }
        if let Some(id) = &self.id {
            put_part(out, id.as_bytes());
        }
        put_headers(out, &self.headers);
        put_part(out, &self.payload);
    }

    /// The record that [`to_bytes`](Self::to_bytes) wrote. Its parts share the buffer of `bytes`.
    ///
    /// # Errors
    /// The bytes are not a record's; no bytes panic, and none cost more than a small multiple of their size.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Corrupt> {
        let mut read = Reader::versioned(&bytes)?;
        let flags = read.byte()?;
        if flags & !(KEY | TIME | ID) != 0 {
            return Err(Corrupt("unknown flags"));
        }
        let key = if flags & KEY != 0 { Some(read.part()?) } else { None };
        let time = if flags & TIME != 0 { Some(unzigzag(read.varint()?)) } else { None };
        let id = if flags & ID != 0 { Some(read.text()?) } else { None };
        let headers = read.headers()?;
        let payload = read.part()?;
        read.end()?;
        Ok(Self { key, headers, payload, time: time.map(Timestamp::from_micros), id })
    }

    fn encoded_max(&self) -> usize {
        const NUMBER_MAX: usize = 10;
        let parts =
            self.key.as_ref().map_or(0, Bytes::len) + self.id.as_ref().map_or(0, |id| id.as_bytes().len());
        let fixed = 2 + 5 * NUMBER_MAX;
        fixed + parts + self.headers.bytes() + 2 * NUMBER_MAX * self.headers.len() + self.payload.len()
    }
}

impl Headers {
    /// The headers as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.bytes() + 4 * self.len());
        out.put_u8(VERSION);
        put_headers(&mut out, self);
        out
    }

    /// The headers that [`to_bytes`](Self::to_bytes) wrote. They share the buffer of `bytes`.
    ///
    /// # Errors
    /// The bytes are not headers; no bytes panic, and none cost more than a small multiple of their size.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Corrupt> {
        let mut read = Reader::versioned(&bytes)?;
        let headers = read.headers()?;
        read.end()?;
        Ok(headers)
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    put_varint(out, headers.len() as u64);
    for (name, value) in headers.iter() {
        put_part(out, name.as_bytes());
        put_part(out, value);
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    put_varint(out, part.len() as u64);
    out.put_slice(part);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Takes parts off the front; every length is checked against what is there.
struct Reader<'a> {
    all: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn versioned(all: &'a Bytes) -> Result<Self, Corrupt> {
        match all.split_first() {
            Some((&VERSION, rest)) => Ok(Self { all, rest }),
            Some(_) => Err(Corrupt("written by another version")),
            None => Err(Corrupt("no bytes")),
        }
    }

    fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(Corrupt("cut off"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Corrupt("a number over 64 bits"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                // One number, one form: what is read is written back byte for byte.
                return if byte == 0 && shift > 0 {
                    Err(Corrupt("a number with zeros behind it"))
                } else {
                    Ok(number)
                };
            }
        }
        Err(Corrupt("a number over 64 bits"))
    }

    fn part(&mut self) -> Result<Bytes, Corrupt> {
        let length = usize::try_from(self.varint()?).map_err(|_| Corrupt("cut off"))?;
        let (part, rest) = self.rest.split_at_checked(length).ok_or(Corrupt("cut off"))?;
        self.rest = rest;
        Ok(self.all.slice_ref(part))
    }

    fn text(&mut self) -> Result<Text, Corrupt> {
        Text::from_utf8(self.part()?).map_err(|_| Corrupt("an id or a header's name is not UTF-8"))
    }

    fn headers(&mut self) -> Result<Headers, Corrupt> {
        // The count may be a lie: memory is reserved for what is usual and grows with what is there.
        const RESERVED_MAX: u64 = 64;
        let count = self.varint()?;
        let mut headers = Headers::with_capacity(count.min(RESERVED_MAX) as usize);
        for _ in 0..count {
            let name = self.text()?;
            headers.push(name, self.part()?);
        }
        Ok(headers)
    }

    fn end(&self) -> Result<(), Corrupt> {
        if self.rest.is_empty() { Ok(()) } else { Err(Corrupt("more bytes than were written")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
        let header = (".{0,6}", bytes(200)).prop_map(|(name, value)| (Text::from(name), value));
        (
            proptest::option::of(bytes(40)),
            proptest::collection::vec(header, 0..5),
            bytes(300),
            proptest::option::of(any::<i64>().prop_map(Timestamp::from_micros)),
            proptest::option::of(".{0,20}".prop_map(Text::from)),
        )
            .prop_map(|(key, headers, payload, time, id)| Record {
                key,
                headers: headers.into_iter().collect(),
                payload,
                time,
                id,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(record in any_record()) {
            let bytes = record.to_bytes();
            prop_assert_eq!(Record::from_bytes(bytes.into()), Ok(record.clone()));
            let bytes = record.headers.to_bytes();
            prop_assert_eq!(Headers::from_bytes(bytes.into()), Ok(record.headers));
        }

        #[test]
        fn cut_or_lengthened_bytes_are_corrupt(record in any_record(), cut in any::<prop::sample::Index>()) {
            let mut bytes = record.to_bytes();
            let cut = bytes[..cut.index(bytes.len())].to_vec();
            prop_assert!(Record::from_bytes(cut.into()).is_err());
            bytes.push(0);
            prop_assert!(Record::from_bytes(bytes.into()).is_err());
        }

        #[test]
        fn no_bytes_panic_and_none_read_as_two_records(mut bytes: Vec<u8>, whole in any::<bool>()) {
            if whole {
                bytes.insert(0, VERSION);
            }
            crate::event::fuzz::record(&bytes);
        }
    }

    #[test]
    fn the_layout_stays() {
        let record = Record::new("p").with_key("k").with_header("h", "v");
        assert_eq!(record.to_bytes(), [1, 1, 1, b'k', 1, 1, b'h', 1, b'v', 1, b'p']);
        let record =
            Record { time: Some(Timestamp::from_micros(-65)), id: Some("i".into()), ..Record::default() };
        assert_eq!(record.to_bytes(), [1, 6, 0x81, 0x01, 1, b'i', 0, 0]);
        assert_eq!(Headers::new().to_bytes(), [1, 0]);
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        for (bytes, why) in [
            (vec![], "no bytes"),
            (vec![2, 0], "another version"),
            (vec![1, 8, 0, 0], "unknown flags"),
            (vec![1, 0, 1, 1, 0xFF, 0, 0], "not UTF-8"),
            (vec![1, 0, 0x80, 0x00, 0], "zeros behind"),
            ([&[1, 0], &huge[..]].concat(), "cut off"),
            ([&[1, 0, 0], &huge[..]].concat(), "cut off"),
            ([&[1, 0], &[0xFF; 9][..], &[0x02]].concat(), "64 bits"),
            ([&[1, 0], &[0xFF; 11][..]].concat(), "64 bits"),
        ] {
            let refused = Record::from_bytes(bytes.clone().into()).unwrap_err().to_string();
            assert!(refused.contains(why), "{bytes:?}: {refused}");
        }
    }

    #[test]
    fn what_is_read_shares_the_buffer() {
        let bytes = Bytes::from(Record::new("payload").with_key("k").to_bytes());
        let record = Record::from_bytes(bytes.clone()).unwrap();
        assert_eq!(record.payload.as_ptr(), bytes[bytes.len() - 7..].as_ptr());
    }
}
