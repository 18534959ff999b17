//! A consumer of a faulty broker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Base, Bounds, Capabilities, Change, Consumer, Handback, Partition, Pulled, Start};
use keylane::delivery::{Settled, Ticket};
use keylane::{Error, ErrorKind};

use super::broker::Way;

pub(super) struct FaultyConsumer {
    inner: Arc<dyn Consumer>,
    way: Way,
    seat: Mutex<Seat>,
}

/// What the consumer stands for in the decorator's eyes.
#[derive(Default)]
struct Seat {
    held: BTreeSet<Partition>,
    /// Lost by a cut and not started again: nothing of them is delivered.
    severed: BTreeSet<Partition>,
    news: VecDeque<Change>,
}

impl FaultyConsumer {
    pub(super) fn new(inner: Arc<dyn Consumer>, way: Way) -> Self {
        Self { inner, way, seat: Mutex::default() }
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is replaced: what it had is lost, and assigned to the new one.
    fn sever(&self) -> Option<Change> {
        let mut seat = self.seat();
        let held: Vec<Partition> = seat.held.iter().copied().collect();
        if held.is_empty() {
            return None;
        }
        seat.severed.extend(&held);
        seat.news.push_back(Change::Assigned(held.clone()));
        drop(seat);
        self.inner.pause(Some(&held));
        Some(Change::Lost(held))
    }

    fn noted(&self, pulled: Pulled) -> Pulled {
        match pulled {
            Pulled::Deliveries(mut deliveries) => {
                let seat = self.seat();
                deliveries.retain(|delivery| !seat.severed.contains(&delivery.place.partition));
                deliveries.iter_mut().for_each(|delivery| self.way.eyes.handed(delivery));
                Pulled::Deliveries(deliveries)
            }
            Pulled::Change(change) => Pulled::Change(self.changed(change)),
        }
    }

    fn changed(&self, change: Change) -> Change {
        let mut seat = self.seat();
        match change {
            Change::Assigned(partitions) => {
                seat.held.extend(&partitions);
                Change::Assigned(partitions)
            }
            Change::Broken { .. } | Change::Void { .. } => change,
            Change::Lost(partitions) => {
                seat.held.retain(|held| !partitions.contains(held));
                Change::Lost(partitions)
            }
            Change::Revoking { partitions, handback } => {
                seat.held.retain(|held| !partitions.contains(held));
                let eyes = self.way.eyes.clone();
                let handback = Handback::new(move |bases| {
                    eyes.told(&bases);
                    handback.done(bases);
                });
                Change::Revoking { partitions, handback }
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Consumer for FaultyConsumer {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        if let Some(news) = self.seat().news.pop_front() {
            return Ok(Pulled::Change(news));
        }
        let max = u64::try_from(self.way.faults.pull_latency_max.as_micros()).unwrap_or(u64::MAX);
        if max > 0 {
            self.way.env.sleep(Duration::from_micros(self.way.env.random() % max)).await;
        }
        self.way.refuse(self.way.faults.pull_refused, "a pull failed")?;
        if self.way.hits(self.way.faults.severed)
            && let Some(lost) = self.sever()
        {
            return Ok(Pulled::Change(lost));
        }
        // Biased: what was delivered before the cut is not lost by it.
        tokio::select! { biased;
            pulled = self.inner.pull(credits) => Ok(self.noted(pulled?)),
            () = self.way.link.until_cut() => Err(Error::new(ErrorKind::Broker, "simulated: a pull was cut")),
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        self.way.refuse(0, "reading did not start")?;
        let partitions: Vec<Partition> = starts.iter().map(|start| start.partition).collect();
        self.inner.start(starts).await?;
        self.seat().severed.retain(|severed| !partitions.contains(severed));
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        self.way.refuse(0, "the log can't be asked")?;
        self.inner.bounds(partition).await
    }

    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        self.way.refuse(0, "the log can't be asked")?;
        self.inner.origin(partition).await
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        for settled in &batch {
            self.way.eyes.settled(settled.ticket.number(), settled.settlement);
        }
        if let Err(error) = self.way.refuse(self.way.faults.settle_refused, "settling failed") {
            self.way.eyes.unheard();
            return Err(error);
        }
        self.inner.settle(batch).await
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        // Seen though it may be refused: it was said.
        self.way.eyes.told(&bases);
        self.way.refuse(self.way.faults.commit_refused, "the position was not taken")?;
        self.inner.commit(bases).await
    }

    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error> {
        self.inner.extend(tickets, by).await
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.inner.resume(partitions);
    }

    async fn close(&self, within: Duration) {
        self.inner.close(within).await;
    }
}
