//! A set of offsets that holds everything below a base: a ring of 64-bit words from the base on.
//!
//! The base is read off the first word, whose bits below it are ones: it moves over a whole word at a
//! time, and a word that is full leaves the ring.

use std::collections::VecDeque;
use std::iter;

const BITS: u64 = u64::BITS as u64;

#[derive(Debug, Clone)]
pub(super) struct Bitmap {
    base: u64,
    /// Never empty; the first word holds the base's bit, which is zero.
    words: VecDeque<u64>,
}

impl Bitmap {
    /// The set of all offsets below `base`.
    pub(super) fn new(base: u64) -> Self {
        Self { base, words: VecDeque::from([ones_below(base)]) }
    }

    /// The lowest offset that isn't in the set.
    #[inline]
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// What the ring takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    #[inline]
    pub(super) fn contains(&self, offset: u64) -> bool {
        match self.place(offset) {
            None => true,
            Some(place) => self.words.get(place).is_some_and(|word| word & bit(offset) != 0),
        }
    }

    /// Adds one offset; true when it is new. The caller bounds how far it lies above the base.
    #[inline]
    pub(super) fn insert(&mut self, offset: u64) -> bool {
        let Some(place) = self.place(offset) else { return false };
        if place >= self.words.len() {
            self.words.resize(place + 1, 0);
        }
        let word = &mut self.words[place];
        if *word & bit(offset) != 0 {
            return false;
        }
        *word |= bit(offset);
        if offset == self.base {
            self.settle();
        }
        true
    }

    /// Adds `from..to`. The caller bounds how far `to` lies above the base.
    pub(super) fn insert_range(&mut self, from: u64, to: u64) {
        let from = from.max(self.base);
        let Some(last) = to.checked_sub(1).filter(|&last| last >= from) else { return };
        let (Some(first_place), Some(last_place)) = (self.place(from), self.place(last)) else { return };
        if last_place >= self.words.len() {
            self.words.resize(last_place + 1, 0);
        }
        for place in first_place..=last_place {
            let above = if place == first_place { !ones_below(from) } else { u64::MAX };
            let below = if place == last_place { ones_below(last) | bit(last) } else { u64::MAX };
            self.words[place] |= above & below;
        }
        self.settle();
    }

    /// Adds everything below `to`, however far that is.
    #[inline]
    pub(super) fn raise(&mut self, to: u64) {
        if to <= self.base {
            return;
        }
        let passed = to / BITS - self.base / BITS;
        if passed >= self.words.len() as u64 {
            self.words.clear();
            self.words.push_back(0);
        } else {
            self.words.drain(..passed as usize);
        }
        self.base = to;
        self.words[0] |= ones_below(to);
        self.settle();
    }

    /// The finished stretches above the base, each as (offsets not in the set before it, its length).
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let origin = self.base / BITS * BITS;
        let end = origin + self.words.len() as u64 * BITS;
        let mut at = self.base;
        iter::from_fn(move || {
            let start = self.next_equal(at, end, true)?;
            let stop = self.next_equal(start, end, false).unwrap_or(end);
            let run = (start - at, stop - start);
            at = stop;
            Some(run)
        })
    }

    /// The first offset in `from..end` that is in the set (or isn't).
    fn next_equal(&self, mut from: u64, end: u64, within: bool) -> Option<u64> {
        while from < end {
            let word = self.words[self.place(from)?];
            let wanted = if within { word } else { !word } & !ones_below(from);
            if wanted != 0 {
                return Some(from / BITS * BITS + u64::from(wanted.trailing_zeros()));
            }
            from = (from / BITS + 1) * BITS;
        }
        None
    }

    /// Moves the base over what is in the set by now, and lets go of full words.
    #[inline]
    fn settle(&mut self) {
        let mut start = self.base / BITS * BITS;
        while self.words[0] == u64::MAX {
            self.words.pop_front();
            start += BITS;
            if self.words.is_empty() {
                self.words.push_back(0);
            }
        }
        self.base = start + u64::from(self.words[0].trailing_ones());
    }

    /// Which word holds this offset; none for an offset below the first word, and thus below the base.
    #[inline]
    fn place(&self, offset: u64) -> Option<usize> {
        let place = (offset / BITS).checked_sub(self.base / BITS)?;
        // Beyond any memory on a 32-bit machine; `get` and the callers' bounds deal with it.
        Some(usize::try_from(place).unwrap_or(usize::MAX))
    }
}

fn bit(offset: u64) -> u64 {
    1 << (offset % BITS)
}

fn ones_below(offset: u64) -> u64 {
    bit(offset) - 1
}
