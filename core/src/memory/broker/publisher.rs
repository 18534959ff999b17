//! Writing: a record's key chooses its partition.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::server::State;
use super::{MemoryBroker, RECORD_MAX, away, unknown_source};
use crate::broker::{Outgoing, Publisher, Receipt};
use crate::env::{Env, Timestamp};
use crate::error::{Class, Error, ErrorKind};

pub(super) struct MemoryPublisher {
    server: MemoryBroker,
    env: Env,
    closed: AtomicBool,
}

impl MemoryPublisher {
    pub(super) fn new(server: &MemoryBroker, env: &Env) -> Self {
        Self { server: server.clone(), env: env.clone(), closed: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
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
    if state.away {
        return Err(away());
    }
    let Outgoing { target, mut record } = outgoing;
    let source = state.sources.get_mut(&target).ok_or_else(|| unknown_source(&target))?;
    if record.footprint() > RECORD_MAX {
        let what = format!("a record for {target:?} is over {RECORD_MAX} bytes");
        return Err(Error::new(ErrorKind::Broker, what).with_class(Class::Permanent));
    }
    record.time = record.time.or(Some(now));
    let partitions = u32::try_from(source.partitions.len()).unwrap_or(u32::MAX);
    let partition = match &record.key {
        Some(key) => fnv(key) % partitions,
        None => {
            source.round = (source.round + 1) % partitions;
            source.round
        }
    };
    let offset = source.partitions[partition as usize].append(record);
    Ok(Receipt { partition: Some(partition), offset: Some(offset) })
}

/// FNV-1a: a key's partition must be the same in every process and on every run.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
