//! What watermarks and witnesses do, one story a test.

use super::{Corrupt, Delivered, OFFSET_MAX, Partition, WINDOW_MAX, Watermark, fuzz};
use crate::error::{Error, ErrorKind};

fn watermark(base: u64, delivered: &[u64]) -> Watermark {
    let mut watermark = Watermark::new(base, 1024);
    for &offset in delivered {
        assert_eq!(watermark.deliver(offset), Delivered::Fresh);
    }
    watermark
}

#[test]
fn l2_only_finished_work_moves_the_base() {
    let mut watermark = watermark(10, &[10, 11, 12]);
    assert!(watermark.finish(12));
    assert!(watermark.finish(11));
    assert_eq!((watermark.base(), watermark.in_flight()), (10, 1));
    assert!(watermark.finish(10));
    assert_eq!((watermark.base(), watermark.in_flight()), (13, 0));
    assert_eq!(watermark.last_delivered(), Some(12));
}

#[test]
fn gaps_in_the_log_never_block_the_base() {
    let mut watermark = watermark(0, &[5, 9]);
    assert_eq!(watermark.base(), 5, "compacted below");
    assert!(watermark.is_finished(7) && !watermark.is_finished(9));
    assert!(watermark.finish(5));
    assert_eq!(watermark.base(), 9);
    watermark.seen_through(40);
    assert_eq!(watermark.base(), 9);
    assert!(watermark.is_finished(20) && !watermark.is_finished(40));
    assert!(watermark.finish(9));
    assert_eq!(watermark.base(), 40, "markers at the end of the log");
}

#[test]
fn a_gap_of_any_width_costs_no_memory() {
    let mut watermark = watermark(0, &[3]);
    watermark.seen_through(1 << 40);
    assert!(watermark.finish(3));
    assert_eq!(watermark.base(), 1 << 40);
    assert_eq!(watermark.deliver(1 << 50), Delivered::Fresh);
    assert_eq!(watermark.base(), 1 << 50);
    assert!(watermark.finished.bytes() <= 16);
}

#[test]
fn what_comes_again_is_recognised() {
    let mut watermark = watermark(0, &[0, 1, 4]);
    assert!(watermark.finish(1));
    assert_eq!(watermark.deliver(0), Delivered::Repeated);
    assert_eq!(watermark.deliver(1), Delivered::AlreadyFinished);
    assert_eq!(watermark.deliver(2), Delivered::AlreadyFinished, "a gap");
    assert_eq!(watermark.deliver(4), Delivered::Repeated);
    assert_eq!(watermark.in_flight(), 2);
}

#[test]
fn finishing_what_is_not_in_flight_changes_nothing() {
    let mut watermark = watermark(10, &[12, 15]);
    assert!(watermark.finish(12));
    for offset in [0, 11, 12, 13, 16, 1000, u64::MAX] {
        assert!(!watermark.finish(offset), "{offset}");
    }
    watermark.seen_through(30);
    assert!(!watermark.finish(20), "a gap");
    assert_eq!((watermark.base(), watermark.in_flight()), (13 + 2, 1));
}

#[test]
fn the_window_bounds_what_is_remembered() {
    let mut watermark = Watermark::new(100, 64);
    assert_eq!(watermark.room(), 64);
    assert_eq!(watermark.deliver(100), Delivered::Fresh);
    assert_eq!(watermark.room(), 63);
    assert_eq!(watermark.deliver(164), Delivered::OutOfWindow);
    assert_eq!(watermark.deliver(163), Delivered::Fresh);
    assert_eq!((watermark.room(), watermark.last_delivered()), (0, Some(163)));
    assert!(watermark.finish(100));
    assert_eq!(watermark.deliver(164), Delivered::Fresh);
    assert!(watermark.finish(163) && watermark.finish(164));
    assert_eq!((watermark.base(), watermark.room()), (165, 64));
}

#[test]
fn offsets_beyond_any_log_are_not_taken() {
    let mut watermark = Watermark::new(u64::MAX, 64);
    assert_eq!(watermark.base(), OFFSET_MAX + 1);
    assert_eq!(watermark.deliver(u64::MAX), Delivered::OutOfWindow);
    let mut watermark = Watermark::new(OFFSET_MAX, 64);
    watermark.seen_through(u64::MAX - 1);
    assert_eq!(watermark.base(), OFFSET_MAX + 1);
    let mut watermark = super::tests::watermark(OFFSET_MAX - 1, &[OFFSET_MAX - 1, OFFSET_MAX]);
    assert!(watermark.finish(OFFSET_MAX) && watermark.finish(OFFSET_MAX - 1));
    let (base, sparse) = watermark.encode();
    assert_eq!(Watermark::restore(base, &sparse, 64).unwrap().base(), OFFSET_MAX + 1);
}

#[test]
fn l2_a_restored_watermark_knows_what_was_finished() {
    let mut before = watermark(7, &[7, 8, 9, 10, 11]);
    assert!(before.finish(8) && before.finish(10) && before.finish(11));
    let (base, sparse) = before.encode();
    assert_eq!((base, sparse.as_slice()), (7, [1, 1, 1, 1, 2].as_slice()));
    let mut after = Watermark::restore(base, &sparse, 1024).unwrap();
    assert_eq!((after.in_flight(), after.last_delivered()), (0, None));
    assert!(!after.finish(7), "not delivered in this epoch");
    assert_eq!(after.deliver(7), Delivered::Fresh);
    assert_eq!(after.deliver(8), Delivered::AlreadyFinished);
    assert_eq!(after.deliver(9), Delivered::Fresh);
    assert!(after.finish(9));
    assert_eq!(after.deliver(10), Delivered::AlreadyFinished);
    assert!(after.finish(7));
    assert_eq!(after.base(), 12);
    assert_eq!(after.deliver(11), Delivered::AlreadyFinished, "though the base has passed it");
    assert_eq!(after.last_delivered(), Some(11));
}

#[test]
fn a_restored_set_may_be_wider_than_the_window() {
    let mut before = watermark(0, &[0, 1000]);
    assert!(before.finish(1000));
    let (base, sparse) = before.encode();
    let mut after = Watermark::restore(base, &sparse, 64).unwrap();
    assert_eq!(after.deliver(0), Delivered::Fresh);
    assert_eq!(after.deliver(1000), Delivered::OutOfWindow);
    assert!(after.finish(0));
    assert_eq!(after.deliver(1000), Delivered::AlreadyFinished);
    assert_eq!(after.base(), 1001);
}

#[test]
fn what_was_never_written_is_refused() {
    let wide = [1, 0xFF, 0xFF, 0x3F, 2];
    for (base, sparse) in [
        (0, [2, 1, 1].as_slice()),      // another version
        (0, &[1]),                      // a set of nothing
        (0, &[1, 1]),                   // half a pair
        (0, &[1, 0, 1]),                // an empty run
        (0, &[1, 1, 0]),                // the same
        (0, &[1, 0x81, 0x00, 1]),       // padded
        (0, &[1, 1, 0x80]),             // cut off
        (0, &[1, 0x80, 0x80, 0x80, 1]), // too long a run
        (0, &wide),                     // beyond the widest window
        (OFFSET_MAX, &[1, 1, 1]),       // beyond the last offset
        (u64::MAX, &[]),                // no offset at all
    ] {
        assert!(Watermark::restore(base, sparse, WINDOW_MAX).is_err(), "{base} {sparse:?}");
    }
    let corrupt: Corrupt = Watermark::restore(0, &[2], 64).unwrap_err();
    assert!(corrupt.to_string().contains("version"));
    assert_eq!(Error::from(corrupt).kind(), ErrorKind::Corrupt);
}

#[test]
fn the_widest_set_can_be_stored() {
    let mut watermark = Watermark::new(1, usize::MAX);
    let last = WINDOW_MAX as u64;
    assert_eq!(watermark.deliver(1), Delivered::Fresh);
    assert_eq!(watermark.deliver(last + 1), Delivered::OutOfWindow);
    assert_eq!(watermark.deliver(last), Delivered::Fresh);
    assert!(watermark.finish(last));
    let (base, sparse) = watermark.encode();
    assert!(Watermark::restore(base, &sparse, 64).unwrap().is_finished(last));
}

#[test]
fn the_fuzz_body_accepts_what_is_written() {
    let mut watermark = watermark(3, &[3, 4, 5, 200]);
    assert!(watermark.finish(4) && watermark.finish(200));
    let (base, sparse) = watermark.encode();
    fuzz::restore(&[base.to_le_bytes().as_slice(), &sparse].concat());
    fuzz::restore(&OFFSET_MAX.to_le_bytes());
    fuzz::restore(&[]);
}

#[test]
fn completions_of_another_epoch_change_nothing() {
    let mut partition = Partition::new(4, Watermark::new(0, 64));
    assert_eq!(partition.deliver(4, 0), Some(Delivered::Fresh));
    assert!(!partition.assign(4, Watermark::new(0, 64)), "epochs only grow");
    assert!(partition.assign(5, Watermark::new(0, 64)));
    assert_eq!(partition.deliver(5, 0), Some(Delivered::Fresh));
    assert_eq!(partition.deliver(4, 1), None);
    partition.seen_through(4, 9);
    assert!(!partition.finish(4, 0));
    assert_eq!((partition.watermark().base(), partition.watermark().in_flight()), (0, 1));
    assert!(partition.finish(5, 0));
    assert_eq!((partition.epoch(), partition.watermark().base()), (5, 1));
}
