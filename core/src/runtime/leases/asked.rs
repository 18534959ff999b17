//! What is asked of the store for a batch.

use bytes::Bytes;

use crate::runtime::Item;

/// What is to be asked of the store for a batch.
pub(crate) struct Asked {
    pub(crate) items: Vec<Item>,
    /// Of each item, the place of its key among these, if its lease is to be taken.
    pub(crate) places: Vec<Option<usize>>,
    /// The keys whose leases are to be taken, sorted, each once (rule C7).
    pub(crate) keys: Vec<Bytes>,
    /// The worker drains: these go back to the broker.
    pub(crate) refused: Vec<Item>,
}

impl Asked {
    /// Nothing is asked for any more.
    pub(super) fn nothing(refused: Vec<Item>) -> Self {
        Self { items: Vec::new(), places: Vec::new(), keys: Vec::new(), refused }
    }

    /// `wanted`: keys, each with the number of an item.
    pub(super) fn of(items: Vec<Item>, wanted: Vec<(Bytes, usize)>) -> Self {
        let (keys, places) = sorted(wanted, items.len());
        Self { items, places, keys, refused: Vec::new() }
    }
}

/// Each key once, and the place of each item's.
fn sorted(mut wanted: Vec<(Bytes, usize)>, items: usize) -> (Vec<Bytes>, Vec<Option<usize>>) {
    wanted.sort_unstable();
    let mut places = vec![None; items];
    let mut keys: Vec<Bytes> = Vec::with_capacity(wanted.len());
    for (key, item) in wanted {
        if keys.last() != Some(&key) {
            keys.push(key);
        }
        places[item] = Some(keys.len() - 1);
    }
    (keys, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c7_keys_are_sorted_each_once_and_every_item_knows_its_own() {
        let wanted = [("b", 1), ("a", 2), ("b", 4), ("c", 0)];
        let (keys, places) = sorted(wanted.map(|(key, item)| (Bytes::from(key), item)).to_vec(), 6);
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(places, [Some(2), Some(1), Some(0), None, Some(1), None]);
    }
}
