//! The items of all lanes in one slab, and one intrusive FIFO per lane through it.
//!
//! Items of all keys share the slab, so that a lane costs a few words and freed places are used again
//! while they are still in the cache.

use slab::Slab;

/// The end of a chain.
const NIL: u32 = u32::MAX;

/// One lane's chain through the slab. It means something only to the [`Backlog`] that filled it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

#[derive(Debug)]
struct Node<T> {
    item: T,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Backlog<T> {
    nodes: Slab<Node<T>>,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(super) fn is_empty(self) -> bool {
        self.head == NIL
    }

    pub(super) fn len(self) -> u32 {
        self.len
    }

    /// The place of the front item: the same place means the same item while only removals happen.
    pub(super) fn front(self) -> u32 {
        self.head
    }
}

impl<T> Backlog<T> {
    pub(super) fn new(items: usize) -> Self {
        Self { nodes: Slab::with_capacity(items) }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn front(&self, queue: Queue) -> Option<&T> {
        self.nodes.get(queue.head as usize).map(|node| &node.item)
    }

    pub(super) fn back(&self, queue: Queue) -> Option<&T> {
        // The tail of an empty queue may be a place that is someone else's by now.
        if queue.is_empty() { None } else { self.nodes.get(queue.tail as usize).map(|node| &node.item) }
    }

    /// From the front on, as long as `more` says so.
    pub(super) fn each(&mut self, queue: Queue, mut more: impl FnMut(&mut T) -> bool) {
        let mut place = queue.head;
        while let Some(node) = self.nodes.get_mut(place as usize) {
            if !more(&mut node.item) {
                return;
            }
            place = node.next;
        }
    }

    pub(super) fn push_back(&mut self, queue: &mut Queue, item: T) {
        let place = self.store(item, NIL);
        self.link(queue, place);
    }

    pub(super) fn push_front(&mut self, queue: &mut Queue, item: T) {
        let place = self.store(item, queue.head);
        if queue.is_empty() {
            queue.tail = place;
        }
        queue.head = place;
        queue.len += 1;
    }

    pub(super) fn pop_front(&mut self, queue: &mut Queue) -> Option<T> {
        let node = self.nodes.try_remove(queue.head as usize)?;
        queue.head = node.next;
        queue.len -= 1;
        Some(node.item)
    }

    /// Moves what `keep` refuses to `removed`, both in the order of the queue.
    pub(super) fn retain(
        &mut self,
        queue: &mut Queue,
        keep: &mut impl FnMut(&T) -> bool,
        removed: &mut Vec<T>,
    ) {
        let mut place = std::mem::replace(queue, Queue::EMPTY).head;
        while place != NIL {
            let node = &mut self.nodes[place as usize];
            let next = std::mem::replace(&mut node.next, NIL);
            if keep(&node.item) {
                self.link(queue, place);
            } else {
                removed.push(self.nodes.remove(place as usize).item);
            }
            place = next;
        }
    }

    fn store(&mut self, item: T, next: u32) -> u32 {
        let place = self.nodes.insert(Node { item, next });
        let place = u32::try_from(place).expect("budgets keep a shard far below 2^32 items");
        assert_ne!(place, NIL, "budgets keep a shard far below 2^32 items");
        place
    }

    fn link(&mut self, queue: &mut Queue, place: u32) {
        // The tail of an empty queue may be a place that is someone else's by now.
        if queue.is_empty() {
            queue.head = place;
        } else {
            self.nodes[queue.tail as usize].next = place;
        }
        queue.tail = place;
        queue.len += 1;
    }
}
