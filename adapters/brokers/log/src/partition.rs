//! Which partition of a stream a record goes to.
//!
//! A key's partition is part of what lies on disk: it must come out the same in every process, on every
//! machine and in every later version, so nothing here is seeded and nothing may change. It is the rule of
//! Kafka's own producers (murmur2 of the key, sign bit cleared, modulo the number of partitions), so that
//! a stream and a topic with equally many partitions put a key into the same one.

use std::num::NonZeroU32;

use keylane::broker::Partition;

/// The partition of `key` among `partitions`.
#[must_use]
pub fn partition_of(key: &[u8], partitions: NonZeroU32) -> Partition {
    (murmur2(key) & 0x7FFF_FFFF) % partitions
}

/// MurmurHash2, 32 bits, with the seed that Kafka's clients use.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const M: u32 = 0x5BD1_E995;
    const R: u32 = 24;
    // Keys are far below 4 GiB: a record has an upper bound.
    let mut hash = SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own test of its hash: changing one line of it moves keys that are on disk.
    #[test]
    fn hashes_are_those_of_kafkas_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partitions_stay_where_they_are() {
        let eight = NonZeroU32::new(8).unwrap();
        let found: Vec<_> = ["", "a", "order-1", "order-2", "21", "foobar"]
            .map(|key| partition_of(key.as_bytes(), eight))
            .into();
        assert_eq!(found, EXPECTED);
    }

    const EXPECTED: [Partition; 6] = [1, 4, 6, 3, 4, 6];

    #[test]
    fn many_keys_spread_over_all_partitions() {
        let partitions = NonZeroU32::new(12).unwrap();
        let mut counts = [0_u32; 12];
        for n in 0..12_000 {
            counts[partition_of(format!("key-{n}").as_bytes(), partitions) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
