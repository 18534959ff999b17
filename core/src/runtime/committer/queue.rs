//! What waits to be written, in order, and what is being written.
//!
//! Several groups may be under way at a time, as far as the store takes them, but no two that share a hold: so a key
//! has one commit in flight (rule C5), and each snapshot of a watermark is the newest when it is written. What belongs
//! to a hold that is being written waits, and everything later of the same hold behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::round::Round;
use super::{Letter, Pending};
use crate::env::{Env, Set};
use crate::runtime::tenure::Tenure;
use crate::store::SessionId;

pub(super) struct Queue {
    letters: VecDeque<(u64, Letter)>,
    /// The number of the next letter.
    next: u64,
    /// The tenures of groups that are under way, by their address.
    busy: Set<usize>,
    /// Of each group that is under way, the number of its oldest letter.
    writing: Vec<u64>,
    /// Who waits for everything before that number.
    barriers: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A group has at most so many units; more would only make the others wait.
const UNITS_MAX: usize = 4096;

/// Beside others that are under way a group begins only if it is worth so many events: many rows take the server's
/// time, of which one large group takes less than two small ones.
const BESIDE_MIN: usize = 2048;

/// What is worth less goes in one group, though several could begin: a transaction has its price.
const SHARE_MIN: usize = 4 * BESIDE_MIN;

/// One write of a handler for so many events, or fewer, and the time goes into round trips, which groups that are under
/// way together share.
const EVENTS_OF_A_WRITE: usize = 8;

impl Queue {
    pub(super) fn new(env: &Env) -> Self {
        Self {
            letters: VecDeque::new(),
            next: 0,
            busy: env.set(),
            writing: Vec::new(),
            barriers: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, letter: Letter) {
        match letter {
            Letter::Flush(answer) => self.barriers.push_back((self.next, answer)),
            letter => {
                self.letters.push_back((self.next, letter));
                self.next += 1;
            }
        }
    }

    /// The next group, of letters whose holds nobody is writing, where `free` groups more may be under way: each takes
    /// its share. `None`: nothing may be written now, or too little.
    pub(super) fn next_round(&mut self, env: &Env, session: SessionId, free: usize) -> Option<Round> {
        let share = match (self.writing.is_empty(), free) {
            (true, 1) => usize::MAX,
            (alone, _) => {
                let whole = self.ready();
                if !alone && whole < BESIDE_MIN {
                    return None;
                }
                whole.div_ceil(free).max(SHARE_MIN)
            }
        };
        let mut round = Round::new(env, session);
        let mut passed = env.set();
        let (mut first, mut worth) = (None, 0);
        for _ in 0..self.letters.len() {
            let Some((number, letter)) = self.letters.pop_front() else { break };
            let waits = letter.tenures().any(|of| self.is_busy(of) || passed.contains(&address(of)))
                || round.units.len() >= UNITS_MAX
                || (worth >= share && !letter.tenures().all(|of| round.holds(of)));
            let more = letter.worth();
            let back = if waits { Some(letter) } else { round.add(letter) };
            match back {
                Some(letter) => {
                    passed.extend(letter.tenures().map(address));
                    self.letters.push_back((number, letter));
                }
                None => {
                    worth += more;
                    first.get_or_insert(number);
                }
            }
        }
        self.writing.push(first?);
        self.busy.extend(round.tenures.iter().map(address));
        round.first = first?;
        Some(round)
    }

    /// What all is worth that may be written now.
    fn ready(&self) -> usize {
        let may = |letter: &Letter| !letter.tenures().any(|of| self.is_busy(of));
        self.letters.iter().filter(|(_, letter)| may(letter)).map(|(_, letter)| letter.worth()).sum()
    }

    /// The group's answer is told.
    pub(super) fn written(&mut self, round: &Round) {
        for tenure in &round.tenures {
            self.busy.remove(&address(tenure));
        }
        if let Some(at) = self.writing.iter().position(|first| *first == round.first) {
            self.writing.swap_remove(at);
        }
    }

    /// Answers those before whom nothing is left to be written.
    pub(super) fn answer(&mut self) {
        let waiting = self.letters.front().map(|(number, _)| *number);
        let oldest = self.writing.iter().copied().chain(waiting).min().unwrap_or(u64::MAX);
        while self.barriers.front().is_some_and(|(number, _)| *number <= oldest) {
            let Some((_, answer)) = self.barriers.pop_front() else { return };
            answer.send(()).ok();
        }
    }

    fn is_busy(&self, tenure: &Arc<Tenure>) -> bool {
        self.busy.contains(&address(tenure)) && !mutant!("c5-groups-share-a-hold")
    }
}

impl Letter {
    /// Whom it is about.
    fn tenures(&self) -> impl Iterator<Item = &Arc<Tenure>> {
        let (one, several) = match self {
            Self::Pending(pending) => (None, pending.tenures.as_slice()),
            Self::Hold(tenure) | Self::Written(tenure, _) => (Some(tenure), [].as_slice()),
            Self::Flush(_) => (None, [].as_slice()),
        };
        one.into_iter().chain(several)
    }

    /// In events.
    fn worth(&self) -> usize {
        let unit = match self {
            Self::Pending(Pending { unit, .. }) => unit,
            // Whoever gives a partition up does not wait for long.
            Self::Written(..) => return BESIDE_MIN,
            Self::Hold(_) | Self::Flush(_) => return 1,
        };
        let (events, writes) = (unit.events.len(), unit.effects.len());
        if writes * EVENTS_OF_A_WRITE >= events { BESIDE_MIN } else { events }
    }
}

/// What a tenure is known by as long as somebody has it.
pub(super) fn address(tenure: &Arc<Tenure>) -> usize {
    Arc::as_ptr(tenure).addr()
}
