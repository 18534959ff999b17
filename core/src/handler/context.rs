//! The conditions that a handler runs under.

use std::fmt;
use std::sync::Arc;

use super::{BatchParts, CallItem, CallParts, Failure, FromCall, Scene};
use crate::event::Meta;

/// The conditions that a handler of single events runs under.
///
/// ```
/// use keylane::{Context, Failure, RawEvent};
///
/// async fn paid(event: RawEvent, cx: Context) -> Result<(), Failure> {
///     if cx.attempt() > 3 {
///         println!("{}: attempt {}", event.meta().id, cx.attempt());
///     }
///     println!("PUT /charges, Idempotency-Key: {}", cx.idempotency_key());
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on("order.paid", paid);
/// ```
#[derive(Clone)]
pub struct Context {
    item: CallItem,
    scene: Arc<Scene>,
}

impl Context {
    /// Which try this is, counted from 1. It survives restarts.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// What to give other systems so that they know a repetition: the same text for each attempt at
    /// this event in this subscription, and for no other event.
    ///
    /// It is `SUBSCRIPTION/ID`, where in the subscription's name `%` is written `%25` and `/` is
    /// written `%2F`, and the id is as the event carries it. An event that carries no id has its place
    /// for one: `SUBSCRIPTION/SOURCE/PARTITION/OFFSET`. The form is part of the interface and will not
    /// change.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        idempotency_key(&self.scene.subscription, &self.item.envelope.meta)
    }

    /// A number that only grows as the event's key goes from worker to worker. A system that remembers
    /// the greatest it has seen, and refuses smaller ones, can't be written to by a worker that was
    /// replaced without knowing.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.item.token
    }

    /// Ready when the handler should come to an end soon: the service stops, or the key goes to
    /// another worker. A handler that takes long may wait for it and return a failure; the others need
    /// not care.
    pub async fn cancelled(&self) {
        self.scene.cancelled.cancelled().await;
    }
}

/// The conditions that a batch handler runs under. Attempt, idempotency key and fencing token belong to each
/// [`Item`](super::Item).
#[derive(Clone)]
pub struct BatchContext {
    scene: Arc<Scene>,
}

impl BatchContext {
    /// See [`Context::cancelled`].
    pub async fn cancelled(&self) {
        self.scene.cancelled.cancelled().await;
    }
}

impl<St> FromCall<St> for Context {
    fn from_call(call: &mut CallParts, _: &St) -> Result<Self, Failure> {
        Ok(Self { item: call.item().clone(), scene: call.scene().clone() })
    }
}

impl<St> FromCall<St, BatchParts> for BatchContext {
    fn from_call(batch: &mut BatchParts, _: &St) -> Result<Self, Failure> {
        Ok(Self { scene: batch.scene().clone() })
    }
}

/// The one place that knows the form; see [`Context::idempotency_key`].
pub(super) fn idempotency_key(subscription: &str, meta: &Meta) -> String {
    // Escaped, or `a/b` with the event `c` and `a` with the event `b/c` would share a key.
    format!("{}/{}", subscription.replace('%', "%25").replace('/', "%2F"), meta.id)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt())
            .field("idempotency_key", &self.idempotency_key())
            .field("fencing_token", &self.fencing_token())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BatchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchContext").finish_non_exhaustive()
    }
}
