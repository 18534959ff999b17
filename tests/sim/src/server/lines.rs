//! What the simulated broker holds: every message ever published, and where each is.
//!
//! Kept small on purpose: a story has some hundred messages, and a plain walk over them is easy to believe.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use keylane::env::Instant;
use keylane::event::Record;

use crate::event::Event;
use crate::profile::Profile;

#[derive(Default)]
pub(super) struct Lines {
    /// In the order of publication.
    messages: Vec<Message>,
    /// Connected workers.
    connected: BTreeSet<usize>,
    /// Of ordered keys: who is served them, while something of them is out.
    served_by: BTreeMap<Bytes, usize>,
}

struct Message {
    record: Record,
    handed: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Out { worker: usize, ticket: u64, until: Option<Instant> },
    Settled,
}

/// A message that is handed to a worker.
pub(super) struct Handed {
    pub(super) record: Record,
    pub(super) times: u32,
}

impl Lines {
    pub(super) fn publish(&mut self, record: Record) {
        self.messages.push(Message { record, handed: 0, state: State::Ready });
    }

    /// Connects a worker; false when it was connected already.
    pub(super) fn connect(&mut self, worker: usize) -> bool {
        self.connected.insert(worker)
    }

    /// The worker's connection is gone: what it had comes again.
    pub(super) fn disconnect(&mut self, profile: Profile, worker: usize) {
        // A visibility timeout knows of no connections.
        if profile == Profile::Visibility {
            return;
        }
        self.connected.remove(&worker);
        let had =
            self.numbers(|message| matches!(message.state, State::Out { worker: of, .. } if of == worker));
        for number in had {
            self.again(profile, number);
        }
    }

    /// What was out for too long comes again.
    pub(super) fn expire(&mut self, profile: Profile, now: Instant) {
        let late = self.numbers(
            |message| matches!(message.state, State::Out { until: Some(until), .. } if until <= now),
        );
        for number in late {
            self.again(profile, number);
        }
    }

    /// When the next one is out for too long.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let until = |message: &Message| match message.state {
            State::Out { until, .. } => until,
            State::Ready | State::Settled => None,
        };
        self.messages.iter().filter_map(until).min()
    }

    /// How many a worker has.
    pub(super) fn out_at(&self, worker: usize) -> usize {
        self.numbers(|message| matches!(message.state, State::Out { worker: of, .. } if of == worker)).len()
    }

    /// One that is out comes again, chosen by `choose`.
    pub(super) fn again_by(&mut self, profile: Profile, settled: bool, choose: impl FnOnce(usize) -> usize) {
        let meant = self.numbers(|message| match message.state {
            State::Out { .. } => !settled,
            State::Settled => settled,
            State::Ready => false,
        });
        if let Some(number) = meant.get(choose(meant.len())) {
            self.again(profile, *number);
        }
    }

    /// A message is ready again. Of an ordered key all later ones are, and the first that is not settled before it.
    fn again(&mut self, profile: Profile, number: usize) {
        if profile != Profile::Ordered {
            self.messages[number].state = State::Ready;
            return;
        }
        let key = self.key(number);
        let line = self.numbers(|message| message.record.key.clone().unwrap_or_default() == key);
        let open = line.iter().copied().find(|at| self.messages[*at].state != State::Settled);
        let from = open.map_or(number, |open| open.min(number));
        for at in line.into_iter().filter(|at| *at >= from) {
            self.messages[at].state = State::Ready;
        }
        self.served_by.remove(&key);
    }

    /// What this worker may be handed now: the numbers of messages, of each key the next ones in its order.
    pub(super) fn offers(&self, profile: Profile, worker: usize) -> Vec<usize> {
        let mut locked: BTreeSet<&Bytes> = BTreeSet::new();
        let mut offers = Vec::new();
        if profile == Profile::Visibility {
            let out = self.messages.iter().filter(|message| matches!(message.state, State::Out { .. }));
            locked.extend(out.filter_map(|message| message.record.key.as_ref()));
        }
        for (number, message) in self.messages.iter().enumerate() {
            if message.state != State::Ready {
                continue;
            }
            let Some(key) = &message.record.key else { continue };
            let mine = self.served_by.get(key).is_none_or(|served_by| *served_by == worker);
            if !locked.contains(key) && mine {
                offers.push(number);
            }
        }
        offers
    }

    pub(super) fn key(&self, number: usize) -> Bytes {
        self.messages[number].record.key.clone().unwrap_or_default()
    }

    pub(super) fn hand(
        &mut self,
        profile: Profile,
        number: usize,
        worker: usize,
        ticket: u64,
        until: Option<Instant>,
    ) -> Handed {
        if profile == Profile::Ordered {
            self.served_by.insert(self.key(number), worker);
        }
        let message = &mut self.messages[number];
        message.handed += 1;
        message.state = State::Out { worker, ticket, until };
        Handed { record: message.record.clone(), times: message.handed }
    }

    /// False where this ticket is none any more.
    pub(super) fn settle(&mut self, profile: Profile, worker: usize, ticket: u64, done: bool) -> bool {
        let Some(number) = self.held(worker, ticket) else { return false };
        let key = self.key(number);
        self.messages[number].state = if done { State::Settled } else { State::Ready };
        if !done && profile == Profile::Ordered {
            // With all later ones of its key; what is out before it stays so.
            for at in number..self.messages.len() {
                if self.messages[at].record.key.as_ref() == Some(&key) {
                    self.messages[at].state = State::Ready;
                }
            }
        }
        let idle = !self.messages.iter().any(|message| {
            message.record.key.as_ref() == Some(&key) && matches!(message.state, State::Out { .. })
        });
        if idle {
            self.served_by.remove(&key);
        }
        true
    }

    pub(super) fn extend(&mut self, worker: usize, ticket: u64, to: Instant) {
        if let Some(number) = self.held(worker, ticket)
            && let State::Out { until, .. } = &mut self.messages[number].state
        {
            *until = Some(to);
        }
    }

    pub(super) fn unsettled(&self) -> Vec<Event> {
        let open = self.messages.iter().filter(|message| message.state != State::Settled);
        open.filter_map(|message| Event::of_record(&message.record)).collect()
    }

    fn held(&self, worker: usize, ticket: u64) -> Option<usize> {
        let found = |message: &Message| matches!(message.state, State::Out { worker: of, ticket: with, .. } if (of, with) == (worker, ticket));
        self.messages.iter().position(found)
    }

    fn numbers(&self, which: impl Fn(&Message) -> bool) -> Vec<usize> {
        let found = self.messages.iter().enumerate().filter(|(_, message)| which(message));
        found.map(|(number, _)| number).collect()
    }
}
