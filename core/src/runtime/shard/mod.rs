//! A shard: one task that owns a part of a subscription's lanes.
//!
//! No lock, no map of mutexes, no task per message: a handler is polled once where it stands, and moves
//! to the set of flights only when it is pending. The task's loop is [`Shard::run`]; `turn` starts what
//! is ready, `land` makes something of what ended, `fate` of what the committer answered; `aside` counts
//! what waits, `ahead` holds what ran before its predecessor's commit.

mod ahead;
mod aside;
mod batch;
mod fate;
mod land;
mod mark;
mod turn;

pub(crate) use fate::CONFLICT;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use slab::Slab;
use tokio::sync::OwnedSemaphorePermit;

use super::committer::Pending;
use super::subscription::{Control, Subscription};
use super::tenure::Tenure;
use super::{Item, Mark};
use crate::delivery::{Settled, Settlement};
use crate::env::{BoxFuture, Instant, Map};
use crate::lanes::{LaneId, Lanes};
use crate::middleware::boundary::Ended;
use crate::store::{Death, Fate};

/// What a shard is told.
pub(crate) enum ToShard {
    /// Events of its lanes, counted as open.
    Items(Vec<Item>),
    /// The committer's answers.
    Fates(Vec<(usize, Vec<Fate>)>),
    /// Something changed outside: a tenure closed, the promise came back.
    Look,
}

pub(crate) struct Shard {
    index: usize,
    sub: Arc<Subscription>,
    lanes: Lanes<Item>,
    /// Calls that are pending, and results that wait for their commit.
    runs: Slab<Run>,
    flights: FuturesUnordered<BoxFuture<'static, (usize, Ended)>>,
    /// Held for the next inline poll; moves along with a call that is pending.
    permit: Option<OwnedSemaphorePermit>,
    /// The last round ended for want of a permit.
    starving: bool,
    /// Events that wait for a place among those that are marked as started (rule T1), their lanes held.
    unmarked: VecDeque<(LaneId, Item)>,
    /// Such a place, for the first of them.
    place: Option<OwnedSemaphorePermit>,
    /// The same, asked for.
    asking: Option<mark::Asking>,
    /// Batches that are being put together in this turn.
    forming: Vec<batch::Forming>,
    /// Lanes over the per-key bound, whose partitions are paused.
    hot: Vec<aside::Hot>,
    /// How many events of the lanes are set aside.
    aside: usize,
    /// Keys whose handlers ran ahead of their commits (rule C5), by hash.
    ahead: Map<u64, ahead::Key>,
    /// What ends in this round, handed on in one go.
    ended: Round,
    /// For the committer.
    pending: Vec<Pending>,
}

/// One call and its items; each with its lane, `None` once the lane went on without it.
struct Run {
    items: Vec<Item>,
    lanes: Vec<Option<LaneId>>,
    /// What the commit's answer means.
    then: Then,
    began: Instant,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// In flight; not committed yet.
    Land,
    /// Finished.
    Finish,
    /// Dead, of this.
    Bury(Death),
    /// Finished, its lane gone on (rule C5).
    Ahead,
    /// Marked as started; may run now (rule T1).
    Start,
}

/// What ended without needing a commit of its own, by tenure.
#[derive(Default)]
struct Round {
    plain: Vec<(Arc<Tenure>, Vec<u64>)>,
    dropped: Vec<(Arc<Tenure>, usize)>,
    settled: Vec<Settled>,
    messages: usize,
    bytes: usize,
    handled: usize,
}

/// So many turns are taken before the shard looks at its mailbox again.
const TURNS: usize = 512;

impl Shard {
    pub(crate) fn new(index: usize, sub: Arc<Subscription>) -> Self {
        let room = sub.settings.budget.messages.min(4096);
        Self {
            index,
            lanes: Lanes::new(room),
            runs: Slab::new(),
            flights: FuturesUnordered::new(),
            permit: None,
            starving: false,
            unmarked: VecDeque::new(),
            place: None,
            asking: None,
            forming: Vec::new(),
            hot: Vec::new(),
            aside: 0,
            ahead: sub.env.map(),
            ended: Round::default(),
            pending: Vec::new(),
            sub,
        }
    }

    /// Runs until its environment drops it.
    pub(crate) async fn run(mut self) {
        let mut letters = Vec::new();
        loop {
            self.sub.shards[self.index].take_into(&mut letters);
            for letter in letters.drain(..) {
                self.read(letter);
            }
            // Before the turns: a lane that goes on when its event has landed must not wait for the next wake-up,
            // which may be nobody's to give.
            self.land_ready().await;
            let now = self.sub.env.now();
            self.lanes.wake(now);
            let more = self.turns(now) | self.rewind_all();
            self.mark_waiting();
            self.hand_on();
            self.cool();
            if more {
                // Others of this thread get their turn before the next round.
                yield_once().await;
            } else {
                self.permit = None;
                self.wait().await;
            }
        }
    }

    fn read(&mut self, letter: ToShard) {
        match letter {
            ToShard::Items(items) => {
                for item in items {
                    self.push(item);
                }
            }
            ToShard::Fates(fates) => {
                for (run, fates) in fates {
                    self.fates(run, fates);
                }
            }
            ToShard::Look => self.sweep(),
        }
    }

    /// Drops what is queued of tenures that start nothing more: it belongs to the next owner.
    pub(super) fn sweep(&mut self) {
        for mut item in self.lanes.retain(|item| item.tenure.may_start()) {
            self.take_up(&mut item);
            self.leave_behind(item);
        }
        let (kept, gone) = self.unmarked.drain(..).partition(|(_, item)| item.tenure.may_start());
        self.unmarked = kept;
        for (lane, item) in gone {
            self.leave_behind(item);
            self.lanes.finish(lane);
        }
        let twins = self.sub.twins.as_ref().map(|twins| twins.left_behind(&self.sub.budget));
        for item in twins.into_iter().flatten() {
            match &self.sub.leases {
                Some(leases) if !leases.is_closed() => self.sub.control.send(Control::Again(vec![item])),
                _ => self.hand_back(item),
            }
        }
    }

    /// Waits for a letter, the end of a flight, a lane's time, a permit, or a place for a mark.
    async fn wait(&mut self) {
        let starving = self.starving;
        let mut asking = self.ask_for_place();
        let next_wake = self.lanes.next_wake();
        let sub = self.sub.clone();
        let timer = async {
            match next_wake {
                Some(at) => sub.env.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let place = async {
            match &mut asking {
                Some((_, there)) => there.await.ok(),
                None => std::future::pending().await,
            }
        };
        let promise = sub.promise.restored();
        // Biased: answers before new work, so that lanes free up first.
        tokio::select! { biased;
            () = sub.shards[self.index].wait() => {}
            Some((run, ended)) = self.flights.next(), if !self.flights.is_empty() => self.land(run, ended),
            () = timer => {}
            permit = sub.permits.clone().acquire_owned(), if starving => self.permit = permit.ok(),
            place = place => self.place = place,
            () = promise, if self.lanes.ready() > 0 && !starving => {}
        }
        if self.place.is_none() {
            self.asking = asking;
        }
    }

    /// Lands every flight that has ended by now.
    async fn land_ready(&mut self) {
        while let Some((run, ended)) = std::future::poll_fn(|cx| match self.flights.poll_next_unpin(cx) {
            Poll::Ready(landed) => Poll::Ready(landed),
            Poll::Pending => Poll::Ready(None),
        })
        .await
        {
            self.land(run, ended);
        }
    }

    /// Hands what this round brought to the committer and the budget, each in one go.
    fn hand_on(&mut self) {
        let ended = &mut self.ended;
        for (tenure, offsets) in &mut ended.plain {
            if !offsets.is_empty() {
                if tenure.claimed().finish_plain(offsets) {
                    self.sub.committer.dirty(tenure);
                }
                tenure.ended(offsets.len());
                offsets.clear();
            }
        }
        ended.plain.retain(|(tenure, _)| tenure.may_start());
        if !ended.settled.is_empty() {
            self.sub.settled.send_all(ended.settled.drain(..));
        }
        self.sub.budget.give_back(std::mem::take(&mut ended.messages), std::mem::take(&mut ended.bytes));
        let handled = std::mem::take(&mut ended.handled);
        if handled > 0 {
            self.sub.chain.trace.handled(handled);
        }
        if !self.pending.is_empty() {
            self.sub.committer.commit(self.pending.drain(..));
        }
        // Last: who waits for a tenure to be empty flushes what was sent before.
        for (tenure, n) in self.ended.dropped.drain(..) {
            self.sub.ended(&tenure, n);
        }
    }

    /// An event that the next owner handles. It ends here in order: a mark as started must not count as a
    /// death then (rule T1).
    fn leave_behind(&mut self, mut item: Item) {
        if item.is_marked() && !item.tenure.is_lost() && !mutant!("t1-marks-stay") {
            self.keep_attempts(&mut item);
        }
        self.hand_back(item);
    }

    /// An event that did not end here. Of a partition it is the next owner's; of a key it is still ours to
    /// handle, under its next lease, unless this worker drains.
    fn hand_back(&mut self, mut item: Item) {
        if let Some(history) = item.history.as_deref_mut().filter(|history| history.mark == Mark::Made) {
            // Rule T1: while it waits for its key's next time it takes no place among those that may run.
            history.mark = Mark::Wanted;
            history.marked = None;
        }
        let Some(leases) = &self.sub.leases else { return self.over(item, None) };
        if item.released_from().is_some() {
            // An operator's request stands in the store, and is told again.
            return self.over(item, None);
        }
        if leases.local && !leases.is_closed() {
            return self.sub.control.send(Control::Rejoin(vec![item]));
        }
        let tenure = item.tenure.clone();
        if let Some(item) = leases.back(&self.sub.budget, item) {
            self.over(item, Some(Settlement::Release));
        }
        self.left(tenure);
    }

    /// An event that is over: its end is durable.
    fn let_go(&mut self, item: Item) {
        // Not what came counts as a key's turn: a backlog would use it up before anything of it ran.
        if let Some(of) = item.tenure.key() {
            of.ends_one();
        }
        self.over(item, Some(Settlement::Ack));
    }

    /// An event that is over here; the broker is told, where it is told of each.
    fn over(&mut self, mut item: Item, settlement: Option<Settlement>) {
        if let Some(parked) = item.released_from() {
            match (item.tenure.partition(), &self.sub.leases) {
                (Some(of), _) => drop(of.progress().releasing.remove(&parked.offset)),
                (None, Some(leases)) => leases.released(&parked),
                (None, None) => {}
            }
        }
        if let (Some(ticket), Some(settlement)) = (item.ticket.take(), settlement) {
            self.ended.settled.push(ticket.settle(settlement));
        }
        self.dropped(&item);
        if let Some(twins) = &self.sub.twins {
            twins.ended(&self.sub, &item);
        }
    }

    /// An event that is over, its position marked or not.
    fn dropped(&mut self, item: &Item) {
        self.ended.messages += 1;
        self.ended.bytes += item.bytes as usize;
        self.left(item.tenure.clone());
    }

    /// One event less in this tenure.
    fn left(&mut self, tenure: Arc<Tenure>) {
        // Of keys there may be as many as events: only the last one is compared.
        let known = match tenure.key() {
            Some(_) => self.ended.dropped.last_mut(),
            None => self.ended.dropped.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &tenure)),
        };
        match known.filter(|(known, _)| Arc::ptr_eq(known, &tenure)) {
            Some((_, n)) => *n += 1,
            None => self.ended.dropped.push((tenure, 1)),
        }
    }
}

/// Lets the other tasks of the thread go first, once.
pub(crate) fn yield_once() -> impl Future<Output = ()> {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
