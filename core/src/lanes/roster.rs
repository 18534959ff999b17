//! The live lanes: found by hash, named by an index and a generation.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::backlog::Queue;

/// The end of the chain of free slots.
const NIL: u32 = u32::MAX;

/// A lane from its first item until it is empty. The id of a lane that is gone is harmless: its slot has
/// another generation by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    index: u32,
    generation: u32,
}

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The slot holds no lane.
    Free,
    /// Opened, and not in any queue yet.
    New,
    /// In the ready queue, with at least one item.
    Ready,
    /// Its item is out.
    Running,
    /// Its item is out and waits for its commit.
    Held,
    /// In the timers, with at least one item.
    Sleeping,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: Queue,
    pub(super) state: State,
    generation: u32,
    hash: u64,
    next_free: u32,
}

#[derive(Debug)]
pub(super) struct Roster {
    /// Slots of live lanes by the hash that stands in the slot; nothing is hashed again here.
    table: HashTable<u32>,
    slots: Vec<Lane>,
    free: u32,
}

impl Lane {
    pub(super) fn id(&self, index: u32) -> LaneId {
        LaneId { index, generation: self.generation }
    }
}

impl Roster {
    pub(super) fn new(lanes: usize) -> Self {
        Self { table: HashTable::with_capacity(lanes), slots: Vec::with_capacity(lanes), free: NIL }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Every slot there is, the free ones too.
    pub(super) fn indexes(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.slots.len()).expect("slots are numbered by u32")
    }

    /// The slot of a lane that is still there.
    pub(super) fn check(&self, id: LaneId) -> Option<u32> {
        let lane = self.slots.get(id.index as usize)?;
        (lane.generation == id.generation).then_some(id.index)
    }

    pub(super) fn lane(&self, index: u32) -> &Lane {
        &self.slots[index as usize]
    }

    pub(super) fn lane_mut(&mut self, index: u32) -> &mut Lane {
        &mut self.slots[index as usize]
    }

    #[cfg(test)]
    pub(super) fn hash_of(&self, index: u32) -> u64 {
        self.slots[index as usize].hash
    }

    /// The lane of this hash, if there is one.
    pub(super) fn find(&self, hash: u64) -> Option<u32> {
        self.table.find(hash, |&index| self.slots[index as usize].hash == hash).copied()
    }

    /// The lane of this hash; a [`State::New`] one when there was none.
    pub(super) fn open(&mut self, hash: u64) -> u32 {
        let slots = &self.slots;
        let of_slot = |&index: &u32| slots[index as usize].hash;
        match self.table.entry(hash, |index| of_slot(index) == hash, of_slot) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) if self.free != NIL => {
                let index = self.free;
                place.insert(index);
                let lane = &mut self.slots[index as usize];
                self.free = lane.next_free;
                lane.state = State::New;
                lane.hash = hash;
                index
            }
            Entry::Vacant(place) => {
                let index = u32::try_from(slots.len()).expect("budgets keep a shard far below 2^32 lanes");
                place.insert(index);
                self.slots.push(Lane {
                    queue: Queue::EMPTY,
                    state: State::New,
                    generation: 0,
                    hash,
                    next_free: NIL,
                });
                index
            }
        }
    }

    /// Ends an empty lane: its slot is free, its ids are stale.
    pub(super) fn close(&mut self, index: u32) {
        let lane = &mut self.slots[index as usize];
        debug_assert!(lane.queue.is_empty(), "only an empty lane is closed");
        lane.state = State::Free;
        lane.generation = lane.generation.wrapping_add(1);
        lane.next_free = self.free;
        self.free = index;
        let entry = self.table.find_entry(lane.hash, |&other| other == index);
        entry.expect("a live lane is in the table").remove();
    }
}
