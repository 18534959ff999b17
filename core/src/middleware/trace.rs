//! Trace: spans and metrics around everything, so that nothing is uncounted.
//!
//! Metrics bear OpenTelemetry's messaging names. Handles are made once per subscription; keys, ids and
//! kinds are never labels: they are hostile input, and unbounded.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, Unit};
use tracing::Instrument;

use crate::env::BoxFuture;
use crate::handler::{Failure, Outcome};
use crate::runtime::Item;
use crate::store::Death;

const CONSUMED: &str = "messaging.client.consumed.messages";
const DURATION: &str = "messaging.process.duration";
const EVENTS: &str = "keylane.process.events";
const OPERATION: &str = "messaging.operation.name";

pub(crate) struct Trace {
    subscription: Arc<str>,
    consumed: Counter,
    handled: Counter,
    duplicates: Counter,
    retried: Counter,
    dead: Counter,
    duration: Histogram,
}

impl Trace {
    pub(crate) fn new(subscription: &Arc<str>, source: &Arc<str>, system: &'static str) -> Self {
        let labels = [
            ("messaging.system", metrics::SharedString::const_str(system)),
            ("messaging.destination.name", source.to_string().into()),
            ("messaging.consumer.group.name", subscription.to_string().into()),
        ];
        let and = |name: &'static str, value: &'static str| {
            let mut labels = labels.to_vec();
            labels.push((name, value.into()));
            labels
        };
        let outcome = |outcome| metrics::counter!(EVENTS, &and("keylane.outcome", outcome));
        describe();
        Self {
            subscription: subscription.clone(),
            consumed: metrics::counter!(CONSUMED, &and(OPERATION, "poll")),
            handled: outcome("handled"),
            duplicates: outcome("duplicate"),
            retried: outcome("retried"),
            dead: outcome("dead"),
            duration: metrics::histogram!(DURATION, &and(OPERATION, "process")),
        }
    }

    pub(crate) fn pulled(&self, n: usize) {
        self.consumed.increment(n as u64);
    }

    pub(crate) fn handled(&self, n: usize) {
        self.handled.increment(n as u64);
    }

    pub(crate) fn duplicates(&self, n: usize) {
        self.duplicates.increment(n as u64);
    }

    pub(crate) fn took(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64());
    }

    /// Puts the call into its span. Costs nothing where nobody listens.
    pub(crate) fn around(
        &self,
        items: &[Item],
        call: BoxFuture<'static, Outcome>,
    ) -> BoxFuture<'static, Outcome> {
        let span = self.span(items);
        if span.is_disabled() { call } else { Box::pin(call.instrument(span)) }
    }

    fn span(&self, items: &[Item]) -> tracing::Span {
        let Some(item) = items.first() else { return tracing::Span::none() };
        // Said before the fields are put together: most services listen to warnings alone.
        if tracing::level_filters::LevelFilter::current() < tracing::Level::INFO {
            return tracing::Span::none();
        }
        let meta = &item.envelope.meta;
        let span = tracing::info_span!(
            "process",
            otel.kind = "consumer",
            messaging.consumer.group.name = %self.subscription,
            messaging.message.id = %meta.id,
            messaging.destination.partition.id = meta.place.partition,
            messaging.batch.message_count = items.len(),
            keylane.kind = %meta.kind,
            keylane.attempt = item.attempts() + 1,
        );
        #[cfg(feature = "otel")]
        super::remote::adopt(&span, &meta.headers);
        span
    }

    pub(crate) fn retried(&self) {
        self.retried.increment(1);
    }

    pub(crate) fn failed(&self, item: &Item, failure: &Failure) {
        let meta = &item.envelope.meta;
        tracing::debug!(
            subscription = %self.subscription, id = %meta.id, kind = %meta.kind,
            attempt = item.attempts() + 1, %failure, "a try failed"
        );
    }

    pub(crate) fn buried(&self, item: &Item, death: Death, why: &[String]) {
        self.dead.increment(1);
        let meta = &item.envelope.meta;
        tracing::warn!(
            subscription = %self.subscription, id = %meta.id, kind = %meta.kind,
            partition = meta.place.partition, offset = meta.place.offset,
            death = death.name(), why = why.join(": "), "dead letter"
        );
    }
}

/// Units and meanings, for recorders that hand them on.
fn describe() {
    metrics::describe_counter!(CONSUMED, Unit::Count, "messages that the broker handed over");
    metrics::describe_histogram!(DURATION, Unit::Seconds, "how long calls of handlers took");
    metrics::describe_counter!(EVENTS, Unit::Count, "events by what became of them");
}
