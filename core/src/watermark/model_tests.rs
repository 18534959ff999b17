//! The watermark against plain sets, and its stored form against arbitrary bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Delivered, Partition, WINDOW_MAX, Watermark, fuzz};

const WINDOW: usize = 200;

#[derive(Debug, Clone)]
enum Op {
    /// The next offset, after a gap.
    Deliver(u64),
    /// One that may have been delivered before.
    DeliverAgain(u64),
    /// One in flight, counted from the lowest.
    Finish(usize),
    FinishAny(u64),
    FinishOldEpoch(usize),
    SeenThrough(u64),
    /// Revoked and assigned anew, from what was stored: everything in flight comes again.
    Revoke,
}

fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![12 => Just(0), 4 => 0..4_u64, 1 => 0..300_u64, 1 => 0..1_000_000_u64]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => gap().prop_map(Op::Deliver),
        1 => (0..300_u64).prop_map(Op::DeliverAgain),
        9 => any::<usize>().prop_map(Op::Finish),
        3 => Just(Op::Finish(0)),
        1 => (0..300_u64).prop_map(Op::FinishAny),
        1 => any::<usize>().prop_map(Op::FinishOldEpoch),
        1 => gap().prop_map(Op::SeenThrough),
        1 => Just(Op::Revoke),
    ]
}

/// Every offset below `next` that isn't `open` is finished or a gap; above it only what is `known`.
#[derive(Debug, Clone)]
struct Model {
    next: u64,
    open: BTreeSet<u64>,
    known: BTreeSet<u64>,
    /// Gaps at the end that the stored form may leave out, since the log won't deliver them anyway.
    tail: u64,
}

impl Model {
    fn is_finished(&self, offset: u64) -> bool {
        if offset < self.next { !self.open.contains(&offset) } else { self.known.contains(&offset) }
    }

    fn base(&self) -> u64 {
        let mut base = self.open.first().copied().unwrap_or(self.next);
        while self.is_finished(base) {
            base += 1;
        }
        base
    }

    fn deliver(&mut self, offset: u64) -> Delivered {
        if self.is_finished(offset) && offset < self.next {
            return Delivered::AlreadyFinished;
        }
        if self.open.contains(&offset) {
            return Delivered::Repeated;
        }
        if !self.open.is_empty() && offset - self.base() >= WINDOW as u64 {
            return Delivered::OutOfWindow;
        }
        self.next = offset + 1;
        self.tail = self.next;
        if self.known.contains(&offset) {
            return Delivered::AlreadyFinished;
        }
        self.open.insert(offset);
        Delivered::Fresh
    }
}

struct Pair {
    partition: Partition,
    model: Model,
    epoch: u64,
}

impl Pair {
    fn apply(&mut self, op: &Op) {
        let epoch = self.epoch;
        match *op {
            Op::Deliver(gap) => self.deliver(self.model.next + gap),
            Op::DeliverAgain(back) => self.deliver(self.model.next.saturating_sub(back)),
            Op::Finish(which) => {
                let Some(offset) = self.pick(which) else { return };
                assert!(self.partition.finish(epoch, offset));
                self.model.open.remove(&offset);
            }
            Op::FinishAny(back) => {
                let offset = (self.model.next + 50).saturating_sub(back);
                assert_eq!(self.partition.finish(epoch, offset), self.model.open.remove(&offset));
            }
            Op::FinishOldEpoch(which) => {
                let Some(offset) = self.pick(which) else { return };
                assert!(!self.partition.finish(epoch - 1, offset), "an older epoch changes nothing");
            }
            Op::SeenThrough(gap) => {
                self.model.next += gap;
                self.partition.seen_through(epoch, self.model.next);
            }
            Op::Revoke => self.revoke(),
        }
        self.compare();
    }

    fn deliver(&mut self, offset: u64) {
        let expected = self.model.deliver(offset);
        assert_eq!(self.partition.deliver(self.epoch, offset), Some(expected));
    }

    fn revoke(&mut self) {
        let (base, sparse) = self.partition.watermark().encode();
        assert!(sparse.len() <= 1 + 4 * (self.model.open.len() + self.model.known.len() + 1));
        self.epoch += 1;
        let restored = Watermark::restore(base, &sparse, WINDOW).unwrap();
        assert_eq!(restored.encode(), (base, sparse), "what is read is what was written");
        assert!(self.partition.assign(self.epoch, restored));
        let stop = if self.model.open.is_empty() { self.model.next } else { self.model.tail };
        let stored = (base..stop).filter(|&offset| self.model.is_finished(offset));
        let known = stored.chain(self.model.known.iter().copied().filter(|&known| known > base)).collect();
        self.model = Model { next: base, open: BTreeSet::new(), known, tail: base };
    }

    fn pick(&self, which: usize) -> Option<u64> {
        let count = self.model.open.len();
        (count > 0).then(|| *self.model.open.iter().nth(which % count).unwrap())
    }

    fn compare(&self) {
        let watermark = self.partition.watermark();
        assert_eq!(watermark.base(), self.model.base());
        assert_eq!(watermark.in_flight(), self.model.open.len() as u64);
        let low = self.model.next.saturating_sub(250);
        for offset in low..self.model.next + 250 {
            assert_eq!(watermark.is_finished(offset), self.model.is_finished(offset), "{offset}");
        }
        if !self.model.open.is_empty() {
            let end = self.model.base() + WINDOW as u64;
            assert_eq!(watermark.room(), end.saturating_sub(self.model.next));
        }
        assert!(watermark.finished.bytes() <= 8 * (WINDOW / 64 + 2), "the window bounds the memory");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_watermark_does_what_a_set_would(
        base in prop_oneof![0..200_u64, Just(1 << 40)],
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let partition = Partition::new(1, Watermark::new(base, WINDOW));
        let model = Model { next: base, open: BTreeSet::new(), known: BTreeSet::new(), tail: base };
        let mut pair = Pair { partition, model, epoch: 1 };
        for op in &ops {
            pair.apply(op);
        }
    }

    #[test]
    fn any_order_of_completion_ends_at_the_same_base(
        order in Just((0..500_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut watermark = Watermark::new(0, 512);
        for offset in 0..500 {
            prop_assert_eq!(watermark.deliver(offset), Delivered::Fresh);
        }
        let mut finished = BTreeSet::new();
        for offset in order {
            prop_assert!(watermark.finish(offset));
            finished.insert(offset);
            let base = (0..).find(|offset| !finished.contains(offset)).unwrap();
            prop_assert_eq!(watermark.base(), base);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_exactly(
        base in prop_oneof![any::<u64>(), 0..1000_u64],
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        fuzz::restore(&bytes);
        fuzz::restore(&[base.to_le_bytes().as_slice(), &[1], &bytes].concat());
    }

    #[test]
    fn runs_of_any_length_are_read_exactly(
        base in 0..1000_u64,
        runs in prop::collection::vec((1..300_u64, 1..300_u64), 0..40),
    ) {
        let mut watermark = Watermark::new(base, WINDOW_MAX);
        let mut at = base;
        for &(open, finished) in &runs {
            for offset in at..at + open + finished {
                watermark.deliver(offset);
            }
            at += open;
            for offset in at..at + finished {
                watermark.finish(offset);
            }
            at += finished;
        }
        let (stored_base, sparse) = watermark.encode();
        fuzz::restore(&[stored_base.to_le_bytes().as_slice(), &sparse].concat());
        let restored = Watermark::restore(stored_base, &sparse, WINDOW_MAX).unwrap();
        for offset in base..at + 10 {
            prop_assert_eq!(restored.is_finished(offset), watermark.is_finished(offset));
        }
    }
}
