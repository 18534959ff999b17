//! Until when a process could rely on its session: from the sending of each answered renewal, for as long as a
//! session lives, until the session was lost or the process died.

use std::collections::BTreeMap;

use super::History;
use crate::clock::Nanos;
use crate::turns::{Life, Turn};

/// The promises of all processes: for each, and each of its sessions, spans that don't touch each other.
pub(super) struct Promises {
    spans: BTreeMap<u32, Vec<Vec<(Nanos, Nanos)>>>,
}

impl Promises {
    pub(super) fn of(history: &History) -> Self {
        let spans = |(&pid, life): (&u32, &Life)| {
            let death = history.deaths.get(&pid).copied().unwrap_or(Nanos::MAX);
            let each = life.promises.values().map(|promises| spans(promises, history.session, death));
            (pid, each.collect())
        };
        Self { spans: history.lives.iter().map(spans).collect() }
    }

    /// The end of the promise under which something began then; `None`: there was none. Where there are several databases
    /// it is not known in which the key lies: of the promises that there were, the one counts that ended first.
    pub(super) fn until(&self, pid: u32, start: Nanos) -> Option<Nanos> {
        let then = |spans: &Vec<(Nanos, Nanos)>| {
            spans.iter().find(|(from, until)| (*from..*until).contains(&start)).map(|(_, until)| *until)
        };
        self.spans.get(&pid)?.iter().filter_map(then).min()
    }

    /// Until when a run counts: its end, its process's death, or the end of its promise, whichever came first.
    pub(super) fn held(&self, history: &History, pid: u32, turn: &Turn) -> Option<Nanos> {
        let end = turn.end.map_or(Nanos::MAX, |(at, _)| at);
        let death = history.deaths.get(&pid).copied().unwrap_or(Nanos::MAX);
        Some(self.until(pid, turn.start)?.min(end).min(death))
    }
}

fn spans(promises: &[(Nanos, bool)], session: Nanos, death: Nanos) -> Vec<(Nanos, Nanos)> {
    let mut spans: Vec<(Nanos, Nanos)> = Vec::new();
    let mut sorted = promises.to_vec();
    sorted.sort_unstable();
    for (at, kept) in sorted {
        match (spans.last_mut(), kept) {
            (Some((_, until)), true) if at <= *until => *until = at + session,
            (_, true) => spans.push((at, at + session)),
            (Some((_, until)), false) => *until = at.min(*until),
            (None, false) => {}
        }
    }
    for (_, until) in &mut spans {
        *until = death.min(*until);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_that_meet_are_one_promise_and_a_gap_ends_it() {
        assert_eq!(spans(&[(0, true), (4, true), (8, true)], 10, 100), [(0, 18)]);
        assert_eq!(spans(&[(0, true), (20, true)], 10, 25), [(0, 10), (20, 25)]);
        assert_eq!(spans(&[(0, true), (5, false), (6, true)], 10, 100), [(0, 5), (6, 16)]);
    }
}
