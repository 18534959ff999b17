//! A worker's promise, as the simulation counts it.

use std::time::Duration;

use keylane::Env;
use keylane::env::{Instant, Timestamp};

use crate::world::Node;

/// As configured.
const SESSION: Duration = Duration::from_secs(3);

/// Some times what a worker takes to look whether its promise is out.
pub(super) const MOMENT: Duration = Duration::from_millis(200);

pub(super) struct Promise {
    node: Node,
    env: Env,
    /// The two clocks before the last renewal that was answered.
    pub(super) sent: Option<(Instant, Timestamp)>,
    /// When the worker was frozen or its clock was set, for the last time.
    stirred: Instant,
}

impl Promise {
    pub(super) fn new(node: &Node) -> Self {
        let env = node.env();
        Self { node: node.clone(), sent: None, stirred: env.now(), env }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.node.is_crashed()
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.node.is_frozen()
    }

    pub(super) fn stir(&mut self) {
        self.stirred = self.env.now();
    }

    pub(super) fn holds(&self) -> bool {
        self.age().is_some_and(|age| age < SESSION)
    }

    /// By the larger of the two clocks.
    fn age(&self) -> Option<Duration> {
        self.sent.map(|(now, wall)| self.env.now().since(now).max(self.env.wall().since(wall)))
    }

    /// The worker must have noticed that it is out.
    pub(super) fn is_long_out(&self) -> bool {
        let known = !self.is_frozen() && self.env.now().since(self.stirred) > MOMENT;
        known && self.age().is_some_and(|age| age > SESSION + MOMENT)
    }
}
