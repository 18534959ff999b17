//! The chain: what every event passes, outermost first. Its order is code, not configuration.
//!
//! A guard is two small decisions: what to do before the rest runs, and what to make of how it ended.
//! It reads what admission fetched and adds to what will be committed; it makes no store call of its own.
//!
//! On the way in ([`Chain::enter`]), a guard may answer in the handler's place:
//!
//! 1. `trace`: encloses everything, so that nothing is uncounted.
//! 2. `lock`: a claim that is ending or lost, or a promise that runs low, starts nothing.
//! 3. `ledger`: what is known to be dead (undecodable, conflict, over a limit) is buried before any work.
//! 4. `retry`: an event that killed its worker too often is dead (T1); one that may have is marked first.
//! 5. `route`: a kind without a handler follows the subscription's policy.
//! 6. `boundary`: timeout and panics; then the service's own middleware, then its handler.
//!
//! On the way out ([`Chain::leave`]) the boundary's word becomes an outcome, and retry makes the verdict.
//! The key stays locked throughout: its lane starts nothing else until the verdict is carried out.

use std::sync::Arc;
use std::time::Duration;

use super::boundary::{self, Ended, Started};
use super::retry::{RetryPolicy, Verdict};
use super::trace::Trace;
use crate::env::{Env, Instant};
use crate::handler::{Call, CallItem, Failure, Items, Outcome, Route, RouteTable};
use crate::runtime::{Item, Mark, Promise};
use crate::store::{Death, Effect};

/// What a subscription's events pass.
pub(crate) struct Chain {
    pub(crate) env: Env,
    pub(crate) trace: Trace,
    pub(crate) promise: Arc<Promise>,
    pub(crate) retry: RetryPolicy,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) unknown: UnknownKind,
    pub(crate) timeout: Duration,
}

/// What becomes of an event whose kind has no handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownKind {
    /// It is finished without being handled.
    Skip,
    /// It is a dead letter.
    Dead,
}

/// The way in: what the guards say of an event whose turn has come.
pub(crate) enum Entry<'a> {
    /// Run it.
    Run(&'a Route),
    /// Its claim is ending or gone: drop it, it belongs to the next owner.
    Drop,
    /// The promise runs low: not now.
    Wait,
    /// Mark it as started first (rule T1).
    Mark,
    /// Dead without having run.
    Bury(Death, String),
    /// Finished without having run.
    Skip,
}

/// The way out: what is to become of an event that ran.
pub(crate) enum Exit {
    /// Finished, with what it recorded.
    Finish,
    /// Again in its lane, after this long; its attempts are to be kept when it counted.
    Again { after: Duration, counts: bool },
    /// A dead letter.
    Bury(Death),
    /// The subscription stops.
    Stop(Death),
    /// It ended without a result: it goes back to the front of its lane, if its claim is still held.
    PutBack,
}

impl Chain {
    /// The guards before the rest, outermost first.
    pub(crate) fn enter(&self, item: &Item, now: Instant) -> Entry<'_> {
        // lock: nothing of a claim that ends, nothing that the promise may not cover.
        if !item.tenure.may_start() {
            return Entry::Drop;
        }
        if !self.promise.may_start(now) {
            return Entry::Wait;
        }
        if let Some(history) = item.history.as_deref() {
            // ledger: what admission found wrong with it.
            if let Some((death, why)) = &history.dead {
                return Entry::Bury(*death, why.clone());
            }
            // retry: rule T1.
            if history.crashes >= self.retry.crashes_max {
                let why = format!("the worker died {} times while it was handled", history.crashes);
                return Entry::Bury(Death::Crashes, why);
            }
            if history.mark == Mark::Wanted && !mutant!("t1-no-marks") {
                return Entry::Mark;
            }
        }
        match (self.routes.lookup(&item.envelope.meta.kind), self.unknown) {
            (Some(route), _) => Entry::Run(route),
            (None, UnknownKind::Skip) => Entry::Skip,
            (None, UnknownKind::Dead) => {
                Entry::Bury(Death::UnknownKind, nobody_takes(item.envelope.meta.kind.as_str()))
            }
        }
    }

    /// Starts the call of these items, which share a route, and a partition where there are any.
    pub(crate) fn call(&self, route: &Route, items: &[Item]) -> Started {
        let call = |item: &Item| CallItem {
            envelope: item.envelope.clone(),
            attempt: item.attempts() + 1,
            token: item.tenure.token(),
        };
        let events = match items {
            [item] if route.batch_max.is_none() => Items::One(call(item)),
            items => Items::Many(items.iter().map(call).collect()),
        };
        let scene = items[0].tenure.scene.clone();
        let future = boundary::begin(|| route.handler.call(Call { events, scene }));
        let future = self.trace.around(items, future);
        if route.spawned {
            boundary::spawned(&self.env, future, items.len())
        } else {
            boundary::inline(future)
        }
    }

    /// The limit of one call.
    pub(crate) fn limit(&self, route: &Route) -> Duration {
        route.timeout.unwrap_or(self.timeout)
    }

    /// The guards after the rest, innermost first: one exit per item, in order, and the recorded effects.
    pub(crate) fn leave(&self, items: &mut [Item], ended: Ended) -> (Vec<Exit>, Vec<Effect>) {
        let outcome = match ended {
            Ended::Returned(outcome) => outcome,
            Ended::Panicked(message) => Outcome::failed(items.len(), &Failure::new(message)),
            Ended::TimedOut(limit) => {
                let failure = Failure::new(format!("the handler took longer than its limit of {limit:?}"));
                Outcome::failed(items.len(), &failure)
            }
            Ended::Aborted => return (items.iter().map(|_| Exit::PutBack).collect(), Vec::new()),
        };
        if outcome.is_done() {
            return (items.iter().map(|_| Exit::Finish).collect(), outcome.effects);
        }
        // Rule C6: what was recorded in a run with any failure counts for nothing; the others run again.
        let other = || if mutant!("c6-others-are-done") { Exit::Finish } else { Exit::PutBack };
        let mut exits: Vec<Exit> = items.iter().map(|_| other()).collect();
        for (at, failure) in outcome.failures {
            if let Some(item) = items.get_mut(at) {
                exits[at] = self.failed(item, &failure);
            }
        }
        (exits, Vec::new())
    }

    /// Retry's verdict on a failed try; its count and its words go into the item's history.
    pub(crate) fn failed(&self, item: &mut Item, failure: &Failure) -> Exit {
        let now = self.env.wall();
        let chance = self.env.random_unit();
        self.trace.failed(item, failure);
        let history = item.history();
        history.failures = failure.chain().to_vec();
        history.first_at.get_or_insert(now);
        if mutant!("retry-resets-attempts") {
            history.attempts = 0;
        }
        let verdict = self.retry.decide(failure.class(), history.attempts + 1, history.refusals + 1, chance);
        if matches!(verdict, Verdict::Again { .. }) {
            self.trace.retried();
        }
        match verdict {
            Verdict::Again { after, counts: false } => {
                history.refusals += 1;
                Exit::Again { after, counts: false }
            }
            Verdict::Again { after, counts: true } => {
                history.attempts += 1;
                history.refusals = 0;
                Exit::Again { after, counts: true }
            }
            Verdict::Bury(death) => {
                history.attempts += 1;
                Exit::Bury(death)
            }
            Verdict::Stop(death) => {
                history.attempts += 1;
                Exit::Stop(death)
            }
        }
    }
}

/// Why an event of this kind is dead, and what would have helped.
fn nobody_takes(kind: &str) -> String {
    if kind.is_empty() {
        return "it has no kind, and there is no handler for all; publish `ce_type` with it, or say by `event.kind` where it stands"
            .to_owned();
    }
    format!("no handler takes the kind {kind:?}")
}
