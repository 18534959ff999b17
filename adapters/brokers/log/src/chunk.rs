//! How records lie in a row: several of one append together, as one blob.
//!
//! A row a record would cost an index entry and a trip through the driver for each; a chunk shares them
//! among all that one append brought to a partition, up to [`CHUNK_BYTES`]. The layout, all numbers
//! little-endian:
//!
//! ```text
//! chunk  := 0x01 record*              the first byte is the layout's version
//! record := length:u32 body           length of the body, which is `Record::to_bytes`
//! ```
//!
//! What is read is copied once, record by record, into a buffer that key, headers and payload share: a
//! record that is held for long must not keep its whole chunk in memory.

use bytes::{Buf, Bytes};
use keylane::env::Timestamp;
use keylane::event::Record;

/// A chunk is closed before the record that would take it past this; a greater record lies alone.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

const VERSION: u8 = 1;

/// A record's encoded form; `None` for one that a length of 32 bits can't hold. What is written has the
/// time of its writing, and no id but its place.
pub(crate) fn encode(record: &Record, time: Timestamp) -> Option<Vec<u8>> {
    let record = Record { time: Some(time), id: None, ..record.clone() };
    let mut out = vec![0; LENGTH];
    record.append_to(&mut out);
    let length = u32::try_from(out.len() - LENGTH).ok()?;
    out[..LENGTH].copy_from_slice(&length.to_le_bytes());
    Some(out)
}

/// Of the number before each record.
const LENGTH: usize = 4;

/// Records that become one row.
#[derive(Debug)]
pub(crate) struct ChunkBuilder {
    bytes: Vec<u8>,
    count: u32,
    latest: Timestamp,
}

impl ChunkBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![VERSION], count: 0, latest: Timestamp::from_micros(i64::MIN) }
    }

    /// Whether `encoded` goes in here, or into the next one.
    pub(crate) fn fits(&self, encoded: &[u8]) -> bool {
        self.count == 0 || self.bytes.len() + encoded.len() <= CHUNK_BYTES
    }

    pub(crate) fn push(&mut self, encoded: &[u8], time: Timestamp) {
        self.latest = self.latest.max(time);
        self.bytes.extend_from_slice(encoded);
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The greatest time of its records.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a chunk from its front, one record a call.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    /// What was not read yet.
    rest: Bytes,
}

impl ChunkReader {
    pub(crate) fn new(mut chunk: Bytes) -> Result<Self, Malformed> {
        match chunk.first() {
            Some(&VERSION) => Ok(Self { rest: chunk.split_off(1) }),
            _ => Err(Malformed),
        }
    }

    /// The next record; `None` at the end. What can't be read is not passed over: it fails again.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Malformed> {
        let Some(end) = self.end()? else { return Ok(None) };
        // The one copy; all parts of the record are slices of it.
        let own = Bytes::copy_from_slice(&self.rest[LENGTH..end]);
        let record = Record::from_bytes(own).map_err(|_| Malformed)?;
        self.rest.advance(end);
        Ok(Some(record))
    }

    /// Passes over `count` records.
    pub(crate) fn skip(&mut self, count: u64) -> Result<(), Malformed> {
        for _ in 0..count {
            let end = self.end()?.ok_or(Malformed)?;
            self.rest.advance(end);
        }
        Ok(())
    }

    /// Where the next record ends.
    fn end(&self) -> Result<Option<usize>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, _) = self.rest.split_first_chunk::<LENGTH>().ok_or(Malformed)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed)?;
        let end = length.checked_add(LENGTH).ok_or(Malformed)?;
        if end <= self.rest.len() { Ok(Some(end)) } else { Err(Malformed) }
    }
}

/// A chunk is not in the layout above: the file was damaged or written by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

#[cfg(test)]
mod tests {
    use keylane::Text;
    use proptest::prelude::*;

    use super::*;

    fn chunk_of(records: &[Record]) -> Bytes {
        let mut chunk = ChunkBuilder::new();
        for record in records {
            let time = record.time.unwrap();
            chunk.push(&encode(record, time).unwrap(), time);
        }
        chunk.finish().into()
    }

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let header = ("[a-z]{0,6}", bytes()).prop_map(|(name, value)| (Text::from(name), value));
        (proptest::option::of(bytes()), proptest::collection::vec(header, 0..5), bytes(), any::<i64>())
            .prop_map(|(key, headers, payload, time)| Record {
                key,
                headers: headers.into_iter().collect(),
                payload,
                time: Some(Timestamp::from_micros(time)),
                id: None,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(records in proptest::collection::vec(record(), 0..20), skip in 0_usize..20) {
            let mut reader = ChunkReader::new(chunk_of(&records)).unwrap();
            let skip = skip.min(records.len());
            reader.skip(skip as u64).unwrap();
            for record in &records[skip..] {
                let read = reader.next().unwrap();
                prop_assert_eq!(read.as_ref(), Some(record));
            }
            prop_assert_eq!(reader.next().unwrap(), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, whole in any::<bool>()) {
            let bytes = if whole { [&[VERSION][..], &bytes].concat() } else { bytes };
            if let Ok(mut reader) = ChunkReader::new(bytes.into()) {
                while let Ok(Some(_)) = reader.next() {}
            }
        }

        #[test]
        fn a_cut_chunk_is_malformed(records in proptest::collection::vec(record(), 1..5), cut in 1_usize..7) {
            let chunk = chunk_of(&records);
            let mut reader = ChunkReader::new(chunk.slice(..chunk.len() - cut)).unwrap();
            let mut read = 0;
            let end = loop {
                match reader.next() {
                    Ok(Some(_)) => read += 1,
                    end => break end,
                }
            };
            // Cutting off a whole small record leaves a shorter chunk, which its row's count gives away.
            prop_assert!(end == Err(Malformed) || read < records.len());
        }
    }

    fn timed(payload: &'static str) -> Record {
        Record { time: Some(Timestamp::default()), ..Record::new(payload).with_key("k") }
    }

    #[test]
    fn a_held_record_does_not_keep_its_chunk() {
        let chunk = chunk_of(&[timed("first"), timed("second")]);
        let first = ChunkReader::new(chunk.clone()).unwrap().next().unwrap().unwrap();
        assert!(chunk.is_unique(), "the record shares the chunk's buffer");
        assert_eq!(first.payload, "first");
    }

    #[test]
    fn a_chunk_closes_at_its_limit_and_a_greater_record_lies_alone() {
        let mut chunk = ChunkBuilder::new();
        let big = encode(&Record::new(vec![0; 2 * CHUNK_BYTES]), Timestamp::default()).unwrap();
        let small = encode(&Record::new("x"), Timestamp::default()).unwrap();
        assert!(chunk.fits(&big));
        chunk.push(&big, Timestamp::default());
        assert!(!chunk.fits(&small));
        assert_eq!(chunk.count(), 1);
    }
}
