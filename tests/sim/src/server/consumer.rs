//! A consumer of the simulated broker.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use keylane::broker::{Base, Bounds, Capabilities, Change, Consumer, Partition, Pulled, Start};
use keylane::delivery::{Delivery, Place, Settled, Settlement, Ticket};
use keylane::{Error, ErrorKind};

use super::SimServer;
use crate::profile::Profile;

pub(super) struct SimConsumer {
    server: SimServer,
    worker: usize,
    unsettled_max: usize,
    own: Mutex<Own>,
}

struct Own {
    epoch: u64,
    handed: u64,
    paused: bool,
    left: bool,
}

impl SimConsumer {
    pub(super) fn join(server: &SimServer, worker: usize, unsettled_max: usize) -> Self {
        server.change(|lines| lines.connect(worker));
        let own = Own { epoch: 1, handed: 0, paused: false, left: false };
        Self { server: server.clone(), worker, unsettled_max, own: Mutex::new(own) }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_paused(&self, partitions: Option<&[Partition]>, paused: bool) {
        if partitions.is_none_or(|some| some.contains(&0)) {
            self.server.change(|_| self.own().paused = paused);
        }
    }

    fn leave(&self) {
        let profile = self.server.0.profile;
        self.server.change(|lines| {
            self.own().left = true;
            lines.disconnect(profile, self.worker);
        });
    }

    fn look(&self, credits: usize) -> Result<Option<Pulled>, Error> {
        let profile = self.server.0.profile;
        let mut own = self.own();
        if own.left {
            return Err(Error::new(ErrorKind::Closed, "this consumer was closed"));
        }
        let mut lines = self.server.lines();
        if lines.connect(self.worker) {
            own.epoch += 1;
            return Ok(Some(Pulled::Change(Change::Void { epoch: own.epoch })));
        }
        let now = self.server.0.env.now();
        lines.expire(profile, now);
        let room = self.unsettled_max.saturating_sub(lines.out_at(self.worker));
        let most = credits.min(room);
        let offers = lines.offers(profile, self.worker);
        if own.paused || most == 0 || offers.is_empty() {
            return Ok(None);
        }
        let until = self.server.0.visible_after.map(|after| now + after);
        let chosen = self.choose(profile, offers, most, |number| lines.key(number));
        let mut deliveries = Vec::with_capacity(chosen.len());
        for number in chosen {
            let ticket = own.handed;
            own.handed += 1;
            let handed = lines.hand(profile, number, self.worker, ticket, until);
            let place = Place { partition: 0, epoch: own.epoch, offset: ticket };
            let attempt = Some(handed.times);
            deliveries.push(Delivery { record: handed.record, place, attempt, ticket: Ticket::new(ticket) });
        }
        Ok(Some(Pulled::Deliveries(deliveries)))
    }

    /// Some of the offers: of a shared queue any, else of some keys the first ones.
    fn choose(
        &self,
        profile: Profile,
        mut offers: Vec<usize>,
        most: usize,
        key: impl Fn(usize) -> Bytes,
    ) -> Vec<usize> {
        let n = 1 + self.server.below(most.min(offers.len()).min(8));
        let mut chosen = Vec::with_capacity(n);
        while chosen.len() < n && !offers.is_empty() {
            let at = self.server.below(offers.len().min(12));
            let at = match profile {
                Profile::Queue | Profile::Log => at,
                // The first one of that key.
                Profile::Visibility | Profile::Ordered => {
                    let of = key(offers[at]);
                    offers.iter().position(|number| key(*number) == of).unwrap_or(at)
                }
            };
            chosen.push(offers.remove(at));
        }
        chosen
    }

    /// What goes wrong by chance at a hand-over.
    fn disturb(&self) {
        let (profile, faults) = (self.server.0.profile, self.server.0.faults);
        if self.server.hits(faults.cut) {
            self.server.cut(self.worker);
        }
        for (chance, settled) in [(faults.again, false), (faults.again_settled, true)] {
            if self.server.hits(chance) {
                let server = &self.server;
                server.change(|lines| lines.again_by(profile, settled, |n| server.below(n)));
            }
        }
    }
}

#[async_trait]
impl Consumer for SimConsumer {
    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        self.disturb();
        loop {
            let mut changed = std::pin::pin!(self.server.0.changed.notified());
            changed.as_mut().enable();
            if let Some(pulled) = self.look(credits)? {
                return Ok(pulled);
            }
            let next = self.server.lines().next_expiry();
            let expiry = async {
                match next {
                    Some(at) => self.server.0.env.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Biased: news first, so that equal times have one order.
            tokio::select! { biased;
                () = changed => {}
                () = expiry => {}
            }
        }
    }

    async fn start(&self, _starts: Vec<Start>) -> Result<(), Error> {
        Err(no_partitions())
    }

    async fn bounds(&self, _partition: Partition) -> Result<Bounds, Error> {
        Err(no_partitions())
    }

    async fn origin(&self, _partition: Partition) -> Result<u64, Error> {
        Err(no_partitions())
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        let profile = self.server.0.profile;
        Ok(self.server.change(|lines| {
            let mut lost = Vec::new();
            for Settled { ticket, settlement } in batch {
                let done = matches!(settlement, Settlement::Ack | Settlement::Reject);
                if !lines.settle(profile, self.worker, ticket.number(), done) {
                    lost.push(ticket.number());
                }
            }
            lost
        }))
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        if bases.is_empty() { Ok(()) } else { Err(no_partitions()) }
    }

    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error> {
        let to = self.server.0.env.now() + by;
        let mut lines = self.server.lines();
        for ticket in tickets {
            lines.extend(self.worker, ticket.number(), to);
        }
        Ok(())
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, true);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, false);
    }

    async fn close(&self, _within: Duration) {
        self.leave();
    }
}

impl Drop for SimConsumer {
    /// A worker that died: its connection is gone.
    fn drop(&mut self) {
        self.leave();
    }
}

fn no_partitions() -> Error {
    Error::new(ErrorKind::Unsupported, "sim has no partitions: every delivery is settled on its own")
}
