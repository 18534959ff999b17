//! Why the brokers let nobody in. Of a certificate or a password that does not hold, librdkafka tells
//! beside its answers: who asked for a topic hears only that no broker could be reached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::quiet::Quiet;

/// Events that one look takes from the queue; librdkafka adds at most a few in a second.
const EVENTS: usize = 1024;

/// The context of a client that asks: it keeps the last refusal until a question is answered.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    last: Mutex<Option<Refusal>>,
    /// Counts what `poll` brought, of which it tells itself only a part.
    heard: AtomicUsize,
}

/// What librdkafka said, in its own words. They name the broker, never a password.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) words: String,
}

/// What stands behind this failure, if it is one behind which a refusal can stand.
pub(crate) fn behind(client: &BaseConsumer<Asking>, failure: &KafkaError) -> Option<Refusal> {
    hear(client);
    match failure.rdkafka_error_code() {
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => {
            client.context().last().clone()
        }
        _ => None,
    }
}

/// A question was answered: whatever was refused before is mended.
pub(crate) fn forget(client: &BaseConsumer<Asking>) {
    hear(client);
    *client.context().last() = None;
}

/// Nobody else polls a client that only asks.
fn hear(client: &BaseConsumer<Asking>) {
    let heard = || client.context().heard.load(Ordering::Relaxed);
    for _ in 0..EVENTS {
        let before = heard();
        drop(client.poll(Duration::ZERO));
        if heard() == before {
            return;
        }
    }
}

impl Asking {
    fn last(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        Quiet.log(level, facility, message);
    }

    fn error(&self, cause: KafkaError, reason: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        if let Some(code @ (Code::Authentication | Code::SSL)) = cause.rdkafka_error_code() {
            *self.last() = Some(Refusal { code, words: reason.to_owned() });
        }
        Quiet.error(cause, reason);
    }
}

impl ConsumerContext for Asking {}
