//! A consumer of a queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::line::Line;
use super::{MemoryQueues, capabilities, unsupported};
use crate::broker::{Base, Bounds, Capabilities, Change, Consumer, ConsumerSpec, Partition, Pulled, Start};
use crate::delivery::{Delivery, Place, Settled, Settlement, Ticket};
use crate::error::{Error, ErrorKind};

pub(super) struct QueueConsumer {
    server: MemoryQueues,
    queue: Arc<str>,
    number: u64,
    unsettled_max: usize,
    /// Taken after the server's lock.
    own: Mutex<Own>,
}

/// What a consumer knows over all its connections.
struct Own {
    /// The number of the present connection.
    epoch: u64,
    /// How much it was handed: the next offset, and the next ticket, which so means nothing to a later connection.
    handed: u64,
    paused: bool,
    left: bool,
}

/// Where everything of a broker without partitions lies.
const PARTITION: Partition = 0;

impl QueueConsumer {
    pub(super) fn join(server: &MemoryQueues, spec: &ConsumerSpec) -> Result<Self, Error> {
        let number = server.change(|state| {
            let number = state.number();
            state.line(&spec.source)?.connect(number);
            Ok::<_, Error>(number)
        })?;
        Ok(Self {
            server: server.clone(),
            queue: spec.source.clone(),
            number,
            unsettled_max: spec.unsettled_max,
            own: Mutex::new(Own { epoch: 1, handed: 0, paused: false, left: false }),
        })
    }

    /// Ends the connection for good: what it had is ready again.
    pub(super) fn leave(&self) {
        self.server.change(|state| {
            // Under the server's lock, so that no pull connects anew afterwards.
            self.own().left = true;
            if let Some(line) = state.queues.get_mut(&*self.queue) {
                line.cut(self.number);
            }
        });
    }

    fn look(&self, credits: usize) -> Result<Option<Pulled>, Error> {
        let mut state = self.server.state();
        let mut own = self.own();
        if own.left {
            return Err(Error::new(ErrorKind::Closed, "this consumer was closed"));
        }
        let line = state.line(&self.queue)?;
        if line.connect(self.number) {
            own.epoch += 1;
            return Ok(Some(Pulled::Change(Change::Void { epoch: own.epoch })));
        }
        let deliveries = self.deliveries(line, &mut own, credits);
        Ok((!deliveries.is_empty()).then_some(Pulled::Deliveries(deliveries)))
    }

    fn deliveries(&self, line: &mut Line, own: &mut Own, credits: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while !own.paused
            && deliveries.len() < credits
            && let Some((record, handed)) = line.hand(self.number, own.handed, self.unsettled_max)
        {
            let place = Place { partition: PARTITION, epoch: own.epoch, offset: own.handed };
            let ticket = Ticket::new(own.handed);
            own.handed += 1;
            deliveries.push(Delivery { record, place, attempt: Some(handed), ticket });
        }
        deliveries
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_paused(&self, partitions: Option<&[Partition]>, paused: bool) {
        if partitions.is_none_or(|some| some.contains(&PARTITION)) {
            self.server.change(|_| self.own().paused = paused);
        }
    }
}

#[async_trait]
impl Consumer for QueueConsumer {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            // Listened to before the look: what changes during it is looked for again.
            let mut changed = std::pin::pin!(self.server.0.changed.notified());
            changed.as_mut().enable();
            if let Some(pulled) = self.look(credits)? {
                return Ok(pulled);
            }
            changed.await;
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

    /// A connection that ended took its tickets with it, also where the server is away: never an error, because
    /// what was settled there comes again.
    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        if batch.iter().any(|settled| matches!(settled.settlement, Settlement::RetryLater(_))) {
            return Err(unsupported("can't put a delivery off; nothing of this batch was settled"));
        }
        Ok(self.server.change(|state| {
            let mut line = state.queues.get_mut(&*self.queue);
            let mut lost = batch;
            lost.retain(|Settled { ticket, settlement }| {
                let settled =
                    line.as_mut().map(|line| line.settle(self.number, ticket.number(), *settlement));
                !settled.unwrap_or(false)
            });
            lost.iter().map(|settled| settled.ticket.number()).collect()
        }))
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        if bases.is_empty() { Ok(()) } else { Err(no_partitions()) }
    }

    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        // Deliveries of this broker have no deadline.
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

impl Drop for QueueConsumer {
    /// A worker that died: what it had goes to the others at once.
    fn drop(&mut self) {
        self.leave();
    }
}

fn no_partitions() -> Error {
    unsupported("have no partitions: every delivery is settled on its own")
}
