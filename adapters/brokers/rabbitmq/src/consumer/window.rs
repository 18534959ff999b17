//! What one channel has delivered and was not told of yet: the watermark over its delivery tags. Pure.
//!
//! All that is finished before the first open delivery is acknowledged in one word. What finishes behind it is held
//! back for a while, because that word will cover it, and told one by one when too much is held.

use std::collections::BTreeMap;

/// Deliveries in the order of the channel; `A` is the right to settle one.
#[derive(Debug)]
pub(super) struct Window<A> {
    entries: BTreeMap<u64, Entry<A>>,
    held: usize,
}

#[derive(Debug)]
struct Entry<A> {
    acker: A,
    /// Finished, and the broker not told.
    held: bool,
}

/// What is to be told now: these one by one, then all up to and with the last one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due<A> {
    pub(super) single: Vec<A>,
    pub(super) up_to: Option<A>,
}

impl<A> Default for Window<A> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), held: 0 }
    }
}

impl<A> Window<A> {
    /// Offsets grow with the channel's tags.
    pub(super) fn delivered(&mut self, offset: u64, acker: A) {
        self.entries.insert(offset, Entry { acker, held: false });
    }

    /// It needs no more deliveries of this one. False: nothing is known of it, or it was settled before.
    pub(super) fn finish(&mut self, offset: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&offset).filter(|entry| !entry.held) else { return false };
        entry.held = true;
        self.held += 1;
        true
    }

    /// It goes back by a word of its own, which has to be said before any that [`due`](Self::due) gives later: that
    /// would acknowledge it.
    pub(super) fn give_back(&mut self, offset: u64) -> Option<A> {
        if self.entries.get(&offset)?.held {
            return None;
        }
        self.entries.remove(&offset).map(|entry| entry.acker)
    }

    /// What to tell, when at most `held_max` may stay held behind the first open one.
    pub(super) fn due(&mut self, held_max: usize) -> Due<A> {
        let mut up_to = None;
        while let Some(first) = self.entries.first_entry().filter(|entry| entry.get().held) {
            up_to = Some(first.remove().acker);
            self.held -= 1;
        }
        let mut single = Vec::new();
        if self.held > held_max {
            let held = self.entries.extract_if(.., |_, entry| entry.held);
            single.extend(held.map(|(_, entry)| entry.acker));
            self.held = 0;
        }
        Due { single, up_to }
    }

    /// Whether something is held back.
    pub(super) fn holds(&self) -> bool {
        self.held > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(tags: std::ops::RangeInclusive<u64>) -> Window<u64> {
        let mut window = Window::default();
        tags.for_each(|tag| window.delivered(tag, tag));
        window
    }

    fn due(single: &[u64], up_to: Option<u64>) -> Due<u64> {
        Due { single: single.to_vec(), up_to }
    }

    #[test]
    fn a_finished_prefix_is_one_word() {
        let mut window = window(1..=5);
        assert!([2, 1, 3].into_iter().all(|tag| window.finish(tag)));
        assert_eq!(window.due(10), due(&[], Some(3)));
        assert_eq!(window.due(10), due(&[], None), "told once");
        assert!(window.finish(5) && window.finish(4));
        assert_eq!(window.due(10), due(&[], Some(5)));
    }

    #[test]
    fn a_slow_head_holds_up_only_so_many() {
        let mut window = window(1..=5);
        assert!(window.finish(2) && window.finish(4));
        assert_eq!(window.due(2), due(&[], None));
        assert!(window.holds() && window.finish(5));
        assert_eq!(window.due(2), due(&[2, 4, 5], None));
        assert!(!window.holds());
        // Three is open: an acknowledgement of all up to four would have taken it along.
        assert!(window.finish(1));
        assert_eq!(window.due(2), due(&[], Some(1)));
        assert!(window.finish(3));
        assert_eq!(window.due(0), due(&[], Some(3)));
    }

    #[test]
    fn an_open_delivery_is_never_covered() {
        let mut window = window(1..=4);
        assert!(window.finish(1) && window.finish(3));
        assert_eq!(window.due(0), due(&[3], Some(1)));
        assert_eq!(window.give_back(2), Some(2));
        assert!(window.finish(4));
        assert_eq!(window.due(0), due(&[], Some(4)));
    }

    #[test]
    fn nothing_is_settled_twice() {
        let mut window = window(1..=3);
        assert!(window.finish(2));
        assert!(!window.finish(2) && !window.finish(9));
        assert_eq!(window.give_back(2), None);
        assert_eq!(window.give_back(3), Some(3));
        assert!(!window.finish(3));
    }

    #[test]
    fn a_stuck_head_costs_no_memory_for_what_is_told() {
        let mut window = window(1..=1);
        for tag in 2..10_000 {
            window.delivered(tag, tag);
            assert!(window.finish(tag));
            window.due(8);
        }
        assert!(window.entries.len() < 16, "{}", window.entries.len());
    }
}
