//! How many messages may be unsettled, so that what lies here unread is bounded in bytes as well.
//!
//! The broker counts messages alone. So the first guess is by the size that messages are said to have, and where they are
//! larger than that, what came is given back and fewer are asked for.

use keylane::broker::ConsumerSpec;
use keylane::config::Size;
use keylane::{Error, ErrorKind};

use super::inbox::Ready;

/// The broker counts in two bytes.
const MOST: usize = u16::MAX as usize;

/// Of each queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefetch {
    messages: usize,
    queues: usize,
    bytes_max: usize,
}

impl Prefetch {
    /// Each queue's share of what may be unsettled, and of the bytes that may lie here.
    pub(super) fn new(spec: &ConsumerSpec, message_size: Size, queues: usize) -> Result<Self, Error> {
        let queues = queues.max(1);
        let share = spec.unsettled_max / queues;
        if share == 0 {
            let what = format!(
                "{} unsettled deliveries for {queues} queues, each of which needs one; raise budget.messages_max",
                spec.unsettled_max
            );
            return Err(Error::new(ErrorKind::Config, what));
        }
        let all = Self { messages: share.min(MOST), queues, bytes_max: spec.prefetch_bytes_max };
        Ok(all.at_most(message_size.as_usize()))
    }

    /// What the broker is told.
    pub(super) fn count(self) -> u16 {
        u16::try_from(self.messages).unwrap_or(u16::MAX)
    }

    /// So many of them may be finished and held back: the others are enough to go on with.
    pub(super) fn held_max(self) -> usize {
        self.messages / 8
    }

    /// Fewer, if more bytes are ready than may be. One message is always asked for, however large it is.
    pub(super) fn reduced(self, ready: Ready) -> Option<Self> {
        if ready.bytes <= self.bytes_max || self.messages == 1 {
            return None;
        }
        // Half at most: what comes next may be larger than what came.
        let half = Self { messages: self.messages / 2, ..self };
        Some(half.at_most(ready.bytes / ready.messages.max(1)))
    }

    /// No more than fit, of this size; but one.
    fn at_most(self, size: usize) -> Self {
        let fitting = self.bytes_max / self.queues / size.max(1);
        Self { messages: self.messages.min(fitting).max(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn of(unsettled_max: usize, bytes_max: Size, queues: usize) -> Result<Prefetch, Error> {
        let spec = ConsumerSpec {
            subscription: Arc::from("billing"),
            source: Arc::from("orders"),
            group: Arc::from("billing"),
            reset: keylane::broker::Reset::Earliest,
            unsettled_max,
            prefetch_bytes_max: bytes_max.as_usize(),
            settings: keylane::config::Section::parse("").unwrap(),
        };
        Prefetch::new(&spec, Size::kib(4), queues)
    }

    #[test]
    fn both_bounds_are_shared_by_the_queues() {
        assert_eq!(of(1_000, Size::mib(64), 1).unwrap().count(), 1_000);
        assert_eq!(of(1_000, Size::mib(64), 8).unwrap().count(), 125);
        assert_eq!(of(100_000, Size::mib(1), 1).unwrap().count(), 256);
        assert_eq!(of(100_000, Size::mib(1), 8).unwrap().count(), 32);
        assert_eq!(of(1_000_000, Size::mib(1024), 1).unwrap().count(), u16::MAX);
        assert_eq!(of(10, Size::kib(1), 1).unwrap().count(), 1);
        assert!(of(3, Size::mib(64), 4).unwrap_err().to_string().contains("4 queues"));
    }

    #[test]
    fn larger_messages_than_expected_leave_fewer() {
        let prefetch = of(1_000, Size::mib(1), 1).unwrap();
        let mib = Size::mib(1).as_usize();
        assert_eq!(prefetch.reduced(Ready { messages: 200, bytes: mib }), None);
        let fewer = prefetch.reduced(Ready { messages: 20, bytes: mib + 1 }).unwrap();
        assert_eq!(fewer.count(), 20);
        let few_small_ones = prefetch.reduced(Ready { messages: 250, bytes: mib + 1 }).unwrap();
        assert_eq!(few_small_ones.count(), 128);
        let one = prefetch.reduced(Ready { messages: 1, bytes: 9 * mib }).unwrap();
        assert_eq!(one.count(), 1);
        assert_eq!(one.reduced(Ready { messages: 1, bytes: 9 * mib }), None);
    }
}
