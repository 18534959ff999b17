//! A call taken apart: what arguments are made of, and what is left when the handler ends.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::recorder::Recorder;
use super::{Call, CallItem, Failure, Items, Outcome, Scene};
use crate::event::Meta;

/// One event on its way into a handler: what [`FromCall`](super::FromCall) makes arguments from.
pub struct CallParts {
    item: CallItem,
    scene: Arc<Scene>,
    recorder: Option<Recorder>,
}

/// Several events on their way into a batch handler.
pub struct BatchParts {
    items: Vec<CallItem>,
    scene: Arc<Scene>,
    recorder: Option<Recorder>,
}

impl CallParts {
    /// What is known of the event besides its payload.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.item.envelope.meta
    }

    /// The payload, not decoded.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.item.envelope.payload
    }

    pub(super) fn item(&self) -> &CallItem {
        &self.item
    }

    pub(super) fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    pub(super) fn recorder(&mut self) -> &Recorder {
        self.recorder.get_or_insert_with(Recorder::new)
    }
}

impl BatchParts {
    /// What is known of each event, in key order.
    pub fn metas(&self) -> impl ExactSizeIterator<Item = &Meta> {
        self.items.iter().map(|item| &item.envelope.meta)
    }

    pub(super) fn items(&self) -> &[CallItem] {
        &self.items
    }

    pub(super) fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    pub(super) fn recorder(&mut self) -> &Recorder {
        self.recorder.get_or_insert_with(Recorder::new)
    }
}

/// Either kind of parts; what the erased handler needs of both.
pub trait Parts: sealed::Sealed + Sized + Send + 'static {
    /// Takes a call apart; the outcome when it has the wrong number of events.
    #[doc(hidden)]
    fn take(call: Call) -> Result<Self, Outcome>;

    /// What must outlive the handler.
    #[doc(hidden)]
    fn into_tail(self) -> Tail;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CallParts {}
    impl Sealed for super::BatchParts {}
}

impl Parts for CallParts {
    fn take(call: Call) -> Result<Self, Outcome> {
        match call.events {
            Items::One(item) => Ok(Self { item, scene: call.scene, recorder: None }),
            Items::Many(items) => {
                // The runtime reads `Route::batch_max`; a wrapper of one's own may not.
                let failure = Failure::new("a handler of single events was called with a batch");
                Err(Outcome::failed(items.len(), &failure.permanent()))
            }
        }
    }

    fn into_tail(self) -> Tail {
        Tail { items: 1, recorder: self.recorder }
    }
}

impl Parts for BatchParts {
    fn take(call: Call) -> Result<Self, Outcome> {
        let items = match call.events {
            Items::One(item) => vec![item],
            Items::Many(items) => items,
        };
        Ok(Self { items, scene: call.scene, recorder: None })
    }

    fn into_tail(self) -> Tail {
        Tail { items: self.items.len(), recorder: self.recorder }
    }
}

/// What is left of a call while its handler runs: enough to say what came of it.
#[derive(Debug)]
pub struct Tail {
    items: usize,
    recorder: Option<Recorder>,
}

impl Tail {
    /// The handler returned. What it recorded counts only when it returned `Ok`.
    pub(super) fn outcome(self, result: Result<(), Failure>) -> Outcome {
        let recorded = self.recorder.as_ref().map(Recorder::close);
        match result {
            Ok(()) => recorded.unwrap_or_default(),
            Err(failure) => Outcome::failed(self.items, &failure),
        }
    }

    /// The handler was not called. The items that caused it are blamed where they are known: the
    /// others run again without them (rule C6).
    pub(super) fn refused(self, failure: &Failure) -> Outcome {
        match self.recorder.as_ref().map(Recorder::close) {
            Some(blamed) if !blamed.is_done() => blamed,
            _ => Outcome::failed(self.items, failure),
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl fmt::Debug for CallParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallParts").field("meta", self.meta()).finish_non_exhaustive()
    }
}

impl fmt::Debug for BatchParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchParts").field("items", &self.items.len()).finish_non_exhaustive()
    }
}
