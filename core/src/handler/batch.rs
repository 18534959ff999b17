//! Several events handled at once.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::Deref;

use super::codec::decode;
use super::context::idempotency_key;
use super::recorder::Recorder;
use super::{BatchParts, CallItem, Codec, Failure, FromCall, Json};
use crate::event::Meta;

/// Events that may run together, events of one key in their order; never empty.
///
/// All that the handler records commits in one transaction. An item that can't be handled is failed by
/// [`fail`](Self::fail), and then nothing of this run counts: the batch runs again without that item
/// and without the later items of its key. So a handler that fails items does nothing outside its
/// [`Effects`](super::Effects) before it knows. An `Err` fails all items.
///
/// Items whose payload can't be decoded are failed before the handler is called.
///
/// ```
/// use keylane::{Batch, Failure};
/// # #[derive(serde::Deserialize)] struct Seat { row: u32 }
///
/// async fn taken(seats: Batch<Seat>) -> Result<(), Failure> {
///     for seat in &seats {
///         if seat.row == 0 {
///             seats.fail(seat, Failure::new("rows count from 1").permanent());
///         }
///     }
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on_batch("seat.taken", taken);
/// ```
pub struct Batch<T, C = Json> {
    payloads: Vec<T>,
    items: Vec<CallItem>,
    recorder: Recorder,
    codec: PhantomData<fn() -> C>,
}

impl<T, C> Batch<T, C> {
    /// The items in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { payloads: self.payloads.iter(), items: self.items.iter(), at: 0 }
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Fails one item: `item` is an [`Item`] of this batch or its [`handle`](Item::handle). Of several
    /// failures of one item the first counts.
    pub fn fail<'a>(&'a self, item: impl Into<ItemHandle<'a>>, failure: impl Into<Failure>) {
        // The call is open for as long as the handler, and so the batch, lives; a batch that was moved
        // out of its handler has nobody who listens.
        if !self.recorder.failure(item.into().at, failure.into()) {
            tracing::error!("an item was failed after its handler returned, which changes nothing");
        }
    }

    /// The payloads in order, owned.
    #[must_use]
    pub fn into_inner(self) -> Vec<T> {
        self.payloads
    }
}

/// One item of a [`Batch`]. Derefs to its payload.
pub struct Item<'a, T> {
    payload: &'a T,
    item: &'a CallItem,
    at: usize,
}

impl<'a, T> Item<'a, T> {
    /// What is known of the event besides its payload.
    #[must_use]
    pub fn meta(&self) -> &'a Meta {
        &self.item.envelope.meta
    }

    /// The payload for as long as the batch lives.
    #[must_use]
    pub fn payload(&self) -> &'a T {
        self.payload
    }

    /// Which try this is, counted from 1. It survives restarts.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// See [`Context::fencing_token`](super::Context::fencing_token). Items of a batch may have different ones, where
    /// the broker has no partitions.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.item.token
    }

    /// The same text for each attempt at this event; see
    /// [`Context::idempotency_key`](super::Context::idempotency_key).
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        idempotency_key(&self.meta().subscription, self.meta())
    }

    /// What names this item to [`Batch::fail`].
    #[must_use]
    pub fn handle(&self) -> ItemHandle<'a> {
        ItemHandle { at: self.at, batch: PhantomData }
    }
}

/// Names one item of a [`Batch`], for as long as the batch lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemHandle<'a> {
    at: usize,
    batch: PhantomData<&'a ()>,
}

impl<'a, T> From<Item<'a, T>> for ItemHandle<'a> {
    fn from(item: Item<'a, T>) -> Self {
        item.handle()
    }
}

impl<'a, T> From<&Item<'a, T>> for ItemHandle<'a> {
    fn from(item: &Item<'a, T>) -> Self {
        item.handle()
    }
}

/// The items of a [`Batch`] in order.
pub struct Iter<'a, T> {
    payloads: std::slice::Iter<'a, T>,
    items: std::slice::Iter<'a, CallItem>,
    at: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = Item<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = Item { payload: self.payloads.next()?, item: self.items.next()?, at: self.at };
        self.at += 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.payloads.size_hint()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> FusedIterator for Iter<'_, T> {}

impl<'a, T, C> IntoIterator for &'a Batch<T, C> {
    type Item = Item<'a, T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<St, T, C: Codec<T>> FromCall<St, BatchParts> for Batch<T, C> {
    fn from_call(batch: &mut BatchParts, _: &St) -> Result<Self, Failure> {
        let recorder = batch.recorder().clone();
        let items = batch.items().to_vec();
        let mut payloads = Vec::with_capacity(items.len());
        let mut first = None;
        for (at, item) in items.iter().enumerate() {
            match decode::<T, C>(&item.envelope.meta.kind, &item.envelope.payload) {
                Ok(payload) => payloads.push(payload),
                Err(failure) => {
                    first.get_or_insert_with(|| failure.clone());
                    // The call is open: the handler has not even started.
                    let _ = recorder.failure(at, failure);
                }
            }
        }
        match first {
            None => Ok(Self { payloads, items, recorder, codec: PhantomData }),
            Some(failure) => Err(failure),
        }
    }
}

impl<T> Deref for Item<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.payload
    }
}

impl<T> Clone for Item<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Item<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for Item<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("meta", self.meta()).field("payload", self.payload).finish()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iter({} left)", self.payloads.len())
    }
}

impl<T: fmt::Debug, C> fmt::Debug for Batch<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
