//! Assignment changes, and the answer an adapter waits for.

use std::fmt;

use super::Base;
use crate::error::Error;

/// A partition's number within its source.
pub type Partition = u32;

/// What happened to a consumer's assignment. Claims, watermarks and their order are the runtime's business.
#[derive(Debug)]
pub enum Change {
    /// These may be read; nothing of them is delivered before [`Consumer::start`](super::Consumer::start).
    Assigned(Vec<Partition>),
    /// These are about to go to someone else. The adapter waits, bounded, until `handback` is answered
    /// or dropped, commits the bases it got, and lets go.
    Revoking {
        /// Which.
        partitions: Vec<Partition>,
        /// How the runtime says that it has let go.
        handback: Handback,
    },
    /// These are someone else's already: commit nothing of them.
    Lost(Vec<Partition>),
    /// What comes next in this partition can't be read: the log has it no more, or it is damaged. All before it was
    /// delivered; nothing more is, until the partition is started anew. The others go on.
    Broken {
        /// Which.
        partition: Partition,
        /// Under which epoch it was read: of an older one than the present start this says nothing.
        epoch: u64,
        /// Why, and from which offset on.
        error: Error,
    },
    /// Of a broker without partitions: its connection was replaced. Every delivery of an epoch below this one will
    /// be handed over again, perhaps to another worker while its handler still runs here; settling it says so.
    Void {
        /// The epoch of what comes from now on.
        epoch: u64,
    },
}

/// The answer to a revocation: the bases to commit before letting go. Dropping it answers with none.
pub struct Handback(Option<Box<dyn FnOnce(Vec<Base>) + Send>>);

impl Handback {
    /// A handback that calls `answer` once.
    pub fn new(answer: impl FnOnce(Vec<Base>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// The runtime has let go; commit these.
    pub fn done(mut self, bases: Vec<Base>) {
        if let Some(answer) = self.0.take() {
            answer(bases);
        }
    }
}

impl Drop for Handback {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Vec::new());
        }
    }
}

impl fmt::Debug for Handback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handback")
    }
}
