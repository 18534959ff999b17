//! What one home's worker sees of the shared consumer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Kind, Passed, Spread};
use crate::broker::{Base, Bounds, Capabilities, Consumer, Partition, Pulled, Start};
use crate::delivery::{Settled, Ticket};
use crate::error::Error;

pub(crate) struct Share {
    spread: Arc<Spread>,
    home: usize,
}

impl Share {
    pub(super) fn new(spread: Arc<Spread>, home: usize) -> Self {
        Self { spread, home }
    }

    /// Which of how many databases it reads for, as people count.
    pub(crate) fn place(&self) -> String {
        format!("database {} of {}", self.home + 1, self.spread.homes.len())
    }

    /// Of the start under this epoch: below this offset every record is to be seen, whomever it is for. The home has
    /// finished them, and knows the log again by one of them (rule L2).
    pub(crate) fn show_below(&self, partition: Partition, epoch: u64, below: u64) {
        if let Kind::Partitions(readers) = &mut self.spread.state().kind
            && let Some(seat) = readers.seat(self.home, partition)
        {
            seat.will_show(epoch, below);
        }
    }

    /// Waits for word that nothing was there for this home; cancel-safe.
    pub(crate) async fn passed(&self) -> Passed {
        let Self { spread, home } = self;
        loop {
            let due = match &mut spread.state().kind {
                Kind::Partitions(readers) => match readers.passed(*home, spread.env.now()) {
                    Ok(passed) => return passed,
                    Err(due) => due,
                },
                Kind::Each(_) => None,
            };
            let due = async {
                match due {
                    Some(due) => spread.env.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Biased: either way it is looked again.
            tokio::select! { biased;
                () = spread.homes[*home].passed.notified() => {}
                () = due => {}
            }
        }
    }

    fn look(&self, credits: usize) -> Result<Option<Pulled>, Error> {
        let mut state = self.spread.state();
        let mail = &mut state.mail[self.home];
        if let Some(change) = mail.take() {
            return Ok(Some(Pulled::Change(change)));
        }
        if let Some(error) = mail.error.take() {
            return Err(error);
        }
        let (taken, was_full) = match &mut state.kind {
            Kind::Partitions(readers) => {
                let was_full = readers.is_full(self.home);
                let taken = readers.take(self.home, credits);
                if taken.is_empty()
                    && let Some(broken) = readers.take_broken(self.home)
                {
                    return Ok(Some(Pulled::Change(broken)));
                }
                (taken, was_full)
            }
            Kind::Each(lines) => {
                let was_full = lines.is_full(self.home);
                (lines.take(self.home, credits), was_full)
            }
        };
        drop(state);
        if taken.is_empty() {
            return Ok(None);
        }
        if was_full {
            self.spread.stirred.notify_one();
        }
        Ok(Some(Pulled::Deliveries(taken)))
    }

    fn set_paused(&self, partitions: Option<&[Partition]>, paused: bool) {
        if let Kind::Partitions(readers) = &mut self.spread.state().kind {
            readers.set_paused(self.home, partitions, paused);
        }
        self.spread.stirred.notify_one();
        self.spread.wake(self.home);
    }
}

#[async_trait]
impl Consumer for Share {
    fn capabilities(&self) -> Capabilities {
        self.spread.real.capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            if let Some(pulled) = self.look(credits)? {
                return Ok(pulled);
            }
            self.spread.homes[self.home].arrived.notified().await;
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        if let Kind::Partitions(readers) = &mut self.spread.state().kind {
            let now = self.spread.env.now();
            starts.iter().for_each(|start| readers.start(self.home, start, now));
        }
        self.spread.stirred.notify_one();
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        self.spread.real.bounds(partition).await
    }

    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        self.spread.real.origin(partition).await
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        self.spread.real.settle(batch).await
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.spread.tell(|readers| readers.commit(self.home, &bases)).await
    }

    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error> {
        self.spread.real.extend(tickets, by).await
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, true);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.set_paused(partitions, false);
    }

    /// Who made the homes leaves the group for all of them.
    async fn close(&self, _within: Duration) {
        self.spread.stopped.cancel();
    }
}
