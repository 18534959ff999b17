//! What becomes of a run that ended: its exits are carried out, lane by lane.

use super::{Run, Shard, Then};
use crate::delivery::Settlement;
use crate::lanes::LaneId;
use crate::middleware::boundary::Ended;
use crate::middleware::chain::Exit;
use crate::runtime::committer::Pending;
use crate::runtime::{Item, Mark};
use crate::store::{CommitEvent, Death, Effect, Unit, Verdict};

impl Shard {
    /// A flight ended.
    pub(super) fn land(&mut self, run: usize, ended: Ended) {
        let mut run = self.runs.remove(run);
        run.permit = None;
        self.landed(run, ended);
    }

    pub(super) fn landed(&mut self, mut run: Run, ended: Ended) {
        let sub = self.sub.clone();
        sub.chain.trace.took(sub.env.now().since(run.began));
        let (exits, effects) = sub.chain.leave(&mut run.items, ended);
        if exits.iter().all(|exit| matches!(exit, Exit::Finish)) {
            return self.finish_run(run, effects);
        }
        self.carry_out(run, exits);
    }

    /// All items are done: they commit together.
    fn finish_run(&mut self, mut run: Run, effects: Vec<Effect>) {
        let before_failed = run.items.iter().any(|item| self.is_ahead_of_failed(item));
        if before_failed && run.items.len() > 1 {
            let back = run.items.iter().map(|_| Exit::PutBack).collect();
            return self.carry_out(run, back);
        }
        if effects.is_empty() {
            // Nothing that has to commit together: each goes its own way.
            for (item, lane) in run.items.into_iter().zip(run.lanes) {
                self.finished(lane, item);
            }
            return;
        }
        if (self.sub.settings.ahead || before_failed)
            && let [Some(lane)] = run.lanes[..]
            && let Some(item) = run.items.pop()
        {
            return self.run_ahead(lane, item, effects);
        }
        if mutant!("l2-finished-before-durable") {
            for item in &run.items {
                item.tenure.partition().map(|of| of.finish_plain(&[item.offset()]));
            }
        }
        if mutant!("settled-before-durable") {
            let tickets = run.items.iter_mut().filter_map(|item| item.ticket.take());
            self.ended.settled.extend(tickets.map(|ticket| ticket.settle(Settlement::Ack)));
        }
        for lane in run.lanes.iter().flatten() {
            if mutant!("c5-lane-goes-on") {
                self.lanes.finish(*lane);
            }
            self.lanes.hold(*lane);
        }
        run.then = Then::Finish;
        let events = run.items.iter().map(|item| commit_event(item, Verdict::Finish)).collect();
        self.commit_run(run, Unit { events, effects });
    }

    /// One finished event that recorded no effects: its lane goes on at once (rule C5).
    pub(super) fn finished(&mut self, lane: Option<LaneId>, item: Item) {
        if let Some(lane) = lane {
            // The last item of a lane frees it; a lane freed twice is stale the second time, and harmless.
            self.lanes.finish(lane);
        }
        if item.is_plain() {
            self.plain(item);
        } else {
            self.commit_one(None, item, Verdict::Finish, Then::Finish);
        }
    }

    /// A dead letter. Its lane goes on: later events of the key don't wait for the dead.
    pub(super) fn bury(&mut self, lane: Option<LaneId>, mut item: Item, death: Death, why: Option<String>) {
        if let Some(why) = why {
            item.history().failures = vec![why];
        }
        if let Some(lane) = lane {
            self.lanes.finish(lane);
        }
        let parked = item.dead_letter(death, &self.sub.worker, self.sub.env.wall());
        self.sub.chain.trace.buried(&item, death, &parked.failures);
        self.commit_one(None, item, Verdict::Park(Box::new(parked)), Then::Bury(death));
    }

    /// Carries out the exits of a run in which not all is done, each lane's items in order.
    pub(super) fn carry_out(&mut self, run: Run, exits: Vec<Exit>) {
        let mut left: Vec<(Option<LaneId>, Item, Exit)> = run
            .lanes
            .into_iter()
            .zip(run.items)
            .zip(exits)
            .map(|((lane, item), exit)| (lane, item, exit))
            .collect();
        while let Some(first) = left.first() {
            let lane = first.0;
            let (mine, others) = left.into_iter().partition(|(other, ..)| *other == lane);
            left = others;
            self.carry_out_lane(lane, mine);
        }
    }

    /// One lane's items of a run. What goes back goes to the front in its old order; the lane sleeps when
    /// the first of them is to wait.
    fn carry_out_lane(&mut self, lane: Option<LaneId>, items: Vec<(Option<LaneId>, Item, Exit)>) {
        let mut back = Vec::new();
        for (_, item, exit) in items {
            match exit {
                Exit::Finish => self.finished(None, item),
                Exit::Bury(death) => self.bury(None, item, death, None),
                exit => {
                    let item = self.goes_back(item, &exit);
                    if item.tenure.may_start() {
                        back.push(item);
                    } else {
                        self.leave_behind(item);
                    }
                }
            }
        }
        let Some(lane) = lane else {
            // Its lane went on without it: it comes before whatever the lane has now.
            return self.run_first(back);
        };
        let now = self.sub.env.now();
        let first = if back.is_empty() { None } else { Some(back.remove(0)) };
        for item in back.into_iter().rev() {
            self.lanes.push_front(lane, item);
        }
        match first {
            Some(item) if mutant!("order-failed-goes-last") => {
                self.lanes.finish(lane);
                self.push(item);
            }
            Some(item) => match item.not_before(now) {
                Some(until) => self.back_off(lane, item, until),
                None => self.lanes.put_back(lane, item),
            },
            None => drop(self.lanes.finish(lane)),
        }
    }

    /// An item that runs again: what its exit says is noted on it.
    pub(super) fn goes_back(&mut self, mut item: Item, exit: &Exit) -> Item {
        match exit {
            Exit::Stop(death) => self.stop_for(&item, *death),
            Exit::Again { after, counts } => {
                item.history().not_before = Some(self.sub.env.now() + *after);
                if *counts || item.is_marked() {
                    self.keep_attempts(&mut item);
                }
            }
            Exit::Finish | Exit::Bury(_) | Exit::PutBack => {}
        }
        item
    }

    /// Attempts survive restarts: they are written on the side, nobody waits for it.
    pub(super) fn keep_attempts(&mut self, item: &mut Item) {
        let history = item.history();
        history.row = true;
        if history.mark == Mark::Made {
            // Written over by this row; needed again before the next try.
            history.mark = Mark::Wanted;
            history.marked = None;
        }
        let row = item.attempt_row(self.sub.env.wall(), None);
        let event = commit_event(item, Verdict::Tried(row));
        let unit = Unit { events: vec![event], effects: Vec::new() };
        self.pending.push(Pending { shard: self.index, run: None, tenures: vec![item.tenure.clone()], unit });
    }

    fn stop_for(&mut self, item: &Item, death: Death) {
        let meta = &item.envelope.meta;
        let why = item.history.as_ref().map(|history| history.failures.join(": ")).unwrap_or_default();
        self.sub.stop(crate::Error::new(
            crate::ErrorKind::Stopped,
            format!(
                "event {} of kind {:?} at partition {} offset {} can't be handled ({}: {why}) and on_exhausted is \"stop\"; \
                 mend the handler or the event and start again",
                meta.id, meta.kind.as_str(), meta.place.partition, meta.place.offset, death.name()
            ),
        ));
    }

    /// Commits one event without effects.
    pub(super) fn commit_one(&mut self, lane: Option<LaneId>, item: Item, verdict: Verdict, then: Then) {
        let unit = Unit { events: vec![commit_event(&item, verdict)], effects: Vec::new() };
        let began = self.sub.env.now();
        self.commit_run(Run { items: vec![item], lanes: vec![lane], then, began, permit: None }, unit);
    }

    pub(super) fn commit_run(&mut self, run: Run, unit: Unit) {
        let tenures = run.items.iter().map(|item| item.tenure.clone()).collect();
        let key = self.runs.insert(run);
        self.pending.push(Pending { shard: self.index, run: Some(key), tenures, unit });
    }
}

/// The event's part of a commit; the committer fills in the claim's index.
pub(super) fn commit_event(item: &Item, verdict: Verdict) -> CommitEvent {
    CommitEvent {
        hold: 0,
        offset: item.offset(),
        id: item.id(),
        key: item.envelope.meta.lane_key(),
        ledger: item.ledger,
        unpark: item
            .history
            .as_ref()
            .and_then(|history| history.parked.as_ref())
            .map(|parked| parked.parked_id()),
        verdict,
    }
}
