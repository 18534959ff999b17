//! Where an event belongs: a hash of its key that never changes.
//!
//! FNV-1a of the key's bytes with MurmurHash3's last step over it, scaled to the number of homes. It is part of what the
//! databases hold: another hash would look for a key in a database that knows nothing of it.

use crate::delivery::Place;
use crate::event::{Decoder, Record, SpreadKey};

/// The home of a record, the same for every worker and every delivery of it.
pub(super) fn home_of(decoder: &Decoder, record: &Record, place: Place, leased: bool, homes: usize) -> usize {
    match decoder.spread_key(record) {
        SpreadKey::Key(key) => home(&key, homes),
        // An event that is named by nothing but its place is its own key (rule L3).
        SpreadKey::Place if !leased => {
            let place = [u64::from(place.partition).to_be_bytes(), place.offset.to_be_bytes()];
            home(&place.concat(), homes)
        }
        // Without partitions a place is no name: a fixed one.
        SpreadKey::Place => home(&[], homes),
    }
}

fn home(key: &[u8], homes: usize) -> usize {
    let hash = finish(fnv(key.iter()));
    usize::try_from((u128::from(hash) * homes as u128) >> 64).unwrap_or(0)
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv<'b>(bytes: impl Iterator<Item = &'b u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// FNV's high bits know little of the last bytes, and keys often differ in those alone.
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_a_key_has_the_same_home_for_ever() {
        // Written down once. If this fails, every key of every service looks for its past elsewhere.
        let homes: Vec<usize> = (0..16).map(|n| home(format!("key-{n}").as_bytes(), 5)).collect();
        assert_eq!(homes, [0, 3, 4, 1, 0, 3, 0, 1, 3, 1, 1, 1, 2, 3, 2, 4]);
        assert_eq!(fnv(b"foobar".iter()), 0x8594_4171_f739_67e8, "FNV's own test vector");
    }

    #[test]
    fn keys_are_spread_evenly() {
        for homes in 2..8 {
            let mut counts = vec![0_usize; homes];
            for n in 0..10_000 {
                counts[home(format!("order-{n}").as_bytes(), homes)] += 1;
            }
            let fair = 10_000 / homes;
            assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 10), "{counts:?}");
        }
    }
}
