//! What the committer answered.

use super::{Run, Shard, Then};
use crate::lanes::LaneId;
use crate::middleware::chain::Exit;
use crate::runtime::subscription::Control;
use crate::runtime::{Item, Mark};
use crate::store::{Death, Fate};

impl Shard {
    /// The fates of a run's items, in order.
    pub(super) fn fates(&mut self, run: usize, fates: Vec<Fate>) {
        let run = self.runs.remove(run);
        if run.then == Then::Ahead {
            return self.ahead_fates(run, fates);
        }
        if fates.iter().all(Fate::is_committed) && run.then != Then::Start {
            return self.all_committed(run);
        }
        let several = run.items.len() > 1;
        let Run { items, lanes, then, began, .. } = run;
        let mut back = Run { items: Vec::new(), lanes: Vec::new(), then, began, permit: None };
        let mut exits = Vec::new();
        let mut free: Vec<LaneId> = Vec::new();
        for ((mut item, lane), fate) in items.into_iter().zip(lanes).zip(fates) {
            if then == Then::Start && !fate.is_committed() {
                // Nothing was written: it must not count as marked (rule T1).
                let history = item.history();
                history.mark = Mark::Wanted;
                history.marked = None;
            }
            // What its lane did not wait for stands, whatever became of those before it: it is sent again.
            let stands = lane.is_none() && !several && matches!(fate, Fate::Behind);
            let exit = if stands { again(then) } else { self.exit_of(&mut item, fate, then, several) };
            match exit {
                Some(exit) => {
                    back.items.push(item);
                    back.lanes.push(lane);
                    exits.push(exit);
                }
                None => {
                    self.let_go(item);
                    free.extend(lane);
                }
            }
        }
        for lane in free {
            if !back.lanes.contains(&Some(lane)) {
                self.lanes.finish(lane);
            }
        }
        self.carry_out(back, exits);
    }

    /// What an item has to do yet; `None`: it is over.
    pub(super) fn exit_of(&mut self, item: &mut Item, fate: Fate, then: Then, several: bool) -> Option<Exit> {
        match fate {
            Fate::Committed if then == Then::Start => Some(Exit::PutBack),
            Fate::Committed => {
                self.ended.handled += usize::from(then == Then::Finish);
                None
            }
            Fate::Duplicate => {
                self.sub.chain.trace.duplicates(1);
                // Only a result says that the offset is finished.
                (then == Then::Start).then_some(Exit::Finish)
            }
            // Rule L4: never dropped, though its id is finished.
            Fate::Conflict => {
                item.history().failures = vec![CONFLICT.to_owned()];
                Some(Exit::Bury(Death::Conflict))
            }
            Fate::Excluded => {
                item.tenure.lose();
                let Some(of) = item.tenure.partition() else {
                    // Its delivery is still ours: it is admitted anew.
                    return Some(Exit::PutBack);
                };
                self.sub.control.send(Control::Gone(of.claim.clone()));
                None
            }
            // Nobody can say which of several events is the culprit: each runs in a unit of its own.
            Fate::Failed(_) | Fate::Behind if several => {
                item.history().alone = true;
                Some(Exit::PutBack)
            }
            Fate::Failed(failure) => Some(self.sub.clone().chain.failed(item, &failure)),
            Fate::Behind => Some(Exit::PutBack),
        }
    }

    fn all_committed(&mut self, run: Run) {
        if run.then == Then::Finish {
            self.ended.handled += run.items.len();
        }
        for item in run.items {
            self.let_go(item);
        }
        let mut last = None;
        for lane in run.lanes.into_iter().flatten() {
            // A batch holds the items of a lane side by side: free it once.
            if last.replace(lane) != Some(lane) {
                self.lanes.finish(lane);
            }
        }
    }
}

/// The exit that sends a result again.
fn again(then: Then) -> Option<Exit> {
    match then {
        Then::Bury(death) => Some(Exit::Bury(death)),
        Then::Finish => Some(Exit::Finish),
        Then::Land | Then::Ahead | Then::Start => Some(Exit::PutBack),
    }
}

pub(crate) const CONFLICT: &str = "the same id was handled before with another payload; \
    a producer must keep one id for one event";
