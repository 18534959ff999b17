//! A broker that costs nothing: its records lie in memory, so that what is measured is the runtime and its
//! store. The whole of a source is handed over once; the meter begins with its first event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, Broker, BrokerAdapter, Capabilities, Change, Consumer, ConsumerSpec, Partition, Publisher,
    Pulled, Settles, Start,
};
use keylane::config::{NoKeys, Section};
use keylane::delivery::{Delivery, Place, Settled, Ticket};
use keylane::event::Record;
use keylane::{Env, Error, ErrorKind};
use tokio::sync::Notify;

use crate::meter::METER;

/// The records of a run by partition, in order. `.broker(..)` takes it; it is read once.
#[derive(Clone)]
pub(crate) struct Canned(Arc<Shared>);

struct Shared {
    reading: Mutex<Reading>,
    changed: Notify,
}

struct Reading {
    partitions: Vec<Progress>,
    /// The runtime knows what is its own.
    assigned: bool,
    /// Whose turn it is.
    next: usize,
}

struct Progress {
    records: Vec<Record>,
    /// The next one to hand over; `None` before the runtime said where to begin.
    at: Option<usize>,
    epoch: u64,
    paused: bool,
}

impl Canned {
    pub(crate) fn new(partitions: Vec<Vec<Record>>) -> Self {
        let partitions = partitions
            .into_iter()
            .map(|records| Progress { records, at: None, epoch: 0, paused: false })
            .collect();
        let reading = Mutex::new(Reading { partitions, assigned: false, next: 0 });
        Self(Arc::new(Shared { reading, changed: Notify::new() }))
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pull_now(&self, credits: usize) -> Option<Pulled> {
        let mut reading = self.reading();
        if !reading.assigned {
            reading.assigned = true;
            let all = (0..).take(reading.partitions.len()).collect();
            return Some(Pulled::Change(Change::Assigned(all)));
        }
        let deliveries = reading.take(credits);
        drop(reading);
        if deliveries.is_empty() {
            return None;
        }
        METER.begin();
        Some(Pulled::Deliveries(deliveries))
    }

    fn set_paused(&self, partitions: Option<&[Partition]>, paused: bool) {
        let mut reading = self.reading();
        for (number, progress) in (0..).zip(&mut reading.partitions) {
            if partitions.is_none_or(|partitions| partitions.contains(&number)) {
                progress.paused = paused;
            }
        }
        drop(reading);
        self.0.changed.notify_one();
    }
}

impl Reading {
    /// From each partition in turn, as many as a fetch would bring.
    fn take(&mut self, credits: usize) -> Vec<Delivery> {
        const FETCHED: usize = 256;
        let mut deliveries = Vec::new();
        for _ in 0..self.partitions.len() {
            let number = self.next;
            self.next = (number + 1) % self.partitions.len();
            let progress = &mut self.partitions[number];
            let (Some(at), false) = (progress.at, progress.paused) else { continue };
            let until = progress.records.len().min(at + FETCHED.min(credits - deliveries.len()));
            let (partition, epoch) = (Partition::try_from(number).unwrap_or(0), progress.epoch);
            // Taken, not cloned: it is read once, and a clone would cost what a broker's client does not.
            for (offset, record) in (at as u64..).zip(&mut progress.records[at..until]) {
                deliveries.push(Delivery {
                    record: std::mem::take(record),
                    place: Place { partition, epoch, offset },
                    attempt: None,
                    ticket: Ticket::new(offset),
                });
            }
            progress.at = Some(until);
            if deliveries.len() == credits {
                break;
            }
        }
        deliveries
    }
}

impl BrokerAdapter for Canned {
    const KIND: &'static str = "canned";
    type Config = NoKeys;
    type Subscription = NoKeys;

    async fn connect(&self, _: NoKeys, _: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Broker for Canned {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(capabilities())
    }

    async fn consumer(&self, _: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        Ok(Arc::new(self.clone()))
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        Err(unsupported("can't be written to"))
    }

    async fn close(&self) {}
}

#[async_trait]
impl Consumer for Canned {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            if let Some(pulled) = self.pull_now(credits) {
                return Ok(pulled);
            }
            self.0.changed.notified().await;
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        let mut reading = self.reading();
        for start in starts {
            let progress = &mut reading.partitions[start.partition as usize];
            progress.at = usize::try_from(start.offset).ok();
            progress.epoch = start.epoch;
        }
        drop(reading);
        self.0.changed.notify_one();
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        let reading = self.reading();
        let high = reading.partitions[partition as usize].records.len() as u64;
        let partitions = u32::try_from(reading.partitions.len()).unwrap_or(u32::MAX);
        Ok(Bounds { low: 0, high, identity: None, partitions })
    }

    async fn origin(&self, _: Partition) -> Result<u64, Error> {
        Ok(0)
    }

    async fn settle(&self, _: Vec<Settled>) -> Result<Vec<u64>, Error> {
        Err(unsupported("settles by position"))
    }

    async fn commit(&self, _: Vec<Base>) -> Result<(), Error> {
        Ok(())
    }

    async fn extend(&self, _: &[Ticket], _: Duration) -> Result<(), Error> {
        Err(unsupported("has no deadlines"))
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, true);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, false);
    }

    async fn close(&self, _: Duration) {}
}

fn capabilities() -> Capabilities {
    Capabilities {
        kind: Canned::KIND,
        partitions: true,
        ordered: true,
        settles: Settles::Position,
        attempts: false,
        delay: None,
        extension_max: None,
        dead_letters: false,
        seek: true,
        redelivery_horizon: None,
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a canned source {what}"))
}
