//! The lines that workers leave: when a handler started and stopped, and what their session was promised.
//!
//! Each process has a file of its own and appends every line by one write before it goes on: a process that
//! is killed has left the line of each handler that it started. Words of a line, in this order:
//!
//! `start RUN ID ATTEMPT TOKEN MONOTONIC WALL PID`, `done|failed|dropped RUN ID ATTEMPT TOKEN MONOTONIC WALL PID`,
//! `promised MONOTONIC HOME PID` (the session was renewed, by a call that was sent then), `lost MONOTONIC HOME PID`; a
//! process has a session in each database.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::clock::Nanos;

/// How a handler's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It came to its end; its effect may commit.
    Done,
    /// It failed.
    Failed,
    /// It was dropped at an await.
    Dropped,
}

impl End {
    const ALL: [(Self, &str); 3] =
        [(Self::Done, "done"), (Self::Failed, "failed"), (Self::Dropped, "dropped")];
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(end, _)| end == self).map_or("", |(_, name)| name))
    }
}

/// One run of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The event.
    pub id: String,
    /// The fencing token that it had.
    pub token: u64,
    /// When it started.
    pub start: Nanos,
    /// When and how it ended; `None`: nothing was written any more.
    pub end: Option<(Nanos, End)>,
}

/// What one process did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// Its runs, in the order in which they started.
    pub turns: Vec<Turn>,
    /// Of each database, when each renewal was sent that got its answer, and when the session was lost (`false`).
    pub promises: BTreeMap<u32, Vec<(Nanos, bool)>>,
    /// Lines that say nothing that could be understood.
    pub torn: Vec<String>,
}

impl Life {
    /// Reads the lines of one process. What stands behind the last line's end was never written whole.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut life = Self::default();
        let mut open = HashMap::new();
        let whole = text.rfind('\n').map_or("", |at| &text[..=at]);
        for line in whole.lines() {
            if life.line(line, &mut open).is_none() {
                life.torn.push(line.to_owned());
            }
        }
        life
    }

    fn line(&mut self, line: &str, open: &mut HashMap<u64, usize>) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["promised", at, home, _] => self.promise(home, (at.parse().ok()?, true))?,
            ["lost", at, home, _] => self.promise(home, (at.parse().ok()?, false))?,
            ["start", run, id, _, token, at, _, _] => {
                open.insert(run.parse().ok()?, self.turns.len());
                let (token, start) = (token.parse().ok()?, at.parse().ok()?);
                self.turns.push(Turn { id: id.to_owned(), token, start, end: None });
            }
            [how, run, _, _, _, at, _, _] => {
                let (how, _) = End::ALL.into_iter().find(|(_, name)| *name == how)?;
                let turn = open.remove(&run.parse().ok()?)?;
                self.turns[turn].end = Some((at.parse().ok()?, how));
            }
            _ => return None,
        }
        Some(())
    }

    fn promise(&mut self, home: &str, promise: (Nanos, bool)) -> Option<()> {
        self.promises.entry(home.parse().ok()?).or_default().push(promise);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_turns_and_promises() {
        let text = "promised 5 1 9\nstart 0 a.1 1 7 10 0 9\nstart 1 b.1 1 7 11 0 9\ndone 0 a.1 1 7 20 0 9\nlost 30 1 9\nstart 2 a";
        let life = Life::read(text);
        assert_eq!(life.turns[0].end, Some((20, End::Done)));
        assert_eq!(life.turns[1].end, None);
        assert_eq!(life.turns[0].token, 7);
        assert_eq!((life.turns.len(), life.promises[&1].as_slice()), (2, &[(5, true), (30, false)][..]));
        assert!(life.torn.is_empty(), "the line that was cut by the kill says nothing, and is no fault");
    }

    #[test]
    fn lines_that_say_nothing_are_kept() {
        assert_eq!(Life::read("begin 0\ndone 3 a.1 1 7 20 0 9\n").torn.len(), 2);
    }
}
