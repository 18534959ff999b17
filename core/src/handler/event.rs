//! One event as a handler takes it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::decode;
use super::{CallParts, Codec, Failure, FromCall, Json, Raw};
use crate::event::{Envelope, Meta};

/// One event, its payload decoded to `T` by the codec `C`.
///
/// It derefs to the payload, so that `event.total` is the payload's field; what is known of the event
/// besides stands under [`meta`](Self::meta).
///
/// ```
/// use keylane::{Event, Failure};
/// # use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct OrderPaid {
///     total: u64,
/// }
///
/// async fn paid(event: Event<OrderPaid>) -> Result<(), Failure> {
///     println!("{}: {} cents", event.meta().id, event.total);
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on("order.paid", paid);
/// ```
pub struct Event<T, C = Json> {
    payload: T,
    envelope: Arc<Envelope>,
    codec: PhantomData<fn() -> C>,
}

/// One event with its payload as bytes.
pub type RawEvent = Event<Bytes, Raw>;

impl<T, C> Event<T, C> {
    /// What is known of the event besides its payload: id, kind, key, headers, place.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.envelope.meta
    }

    /// The payload, owned.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.payload
    }
}

impl<T, C> Deref for Event<T, C> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.payload
    }
}

impl<T: fmt::Debug, C> fmt::Debug for Event<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("meta", self.meta()).field("payload", &self.payload).finish()
    }
}

impl<St, T, C: Codec<T>> FromCall<St> for Event<T, C> {
    fn from_call(call: &mut CallParts, _: &St) -> Result<Self, Failure> {
        let envelope = call.item().envelope.clone();
        let payload = decode::<T, C>(&envelope.meta.kind, &envelope.payload)?;
        Ok(Self { payload, envelope, codec: PhantomData })
    }
}
