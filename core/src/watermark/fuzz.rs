//! What a fuzzer runs on the stored form of a watermark.

use super::{OFFSET_MAX, WINDOW_MAX, Watermark};

/// Reads a base and a sparse set from arbitrary bytes: no panic, no more memory than the widest window, and
/// what is read is written as the very same bytes.
///
/// # Panics
/// When one of that isn't so.
pub fn restore(bytes: &[u8]) {
    let (base, sparse) = bytes.split_at(bytes.len().min(8));
    let mut padded = [0; 8];
    padded[..base.len()].copy_from_slice(base);
    let base = u64::from_le_bytes(padded);
    let Ok(mut watermark) = Watermark::restore(base, sparse, WINDOW_MAX) else { return };
    assert_eq!(watermark.encode(), (base, sparse.to_vec()), "every set has one form");
    assert!(watermark.finished.bytes() <= WINDOW_MAX / 8 + 8, "the window bounds the memory");
    let end = (base + 64).min(OFFSET_MAX + 1);
    for offset in base..end {
        watermark.deliver(offset);
        watermark.finish(offset);
    }
    assert!(watermark.base() >= end && watermark.in_flight() == 0, "it goes on from where it was");
}
