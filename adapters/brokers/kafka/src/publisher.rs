//! Writing: idempotent, confirmed by all in-sync replicas, each record for itself.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Outgoing, Publisher, Receipt};
use keylane::event::Record;
use keylane::{Env, Error};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{Delivery, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::error;
use crate::probe::Probe;
use crate::quiet::Quiet;

type Native = FutureProducer<Quiet>;

/// How many topics are remembered as existing.
const TOPICS: usize = 1024;

pub(crate) struct KafkaPublisher {
    env: Env,
    probe: Arc<Probe>,
    /// Taken when it is dropped, and only then.
    native: Option<Native>,
    limit: Duration,
    /// Topics that exist. Kafka makes a missing topic by itself where it is configured so, and a
    /// mistyped name would swallow what is written.
    known: Mutex<BTreeSet<String>>,
    closed: AtomicBool,
}

impl KafkaPublisher {
    pub(crate) fn new(
        native: &ClientConfig,
        env: Env,
        probe: Arc<Probe>,
        limit: Duration,
    ) -> Result<Self, Error> {
        let native = Native::from_config_and_context(native, Quiet)
            .map_err(|cause| error::error("setting up a kafka publisher", cause))?;
        let known = Mutex::default();
        Ok(Self { env, probe, native: Some(native), limit, known, closed: AtomicBool::new(false) })
    }

    async fn check(&self, out: &Outgoing) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(error::closed("kafka publisher"));
        }
        let target = &out.target;
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(target) {
            return Ok(());
        }
        self.probe.partitions(&Arc::from(&**target)).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOPICS {
            known.clear();
        }
        known.insert(target.clone());
        Ok(())
    }

    /// Hands the record to librdkafka. `None`: its queue is full.
    fn send(&self, out: &Outgoing) -> Result<Option<DeliveryFuture>, KafkaError> {
        let Record { key, headers, payload, time, .. } = &out.record;
        let mut record = FutureRecord::<[u8], [u8]>::to(&out.target).payload(payload);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(time) = time {
            record = record.timestamp(time.as_millis());
        }
        if !headers.is_empty() {
            let native =
                headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (name, value)| {
                    all.insert(Header { key: name, value: Some(&**value) })
                });
            record = record.headers(native);
        }
        let native = self.native.as_ref().ok_or(KafkaError::Canceled)?;
        match native.send_result(record) {
            Ok(sent) => Ok(Some(sent)),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(None),
            Err((cause, _)) => Err(cause),
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        let mut results: Vec<Option<Result<Receipt, Error>>> = Vec::new();
        results.resize_with(batch.len(), || None);
        let mut flying: VecDeque<(usize, DeliveryFuture)> = VecDeque::new();
        for (at, out) in batch.iter().enumerate() {
            if let Err(error) = self.check(out).await {
                results[at] = Some(Err(error));
                continue;
            }
            loop {
                match self.send(out) {
                    Ok(Some(sent)) => flying.push_back((at, sent)),
                    Err(cause) => results[at] = Some(Err(failed(out, cause))),
                    // Room comes when the oldest of ours is out. When the queue is full of others'
                    // records there is none of ours to wait for, so the time itself is waited for.
                    Ok(None) => match flying.pop_front() {
                        Some((first, sent)) => {
                            results[first] = Some(outcome(&batch[first], sent.await));
                            continue;
                        }
                        None => {
                            self.env.sleep(Duration::from_millis(5)).await;
                            continue;
                        }
                    },
                }
                break;
            }
        }
        for (at, sent) in flying {
            results[at] = Some(outcome(&batch[at], sent.await));
        }
        let never = || Err(error::closed("kafka publisher"));
        results.into_iter().map(|result| result.unwrap_or_else(never)).collect()
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(native) = self.native.clone() else { return };
        let limit = self.limit;
        let (done, flushed) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("kafka-flush".into()).spawn(move || {
            if let Err(error) = native.flush(limit) {
                tracing::warn!(%error, "kafka: not everything was flushed");
            }
            drop(native);
            let _ = done.send(());
        });
        if thread.is_ok() {
            drop(
                self.env.timeout("flushing a kafka publisher", limit + Duration::from_secs(1), flushed).await,
            );
        }
    }
}

impl Drop for KafkaPublisher {
    /// On a thread, because the native client waits for its own threads.
    fn drop(&mut self) {
        let native = self.native.take();
        let thread = std::thread::Builder::new().name("kafka-drop".into()).spawn(move || drop(native));
        if let Err(error) = thread {
            tracing::warn!(%error, "kafka: a publisher was dropped in place");
        }
    }
}

type Sent = Result<
    Result<Delivery, (KafkaError, rdkafka::message::OwnedMessage)>,
    futures_channel::oneshot::Canceled,
>;

fn outcome(out: &Outgoing, sent: Sent) -> Result<Receipt, Error> {
    match sent {
        Ok(Ok(at)) => {
            Ok(Receipt { partition: u32::try_from(at.partition).ok(), offset: u64::try_from(at.offset).ok() })
        }
        Ok(Err((cause, _))) => Err(failed(out, cause)),
        Err(_) => Err(failed(out, KafkaError::Canceled)),
    }
}

fn failed(out: &Outgoing, cause: KafkaError) -> Error {
    let missing = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownTopic];
    if cause.rdkafka_error_code().is_some_and(|code| missing.contains(&code)) {
        return error::missing(&out.target);
    }
    error::error(format!("publishing {} bytes to {:?}", out.record.payload.len(), out.target), cause)
}
