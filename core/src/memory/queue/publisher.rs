//! Writing: the target is the queue's name.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::MemoryQueues;
use super::server::State;
use crate::broker::{Outgoing, Publisher, Receipt};
use crate::env::{Env, Timestamp};
use crate::error::{Class, Error, ErrorKind};
use crate::memory::broker::RECORD_MAX;

pub(super) struct QueuePublisher {
    server: MemoryQueues,
    env: Env,
    closed: AtomicBool,
}

impl QueuePublisher {
    pub(super) fn new(server: &MemoryQueues, env: &Env) -> Self {
        Self { server: server.clone(), env: env.clone(), closed: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Publisher for QueuePublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        if self.closed.load(Ordering::SeqCst) {
            let closed = || Err(Error::new(ErrorKind::Closed, "this publisher was closed"));
            return batch.iter().map(|_| closed()).collect();
        }
        let now = self.env.wall();
        self.server.change(|state| batch.into_iter().map(|outgoing| append(state, outgoing, now)).collect())
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

fn append(state: &mut State, outgoing: Outgoing, now: Timestamp) -> Result<Receipt, Error> {
    let Outgoing { target, mut record } = outgoing;
    let line = state.line(&target)?;
    if record.footprint() > RECORD_MAX {
        let what = format!("a record for {target:?} is over {RECORD_MAX} bytes");
        return Err(Error::new(ErrorKind::Broker, what).with_class(Class::Permanent));
    }
    record.time = record.time.or(Some(now));
    line.publish(record);
    Ok(Receipt { partition: None, offset: None })
}
