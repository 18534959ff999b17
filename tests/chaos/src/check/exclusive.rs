//! No two runs of a key at the same time, within what each one's process was promised.

use std::collections::BTreeMap;

use super::promise::Promises;
use super::{Breach, Finding, Happened, History};
use crate::clock::{Nanos, seconds};
use crate::plan::Kind;
use crate::turns::Turn;
use crate::workload::Numbered;

/// How long after it goes on a process may begin something before it has noticed how late it is.
const NOTICES_WITHIN: Nanos = 1_000_000_000;

/// What was found.
#[derive(Default)]
pub(super) struct Exclusive {
    pub(super) findings: Vec<Finding>,
    pub(super) late: usize,
    pub(super) outlived: usize,
}

struct Run<'a> {
    pid: u32,
    turn: &'a Turn,
    /// Until when it counts.
    held: Nanos,
}

pub(super) fn check(history: &History, promises: &Promises) -> Exclusive {
    let mut found = Exclusive::default();
    let mut runs: BTreeMap<String, Vec<Run<'_>>> = BTreeMap::new();
    for (&pid, life) in &history.lives {
        for turn in &life.turns {
            let Some(Numbered { key, .. }) = Numbered::of(&turn.id) else { continue };
            match promises.held(history, pid, turn) {
                Some(held) => runs.entry(key).or_default().push(Run { pid, turn, held }),
                None if was_held_up(history, pid, turn.start) => found.late += 1,
                None => {
                    let about = format!("{pid} began {} without a promise", turn.id);
                    found.findings.push(Finding::new(Breach::Unpromised, about));
                }
            }
        }
    }
    for (key, mut runs) in runs {
        runs.sort_unstable_by_key(|run| run.turn.start);
        found.of_key(&key, &runs);
    }
    found
}

impl Exclusive {
    fn of_key(&mut self, key: &str, runs: &[Run<'_>]) {
        // The run that holds the key for longest so far.
        let mut holder: Option<&Run<'_>> = None;
        for run in runs {
            if let Some(before) = holder {
                if run.turn.start < before.held {
                    let by = seconds(before.held.min(run.held).saturating_sub(run.turn.start));
                    let about = format!(
                        "{key}: {} in {} began {by:.6}s before {} in {} was over",
                        run.turn.id, run.pid, before.turn.id, before.pid
                    );
                    self.findings.push(Finding::new(Breach::Overlapping, about));
                } else if before.turn.end.is_none_or(|(end, _)| run.turn.start < end) && before.pid != run.pid
                {
                    self.outlived += 1;
                }
            }
            if holder.is_none_or(|before| before.held <= run.held) {
                holder = Some(run);
            }
        }
    }
}

/// Whether the process had been stopped or cut off just before.
fn was_held_up(history: &History, pid: u32, at: Nanos) -> bool {
    let holds_up = |fault: &&Happened| matches!(fault.kind, Kind::Stop | Kind::CutStore | Kind::SlowStore);
    let near = |fault: &Happened| (fault.from..fault.until + NOTICES_WITHIN).contains(&at);
    history.faults.iter().filter(holds_up).any(|fault| fault.pid == Some(pid) && near(fault))
}
