//! The erased boundary between the runtime and every form of handler.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::env::{BoxFuture, Env};
use crate::error::Error;
use crate::event::Envelope;
use crate::store::{Effect, OwnConnection};

/// What every form of handler becomes: functions, closures, structs, batch handlers.
///
/// - The future owns all it needs; dropping it at an await is how a timeout, a lost promise or a
///   second stop signal ends it.
/// - A panic inside is the runtime's to catch; it counts as a failed attempt.
pub trait AnyHandler: Send + Sync + 'static {
    /// Handles one call: one event, or for a batch handler several.
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome>;
}

/// One run of a handler: its events and the conditions it runs under.
#[derive(Clone)]
pub struct Call {
    /// The events; one, except for batch handlers. Never empty.
    pub events: Items,
    /// What all of them share.
    pub scene: Arc<Scene>,
}

/// One event of a call.
#[derive(Clone, Debug)]
pub struct CallItem {
    /// The event.
    pub envelope: Arc<Envelope>,
    /// Which try this is, counted from 1.
    pub attempt: u32,
    /// The fencing token: its partition's epoch, or its key's. It only grows for a key.
    pub token: u64,
}

/// One item without an allocation, or many.
#[derive(Clone, Debug)]
pub enum Items {
    /// A single event.
    One(CallItem),
    /// A batch; never empty.
    Many(Vec<CallItem>),
}

impl Items {
    /// The items in key order.
    #[must_use]
    pub fn as_slice(&self) -> &[CallItem] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}

/// What the events of a call share.
pub struct Scene {
    /// Time and chance.
    pub env: Env,
    /// The subscription's name, part of every idempotency key.
    pub subscription: Arc<str>,
    /// Ready when the handler should come to an end soon: drain, or the partition goes elsewhere.
    pub cancelled: CancellationToken,
    /// How a handler opens a transaction of its own.
    pub begin: Begin,
}

/// Opens transactions for handlers, or says why there are none.
#[derive(Clone)]
pub struct Begin(Result<BeginFn, &'static str>);

type BeginFn = Arc<dyn Fn() -> BoxFuture<'static, Result<OwnConnection, Error>> + Send + Sync>;

impl Begin {
    /// By this.
    pub(crate) fn by(
        begin: impl Fn() -> BoxFuture<'static, Result<OwnConnection, Error>> + Send + Sync + 'static,
    ) -> Self {
        Self(Ok(Arc::new(begin)))
    }

    /// There are none, because of this.
    #[must_use]
    pub const fn never(why: &'static str) -> Self {
        Self(Err(why))
    }

    pub(crate) async fn begin(&self) -> Result<OwnConnection, Failure> {
        match &self.0 {
            Ok(begin) => begin().await.map_err(|error| {
                let transient = error.is_transient();
                let failure = Failure::from(error);
                // An outage is no fault of the event.
                if transient { failure.unavailable() } else { failure.permanent() }
            }),
            Err(why) => Err(Failure::new(*why).permanent()),
        }
    }
}

/// What came of a call: done with the effects it recorded, or failures by item.
#[derive(Default)]
pub struct Outcome {
    /// Which items failed, by index, each at most once; empty: all are done.
    pub failures: Vec<(usize, Failure)>,
    /// Writes recorded for the commit; they count only where nothing failed (rule C6).
    pub effects: Vec<Effect>,
}

impl Outcome {
    /// Done, nothing recorded.
    #[must_use]
    pub const fn done() -> Self {
        Self { failures: Vec::new(), effects: Vec::new() }
    }

    /// Every item of a call with `items` events failed with the same failure.
    #[must_use]
    pub fn failed(items: usize, failure: &Failure) -> Self {
        Self { failures: (0..items).map(|at| (at, failure.clone())).collect(), effects: Vec::new() }
    }

    /// True when nothing failed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.failures.is_empty()
    }

    /// The first failure.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failures.first().map(|(_, failure)| failure)
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("failures", &self.failures)
            .field("effects", &self.effects.len())
            .finish()
    }
}

impl Call {
    /// The first event: the only one, except for batch handlers.
    #[must_use]
    pub fn first(&self) -> &CallItem {
        &self.events.as_slice()[0]
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.events.as_slice().iter().map(|item| &item.envelope.meta.id).collect();
        f.debug_struct("Call").field("subscription", &self.scene.subscription).field("events", &ids).finish()
    }
}
