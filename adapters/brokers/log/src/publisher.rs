//! Writing: which partition, within which limits, and an answer for each record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keylane::broker::{Outgoing, Partition, Publisher, Receipt};
use keylane::{Class, Env, Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::append::{Entry, GROUP_BYTES, Job, Place};
use crate::chunk::encode;
use crate::error::{closed, deleted, repeated, unknown};
use crate::partition::partition_of;
use crate::stream::{Stream, Streams};

pub(crate) struct LogPublisher {
    pub env: Env,
    pub streams: Arc<Streams>,
    pub jobs: mpsc::Sender<Job>,
    pub limits: Limits,
    /// Where the next record without a key goes.
    pub turn: AtomicU32,
    /// Of this publisher or of the whole log.
    pub closed: CancellationToken,
}

/// What a publisher may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one record as it lies in the log.
    pub record_max: usize,
    /// Whether a stream is made for what is published to none.
    pub create: bool,
}

/// A record that is ready to be appended, with its place in the caller's batch.
struct Ready {
    at: usize,
    stream: Arc<Stream>,
    entry: Entry,
}

/// What is needed of a record while it is being appended.
struct Key {
    at: usize,
    stream: Arc<Stream>,
    partition: Partition,
}

impl Ready {
    fn split(self) -> (Key, Entry) {
        (Key { at: self.at, stream: self.stream, partition: self.entry.partition }, self.entry)
    }
}

type Results = Vec<Option<Result<Receipt, Error>>>;

impl LogPublisher {
    /// Appends what it can of `batch` at places `of` it; returns the places whose stream has just gone.
    async fn round(&self, batch: &[Outgoing], of: Vec<usize>, results: &mut Results) -> Vec<usize> {
        let mut ready = Vec::with_capacity(of.len());
        for at in of {
            match self.prepare(at, &batch[at]).await {
                Ok(prepared) => ready.push(prepared),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        let mut gone = Vec::new();
        let mut failed: Option<Error> = None;
        for part in parts(ready) {
            let (keys, entries): (Vec<_>, Vec<_>) = part.into_iter().map(Ready::split).unzip();
            // After a failure nothing more is tried: a later record of a key must not stand before one
            // that the caller will publish again.
            let places = match &failed {
                None => self.append(entries).await,
                Some(error) => Err(repeated(error)),
            };
            match places {
                Ok(places) => {
                    for (key, place) in keys.into_iter().zip(places) {
                        gone.extend(self.answer(key, place, results));
                    }
                }
                Err(error) => {
                    for key in keys {
                        results[key.at] = Some(Err(repeated(&error)));
                    }
                    failed = Some(error);
                }
            }
        }
        gone
    }

    /// Notes one answer; gives back the place of a record whose stream was deleted meanwhile.
    fn answer(&self, key: Key, place: Place, results: &mut Results) -> Option<usize> {
        let Some(offset) = place else {
            self.streams.forget(&key.stream.name);
            results[key.at] = Some(Err(deleted(&key.stream.name)));
            return Some(key.at);
        };
        results[key.at] = Some(Ok(Receipt { partition: Some(key.partition), offset: Some(offset) }));
        None
    }

    async fn prepare(&self, at: usize, outgoing: &Outgoing) -> Result<Ready, Error> {
        let target = outgoing.target.as_str();
        let too_large = |what: &str| {
            let what = format!("a record for stream `{target}` {what}");
            Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
        };
        let limit = self.limits.record_max;
        if outgoing.record.payload.len() > limit {
            return Err(too_large(&format!(
                "is over the limit of {limit} bytes; raise `record_max` or split it"
            )));
        }
        let time = outgoing.record.time.unwrap_or_else(|| self.env.wall());
        let encoded = encode(&outgoing.record, time).ok_or_else(|| too_large("has more than 4 GiB"))?;
        if encoded.len() > limit {
            let have = encoded.len();
            let what = format!("has {have} bytes, over the limit of {limit}; raise `record_max` or split it");
            return Err(too_large(&what));
        }
        let stream = if self.limits.create {
            self.streams.make(target, None).await?
        } else {
            self.streams.find(target).await?.ok_or_else(|| unknown(target))?
        };
        let partition = self.partition(outgoing, &stream);
        Ok(Ready { at, entry: Entry { stream: stream.id, partition, time, encoded }, stream })
    }

    /// By the key; without one, in turns.
    fn partition(&self, outgoing: &Outgoing, stream: &Stream) -> Partition {
        match &outgoing.record.key {
            Some(key) => partition_of(key, stream.partitions),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % stream.partitions,
        }
    }

    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Place>, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { entries, answer }).await.map_err(|_| closed("the log"))?;
        answered.await.map_err(|_| closed("the log"))?
    }
}

#[async_trait]
impl Publisher for LogPublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        if self.closed.is_cancelled() {
            return batch.iter().map(|_| Err(closed("the publisher"))).collect();
        }
        let mut results: Results = batch.iter().map(|_| None).collect();
        // Twice: a remembered stream may have been deleted and made anew since.
        let gone = self.round(&batch, (0..batch.len()).collect(), &mut results).await;
        if !gone.is_empty() {
            self.round(&batch, gone, &mut results).await;
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(closed("the log")))).collect()
    }

    /// What was published is durable when its call returns: there is nothing to flush.
    async fn close(&self) {
        self.closed.cancel();
    }
}

/// Parts of at most a transaction's bytes each (one record at least), in order.
fn parts(ready: Vec<Ready>) -> Vec<Vec<Ready>> {
    let mut parts: Vec<Vec<Ready>> = Vec::new();
    let mut bytes = GROUP_BYTES;
    for ready in ready {
        let more = ready.entry.encoded.len();
        match parts.last_mut() {
            Some(part) if bytes + more <= GROUP_BYTES => {
                bytes += more;
                part.push(ready);
            }
            _ => {
                bytes = more;
                parts.push(vec![ready]);
            }
        }
    }
    parts
}
