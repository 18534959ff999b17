//! The tasks of a world, and which of them are ready.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use keylane::env::BoxFuture;

use super::Chance;

#[derive(Default)]
pub(super) struct Tasks {
    /// Never used twice, so that a late wake-up of a task that is gone wakes nobody else.
    all: std::collections::BTreeMap<usize, Task>,
    ready: Vec<usize>,
    next: usize,
    /// Nodes of tasks by number, also of those that are gone.
    nodes: Vec<usize>,
}

struct Task {
    node: usize,
    /// `None` while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    ready: bool,
}

pub(super) struct TaskWaker {
    pub(super) id: usize,
    pub(super) woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

impl Tasks {
    pub(super) fn add(&mut self, node: usize, future: BoxFuture<'static, ()>) {
        let id = self.next;
        self.next += 1;
        self.nodes.push(node);
        self.all.insert(id, Task { node, future: Some(future), ready: true });
        self.ready.push(id);
    }

    pub(super) fn make_ready(&mut self, id: usize) {
        if let Some(task) = self.all.get_mut(&id).filter(|task| !task.ready) {
            task.ready = true;
            self.ready.push(id);
        }
    }

    /// A ready task of a node that runs, chosen by chance.
    pub(super) fn choose(
        &mut self,
        chance: &mut Chance,
        runs: impl Fn(usize) -> bool,
    ) -> Option<(usize, BoxFuture<'static, ()>)> {
        self.ready.retain(|id| self.all.contains_key(id));
        let may: Vec<usize> =
            (0..self.ready.len()).filter(|at| runs(self.all[&self.ready[*at]].node)).collect();
        if may.is_empty() {
            return None;
        }
        let at = may[usize::try_from(chance.below(may.len() as u64)).unwrap_or(0)];
        let id = self.ready.swap_remove(at);
        let task = self.all.get_mut(&id)?;
        task.ready = false;
        Some((id, task.future.take()?))
    }

    pub(super) fn put_back(&mut self, id: usize, future: BoxFuture<'static, ()>) {
        if let Some(task) = self.all.get_mut(&id) {
            task.future = Some(future);
        }
    }

    pub(super) fn remove(&mut self, id: usize) {
        self.all.remove(&id);
    }

    pub(super) fn remove_all(&mut self, node: usize) -> Vec<BoxFuture<'static, ()>> {
        let ids: Vec<usize> =
            self.all.iter().filter(|(_, task)| task.node == node).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.all.remove(&id)?.future).collect()
    }

    pub(super) fn node(&self, id: usize) -> usize {
        self.nodes[id]
    }
}
