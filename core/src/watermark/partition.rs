//! A watermark and the epoch in which it was assigned.

use super::{Delivered, Watermark};

/// One assigned partition. What belongs to an older epoch (a handler that outlived its partition, a commit
/// answered late) changes nothing here.
#[derive(Debug, Clone)]
pub struct Partition {
    epoch: u64,
    watermark: Watermark,
}

impl Partition {
    /// The partition as assigned in `epoch`.
    #[must_use]
    pub fn new(epoch: u64, watermark: Watermark) -> Self {
        Self { epoch, watermark }
    }

    /// Assigned anew. False, and nothing done, unless the epoch is higher: epochs only grow.
    pub fn assign(&mut self, epoch: u64, watermark: Watermark) -> bool {
        let newer = epoch > self.epoch;
        if newer {
            *self = Self { epoch, watermark };
        }
        newer
    }

    /// The epoch of the present assignment.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is finished in it.
    #[must_use]
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// See [`Watermark::deliver`]. None when the offset was read in another epoch.
    pub fn deliver(&mut self, epoch: u64, offset: u64) -> Option<Delivered> {
        (epoch == self.epoch).then(|| self.watermark.deliver(offset))
    }

    /// See [`Watermark::finish`]. False, and nothing done, for another epoch.
    pub fn finish(&mut self, epoch: u64, offset: u64) -> bool {
        epoch == self.epoch && self.watermark.finish(offset)
    }

    /// See [`Watermark::seen_through`]. Nothing is done for another epoch.
    pub fn seen_through(&mut self, epoch: u64, offset: u64) {
        if epoch == self.epoch {
            self.watermark.seen_through(offset);
        }
    }
}
