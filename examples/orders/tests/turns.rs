//! The checker of turns: reads the handlers' lines, and says whether two runs of one key ever overlapped.
//!
//! The lines stand in the order in which they were written. Ours stand among them: `killed PID`, written
//! after the process was gone, and `paused PID` / `continued PID` around a pause that outlived its promise.

use std::collections::{HashMap, HashSet};

/// What the lines show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// Runs of one key that overlapped, and lines that make no sense.
    pub(crate) violations: Vec<String>,
    /// Runs that a process began, by its own turn, while it did not know yet that its promise was over.
    pub(crate) late: usize,
    /// Events that were started at least once.
    pub(crate) started: HashSet<String>,
    /// Events that a handler came to the end of at least once.
    pub(crate) done: HashSet<String>,
}

/// A process and the number that it gave to a run.
type Run = (u32, u64);

#[derive(Default)]
struct Checker {
    /// Which run has which key now.
    open: HashMap<String, Run>,
    /// Runs that were open when their process was paused: others may take their keys.
    outlived: HashSet<Run>,
    /// Processes that were paused and went on.
    continued: HashSet<u32>,
    turns: Turns,
}

/// The keys of the runs that a process has begun, in order.
pub(crate) fn begun(trace: &str, pid: u32) -> Vec<&str> {
    let start = format!("start {pid} ");
    // After them, the number of the run stands before the key.
    trace.lines().filter_map(|line| line.strip_prefix(&start)?.split(' ').nth(1)).collect()
}

pub(crate) fn check(trace: &str) -> Turns {
    let mut checker = Checker::default();
    for (number, line) in (1..).zip(trace.lines()) {
        if let Err(wrong) = checker.line(&line.split(' ').collect::<Vec<_>>()) {
            checker.turns.violations.push(format!("line {number}: {line}: {wrong}"));
        }
    }
    checker.turns
}

impl Checker {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        let number = |word: &str| word.parse::<u64>().map_err(|_| format!("{word} is no number"));
        match words {
            ["killed", pid] => {
                let pid = number(pid)? as u32;
                self.open.retain(|_, run| run.0 != pid);
                Ok(())
            }
            ["paused", pid] => {
                let pid = number(pid)? as u32;
                self.outlived.extend(self.open.values().filter(|run| run.0 == pid));
                self.open.retain(|_, run| run.0 != pid);
                Ok(())
            }
            ["continued", pid] => {
                self.continued.insert(number(pid)? as u32);
                Ok(())
            }
            [what, pid, run, key, id, _attempt, _micros] => {
                let run = (number(pid)? as u32, number(run)?);
                match *what {
                    "start" => self.start(run, key, id),
                    "done" | "failed" | "dropped" => self.end(what, run, key, id),
                    _ => Err("an unknown word".to_owned()),
                }
            }
            _ => Err("a torn line".to_owned()),
        }
    }

    fn start(&mut self, run: Run, key: &str, id: &str) -> Result<(), String> {
        self.turns.started.insert(id.to_owned());
        match self.open.get(key) {
            Some(other) if *other != run && self.continued.contains(&run.0) => {
                self.turns.late += 1;
                self.outlived.insert(run);
                Ok(())
            }
            Some(other) if *other != run => {
                Err(format!("run {} of process {} has this key still", other.1, other.0))
            }
            _ => {
                self.open.insert(key.to_owned(), run);
                Ok(())
            }
        }
    }

    fn end(&mut self, what: &str, run: Run, key: &str, id: &str) -> Result<(), String> {
        if what == "done" {
            self.turns.done.insert(id.to_owned());
        }
        if self.open.get(key) == Some(&run) {
            self.open.remove(key);
            return Ok(());
        }
        // A run over several events of one key ends its turn with the first of its lines.
        if self.outlived.contains(&run) || self.turns.started.contains(id) && !self.open.contains_key(key) {
            return Ok(());
        }
        Err("an end without a beginning".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(lines: &[&str]) -> usize {
        let whole = |line: &&str| {
            if line.split(' ').count() > 2 { format!("{line} 1 99") } else { (*line).to_owned() }
        };
        check(&lines.iter().map(whole).collect::<Vec<_>>().join("\n")).violations.len()
    }

    #[test]
    fn turns_one_after_the_other_are_fine() {
        assert_eq!(
            violations(&["start 1 0 a a.1", "start 1 1 b b.1", "done 1 0 a a.1", "start 1 2 a a.2"]),
            0
        );
        // A batch has several events of a key in one run.
        let batch =
            ["start 1 0 a a.1", "start 1 0 a a.2", "done 1 0 a a.1", "done 1 0 a a.2", "start 1 1 a a.3"];
        assert_eq!(violations(&batch), 0);
        assert_eq!(violations(&["start 1 0 a a.1", "dropped 1 0 a a.1", "start 2 0 a a.1"]), 0);
    }

    #[test]
    fn an_overlap_is_seen() {
        assert_eq!(violations(&["start 1 0 a a.1", "start 1 1 a a.2"]), 1);
        assert_eq!(violations(&["start 1 0 a a.1", "start 2 0 a a.1"]), 1);
        assert_eq!(violations(&["start 1 0 a a.1", "killed 2", "start 2 0 a a.1"]), 1);
    }

    #[test]
    fn a_kill_and_a_pause_end_turns() {
        assert_eq!(violations(&["start 1 0 a a.1", "killed 1", "start 2 0 a a.1"]), 0);
        let paused = ["start 1 0 a a.1", "paused 1", "start 2 0 a a.1", "continued 1", "done 1 0 a a.1"];
        assert_eq!(violations(&paused), 0);
        assert_eq!(violations(&["paused 1", "start 2 0 a a.1", "start 3 0 a a.1", "continued 1"]), 1);
    }

    #[test]
    fn lines_that_make_no_sense_are_seen() {
        assert_eq!(violations(&["done 1 0 a a.1"]), 1);
        assert_eq!(check("start 1 0 a").violations.len(), 1);
        assert_eq!(check("begin 1 0 a a.1 1 99").violations.len(), 1);
    }
}
