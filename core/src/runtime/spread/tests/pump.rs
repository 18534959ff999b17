//! What the task that pulls tells a consumer that fails now and then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::broker::{Base, Bounds, Capabilities, Change, Consumer, Partition, Pulled, Settles, Start};
use crate::delivery::{Delivery, Place, Settled, Ticket};
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::event::{Decoder, Record, Rules};
use crate::runtime::spread::{Room, Spread};

/// Takes what it is told, or fails.
#[derive(Default)]
struct Told {
    fails: AtomicBool,
    /// A queue: it has no partitions, and never answers what it is given back.
    queue: bool,
    paused: Mutex<BTreeSet<Partition>>,
    bases: Mutex<Vec<Base>>,
    starts: Mutex<Vec<Start>>,
}

impl Told {
    fn answer(&self) -> Result<(), Error> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Broker, "away for a moment")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Consumer for Told {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "told",
            partitions: !self.queue,
            ordered: !self.queue,
            settles: if self.queue { Settles::Each } else { Settles::Position },
            attempts: false,
            delay: None,
            extension_max: None,
            dead_letters: false,
            seek: true,
            redelivery_horizon: None,
        }
    }

    async fn pull(&self, _credits: usize) -> Result<Pulled, Error> {
        std::future::pending().await
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        self.answer()?;
        self.starts.lock().unwrap().extend(starts);
        Ok(())
    }

    async fn bounds(&self, _partition: Partition) -> Result<Bounds, Error> {
        Err(Error::new(ErrorKind::Broker, "nobody asks here"))
    }

    async fn origin(&self, _partition: Partition) -> Result<u64, Error> {
        Ok(0)
    }

    async fn settle(&self, _batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        std::future::pending().await
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.answer()?;
        self.bases.lock().unwrap().extend(bases);
        Ok(())
    }

    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.paused.lock().unwrap().extend(partitions.unwrap_or_default());
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        let mut paused = self.paused.lock().unwrap();
        paused.retain(|partition| !partitions.unwrap_or_default().contains(partition));
    }

    async fn close(&self, _within: Duration) {}
}

fn over(env: Env, told: &Arc<Told>) -> Arc<Spread> {
    let decoder = Decoder::new(Rules::default(), "billing".into(), "orders".into());
    let room = Room { messages: 10, bytes: 1 << 20, kept: 10 };
    Spread::new(env, told.clone(), decoder, 2, room)
}

/// Two homes that read two partitions from their begin.
async fn reading() -> (Arc<Told>, Arc<Spread>) {
    let told = Arc::new(Told::default());
    let spread = over(Env::tokio(), &told);
    spread.receive(Pulled::Change(Change::Assigned(vec![0, 1])));
    for share in spread.shares() {
        share.start(vec![start(0, 0, 1), start(1, 0, 1)]).await.unwrap();
    }
    let turn = spread.turn();
    spread.prepare(turn).await.unwrap();
    (told, spread)
}

fn start(partition: Partition, offset: u64, epoch: u64) -> Start {
    Start { partition, offset, epoch }
}

fn delivery(epoch: u64) -> Delivery {
    let place = Place { partition: 0, epoch, offset: 0 };
    Delivery { record: Record::new("x"), place, attempt: None, ticket: Ticket::new(0) }
}

#[tokio::test]
async fn s10_a_start_that_fails_leaves_no_other_partition_paused() {
    let (told, spread) = reading().await;
    let epoch = told.starts.lock().unwrap()[0].epoch;
    spread.receive(Pulled::Deliveries(vec![delivery(epoch)]));
    let shares = spread.shares();
    shares.iter().for_each(|share| share.pause(Some(&[1])));
    let turn = spread.turn();
    spread.prepare(turn).await.unwrap();
    assert_eq!(*told.paused.lock().unwrap(), BTreeSet::from([1]));
    // One partition is wanted again while another has to be begun anew, and the broker fails at that.
    shares[0].resume(Some(&[1]));
    shares[0].start(vec![start(0, 0, 2)]).await.unwrap();
    told.fails.store(true, Ordering::Relaxed);
    let turn = spread.turn();
    spread.prepare(turn).await.unwrap_err();
    assert_eq!(*told.paused.lock().unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn s10_a_base_that_the_broker_did_not_take_is_told_again() {
    let (told, spread) = reading().await;
    let shares = spread.shares();
    let base = || vec![Base { partition: 0, epoch: 1, offset: 0 }];
    shares[0].commit(base()).await.unwrap();
    told.fails.store(true, Ordering::Relaxed);
    shares[1].commit(base()).await.unwrap_err();
    told.fails.store(false, Ordering::Relaxed);
    shares[1].commit(base()).await.unwrap();
    assert_eq!(told.bases.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s10_a_stop_does_not_wait_for_a_broker_that_takes_nothing_back() {
    let told = Arc::new(Told { queue: true, ..Told::default() });
    let spread = over(Env::tokio(), &told);
    spread.receive(Pulled::Deliveries(vec![delivery(1)]));
    spread.stop().await;
    assert!(spread.stopped.is_cancelled(), "nothing more is pulled");
}
