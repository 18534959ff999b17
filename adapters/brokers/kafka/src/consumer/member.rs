//! What librdkafka calls back: rebalances, errors, logs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use keylane::broker::Partition;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use crate::quiet::log;

/// What the group decided.
#[derive(Debug)]
pub(super) enum Turn {
    /// These were added.
    Assigned(Vec<Partition>),
    /// These are to be given up; `lost`: they are someone else's already.
    Revoked { partitions: Vec<Partition>, lost: bool },
}

/// The context of a consumer. Rebalances run inside `poll`, on the polling thread, which is why they
/// are only noted here: librdkafka waits for the (un)assign call, however much later it comes, goes on
/// with heartbeats, and sends no second turn before it.
#[derive(Debug, Default)]
pub(super) struct Member {
    turns: Mutex<VecDeque<Turn>>,
    /// Nobody serves turns any more; each is answered on the spot.
    leaving: AtomicBool,
}

impl Member {
    pub(super) fn turn(&self) -> Option<Turn> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Acquire) {
            // The consumer is being dropped and waits for this call.
            if let Err(error) = consumer.incremental_unassign(list) {
                tracing::debug!(%error, "kafka: unassign while leaving");
            }
            return;
        }
        let partitions: Vec<Partition> = list
            .elements()
            .iter()
            .filter_map(|element| Partition::try_from(element.partition()).ok())
            .collect();
        let turn = if assigned {
            Turn::Assigned(partitions)
        } else {
            Turn::Revoked { partitions, lost: consumer.assignment_lost() }
        };
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
    }
}
