//! The task that pulls for all homes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::home::home_of;
use super::mail::Mail;
use super::readers::{Plan, Readers, copy};
use super::{Kind, Spread, State, handback};
use crate::broker::{Base, Change, Partition, Pulled, Start};
use crate::delivery::{Delivery, Settled};
use crate::env::Instant;
use crate::error::{Error, ErrorKind};
use crate::runtime::intake::witness;

/// So many deliveries are asked for at a time; a home's queue holds at most so many more than its room.
pub(super) const PULL_MAX: usize = 256;

/// How long all wait for a home that has no room. It is worth it where they only keep step; a home that is away costs
/// the others no more than this once.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// A home that has not heard of a revocation by then is not waited for.
const HEAR_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked, as long as others take their time.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long to wait after a call failed, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// What is to be done before the next pull.
#[derive(Default)]
pub(super) struct Turn {
    plan: Plan,
    back: Vec<Settled>,
}

/// Runs until the runtime drains, or the consumer can't go on.
pub(super) async fn run(spread: Arc<Spread>) {
    let mut wait = AGAIN_AFTER;
    loop {
        let turn = spread.turn();
        let (credits, until) = (turn.plan.credits, turn.plan.until);
        let failed = match spread.prepare(turn).await {
            Err(error) => Err(error),
            Ok(()) => {
                // Biased: the end first, then what changes the plan, then new work.
                tokio::select! { biased;
                    () = spread.stopped.cancelled() => return,
                    () = spread.stirred.notified() => continue,
                    () = sleep_until(&spread, until) => continue,
                    pulled = spread.real.pull(credits) => pulled.map(|pulled| spread.receive(pulled)),
                }
            }
        };
        match failed {
            Ok(()) => wait = AGAIN_AFTER,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, again_in = ?wait, "pulling failed");
                tokio::select! { biased;
                    () = spread.stopped.cancelled() => return,
                    () = spread.env.sleep(wait) => {}
                }
                wait = (wait * 2).min(AGAIN_MAX);
            }
            Err(error) => return spread.fail(&error),
        }
    }
}

async fn sleep_until(spread: &Spread, until: Option<Instant>) {
    match until {
        Some(until) => spread.env.sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// Ends revocations that only wait for homes that do not hear; when to look again.
    fn unheard(&mut self, now: Instant) -> Option<Instant> {
        let unheard: Vec<bool> = self.mail.iter().map(Mail::is_unheard).collect();
        for (_, revocation) in self.revoking.iter().filter(|(since, _)| *since + HEAR_WITHIN <= now) {
            revocation.without(&unheard);
        }
        self.revoking.retain(|(_, revocation)| !revocation.is_over());
        let looks = self.revoking.iter().map(|(since, _)| (*since + HEAR_WITHIN).max(now + LOOK_EVERY));
        looks.min()
    }
}

impl Spread {
    pub(super) fn turn(&self) -> Turn {
        let now = self.env.now();
        let mut state = self.state();
        let unheard = state.unheard(now);
        match &mut state.kind {
            Kind::Partitions(readers) => {
                let mut plan = readers.plan(now);
                if let Some(at) = unheard {
                    plan.look_at(at);
                }
                Turn { plan, back: Vec::new() }
            }
            Kind::Each(lines) => {
                let back = lines.due(now);
                let (credits, until) = lines.credits(now);
                Turn { plan: Plan { credits, until, ..Plan::default() }, back }
            }
        }
    }

    pub(super) async fn prepare(&self, turn: Turn) -> Result<(), Error> {
        let Turn { plan, back } = turn;
        if !plan.pause.is_empty() {
            self.real.pause(Some(&plan.pause));
        }
        // Before what may fail: nobody says it again. What of a place that is left comes now is dropped by its epoch.
        if !plan.resume.is_empty() {
            self.real.resume(Some(&plan.resume));
        }
        for (at, start) in plan.starts.iter().enumerate() {
            if let Err(error) = self.start(start).await {
                if let Kind::Partitions(readers) = &mut self.state().kind {
                    readers.not_started(&plan.starts[at..]);
                }
                return Err(error);
            }
        }
        if !plan.starts.is_empty()
            && let Err(error) = self.tell(|readers| readers.tell_again(&plan.starts)).await
        {
            tracing::debug!(%error, "the broker did not take the position; the stores have it");
        }
        if !back.is_empty()
            && let Err(error) = self.real.settle(back).await
        {
            tracing::debug!(%error, "what has no room here comes again when the connection ends");
        }
        Ok(())
    }

    /// Goes to a place in the log. What can't be read there stops only the homes that are there (rule L2).
    async fn start(&self, start: &Start) -> Result<(), Error> {
        match self.real.start(vec![*start]).await {
            Ok(()) => {
                // Whatever it was paused for before is over.
                self.real.resume(Some(&[start.partition]));
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::LogChanged | ErrorKind::Corrupt) => {
                if let Kind::Partitions(readers) = &mut self.state().kind {
                    readers.broken(start.partition, start.epoch, &error);
                }
                self.wake_all();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the broker how far the last of all homes is, once at a time: a base never goes back.
    pub(super) async fn tell(&self, bases: impl FnOnce(&mut Readers) -> Vec<Base>) -> Result<(), Error> {
        let _telling = self.telling.lock().await;
        let bases = match &mut self.state().kind {
            Kind::Partitions(readers) => bases(readers),
            Kind::Each(_) => Vec::new(),
        };
        if bases.is_empty() {
            return Ok(());
        }
        let told = self.real.commit(bases.clone()).await;
        if told.is_err()
            && let Kind::Partitions(readers) = &mut self.state().kind
        {
            readers.not_told(&bases);
        }
        told
    }

    pub(super) fn receive(&self, pulled: Pulled) {
        match pulled {
            Pulled::Deliveries(deliveries) => self.deliveries(deliveries),
            Pulled::Change(change) => self.change(change),
        }
        self.wake_all();
    }

    fn deliveries(&self, deliveries: Vec<Delivery>) {
        let now = self.env.now();
        let leased = !self.real.capabilities().partitions;
        let mut last: Vec<(Partition, _)> = Vec::new();
        if !leased {
            for (at, delivery) in deliveries.iter().enumerate() {
                let next = deliveries.get(at + 1).map(|next| next.place.partition);
                if next != Some(delivery.place.partition) {
                    last.push((delivery.place.partition, witness(delivery)));
                }
            }
        }
        // Keys are looked for before the lock is taken.
        let homes = self.homes.len();
        let home =
            |delivery: &Delivery| home_of(&self.decoder, &delivery.record, delivery.place, leased, homes);
        let deliveries: Vec<_> = deliveries.into_iter().map(|delivery| (home(&delivery), delivery)).collect();
        match &mut self.state().kind {
            Kind::Partitions(readers) => readers.hand_out(deliveries, &last, now),
            Kind::Each(lines) => {
                deliveries.into_iter().for_each(|(home, delivery)| lines.put(home, delivery, now));
            }
        }
    }

    fn change(&self, change: Change) {
        let now = self.env.now();
        let mut state = self.state();
        let State { mail, kind, revoking } = &mut *state;
        let homes = mail.len();
        let copies: Vec<Change> = match (change, kind) {
            (Change::Assigned(partitions), Kind::Partitions(readers)) => {
                partitions.iter().for_each(|partition| readers.assigned(*partition, now));
                (0..homes).map(|_| Change::Assigned(partitions.clone())).collect()
            }
            (Change::Lost(partitions), Kind::Partitions(readers)) => {
                for partition in &partitions {
                    readers.removed(*partition);
                }
                (0..homes).map(|_| Change::Lost(partitions.clone())).collect()
            }
            (Change::Revoking { partitions, handback }, Kind::Partitions(readers)) => {
                let epochs = partitions.iter().filter_map(|at| Some((*at, readers.removed(*at)?)));
                let epochs: BTreeMap<Partition, u64> = epochs.collect();
                let (parts, revocation) = handback::split(handback, homes, epochs);
                revoking.push((now, revocation));
                let parts = parts.into_iter();
                parts.map(|handback| Change::Revoking { partitions: partitions.clone(), handback }).collect()
            }
            (Change::Broken { partition, epoch, error }, Kind::Partitions(readers)) => {
                readers.broken(partition, epoch, &error);
                Vec::new()
            }
            (Change::Void { epoch }, kind) => {
                if let Kind::Each(lines) = kind {
                    lines.void();
                }
                (0..homes).map(|_| Change::Void { epoch }).collect()
            }
            (change, Kind::Each(_)) => {
                tracing::error!(?change, "a broker without partitions told of one");
                Vec::new()
            }
        };
        for (mail, change) in mail.iter_mut().zip(copies) {
            mail.put(change);
        }
    }

    /// The consumer can't go on: every home's subscription stops with its error.
    fn fail(&self, error: &Error) {
        for mail in &mut self.state().mail {
            mail.error = Some(copy(error));
        }
        self.wake_all();
    }
}
