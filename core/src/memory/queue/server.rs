//! What the server holds: its queues.

use std::collections::BTreeMap;

use super::line::Line;
use super::{away, unknown_queue};
use crate::error::Error;

#[derive(Default)]
pub(super) struct State {
    pub(super) queues: BTreeMap<String, Line>,
    pub(super) away: bool,
    /// Numbers consumers; never the same twice.
    serial: u64,
}

impl State {
    pub(super) fn create(&mut self, queue: &str) {
        self.queues.entry(queue.to_owned()).or_default();
    }

    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A server that goes away ends its connections: nobody may go on with what it had.
    pub(super) fn set_away(&mut self, away: bool) {
        self.away = away;
        if away {
            self.queues.values_mut().for_each(Line::cut_all);
        }
    }

    /// The queue, where it can be reached.
    pub(super) fn line(&mut self, queue: &str) -> Result<&mut Line, Error> {
        if self.away {
            return Err(away());
        }
        self.queues.get_mut(queue).ok_or_else(|| unknown_queue(queue))
    }
}
