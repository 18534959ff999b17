//! A broker whose pulls are late or fail, whose connections are cut, and which refuses positions.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, Broker, Capabilities, Change, Consumer, ConsumerSpec, Handback, Partition, Publisher,
    Pulled, Start,
};
use keylane::delivery::{Settled, Ticket};
use keylane::env::Env;
use keylane::{Error, ErrorKind};

use super::Link;

/// How a faulty broker behaves. Chances are in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct BrokerFaults {
    /// A pull begins up to this much later.
    pub pull_latency_max: Duration,
    /// A pull fails, and another one works.
    pub pull_refused: u64,
    /// The connection is replaced: all partitions are lost and assigned again, and what was not settled
    /// comes again.
    pub severed: u64,
    /// Positions are not taken.
    pub commit_refused: u64,
}

/// Who looks on from where the broker stands.
pub trait BrokerEyes: Send + Sync + 'static {
    /// The broker was told that so much is finished.
    fn told(&self, bases: &[Base]);
}

/// Nobody looks.
impl BrokerEyes for () {
    fn told(&self, _bases: &[Base]) {}
}

/// A broker for one worker, with faults.
pub struct FaultyBroker {
    inner: Arc<dyn Broker>,
    way: Way,
}

/// What broker and consumer share.
#[derive(Clone)]
struct Way {
    env: Env,
    faults: BrokerFaults,
    link: Link,
    eyes: Arc<dyn BrokerEyes>,
}

impl FaultyBroker {
    /// Decorates `inner` for one worker.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Broker>,
        env: Env,
        faults: BrokerFaults,
        link: Link,
        eyes: Arc<dyn BrokerEyes>,
    ) -> Self {
        Self { inner, way: Way { env, faults, link, eyes } }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Broker for FaultyBroker {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let inner = self.inner.consumer(spec).await?;
        Ok(Arc::new(FaultyConsumer { inner, way: self.way.clone(), seat: Mutex::default() }))
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.inner.publisher().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct FaultyConsumer {
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

impl Way {
    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.env.random() % 1000 < thousandths
    }

    fn refuse(&self, thousandths: u64, what: &str) -> Result<(), Error> {
        if self.link.is_cut(&self.env) || self.hits(thousandths) {
            return Err(Error::new(ErrorKind::Broker, format!("simulated: {what}")));
        }
        Ok(())
    }
}

impl FaultyConsumer {
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
