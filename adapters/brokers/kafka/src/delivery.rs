//! From librdkafka's records to deliveries, without an allocation a record.
//!
//! The polling thread only copies bytes, one record behind the other, into a chunk that many share; a
//! [`Run`] is a stretch of one partition in it. Whoever pulls cuts the deliveries out of the chunk, as
//! many as it has credits for. A chunk is small, because one delivery that stays long keeps all of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use keylane::Text;
use keylane::broker::Partition;
use keylane::delivery::{Delivery, Place, Ticket};
use keylane::env::Timestamp;
use keylane::event::{Headers, Record};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};

/// What a lasting delivery may keep alive of others.
const CHUNK: usize = 16 * 1024;

/// Stands for a header whose name is not UTF-8, which the client library can't hand out.
const UNREADABLE: &str = "keylane-unreadable-header";

/// No key; an empty one is another thing.
const NO_KEY: u32 = u32::MAX;

/// Consecutive records of one partition under one epoch.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) partition: Partition,
    pub(crate) epoch: u64,
    bytes: Bytes,
    slots: Vec<Slot>,
    taken: usize,
}

/// Where a record lies in the run's bytes: key, payload, then name and value of each header.
#[derive(Debug)]
struct Slot {
    offset: u64,
    millis: Option<i64>,
    start: u32,
    key: u32,
    payload: u32,
    headers: Option<Box<[(u32, u32)]>>,
}

impl Run {
    /// How many deliveries are left in it.
    pub(crate) fn left(&self) -> usize {
        self.slots.len() - self.taken
    }

    /// What it is charged for; the same for as long as it lives.
    pub(crate) fn footprint(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Moves the next `n` deliveries, or as many as are left, to `out`.
    pub(crate) fn take(&mut self, n: usize, out: &mut Vec<Delivery>) {
        let end = self.slots.len().min(self.taken + n);
        let (bytes, partition, epoch) = (&self.bytes, self.partition, self.epoch);
        out.extend(self.slots[self.taken..end].iter().map(|slot| Delivery {
            record: slot.record(bytes),
            place: Place { partition, epoch, offset: slot.offset },
            attempt: None,
            ticket: Ticket::new(slot.offset),
        }));
        self.taken = end;
    }
}

impl Slot {
    fn record(&self, bytes: &Bytes) -> Record {
        let mut at = self.start as usize;
        let mut cut = |len: u32| {
            let from = at;
            at += len as usize;
            bytes.slice(from..at)
        };
        let key = (self.key != NO_KEY).then(|| cut(self.key));
        let payload = cut(self.payload);
        let mut headers = Headers::new();
        if let Some(lengths) = &self.headers {
            headers = Headers::with_capacity(lengths.len());
            for (name, value) in lengths {
                let name = Text::from_utf8(cut(*name)).unwrap_or(Text::from_static(UNREADABLE));
                headers.push(name, cut(*value));
            }
        }
        Record { key, headers, payload, time: self.millis.map(Timestamp::from_millis), id: None }
    }
}

/// The polling thread's side: copies records and closes runs.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    chunk: BytesMut,
    open: Option<Open>,
    closed: Vec<Run>,
    bytes: usize,
    records: usize,
    with_headers: bool,
    /// Bytes of the last record's headers: what to expect of the next one.
    headers_seen: usize,
    /// Records of the last run: how many to expect of the next one.
    slots_seen: usize,
}

#[derive(Debug)]
struct Open {
    partition: Partition,
    epoch: u64,
    slots: Vec<Slot>,
}

impl Copier {
    pub(crate) fn new(with_headers: bool) -> Self {
        Self { with_headers, ..Self::default() }
    }

    /// Bytes since the last [`Copier::runs`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records since the last [`Copier::runs`].
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Copies one record.
    pub(crate) fn push(
        &mut self,
        partition: Partition,
        epoch: u64,
        offset: u64,
        message: &BorrowedMessage<'_>,
    ) {
        let (key, payload) = (message.key(), message.payload().unwrap_or_default());
        let need = key.map_or(0, <[u8]>::len) + payload.len() + self.headers_seen;
        self.make_room(partition, epoch, need);
        let start = self.chunk.len();
        self.chunk.extend_from_slice(key.unwrap_or_default());
        self.chunk.extend_from_slice(payload);
        let filled = self.chunk.len();
        let headers = if self.with_headers { message.headers() } else { None };
        let headers = headers.map(|headers| copy_headers(headers, &mut self.chunk));
        self.headers_seen = self.chunk.len() - filled;
        self.bytes += self.chunk.len() - start + size_of::<Slot>();
        self.records += 1;
        let slot = Slot {
            offset,
            millis: message.timestamp().to_millis(),
            start: short(start),
            key: key.map_or(NO_KEY, |key| short(key.len())),
            payload: short(payload.len()),
            headers,
        };
        let likely = self.slots_seen;
        let open =
            self.open.get_or_insert_with(|| Open { partition, epoch, slots: Vec::with_capacity(likely) });
        open.slots.push(slot);
    }

    /// Everything copied so far, in order.
    pub(crate) fn runs(&mut self) -> Vec<Run> {
        self.close();
        (self.bytes, self.records) = (0, 0);
        std::mem::take(&mut self.closed)
    }

    fn make_room(&mut self, partition: Partition, epoch: u64, need: usize) {
        let same = self.open.as_ref().is_some_and(|open| open.partition == partition && open.epoch == epoch);
        let fits = self.chunk.capacity() - self.chunk.len() >= need;
        if !(same && fits) {
            self.close();
        }
        if !fits {
            self.chunk = BytesMut::with_capacity(need.max(CHUNK));
        }
    }

    fn close(&mut self) {
        if let Some(Open { partition, epoch, slots }) = self.open.take() {
            self.slots_seen = slots.len();
            let bytes = self.chunk.split().freeze();
            self.closed.push(Run { partition, epoch, bytes, slots, taken: 0 });
        }
    }
}

/// The client library panics on a header name that is not UTF-8, which any producer may write; that
/// must not end the polling thread.
fn copy_headers(headers: &BorrowedHeaders, chunk: &mut BytesMut) -> Box<[(u32, u32)]> {
    let mut lengths = Vec::with_capacity(headers.count());
    for index in 0..headers.count() {
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(index)));
        let (name, value) = header.map_or((UNREADABLE, None), |header| (header.key, header.value));
        let value = value.unwrap_or_default();
        chunk.extend_from_slice(name.as_bytes());
        chunk.extend_from_slice(value);
        lengths.push((short(name.len()), short(value.len())));
    }
    lengths.into_boxed_slice()
}

/// Kafka counts lengths in 31 bits, and a chunk is small or holds one record.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NO_KEY - 1)
}
