//! Which offsets of one partition are finished, when they finish in any order.
//!
//! A [`Watermark`] has a *base*: every offset below it is finished, and it is not. Above the base a bitmap
//! in a ring says which offsets are finished already. Only finished work moves the base; a gap in the log
//! (compaction, transaction markers) counts as finished, so that it never blocks it. The base with the
//! sparse set above it is what the position row stores (rule L2): [`Watermark::encode`] and
//! [`Watermark::restore`].
//!
//! [`Partition`] adds the epoch, so that a completion of an older one changes nothing; [`Witnesses`] keeps
//! the candidates for the record that proves the log is still the same.

mod bitmap;
#[doc(hidden)]
pub mod fuzz;
mod partition;
mod sparse;
mod witness;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use partition::Partition;
pub use sparse::Corrupt;
pub use witness::Witnesses;

use bitmap::Bitmap;

/// The highest offset there can be: brokers count in signed 64-bit numbers.
pub const OFFSET_MAX: u64 = i64::MAX as u64;

/// The widest window: how far above the base a watermark can remember anything (128 KiB of bits).
pub const WINDOW_MAX: usize = 1 << 20;

/// What a delivered offset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// New: in flight from now on, until it is finished.
    Fresh,
    /// Delivered before in this epoch, and still in flight: nothing to be started.
    Repeated,
    /// Finished, be it in an earlier epoch, or a gap: nothing to be started.
    AlreadyFinished,
    /// Too far above the base: pause the partition and hand it in again later. Nothing has changed.
    OutOfWindow,
}

/// The finished offsets of one partition in one epoch. See the [module](self).
#[derive(Debug, Clone)]
pub struct Watermark {
    finished: Bitmap,
    /// Up to here every offset was delivered or is a gap, and the bitmap knows which. Behind the base when
    /// that has passed a gap at the end.
    marked: u64,
    /// Up to here likewise, but what lies above `marked` is all gap: no bits are spent on it.
    seen: u64,
    last: Option<u64>,
    in_flight: u64,
    window: u64,
}

impl Watermark {
    /// Everything below `base` is finished, nothing above it; at most `window_max` offsets from the base on
    /// are remembered (no more than [`WINDOW_MAX`]).
    #[must_use]
    pub fn new(base: u64, window_max: usize) -> Self {
        Self::with(Bitmap::new(base.min(OFFSET_MAX + 1)), window_max)
    }

    /// Reads what [`encode`](Self::encode) wrote. A sparse set wider than `window_max` is taken over, so
    /// that a smaller window can be configured at any time.
    ///
    /// # Errors
    /// [`Corrupt`] for anything that `encode` doesn't write, in bounded time and memory.
    pub fn restore(base: u64, sparse: &[u8], window_max: usize) -> Result<Self, Corrupt> {
        Ok(Self::with(sparse::decode(base, sparse)?, window_max))
    }

    fn with(finished: Bitmap, window_max: usize) -> Self {
        let base = finished.base();
        let window = window_max.clamp(1, WINDOW_MAX) as u64;
        Self { finished, marked: base, seen: base, last: None, in_flight: 0, window }
    }

    /// The base, and the finished offsets above it in a compact form: empty when there are none, else at
    /// most two runs for each offset in flight, and never longer than the window.
    #[must_use]
    pub fn encode(&self) -> (u64, Vec<u8>) {
        (self.base(), sparse::encode(&self.finished))
    }

    /// An offset was delivered. Offsets come in growing order; one that comes again is recognised. What
    /// lies between the last one and this one is a gap.
    pub fn deliver(&mut self, offset: u64) -> Delivered {
        if offset < self.seen {
            let in_flight = self.base() <= offset && offset < self.marked && !self.finished.contains(offset);
            return if in_flight { Delivered::Repeated } else { Delivered::AlreadyFinished };
        }
        if offset > OFFSET_MAX {
            return Delivered::OutOfWindow;
        }
        if self.in_flight == 0 {
            self.finished.raise(offset);
        } else if offset - self.base() >= self.window {
            return Delivered::OutOfWindow;
        } else {
            self.finished.insert_range(self.marked, offset);
        }
        self.marked = offset + 1;
        self.seen = self.marked;
        self.last = Some(offset);
        if self.finished.contains(offset) {
            return Delivered::AlreadyFinished;
        }
        self.in_flight += 1;
        Delivered::Fresh
    }

    /// The log has nothing more below `offset` (its end was reached, or the reader's position is there):
    /// what lies between the last delivered offset and this one is a gap.
    pub fn seen_through(&mut self, offset: u64) {
        self.seen = self.seen.max(offset.min(OFFSET_MAX + 1));
        self.raise_if_idle();
    }

    /// An offset is finished; true when it was in flight. Whatever else is asked for (finished already,
    /// never delivered here) changes nothing.
    pub fn finish(&mut self, offset: u64) -> bool {
        if offset >= self.marked || !self.finished.insert(offset) {
            return false;
        }
        self.in_flight -= 1;
        self.raise_if_idle();
        true
    }

    /// With nothing in flight all that was seen is finished.
    fn raise_if_idle(&mut self) {
        if self.in_flight == 0 && self.seen > self.base() {
            self.finished.raise(self.seen);
        }
    }

    /// The lowest offset that isn't known to be finished: where reading would have to start again.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.finished.base()
    }

    /// The highest offset that was delivered in this epoch.
    #[must_use]
    pub fn last_delivered(&self) -> Option<u64> {
        self.last
    }

    /// How many delivered offsets aren't finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether this offset is finished or a gap.
    #[must_use]
    pub fn is_finished(&self, offset: u64) -> bool {
        self.finished.contains(offset) || (self.marked <= offset && offset < self.seen)
    }

    /// How many offsets past what was seen the window has room for.
    #[must_use]
    pub fn room(&self) -> u64 {
        if self.in_flight == 0 {
            return self.window;
        }
        (self.base() + self.window).saturating_sub(self.seen)
    }
}
