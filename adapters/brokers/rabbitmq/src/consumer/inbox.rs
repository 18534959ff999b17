//! What the supervisor has received and whoever pulls has not taken, and what is open at the broker.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keylane::broker::{Change, Pulled};
use keylane::delivery::{Delivery, Place, Settlement, Ticket};
use keylane::event::Record;
use keylane::{Error, ErrorKind};
use lapin::Acker;
use tokio::sync::{Notify, watch};

use super::PARTITION;
use super::window::{Due, Window};
use crate::error;

/// A ticket's number is the delivery's offset and, in so many low bits, which queue it came from.
const QUEUE_BITS: u32 = 8;

/// Shared between the supervisor, the settler and the consumer's handle.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    /// How many connections have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Of what comes from now on.
    epoch: u64,
    /// A new epoch has begun and nobody was told.
    void: bool,
    /// The next delivery's.
    offset: u64,
    /// One for each queue; none while there is no connection.
    windows: Vec<Window<Acker>>,
    /// So much that is finished may be held back of each queue.
    held_max: usize,
    ready: VecDeque<Delivery>,
    /// Of what is ready.
    bytes: usize,
    paused: bool,
    /// Told once; the supervisor goes on trying.
    fault: Option<Error>,
    /// Nothing comes any more.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Closed,
    /// For good, and told at every pull.
    Failed(ErrorKind, String),
}

impl Default for State {
    fn default() -> Self {
        Self {
            epoch: 1,
            void: false,
            offset: 0,
            windows: Vec::new(),
            held_max: 0,
            ready: VecDeque::new(),
            bytes: 0,
            paused: false,
            fault: None,
            end: None,
        }
    }
}

/// One message as it came.
pub(super) struct Arrival {
    pub(super) queue: usize,
    pub(super) record: Record,
    pub(super) attempt: Option<u32>,
    pub(super) acker: Acker,
}

/// What was received and nobody has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// A word to the broker of one delivery alone.
#[derive(Debug)]
pub(super) enum Word {
    GiveBack(Acker),
    Reject(Acker),
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Whoever pulls.

    /// Takes what there is, at most `credits` deliveries; `None` when there is nothing yet. Nothing is taken before it
    /// is returned, so that a dropped wait loses nothing.
    pub(super) fn take(&self, credits: usize) -> Option<Result<Pulled, Error>> {
        let mut state = self.state();
        if std::mem::take(&mut state.void) {
            return Some(Ok(Pulled::Change(Change::Void { epoch: state.epoch })));
        }
        if !state.paused && credits > 0 && !state.ready.is_empty() {
            let count = credits.min(state.ready.len());
            let taken: Vec<_> = state.ready.drain(..count).collect();
            state.bytes -= taken.iter().map(|delivery| delivery.record.footprint()).sum::<usize>();
            return Some(Ok(Pulled::Deliveries(taken)));
        }
        if let Some(fault) = state.fault.take() {
            return Some(Err(fault));
        }
        match &state.end {
            Some(End::Closed) => Some(Err(error::closed("rabbitmq consumer"))),
            Some(End::Failed(kind, what)) => {
                Some(Err(Error::new(*kind, what.clone()).with_class(keylane::Class::Permanent)))
            }
            None => None,
        }
    }

    /// Waits until a look may find something. A notice that came before is kept.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn pause(&self, paused: bool) {
        self.state().paused = paused;
        self.arrived.notify_one();
    }

    // The supervisor.

    /// A connection is there, with so many queues, of each of which so much may be held back.
    pub(super) fn open(&self, queues: usize, held_max: usize) {
        let mut state = self.state();
        state.held_max = held_max;
        state.windows.resize_with(queues, Window::default);
        state.fault = None;
    }

    /// Says how much is ready now.
    pub(super) fn put(&self, arrivals: Vec<Arrival>) -> Ready {
        let mut state = self.state();
        for Arrival { queue, record, attempt, acker } in arrivals {
            let offset = state.offset;
            // After `void` or `end`: nobody may settle it, and it comes again.
            let Some(window) = state.windows.get_mut(queue) else { continue };
            window.delivered(offset, acker);
            state.offset += 1;
            let place = Place { partition: PARTITION, epoch: state.epoch, offset };
            let ticket = Ticket::new(offset << QUEUE_BITS | queue as u64);
            state.bytes += record.footprint();
            state.ready.push_back(Delivery { record, place, attempt, ticket });
        }
        let ready = Ready { messages: state.ready.len(), bytes: state.bytes };
        drop(state);
        self.arrived.notify_one();
        ready
    }

    /// The connection is gone, and all that came by it will come again.
    pub(super) fn void(&self) {
        let mut state = self.state();
        state.forget();
        state.epoch += 1;
        state.void = true;
        drop(state);
        self.ended.send_modify(|count| *count += 1);
        self.arrived.notify_one();
    }

    /// A try to connect failed; the next one follows.
    pub(super) fn fault(&self, error: Error) {
        self.state().fault = Some(error);
        self.arrived.notify_one();
    }

    /// Nothing will come until somebody mends something.
    pub(super) fn fail(&self, error: &Error) {
        self.end(End::Failed(error.kind(), error.to_string()));
    }

    pub(super) fn close(&self) {
        self.end(End::Closed);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.forget();
        state.end.get_or_insert(end);
        drop(state);
        self.ended.send_modify(|count| *count += 1);
        self.arrived.notify_one();
    }

    // The settler.

    /// Changes when a connection ends, from now on.
    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Notes what became of a delivery. `Err`: the broker doesn't know the ticket any more.
    pub(super) fn settle(&self, ticket: u64, settlement: Settlement) -> Result<Option<Word>, ()> {
        let (offset, queue) = (ticket >> QUEUE_BITS, queue_of(ticket));
        let mut state = self.state();
        // Offsets never come again: what an older connection brought stands in no window.
        let window = state.windows.get_mut(queue).ok_or(())?;
        match settlement {
            Settlement::Ack => window.finish(offset).then_some(None).ok_or(()),
            Settlement::Release | Settlement::RetryLater(_) => {
                window.give_back(offset).map(|acker| Some(Word::GiveBack(acker))).ok_or(())
            }
            Settlement::Reject => window.give_back(offset).map(|acker| Some(Word::Reject(acker))).ok_or(()),
        }
    }

    /// What is to be told of each queue that has something; nothing is held back where `all` is to be told.
    pub(super) fn due(&self, all: bool) -> Vec<(usize, Due<Acker>)> {
        let mut state = self.state();
        let held_max = if all { 0 } else { state.held_max };
        let due = state.windows.iter_mut().map(|window| window.due(held_max)).enumerate();
        due.filter(|(_, due)| due.up_to.is_some() || !due.single.is_empty()).collect()
    }

    pub(super) fn holds(&self) -> bool {
        self.state().windows.iter().any(Window::holds)
    }
}

impl State {
    fn forget(&mut self) {
        self.windows.clear();
        self.ready.clear();
        self.bytes = 0;
    }
}

/// Which queue a ticket came from.
pub(super) fn queue_of(ticket: u64) -> usize {
    (ticket & ((1 << QUEUE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(queue: usize, tag: u64) -> Arrival {
        let mock = lapin::message::Delivery::mock(tag, "".into(), "".into(), false, Vec::new());
        Arrival { queue, record: Record::new(tag.to_string()), attempt: Some(1), acker: mock.acker.clone() }
    }

    fn taken(inbox: &Inbox) -> Vec<Delivery> {
        match inbox.take(100) {
            Some(Ok(Pulled::Deliveries(deliveries))) => deliveries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_connection_voids_what_lies_here_and_what_was_taken() {
        let inbox = Inbox::default();
        inbox.open(1, 0);
        inbox.put((1..=2).map(|tag| arrival(0, tag)).collect());
        let old = taken(&inbox);
        inbox.put(vec![arrival(0, 3)]);
        inbox.void();
        inbox.put(vec![arrival(0, 4)]);
        assert!(matches!(inbox.take(9), Some(Ok(Pulled::Change(Change::Void { epoch: 2 })))));
        assert!(inbox.take(9).is_none(), "what came by the old connection is gone");
        inbox.open(1, 0);
        // The broker counts its tags anew.
        inbox.put((1..=2).map(|tag| arrival(0, tag)).collect());
        for delivery in old {
            assert!(inbox.settle(delivery.ticket.number(), Settlement::Ack).is_err(), "a stale ticket");
        }
        let places = taken(&inbox).iter().map(|delivery| delivery.place).collect::<Vec<_>>();
        let place = |offset| Place { partition: 0, epoch: 2, offset };
        assert_eq!(places, [place(3), place(4)]);
        assert!(inbox.due(true).is_empty(), "nothing of the new connection was settled");
    }

    #[test]
    fn what_is_ready_is_counted_until_it_is_taken_or_gone() {
        let inbox = Inbox::default();
        inbox.open(1, 0);
        let one = Record::new("1").footprint();
        assert_eq!(inbox.put(vec![arrival(0, 1)]), Ready { messages: 1, bytes: one });
        assert_eq!(inbox.put(vec![arrival(0, 2)]), Ready { messages: 2, bytes: 2 * one });
        taken(&inbox);
        assert_eq!(inbox.put(vec![arrival(0, 3)]), Ready { messages: 1, bytes: one });
        inbox.void();
        inbox.open(1, 0);
        assert_eq!(inbox.put(vec![arrival(0, 1)]), Ready { messages: 1, bytes: one });
    }

    #[test]
    fn a_failure_is_told_at_every_pull() {
        let inbox = Inbox::default();
        inbox.fault(error::transient("away"));
        assert!(inbox.take(1).is_some_and(|pulled| pulled.is_err_and(|error| error.is_transient())));
        assert!(inbox.take(1).is_none(), "told once");
        inbox.fail(&error::missing("queue", "orders"));
        inbox.close();
        for _ in 0..2 {
            let error = inbox.take(1).expect("an answer").expect_err("an error");
            assert!(!error.is_transient() && error.to_string().contains("orders"), "{error}");
        }
    }

    #[test]
    fn a_pause_stops_deliveries_and_no_news() {
        let inbox = Inbox::default();
        inbox.open(2, 0);
        inbox.put(vec![arrival(1, 1)]);
        inbox.pause(true);
        assert!(inbox.take(1).is_none());
        inbox.void();
        assert!(matches!(inbox.take(1), Some(Ok(Pulled::Change(_)))));
        inbox.open(2, 0);
        inbox.put(vec![arrival(1, 1)]);
        inbox.pause(false);
        let delivery = taken(&inbox).remove(0);
        assert_eq!(queue_of(delivery.ticket.number()), 1);
    }
}
