//! What retention lets go of: pure decisions over one partition's chunks, oldest first.
//!
//! Bounds are of time, records and bytes, as in other logs; how far groups have read plays no part. A
//! group that is too slow finds that out by [`bounds`](keylane::broker::Consumer::bounds) and by an error
//! of its next pull, never by a silent gap (rule L2).

use std::time::Duration;

use keylane::env::Timestamp;

/// What is kept of each partition. `None`: without that bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Keep {
    /// Records younger than this.
    pub time: Option<Duration>,
    /// At least so many records.
    pub records: Option<u64>,
    /// About so many bytes.
    pub bytes: Option<u64>,
}

impl Keep {
    /// Whether there is anything to do at all.
    pub(crate) fn bounded(self) -> bool {
        self.time.is_some() || self.records.is_some() || self.bytes.is_some()
    }
}

/// A row of the log, as far as retention looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub first: u64,
    pub count: u64,
    pub bytes: u64,
    pub at: Timestamp,
}

/// What a partition holds in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub records: u64,
    pub bytes: u64,
}

/// The offset below which `oldest` chunks of a partition that holds `held` may go; `None`: none of them.
///
/// A chunk goes whole or stays whole; a bound of size is not undershot by the last one that goes.
pub(crate) fn horizon(keep: Keep, now: Timestamp, mut held: Held, oldest: &[Chunk]) -> Option<u64> {
    let mut low = None;
    for chunk in oldest {
        let old = keep.time.is_some_and(|time| now.since(chunk.at) > time);
        let left = Held {
            records: held.records.saturating_sub(chunk.count),
            bytes: held.bytes.saturating_sub(chunk.bytes),
        };
        let many = keep.records.is_some_and(|records| left.records >= records);
        let large = keep.bytes.is_some_and(|bytes| left.bytes >= bytes);
        if !(old || many || large) {
            break;
        }
        held = left;
        low = Some(chunk.first + chunk.count);
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four chunks of ten records and 100 bytes, a minute apart, the last at minute three.
    fn chunks() -> Vec<Chunk> {
        (0..4).map(|n| Chunk { first: n * 10, count: 10, bytes: 100, at: minutes(n) }).collect()
    }

    fn minutes(n: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(60 * n)
    }

    const HELD: Held = Held { records: 40, bytes: 400 };

    fn low(keep: Keep) -> Option<u64> {
        horizon(keep, minutes(3), HELD, &chunks())
    }

    #[test]
    fn without_bounds_everything_stays() {
        assert_eq!(low(Keep::default()), None);
    }

    #[test]
    fn each_bound_lets_go_of_what_is_beyond_it() {
        let time = |seconds| Keep { time: Some(Duration::from_secs(seconds)), ..Keep::default() };
        let records = |records| Keep { records: Some(records), ..Keep::default() };
        let bytes = |bytes| Keep { bytes: Some(bytes), ..Keep::default() };
        for (keep, expected) in [
            (time(180), None),
            (time(179), Some(10)),
            (time(60), Some(20)),
            (time(0), Some(30)),
            (records(40), None),
            (records(31), None),
            (records(30), Some(10)),
            (records(15), Some(20)),
            (records(0), Some(40)),
            (bytes(301), None),
            (bytes(200), Some(20)),
        ] {
            assert_eq!(low(keep), expected, "{keep:?}");
        }
    }

    #[test]
    fn bounds_add_up_to_the_tightest() {
        let keep = Keep { time: Some(Duration::from_secs(179)), records: Some(15), bytes: Some(400) };
        assert_eq!(low(keep), Some(20));
    }
}
